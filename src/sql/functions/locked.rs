//! Functions of advisory locks that answer for each row of a relation: `WHERE pg_try_advisory_lock(id)`.
//!
//! One rule: a lock is asked for only where the rest of the condition holds, and only until as many rows have theirs as
//! the query wants. `effects::by_row` writes the call so: name, condition, wanted rows, key.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use parking_lot::Mutex;

use super::{fail, go_on};
use crate::error::SqlError;
use crate::sql::effects::Advisory;

/// Calls a function of advisory locks with its key of one number or two.
pub type RowLocks = Arc<dyn Fn(Advisory, &[i64]) -> std::result::Result<bool, SqlError> + Send + Sync>;

/// The call in one session's statement.
pub struct LockedRows {
    of: Advisory,
    locks: RowLocks,
    /// Rows that have their lock.
    taken: Mutex<i64>,
    signature: Signature,
}

impl LockedRows {
    pub fn call(of: Advisory, arguments: Vec<Expr>, locks: &RowLocks) -> Expr {
        ScalarUDF::from(LockedRows {
            of,
            locks: Arc::clone(locks),
            taken: Mutex::new(0),
            signature: Signature::any(arguments.len(), Volatility::Volatile),
        })
        .call(arguments)
    }
}

impl fmt::Debug for LockedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockedRows({})", self.of.name)
    }
}

impl PartialEq for LockedRows {
    fn eq(&self, other: &LockedRows) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for LockedRows {}

impl Hash for LockedRows {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.of.name.hash(state);
    }
}

impl ScalarUDFImpl for LockedRows {
    fn name(&self) -> &str {
        self.of.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        go_on()?;
        let rows = args.number_rows;
        let columns = args.args.iter().map(|value| value.to_array(rows));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let condition = columns[0].as_boolean();
        let wanted = columns[1].as_primitive::<Int64Type>();
        let keys = columns[2..]
            .iter()
            .map(|column| arrow::compute::cast(column, &DataType::Int64));
        let keys = keys.collect::<std::result::Result<Vec<_>, _>>()?;
        let mut taken = self.taken.lock();
        let answer = |row: usize| -> std::result::Result<Option<bool>, SqlError> {
            if !(condition.is_valid(row) && condition.value(row)) {
                return Ok(Some(false));
            }
            if wanted.is_valid(row) && *taken >= wanted.value(row) {
                return Ok(Some(false));
            }
            let mut key = Vec::with_capacity(keys.len());
            for column in &keys {
                let column = column.as_primitive::<Int64Type>();
                if column.is_null(row) {
                    return Ok(None);
                }
                key.push(column.value(row));
            }
            let has = (self.locks)(self.of, &key)?;
            *taken += i64::from(has);
            Ok(Some(has))
        };
        let answers = (0..rows).map(answer).collect::<std::result::Result<BooleanArray, _>>();
        Ok(ColumnarValue::Array(Arc::new(answers.map_err(fail)?)))
    }
}
