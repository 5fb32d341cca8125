//! Everything else that one can say.

use super::*;

#[test]
fn inserts_take_every_form() {
    let insert = |text: &str| match one(text) {
        Statement::Insert(insert) => insert,
        other => panic!("{text}: {other:?}"),
    };
    let rows =
        insert("INSERT INTO s.t (a, \"B\") VALUES (1, -2.5), (DEFAULT, NULL), ($2, true) RETURNING a, b AS c, *");
    assert_eq!((rows.columns.len(), rows.returning.len()), (2, 3));
    let named = insert("INSERT INTO t AS \"New\" (a) VALUES (1) RETURNING \"New\".a");
    assert_eq!(named.alias.as_deref(), Some("New"));
    assert!(matches!(&rows.rows, InsertRows::Values(rows) if rows.len() == 3 && rows[0].len() == 2));
    assert!(matches!(
        insert("INSERT INTO t DEFAULT VALUES").rows,
        InsertRows::DefaultValues
    ));
    assert!(matches!(
        insert("INSERT INTO t SELECT * FROM u").rows,
        InsertRows::Select(_)
    ));
    assert!(matches!(insert("INSERT INTO t (SELECT 1)").rows, InsertRows::Select(_)));
    assert!(matches!(
        insert("INSERT INTO t (a) WITH x AS (SELECT 1) SELECT * FROM x").rows,
        InsertRows::Select(_)
    ));
    assert!(matches!(
        insert("INSERT INTO t VALUES (2), (1) ORDER BY 1 LIMIT 1").rows,
        InsertRows::Select(_)
    ));
    assert!(matches!(insert("INSERT INTO t TABLE u").rows, InsertRows::Select(_)));
    unsupported("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING");
    unsupported("INSERT INTO t (a) OVERRIDING SYSTEM VALUE VALUES (1)");
    assert_eq!(
        parse("INSERT INTO t VALUES ($3, $1)").map(|parsed| parsed[0].parameters),
        Ok(3)
    );
}

/// The short way and the parser give the same statement.
#[test]
fn inserting_literals_is_the_same_both_ways() {
    for text in [
        "INSERT INTO t VALUES (1, 'a', NULL)",
        "insert into S.\"T\" (a, b) values (-1, default), (+1, TRUE)",
        "INSERT INTO t (a) VALUES ($1), (E'\\n'), (false), (1e5)",
    ] {
        let tokens = || {
            let mut lexer = Lexer::new(text);
            lexer.next_statement().expect("it is lexed").expect("it is one").tokens
        };
        let short = insert::of_literals(&mut tokens());
        let dialect = BoundedDialect::new(1);
        let mut cursor = Cursor::new(text, &dialect, tokens(), None);
        let Statement::Insert(long) = statement(&mut cursor).expect("it parses") else {
            panic!("{text}: not an INSERT");
        };
        match short {
            Some(short) => assert_eq!(format!("{short:?}"), format!("{long:?}")),
            None => assert!(text.contains("+1"), "{text}: not read the short way"),
        }
    }
}

