//! `single_value(x)`: the value of the only row, NULL of none; 21000 of more. A subquery that is a value is read through it.

use std::mem::size_of_val;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, UInt64Array};
use arrow::datatypes::{DataType, Field, FieldRef, UInt64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

use super::fail;
use crate::error::{SqlError, state};

/// The aggregate.
pub fn single_value() -> Arc<AggregateUDF> {
    aggregate(SinglePart::Checked)
}

/// The part of these aggregates that a function is, if it is one of them.
pub fn single_part(function: &AggregateUDF) -> Option<SinglePart> {
    function.inner().downcast_ref::<SingleValue>().map(|single| single.part)
}

/// The same in two parts, for [`only_value`] to check where the value is used: a value, and the number of rows.
pub fn some_value_and_rows() -> [Arc<AggregateUDF>; 2] {
    [aggregate(SinglePart::Value), aggregate(SinglePart::Rows)]
}

fn aggregate(part: SinglePart) -> Arc<AggregateUDF> {
    static FUNCTIONS: LazyLock<[Arc<AggregateUDF>; 3]> = LazyLock::new(|| {
        [SinglePart::Checked, SinglePart::Value, SinglePart::Rows].map(|part| {
            Arc::new(AggregateUDF::from(SingleValue {
                part,
                signature: Signature::any(1, Volatility::Immutable),
            }))
        })
    });
    FUNCTIONS[part as usize].clone()
}

/// `only_value(value, rows)`: the value; 21000 if there is more than one row.
pub fn only_value() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        Arc::new(ScalarUDF::from(OnlyValue {
            signature: Signature::any(2, Volatility::Immutable),
        }))
    });
    FUNCTION.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OnlyValue {
    signature: Signature,
}

impl ScalarUDFImpl for OnlyValue {
    fn name(&self) -> &str {
        "only_value"
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
        let several = match &args.args[1] {
            ColumnarValue::Scalar(rows) => matches!(rows, ScalarValue::UInt64(Some(2..))),
            ColumnarValue::Array(rows) => rows.as_primitive::<UInt64Type>().iter().flatten().any(|rows| rows > 1),
        };
        match several {
            true => Err(too_many()),
            false => Ok(args.args[0].clone()),
        }
    }
}

fn too_many() -> DataFusionError {
    fail(more_than_one())
}

/// 21000
pub fn more_than_one() -> SqlError {
    SqlError::new(
        state::CARDINALITY_VIOLATION,
        "more than one row returned by a subquery used as an expression",
    )
}

/// The results of an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SinglePart {
    /// The value, of one row at most.
    Checked,
    /// The value of any row.
    Value,
    /// The number of rows.
    Rows,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SingleValue {
    part: SinglePart,
    signature: Signature,
}

impl AggregateUDFImpl for SingleValue {
    fn name(&self) -> &str {
        match self.part {
            SinglePart::Checked => "single_value",
            SinglePart::Value => "some_value",
            SinglePart::Rows => "rows",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(match self.part {
            SinglePart::Rows => DataType::UInt64,
            _ => arguments[0].clone(),
        })
    }

    fn return_field(&self, arguments: &[FieldRef]) -> Result<FieldRef> {
        if self.part == SinglePart::Rows {
            return Ok(Arc::new(Field::new(self.name(), DataType::UInt64, true)));
        }
        let field = arguments[0].as_ref().clone();
        Ok(Arc::new(field.with_name(self.name()).with_nullable(true)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let value = args.input_fields[0]
            .as_ref()
            .clone()
            .with_nullable(true)
            .with_name(format!("{}[value]", args.name));
        let rows = Field::new(format!("{}[rows]", args.name), DataType::UInt64, false);
        Ok(vec![Arc::new(value), Arc::new(rows)])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Single {
            part: self.part,
            value: ScalarValue::try_from(args.expr_fields[0].data_type())?,
            rows: 0,
        }))
    }
}

#[derive(Debug)]
struct Single {
    part: SinglePart,
    value: ScalarValue,
    rows: u64,
}

impl Single {
    fn take(&mut self, values: &ArrayRef, at: usize, rows: u64) -> Result<()> {
        self.rows += rows;
        if self.rows > 1 && self.part == SinglePart::Checked {
            return Err(too_many());
        }
        self.value = ScalarValue::try_from_array(values, at)?;
        Ok(())
    }
}

impl Accumulator for Single {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        match values[0].len() {
            0 => Ok(()),
            rows => self.take(&values[0], 0, rows as u64),
        }
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = states[1]
            .as_any()
            .downcast_ref::<UInt64Array>()
            .expect("a state has a count");
        for at in 0..rows.len() {
            if rows.value(at) > 0 {
                self.take(&states[0], at, rows.value(at))?;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(match self.part {
            SinglePart::Rows => ScalarValue::UInt64(Some(self.rows)),
            _ => self.value.clone(),
        })
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), ScalarValue::UInt64(Some(self.rows))])
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.value.size() - size_of_val(&self.value)
    }
}
