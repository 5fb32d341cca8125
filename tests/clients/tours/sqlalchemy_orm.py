"""SQLAlchemy 2: reflection, Core, the ORM's reads and inserts, over psycopg, psycopg2 and asyncpg."""

import asyncio
import datetime
import decimal

import sqlalchemy
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from tour import HOST, PORT, USER, DATABASE, TOPIC, same, step

URL = "postgresql+%s://%s@%s:%d/%s"
engine = sqlalchemy.create_engine(URL % ("psycopg", USER, HOST, PORT, DATABASE))


@step("inspect")
def _():
    inspector = sqlalchemy.inspect(engine)
    same("shop" in inspector.get_schema_names(), True)
    same(sorted(inspector.get_table_names("shop")), ["customers", "orders"])
    same(inspector.get_view_names("shop"), ["dear"])
    same(inspector.get_materialized_view_names("shop"), ["spending"])
    same(
        [
            (column["name"], str(column["type"]), column["nullable"])
            for column in inspector.get_columns("orders", "shop")
        ],
        [
            ("id", "BIGINT", False),
            ("customer", "BIGINT", False),
            ("product", "TEXT", True),
            ("price", "NUMERIC(10, 2)", True),
            ("placed", "TIMESTAMP", True),
            ("tags", "ARRAY", True),
            ("detail", "JSONB", True),
            ("express", "BOOLEAN", True),
        ],
    )
    same(inspector.get_table_comment("orders", "shop"), {"text": "what was sold"})
    same([check["name"] for check in inspector.get_check_constraints("orders", "shop")], ["orders_price_check"])
    same("price > " in inspector.get_view_definition("dear", "shop"), True)


@step("expressions")
def _():
    inspector = sqlalchemy.inspect(engine)
    same([column["default"] for column in inspector.get_columns("orders", "shop")][2:3], ["'none'::text"])
    same(inspector.get_check_constraints("orders", "shop")[0]["sqltext"], "price >= 0::numeric")


@step("autoload")
def _():
    for driver in ("psycopg", "psycopg2"):
        metadata = sqlalchemy.MetaData(schema="shop")
        with sqlalchemy.create_engine(URL % (driver, USER, HOST, PORT, DATABASE)).connect() as connection:
            metadata.reflect(connection, views=True)
            same(sorted(metadata.tables), ["shop.customers", "shop.dear", "shop.orders", "shop.spending"])
            orders, customers = metadata.tables["shop.orders"], metadata.tables["shop.customers"]
            rows = connection.execute(
                select(customers.c.name, func.sum(orders.c.price).label("total"))
                .join(orders, orders.c.customer == customers.c.id)
                .where(orders.c.placed >= datetime.datetime(2024, 5, 1, tzinfo=datetime.timezone.utc))
                .group_by(customers.c.name)
                .order_by(sqlalchemy.desc("total"))
                .limit(2)
            ).all()
            same([tuple(row) for row in rows], [("Ada", decimal.Decimal("269.90")), ("Bohr", decimal.Decimal("75.50"))])
            spending = sqlalchemy.Table("spending", sqlalchemy.MetaData(), autoload_with=connection, schema="shop")
            same(connection.execute(select(spending.c.orders).where(spending.c.customer == 1)).scalar_one(), 2)
            same(
                connection.execute(select(orders.c.detail["size"].as_integer()).where(orders.c.id == 10)).scalar_one(),
                3,
            )


@step("orm")
def _():
    class Base(DeclarativeBase):
        pass

    class Event(Base):
        __tablename__ = "sqlalchemy_events"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        name: Mapped[str]
        at: Mapped[datetime.datetime]

    with engine.begin() as connection:
        connection.exec_driver_sql("DROP %s IF EXISTS sqlalchemy_events" % TOPIC)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE %s sqlalchemy_events (id INT NOT NULL, name TEXT NOT NULL, at TIMESTAMP NOT NULL)" % TOPIC
        )
    at = datetime.datetime(2024, 1, 1)
    with Session(engine) as session:
        session.add_all(Event(id=i, name="n%d" % i, at=at) for i in range(1500))
        session.commit()
        same(session.get(Event, 7).name, "n7")
        same(session.scalars(select(Event.id).where(Event.name.in_(["n3", "n4"])).order_by(Event.id)).all(), [3, 4])
        same(session.scalar(select(func.count()).select_from(Event)), 1500)
        same(len(list(session.execute(select(Event).execution_options(yield_per=100)))), 1500)


@step("asyncio")
def _():
    async def read():
        over = create_async_engine(URL % ("asyncpg", USER, HOST, PORT, DATABASE))
        async with over.connect() as connection:
            names = await connection.run_sync(lambda c: sqlalchemy.inspect(c).get_table_names("shop"))
            total = await connection.scalar(
                sqlalchemy.text("SELECT sum(price) FROM shop.orders WHERE id > :id"), {"id": 10}
            )
        await over.dispose()
        return sorted(names), total

    same(asyncio.run(read()), (["customers", "orders"], decimal.Decimal("345.40")))


@step("create_all")
def _():
    metadata = sqlalchemy.MetaData()
    table = sqlalchemy.Table(
        "sqlalchemy_plain",
        metadata,
        sqlalchemy.Column("a", sqlalchemy.Integer),
        sqlalchemy.Column("b", sqlalchemy.Text),
    )
    metadata.drop_all(engine)
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"a": 1, "b": "x"}, {"a": 2, "b": None}])
        same([tuple(row) for row in connection.execute(table.select().order_by(table.c.a))], [(1, "x"), (2, None)])
    metadata.drop_all(engine)
