#!/usr/bin/env python3
"""The runner of the tours: against a server, through a proxy that knows which statement an error answers.

    run.py HOST PORT WORK_DIR [TOUR ...]        TOURS_TRACE=FILE keeps all statements, as lines of JSON

A tour is a program named `NAME.py`, `.js`, `.go`, `.java` or `.sh`. It finds the server in PGHOST, PGPORT, PGUSER and
PGDATABASE, and prints a line for each of its steps: `PASS step`, or `FAIL step: message`. To a step that failed this adds the
last statement of that step that the server refused, with its answer. A failure that known.txt does not list makes the run
fail, and so does a step of known.txt that passes: it no longer belongs there.
"""

import asyncio
import collections
import json
import os
import struct
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SECONDS = 240  # a tour
ENDS = {"P": "1", "B": "2", "C": "3", "D": "Tn", "E": "CIs"}  # the answers that end a message of the extended protocol


class Proxy:
    """A proxy that keeps (statement, answer) of each error."""

    def __init__(self, host, port):
        self.server = host, port
        self.errors = []
        self.statements = []
        self.trace = os.environ.get("TOURS_TRACE")
        loop = asyncio.new_event_loop()
        started = threading.Event()

        async def listen():
            listener = await asyncio.start_server(self.session, "127.0.0.1", 0)
            self.port = listener.sockets[0].getsockname()[1]
            started.set()
            await listener.serve_forever()

        threading.Thread(target=lambda: loop.run_until_complete(listen()), daemon=True).start()
        if not started.wait(10):
            sys.exit("the proxy did not start")

    async def session(self, reader, writer):
        sent = collections.deque()  # (kind, statement) of each message that has no answer yet
        try:
            while True:  # encryption is refused: what is encrypted cannot be read
                head = await reader.readexactly(8)
                length, code = struct.unpack("!ii", head)
                if code not in (80877103, 80877104):
                    break
                writer.write(b"N")
            there, to_server = await asyncio.open_connection(*self.server)
            to_server.write(head + await reader.readexactly(length - 8))
            ways = asyncio.gather(self.requests(reader, to_server, sent), self.answers(there, writer, sent))
            try:
                await ways
            finally:
                to_server.close()
        except (asyncio.IncompleteReadError, ConnectionError, OSError):
            pass
        finally:
            writer.close()

    async def requests(self, reader, writer, sent):
        prepared, portals = {}, {}
        while True:
            try:
                head = await reader.readexactly(5)
            except asyncio.IncompleteReadError:
                writer.close()
                return
            kind, body = chr(head[0]), await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)
            texts = body.split(b"\0")
            text = [part.decode("utf-8", "replace") for part in texts[:2]] + [""]
            if kind == "Q":
                sent.append((kind, text[0]))
                self.note(text[0])
            elif kind == "P":
                prepared[text[0]] = text[1]
                sent.append((kind, text[1]))
                self.note(text[1])
            elif kind == "B":
                portals[text[0]] = prepared.get(text[1], "")
                sent.append((kind, portals[text[0]]))
            elif kind == "D":
                sent.append((kind, (prepared if text[0][:1] == "S" else portals).get(text[0][1:], "")))
            elif kind == "E":
                sent.append((kind, portals.get(text[0], "")))
            elif kind in "CS":
                sent.append((kind, ""))
            writer.write(head + body)
            await writer.drain()

    def note(self, statement):
        if self.trace:
            with open(self.trace, "a") as file:
                print(json.dumps(statement), file=file)

    async def answers(self, reader, writer, sent):
        while True:
            head = await reader.readexactly(5)
            kind, body = chr(head[0]), await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)
            if kind == "Z":
                while sent and sent.popleft()[0] not in "QS":
                    pass
            elif kind == "E":
                fields = {part[:1]: part[1:].decode("utf-8", "replace") for part in body.split(b"\0") if part}
                statement = sent[0][1] if sent else ""
                self.errors.append((statement, "%s: %s" % (fields.get(b"C"), fields.get(b"M"))))
                self.note("-- %s: %s" % (fields.get(b"C"), fields.get(b"M")))
            elif sent and kind in ENDS.get(sent[0][0], ""):
                sent.popleft()
            writer.write(head + body)
            await writer.drain()


