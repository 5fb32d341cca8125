//! Text to tokens to trees: literals, names, errors, spellings of other dialects, depth, and anything at all.

use proptest::prelude::*;
use sqlparser::ast::Value;

use super::*;
use crate::sql::cell::Cell;

#[test]
fn statements_are_split_outside_of_quotes_and_comments() {
    let texts = |text: &str| -> Vec<String> {
        let parsed = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        parsed.into_iter().map(|parsed| parsed.text).collect()
    };
    assert_eq!(texts(""), [""; 0]);
    assert_eq!(texts(" ; -- nothing\n;; /* a /* b */ ; */"), [""; 0]);
    assert_eq!(
        texts("SELECT ';' ; select $$;$$ ;select \"a;b\" -- ;\n from t"),
        ["SELECT ';'", "select $$;$$", "select \"a;b\" -- ;\n from t"]
    );
    assert_eq!(texts("SELECT $a$ $$ ; $b$ $a$"), ["SELECT $a$ $$ ; $b$ $a$"]);
}

#[test]
fn syntax_errors_read_as_postgres_writes_them() {
    refused("SELEC 1", "42601", "syntax error at or near \"SELEC\"", 1);
    refused("SELECT 1,", "42601", "syntax error at end of input", 10);
    refused("SELECT 1 FROM", "42601", "syntax error at end of input", 14);
    refused(
        "SELECT 1; SELECT * FORM t",
        "42601",
        "syntax error at or near \"t\"",
        25,
    );
    refused(
        "SELECT 'é' FROM t WHERE )",
        "42601",
        "syntax error at or near \")\"",
        25,
    );
    refused(
        "INSERT INTO t VALUES (1,)",
        "42601",
        "syntax error at or near \")\"",
        25,
    );
    refused("INSERT INTO t VALUES 1", "42601", "syntax error at or near \"1\"", 22);
    refused("CREATE TOPIC", "42601", "syntax error at end of input", 13);
    refused("CREATE TOPIC t (a int,)", "42601", "syntax error at or near \")\"", 23);
    refused(
        "CREATE TOPIC select (a int)",
        "42601",
        "syntax error at or near \"select\"",
        14,
    );
    refused("DROP TOPIC t u", "42601", "syntax error at or near \"u\"", 14);
    refused(
        "SELECT 'abc",
        "42601",
        "unterminated quoted string at or near \"'abc\"",
        8,
    );
    refused(
        "SELECT \"abc",
        "42601",
        "unterminated quoted identifier at or near \"\"abc\"",
        8,
    );
    refused("SELECT /* a", "42601", "unterminated /* comment at or near \"/* a\"", 8);
    refused(
        "SELECT $x$ a",
        "42601",
        "unterminated dollar-quoted string at or near \"$x$ a\"",
        8,
    );
    refused(
        "SELECT 1a",
        "42601",
        "trailing junk after numeric literal at or near \"1a\"",
        8,
    );
    refused(
        "SELECT \"\"",
        "42601",
        "zero-length delimited identifier at or near \"\"\"\"",
        8,
    );
    refused("SELECT {", "42601", "syntax error at or near \"{\"", 8);
    refused("SELECT :x", "42601", "syntax error at or near \":\"", 8);
    refused("SELECT FROM WHERE", "42601", "syntax error at or near \"WHERE\"", 13);
    refused(
        "SELECT 1 FROM a, order",
        "42601",
        "syntax error at or near \"order\"",
        18,
    );
    refused("SELECT $0", "42P02", "there is no parameter $0", 8);
    refused("SELECT $65536", "42P02", "there is no parameter $65536", 8);
}

#[test]
fn literals_become_plain_ones() {
    let value = |text: &str| match one(&format!("INSERT INTO t VALUES ({text})")) {
        Statement::Insert(Insert {
            rows: InsertRows::Values(rows),
            ..
        }) => match &rows[0][0] {
            Cell::Text(text) => Value::SingleQuotedString(text.clone()),
            Cell::Number(digits, false) => Value::Number(digits.clone(), false),
            Cell::Parameter(number) => Value::Placeholder(format!("${number}")),
            other => panic!("{text}: {other:?}"),
        },
        other => panic!("{text}: {other:?}"),
    };
    let string = |text: &str| Value::SingleQuotedString(text.to_string());
    assert_eq!(value("'it''s'"), string("it's"));
    assert_eq!(value("'a'\n  'b'"), string("ab"));
    assert_eq!(value("E'a\\n\\x41\\101\\u00e9\\'\\\\'"), string("a\nAAé'\\"));
    assert_eq!(value("U&'d\\0061t\\+000061 \\\\'"), string("data \\"));
    assert_eq!(value("$$it's$$"), string("it's"));
    assert_eq!(value("N'x'"), string("x"));
    assert_eq!(value("1.5e-3"), Value::Number("1.5e-3".to_string(), false));
    assert_eq!(value(".5"), Value::Number(".5".to_string(), false));
    assert_eq!(value("$12"), Value::Placeholder("$12".to_string()));
    assert_eq!(error("SELECT E'\\xff'").state.0, "22021");
    assert_eq!(error("SELECT E'\\000'").state.0, "22021");
    assert_eq!(error("SELECT E'\\u12'").state.0, "22025");
}

