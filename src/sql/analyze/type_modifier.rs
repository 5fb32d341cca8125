//! Lengths that no type has.

use sqlparser::ast;

use crate::error::{SqlError, state};

/// 22023 for a length that no VARCHAR or CHAR has.
pub fn wrong_length(data_type: &ast::DataType) -> Option<SqlError> {
    const LENGTH_MAX: u64 = 10_485_760;
    use ast::DataType::{Char, CharVarying, Character, CharacterVarying, Varchar};
    let (name, length) = match data_type {
        Varchar(Some(length)) | CharVarying(Some(length)) | CharacterVarying(Some(length)) => ("varchar", length),
        Char(Some(length)) | Character(Some(length)) => ("char", length),
        _ => return None,
    };
    let ast::CharacterLength::IntegerLength { length, .. } = length else {
        return None;
    };
    let message = match *length {
        0 => format!("length for type {name} must be at least 1"),
        length if length > LENGTH_MAX => format!("length for type {name} cannot exceed {LENGTH_MAX}"),
        _ => return None,
    };
    Some(SqlError::new(state::INVALID_PARAMETER_VALUE, message))
}
