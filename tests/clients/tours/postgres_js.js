// postgres.js: tagged templates, helpers, types it reads from pg_type, cursors, COPY, pipelines.
const postgres = require('postgres');
const { pipeline } = require('node:stream/promises');
const { Readable } = require('node:stream');
const { topic, same, tour } = require('./tour');

const sql = postgres({ max: 3, onnotice() {} });

tour({
    async insert_and_read() {
        await sql.unsafe(`DROP ${topic} IF EXISTS postgresjs_events`);
        await sql.unsafe(
            `CREATE ${topic} postgresjs_events (id INT, name TEXT, at TIMESTAMPTZ, tags TEXT[], doc JSONB)`,
        );
        const at = new Date('2024-02-29T12:00:00Z');
        const rows = [...Array(20).keys()].map(id => ({ id, name: `n${id}`, at, tags: ['a', 'b'], doc: { id } }));
        await sql`INSERT INTO postgresjs_events ${sql(rows)}`;
        same([...(await sql`SELECT * FROM postgresjs_events WHERE id IN ${sql([4])}`)], [rows[4]]);
        same(
            [...(await sql`SELECT count(*)::int AS n FROM postgresjs_events WHERE id = ANY(${[1, 2, 99]})`)],
            [{ n: 2 }],
        );
    },
    async transaction() {
        await sql.begin(async inner => {
            await inner`INSERT INTO postgresjs_events (id) VALUES (100)`;
            await inner
                .savepoint(async deeper => {
                    await deeper`INSERT INTO postgresjs_events (id) VALUES (101)`;
                    throw new Error('undo');
                })
                .catch(error => same(error.message, 'undo'));
        });
        same([...(await sql`SELECT id FROM postgresjs_events WHERE id >= 100`)], [{ id: 100 }]);
    },
    async cursor() {
        const ids = [];
        await sql`SELECT id FROM postgresjs_events WHERE id < 20 ORDER BY id`.cursor(7, rows =>
            ids.push(...rows.map(row => row.id)),
        );
        same(ids, [...Array(20).keys()]);
    },
    async copy() {
        await pipeline(
            Readable.from(['200\tx\n', '201\ty\n']),
            await sql`COPY postgresjs_events (id, name) FROM STDIN`.writable(),
        );
        let text = '';
        for await (const part of await sql`COPY (SELECT id, name FROM postgresjs_events WHERE id >= 200 ORDER BY id) TO STDOUT`.readable())
            text += part;
        same(text, '200\tx\n201\ty\n');
    },
    async describe() {
        const { types, columns } =
            await sql`SELECT id, doc FROM postgresjs_events WHERE id = ${1} AND name = ${'x'}`.describe();
        same(
            [types, columns.map(column => [column.name, column.type])],
            [
                [23, 25],
                [
                    ['id', 23],
                    ['doc', 3802],
                ],
            ],
        );
    },
});