#[test]
fn names_fold_unless_quoted_and_are_cut_at_63_bytes() {
    match one("DROP TOPIC App.Bids, \"App\".\"Bids\"") {
        Statement::Drop(drop) => {
            let names: Vec<_> = drop
                .names
                .iter()
                .map(|n| (n.schema.as_deref(), n.name.as_str()))
                .collect();
            assert_eq!(names, [(Some("app"), "bids"), (Some("App"), "Bids")]);
            assert_eq!(drop.names[1].position, Some(22));
        }
        other => panic!("{other:?}"),
    }
    let long = "ä".repeat(40);
    let parsed = parse(&format!("DROP TOPIC {long}")).expect("it parses");
    assert_eq!(parsed[0].notices[0].report.state.0, "42622");
    match &parsed[0].statement {
        Statement::Drop(drop) => assert_eq!(drop.names[0].name, "ä".repeat(31)),
        other => panic!("{other:?}"),
    }
    let parsed = parse("DROP TOPIC a.b.c").expect("it parses");
    let named = &parsed[0].databases[0];
    assert_eq!((named.database.as_str(), named.name.as_str()), ("a", "a.b.c"));
    let error = parse("DROP TOPIC a.b.c.d").expect_err("it has too many parts");
    assert_eq!(error.state.0, "42601");
}

#[test]
fn emit_is_taken_off_wherever_it_may_stand() {
    let select = |text: &str| match one(text) {
        Statement::Select(select) => select.emit,
        Statement::CopyTo(CopyTo {
            source: CopySource::Select(select),
            ..
        }) => select.emit,
        Statement::DeclareCursor { select, .. } => select.emit,
        other => panic!("{text}: {other:?}"),
    };
    let query = "SELECT window_start, count(*) FROM TUMBLE(bids, date_time, INTERVAL '10 seconds') GROUP BY 1";
    assert_eq!(select(query), Emit::OnChange);
    assert_eq!(select(&format!("{query} EMIT ON WINDOW CLOSE")), Emit::OnWindowClose);
    assert_eq!(select(&format!("{query} emit final")), Emit::OnWindowClose);
    assert_eq!(select("SELECT * FROM bids EMIT CHANGES"), Emit::OnChange);
    assert_eq!(
        select(&format!("COPY ({query} EMIT ON WINDOW CLOSE) TO STDOUT")),
        Emit::OnWindowClose
    );
    assert_eq!(
        select(&format!("DECLARE c CURSOR FOR {query} EMIT FINAL")),
        Emit::OnWindowClose
    );
    assert_eq!(select("SELECT emit FROM emit"), Emit::OnChange, "a name like any other");
    for (text, definition) in [
        (
            format!("CREATE MATERIALIZED VIEW v AS {query} EMIT ON WINDOW CLOSE"),
            query.to_string(),
        ),
        (
            format!("CREATE MATERIALIZED VIEW v EMIT ON WINDOW CLOSE AS {query};"),
            query.to_string(),
        ),
        (
            format!("CREATE MATERIALIZED VIEW v AS {query} EMIT ON WINDOW CLOSE ORDER BY 1"),
            format!("{query}\nORDER BY 1"),
        ),
    ] {
        let view = view(&text);
        assert_eq!(
            (view.select.emit, view.definition),
            (Emit::OnWindowClose, definition),
            "{text}"
        );
    }
    refused(
        "DROP TOPIC t EMIT FINAL",
        "42601",
        "syntax error at or near \"EMIT\"",
        14,
    );
    unsupported("SELECT * FROM (SELECT 1 EMIT FINAL) x");
}

