//! Calls with VARIADIC: a function of any number of arguments that is given the last ones as an array.
//!
//! One rule: the function itself is called, once for each length that the arrays of a batch have. NULL in place of an array
//! makes NULL, but for `format`, to which it is no arguments.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array, new_empty_array, new_null_array};
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct Spread {
    inner: Arc<ScalarUDF>,
    /// Of the elements.
    element: FieldRef,
    signature: Signature,
}

/// The function for an array of elements like this in the place of its last arguments.
pub fn spread(inner: Arc<ScalarUDF>, element: FieldRef) -> Arc<ScalarUDF> {
    let signature = Signature::variadic_any(inner.signature().volatility);
    Arc::new(ScalarUDF::from(Spread {
        inner,
        element,
        signature,
    }))
}

impl Spread {
    fn fields(&self, first: &[FieldRef], elements: usize) -> Vec<FieldRef> {
        let repeated = std::iter::repeat_n(self.element.clone(), elements);
        first.iter().cloned().chain(repeated).collect()
    }

    /// One argument that changes nothing, if the function must have any.
    fn filler(&self, rows: usize) -> Option<ArrayRef> {
        match self.inner.name() {
            "concat" | "concat_ws" | "num_nonnulls" => Some(new_null_array(&DataType::Utf8, rows)),
            "num_nulls" => Some(Arc::new(arrow::array::Int32Array::from_value(0, rows))),
            _ => None,
        }
    }
}

impl ScalarUDFImpl for Spread {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        exec_err!("the type of a spread call is its field's")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let (_, first) = args.arg_fields.split_last().expect("the array is there");
        let fields = self.fields(first, 2);
        let given: Vec<_> = vec![None; fields.len()];
        let returned = self.inner.return_field_from_args(ReturnFieldArgs {
            arg_fields: &fields,
            scalar_arguments: &given,
        })?;
        Ok(Arc::new(returned.as_ref().clone().with_nullable(true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let (array, first) = columns.split_last().expect("the array is there");
        let (_, first_fields) = args.arg_fields.split_last().expect("the array is there");
        let returned = args.return_field.data_type();
        let lists = array.as_list_opt::<i32>();
        let format = self.inner.name() == "format";
        let mut lengths: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        // The place of each row's value: the number of the result, and the place in it.
        let mut places = vec![(0, 0); array.len()];
        for row in 0..array.len() {
            let length = match lists.filter(|lists| lists.is_valid(row)) {
                Some(lists) => lists.value_length(row) as usize,
                None if format => 0,
                None => continue,
            };
            lengths.entry(length).or_default().push(row as u32);
        }
        let mut results: Vec<ArrayRef> = vec![new_null_array(returned, 1)];
        for (length, rows) in lengths {
            let indices = UInt32Array::from(rows.clone());
            let mut given = Vec::with_capacity(first.len() + length);
            for column in first {
                given.push(take(column, &indices, None)?);
            }
            for at in 0..length {
                let lists = lists.expect("only a list has a length");
                let offsets = lists.value_offsets();
                let elements = rows.iter().map(|row| offsets[*row as usize] as u32 + at as u32);
                given.push(take(lists.values(), &UInt32Array::from_iter_values(elements), None)?);
            }
            let mut fields = self.fields(first_fields, length);
            if length == 0
                && let Some(filler) = self.filler(rows.len())
            {
                fields.push(Arc::new(arrow::datatypes::Field::new(
                    "",
                    filler.data_type().clone(),
                    true,
                )));
                given.push(filler);
            }
            let made = self.inner.invoke_with_args(ScalarFunctionArgs {
                args: given.into_iter().map(ColumnarValue::Array).collect(),
                arg_fields: fields,
                number_rows: rows.len(),
                return_field: args.return_field.clone(),
                config_options: args.config_options.clone(),
            })?;
            for (place, row) in rows.iter().enumerate() {
                places[*row as usize] = (results.len(), place);
            }
            results.push(made.into_array(rows.len())?);
        }
        if places.is_empty() {
            return Ok(ColumnarValue::Array(new_empty_array(returned)));
        }
        let results: Vec<&dyn Array> = results.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(interleave(&results, &places)?))
    }
}
