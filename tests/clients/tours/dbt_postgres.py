"""dbt: a project over the shop, with views, materialized views, a seed and tests; its documentation; a second run of all."""

import json
import os
import shutil
import subprocess
import sys

from tour import HOST, PORT, USER, DATABASE, WORK, same, step

PROJECT = os.path.join(WORK, "dbt_project")
FILES = {
    "dbt_project.yml": """
name: shop
version: "1.0.0"
profile: shop
models:
  shop:
    views: {+materialized: view}
    kept: {+materialized: materialized_view}
    tables: {+materialized: table}
    growing: {+materialized: incremental}
""",
    "profiles.yml": """
shop:
  target: dev
  outputs:
    dev: {type: postgres, host: %s, port: %d, user: %s, password: millstream, dbname: %s, schema: dbt_shop, threads: 2}
"""
    % (HOST, PORT, USER, DATABASE),
    "models/sources.yml": """
sources:
  - name: shop
    schema: shop
    tables:
      - name: orders
        columns:
          - name: id
            data_tests: [not_null, unique]
      - name: customers
models:
  - name: sold
    description: orders with the names of their customers
    columns:
      - name: id
        data_tests: [not_null, unique]
      - name: product
        data_tests: [{accepted_values: {values: [lamp, desk, chair]}}]
  - name: per_customer
    columns:
      - name: customer
        data_tests: [unique, {relationships: {to: "source('shop', 'customers')", field: id}}]
""",
    "models/views/sold.sql": "select o.id, o.customer, c.name, o.product, o.price from {{ source('shop', 'orders') }} o "
    "join {{ source('shop', 'customers') }} c on c.id = o.customer",
    "models/kept/per_customer.sql": "select customer, count(*) as orders, sum(price) as total from {{ ref('sold') }} group by customer",
    "models/tables/copied.sql": "select id, product from {{ ref('sold') }}",
    "models/growing/grown.sql": "select id, product from {{ ref('sold') }}{% if is_incremental() %} "
    "where id > (select max(id) from {{ this }}){% endif %}",
    "tests/all_paid.sql": "select * from {{ ref('per_customer') }} where total <= 0",
    "seeds/countries.csv": "code,country\nGB,Britain\nDK,Denmark\n",
}
shutil.rmtree(PROJECT, ignore_errors=True)
for name, text in FILES.items():
    os.makedirs(os.path.dirname(os.path.join(PROJECT, name)), exist_ok=True)
    with open(os.path.join(PROJECT, name), "w") as file:
        file.write(text)


def dbt(*arguments):
    ran = subprocess.run(
        [
            os.path.join(os.path.dirname(sys.executable), "dbt"),
            "--no-use-colors",
            "--no-send-anonymous-usage-stats",
            *arguments,
            "--project-dir",
            PROJECT,
            "--profiles-dir",
            PROJECT,
        ],
        cwd=PROJECT,
        text=True,
        capture_output=True,
        timeout=120,
    )
    print(ran.stdout, ran.stderr)
    if ran.returncode:
        raise AssertionError("dbt %s: %s" % (" ".join(arguments), ran.stdout[-900:] + ran.stderr[-900:]))
    return ran.stdout


def results():
    with open(os.path.join(PROJECT, "target/run_results.json")) as file:
        return sorted((result["unique_id"].split(".")[2], result["status"]) for result in json.load(file)["results"])


def rows(statement):
    import psycopg2

    connection = psycopg2.connect(host=HOST, port=PORT, user=USER, dbname=DATABASE)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(statement)
    return cursor.fetchall() if cursor.description else None


rows("DROP SCHEMA IF EXISTS dbt_shop CASCADE")
TOTALS = [(1, 2, "269.90"), (2, 1, "75.50"), (3, 1, "19.90")]


@step("debug")
def _():
    same("All checks passed!" in dbt("debug"), True)


@step("run_views")
def _():
    dbt("run", "--select", "views")
    same(results(), [("sold", "success")])
    same(rows("SELECT name, product FROM dbt_shop.sold WHERE id = 12"), [("Bohr", "chair")])


@step("run_materialized_views")
def _():
    dbt("run", "--select", "views", "kept")
    same(results(), [("per_customer", "success"), ("sold", "success")])
    same(rows("SELECT customer, orders, total::text FROM dbt_shop.per_customer ORDER BY 1"), TOTALS)


@step("run_again")
def _():
    dbt("run", "--select", "views", "kept")
    same(results(), [("per_customer", "success"), ("sold", "success")])
    same(rows("SELECT customer, orders, total::text FROM dbt_shop.per_customer ORDER BY 1"), TOTALS)


@step("test")
def _():
    dbt("test", "--select", "sold", "per_customer", "source:shop", "all_paid")
    same({status for _, status in results()}, {"pass"})
    same(len(results()), 8)


@step("docs")
def _():
    dbt("docs", "generate")
    with open(os.path.join(PROJECT, "target/catalog.json")) as file:
        catalog = json.load(file)
    same(
        [(column["name"], column["type"]) for column in catalog["nodes"]["model.shop.sold"]["columns"].values()],
        [("id", "bigint"), ("customer", "bigint"), ("name", "text"), ("product", "text"), ("price", "numeric(10,2)")],
    )
    same(catalog["nodes"]["model.shop.per_customer"]["metadata"]["type"], "MATERIALIZED VIEW")
    same(catalog["sources"]["source.shop.shop.orders"]["metadata"]["comment"], "what was sold")


@step("full_refresh")
def _():
    dbt("run", "--full-refresh", "--select", "views", "kept")
    same(results(), [("per_customer", "success"), ("sold", "success")])
    same(rows("SELECT customer, orders, total::text FROM dbt_shop.per_customer ORDER BY 1"), TOTALS)


@step("seed")
def _():
    dbt("seed")
    same(rows("SELECT code, country FROM dbt_shop.countries ORDER BY 1"), [("DK", "Denmark"), ("GB", "Britain")])


@step("table")
def _():
    dbt("run", "--select", "copied")
    dbt("run", "--select", "copied")
    same(rows("SELECT count(*) FROM dbt_shop.copied"), [(4,)])


@step("incremental")
def _():
    dbt("run", "--select", "grown")
    dbt("run", "--select", "grown")
    same(rows("SELECT count(*) FROM dbt_shop.grown"), [(4,)])
