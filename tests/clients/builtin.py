"""Writes the built-in rows of pg_catalog that the server serves: src/catalog/system/data/pg_*.tsv.

usage: builtin.py POSTGRES_CONNINFO SERVER_CONNINFO DIRECTORY

PostgreSQL 15 says which rows there are, the server which of them are true of it. One rule: a type, function, operator,
cast, collation or conversion is written if the server answers a statement that uses it, and what belongs to these
(operator classes, functions behind types and operators) goes with them. Access methods, languages and text search objects
are written as they are: no statement names them alone.

A file has a line of column names, then a line a row. Left out are columns that every row leaves empty, and owners and
schemas, which are the same for all. A reference to what is not written is 0. `prosrc` is \\N where it is the name.
Needs psql. Run it after a change of the server's types, functions or operators.
"""
import os
import sys

from missing import MISSING, POLYMORPHIC, call, psql, states

OIDS = "oid regproc regtype".split()
# Types without values that a statement may name all the same.
NAMED = {"unknown", "_record", "trigger", "event_trigger", "language_handler"}
# Functions that a row names.
FUNCTIONS_OF = {
    "pg_type": "typinput typoutput typreceive typsend typmodin typmodout typanalyze typsubscript",
    "pg_operator": "oprcode oprrest oprjoin",
    "pg_cast": "castfunc",
    "pg_aggregate": "aggfnoid aggtransfn aggfinalfn aggcombinefn aggserialfn aggdeserialfn aggmtransfn aggminvtransfn aggmfinalfn",
    "pg_am": "amhandler",
    "pg_amproc": "amproc",
    "pg_conversion": "conproc",
    "pg_language": "lanplcallfoid laninline lanvalidator",
    "pg_range": "rngcanonical rngsubdiff",
    "pg_ts_parser": "prsstart prstoken prsend prsheadline prslextype",
    "pg_ts_template": "tmplinit tmpllexize",
}
# References that become 0 where the row that they name is not written.
REFERENCES = {
    ("pg_type", "typarray"): "pg_type",
    ("pg_operator", "oprcom"): "pg_operator",
    ("pg_operator", "oprnegate"): "pg_operator",
    ("pg_aggregate", "aggsortop"): "pg_operator",
    ("pg_amop", "amopsortfamily"): "pg_opfamily",
    ("pg_proc", "provariadic"): "pg_type",
}
# Never read by a client, and no text: trees of the planner, privileges.
LEFT_OUT = {"pg_node_tree", "_aclitem"}
# Functions of the planner for the estimates of another.
LEFT_OUT_COLUMNS = {"prosupport"}


class Server:
    """PostgreSQL's catalog, and the other server's answers."""

    def __init__(self, postgres, server):
        self.postgres, self.server = postgres, server

    def query(self, text):
        answer = psql(self.postgres, "\\pset null '\\\\N'\n" + text)
        if "ERROR" in answer.stderr:
            sys.exit(text + answer.stderr)
        return [line.split("\t") for line in answer.stdout.splitlines()]

    def table(self, name, condition):
        """The rows of a catalog relation: dicts of text, with references by number."""
        columns = self.query(
            "SELECT attname, typname FROM pg_attribute JOIN pg_type t ON t.oid = atttypid"
            " WHERE attrelid = 'pg_catalog.%s'::regclass AND attnum > 0 ORDER BY attnum;" % name
        )
        columns = [
            (column, kind)
            for column, kind in columns
            if kind not in LEFT_OUT and column not in LEFT_OUT_COLUMNS and not column.endswith(("namespace", "owner"))
        ]
        shown = ", ".join(column + ("::oid" if kind in OIDS else "") for column, kind in columns)
        rows = self.query("SELECT %s FROM pg_catalog.%s WHERE %s;" % (shown, name, condition))
        return [dict(zip([column for column, _ in columns], row)) for row in rows]

    def answers(self, statements):
        """Whether the server knows all that each statement names."""
        lines = []
        for at, statement in enumerate(statements):
            lines += ["\\warn @ %d" % at, statement + ";"]
        answer = psql(self.server, "\n".join(lines) + "\n\\warn @ end\n")
        failed, at = set(), None
        for line in answer.stderr.splitlines():
            if line.startswith("@ "):
                at = line[2:]
            elif any(":  %s:" % state in line for state in MISSING | {"42846", "42725", "42883"}):
                failed.add(at)
        if at != "end":
            sys.exit("the server went away: " + answer.stderr[-300:])
        return [str(at) not in failed for at in range(len(statements))]

    def keep(self, rows, statement):
        return [row for row, known in zip(rows, self.answers([statement(row) for row in rows])) if known]


