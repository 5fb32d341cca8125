"""DuckDB's postgres scanner: the attached database, scans with filters and projections, its rows beside DuckDB's own."""

import decimal
import glob
import os

import duckdb
import duckdb_ext

from tour import HOST, PORT, USER, DATABASE, TOPIC, same, step

connection = duckdb.connect()


@step("attach")
def _():
    connection.execute(
        "LOAD '%s'"
        % glob.glob(
            os.path.join(os.path.dirname(duckdb_ext.__path__[0]), "duckdb_ext/extensions/*/*/postgres_scanner.*")
        )[0]
    )
    connection.execute(
        "ATTACH 'host=%s port=%d user=%s dbname=%s' AS there (TYPE postgres)" % (HOST, PORT, USER, DATABASE)
    )
    names = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = 'there' AND schema_name = 'shop' ORDER BY 1"
    )
    same(names.fetchall(), [("customers",), ("dear",), ("orders",), ("spending",)])


@step("scan")
def _():
    same(
        connection.execute(
            "SELECT product, sum(price) FROM there.shop.orders WHERE price > 10 GROUP BY ALL ORDER BY 1"
        ).fetchall(),
        [("chair", decimal.Decimal("75.50")), ("desk", decimal.Decimal("250.00")), ("lamp", decimal.Decimal("39.80"))],
    )


@step("types")
def _():
    row = connection.execute(
        "SELECT id, product, tags, detail, express, epoch_us(placed) FROM there.shop.orders WHERE id = 10"
    ).fetchone()
    same(row[:3] + row[4:], (10, "lamp", ["light", "warm, white"], True, 1714557600000000))


@step("join_with_own_rows")
def _():
    connection.execute("CREATE TABLE names AS SELECT * FROM (VALUES (1, 'first'), (2, 'second')) AS n(id, name)")
    same(
        connection.execute(
            "SELECT n.name, o.product FROM there.shop.orders o JOIN names n ON n.id = o.customer ORDER BY o.id"
        ).fetchall(),
        [("first", "lamp"), ("first", "desk"), ("second", "chair")],
    )


@step("views")
def _():
    same(connection.execute("SELECT id FROM there.shop.dear ORDER BY id").fetchall(), [(11,), (12,)])
    same(
        connection.execute(
            "SELECT * FROM postgres_query('there', 'SELECT customer, orders FROM shop.spending ORDER BY 1')"
        ).fetchall(),
        [(1, 2), (2, 1), (3, 1)],
    )


@step("insert")
def _():
    connection.execute("CALL postgres_execute('there', 'DROP %s IF EXISTS duckdb_events')" % TOPIC)
    connection.execute(
        "CALL postgres_execute('there', 'CREATE %s duckdb_events (id INT, name TEXT, amount NUMERIC(8,2))')" % TOPIC
    )
    connection.execute("CALL pg_clear_cache()")
    connection.execute("INSERT INTO there.public.duckdb_events SELECT i, 'n' || i, i / 4 FROM range(5000) r(i)")
    same(connection.execute("SELECT count(*), sum(id) FROM there.public.duckdb_events").fetchone(), (5000, 12497500))


@step("create_table")
def _():
    connection.execute("DROP TABLE IF EXISTS there.public.duckdb_copied")
    connection.execute("CREATE TABLE there.public.duckdb_copied AS SELECT i AS a FROM range(10) r(i)")
    same(connection.execute("SELECT sum(a) FROM there.public.duckdb_copied").fetchone(), (45,))
    connection.execute("DROP TABLE there.public.duckdb_copied")
