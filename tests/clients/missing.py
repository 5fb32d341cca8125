"""Writes the functions of PostgreSQL that the server does not have into docs/compat.md, between its markers.

usage: missing.py POSTGRES_CONNINFO SERVER_CONNINFO [docs/compat.md]

PostgreSQL's pg_proc says which functions there are; the server is asked for each of them, with NULLs of the types that
the function takes. One rule: a function counts as missing if the server answers 0A000, 42883, 42704 (a type that it does
not have) or 42809 (not a function of this kind) and PostgreSQL does not. Volatile functions are prepared and not run.
Without a file the section is printed.

Left out: functions that no statement calls by name (input and output of types, support of operators, indexes and
aggregates, triggers, handlers; all that take or return `internal`), and those behind operators. Needs psql.
"""
import collections
import re
import subprocess
import sys

BEGIN, END = "<!-- missing.py writes from here -->", "<!-- to here -->"

# Every function that a statement may call by its name. PostgreSQL describes one that is only there for an operator as
# its implementation.
FUNCTIONS = r"""
WITH support AS (
    SELECT unnest(ARRAY[typinput, typoutput, typreceive, typsend, typmodin, typmodout, typanalyze, typsubscript]::oid[])
        AS oid FROM pg_type
    UNION SELECT unnest(ARRAY[oprrest, oprjoin]::oid[]) FROM pg_operator
    UNION SELECT amproc FROM pg_amproc
    UNION SELECT castfunc FROM pg_cast WHERE castsource = casttarget
    UNION SELECT conproc FROM pg_conversion
    UNION SELECT amhandler FROM pg_am
    UNION SELECT unnest(ARRAY[rngcanonical, rngsubdiff]::oid[]) FROM pg_range
    UNION SELECT unnest(ARRAY[aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggdeserialfn, aggmtransfn,
        aggminvtransfn, aggmfinalfn]::oid[]) FROM pg_aggregate
    UNION SELECT unnest(ARRAY[lanplcallfoid, laninline, lanvalidator]) FROM pg_language
    UNION SELECT unnest(ARRAY[tmplinit, tmpllexize]::oid[]) FROM pg_ts_template
    UNION SELECT unnest(ARRAY[prsstart, prstoken, prsend, prsheadline, prslextype]::oid[]) FROM pg_ts_parser
)
SELECT p.proname, CASE WHEN p.proretset THEN 's' ELSE p.prokind END, p.provolatile, coalesce(a.aggkind, 'n'), coalesce(a.aggnumdirectargs, 0),
       p.provariadic::regtype,
       array_to_string(ARRAY(SELECT format_type(oid, NULL) FROM unnest(p.proargtypes) AS oid), ';'), p.prorettype::regtype
FROM pg_proc p
LEFT JOIN pg_aggregate a ON a.aggfnoid = p.oid
LEFT JOIN pg_description d ON d.objoid = p.oid AND d.classoid = 'pg_proc'::regclass
WHERE p.pronamespace = 'pg_catalog'::regnamespace
  AND p.oid NOT IN (SELECT oid FROM support WHERE oid IS NOT NULL)
  AND NOT p.prorettype::regtype::text = ANY ('{internal,trigger,event_trigger,cstring,language_handler,fdw_handler,
      table_am_handler,index_am_handler,tsm_handler}'::text[])
  AND NOT p.proargtypes::oid[] && ARRAY['internal'::regtype, 'cstring'::regtype]::oid[]
  AND coalesce(d.description, '') !~ '^(implementation of|internal|I/O|deprecated|.*support function|.*handler$)'
  AND p.proname !~ '^(binary_upgrade_|RI_FKey_|pg_stat_get_.*_(internal)|.*_(sortsupport|support|handler)$)'
ORDER BY 1, p.oid
"""

# A value of a type that takes any of several.
POLYMORPHIC = {
    '"any"': "NULL::int4", "anyelement": "NULL::int4", "anynonarray": "NULL::int4", "anycompatible": "NULL::int4",
    "anycompatiblenonarray": "NULL::int4", "anyarray": "NULL::int4[]", "anycompatiblearray": "NULL::int4[]",
    "anyrange": "NULL::int4range", "anycompatiblerange": "NULL::int4range", "anymultirange": "NULL::int4multirange",
    "anycompatiblemultirange": "NULL::int4multirange", "record": "ROW(1)", "record[]": "ARRAY[ROW(1)]",
}

# Subjects in the order of the document: the first whose pattern is found in `name(arguments) result` has the function.
SUBJECTS = [
    ("Geometry", r"\b(point|box|lseg|path|polygon|circle|line)\b"),
    ("Network addresses", r"\b(inet|cidr|macaddr8?)\b"),
    ("Ranges", r"(?<!brin_summarize_)(?<!brin_desummarize_)(multi)?range"),
    ("Text search", r"\b(tsvector|tsquery|regconfig|regdictionary)\b|^(ts_|get_current_ts)"),
    ("XML", r"\bxml\b|_xml|^xml|xmlschema"),
    ("Bit strings", r"\bbit( varying)?\b"),
    ("Money", r"\bmoney\b"),
    ("Enums", r"\banyenum\b"),
    ("Large objects", r"^(lo_|lo(read|write)|be_lo)"),
    ("Advisory locks", r"advisory"),
    ("Statistics of the server", r"^pg_(stat|mcv)|^pg_.*stat_|_ndistinct|_dependencies|_mcv_"),
    ("Replication, WAL and backup",
     r"replication|logical|wal|_lsn|backup|restore|promote|recovery|^pg_(create|copy|drop)_.*slot|snapshot_timestamp"),
    ("Transactions, locks and snapshots", r"\bxid8?\b|^txid|snapshot|multixact|xact|^pg_lock|isolation_test"),
    ("Files and processes of the server",
     r"^pg_(ls_|read_|stat_file|current_logfile|rotate|reload|hba|ident|control|config|show_all_file|log_|"
     r"get_shmem|get_backend_memory|tablespace|import_|collation_actual|database_coll|jit|safe_snap|is_wal)"),
    ("Sequences", r"^(nextval|currval|lastval|setval|pg_sequence)"),
    ("Privileges", r"^(has_|acl|make_acl)|aclitem|^pg_has"),
    ("JSON", r"json"),
    ("Catalog", r"^pg_|^(to_reg|format_type|current_schemas|row_security|.*_description)|::reg|\breg[a-z]+\b"),
    ("Indexes", r"^(brin|gin|amvalidate)"),
    ("Dates and times", r"(\b|_)(time|timestamp|date|interval|age)"),
    ("Arrays", r"array|\[\]"),
    ("Text and bytes", r"text|bytea|\bname\b|char"),
    ("Numbers", r"numeric|integer|bigint|smallint|real|double|oid"),
    ("Others", r""),
]

