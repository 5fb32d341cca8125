//! Functions that are written in SQL over others, and over the server's own relations.
//!
//! One rule: a call becomes the text here before anything is known of its types; `"~1"` and `"~2"` are its arguments.
//! The relations around an argument show only names that begin with `~`, so that none captures one of the argument's
//! own. Not here: functions that are computed (`functions`), sizes of relations (`sizes.rs`).

use std::ops::ControlFlow;

use sqlparser::ast::{self, FunctionArg, FunctionArgExpr, FunctionArguments};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::call::bottom;
use super::kinds::CastContext;
use super::output::QueryOutput;
use super::scope::Scope;
use super::typed::{Typed, at};
use super::{Analyzer, Result};
use crate::error::{SqlError, state};
use crate::types::{Opaque, PgType};

/// The larger or the smaller of two values, NULL if either is.
macro_rules! extreme {
    ($symbol:literal, $kind:literal) => {
        concat!(
            "(CASE WHEN \"~1\"::",
            $kind,
            " ",
            $symbol,
            " \"~2\"::",
            $kind,
            " THEN \"~1\"::",
            $kind,
            " WHEN \"~1\"::",
            $kind,
            " IS NOT NULL THEN \"~2\"::",
            $kind,
            " END)"
        )
    };
}

/// Names, numbers of arguments, and the expressions that they stand for.
const EXPRESSIONS: &[(&str, usize, &str)] = &[
    (
        "pg_sleep_for",
        1,
        r#"pg_sleep(date_part('epoch', clock_timestamp() + "~1"::interval) - date_part('epoch', clock_timestamp()))"#,
    ),
    (
        "pg_sleep_until",
        1,
        r#"pg_sleep(date_part('epoch', "~1"::timestamptz) - date_part('epoch', clock_timestamp()))"#,
    ),
    (
        "timeofday",
        0,
        "to_char(clock_timestamp(), 'Dy Mon DD HH24:MI:SS.US YYYY TZ')",
    ),
    ("numeric_div_trunc", 2, r#"div("~1"::numeric, "~2"::numeric)"#),
    ("numeric_exp", 1, r#"exp("~1"::numeric)"#),
    ("numeric_inc", 1, r#"("~1"::numeric + 1)"#),
    ("numeric_ln", 1, r#"ln("~1"::numeric)"#),
    ("numeric_log", 2, r#"log("~1"::numeric, "~2"::numeric)"#),
    ("numeric_sqrt", 1, r#"sqrt("~1"::numeric)"#),
    (
        "int8_sum",
        2,
        r#"coalesce("~1"::numeric + "~2"::bigint, "~1"::numeric, "~2"::bigint)"#,
    ),
    ("int2larger", 2, extreme!(">", "smallint")),
    ("int2smaller", 2, extreme!("<", "smallint")),
    ("int4larger", 2, extreme!(">", "integer")),
    ("int4smaller", 2, extreme!("<", "integer")),
    ("int8larger", 2, extreme!(">", "bigint")),
    ("int8smaller", 2, extreme!("<", "bigint")),
    ("float4larger", 2, extreme!(">", "real")),
    ("float4smaller", 2, extreme!("<", "real")),
    ("float8larger", 2, extreme!(">", "double precision")),
    ("float8smaller", 2, extreme!("<", "double precision")),
    ("oidlarger", 2, extreme!(">", "oid")),
    ("oidsmaller", 2, extreme!("<", "oid")),
    ("numeric_larger", 2, extreme!(">", "numeric")),
    ("numeric_smaller", 2, extreme!("<", "numeric")),
    ("text_larger", 2, extreme!(">", "text")),
    ("text_smaller", 2, extreme!("<", "text")),
    ("bpchar_larger", 2, extreme!(">", "bpchar")),
    ("bpchar_smaller", 2, extreme!("<", "bpchar")),
    ("date_larger", 2, extreme!(">", "date")),
    ("date_smaller", 2, extreme!("<", "date")),
    ("time_larger", 2, extreme!(">", "time")),
    ("time_smaller", 2, extreme!("<", "time")),
    ("timestamp_larger", 2, extreme!(">", "timestamp")),
    ("timestamp_smaller", 2, extreme!("<", "timestamp")),
    ("timestamptz_larger", 2, extreme!(">", "timestamptz")),
    ("timestamptz_smaller", 2, extreme!("<", "timestamptz")),
    ("interval_larger", 2, extreme!(">", "interval")),
    ("interval_smaller", 2, extreme!("<", "interval")),
    ("int4inc", 1, r#"("~1"::integer + 1)"#),
    ("dlog1", 1, r#"ln("~1"::double precision)"#),
    ("dlog10", 1, r#"log("~1"::double precision)"#),
    ("dround", 1, r#"round("~1"::double precision)"#),
    ("dtrunc", 1, r#"trunc("~1"::double precision)"#),
    ("textlen", 1, r#"length("~1"::text)"#),
    ("nameconcatoid", 2, r#"("~1"::text || '_' || "~2"::oid::text)::name"#),
    ("pg_current_wal_lsn", 0, CURRENT_LSN),
    ("pg_current_wal_insert_lsn", 0, CURRENT_LSN),
    ("pg_current_wal_flush_lsn", 0, CURRENT_LSN),
    (
        "pg_snapshot_xip",
        1,
        r#"unnest(string_to_array(nullif(split_part("~1"::pg_snapshot::text, ':', 3), ''), ','))::xid8"#,
    ),
    (
        "txid_snapshot_xip",
        1,
        r#"unnest(string_to_array(nullif(split_part("~1"::txid_snapshot::text, ':', 3), ''), ','))::bigint"#,
    ),
    ("pg_last_wal_receive_lsn", 0, "NULL::pg_lsn"),
    ("pg_last_wal_replay_lsn", 0, "NULL::pg_lsn"),
    ("pg_last_xact_replay_timestamp", 0, "NULL::timestamptz"),
    ("pg_jit_available", 0, "false"),
    ("pg_trigger_depth", 0, "0"),
    ("pg_notification_queue_usage", 0, "0::double precision"),
    ("pg_safe_snapshot_blocking_pids", 1, "'{}'::integer[]"),
    ("pg_collation_actual_version", 1, "NULL::text"),
    ("pg_database_collation_actual_version", 1, "NULL::text"),
    ("pg_filenode_relation", 2, "NULL::regclass"),
    ("pg_get_replica_identity_index", 1, "NULL::regclass"),
    // As `information_schema` defines them.
    (
        "_pg_char_max_length",
        2,
        r#"(CASE WHEN "~2"::integer = -1 THEN NULL WHEN "~1"::oid IN (1042, 1043) THEN "~2"::integer - 4
            WHEN "~1"::oid IN (1560, 1562) THEN "~2"::integer END)"#,
    ),
    (
        "_pg_char_octet_length",
        2,
        r#"(CASE WHEN "~1"::oid IN (25, 1042, 1043) THEN
            CASE WHEN "~2"::integer = -1 THEN 1073741824
            WHEN "~1"::oid IN (1042, 1043) THEN ("~2"::integer - 4) * 4 END END)"#,
    ),
    (
        "_pg_numeric_precision",
        2,
        r#"(CASE "~1"::oid WHEN 21 THEN 16 WHEN 23 THEN 32 WHEN 20 THEN 64
            WHEN 1700 THEN CASE WHEN "~2"::integer = -1 THEN NULL ELSE (("~2"::integer - 4) >> 16) & 65535 END
            WHEN 700 THEN 24 WHEN 701 THEN 53 END)"#,
    ),
    (
        "_pg_numeric_precision_radix",
        2,
        r#"(CASE WHEN "~1"::oid IN (21, 23, 20, 700, 701) THEN 2 WHEN "~1"::oid = 1700 THEN 10 END)"#,
    ),
    (
        "_pg_numeric_scale",
        2,
        r#"(CASE WHEN "~1"::oid IN (21, 23, 20) THEN 0
            WHEN "~1"::oid = 1700 THEN CASE WHEN "~2"::integer = -1 THEN NULL ELSE ("~2"::integer - 4) & 65535 END END)"#,
    ),
    (
        "_pg_datetime_precision",
        2,
        r#"(CASE WHEN "~1"::oid = 1082 THEN 0
            WHEN "~1"::oid IN (1083, 1114, 1184, 1266) THEN CASE WHEN "~2"::integer < 0 THEN 6 ELSE "~2"::integer END
            WHEN "~1"::oid = 1186 THEN
                CASE WHEN "~2"::integer < 0 OR "~2"::integer & 65535 = 65535 THEN 6 ELSE "~2"::integer & 65535 END END)"#,
    ),
    (
        "_pg_interval_type",
        2,
        r#"(CASE WHEN "~1"::oid = 1186 THEN
            upper(substring(format_type("~1"::oid, "~2"::integer) FROM 'interval[()0-9]* (.*)$')) END)"#,
    ),
    // Nothing has an index.
    (
        "_pg_index_position",
        2,
        r#"(CASE WHEN "~1"::oid IS NULL OR "~2"::smallint IS NULL THEN NULL::integer END)"#,
    ),
    (
        "pg_settings_get_flags",
        1,
        r#"(SELECT CASE WHEN "~s"."~k" IN ('work_mem', 'search_path') THEN '{EXPLAIN}'::text[] ELSE '{}'::text[] END
            FROM (SELECT "~a".name AS "~k" FROM pg_catalog.pg_settings AS "~a") AS "~s"
            WHERE lower("~s"."~k") = lower("~1"::text))"#,
    ),
    (
        "pg_stat_get_backend_idset",
        0,
        r#"generate_series(1, (SELECT count(*)::integer FROM pg_catalog.pg_stat_activity AS "~s"))"#,
    ),
];

/// Columns of `pg_stat_activity` by the functions that give them for a session's number.
const OF_BACKEND: &[(&str, &str)] = &[
    ("pg_stat_get_backend_activity", "query"),
    ("pg_stat_get_backend_activity_start", "query_start"),
    ("pg_stat_get_backend_client_addr", "client_addr"),
    ("pg_stat_get_backend_client_port", "client_port"),
    ("pg_stat_get_backend_dbid", "datid"),
    ("pg_stat_get_backend_pid", "pid"),
    ("pg_stat_get_backend_start", "backend_start"),
    ("pg_stat_get_backend_userid", "usesysid"),
    ("pg_stat_get_backend_wait_event", "wait_event"),
    ("pg_stat_get_backend_wait_event_type", "wait_event_type"),
    ("pg_stat_get_backend_xact_start", "xact_start"),
];

/// Columns of statistics of relations by the functions that give them: `pg_stat_get_` and this.
const OF_RELATION: &[(&str, &str)] = &[
    ("analyze_count", "analyze_count"),
    ("autoanalyze_count", "autoanalyze_count"),
    ("autovacuum_count", "autovacuum_count"),
    ("dead_tuples", "n_dead_tup"),
    ("ins_since_vacuum", "n_ins_since_vacuum"),
    ("last_analyze_time", "last_analyze"),
    ("last_autoanalyze_time", "last_autoanalyze"),
    ("last_autovacuum_time", "last_autovacuum"),
    ("last_vacuum_time", "last_vacuum"),
    ("live_tuples", "n_live_tup"),
    ("mod_since_analyze", "n_mod_since_analyze"),
    ("tuples_deleted", "n_tup_del"),
    ("tuples_fetched", "idx_tup_fetch"),
    ("tuples_hot_updated", "n_tup_hot_upd"),
    ("tuples_inserted", "n_tup_ins"),
    ("tuples_returned", "seq_tup_read"),
    ("tuples_updated", "n_tup_upd"),
    ("vacuum_count", "vacuum_count"),
];

/// Statistics of databases: `pg_stat_get_db_` and this.
const OF_DATABASE: &[(&str, &str)] = &[
    ("active_time", "active_time"),
    ("blk_read_time", "blk_read_time"),
    ("blk_write_time", "blk_write_time"),
    ("blocks_hit", "blks_hit"),
    ("checksum_failures", "checksum_failures"),
    ("checksum_last_failure", "checksum_last_failure"),
    ("conflict_all", "conflicts"),
    ("deadlocks", "deadlocks"),
    ("idle_in_transaction_time", "idle_in_transaction_time"),
    ("numbackends", "numbackends"),
    ("session_time", "session_time"),
    ("sessions", "sessions"),
    ("sessions_abandoned", "sessions_abandoned"),
    ("sessions_fatal", "sessions_fatal"),
    ("sessions_killed", "sessions_killed"),
    ("stat_reset_time", "stats_reset"),
    ("temp_bytes", "temp_bytes"),
    ("temp_files", "temp_files"),
    ("tuples_deleted", "tup_deleted"),
    ("tuples_fetched", "tup_fetched"),
    ("tuples_inserted", "tup_inserted"),
    ("tuples_returned", "tup_returned"),
    ("tuples_updated", "tup_updated"),
    ("xact_commit", "xact_commit"),
    ("xact_rollback", "xact_rollback"),
];

const CURRENT_LSN: &str = r#"(SELECT concat(to_hex("~w".newest_lsn >> 32), '/', to_hex("~w".newest_lsn & 4294967295))::pg_lsn
    FROM millstream.wal AS "~w")"#;

const NEWEST: &str = r#"(SELECT "~w".newest_lsn FROM millstream.wal AS "~w")"#;

/// Names, numbers of arguments, and the queries that they stand for in FROM.
const QUERIES: &[(&str, usize, &str)] = &[
    (
        "pg_stat_get_activity",
        1,
        r#"SELECT datid, pid, usesysid, application_name, state, query, wait_event_type, wait_event, xact_start, query_start,
            backend_start, state_change, client_addr, client_hostname, client_port, backend_xid, backend_xmin, backend_type,
            false AS ssl, NULL::text AS sslversion, NULL::text AS sslcipher, NULL::integer AS sslbits,
            NULL::text AS ssl_client_dn, NULL::numeric AS ssl_client_serial, NULL::text AS ssl_issuer_dn,
            false AS gss_auth, NULL::text AS gss_princ, false AS gss_enc, leader_pid, query_id
            FROM (SELECT "~1"::integer AS "~k") AS "~g", pg_catalog.pg_stat_activity
            WHERE "~g"."~k" IS NULL OR pid = "~g"."~k""#,
    ),
    (
        "pg_available_extensions",
        0,
        "SELECT name, default_version, comment FROM pg_catalog.pg_available_extensions",
    ),
    (
        "pg_available_extension_versions",
        0,
        "SELECT name, version, superuser, trusted, relocatable, schema, requires, comment
            FROM pg_catalog.pg_available_extension_versions",
    ),
    (
        "pg_partition_tree",
        1,
        r#"SELECT "~1"::regclass AS relid, NULL::regclass AS parentrelid, true AS isleaf, 0 AS level WHERE false"#,
    ),
];

impl Analyzer<'_> {
    /// A call of a function that is written in SQL, or that the planner answers itself; `None` for any other.
    pub fn written_call(
        &self,
        name: &str,
        call: &ast::Function,
        scope: &Scope,
        position: Option<usize>,
    ) -> Result<Option<Typed>> {
        // Most calls are of other functions: their arguments are not copied.
        if !is_written(name) {
            return Ok(None);
        }
        let Some(given) = plain_arguments(&call.args) else {
            return Ok(None);
        };
        if let Some(expression) = expression_of(name, given.len()) {
            let mut expr = expression;
            substitute(&mut expr, &given);
            return Ok(Some(Typed {
                position,
                ..self.expr(&expr, scope)?
            }));
        }
        match (name, given.as_slice()) {
            ("current_query", []) => {
                let text = datafusion::common::ScalarValue::Utf8(Some(self.ctx.text.to_string()));
                let text = datafusion::logical_expr::Expr::Literal(text, None);
                Ok(Some(Typed::new(text, PgType::Text, position)))
            }
            ("pg_current_snapshot" | "txid_current_snapshot", []) => {
                let text = format!("concat({NEWEST} + 1, ':', {NEWEST} + 1, ':')");
                let opaque = match name {
                    "pg_current_snapshot" => Opaque::Snapshot,
                    _ => Opaque::TxidSnapshot,
                };
                let text = self.expr(&parse(&text), scope)?;
                Ok(Some(Typed::new(text.expr, PgType::Opaque(opaque), position)))
            }
            ("pg_wal_lsn_diff", [left, right]) => {
                let read = |expr: &ast::Expr| -> Result<Typed> {
                    let lsn = self.expr(expr, scope)?;
                    let lsn = self.coerce_to(lsn, &PgType::PgLsn, "argument of pg_wal_lsn_diff")?;
                    self.cast(
                        Typed::new(lsn.expr, PgType::Int8, position),
                        &PgType::Numeric(None),
                        CastContext::Explicit,
                    )
                };
                Ok(Some(self.binary("-", read(left)?, read(right)?, position)?))
            }
            ("pg_column_size", [value]) => {
                let typed = self.expr(value, scope)?;
                let Some(size) = size_of(&typed) else {
                    return Err(at(super::call::not_yet(name, &[typed]), position));
                };
                let mut expr = parse(&size);
                substitute(&mut expr, &given);
                Ok(Some(Typed {
                    position,
                    ..self.expr(&expr, scope)?
                }))
            }
            ("pg_collation_for", [value]) => {
                let typed = self.expr(value, scope)?;
                self.collation_of(value, &typed, position).map(Some)
            }
            ("_pg_truetypid" | "_pg_truetypmod", [attribute, kind]) => {
                let (attribute, kind) = (self.expr(attribute, scope)?, self.expr(kind, scope)?);
                self.true_type(name, &attribute, &kind, position).map(Some)
            }
            ("pg_identify_object", [class, object, part]) => {
                let mut fields = Vec::with_capacity(4);
                for field in ["type", "schema", "name", "identity"] {
                    let mut exprs = Vec::with_capacity(4);
                    for expr in [class, object, part] {
                        exprs.push(self.expr(expr, scope)?);
                    }
                    let [class, object, part] = <[Typed; 3]>::try_from(exprs).expect("three went in");
                    let given = vec![
                        self.coerce(class, &PgType::Oid)?.expr,
                        self.coerce(object, &PgType::Oid)?.expr,
                        self.coerce(part, &PgType::Int4)?.expr,
                    ];
                    let value = self.catalog_call(&format!("~object_{field}"), given)?;
                    fields.push((field.to_string(), Typed::new(value, PgType::Text, position)));
                }
                Ok(Some(Typed::row(fields, position)))
            }
            _ => Ok(None),
        }
    }

    /// The rows of a function in FROM that stands for a query; `None` for any other.
    pub fn written_rows(
        &self,
        name: &str,
        args: &[FunctionArg],
        parent: Option<&Scope>,
    ) -> Result<Option<QueryOutput>> {
        let Some((.., text)) = QUERIES
            .iter()
            .find(|(known, count, _)| *known == name && *count == args.len())
        else {
            return Ok(None);
        };
        let given: Option<Vec<ast::Expr>> = args.iter().map(plain).collect();
        let Some(given) = given else { return Ok(None) };
        let mut query = Parser::new(&PostgreSqlDialect {})
            .try_with_sql(text)
            .and_then(|mut parser| parser.parse_query())
            .expect("what is written is a query");
        substitute(query.as_mut(), &given);
        self.query(&query, parent).map(Some)
    }

    /// `pg_collation_for(value)`
    fn collation_of(&self, value: &ast::Expr, typed: &Typed, position: Option<usize>) -> Result<Typed> {
        let pg_type = typed.pg_type();
        let name = match (value, bottom(&pg_type)) {
            _ if typed.is_unknown() => None,
            (ast::Expr::Collate { collation, .. }, _) => Some(collation.to_string()),
            (_, PgType::Name) => Some("\"C\"".to_string()),
            (_, PgType::Text | PgType::Varchar(_) | PgType::Char(_)) if !typed.has_rows() => {
                Some("\"default\"".to_string())
            }
            _ => {
                let message = format!("collations are not supported by type {}", typed.type_name());
                return Err(at(SqlError::new(state::DATATYPE_MISMATCH, message), position));
            }
        };
        let name = datafusion::common::ScalarValue::Utf8(name);
        let name = datafusion::logical_expr::Expr::Literal(name, None);
        Ok(Typed::new(name, PgType::Text, position))
    }

    /// `information_schema._pg_truetypid(pg_attribute, pg_type)` and its kind: for a domain, its base type. There are
    /// no domains.
    fn true_type(&self, name: &str, attribute: &Typed, kind: &Typed, position: Option<usize>) -> Result<Typed> {
        let (column, result) = match name {
            "_pg_truetypid" => ("atttypid", PgType::Oid),
            _ => ("atttypmod", PgType::Int4),
        };
        let field = attribute.fields().and_then(|fields| {
            let mut fields = fields.iter();
            fields.find(|(name, _)| name == column)
        });
        match field {
            Some((_, field)) => self.coerce(field.clone(), &result),
            None if attribute.is_null() && (kind.is_null() || kind.fields().is_some()) => {
                Ok(Typed::new(super::typed::null_of(&result)?, result, position))
            }
            None => Err(at(
                super::call::undefined_function(name, &[attribute.clone(), kind.clone()]),
                position,
            )),
        }
    }
}

/// Functions that the analyzer itself puts together.
const OF_THE_PLAN: &[&str] = &[
    "current_query",
    "pg_current_snapshot",
    "txid_current_snapshot",
    "pg_wal_lsn_diff",
    "pg_column_size",
    "pg_collation_for",
    "_pg_truetypid",
    "_pg_truetypmod",
    "pg_identify_object",
];

fn is_written(name: &str) -> bool {
    OF_THE_PLAN.contains(&name)
        || EXPRESSIONS.iter().any(|(known, ..)| *known == name)
        || OF_BACKEND.iter().any(|(known, _)| *known == name)
        || statistics(name).is_some()
}

fn expression_of(name: &str, arguments: usize) -> Option<ast::Expr> {
    if let Some((_, column)) = OF_BACKEND.iter().find(|(known, _)| *known == name && arguments == 1) {
        return Some(parse(&format!(
            r#"(SELECT "~b"."~v" FROM (SELECT "~a".{column} AS "~v", row_number() OVER (ORDER BY "~a".pid) AS "~n"
                FROM pg_catalog.pg_stat_activity AS "~a") AS "~b" WHERE "~b"."~n" = "~1"::integer)"#
        )));
    }
    if let Some((view, key, column)) = statistics(name).filter(|_| arguments == 1) {
        let value = format!(
            r#"(SELECT "~b"."~v" FROM (SELECT "~a".{key} AS "~k", "~a".{column} AS "~v" FROM pg_catalog.{view} AS "~a") AS "~b"
                WHERE "~b"."~k" = "~1"::oid)"#
        );
        // An object without a row has counted nothing.
        let is_time = ["last_", "stats_reset", "checksum"]
            .iter()
            .any(|start| column.starts_with(start));
        return Some(parse(&match is_time {
            true => value,
            false => format!("coalesce({value}, 0)"),
        }));
    }
    let mut all = EXPRESSIONS.iter();
    let (.., text) = all.find(|(known, count, _)| *known == name && *count == arguments)?;
    Some(parse(text))
}

/// The bytes that PostgreSQL keeps a value in, of `"~1"`.
fn size_of(typed: &Typed) -> Option<String> {
    let pg_type = typed.pg_type();
    let bytes = match pg_type {
        _ if typed.is_unknown() => return Some(r#"octet_length("~1"::text) + 1"#.to_string()),
        PgType::Bytea => r#"octet_length("~1")"#,
        PgType::Text | PgType::Varchar(_) | PgType::Char(_) | PgType::Json => r#"octet_length("~1"::text)"#,
        _ if pg_type.typlen() > 0 => {
            return Some(format!(r#"(CASE WHEN "~1" IS NOT NULL THEN {} END)"#, pg_type.typlen()));
        }
        _ => return None,
    };
    // A short value in a row has a header of one byte.
    Some(match super::expr::is_constant(&typed.expr) {
        true => format!("({bytes} + 4)"),
        false => format!("({bytes} + CASE WHEN {bytes} <= 126 THEN 1 ELSE 4 END)"),
    })
}

/// View, key and column of a function of statistics.
fn statistics(name: &str) -> Option<(&'static str, &'static str, &'static str)> {
    let of = |list: &'static [(&str, &str)], rest: &str| list.iter().find(|row| row.0 == rest).map(|row| row.1);
    let rest = name.strip_prefix("pg_stat_get_")?;
    match rest.strip_prefix("db_") {
        Some(rest) => Some(("pg_stat_database", "datid", of(OF_DATABASE, rest)?)),
        None => Some(("pg_stat_all_tables", "relid", of(OF_RELATION, rest)?)),
    }
}

fn parse(text: &str) -> ast::Expr {
    Parser::new(&PostgreSqlDialect {})
        .try_with_sql(text)
        .and_then(|mut parser| parser.parse_expr())
        .expect("what is written is an expression")
}

fn plain(arg: &FunctionArg) -> Option<ast::Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        // The row of a relation.
        FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(name)) => {
            let parts: Option<Vec<ast::Ident>> = name.0.iter().map(|part| part.as_ident().cloned()).collect();
            match parts?.as_slice() {
                [name] => Some(ast::Expr::Identifier(name.clone())),
                parts => Some(ast::Expr::CompoundIdentifier(parts.to_vec())),
            }
        }
        _ => None,
    }
}

/// Arguments that are no more than expressions.
fn plain_arguments(args: &FunctionArguments) -> Option<Vec<ast::Expr>> {
    match args {
        FunctionArguments::None => Some(vec![]),
        FunctionArguments::List(list) if list.duplicate_treatment.is_none() && list.clauses.is_empty() => {
            list.args.iter().map(plain).collect()
        }
        _ => None,
    }
}

/// Puts arguments in the places of `"~1"` and `"~2"`.
fn substitute(tree: &mut impl ast::VisitMut, given: &[ast::Expr]) {
    let _: ControlFlow<()> = ast::visit_expressions_mut(tree, |expr| {
        if let ast::Expr::Identifier(ident) = expr
            && let Some(number) = ident
                .value
                .strip_prefix('~')
                .and_then(|number| number.parse::<usize>().ok())
            && let Some(argument) = given.get(number - 1)
        {
            *expr = ast::Expr::Nested(Box::new(argument.clone()));
        }
        ControlFlow::Continue(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_written_can_be_read() {
        for (name, arguments, _) in EXPRESSIONS {
            assert!(expression_of(name, *arguments).is_some());
        }
        for (name, _) in OF_RELATION {
            assert!(expression_of(&format!("pg_stat_get_{name}"), 1).is_some());
        }
        for (name, _) in OF_DATABASE {
            assert!(expression_of(&format!("pg_stat_get_db_{name}"), 1).is_some());
        }
        for (name, _) in OF_BACKEND {
            assert!(expression_of(name, 1).is_some());
        }
        for (.., text) in QUERIES {
            let parsed = Parser::new(&PostgreSqlDialect {})
                .try_with_sql(text)
                .and_then(|mut parser| parser.parse_query());
            assert!(parsed.is_ok(), "{text}");
        }
    }
}
