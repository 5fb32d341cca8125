//! Distinct elements for `array_agg(DISTINCT x)` where values that are equal differ in their bytes: one of each, in order.
//!
//! One rule: values are equal, and sorted, as their keys are (`functions/keys.rs`).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray};
use arrow::datatypes::{DataType, Decimal128Type, FieldRef, IntervalMonthDayNanoType};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use hashbrown::HashSet;

use super::key::list_keys;
use super::made::Picks;
use super::shape::range;
use super::shaped;
use crate::error::SqlError;
use crate::sql::functions::{casts, datetime, numeric};

#[derive(Debug, PartialEq, Eq, Hash)]
struct DistinctElements {
    descending: bool,
    nulls_first: bool,
    signature: Signature,
}

/// The function of a list that leaves one of each of its elements, sorted.
pub fn distinct_elements(descending: bool, nulls_first: bool) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(DistinctElements {
        descending,
        nulls_first,
        signature: Signature::any(1, Volatility::Immutable),
    }))
}

/// Whether the bytes of equal values may differ.
pub fn differ_though_equal(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::LargeBinary | DataType::Interval(_) | DataType::BinaryView | DataType::List(_)
    )
}

impl ScalarUDFImpl for DistinctElements {
    fn name(&self) -> &str {
        "array_distinct_elements"
    }

    fn schema_name(&self, args: &[datafusion::logical_expr::Expr]) -> Result<String> {
        let order = (self.descending, self.nulls_first);
        Ok(format!("{}({}, {order:?})", self.name(), args[0].schema_name()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[0].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let field = args.arg_fields[0].as_ref().clone();
        Ok(Arc::new(field.with_name(self.name()).with_nullable(true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        casts::map(&args.args[0], |column| self.evaluate(column))
    }
}

fn keys(values: &ArrayRef) -> Result<BinaryArray, SqlError> {
    let keys = match values.data_type() {
        DataType::BinaryView => shaped::keys(values)?,
        DataType::List(_) => list_keys(values)?,
        DataType::Interval(_) => {
            let lengths = values.as_primitive::<IntervalMonthDayNanoType>();
            let lengths = lengths.unary::<_, Decimal128Type>(datetime::comparable);
            let key = |length: i128| (length ^ i128::MIN).to_be_bytes();
            return Ok(lengths.iter().map(|length| length.map(key)).collect());
        }
        _ => numeric::keys(values),
    };
    Ok(keys.as_binary::<i32>().clone())
}

/// A key that tells equal values apart.
fn tie(values: &ArrayRef, at: usize) -> Vec<u8> {
    match values.data_type() {
        DataType::LargeBinary if values.is_valid(at) => values.as_binary::<i64>().value(at).to_vec(),
        DataType::BinaryView if values.is_valid(at) => values.as_binary_view().value(at).to_vec(),
        // Months come before days, and days before hours.
        DataType::Interval(_) if values.is_valid(at) => {
            let value = values.as_primitive::<IntervalMonthDayNanoType>().value(at);
            let parts = [i64::from(value.months), i64::from(value.days), value.nanoseconds];
            parts
                .iter()
                .flat_map(|part| (!(part ^ i64::MIN)).to_be_bytes())
                .collect()
        }
        _ => Vec::new(),
    }
}

impl DistinctElements {
    fn evaluate(&self, column: &ArrayRef) -> Result<ArrayRef, SqlError> {
        let Some(lists) = column.as_list_opt::<i32>() else {
            return Ok(column.clone());
        };
        let keys = keys(lists.values())?;
        let key = |at: usize| keys.is_valid(at).then(|| keys.value(at));
        let mut picks = Picks::new(vec![lists.values()], lists.len());
        for row in 0..lists.len() {
            let members = if lists.is_null(row) { 0..0 } else { range(lists, row) };
            let mut seen = HashSet::new();
            // Of equal values always the same one.
            let mut members: Vec<usize> = members.collect();
            members.sort_by_key(|at| tie(lists.values(), *at));
            let mut kept: Vec<usize> = members.into_iter().filter(|at| seen.insert(key(*at))).collect();
            kept.sort_by(|a, b| {
                let (a, b) = (key(*a), key(*b));
                match (a.is_none(), b.is_none()) {
                    (false, false) if self.descending => b.cmp(&a),
                    (false, false) => a.cmp(&b),
                    (a, b) if self.nulls_first => b.cmp(&a),
                    (a, b) => a.cmp(&b),
                }
            });
            kept.into_iter().for_each(|at| picks.pick(0, at));
            picks.end(lists.is_valid(row));
        }
        Ok(Arc::new(picks.finish_lists(lists.data_type())?))
    }
}