MISSING = {"0A000", "42883", "42704", "42809"}


def psql(conninfo, text):
    command = ["psql", "-X", "-q", "-A", "-t", "-F", "\t", "-d", conninfo, "-v", "VERBOSITY=verbose", "-f", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True)


def call(name, kind, aggregate, direct, variadic, arguments):
    """A call of the function with NULLs."""
    values = [POLYMORPHIC.get(each, "NULL::" + each) for each in arguments]
    if variadic != "-":
        values[-1] = POLYMORPHIC.get(variadic, "NULL::" + variadic)
    quoted = 'pg_catalog."%s"' % name
    if aggregate in ("o", "h"):
        # The values of a hypothetical row are those that are sorted.
        ordered = values[direct:] or values
        return "%s(%s) WITHIN GROUP (ORDER BY %s)" % (quoted, ", ".join(values[:direct]), ", ".join(ordered))
    if kind == "a" and not values:
        return "%s(*)" % quoted
    return "%s(%s)%s" % (quoted, ", ".join(values), " OVER ()" if kind == "w" else "")


def functions(conninfo):
    answer = psql(conninfo, FUNCTIONS)
    if answer.returncode or "ERROR" in answer.stderr:
        sys.exit("the list of functions: " + answer.stderr)
    for line in answer.stdout.splitlines():
        name, kind, volatile, aggregate, direct, variadic, arguments, result = line.split("\t")
        yield name, kind, volatile, aggregate, int(direct), variadic, [each for each in arguments.split(";") if each], result


def states(conninfo, wanted):
    """The SQLSTATE that the server answers to each call, or None."""
    lines = []
    for at, (name, kind, volatile, aggregate, direct, variadic, arguments, _) in enumerate(wanted):
        # Functions that return rows stand where rows do.
        select = ("SELECT * FROM %s" if kind == "s" else "SELECT %s") % call(name, kind, aggregate, direct, variadic, arguments)
        lines.append("\\warn @ %d" % at)
        lines.append(select + ";" if volatile != "v" else "PREPARE probe AS %s;\nDEALLOCATE ALL;" % select)
    answer = psql(conninfo, "\n".join(lines) + "\n\\warn @ end\n")
    found, at = {}, None
    for line in answer.stderr.splitlines():
        if line.startswith("@ "):
            at = line[2:]
        elif match := re.search(r"(?:ERROR|FATAL|PANIC):  (\w{5}):", line):
            found.setdefault(at, match.group(1))
    if at != "end":
        sys.exit("the server went away: " + answer.stderr[-300:])
    return [found.get(str(at)) for at in range(len(wanted))]


def section(wanted, missing):
    forms, there = collections.defaultdict(list), set()
    for (name, *_, arguments, result), is_missing in zip(wanted, missing):
        if is_missing:
            forms[name].append((arguments, result))
        else:
            there.add(name)
    subjects, partly = collections.defaultdict(list), collections.defaultdict(list)
    for name, its in forms.items():
        for arguments, result in its:
            text = "%s(%s) %s" % (name, ", ".join(arguments), result)
            subject = next(subject for subject, pattern in SUBJECTS if re.search(pattern, text))
            if name not in there:
                subjects[subject].append(name)
                break
            partly[subject].append("%s(%s)" % (name, ", ".join(arguments)))
    every = {name for name, *_ in wanted}
    lines = [
        "Of the %d functions that PostgreSQL 15 has for statements to call, %d are not there at all:"
        % (len(every), sum(map(len, subjects.values()))),
        "",
        "| subject | functions |",
        "|---|---|",
    ]
    for subject, _ in SUBJECTS:
        if subjects[subject]:
            names = ", ".join("`%s`" % name for name in sorted(subjects[subject]))
            lines.append("| %s | %s |" % (subject, names))
    lines += ["", "Others are there for some arguments only. These forms are not:", "", "| subject | forms that are not there |", "|---|---|"]
    for subject, _ in SUBJECTS:
        if partly[subject]:
            lines.append("| %s | %s |" % (subject, ", ".join("`%s`" % form for form in sorted(partly[subject]))))
    return "\n".join(lines)


def main():
    postgres, server, *path = sys.argv[1:]
    wanted = list(functions(postgres))
    answers = zip(states(server, wanted), states(postgres, wanted))
    missing = [state in MISSING and state != expected for state, expected in answers]
    text = section(wanted, missing)
    if not path:
        print(text)
        return
    document = open(path[0]).read()
    before, rest = document.split(BEGIN)
    _, after = rest.split(END)
    with open(path[0], "w") as out:
        out.write(before + BEGIN + "\n\n" + text + "\n\n" + END + after)


if __name__ == "__main__":
    main()