def built(server):
    """The rows to write, by relation."""
    names = dict(server.query("SELECT oid, format_type(oid, NULL) FROM pg_type;"))

    def null(oid):
        return POLYMORPHIC.get(names[oid], "NULL::" + names[oid])

    builtin = "oid < 16384"
    every_type = server.table("pg_type", builtin + " AND typrelid = 0 AND typnamespace = 'pg_catalog'::regnamespace")
    pseudo = [row for row in every_type if row["typtype"] == "p" or row["typname"] == "_cstring"]
    tables = {"pg_type": server.keep([row for row in every_type if row not in pseudo],
                                     lambda row: 'SELECT NULL::pg_catalog."%s"' % row["typname"])}

    # Functions that statements call.
    called = server.query("""
        SELECT p.oid, p.proname, CASE WHEN p.proretset THEN 's' ELSE p.prokind END, p.provolatile,
               coalesce(a.aggkind, 'n'), coalesce(a.aggnumdirectargs, 0), p.provariadic::regtype,
               array_to_string(ARRAY(SELECT format_type(oid, NULL) FROM unnest(p.proargtypes) AS oid), ';')
        FROM pg_proc p LEFT JOIN pg_aggregate a ON a.aggfnoid = p.oid
        WHERE p.oid < 16384 AND p.pronamespace = 'pg_catalog'::regnamespace
          AND NOT p.proargtypes::oid[] && ARRAY['internal'::regtype, 'cstring'::regtype, '_cstring'::regtype]::oid[]
          AND NOT p.prorettype::regtype::text = ANY ('{internal,trigger,event_trigger,cstring,language_handler,fdw_handler,
              table_am_handler,index_am_handler,tsm_handler}'::text[]);""")
    wanted = [(name, kind, volatile, aggregate, int(direct), variadic, [each for each in arguments.split(";") if each], "")
              for _, name, kind, volatile, aggregate, direct, variadic, arguments in called]
    found = {row[0] for row, state in zip(called, states(server.server, wanted)) if state not in MISSING}

    every_function = {row["oid"]: row for row in server.table("pg_proc", builtin)}
    types = {row["oid"] for row in tables["pg_type"]}
    pseudo_oids = {row["oid"] for row in pseudo}

    def types_of(oid):
        row = every_function[oid]
        return set(row["proargtypes"].split()) | {row["prorettype"]}

    # A function whose types are not here is none that a statement has called.
    found = {oid for oid in found if types_of(oid) <= types | pseudo_oids}

    tables["pg_operator"] = server.keep(
        [row for row in server.table("pg_operator", builtin)
         if {row["oprleft"], row["oprright"], row["oprresult"]} - {"0"} <= types | pseudo_oids],
        lambda row: "SELECT %s OPERATOR(pg_catalog.%s) %s"
        % ("" if row["oprleft"] == "0" else null(row["oprleft"]), row["oprname"], null(row["oprright"])),
    )
    tables["pg_cast"] = server.keep(
        [row for row in server.table("pg_cast", builtin) if {row["castsource"], row["casttarget"]} <= types],
        lambda row: "SELECT CAST(%s AS %s)" % (null(row["castsource"]), names[row["casttarget"]]),
    )
    tables["pg_aggregate"] = [row for row in server.table("pg_aggregate", "aggfnoid::oid < 16384") if row["aggfnoid"] in found]
    tables["pg_range"] = [row for row in server.table("pg_range", "rngtypid < 16384") if row["rngtypid"] in types]
    tables["pg_collation"] = server.keep(
        server.table("pg_collation", builtin + " AND collprovider <> 'i'"),
        lambda row: """SELECT 'a' < 'b' COLLATE pg_catalog."%s" """ % row["collname"],
    )
    encodings = dict(server.query("SELECT n, pg_encoding_to_char(n) FROM generate_series(0, 41) n;"))
    tables["pg_conversion"] = server.keep(
        server.table("pg_conversion", builtin),
        lambda row: "SELECT convert('a'::bytea, '%s', '%s')" % (encodings[row["conforencoding"]], encodings[row["contoencoding"]]),
    )

    # Operator classes of those types all of whose operators are there, and their families.
    operators = {row["oid"] for row in tables["pg_operator"]}
    every_operator = server.table("pg_amop", builtin)
    lacking = {(row["amopfamily"], row["amoplefttype"]) for row in every_operator
               if row["amoplefttype"] == row["amoprighttype"] and row["amopopr"] not in operators}
    tables["pg_opclass"] = [
        row for row in server.table("pg_opclass", builtin)
        if row["opcintype"] in types | pseudo_oids and row["opckeytype"] in types | pseudo_oids | {"0"}
        and (row["opcfamily"], row["opcintype"]) not in lacking
        and any((each["amopfamily"], each["amoplefttype"]) == (row["opcfamily"], row["opcintype"]) for each in every_operator)
    ]
    families = {row["opcfamily"] for row in tables["pg_opclass"]}
    tables["pg_opfamily"] = [row for row in server.table("pg_opfamily", builtin) if row["oid"] in families]
    tables["pg_amop"] = [row for row in every_operator if row["amopfamily"] in families and row["amopopr"] in operators]
    tables["pg_amproc"] = [
        row for row in server.table("pg_amproc", builtin)
        if row["amprocfamily"] in families and {row["amproclefttype"], row["amprocrighttype"]} <= types | pseudo_oids
    ]

    tables["pg_am"] = server.table("pg_am", builtin)
    # A language whose functions nobody can make is there for the functions that are written in it.
    tables["pg_language"] = server.table("pg_language", builtin + " AND NOT lanispl")
    tables["pg_ts_config_map"] = server.table("pg_ts_config_map", "mapcfg < 16384")
    for name in ("pg_ts_config", "pg_ts_dict", "pg_ts_parser", "pg_ts_template"):
        tables[name] = server.table(name, builtin)

    # Functions that other rows name, and the types without values that only functions have, which have functions themselves.
    tables["pg_type"] += [row for row in pseudo if row["typname"] in NAMED]
    while True:
        named = {row[column] for name, columns in FUNCTIONS_OF.items() for row in tables[name] for column in columns.split()}
        functions = found | {oid for oid in named - {"0", "-"} if types_of(oid) <= types | pseudo_oids}
        used = set().union(*map(types_of, functions))
        have = {row["oid"] for row in tables["pg_type"]}
        new = [row for row in pseudo if row["oid"] in used - have]
        if not new:
            break
        tables["pg_type"] += new
    for name, columns in FUNCTIONS_OF.items():
        for row in tables[name]:
            for column in columns.split():
                row[column] = row[column] if row[column] in functions else "0"
    known_languages = {row["oid"] for row in tables["pg_language"]}
    tables["pg_proc"] = [every_function[oid] for oid in functions]
    assert all(row["prolang"] in known_languages for row in tables["pg_proc"])
    for row in tables["pg_proc"]:
        row["prosrc"] = "\\N" if row["prosrc"] == row["proname"] else row["prosrc"]

    described = {name: {row["oid"] for row in rows} for name, rows in tables.items() if rows and "oid" in rows[0]}
    tables["pg_description"] = [
        {"objoid": oid, "classoid": class_oid, "description": text}
        for oid, class_oid, relation, text in server.query(
            "SELECT objoid, classoid, classoid::regclass, description FROM pg_description WHERE objsubid = 0;")
        if oid in described.get(relation, ())
    ]

    for (name, column), other in REFERENCES.items():
        oids = {row["oid"] for row in tables[other]}
        for row in tables[name]:
            row[column] = row[column] if row[column] in oids else "0"
    return tables


def write(directory, name, rows):
    """One file, without the columns that all rows leave empty. NULL says something of `prosrc`."""
    empty = {"0", "f", "", "-", "\\N"}
    columns = [column for column in rows[0] if column == "prosrc" or any(row[column] not in empty for row in rows)]
    rows.sort(key=lambda row: [(int(row[column]) if row[column].isdigit() else 0, row[column]) for column in columns])
    # A backslash would need an escape, and no row has one.
    assert all(row[column] == "\\N" or "\\" not in row[column] for row in rows for column in columns)
    lines = ["\t".join(columns)] + ["\t".join(row[column] for column in columns) for row in rows]
    with open(os.path.join(directory, name + ".tsv"), "w") as out:
        out.write("\n".join(lines) + "\n")


def main():
    postgres, server, directory = sys.argv[1:]
    for name, rows in sorted(built(Server(postgres, server)).items()):
        if rows:
            write(directory, name, rows)
        print(name, len(rows))


main()