#[test]
fn other_dialects_spellings_are_read() {
    let query = |text: &str| match one(text) {
        Statement::Select(select) => select.query.to_string(),
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(query("TABLE bids"), "SELECT * FROM bids");
    assert_eq!(
        query("TABLE a UNION ALL TABLE b"),
        "SELECT * FROM a UNION ALL SELECT * FROM b"
    );
    assert_eq!(
        query("SELECT * FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' MINUTES)) AS w"),
        "SELECT * FROM TABLE(tumble(bids, descriptor(ts), INTERVAL '10' MINUTES)) AS w"
    );
    assert_eq!(
        query("SELECT * FROM HOP(DATA => TABLE bids, TIMECOL => DESCRIPTOR(ts), SLIDE => '1 min', SIZE => '5 min')"),
        "SELECT * FROM hop(data => bids, timecol => descriptor(ts), slide => '1 min', size => '5 min')"
    );
    assert_eq!(
        query("SELECT * FROM SESSION((SELECT sum(x) OVER (PARTITION BY y) FROM t) PARTITION BY (k, l), ts, '1 min')"),
        "SELECT * FROM session((SELECT sum(x) OVER (PARTITION BY y) FROM t), \"\u{1}partition by\", (k, l), ts, '1 min')"
    );
    assert_eq!(query("SELECT a OPERATOR(pg_catalog.~) 'x'"), "SELECT a OPERATOR(~) 'x'");
    assert_eq!(
        query("SELECT a COLLATE pg_catalog.default, b COLLATE \"C\""),
        "SELECT a, b"
    );
    assert_eq!(query("SELECT 1::pg_catalog.int4"), "SELECT 1::INT4");
    assert_eq!(query("SELECT CAST(1 AS pg_catalog.text)"), "SELECT CAST(1 AS TEXT)");
    let flink = view("CREATE VIEW v AS SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1 min'))");
    assert_eq!(
        flink.definition,
        "SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1 min'))"
    );
}

#[test]
fn what_clients_ask_the_system_catalog_parses() {
    for text in [
        "SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = \
         c.relnamespace WHERE c.relname OPERATOR(pg_catalog.~) '^(bids)$' COLLATE pg_catalog.default AND \
         pg_catalog.pg_table_is_visible(c.oid) ORDER BY 2, 3",
        "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), (SELECT pg_catalog.pg_get_expr(d.adbin, \
         d.adrelid, true) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND \
         a.atthasdef), a.attidentity = '' FROM pg_catalog.pg_attribute a WHERE a.attrelid = '16384' AND a.attnum > 0",
        "SELECT ARRAY(SELECT 1), ARRAY[1, 2][1], (ARRAY[1,2,3])[1:2], 'bids'::regclass::oid, a[1] = ANY ($1::int[])",
        "SELECT * FROM unnest(ARRAY[1,2]) WITH ORDINALITY AS u(x, n), LATERAL generate_series(1, 2) g",
        "SELECT t.oid, CASE WHEN t.typtype = 'd' THEN 1 ELSE 2 END::int FROM pg_type t WHERE t.typname !~ '^_' AND \
         t.oid IN (SELECT 1) AND x IS NOT DISTINCT FROM y",
        "SELECT count(*) FILTER (WHERE a > 0) OVER (PARTITION BY b ORDER BY c ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)",
        "SELECT x -> 'a' ->> 'b' #>> '{c}' @> '{}' ? 'k', a || b, -a ^ 2, @ a, a % 2, a << 1, NOT a ~* 'x' FROM t",
        "SELECT timestamp '2026-01-01', timestamptz '2026-01-01' AT TIME ZONE 'UTC', extract(epoch FROM now()), \
         position('a' in 'b'), substring('abc' from 2 for 1), trim(both ' ' from x), overlay('a' placing 'b' from 1)",
        "SELECT DISTINCT ON (a) a, b FROM t ORDER BY a, b DESC NULLS LAST LIMIT ALL OFFSET 1",
        "WITH RECURSIVE r (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT * FROM r",
        "SELECT a, sum(b) FROM t GROUP BY GROUPING SETS ((a), ()) HAVING sum(b) > 0",
        "SELECT n.nspname = ANY(current_schemas(true)), n.nspname, t.typname FROM pg_catalog.pg_type t JOIN \
         pg_catalog.pg_namespace n ON t.typnamespace = n.oid WHERE t.oid = $1",
        "select current_schema(), session_user, current_database(), version()",
        "SELECT 1 ORDER BY 1 FETCH FIRST 5 ROWS ONLY",
        "(SELECT 1) UNION (SELECT 2) ORDER BY 1",
        "SELECT FROM t",
    ] {
        one(text);
    }
}

#[test]
fn deep_statements_are_refused_before_anything_recurses() {
    let nested =
        |open: &str, close: &str, levels: usize| format!("SELECT {}1{}", open.repeat(levels), close.repeat(levels));
    one(&nested("(", ")", 50));
    one(&format!("SELECT 1{}", " + 1".repeat(299)));
    one(&format!("SELECT * FROM t WHERE a IN (1{})", ", 1".repeat(20_000)));
    one(&format!("SELECT * FROM t WHERE x = 1{}", " OR x = 1".repeat(900)));
    one(&format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(500)));
    for text in [
        nested("(", ")", 200),
        nested("(", ")", 100_000),
        nested("abs(", ")", 5_000),
        nested("CASE WHEN true THEN ", " END", 5_000),
        nested("(SELECT ", ")", 5_000),
        nested("ARRAY[", "]", 5_000),
        nested("NOT ", "", 50_000),
        nested("- ", "", 50_000),
        format!("SELECT 1{}", " + 1".repeat(100_000)),
        format!("SELECT 1{}", " OR 1 = 1".repeat(100_000)),
        format!("SELECT 1{}", "::int".repeat(100_000)),
        format!("SELECT 1{}", " UNION SELECT 1".repeat(100_000)),
        format!("SELECT * FROM {}t{}", "(".repeat(5_000), ")".repeat(5_000)),
    ] {
        let error = error(&text);
        assert_eq!(error.state.0, "54001", "{}...: {error}", &text[..40]);
    }
}

