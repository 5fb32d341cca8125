"""psycopg 2: values, execute_values, COPY, named cursors, JSON."""

import decimal
import io

import psycopg2
import psycopg2.extras

from tour import HOST, PORT, USER, DATABASE, TOPIC, same, step

connection = psycopg2.connect(host=HOST, port=PORT, user=USER, dbname=DATABASE)
connection.autocommit = True
cursor = connection.cursor()
cursor.execute("DROP %s IF EXISTS psycopg2_events" % TOPIC)
cursor.execute("CREATE %s psycopg2_events (id INT, name TEXT, amount NUMERIC(10,2), doc JSONB)" % TOPIC)


@step("insert_and_read")
def _():
    psycopg2.extras.execute_values(
        cursor,
        "INSERT INTO psycopg2_events VALUES %s",
        [(i, "it's %d" % i, decimal.Decimal("2.25"), psycopg2.extras.Json({"i": [i]})) for i in range(30)],
    )
    cursor.execute("SELECT * FROM psycopg2_events WHERE id = %s", (7,))
    same(cursor.fetchall(), [(7, "it's 7", decimal.Decimal("2.25"), {"i": [7]})])
    same([column.type_code for column in cursor.description], [23, 25, 1700, 3802])


@step("copy")
def _():
    cursor.copy_expert(
        "COPY psycopg2_events FROM STDIN (FORMAT csv)", io.StringIO('100,"a,b",,\n101,c,1.5,"{""i"": 1}"\n')
    )
    out = io.StringIO()
    cursor.copy_expert(
        "COPY (SELECT * FROM psycopg2_events WHERE id >= 100 ORDER BY id) TO STDOUT (FORMAT csv, HEADER)", out
    )
    same(out.getvalue(), 'id,name,amount,doc\n100,"a,b",,\n101,c,1.50,"{""i"": 1}"\n')


@step("dictionaries_and_named_cursor")
def _():
    connection.autocommit = False
    with connection, connection.cursor("named", cursor_factory=psycopg2.extras.RealDictCursor) as named:
        named.itersize = 7
        named.execute("SELECT id FROM psycopg2_events WHERE id < 30 ORDER BY id")
        same([row["id"] for row in named], list(range(30)))
    connection.autocommit = True


@step("rollback")
def _():
    connection.autocommit = False
    try:
        with connection, connection.cursor() as inner:
            inner.execute("INSERT INTO psycopg2_events (id) VALUES (-1)")
            raise KeyError
    except KeyError:
        pass
    connection.autocommit = True
    cursor.execute("SELECT count(*) FROM psycopg2_events WHERE id = -1")
    same(cursor.fetchone(), (0,))