def command(path, work):
    """The command of a tour, by its ending."""
    name, ending = os.path.splitext(os.path.basename(path))
    java = "%s/java" % work
    return {
        ".py": [
            os.path.join(work, {"dbt_postgres": "dbt", "pgadmin": "pgadmin"}.get(name, "python"), "bin/python"),
            path,
        ],
        ".js": ["node", path],
        ".sh": ["bash", path],
        ".go": [os.path.join(work, "go", name)],
        ".java": ["java", "-cp", "%s/lib/*" % java, path],
    }[ending]


def one_line(text):
    return " ".join(text.split())


def main():
    host, port, work = sys.argv[1], int(sys.argv[2]), os.path.abspath(sys.argv[3])
    only = sys.argv[4:]
    proxy = Proxy(host, port)
    environment = dict(
        os.environ,
        PGHOST="127.0.0.1",
        PGPORT=str(proxy.port),
        PGUSER="millstream",
        PGDATABASE="millstream",
        PGPASSWORD="millstream",
        NODE_PATH=os.path.join(work, "node", "node_modules"),
        WORK=work,
        PYTHONDONTWRITEBYTECODE="1",
    )
    tours = sorted(
        name
        for name in os.listdir(HERE)
        if name.endswith((".py", ".js", ".go", ".java", ".sh"))
        and name not in ("run.py", "run.sh", "tour.py", "tour.js")
    )
    with open(os.path.join(HERE, "known.txt")) as file:
        known = {line.split()[0] for line in file if line.strip() and not line.startswith("#")}
    if environment.get("TOURS_DDL") == "TABLE":  # PostgreSQL
        known = set()
    passed, failed = [], []
    for tour in tours:
        name = os.path.splitext(tour)[0]
        if only and name not in only:
            continue
        began, steps = time.time(), 0
        proxy.errors.clear()
        log_path = os.path.join(work, name + ".log")
        with open(log_path, "w") as log:
            process = subprocess.Popen(
                command(os.path.join(HERE, tour), work),
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                cwd=work,
                text=True,
                errors="replace",
            )
            timer = threading.Timer(SECONDS, process.kill)
            timer.start()
            for line in process.stdout:
                word, _, rest = line.rstrip().partition(" ")
                if word not in ("PASS", "FAIL"):
                    log.write(line)
                    continue
                steps += 1
                step = name + "." + rest.partition(":")[0]
                if word == "PASS":
                    passed.append(step)
                    print("PASS", step, flush=True)
                else:
                    failed.append(step)
                    print("FAIL %s: %s" % (step, explain(proxy, rest.partition(":")[2])), flush=True)
                proxy.errors.clear()
            code = process.wait()
            timer.cancel()
        if code or not steps:
            failed.append(name)
            with open(log_path) as log:
                last = " | ".join(log.read().split("\n")[-6:])
            print(
                "FAIL %s: it ended with %s after %d steps and %.0f s: %s"
                % (name, code, steps, time.time() - began, explain(proxy, last)),
                flush=True,
            )
    print("%d passed, %d failed" % (len(passed), len(failed)))
    unknown = [step for step in failed if step not in known]
    mended = [step for step in passed if step in known]
    for step in unknown:
        print("not known to fail:", step)
    for step in mended:
        print("passes, and stands in known.txt:", step)
    if not passed:
        print("no tour ran")
    return 1 if unknown or mended or not passed else 0


def explain(proxy, message):
    said = one_line(message)[:1500]
    if proxy.errors:
        statement, answer = proxy.errors[-1]
        return "%s -> %s (%s)" % (one_line(statement)[:3000], one_line(answer), said)
    return said


if __name__ == "__main__":
    sys.exit(main())