/// `sqlparser` tries some constructs again at each level of nesting when they fail.
#[test]
fn a_wrong_statement_fails_in_bounded_time() {
    for prefix in [
        "position(",
        "substring(",
        "extract(",
        "(SELECT * FROM (",
        "case when ",
        "trim(both ",
    ] {
        for end in ["", ")", "1 from", "'x"] {
            let text = format!("SELECT {}{end}", prefix.repeat(40));
            assert!(parse(&text).is_err(), "{prefix}");
        }
    }
}

/// Pieces that statements are made of, right and wrong.
fn piece() -> impl Strategy<Value = String> {
    const PIECES: [&str; 96] = [
        "SELECT",
        "FROM",
        "WHERE",
        "t",
        "a",
        "\"Q\"",
        "*",
        ",",
        "(",
        ")",
        "1",
        "'x'",
        "$1",
        "AS",
        "INSERT INTO",
        "VALUES",
        "DEFAULT",
        "CREATE",
        "TOPIC",
        "TABLE",
        "VIEW",
        "MATERIALIZED VIEW",
        "int",
        "text",
        "NOT NULL",
        "CHECK",
        "WITH",
        "PARTITION BY",
        "WATERMARK FOR",
        "INTERVAL",
        "'1 s'",
        "EMIT",
        "ON WINDOW CLOSE",
        "FINAL",
        "COPY",
        "STDIN",
        "TO",
        "STDOUT",
        "CSV",
        "SET",
        "SHOW",
        "=",
        "-",
        "+",
        "::",
        "[",
        "]",
        ".",
        ";",
        "EXPLAIN",
        "PREPARE",
        "EXECUTE",
        "DECLARE",
        "CURSOR FOR",
        "FETCH",
        "CLOSE",
        "UNION ALL",
        "JOIN",
        "ON",
        "GROUP BY",
        "ORDER BY",
        "LIMIT",
        "CASE",
        "WHEN",
        "THEN",
        "END",
        "NOT",
        "IN",
        "BETWEEN",
        "AND",
        "IS NULL",
        "TUMBLE",
        "DESCRIPTOR",
        "OPERATOR",
        "COLLATE",
        "pg_catalog",
        "CAST",
        "EXTRACT",
        "OVER",
        "FILTER",
        "LATERAL",
        "ALTER",
        "DROP",
        "COMMENT ON",
        "BEGIN",
        "ROLLBACK",
        "E'\\n'",
        "--x\n",
        "/*",
        "*/",
        "$$",
        "'",
        "\"",
        "é",
        "0.5e",
        "U&'\\0061'",
    ];
    prop_oneof![
        8 => (0..PIECES.len()).prop_map(|index| PIECES[index].to_string()),
        1 => "\\PC{0,6}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_parsed_or_refused(pieces in proptest::collection::vec(piece(), 0..40), spaced in any::<bool>()) {
        let text = pieces.join(if spaced { " " } else { "" });
        match parse(&text) {
            Ok(parsed) => for parsed in parsed {
                prop_assert!(text.contains(&parsed.text));
            },
            Err(error) => {
                let position = error.position.unwrap_or(1);
                prop_assert!(position >= 1 && position <= text.chars().count() + 1, "{position}: {error}");
                prop_assert_ne!(error.state.0, "XX000");
            }
        }
    }

    #[test]
    fn any_name_and_literal_reads_back(name in "\\PC{1,20}", literal in "[^\\x00]{0,20}") {
        let text = format!(
            "CREATE TOPIC {} (a text DEFAULT {})",
            catalog::quote_ident(&name),
            catalog::quote_literal(&literal)
        );
        let mut first = topic(&text);
        first.schema = name.clone();
        if name.len() <= lexer::IDENTIFIER_BYTES_MAX {
            prop_assert_eq!(&first.name, &name);
            prop_assert_eq!(parsed_again(&first), first);
        }
    }
}
