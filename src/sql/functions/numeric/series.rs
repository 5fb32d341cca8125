//! `generate_series` of NUMERIC, as a list.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::column::{Numbers, collect};
use crate::error::{SqlError, state};
use crate::sql::functions::{growth, over_columns};
use crate::stop;
use crate::types::varying::Numeric;

/// From, to, and step: the function of the list.
pub fn series() -> Arc<ScalarUDF> {
    static SERIES: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        let signature = Signature::any(3, Volatility::Immutable);
        Arc::new(ScalarUDF::from(NumericSeries { signature }))
    });
    SERIES.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct NumericSeries {
    signature: Signature,
}

impl ScalarUDFImpl for NumericSeries {
    fn name(&self) -> &str {
        "numeric_series"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(item()))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over_columns(&args, |columns, rows| {
            let numbers = |index: usize| Numbers::of(&columns[index]).expect("planned over exact numbers");
            let [from, to, step] = [numbers(0), numbers(1), numbers(2)];
            let (mut made, mut lengths, mut valid) = (Vec::new(), Vec::with_capacity(rows), Vec::with_capacity(rows));
            for row in 0..rows {
                let before = made.len();
                let given = from.get(row).zip(to.get(row)).zip(step.get(row));
                valid.push(given.is_some());
                if let Some(((from, to), step)) = given {
                    put(from, &to, &step, &mut made)?;
                }
                lengths.push(made.len() - before);
            }
            let values = collect(made.len(), |row| Ok(Some(made[row].clone())))?;
            let lists = ListArray::new(
                item(),
                OffsetBuffer::from_lengths(lengths),
                values,
                Some(NullBuffer::from(valid)),
            );
            Ok(Arc::new(lists) as ArrayRef)
        })
    }
}

fn item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::LargeBinary, true))
}

fn put(from: Numeric, to: &Numeric, step: &Numeric, made: &mut Vec<Numeric>) -> Result<(), SqlError> {
    /// Numbers between two requests for room.
    const MANY: usize = 4096;
    for (number, what) in [(&from, "start value"), (to, "stop value"), (step, "step size")] {
        let kind = match number {
            Numeric::NaN => "NaN",
            Numeric::Infinity | Numeric::MinusInfinity => "infinity",
            _ => continue,
        };
        let message = format!("{what} cannot be {kind}");
        return Err(SqlError::new(state::INVALID_PARAMETER_VALUE, message));
    }
    if step.is_zero() {
        return Err(SqlError::new(
            state::INVALID_PARAMETER_VALUE,
            "step size cannot equal zero",
        ));
    }
    let past = match step.signum() {
        1 => std::cmp::Ordering::Greater,
        _ => std::cmp::Ordering::Less,
    };
    let mut next = from;
    while next.compare(to) != past {
        if made.len().is_multiple_of(MANY) {
            stop::check()?;
            growth::claim((MANY * size_of::<Numeric>() * 2) as u64)?;
        }
        let following = next.add(step)?;
        made.push(next);
        next = following;
    }
    Ok(())
}
