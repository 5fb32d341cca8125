"""Compares a run of the drivers' compatibility checks with the list of those recorded as passing.

usage: compare.py passing.txt results.json [--record]

Fails when a recorded check did not pass, or when nothing passed at all. A check that needs a client that is not
installed here counts as not passed only if its whole group was not skipped. --record writes the list anew.
"""
import json
import sys

path, results_path = sys.argv[1:3]
try:
    results = {r["name"]: r for r in json.load(open(results_path))["results"]}
except FileNotFoundError:
    sys.exit("FAILED: the checks wrote no results (did they run out of time?)")
passed = sorted(name for name, r in results.items() if r["state"] == "PASS")
if "--record" in sys.argv:
    with open(path, "w") as out:
        out.write("# Checks that pass; written by compare.py --record.\n")
        out.writelines(name + "\n" for name in passed)
recorded = [line.strip() for line in open(path) if line.strip() and not line.startswith("#")]
if not passed or not recorded:
    sys.exit("FAILED: no check passed")
broken = [n for n in recorded if n in results and results[n]["state"] == "FAIL"]
absent = [n for n in recorded if n not in results or results[n]["state"] == "SKIP"]
new = sorted(set(passed) - set(recorded))
failing = sum(r["state"] == "FAIL" for r in results.values())
print(f"clients: {len(passed)} passed, {failing} failed; {len(recorded)} recorded as passing, {len(new)} newly passing")
for name in new[:20]:
    print("  new:", name)
for name in absent[:20]:
    print("  did not run:", name)
for name in broken:
    print("  broken:", name, "--", results[name]["msg"][:200])
if broken or len(absent) > len(recorded) // 4:
    sys.exit("FAILED: checks that passed before do not pass")
