#!/usr/bin/env bash
# Tours of other people's tools over a server: what each does first, with real values at its end. They are installed below WORK_DIR.
#
#   tests/clients/tours/run.sh HOST PORT WORK_DIR [TOUR ...]
#
# TOURS_DDL=TABLE runs them against PostgreSQL, which has a database and a user named millstream. TOURS_SERVER is the server's
# program, target/release/millstream without it: the tour of pg_dump starts a second one. The last line counts the steps.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
host=$1 port=$2
mkdir -p "$3"
work=$(cd "$3" && pwd)
shift 3

packages() { # Debian packages, where their files are not there
    local sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}
python() { # directory, requirements
    [ "$work/$1/done" -nt "$here/$2" ] && return
    python3 -m venv "$work/$1"
    "$work/$1/bin/python" -m pip install -q --disable-pip-version-check -r "$here/$2"
    touch "$work/$1/done"
}

{
    [ -n "$(ls /usr/lib/*/odbc/psqlodbcw.so /usr/lib/psqlodbcw.so 2>/dev/null)" ] || packages odbc-postgresql unixodbc
    command -v pgbench >/dev/null && [ -n "$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ] || packages postgresql
    python python python.txt
    python dbt dbt.txt
    python pgadmin pgadmin.txt
    if ! [ "$work/node/done" -nt "$here/package.json" ]; then
        mkdir -p "$work/node"
        cp "$here/package.json" "$work/node/"
        npm install --prefix "$work/node" --no-audit --no-fund --silent
        touch "$work/node/done"
    fi
    if ! [ "$work/java/done" -nt "$here/pom.xml" ]; then
        mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$work/java/lib"
        touch "$work/java/done"
    fi
    mkdir -p "$work/go"
    cp "$here"/go.mod "$here"/go.sum "$here"/*.go "$work/go/"
    (cd "$work/go" && for tour in *.go; do go build -o "${tour%.go}" "$tour"; done)
} >&2

sed "s/TOPIC/${TOURS_DDL:-TOPIC}/" "$here/fixture.sql" |
    psql -X -q -v ON_ERROR_STOP=1 -h "$host" -p "$port" -U millstream -d millstream >&2
exec python3 "$here/run.py" "$host" "$port" "$work" "$@"
