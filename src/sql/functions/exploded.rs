//! Rows made of arrays of texts: `aclexplode` of privileges, `pg_options_to_table` of `name=value`.
//!
//! One rule: a NULL array is no row, and a NULL item is none either.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, StringArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::catalog::read_privileges;
use super::{fail, over_columns, undefined_function};
use crate::error::SqlError;
use crate::sql::error::invalid_input;

/// One function per name.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    [
        ("aclexplode", Exploded::Privileges),
        ("pg_options_to_table", Exploded::Options),
    ]
    .into_iter()
    .map(|(name, kind)| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::from(ExplodedRows { name, kind, signature }))
    })
    .collect()
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Exploded {
    Privileges,
    Options,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExplodedRows {
    name: &'static str,
    kind: Exploded,
    signature: Signature,
}

impl ExplodedRows {
    fn fields(&self) -> Fields {
        let field = |name: &str, data_type| Field::new(name, data_type, true);
        match self.kind {
            Exploded::Privileges => vec![
                field("grantor", DataType::Int64),
                field("grantee", DataType::Int64),
                field("privilege_type", DataType::Utf8),
                field("is_grantable", DataType::Boolean),
            ],
            Exploded::Options => vec![
                field("option_name", DataType::Utf8),
                field("option_value", DataType::Utf8),
            ],
        }
        .into()
    }

    fn item(&self) -> Arc<Field> {
        Arc::new(Field::new("item", DataType::Struct(self.fields()), true))
    }

    fn evaluate(&self, lists: &ListArray) -> Result<ArrayRef, SqlError> {
        let mut lengths = Vec::with_capacity(lists.len());
        let (mut grantors, mut grantees, mut names, mut grantable) = (vec![], vec![], vec![], vec![]);
        let mut values: Vec<Option<String>> = Vec::new();
        for row in 0..lists.len() {
            let before = names.len();
            let items = lists.is_valid(row).then(|| lists.value(row));
            for item in items.iter().flat_map(|items| items.as_string::<i32>().iter().flatten()) {
                match self.kind {
                    Exploded::Privileges => {
                        let (grantor, grantee, privileges) =
                            read_privileges(item).ok_or_else(|| invalid_input("aclitem", item))?;
                        for (privilege, may_grant) in privileges {
                            grantors.push(i64::from(grantor));
                            grantees.push(i64::from(grantee));
                            names.push(privilege.to_string());
                            grantable.push(may_grant);
                        }
                    }
                    Exploded::Options => match item.split_once('=') {
                        Some((name, value)) => {
                            names.push(name.to_string());
                            values.push(Some(value.to_string()));
                        }
                        None => {
                            names.push(item.to_string());
                            values.push(None);
                        }
                    },
                }
            }
            lengths.push(names.len() - before);
        }
        let names: ArrayRef = Arc::new(StringArray::from(names));
        let columns: Vec<ArrayRef> = match self.kind {
            Exploded::Privileges => vec![
                Arc::new(Int64Array::from(grantors)),
                Arc::new(Int64Array::from(grantees)),
                names,
                Arc::new(BooleanArray::from(grantable)),
            ],
            Exploded::Options => vec![names, Arc::new(StringArray::from(values))],
        };
        let rows = StructArray::new(self.fields(), columns, None);
        let nulls: Option<NullBuffer> = lists.nulls().cloned();
        Ok(Arc::new(ListArray::new(
            self.item(),
            OffsetBuffer::from_lengths(lengths),
            Arc::new(rows),
            nulls,
        )))
    }
}

impl ScalarUDFImpl for ExplodedRows {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [list @ DataType::List(_)] => Ok(vec![list.clone()]),
            [DataType::Null] => Ok(vec![DataType::new_list(DataType::Utf8, true)]),
            _ => Err(fail(undefined_function(self.name, arguments))),
        }
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(self.item()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over_columns(&args, |columns, _| self.evaluate(columns[0].as_list::<i32>()))
    }
}
