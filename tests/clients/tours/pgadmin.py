"""pgAdmin 4: its web application without a browser, which connects, opens the nodes of its tree, shows properties, SQL and
statistics, reads rows of a table and runs a statement."""

import builtins
import json
import os
import random
import shutil
import sys

from tour import HOST, PORT, USER, DATABASE, WORK, same, step

HOME = os.path.join(WORK, "pgadmin_home")
shutil.rmtree(HOME, ignore_errors=True)
os.makedirs(HOME)
os.environ["HOME"] = HOME
builtins.SERVER_MODE = False
sys.path.insert(0, next(path for path in (os.path.join(part, "pgadmin4") for part in sys.path) if os.path.isdir(path)))
out, sys.stdout = sys.stdout, sys.stderr  # pgAdmin prints where the steps are read
import config  # noqa: E402

config.MASTER_PASSWORD_REQUIRED = False
config.UPGRADE_CHECK_ENABLED = False
config.AUTO_DISCOVER_SERVERS = False
config.USE_OS_SECRET_STORAGE = False
import pgAdmin4  # noqa: E402

sys.stdout = out
pgAdmin4.app.config["WTF_CSRF_ENABLED"] = False
client = pgAdmin4.app.test_client()


def ask(method, url, data=None):
    answer = getattr(client, method)(
        url, data=None if data is None else json.dumps(data), content_type="application/json", follow_redirects=True
    )
    body = json.loads(answer.data) if answer.is_json or answer.data[:1] in b'[{"' else answer.data.decode()
    if answer.status_code != 200 or (isinstance(body, dict) and body.get("success") == 0):
        raise AssertionError("%s %s: %s %s" % (method, url, answer.status_code, str(body)[-1200:]))
    return body


def nodes(kind, *path):
    """The children of a node in the tree, by their names."""
    data = ask("get", "/browser/%s/nodes/%s/" % (kind, "/".join(map(str, path))))["data"]
    return {node["label"]: int(str(node["_id"]).rpartition("_")[2]) for node in data}


at = {}


def table(name):
    return at["schema"] + (at["tables"][name],)


