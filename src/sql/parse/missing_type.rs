//! Types that this server does not have, or not for columns.
//!
//! One rule: they are 0A000 with what to use instead, wherever a type is written; any other unknown name is 42704.

use crate::error::SqlError;

/// Names without modifiers and brackets, with the types to use instead.
const MISSING: &[(&[&str], &str)] = &[
    (
        &["bit", "varbit"],
        "Use INTEGER or BIGINT, which have the operators &, |, #, ~, << and >>, or BYTEA.",
    ),
    (&["time", "timetz"], "Use TIME or TIMESTAMPTZ."),
    (&["money"], "Use NUMERIC(p, s)."),
    (
        &[
            "int4range",
            "int8range",
            "numrange",
            "tsrange",
            "tstzrange",
            "daterange",
            "int4multirange",
            "int8multirange",
            "nummultirange",
            "tsmultirange",
            "tstzmultirange",
            "datemultirange",
        ],
        "Use a column for each bound.",
    ),
    (
        &[
            "inet",
            "cidr",
            "macaddr",
            "macaddr8",
            "xml",
            "point",
            "line",
            "lseg",
            "box",
            "path",
            "polygon",
            "circle",
            "tsvector",
            "tsquery",
            "struct",
            "map",
            "aclitem",
            "pg_lsn",
            "pg_node_tree",
            "pg_snapshot",
            "txid_snapshot",
            "xid8",
            "regcollation",
            "regoper",
            "regoperator",
            "regprocedure",
        ],
        "Use TEXT or JSONB to keep such values.",
    ),
];

/// 0A000 for a type as it is written, if it is one of these.
pub fn missing_type(written: &str) -> Option<SqlError> {
    let lower = written.to_lowercase();
    let bare = lower.strip_prefix("pg_catalog.").unwrap_or(&lower);
    let bare = bare.trim_matches('"');
    let base = bare.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    let (_, hint) = MISSING.iter().find(|(names, _)| names.contains(&base))?;
    Some(SqlError::unsupported(
        format!("type \"{written}\" is not supported"),
        *hint,
    ))
}
