//! `lag`, `lead` and `ntile` whose numbers or defaults differ from row to row: the engine takes constants.
//!
//! One rule: as PostgreSQL, an offset and a default are those of the current row, and a count of buckets is that of the first
//! row of a partition that has one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{PartitionEvaluator, ReversedUDWF, Signature, Volatility, WindowUDF, WindowUDFImpl};

use super::fail;
use crate::error::{SqlError, SqlState};
use crate::stop;

/// The function of that name, if it is one of them.
pub fn of(name: &str) -> Option<Arc<WindowUDF>> {
    let kind = match name {
        "lag" => ShiftKind::Lag,
        "lead" => ShiftKind::Lead,
        "ntile" => ShiftKind::Ntile,
        _ => return None,
    };
    Some(Arc::new(WindowUDF::from(Shifted {
        kind,
        signature: Signature::variadic_any(Volatility::Immutable),
    })))
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum ShiftKind {
    Lag,
    Lead,
    Ntile,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Shifted {
    kind: ShiftKind,
    signature: Signature,
}

impl WindowUDFImpl for Shifted {
    fn name(&self) -> &str {
        match self.kind {
            ShiftKind::Lag => "lag",
            ShiftKind::Lead => "lead",
            ShiftKind::Ntile => "ntile",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(&self, _args: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(ShiftedValues { kind: self.kind }))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        if self.kind == ShiftKind::Ntile {
            return Ok(Arc::new(Field::new(args.name(), DataType::Int32, true)));
        }
        match args.input_fields().first() {
            Some(first) => Ok(Arc::new(
                first.as_ref().clone().with_name(args.name()).with_nullable(true),
            )),
            None => exec_err!("a value is taken of an argument"),
        }
    }

    fn reverse_expr(&self) -> ReversedUDWF {
        ReversedUDWF::NotSupported
    }
}

#[derive(Debug)]
struct ShiftedValues {
    kind: ShiftKind,
}

impl PartitionEvaluator for ShiftedValues {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        stop::check().map_err(fail)?;
        match self.kind {
            ShiftKind::Ntile => buckets(&values[0], rows),
            ShiftKind::Lag => shifted(values, rows, -1),
            ShiftKind::Lead => shifted(values, rows, 1),
        }
    }
}

/// The values of the rows that each row's offset leads to.
fn shifted(values: &[ArrayRef], rows: usize, direction: i64) -> Result<ArrayRef> {
    let own = &values[0];
    let offsets = match values.get(1) {
        Some(offsets) => arrow::compute::cast(offsets, &DataType::Int64)?,
        None => Arc::new(arrow::array::Int64Array::from_value(1, rows)),
    };
    let offsets = offsets.as_primitive::<Int64Type>();
    let nothing = new_null_array(own.data_type(), 1);
    let defaults = values.get(2);
    let taken = (0..rows).map(|row| {
        if offsets.is_null(row) {
            return (1, 0);
        }
        let place = offsets.value(row).saturating_mul(direction).saturating_add(row as i64);
        match (usize::try_from(place), defaults) {
            (Ok(place), _) if place < rows => (0, place),
            (_, Some(_)) => (2, row),
            _ => (1, 0),
        }
    });
    let taken: Vec<(usize, usize)> = taken.collect();
    let mut sources: Vec<&dyn Array> = vec![own.as_ref(), nothing.as_ref()];
    sources.extend(defaults.map(AsRef::as_ref));
    Ok(interleave(&sources, &taken)?)
}

/// The number of each row's bucket.
fn buckets(counts: &ArrayRef, rows: usize) -> Result<ArrayRef> {
    let counts = arrow::compute::cast(counts, &DataType::Int64)?;
    let counts = counts.as_primitive::<Int64Type>();
    let Some(first) = (0..rows).find(|row| counts.is_valid(*row)) else {
        return Ok(new_null_array(&DataType::Int32, rows));
    };
    let Some(count) = usize::try_from(counts.value(first)).ok().filter(|count| *count > 0) else {
        let message = "argument of ntile must be greater than zero";
        return Err(fail(SqlError::new(SqlState("22014"), message)));
    };
    let (size, larger) = (rows / count, rows % count);
    let number = |row: usize| -> i32 {
        let bucket = match row < larger * (size + 1) {
            true => row / (size + 1),
            false => larger + (row - larger * (size + 1)) / size.max(1),
        };
        i32::try_from(bucket + 1).unwrap_or(i32::MAX)
    };
    let numbers: Int32Array = (0..rows)
        .map(|row| (row >= first).then(|| number(row - first)))
        .collect();
    Ok(Arc::new(numbers))
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    #[test]
    fn rows_are_shifted_by_their_own_offsets() {
        let values: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
        let offsets: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(2)]));
        let shifted = shifted(&[values, offsets], 3, -1).expect("they are");
        let expected = Int32Array::from(vec![None, None, Some(1)]);
        assert_eq!(shifted.as_primitive::<arrow::datatypes::Int32Type>(), &expected);
    }

    #[test]
    fn the_first_buckets_are_the_larger_ones() {
        let counts: ArrayRef = Arc::new(Int32Array::from(vec![2, 9, 9, 9, 9]));
        let numbers = buckets(&counts, 5).expect("there are 2");
        let expected = Int32Array::from(vec![1, 1, 1, 2, 2]);
        assert_eq!(numbers.as_primitive::<arrow::datatypes::Int32Type>(), &expected);
    }
}