#[test]
fn copy_takes_both_syntaxes() {
    let from = |text: &str| match one(text) {
        Statement::CopyFrom(copy) => copy,
        other => panic!("{text}: {other:?}"),
    };
    let plain =
        from("COPY flights (a, b) FROM STDIN CSV HEADER DELIMITER AS '|' NULL 'NA' QUOTE '''' FORCE NOT NULL a, b");
    let generic = from(
        "copy flights(a, b) from stdin with (format csv, header true, delimiter '|', null 'NA', quote '''', \
         force_not_null (a, b), encoding 'utf-8')",
    );
    assert_eq!(plain.format, generic.format);
    assert_eq!(generic.columns, ["a", "b"]);
    assert_eq!((generic.format.escape, generic.format.header), (b'\'', true));
    let text = from("COPY t FROM STDIN").format;
    assert_eq!(
        (text.kind, text.delimiter, text.null.as_str()),
        (CopyKind::Text, b'\t', "\\N")
    );
    match one("COPY (SELECT 1) TO STDOUT (FORMAT csv, FORCE_QUOTE *)") {
        Statement::CopyTo(copy) => assert_eq!(copy.format.force_quote, Some(None)),
        other => panic!("{other:?}"),
    }
    assert!(from("COPY t FROM STDIN (HEADER MATCH)").format.header_match);
    for (text, state, message) in [
        (
            "COPY t FROM STDIN (FORMAT xml)",
            "22023",
            "COPY format \"xml\" not recognized",
        ),
        (
            "COPY t FROM STDIN (FORMT csv)",
            "42601",
            "option \"formt\" not recognized",
        ),
        (
            "COPY t FROM STDIN (DELIMITER 'ab')",
            "0A000",
            "COPY delimiter must be a single one-byte character",
        ),
        (
            "COPY t FROM STDIN (DELIMITER 'a')",
            "22023",
            "COPY delimiter cannot be \"a\"",
        ),
        (
            "COPY t FROM STDIN (QUOTE '!')",
            "0A000",
            "COPY quote available only in CSV mode",
        ),
        (
            "COPY t FROM STDIN (FORMAT csv, FORMAT csv)",
            "42601",
            "conflicting or redundant options",
        ),
        (
            "COPY t FROM STDIN CSV FORCE QUOTE *",
            "0A000",
            "COPY force quote only available using COPY TO",
        ),
        (
            "COPY t TO STDOUT CSV NULL ','",
            "0A000",
            "COPY delimiter must not appear in the NULL specification",
        ),
        (
            "COPY t FROM STDIN (HEADER maybe)",
            "42601",
            "header requires a Boolean value or \"match\"",
        ),
    ] {
        let error = error(text);
        assert_eq!((error.state.0, error.message.as_str()), (state, message), "{text}");
    }
    let binary = from("COPY t FROM STDIN (FORMAT binary)");
    for text in [
        "COPY BINARY t FROM STDIN",
        "copy t from stdin binary",
        "COPY t FROM STDIN WITH BINARY",
    ] {
        assert_eq!(from(text).format, binary.format, "{text}");
    }
    assert_eq!(binary.format.kind, CopyKind::Binary);
    for (text, state, message) in [
        (
            "COPY BINARY t FROM STDIN CSV",
            "42601",
            "conflicting or redundant options",
        ),
        (
            "COPY BINARY t FROM STDIN BINARY",
            "42601",
            "conflicting or redundant options",
        ),
        (
            "COPY BINARY (SELECT 1) TO STDOUT",
            "42601",
            "syntax error at or near \"(\"",
        ),
        (
            "COPY t FROM STDIN (FORMAT binary, DELIMITER ',,')",
            "42601",
            "cannot specify DELIMITER in BINARY mode",
        ),
        (
            "COPY t FROM STDIN (NULL 'x', FORMAT binary)",
            "42601",
            "cannot specify NULL in BINARY mode",
        ),
        (
            "COPY t FROM STDIN (FORMAT binary, HEADER, QUOTE 'x')",
            "0A000",
            "cannot specify HEADER in BINARY mode",
        ),
        (
            "COPY t FROM STDIN (FORMAT binary, ESCAPE 'x')",
            "0A000",
            "COPY escape available only in CSV mode",
        ),
    ] {
        let error = error(text);
        assert_eq!((error.state.0, error.message.as_str()), (state, message), "{text}");
    }
    unsupported("COPY t FROM '/tmp/x'");
    unsupported("COPY t TO PROGRAM 'cat'");
    unsupported("COPY t FROM STDIN WHERE a > 1");
    unsupported("COPY (SUBSCRIBE TO v) TO STDOUT");
}

