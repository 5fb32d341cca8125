#!/usr/bin/env bash
# pg_dump: the schema of the shop, restored into a second server, which then shows the same; the rows as COPY and as INSERT.
set -u
dump=$WORK/dump.sql
all='SELECT * FROM shop.orders ORDER BY id'
second=
trap '[ -z "$second" ] || kill "$second"; rm -rf "$WORK/second"' EXIT

run() { # step, command...: prints the line of the step
    local step=$1 out
    shift
    if out=$("$@" 2>&1); then echo "PASS $step"; else
        echo "FAIL $step: $(echo "$out" | tail -n 5 | tr '\n' ' ')"
        sleep 0.2
        return 1
    fi
}
schema() {
    pg_dump --schema-only --schema shop >"$dump" &&
        grep -q 'CREATE VIEW shop.dear' "$dump" &&
        grep -q 'CREATE MATERIALIZED VIEW shop.spending' "$dump" &&
        grep -q 'price numeric(10,2)' "$dump" &&
        grep -q "COMMENT ON .* shop.orders IS 'what was sold'" "$dump"
}
data() {
    pg_dump --data-only --schema shop >"$WORK/data.sql" &&
        grep -q $'^10\t1\tlamp\t19.90' "$WORK/data.sql" &&
        pg_dump --data-only --inserts --table shop.orders >"$WORK/inserts.sql" &&
        grep -q "INSERT INTO shop.orders VALUES (10, 1, 'lamp', 19.90" "$WORK/inserts.sql"
}
start() {
    rm -rf "$WORK/second"
    if [ "${TOURS_DDL:-TOPIC}" = TABLE ]; then # PostgreSQL restores into a second database
        psql -X -q -d postgres -c 'DROP DATABASE IF EXISTS second' -c 'CREATE DATABASE second'
        there=(-d second)
        return
    fi
    "${TOURS_SERVER:-target/release/millstream}" serve --listen 127.0.0.1:0 --data-dir "$WORK/second" >"$WORK/second.out" 2>&1 &
    second=$!
    for _ in $(seq 100); do
        port=$(sed -n 's/.*listening.*:\([0-9]*\)$/\1/p' "$WORK/second.out")
        [ -n "$port" ] && break
        sleep 0.1
    done
    there=(-p "$port" -d millstream)
}
browse() {
    psql -X -At "$@" -c '\d shop.orders' -c '\d+ shop.dear' -c '\d+ shop.spending' \
        -c "SELECT obj_description('shop.orders'::regclass)"
}
restore() {
    psql -X -q -v ON_ERROR_STOP=1 "${there[@]}" -f "$dump" && diff <(browse) <(browse "${there[@]}")
}
restore_data() {
    psql -X -q -v ON_ERROR_STOP=1 "${there[@]}" -f "$WORK/data.sql" &&
        diff <(psql -X -At -c "$all") <(psql -X -At "${there[@]}" -c "$all")
}
custom() {
    pg_dump --format custom --schema shop --file "$WORK/dump.custom" &&
        pg_restore --list "$WORK/dump.custom" | grep -q 'TABLE DATA shop orders'
}
run schema schema && start && run restore restore
run data data && [ -n "${there:-}" ] && run restore_data restore_data
run custom custom
exit 0
