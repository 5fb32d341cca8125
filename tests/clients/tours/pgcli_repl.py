"""pgcli: what it reads to complete names, its backslash commands, statements at its prompt."""

import os
import subprocess
import sys
import time

from pgcli.completion_refresher import CompletionRefresher
from pgcli.pgexecute import PGExecute
from pgspecial.main import PGSpecial

from tour import HOST, PORT, USER, DATABASE, same, step


@step("complete")
def _():
    executor = PGExecute(DATABASE, USER, "millstream", HOST, PORT, None)
    done = []
    CompletionRefresher().refresh(executor, PGSpecial(), done.append, settings={})
    for _ in range(300):
        if done:
            break
        time.sleep(0.1)
    names = done[0].dbmetadata
    same(sorted(names["tables"]["shop"]), ["customers", "orders"])
    same(sorted(names["views"]["shop"]), ["dear", "spending"])
    same(
        list(names["tables"]["shop"]["orders"]),
        ["id", "customer", "product", "price", "placed", "tags", "detail", "express"],
    )


def prompt(*statements):
    program = os.path.join(os.path.dirname(sys.executable), "pgcli")
    ran = subprocess.run(
        [program, "-h", HOST, "-p", str(PORT), "-U", USER, "-d", DATABASE, "-w", "--less-chatty"],
        input="\n".join(statements) + "\n\\q\n",
        text=True,
        capture_output=True,
        timeout=100,
        env=dict(os.environ, TERM="dumb", PAGER="cat", HOME=os.environ["WORK"]),
    )
    return ran.stdout + ran.stderr


@step("prompt")
def _():
    out = prompt(
        "SELECT product, price FROM shop.orders WHERE id = 11;",
        "\\dt shop.*",
        "\\d shop.orders",
        "\\dm shop.*",
        "\\dv+ shop.*",
        "\\l",
        "\\dn",
        "\\df upper",
        "\\du",
    )
    for part in ("desk", "250.00", "| shop   | customers |", "numeric(10,2)", "spending", "dear", "UTF8", "upper"):
        if part not in out:
            raise AssertionError("%r is not in: %s" % (part, out[-1500:]))
    if "does not exist" in out or "not supported" in out:
        raise AssertionError(out)
