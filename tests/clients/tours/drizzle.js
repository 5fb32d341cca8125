// Drizzle: drizzle-kit pull of the shop, the schema that it writes, queries over it, a migration by push.
const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { drizzle } = require('drizzle-orm/node-postgres');
const { pgSchema, pgTable, bigint, text, numeric, integer, timestamp } = require('drizzle-orm/pg-core');
const { eq, gt, sql, desc } = require('drizzle-orm');
const { Pool } = require('pg');
const { host, port, user, database, topic, same, tour } = require('./tour');

const work = path.join(process.env.WORK, 'node', 'drizzle');
fs.rmSync(work, { recursive: true, force: true });
fs.mkdirSync(work, { recursive: true });
const kit = (config, ...words) => {
    fs.writeFileSync(
        path.join(work, 'drizzle.config.json'),
        JSON.stringify({
            dialect: 'postgresql',
            dbCredentials: { host, port, user, password: 'millstream', database, ssl: false },
            ...config,
        }),
    );
    try {
        return execFileSync(process.execPath, [path.join(process.env.NODE_PATH, 'drizzle-kit', 'bin.cjs'), ...words], {
            cwd: work,
            encoding: 'utf8',
            timeout: 100000,
            stdio: ['ignore', 'pipe', 'pipe'],
        });
    } catch (error) {
        throw new Error(`${error.message} ${error.stdout} ${error.stderr}`.slice(-1500));
    }
};
const db = drizzle(new Pool({ max: 2 }));
const shop = pgSchema('shop');
const customers = shop.table('customers', { id: bigint({ mode: 'number' }), name: text() });
const orders = shop.table('orders', {
    id: bigint({ mode: 'number' }),
    customer: bigint({ mode: 'number' }),
    product: text(),
    price: numeric({ precision: 10, scale: 2 }),
    placed: timestamp({ withTimezone: true }),
    tags: text().array(),
});

tour({
    async pull() {
        kit({ out: './pulled', schemaFilter: ['shop'] }, 'pull');
        const schema = fs.readFileSync(path.join(work, 'pulled', 'schema.ts'), 'utf8');
        for (const part of [
            'export const customersInShop = shop.table("customers"',
            'id: bigint({ mode: "number" }).notNull()',
            'price: numeric({ precision: 10, scale:  2 })',
            "text().default('none')",
            'tags: text().array()',
            'detail: jsonb()',
            'materializedView("spending"',
            'shop.view("dear"',
            'varchar({ length: 2 })',
            'check("orders_price_check"',
        ]) {
            if (!schema.includes(part)) throw new Error(`${part} is not in ${schema}`);
        }
    },
    async select() {
        const rows = await db
            .select({ name: customers.name, total: sql`sum(${orders.price})` })
            .from(orders)
            .innerJoin(customers, eq(customers.id, orders.customer))
            .where(gt(orders.price, '10'))
            .groupBy(customers.name)
            .orderBy(desc(sql`sum(${orders.price})`))
            .limit(2);
        same(rows, [
            { name: 'Ada', total: '269.90' },
            { name: 'Bohr', total: '75.50' },
        ]);
        same((await db.select().from(orders).where(eq(orders.id, 10)))[0].tags, ['light', 'warm, white']);
    },
    async insert() {
        const events = pgTable('drizzle_events', { id: integer(), name: text() });
        await db.execute(sql.raw(`DROP ${topic} IF EXISTS drizzle_events`));
        await db.execute(sql.raw(`CREATE ${topic} drizzle_events (id INT, name TEXT)`));
        await db.insert(events).values([...Array(50).keys()].map(id => ({ id, name: `n${id}` })));
        same(await db.insert(events).values({ id: 99, name: 'kept' }).returning(), [{ id: 99, name: 'kept' }]);
        await db
            .transaction(async tx => {
                await tx.insert(events).values({ id: -1 });
                throw new Error('undo');
            })
            .catch(error => same(error.message, 'undo'));
        same(await db.$count(events), 51);
    },
    async push() {
        fs.writeFileSync(
            path.join(work, 'schema.js'),
            `const { pgSchema, text } = require('drizzle-orm/pg-core');
exports.drizzle = pgSchema('drizzle_made');
exports.made = exports.drizzle.table('made', { a: text() });
`,
        );
        await db.execute(sql`DROP SCHEMA IF EXISTS drizzle_made CASCADE`);
        kit({ schema: './schema.js', schemaFilter: ['drizzle_made'] }, 'push', '--force');
        same(
            (
                await db.execute(
                    sql`SELECT column_name FROM information_schema.columns WHERE table_schema = 'drizzle_made'`,
                )
            ).rows,
            [{ column_name: 'a' }],
        );
    },
    async migrate() {
        const { migrate } = require('drizzle-orm/node-postgres/migrator');
        const folder = path.join(work, 'migrations');
        fs.mkdirSync(path.join(folder, 'meta'), { recursive: true });
        fs.writeFileSync(
            path.join(folder, 'meta', '_journal.json'),
            JSON.stringify({
                version: '7',
                dialect: 'postgresql',
                entries: [{ idx: 0, version: '7', when: 1700000000000, tag: '0000_first', breakpoints: true }],
            }),
        );
        fs.writeFileSync(path.join(folder, '0000_first.sql'), `CREATE ${topic} drizzle_migrated (a INT);`);
        await db.execute(sql.raw(`DROP ${topic} IF EXISTS drizzle_migrated`));
        await db.execute(sql`DROP SCHEMA IF EXISTS drizzle CASCADE`);
        await migrate(db, { migrationsFolder: folder });
        same((await db.execute(sql`SELECT count(*)::int AS n FROM drizzle.__drizzle_migrations`)).rows, [{ n: 1 }]);
    },
});
