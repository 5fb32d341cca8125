// TypeORM: entities over relations that are there, repositories, the query builder, what it reads of the catalog, synchronize.
require('reflect-metadata');
const { DataSource, EntitySchema, MoreThan } = require('typeorm');
const { host, port, user, database, topic, same, tour } = require('./tour');

const Customer = new EntitySchema({
    name: 'Customer',
    tableName: 'customers',
    schema: 'shop',
    columns: {
        id: { type: 'bigint', primary: true },
        name: { type: 'text' },
        country: { type: 'varchar', length: 2, nullable: true },
    },
    relations: { orders: { type: 'one-to-many', target: 'Order', inverseSide: 'buyer' } },
});
const Order = new EntitySchema({
    name: 'Order',
    tableName: 'orders',
    schema: 'shop',
    columns: {
        id: { type: 'bigint', primary: true },
        product: { type: 'text' },
        price: { type: 'numeric', precision: 10, scale: 2 },
        placed: { type: 'timestamptz' },
        tags: { type: 'text', array: true },
        detail: { type: 'jsonb' },
    },
    relations: {
        buyer: { type: 'many-to-one', target: 'Customer', joinColumn: { name: 'customer' }, inverseSide: 'orders' },
    },
});
const Event = new EntitySchema({
    name: 'Event',
    tableName: 'typeorm_events',
    columns: {
        id: { type: 'int', primary: true },
        name: { type: 'text', nullable: true },
        at: { type: 'timestamptz', nullable: true },
    },
});
const Made = new EntitySchema({
    name: 'Made',
    tableName: 'typeorm_made',
    columns: { id: { type: 'int', primary: true, generated: true }, name: { type: 'text' } },
});
const options = {
    type: 'postgres',
    host,
    port,
    username: user,
    password: 'millstream',
    database,
    logging: false,
    installExtensions: false,
};
const source = new DataSource({ ...options, entities: [Customer, Order, Event] });

tour({
    async connect() {
        await source.initialize();
        same(await source.query('SELECT 1 AS one'), [{ one: 1 }]);
    },
    async find() {
        const orders = await source
            .getRepository('Order')
            .find({ where: { price: MoreThan(50) }, order: { id: 'ASC' } });
        same(
            orders.map(order => [order.id, order.price]),
            [
                ['11', '250.00'],
                ['12', '75.50'],
            ],
        );
        const order = await source.getRepository('Order').findOne({ where: { id: '10' }, relations: { buyer: true } });
        same(
            [order.buyer.name, order.tags, order.detail, order.placed.toISOString()],
            ['Ada', ['light', 'warm, white'], { in: ['hall'], size: 3 }, '2024-05-01T10:00:00.000Z'],
        );
        const [customers, count] = await source
            .getRepository('Customer')
            .findAndCount({ relations: { orders: true }, order: { id: 'ASC' }, take: 2 });
        same([count, customers.map(customer => customer.orders.length)], [3, [2, 1]]);
    },
    async query_builder() {
        const rows = await source
            .getRepository('Order')
            .createQueryBuilder('o')
            .innerJoin('o.buyer', 'c')
            .select('c.name', 'name')
            .addSelect('SUM(o.price)', 'total')
            .where('o.placed >= :from', { from: new Date('2024-05-01T00:00:00Z') })
            .groupBy('c.name')
            .orderBy('total', 'DESC')
            .getRawMany();
        same(rows, [
            { name: 'Ada', total: '269.90' },
            { name: 'Bohr', total: '75.50' },
            { name: 'Curie', total: '19.90' },
        ]);
    },
    async insert() {
        await source.query(`DROP ${topic} IF EXISTS typeorm_events`);
        await source.query(`CREATE ${topic} typeorm_events (id INT, name TEXT, at TIMESTAMPTZ)`);
        const events = source.getRepository('Event');
        await events.insert(
            [...Array(50).keys()].map(id => ({ id, name: `n${id}`, at: new Date('2024-02-29T12:00:00Z') })),
        );
        await source
            .transaction(async manager => {
                await manager.insert('Event', { id: -1 });
                throw new Error('undo');
            })
            .catch(error => same(error.message, 'undo'));
        same(await events.count(), 50);
        same((await events.findOneBy({ id: 7 })).name, 'n7');
        await events.save({ id: 1000, name: 'saved' });
        same(await events.count(), 51);
    },
    async read_catalog() {
        const runner = source.createQueryRunner();
        const table = await runner.getTable('shop.orders');
        same(table.columns.map(column => [column.name, column.type, column.isNullable]).slice(0, 5), [
            ['id', 'bigint', false],
            ['customer', 'bigint', false],
            ['product', 'text', true],
            ['price', 'numeric', true],
            ['placed', 'timestamp with time zone', true],
        ]);
        same(await runner.hasTable('shop.customers'), true);
        same(await runner.hasColumn('shop.customers', 'joined'), true);
        await runner.release();
    },
    async synchronize() {
        const made = new DataSource({ ...options, entities: [Made] });
        await made.initialize();
        try {
            await made.query('DROP TABLE IF EXISTS typeorm_made');
            await made.synchronize();
            same((await made.getRepository('Made').save({ name: 'a' })).id, 1);
        } finally {
            await made.destroy();
        }
    },
});
