//! [`Filter`]: a condition on one column that a scan decides itself, before it reads the other columns.
//!
//! One rule: it has a value for every value of the column and fails for none, so that it may be asked of values that no
//! row of the scan has: of a column that is stored as a dictionary only the different values are asked.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, DataType, Field, Schema, SchemaRef, UInt8Type, UInt16Type,
};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
};
use datafusion::physical_plan::PhysicalExpr;

use crate::sql::plan::compares;

#[derive(Clone, Debug)]
pub struct Filter {
    /// Of the scan's columns.
    pub column: usize,
    /// As the plan had it.
    shown: Arc<dyn PhysicalExpr>,
    /// The same over the column alone.
    condition: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    keeps_null: bool,
}

impl Filter {
    /// `None` if the plan has to decide the condition: it has no column or several, or may fail.
    pub fn of(condition: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Option<Filter> {
        let mut columns = Vec::new();
        let visited = condition.apply(|expr| {
            columns.extend(expr.downcast_ref::<Column>().map(Column::index));
            Ok(TreeNodeRecursion::Continue)
        });
        columns.dedup();
        let [column] = columns[..] else { return None };
        if visited.is_err() || !never_fails(condition) {
            return None;
        }
        let field: Field = schema.fields().get(column)?.as_ref().clone().with_nullable(true);
        let alone = Arc::clone(condition).transform_up(|expr| {
            Ok(match expr.downcast_ref::<Column>() {
                Some(column) => Transformed::yes(Arc::new(Column::new(column.name(), 0)) as _),
                None => Transformed::no(expr),
            })
        });
        let null = new_null_array(field.data_type(), 1);
        let mut filter = Filter {
            column,
            shown: Arc::clone(condition),
            condition: alone.ok()?.data,
            schema: Arc::new(Schema::new(vec![field])),
            keeps_null: false,
        };
        filter.keeps_null = filter.ask(null).ok()?.value(0);
        Some(filter)
    }

    /// The rows that satisfy it, by their values in the column, which may be a dictionary of them.
    pub fn keeps(&self, values: &ArrayRef) -> Result<BooleanBuffer> {
        let Some(dictionary) = values.as_any_dictionary_opt() else {
            return self.ask(Arc::clone(values));
        };
        let keeps = self.ask(Arc::clone(dictionary.values()))?;
        let keys = dictionary.keys();
        match keys.data_type() {
            DataType::UInt8 => Ok(self.spread::<UInt8Type>(&keeps, keys)),
            DataType::UInt16 => Ok(self.spread::<UInt16Type>(&keeps, keys)),
            _ => self.ask(arrow::compute::cast(values, self.schema.field(0).data_type())?),
        }
    }

    fn spread<K: ArrowPrimitiveType>(&self, keeps: &BooleanBuffer, keys: &dyn Array) -> BooleanBuffer {
        // One byte a value is looked up faster than one bit.
        let keeps: Vec<bool> = keeps.iter().collect();
        let positions = keys.as_primitive::<K>().values();
        let kept = |row: usize| keeps.get(positions[row].as_usize()).copied().unwrap_or(false);
        match keys.nulls() {
            None => BooleanBuffer::collect_bool(keys.len(), kept),
            Some(nulls) => BooleanBuffer::collect_bool(keys.len(), |row| match nulls.is_valid(row) {
                true => kept(row),
                false => self.keeps_null,
            }),
        }
    }

    fn ask(&self, values: ArrayRef) -> Result<BooleanBuffer> {
        let rows = values.len();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), vec![values])?;
        let kept: ArrayRef = self.condition.evaluate(&batch)?.into_array(rows)?;
        let kept: &BooleanArray = kept.as_boolean();
        Ok(match kept.nulls() {
            None => kept.values().clone(),
            Some(nulls) => kept.values() & nulls.inner(),
        })
    }
}

/// Whether an expression has a value for all values of its columns.
pub fn never_fails(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let fails = expr.exists(|expr| Ok(!is_total(expr)));
    matches!(fails, Ok(false))
}

/// Whether it has a value if its inputs have.
fn is_total(expr: &Arc<dyn PhysicalExpr>) -> bool {
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        return compares(*binary.op()) || binary.op().is_logic_operator();
    }
    expr.downcast_ref::<Column>().is_some()
        || expr.downcast_ref::<Literal>().is_some()
        || expr.downcast_ref::<LikeExpr>().is_some()
        || expr.downcast_ref::<InListExpr>().is_some()
        || expr.downcast_ref::<IsNullExpr>().is_some()
        || expr.downcast_ref::<IsNotNullExpr>().is_some()
        || expr.downcast_ref::<NotExpr>().is_some()
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.shown)
    }
}
