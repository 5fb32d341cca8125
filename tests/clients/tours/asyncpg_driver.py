"""asyncpg: prepared statements, records, COPY of records, cursors, a pool, introspection of types."""

import asyncio
import datetime
import decimal

import asyncpg

from tour import HOST, PORT, USER, DATABASE, TOPIC, same, step

AT = datetime.datetime(2024, 2, 29, 12, 0, tzinfo=datetime.timezone.utc)
loop = asyncio.new_event_loop()


def run(name):
    def of(function):
        async def connected():
            connection = await asyncpg.connect(host=HOST, port=PORT, user=USER, database=DATABASE, ssl=False)
            try:
                await function(connection)
            finally:
                await connection.close()

        step(name)(lambda: loop.run_until_complete(connected()))

    return of


@run("insert_and_read")
async def _(connection):
    await connection.execute("DROP %s IF EXISTS asyncpg_events" % TOPIC)
    await connection.execute(
        "CREATE %s asyncpg_events (id BIGINT, name TEXT, at TIMESTAMPTZ, amount NUMERIC, parts INT[])" % TOPIC
    )
    await connection.executemany(
        "INSERT INTO asyncpg_events VALUES ($1, $2, $3, $4, $5)",
        [(i, "n%d" % i, AT, decimal.Decimal("3.25"), [i, None]) for i in range(10)],
    )
    row = await connection.fetchrow("SELECT * FROM asyncpg_events WHERE id = $1", 4)
    same(dict(row), {"id": 4, "name": "n4", "at": AT, "amount": decimal.Decimal("3.25"), "parts": [4, None]})
    same(await connection.fetchval("SELECT count(*) FROM asyncpg_events WHERE id = ANY($1::bigint[])", [1, 2, 99]), 2)


@run("copy_records")
async def _(connection):
    same(
        await connection.copy_records_to_table(
            "asyncpg_events", columns=["id", "name"], records=[(i, "c") for i in range(100, 600)]
        ),
        "COPY 500",
    )
    same(await connection.fetchval("SELECT sum(id) FROM asyncpg_events WHERE name = 'c'"), sum(range(100, 600)))


@run("cursor")
async def _(connection):
    async with connection.transaction():
        ids = [
            record["id"]
            async for record in connection.cursor(
                "SELECT id FROM asyncpg_events WHERE id >= 100 ORDER BY id", prefetch=70
            )
        ]
    same(ids, list(range(100, 600)))


@run("introspection")
async def _(connection):
    statement = await connection.prepare(
        "SELECT a.attname, a.attnum, t.typname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid "
        "WHERE a.attrelid = $1::regclass AND a.attnum > 0 ORDER BY a.attnum"
    )
    same([parameter.name for parameter in statement.get_parameters()], ["regclass"])
    same(await connection.fetchval("SELECT ARRAY[1.5::numeric]"), [decimal.Decimal("1.5")])
    same([tuple(row)[0] for row in await statement.fetch("asyncpg_events")], ["id", "name", "at", "amount", "parts"])


@run("pool")
async def _(_connection):
    async with asyncpg.create_pool(
        host=HOST, port=PORT, user=USER, database=DATABASE, ssl=False, min_size=2, max_size=4
    ) as pool:
        same(
            sorted(await asyncio.gather(*[pool.fetchval("SELECT $1::int + 1", i) for i in range(20)])),
            list(range(1, 21)),
        )
