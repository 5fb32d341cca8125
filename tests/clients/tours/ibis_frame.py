"""ibis: tables, filters, groups, joins, windows, a frame at the end; relations that ibis makes."""

import decimal

import ibis
from ibis import _

from tour import HOST, PORT, USER, DATABASE, same, step

connection = ibis.postgres.connect(host=HOST, port=PORT, user=USER, database=DATABASE, password="millstream")


@step("browse")
def tour():
    same(sorted(connection.list_tables(database="shop")), ["customers", "dear", "orders"])
    schema = connection.table("orders", database="shop").schema()
    same(
        [(name, str(kind)) for name, kind in schema.items()],
        [
            ("id", "!int64"),
            ("customer", "!int64"),
            ("product", "string"),
            ("price", "decimal(10, 2)"),
            ("placed", "timestamp('UTC', 6)"),
            ("tags", "array<string>"),
            ("detail", "jsonb"),
            ("express", "boolean"),
        ],
    )


@step("group_by")
def tour():
    orders = connection.table("orders", database="shop")
    frame = (
        orders.filter(orders.price > 1)
        .group_by("product")
        .aggregate(n=_.count(), total=_.price.sum())
        .order_by("product")
        .to_pandas()
    )
    same(
        frame.values.tolist(),
        [
            ["chair", 1, decimal.Decimal("75.50")],
            ["desk", 1, decimal.Decimal("250.00")],
            ["lamp", 2, decimal.Decimal("39.80")],
        ],
    )


@step("join")
def tour():
    orders, customers = connection.table("orders", database="shop"), connection.table("customers", database="shop")
    joined = orders.join(customers, orders.customer == customers.id).select("name", "product", "placed")
    frame = (
        joined.mutate(day=_.placed.truncate("D")).group_by("name").aggregate(n=_.count()).order_by("name").to_pandas()
    )
    same(frame.values.tolist(), [["Ada", 2], ["Bohr", 1], ["Curie", 1]])


@step("window")
def tour():
    orders = connection.table("orders", database="shop")
    frame = (
        orders.mutate(place=ibis.row_number().over(ibis.window(group_by="customer", order_by=ibis.desc("price"))))
        .select("id", "place")
        .order_by("id")
        .to_pandas()
    )
    same(frame.values.tolist(), [[10, 1], [11, 0], [12, 0], [13, 0]])


@step("to_pandas")
def tour():
    frame = connection.table("orders", database="shop").order_by("id").to_pandas()
    same(frame["tags"].tolist(), [["light", "warm, white"], [], None, ["light"]])
    same(frame["detail"].tolist()[0], {"in": ["hall"], "size": 3})
    same(str(frame["placed"][1]), "2024-05-02 11:30:00.123456+00:00")


@step("sql")
def tour():
    same(
        connection.sql("SELECT customer, total FROM shop.spending WHERE customer = 1").to_pandas().values.tolist(),
        [[1, decimal.Decimal("269.90")]],
    )


@step("create_view")
def tour():
    orders = connection.table("orders", database="shop")
    connection.create_view("ibis_lamps", orders.filter(orders.product == "lamp"), overwrite=True)
    same(connection.table("ibis_lamps").count().to_pandas(), 2)
    connection.drop_view("ibis_lamps")


@step("create_table")
def tour():
    import pandas

    table = connection.create_table("ibis_rows", pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}), overwrite=True)
    same(table.order_by("a").to_pandas().values.tolist(), [[1, "x"], [2, "y"]])
    connection.drop_table("ibis_rows")