#[test]
fn transactions_have_all_their_words() {
    is(
        "BEGIN",
        "Begin { tag: \"BEGIN\", modes: TransactionModes { isolation: None, read_only: None, deferrable: None } }",
    );
    is(
        "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY NOT DEFERRABLE",
        "Begin { tag: \"BEGIN\", modes: TransactionModes { isolation: Some(RepeatableRead), read_only: Some(true), deferrable: Some(false) } }",
    );
    is(
        "START TRANSACTION READ WRITE",
        "Begin { tag: \"START TRANSACTION\", modes: TransactionModes { isolation: None, read_only: Some(false), deferrable: None } }",
    );
    is("COMMIT WORK AND CHAIN", "Commit { chain: true }");
    is("END", "Commit { chain: false }");
    is("ABORT AND NO CHAIN", "Rollback { chain: false }");
    is("ROLLBACK TO SAVEPOINT s", "RollbackTo(\"s\")");
    is("ROLLBACK WORK TO s", "RollbackTo(\"s\")");
    is("RELEASE s", "ReleaseSavepoint(\"s\")");
    is("RELEASE SAVEPOINT \"S\"", "ReleaseSavepoint(\"S\")");
    is("SAVEPOINT s", "Savepoint(\"s\")");
    is(
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SetTransaction(TransactionModes { isolation: Some(Serializable)",
    );
    is(
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SetSessionCharacteristics(",
    );
    refused("BEGIN READ ONLY,", "42601", "syntax error at end of input", 17);
    unsupported("PREPARE TRANSACTION 'x'");
    unsupported("COMMIT PREPARED 'x'");
}

#[test]
fn settings_have_all_their_forms() {
    for (text, name, value, local) in [
        ("SET work_mem = 4096", "work_mem", Some("4096"), false),
        (
            "SET rw_implicit_flush TO true",
            "rw_implicit_flush",
            Some("true"),
            false,
        ),
        ("SET LOCAL foo.Bar = 'x'", "foo.bar", Some("x"), true),
        (
            "SET SESSION extra_float_digits = -1",
            "extra_float_digits",
            Some("-1"),
            false,
        ),
        (
            "SET search_path TO App, \"B c\", public",
            "search_path",
            Some("app, \"B c\", public"),
            false,
        ),
        ("SET search_path = ''", "search_path", Some("\"\""), false),
        ("SET DateStyle TO ISO, MDY", "datestyle", Some("iso, mdy"), false),
        (
            "SET TIME ZONE 'Europe/Berlin'",
            "timezone",
            Some("Europe/Berlin"),
            false,
        ),
        ("SET TIME ZONE LOCAL", "timezone", None, false),
        (
            "SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE",
            "timezone",
            Some("INTERVAL '-08:00:00'"),
            false,
        ),
        ("SET NAMES 'UTF8'", "client_encoding", Some("UTF8"), false),
        ("SET synchronous_commit = off", "synchronous_commit", Some("off"), false),
        ("SET x TO DEFAULT", "x", None, false),
        ("SET ROLE NONE", "role", Some("none"), false),
        (
            "SET SESSION AUTHORIZATION DEFAULT",
            "session_authorization",
            None,
            false,
        ),
    ] {
        match one(text) {
            Statement::Set {
                name: n,
                value: v,
                local: l,
            } => assert_eq!((n.as_str(), v.as_deref(), l), (name, value, local), "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    is("RESET ALL", "Reset(None)");
    is("RESET TIME ZONE", "Reset(Some(\"timezone\"))");
    is("SHOW TIME ZONE", "Show(Setting(\"timezone\"))");
    is(
        "SHOW TRANSACTION ISOLATION LEVEL",
        "Show(Setting(\"transaction_isolation\"))",
    );
    is("SHOW server_version", "Show(Setting(\"server_version\"))");
    is("SHOW ALL", "Show(All)");
    is("SHOW TOPICS", "Show(Topics)");
    is("SHOW MATERIALIZED VIEWS", "Show(MaterializedViews)");
    is(
        "SHOW CREATE MATERIALIZED VIEW a.v",
        "Show(Create(MaterializedView, Name { schema: Some(\"a\")",
    );
    is("DESCRIBE bids", "Show(Columns(Name { schema: None, name: \"bids\"");
    is(
        "DESCRIBE TOPIC bids",
        "Show(Columns(Name { schema: None, name: \"bids\"",
    );
    is("SHOW COLUMNS FROM bids", "Show(Columns(");
    unsupported("SHOW DATABASES");
    unsupported("SHOW TOPICS LIKE 'a%'");
}

#[test]
fn prepared_statements_and_cursors_have_all_their_forms() {
    match one("PREPARE p (int, text) AS INSERT INTO t VALUES ($1, $2)") {
        Statement::Prepare {
            name,
            types,
            text,
            statement,
        } => {
            assert_eq!((name.as_str(), types.join("|").as_str()), ("p", "int|text"));
            assert_eq!(text, "INSERT INTO t VALUES ($1, $2)");
            assert!(matches!(*statement, Statement::Insert(_)));
        }
        other => panic!("{other:?}"),
    }
    is("EXECUTE p (1, 'a')", "Execute { name: \"p\"");
    is("EXECUTE p", "Execute { name: \"p\", arguments: [] }");
    is("DEALLOCATE PREPARE p", "Deallocate(Some(\"p\"))");
    is("DEALLOCATE ALL", "Deallocate(None)");
    is(
        "DECLARE c NO SCROLL CURSOR WITH HOLD FOR SELECT 1",
        "DeclareCursor { declaration: CursorDeclaration { name: \"c\"",
    );
    is(
        "FETCH c",
        "Fetch(Fetch { cursor: \"c\", rows: Forward(Some(1)), is_move: false })",
    );
    is(
        "FETCH 100 FROM c",
        "Fetch(Fetch { cursor: \"c\", rows: Forward(Some(100)), is_move: false })",
    );
    is(
        "FETCH FORWARD ALL IN c",
        "Fetch(Fetch { cursor: \"c\", rows: Forward(None), is_move: false })",
    );
    is(
        "MOVE NEXT FROM c",
        "Fetch(Fetch { cursor: \"c\", rows: Forward(Some(1)), is_move: true })",
    );
    is("CLOSE ALL", "Close(None)");
    is("DISCARD TEMPORARY", "Discard(\"TEMP\")");
    for (direction, rows) in [
        ("BACKWARD 2 FROM", "Backward(Some(2))"),
        ("BACKWARD ALL IN", "Backward(None)"),
        ("PRIOR FROM", "Backward(Some(1))"),
        ("-1 FROM", "Backward(Some(1))"),
        ("FORWARD -3", "Backward(Some(3))"),
        ("FORWARD 0", "Relative(0)"),
        ("RELATIVE -2", "Relative(-2)"),
        ("ABSOLUTE +4", "Absolute(4)"),
        ("FIRST", "Absolute(1)"),
        ("LAST", "Absolute(-1)"),
    ] {
        is(
            &format!("FETCH {direction} c"),
            &format!("Fetch(Fetch {{ cursor: \"c\", rows: {rows}, is_move: false }})"),
        );
    }
    is("FETCH prior", "Fetch(Fetch { cursor: \"prior\", rows: Forward(Some(1))");
    is(
        "DECLARE c SCROLL CURSOR FOR SELECT 1",
        "DeclareCursor { declaration: CursorDeclaration { name: \"c\",",
    );
    unsupported("DECLARE c CURSOR FOR SUBSCRIBE TO v");
    is(
        "EXPLAIN ANALYZE VERBOSE SELECT 1",
        "Explain { analyze: true, verbose: true",
    );
    is(
        "EXPLAIN (ANALYZE, COSTS OFF, FORMAT text) SELECT 1",
        "Explain { analyze: true, verbose: false",
    );
    is(
        "EXPLAIN (FORMAT JSON, VERBOSE) SELECT 1",
        "Explain { analyze: false, verbose: true, format: Json",
    );
    is("EXPLAIN (SELECT 1)", "Explain { analyze: false");
    is("EXPLAIN ANALYZE MATERIALIZED VIEW v", "ExplainView { analyze: true");
    is(
        "EXPLAIN CREATE MATERIALIZED VIEW v AS SELECT 1",
        "Explain { analyze: false",
    );
    refused("EXPLAIN DROP TOPIC t", "42601", "this statement cannot be explained", 9);
    refused(
        "EXPLAIN (FOO) SELECT 1",
        "42601",
        "unrecognized EXPLAIN option \"foo\"",
        10,
    );
}

#[test]
fn the_rest_is_read_or_refused_by_name() {
    is(
        "ALTER TOPIC bids ADVANCE WATERMARK TO '2026-01-01 00:10:00'",
        "AdvanceWatermark {",
    );
    is(
        "ALTER TABLE IF EXISTS s.t ADD COLUMN a int, DROP b CASCADE, RENAME c TO d, SET (retention = '7 days'), RESET (idle_timeout)",
        "Alter(Alter { kind: Table, name: Name { schema: Some(\"s\"), name: \"t\"",
    );
    is(
        "ALTER MATERIALIZED VIEW IF EXISTS v RENAME TO \"W\"",
        "Alter(Alter { kind: MaterializedView, name: Name { schema: None, name: \"v\"",
    );
    is(
        "ALTER SCHEMA a RENAME TO b",
        "AlterSchema { name: \"a\", action: RenameTo(\"b\") }",
    );
    refused(
        "ALTER TOPIC t SET (nope = 1)",
        "22023",
        "unrecognized parameter \"nope\"",
        20,
    );
    refused(
        "ALTER TOPIC t RESET (nope)",
        "22023",
        "unrecognized parameter \"nope\"",
        21,
    );
    is(
        "COMMENT ON COLUMN s.t.c IS 'x'",
        "Comment { on: Name { schema: Some(\"s\"), name: \"t\"",
    );
    is(
        "COMMENT ON MATERIALIZED VIEW v IS NULL",
        "Comment { on: Name { schema: None, name: \"v\"",
    );
    is(
        "CREATE SCHEMA IF NOT EXISTS app AUTHORIZATION me",
        "CreateSchema { name: \"app\", if_not_exists: true }",
    );
    is("DROP SCHEMA app CASCADE", "Drop(Drop { kind: Schema");
    is(
        "DROP MATERIALIZED VIEW IF EXISTS v RESTRICT",
        "Drop(Drop { kind: MaterializedView",
    );
    is("FLUSH", "CatchUp { tag: \"FLUSH\", view: None }");
    is(
        "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
        "CatchUp { tag: \"REFRESH MATERIALIZED VIEW\", view: Some",
    );
    is("VACUUM FULL ANALYZE bids", "Nothing { tag: \"VACUUM\", notice: Some");
    is("LISTEN c", "Listen(\"c\")");
    is(
        "LOCK TABLE ONLY t, s.u IN ACCESS EXCLUSIVE MODE NOWAIT",
        "Lock([Name { schema: None, name: \"t\"",
    );
    is("UNLISTEN *", "Unlisten(None)");
    is("NOTIFY c, 'x'", "Notify { channel: \"c\", payload: \"x\" }");
    is(
        "DROP TYPE IF EXISTS mood",
        "Nothing { tag: \"DROP TYPE\", notice: Some(\"type \\\"mood\\\" does not exist",
    );
    for text in [
        "UPDATE t SET a = 1",
        "DELETE FROM t",
        "TRUNCATE t",
        "MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE",
        "SUBSCRIBE TO v",
        "CREATE SUBSCRIPTION s FROM v",
        "ALTER TOPIC t ALTER COLUMN a TYPE int",
        "ALTER TABLE t ADD PRIMARY KEY (a)",
        "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0)",
        "ALTER TABLE t ADD COLUMN a int CHECK (a > 0)",
        "ALTER VIEW v ALTER COLUMN a SET DEFAULT 1",
        "CREATE INDEX ON v (a)",
        "CREATE UNIQUE INDEX i ON v (a)",
        "CREATE FUNCTION f() RETURNS int AS 'x' LANGUAGE sql",
        "CREATE ROLE r",
        "CREATE TYPE mood AS ENUM ('a')",
        "CREATE SEQUENCE s",
        "CREATE TRIGGER x BEFORE INSERT ON t EXECUTE FUNCTION f()",
        "CREATE SOURCE s WITH (connector = 'kafka')",
        "DROP INDEX i",
        "GRANT ALL ON t TO x",
        "SELECT * INTO u FROM t",
        "SELECT * FROM t FOR UPDATE",
        "WITH x AS (SELECT 1) UPDATE t SET a = 1",
        "SELECT * FROM a JOIN b FOR SYSTEM_TIME AS OF now() ON true",
        "DO $$ begin end $$",
    ] {
        unsupported(text);
    }
}
