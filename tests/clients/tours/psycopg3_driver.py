"""psycopg 3: adapted values, binary results, COPY, pipelines, server-side cursors, notifications."""

import datetime
import decimal

import psycopg
from psycopg.rows import dict_row

from tour import HOST, PORT, USER, DATABASE, TOPIC, same, step

connection = psycopg.connect(host=HOST, port=PORT, user=USER, dbname=DATABASE, autocommit=True)
connection.execute("DROP %s IF EXISTS psycopg3_events" % TOPIC)
connection.execute(
    "CREATE %s psycopg3_events (id INT, name TEXT, at TIMESTAMPTZ, amount NUMERIC(10,2), tags TEXT[], raw BYTEA)"
    % TOPIC
)
AT = datetime.datetime(2024, 2, 29, 12, 0, 0, 5, tzinfo=datetime.timezone.utc)


@step("insert_and_read")
def _():
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO psycopg3_events VALUES (%s, %s, %s, %s, %s, %s)",
            [(i, "é%d" % i, AT, decimal.Decimal("1.50"), ["a", None], b"\0\xff") for i in range(20)],
        )
    for binary in (False, True):
        rows = (
            connection.cursor(binary=binary)
            .execute("SELECT * FROM psycopg3_events WHERE id < %s ORDER BY id", [1])
            .fetchall()
        )
        same(rows, [(0, "é0", AT, decimal.Decimal("1.50"), ["a", None], b"\0\xff")])
    same(
        connection.cursor(row_factory=dict_row).execute("SELECT count(*) AS n FROM psycopg3_events").fetchone(),
        {"n": 20},
    )


@step("copy")
def _():
    with connection.cursor().copy("COPY psycopg3_events (id, name, amount) FROM STDIN") as copy:
        for i in range(100, 1100):
            copy.write_row((i, "tab\there", None))
    with connection.cursor().copy("COPY psycopg3_events (id, name) FROM STDIN (FORMAT binary)") as copy:
        copy.set_types(["int4", "text"])
        copy.write_row((5000, "binary"))
    with connection.cursor().copy(
        "COPY (SELECT id, name FROM psycopg3_events WHERE id >= 1099 ORDER BY id) TO STDOUT"
    ) as copy:
        same(list(copy.rows()), [("1099", "tab\there"), ("5000", "binary")])


@step("transaction")
def _():
    class Undo(Exception):
        pass

    try:
        with connection.transaction():
            connection.execute("INSERT INTO psycopg3_events (id) VALUES (-1)")
            with connection.transaction():
                connection.execute("INSERT INTO psycopg3_events (id) VALUES (-2)")
            raise Undo
    except Undo:
        pass
    same(connection.execute("SELECT count(*) FROM psycopg3_events WHERE id < 0").fetchone(), (0,))
    with connection.transaction():
        connection.execute("INSERT INTO psycopg3_events (id) VALUES (-3)")
    same(connection.execute("SELECT id FROM psycopg3_events WHERE id < 0").fetchall(), [(-3,)])


@step("pipeline")
def _():
    with connection.pipeline():
        cursors = [connection.execute("SELECT %s::int * 2", [i]) for i in range(50)]
    same([cursor.fetchone()[0] for cursor in cursors], [2 * i for i in range(50)])


@step("server_side_cursor")
def _():
    with connection.transaction():
        with connection.cursor("named") as cursor:
            cursor.itersize = 100
            cursor.execute("SELECT id FROM psycopg3_events WHERE id BETWEEN 100 AND 1099 ORDER BY id")
            same([row[0] for row in cursor], list(range(100, 1100)))


@step("notify")
def _():
    with psycopg.connect(host=HOST, port=PORT, user=USER, dbname=DATABASE, autocommit=True) as listener:
        listener.execute("LISTEN tour")
        connection.execute("NOTIFY tour, 'hello'")
        notes = list(listener.notifies(timeout=5, stop_after=1))
        same([(note.channel, note.payload) for note in notes], [("tour", "hello")])


@step("errors")
def _():
    try:
        connection.execute("SELECT * FROM psycopg3_missing")
    except psycopg.errors.UndefinedTable as error:
        same(error.sqlstate, "42P01")
    else:
        raise AssertionError("no error")


@step("type_info")
def _():
    from psycopg.types import TypeInfo

    info = TypeInfo.fetch(connection, "timestamptz")
    same((info.name, info.oid, info.array_oid), ("timestamptz", 1184, 1185))
