#!/usr/bin/env bash
# pgbench: a script of inserts and reads, in the simple, extended and prepared protocols, with several clients.
set -u
script=$WORK/pgbench.sql
psql -X -q -v ON_ERROR_STOP=1 <<SQL
DROP ${TOURS_DDL:-TOPIC} IF EXISTS pgbench_events CASCADE;
CREATE ${TOURS_DDL:-TOPIC} pgbench_events (id INT, client INT, at TIMESTAMPTZ DEFAULT now());
SQL
cat >"$script" <<'SQL'
\set id random(1, 1000)
BEGIN;
INSERT INTO pgbench_events (id, client) VALUES (:id, :client_id);
SELECT count(*) AS n FROM pgbench_events WHERE id = :id \gset
END;
SELECT 1 / (CASE WHEN :n > 0 THEN 1 ELSE 0 END);
SQL
wanted=0
for mode in simple extended prepared; do
    wanted=$((wanted + 100))
    out=$(pgbench -n -M "$mode" -f "$script" -c 4 -j 2 -t 25 2>&1)
    rows=$(psql -X -At -c 'SELECT count(*) FROM pgbench_events')
    if [[ $out == *'actually processed: 100/100'* && $rows == "$wanted" ]]; then
        echo "PASS $mode"
    else
        echo "FAIL $mode: $rows rows in place of $wanted: $(echo "$out" | tail -n 12 | tr '\n' ' ')"
        sleep 0.2
        wanted=$rows
    fi
done
if out=$(pgbench -i -s 1 -I dtg 2>&1) && [ "$(psql -X -At -c 'SELECT count(*) FROM pgbench_accounts')" = 100000 ]; then
    echo 'PASS initialize'
else
    echo "FAIL initialize: $(echo "$out" | tail -n 3 | tr '\n' ' ')"
fi
psql -X -q -c 'DROP TABLE IF EXISTS pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers' || true
