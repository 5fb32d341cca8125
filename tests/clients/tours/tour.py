"""What the tours in Python share: steps, and where the server is."""

import os
import sys
import time
import traceback

HOST, PORT = os.environ["PGHOST"], int(os.environ["PGPORT"])
USER, DATABASE = os.environ["PGUSER"], os.environ["PGDATABASE"]
WORK = os.environ["WORK"]
TOPIC = os.environ.get("TOURS_DDL", "TOPIC")  # TABLE, to see what PostgreSQL makes of the tours


def step(name):
    """A function as a step of the tour, run at once."""

    def run(function):
        try:
            function()
            print("PASS", name, flush=True)
        except BaseException as error:
            traceback.print_exc()
            print("FAIL %s: %s: %s" % (name, type(error).__name__, " ".join(str(error).split())), flush=True)
            time.sleep(0.2)  # until the runner has read that line, no error of the next step may come
        return function

    return run


def same(got, wanted):
    if got != wanted:
        raise AssertionError("got %r in place of %r" % (got, wanted))
