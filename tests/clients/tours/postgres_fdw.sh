#!/usr/bin/env bash
# postgres_fdw: a PostgreSQL that has the shop as foreign tables: IMPORT FOREIGN SCHEMA, conditions, joins and aggregates it sends
# over, an insert.
set -u
programs=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
home=$(mktemp -d)
as() { if [ "$(id -u)" = 0 ]; then su postgres -s /bin/bash -c "$*"; else bash -c "$*"; fi; }
[ "$(id -u)" != 0 ] || chown postgres "$home"
trap 'as "$programs/pg_ctl -D $home/data -m immediate stop" >/dev/null 2>&1; rm -rf "$home"' EXIT
as "$programs/initdb -D $home/data -A trust -U postgres" >/dev/null &&
    as "$programs/pg_ctl -D $home/data -w -l $home/log -o \"-c listen_addresses='' -c port=5432 -k $home\" start" >/dev/null || exit 1

local_() { env -u PGPORT psql -X -At -v ON_ERROR_STOP=1 -h "$home" -U postgres -d postgres "$@" 2>&1; }
step() { # name, wanted, statement...
    local name=$1 wanted=$2 got
    shift 2
    for statement in "$@"; do got=$(local_ -q -c "$statement"); done
    if [ "$got" = "$wanted" ]; then echo "PASS $name"; else
        echo "FAIL $name: $(echo "$got" | tr '\n' ' ')"
        sleep 0.2
    fi
}
psql -X -q -c "DROP ${TOURS_DDL:-TOPIC} IF EXISTS fdw_events" -c "CREATE ${TOURS_DDL:-TOPIC} fdw_events (id INT, name TEXT)"
local_ -q -c 'CREATE EXTENSION postgres_fdw' -c "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw
    OPTIONS (host '$PGHOST', port '$PGPORT', dbname '$PGDATABASE')" \
    -c "CREATE USER MAPPING FOR postgres SERVER far OPTIONS (user '$PGUSER', password 'millstream')" -c 'CREATE SCHEMA shop'

step import $'customers\ndear\norders\nspending' 'IMPORT FOREIGN SCHEMA shop FROM SERVER far INTO shop' \
    'SELECT foreign_table_name FROM information_schema.foreign_tables ORDER BY 1'
step scan '10|lamp|19.90|{light,"warm, white"}|{"in": ["hall"], "size": 3}' \
    'SELECT id, product, price, tags, detail FROM shop.orders WHERE id = 10'
step conditions $'11\n12' "SELECT id FROM shop.orders WHERE price > 50 AND placed >= '2024-05-01' AND product IN ('desk', 'chair')
    ORDER BY id LIMIT 5"
step join $'Ada|desk\nAda|lamp\nBohr|chair' 'SELECT c.name, o.product FROM shop.orders o JOIN shop.customers c ON c.id = o.customer
    WHERE c.id < 3 ORDER BY 1, 2'
step aggregate $'chair|1|75.50\ndesk|1|250.00\nlamp|2|39.80' \
    'SELECT product, count(*), sum(price) FROM shop.orders GROUP BY product ORDER BY 1'
step views $'1|2\n2|1\n3|1' 'SELECT customer, orders FROM shop.spending ORDER BY 1'
step own_rows 'Ada|x' "SELECT c.name, v.y FROM shop.customers c JOIN (VALUES (1, 'x')) v(x, y) ON v.x = c.id"
step analyze 4 'ANALYZE shop.orders' "SELECT reltuples::int FROM pg_class WHERE oid = 'shop.orders'::regclass"
step estimate 3 "ALTER SERVER far OPTIONS (ADD use_remote_estimate 'true')" \
    'SELECT count(*) FROM shop.orders WHERE id > 10' 'ALTER SERVER far OPTIONS (DROP use_remote_estimate)' \
    'SELECT count(*) FROM shop.orders WHERE id > 10'
step insert 3 "CREATE FOREIGN TABLE events (id INT, name TEXT) SERVER far OPTIONS (table_name 'fdw_events')" \
    "INSERT INTO events VALUES (1, 'a'), (2, NULL)" "INSERT INTO events SELECT i, 'x' FROM generate_series(3, 3) i" \
    'SELECT count(*) FROM events'
