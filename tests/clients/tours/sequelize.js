// Sequelize: models over relations that are there, queries, inserts, what it reads of the catalog, sync.
const { Sequelize, DataTypes, Op, QueryTypes } = require('sequelize');
const { host, port, user, database, topic, same, tour } = require('./tour');

const db = new Sequelize(database, user, 'millstream', { host, port, dialect: 'postgres', logging: false });
const options = { timestamps: false, schema: 'shop', freezeTableName: true };
const Customer = db.define(
    'customers',
    {
        id: { type: DataTypes.BIGINT, primaryKey: true },
        name: DataTypes.TEXT,
        country: DataTypes.STRING(2),
        joined: DataTypes.DATEONLY,
    },
    options,
);
const Order = db.define(
    'orders',
    {
        id: { type: DataTypes.BIGINT, primaryKey: true },
        customer: DataTypes.BIGINT,
        product: DataTypes.TEXT,
        price: DataTypes.DECIMAL(10, 2),
        placed: DataTypes.DATE,
        tags: DataTypes.ARRAY(DataTypes.TEXT),
        detail: DataTypes.JSONB,
    },
    options,
);
Customer.hasMany(Order, { foreignKey: 'customer' });
Order.belongsTo(Customer, { foreignKey: 'customer', as: 'buyer' });

tour({
    async authenticate() {
        await db.authenticate();
        same((await db.databaseVersion()).startsWith('15.'), true);
    },
    async find() {
        const orders = await Order.findAll({
            where: { price: { [Op.gt]: 50 }, product: { [Op.like]: '%' } },
            order: [['price', 'DESC']],
        });
        same(
            orders.map(order => [order.id, order.price]),
            [
                ['11', '250.00'],
                ['12', '75.50'],
            ],
        );
        const one = await Order.findByPk(10);
        same(
            [one.tags, one.detail, one.placed.toISOString()],
            [['light', 'warm, white'], { in: ['hall'], size: 3 }, '2024-05-01T10:00:00.000Z'],
        );
        const { count, rows } = await Order.findAndCountAll({
            where: { detail: { size: { [Op.gt]: 1 } } },
            limit: 1,
            order: ['id'],
        });
        same([count, rows[0].id], [2, '10']);
    },
    async include() {
        const ada = await Customer.findOne({ where: { name: 'Ada' }, include: [Order], order: [[Order, 'id', 'ASC']] });
        same(
            ada.orders.map(order => order.product),
            ['lamp', 'desk'],
        );
        same((await Order.findByPk(13, { include: 'buyer' })).buyer.name, 'Curie');
    },
    async group() {
        const rows = await Order.findAll({
            attributes: ['product', [db.fn('COUNT', db.col('id')), 'n'], [db.fn('SUM', db.col('price')), 'total']],
            group: 'product',
            order: ['product'],
            raw: true,
        });
        same(rows, [
            { product: 'chair', n: '1', total: '75.50' },
            { product: 'desk', n: '1', total: '250.00' },
            { product: 'lamp', n: '2', total: '39.80' },
        ]);
    },
    async describe() {
        const columns = await db.getQueryInterface().describeTable({ tableName: 'orders', schema: 'shop' });
        same(
            Object.entries(columns).map(([name, column]) => [name, column.type, column.allowNull]),
            [
                ['id', 'BIGINT', false],
                ['customer', 'BIGINT', false],
                ['product', 'TEXT', true],
                ['price', 'NUMERIC', true],
                ['placed', 'TIMESTAMP WITH TIME ZONE', true],
                ['tags', 'ARRAY', true],
                ['detail', 'JSONB', true],
                ['express', 'BOOLEAN', true],
            ],
        );
        same(columns.price.comment, 'in euro');
        same((await db.getQueryInterface().showAllTables({ schema: 'shop' })).length > 0, true);
        same(await db.getQueryInterface().showIndex({ tableName: 'orders', schema: 'shop' }), []);
    },
    async insert() {
        await db.query(`DROP ${topic} IF EXISTS sequelize_events`);
        await db.query(`CREATE ${topic} sequelize_events (id INT, name TEXT, at TIMESTAMPTZ, doc JSONB)`);
        const Event = db.define(
            'sequelize_events',
            {
                id: { type: DataTypes.INTEGER, primaryKey: true },
                name: DataTypes.TEXT,
                at: DataTypes.DATE,
                doc: DataTypes.JSONB,
            },
            { timestamps: false, freezeTableName: true },
        );
        const at = new Date('2024-02-29T12:00:00Z');
        const made = await Event.create({ id: 1, name: "it's", at, doc: { a: [1] } });
        same(made.get(), { id: 1, name: "it's", at, doc: { a: [1] } });
        await Event.bulkCreate([...Array(50).keys()].map(i => ({ id: 100 + i, name: `n${i}`, at })));
        await db
            .transaction(async transaction => {
                await Event.create({ id: -1 }, { transaction });
                throw new Error('undo');
            })
            .catch(error => same(error.message, 'undo'));
        same([await Event.count(), await Event.max('id')], [51, 149]);
        same(
            await db.query('SELECT name FROM sequelize_events WHERE id = :id', {
                replacements: { id: 1 },
                type: QueryTypes.SELECT,
            }),
            [{ name: "it's" }],
        );
    },
    async sync() {
        const Made = db.define('sequelize_made', { name: DataTypes.STRING }, { freezeTableName: true });
        await Made.sync({ force: true });
        const row = await Made.create({ name: 'a' });
        same([row.id, row.name], [1, 'a']);
        await Made.drop();
    },
    async sync_without_key() {
        const Made = db.define(
            'sequelize_plain',
            { name: DataTypes.STRING },
            { freezeTableName: true, timestamps: false },
        );
        Made.removeAttribute('id');
        await Made.sync({ force: true });
        await Made.create({ name: 'a' });
        same(await Made.findAll({ raw: true }), [{ name: 'a' }]);
        await Made.drop();
    },
});
