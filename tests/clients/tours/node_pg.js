// node-postgres: parameters, named statements, a pool, cursors, streams, COPY.
const { Client, Pool } = require('pg');
const Cursor = require('pg-cursor');
const QueryStream = require('pg-query-stream');
const { from: copyFrom, to: copyTo } = require('pg-copy-streams');
const { pipeline } = require('node:stream/promises');
const { Readable } = require('node:stream');
const { topic, same, tour } = require('./tour');

const pool = new Pool({ max: 4 });

tour({
    async insert_and_read() {
        await pool.query(`DROP ${topic} IF EXISTS node_events`);
        await pool.query(
            `CREATE ${topic} node_events (id INT, name TEXT, at TIMESTAMPTZ, amount NUMERIC(8,2), tags TEXT[], doc JSONB)`,
        );
        const at = new Date('2024-02-29T12:00:00Z');
        for (let i = 0; i < 20; i++) {
            await pool.query({
                name: 'insert',
                text: 'INSERT INTO node_events VALUES ($1, $2, $3, $4, $5, $6)',
                values: [i, `n${i}`, at, '1.50', ['a', null], { i }],
            });
        }
        const { rows, fields } = await pool.query('SELECT * FROM node_events WHERE id = $1', [3]);
        same(rows, [{ id: 3, name: 'n3', at, amount: '1.50', tags: ['a', null], doc: { i: 3 } }]);
        same(
            fields.map(field => field.dataTypeID),
            [23, 25, 1184, 1700, 1009, 3802],
        );
    },
    async transaction() {
        const client = await pool.connect();
        await client.query('BEGIN');
        await client.query('INSERT INTO node_events (id) VALUES (-1)');
        await client.query('ROLLBACK');
        client.release();
        same((await pool.query('SELECT count(*)::int AS n FROM node_events')).rows, [{ n: 20 }]);
    },
    async cursor_and_stream() {
        const client = await pool.connect();
        const cursor = client.query(new Cursor('SELECT id FROM node_events ORDER BY id'));
        same(
            (await cursor.read(3)).map(row => row.id),
            [0, 1, 2],
        );
        await cursor.close();
        const ids = [];
        for await (const row of client.query(
            new QueryStream('SELECT id FROM node_events ORDER BY id', [], { batchSize: 6 }),
        ))
            ids.push(row.id);
        same(ids, [...Array(20).keys()]);
        client.release();
    },
    async copy() {
        const client = await pool.connect();
        await pipeline(
            Readable.from(['100\tx\n', '101\t\\N\n']),
            client.query(copyFrom('COPY node_events (id, name) FROM STDIN')),
        );
        let text = '';
        for await (const part of client.query(
            copyTo('COPY (SELECT id, name FROM node_events WHERE id >= 100 ORDER BY id) TO STDOUT'),
        ))
            text += part;
        same(text, '100\tx\n101\t\\N\n');
        client.release();
    },
    async notify() {
        const listener = new Client();
        await listener.connect();
        await listener.query('LISTEN node_tour');
        const heard = new Promise((resolve, reject) => {
            listener.once('notification', resolve);
            setTimeout(() => reject(new Error('nothing heard')), 5000);
        });
        await pool.query("SELECT pg_notify('node_tour', 'hello')");
        same((await heard).payload, 'hello');
        await listener.end();
    },
});
