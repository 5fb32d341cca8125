"""psqlODBC: the catalog functions of ODBC, parameters, types, a transaction."""

import datetime
import decimal
import glob

import pyodbc

from tour import HOST, PORT, USER, DATABASE, TOPIC, same, step

DRIVER = sorted(glob.glob("/usr/lib/*/odbc/psqlodbcw.so") + glob.glob("/usr/lib/psqlodbcw.so"))[0]


def connect(**more):
    return pyodbc.connect(
        "Driver=%s;Server=%s;Port=%d;Database=%s;Uid=%s;Pwd=millstream;" % (DRIVER, HOST, PORT, DATABASE, USER), **more
    )


connection = connect(autocommit=True)


@step("catalog")
def _():
    cursor = connection.cursor()
    same(
        [(row.table_name, row.table_type) for row in cursor.tables(schema="shop") if row.table_type == "TABLE"],
        [("customers", "TABLE"), ("orders", "TABLE")],
    )
    same(
        [(row.column_name, row.type_name, row.nullable) for row in cursor.columns(table="orders", schema="shop")][:4],
        [("id", "int8", 0), ("customer", "int8", 0), ("product", "text", 1), ("price", "numeric", 1)],
    )
    same(cursor.primaryKeys(table="orders", schema="shop").fetchall(), [])
    same(cursor.statistics(table="customers", schema="shop").fetchall()[1:], [])
    same("int4" in {row.type_name for row in cursor.getTypeInfo()}, True)


@step("insert_and_read")
def _():
    cursor = connection.cursor()
    cursor.execute("DROP %s IF EXISTS odbc_events" % TOPIC)
    cursor.execute(
        "CREATE %s odbc_events (id INT, name VARCHAR(20), at TIMESTAMP, amount NUMERIC(8,2), ok BOOLEAN, raw BYTEA)"
        % TOPIC
    )
    at = datetime.datetime(2024, 2, 29, 12, 0, 0, 5)
    cursor.executemany(
        "INSERT INTO odbc_events VALUES (?, ?, ?, ?, ?, ?)",
        [(i, "é%d" % i, at, decimal.Decimal("1.50"), True, b"\0\xff") for i in range(10)],
    )
    cursor.execute("SELECT * FROM odbc_events WHERE id = ? AND name = ?", 4, "é4")
    same([tuple(row)[:4] for row in cursor.fetchall()], [(4, "é4", at, decimal.Decimal("1.50"))])
    cursor.execute("SELECT raw FROM odbc_events WHERE id = 1")
    same(cursor.fetchone()[0], b"\0\xff")


@step("transaction")
def _():
    other = connect()
    other.execute("INSERT INTO odbc_events (id) VALUES (-1)")
    other.rollback()
    other.execute("INSERT INTO odbc_events (id) VALUES (-2)")
    other.commit()
    same([row[0] for row in connection.execute("SELECT id FROM odbc_events WHERE id < 0")], [-2])


@step("error")
def _():
    try:
        connection.execute("SELECT * FROM odbc_missing")
    except pyodbc.ProgrammingError as error:
        same(error.args[0], "42P01")
    else:
        raise AssertionError("no error")