@step("connect")
def _():
    ask("get", "/browser/")
    made = ask(
        "post",
        "/browser/server/obj/1/",
        {
            "name": "there",
            "host": HOST,
            "port": PORT,
            "db": DATABASE,
            "username": USER,
            "role": "",
            "sslmode": "prefer",
            "connection_params": [],
            "shared": False,
            "kerberos_conn": False,
        },
    )
    at["server"] = (1, int(made["node"]["_id"]))
    connected = ask("post", "/browser/server/connect/1/%d" % at["server"][1], {"password": "millstream"})["data"]
    same((connected["connected"], connected["version"] // 10000, connected["type"]), (True, 15, "pg"))


@step("databases")
def _():
    at["database"] = at["server"] + (nodes("database", *at["server"])[DATABASE],)
    ask("post", "/browser/database/connect/%d/%d/%d" % at["database"])
    shown = ask("get", "/browser/database/obj/%d/%d/%d" % at["database"])
    same((shown["name"], shown["encoding"]), (DATABASE, "UTF8"))


@step("roles_and_tablespaces")
def _():
    same(USER in nodes("role", *at["server"]), True)
    same("pg_default" in nodes("tablespace", *at["server"]), True)


@step("schemas")
def _():
    schemas = nodes("schema", *at["database"])
    same({"public", "shop"} <= set(schemas), True)
    at["schema"] = at["database"] + (schemas["shop"],)
    same(ask("get", "/browser/schema/obj/%d/%d/%d/%d" % at["schema"])["name"], "shop")


@step("tables")
def _():
    at["tables"] = nodes("table", *at["schema"])
    same(sorted(at["tables"]), ["customers", "orders"])


@step("columns")
def _():
    same(
        list(nodes("column", *table("orders"))),
        ["id", "customer", "product", "price", "placed", "tags", "detail", "express"],
    )
    column = nodes("column", *table("orders"))["price"]
    shown = ask("get", "/browser/column/obj/%s/%s" % ("/".join(map(str, table("orders"))), column))
    same(
        (shown["cltype"], str(shown["attlen"]), str(shown["attprecision"]), shown["description"]),
        ("numeric", "10", "2", "in euro"),
    )


@step("table_properties")
def _():
    shown = ask("get", "/browser/table/obj/%s" % "/".join(map(str, table("orders"))))
    same((shown["name"], shown["description"], len(shown["columns"])), ("orders", "what was sold", 8))


@step("table_sql")
def _():
    text = ask("get", "/browser/table/sql/%s" % "/".join(map(str, table("orders"))))
    for part in ("price numeric(10,2)", "id bigint NOT NULL", "COMMENT ON TABLE shop.orders"):
        if part not in text:
            raise AssertionError("%r is not in %s" % (part, text))


@step("table_statistics")
def _():
    shown = ask("get", "/browser/table/stats/%s" % "/".join(map(str, table("orders"))))["data"]
    same((len(shown["rows"]), "Live tuples" in {column["name"] for column in shown["columns"]}), (1, True))
    ask("get", "/browser/table/stats/%s/" % "/".join(map(str, at["schema"])))


@step("table_dependents")
def _():
    names = {row["name"] for row in ask("get", "/browser/table/dependent/%s" % "/".join(map(str, table("orders"))))}
    same({"_RETURN ON shop.dear", "_RETURN ON shop.spending"} <= names, True)
    ask("get", "/browser/table/dependency/%s" % "/".join(map(str, table("orders"))))


@step("children_of_a_table")
def _():
    for kind in (
        "index",
        "trigger",
        "rule",
        "foreign_key",
        "primary_key",
        "unique_constraint",
        "exclusion_constraint",
        "row_security_policy",
    ):
        same(nodes(kind, *table("orders")), {})
    same(list(nodes("check_constraint", *table("orders"))), ["orders_price_check"])


def only_view(kind, name, part, made):
    views = nodes(kind, *at["schema"])
    same(list(views), [name])
    path = "/".join(map(str, at["schema"] + (views[name],)))
    same(part in ask("get", "/browser/%s/obj/%s" % (kind, path))["definition"], True)
    same("%s shop.%s" % (made, name) in ask("get", "/browser/%s/sql/%s" % (kind, path)), True)


@step("views")
def _():
    only_view("view", "dear", "50", "CREATE OR REPLACE VIEW")


@step("materialized_views")
def _():
    only_view("mview", "spending", "sum(", "CREATE MATERIALIZED VIEW IF NOT EXISTS")


@step("other_collections")
def _():
    for kind in (
        "function",
        "procedure",
        "trigger_function",
        "sequence",
        "type",
        "domain",
        "aggregate",
        "collation",
        "operator",
        "fts_configuration",
        "fts_dictionary",
        "fts_parser",
        "fts_template",
        "foreign_table",
    ):
        same(nodes(kind, *at["schema"]), {})
    for kind in (
        "extension",
        "language",
        "cast",
        "event_trigger",
        "foreign_data_wrapper",
        "publication",
        "subscription",
        "catalog",
    ):
        nodes(kind, *at["database"])


def poll(number):
    for _ in range(100):
        answer = ask("get", "/sqleditor/poll/%d" % number)["data"]
        if answer["status"] != "Busy":
            break
    same(answer["status"], "Success")
    return answer


@step("view_data")
def _():
    number = random.randint(1, 9999999)
    ask(
        "post",
        "/sqleditor/initialize/viewdata/%d/3/table/%d/%d/%d/%d"
        % ((number,) + at["database"] + (at["tables"]["orders"],)),
    )
    ask("get", "/sqleditor/view_data/start/%d" % number)
    rows = poll(number)["result"]
    same(sorted(row[0] for row in rows), ["10", "11", "12", "13"])
    same([row[2:4] for row in rows if row[0] == "11"], [["desk", "250.00"]])


@step("query_tool")
def _():
    number = random.randint(1, 9999999)
    ask(
        "post",
        "/sqleditor/initialize/sqleditor/%d/%d/%d/%d" % ((number,) + at["database"]),
        {"dbname": DATABASE, "user": USER},
    )
    ask(
        "post",
        "/sqleditor/query_tool/start/%d" % number,
        {"sql": "SELECT product, count(*) AS n FROM shop.orders GROUP BY product ORDER BY 1", "explain_plan": None},
    )
    answer = poll(number)
    same([column["name"] for column in answer["colinfo"]], ["product", "n"])
    same(answer["result"], [["chair", "1"], ["desk", "1"], ["lamp", "2"]])
    same(
        "orders"
        in str(ask("post", "/sqleditor/autocomplete/%d" % number, ["SELECT * FROM shop.", "SELECT * FROM shop."])),
        True,
    )


@step("explain")
def _():
    number = random.randint(1, 9999999)
    ask(
        "post",
        "/sqleditor/initialize/sqleditor/%d/%d/%d/%d" % ((number,) + at["database"]),
        {"dbname": DATABASE, "user": USER},
    )
    ask(
        "post",
        "/sqleditor/query_tool/start/%d" % number,
        {
            "sql": "SELECT * FROM shop.orders",
            "explain_plan": {
                "format": "json",
                "analyze": False,
                "verbose": False,
                "costs": False,
                "buffers": False,
                "timing": False,
                "summary": False,
                "settings": False,
                "wal": False,
            },
        },
    )
    same("Plan" in str(poll(number)["result"]), True)


@step("dashboard")
def _():
    sid, did = at["server"][1], at["database"][2]
    charts = ask(
        "get",
        "/dashboard/dashboard_stats/%d/%d?chart_names=session_stats,tps_stats,ti_stats,to_stats,bio_stats" % (sid, did),
    )
    same(charts["session_stats"]["Total"] > 0, True)
    for page in ("activity", "locks", "prepared", "config"):
        ask("get", "/dashboard/%s/%d" % (page, sid) + ("/%d" % did if page != "config" else ""))


@step("search")
def _():
    found = ask("get", "/search_objects/search/%d/%d?text=orders&type=all" % (at["server"][1], at["database"][2]))[
        "data"
    ]
    same("orders" in {row["name"] for row in found}, True)
