//! [`OutField`]: a column of a result.
//!
//! One rule: it holds everything about a column that a client gets before the rows.

use crate::types::PgType;

/// One column of a result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutField {
    pub name: String,
    pub pg_type: PgType,
    /// `pg_attribute.atttypmod` of a modifier that the type does not say.
    pub typmod: Option<i32>,
    /// The relation that the column is a plain column of, or 0.
    pub table_oid: u32,
    /// Its number there, from 1, or 0.
    pub column: u16,
}
