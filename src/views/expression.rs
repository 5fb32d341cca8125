//! Scalar expressions of a dataflow, evaluated vectorized, and the errors that they meet.
//!
//! One rule: an expression here is immutable over its input row; one that depends on time or chance never gets here.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::Schema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, Volatility};
use datafusion::physical_expr::aggregate::{LoweredAggregate, LoweredAggregateBuilder};
use datafusion::physical_expr::expressions::Column as PhysicalColumn;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::window::WindowExpr;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::physical_planner::create_window_expr;

use crate::error::SqlError;
use crate::sql::functions::growth::spread;
use crate::sql::functions::makes_keys;
use crate::sql::functions::nullable::is_nullable;
use crate::sql::plan::compares;

use super::delta::batch_of;

/// A compiled scalar expression.
#[derive(Clone, Debug)]
pub struct Expression {
    physical: Arc<dyn PhysicalExpr>,
}

/// The settings that expressions are compiled under.
#[derive(Clone, Debug)]
pub struct ExpressionContext {
    props: ExecutionProps,
}

impl ExpressionContext {
    pub fn new(options: Arc<ConfigOptions>) -> ExpressionContext {
        let mut props = ExecutionProps::new();
        props.config_options = Some(options);
        ExpressionContext { props }
    }

    /// Compiles `expr` over rows of `input`.
    pub fn compile(&self, expr: &Expr, input: &DFSchema) -> Result<Expression, SqlError> {
        let physical = create_physical_expr(expr, input, &self.props, &Default::default())?;
        Ok(Expression { physical })
    }

    /// Compiles the call of a window function over rows of `input`.
    pub fn compile_window(&self, call: &Expr, input: &DFSchema) -> Result<Arc<dyn WindowExpr>, SqlError> {
        Ok(create_window_expr(call, input, &self.props, &Default::default())?)
    }

    /// The call of an aggregate as the engine plans it.
    pub fn lower(&self, call: &Expr, input: &DFSchema) -> Result<LoweredAggregate, SqlError> {
        let planning = PhysicalPlanningContext::default();
        let lowered = LoweredAggregateBuilder::new(call, input, input.as_arrow(), &self.props, &planning);
        Ok(lowered.build()?)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Expression) -> bool {
        *self.physical == *other.physical
    }
}

impl Expression {
    pub fn column(name: &str, place: usize) -> Expression {
        Expression::of(Arc::new(PhysicalColumn::new(name, place)))
    }

    /// The same with expressions in place of its columns. `None` if it cannot be put so.
    pub fn over(&self, columns: &[Expression]) -> Option<Expression> {
        let replaced = self.physical.clone().transform_up(|expression| {
            Ok(match expression.downcast_ref::<PhysicalColumn>() {
                Some(column) => Transformed::yes(columns[column.index()].physical.clone()),
                None => Transformed::no(expression),
            })
        });
        replaced.ok().map(|replaced| Expression::of(replaced.data))
    }

    /// An expression of the engine's.
    pub fn of(physical: Arc<dyn PhysicalExpr>) -> Expression {
        Expression { physical }
    }

    /// Its value, if it has the same for all rows.
    pub fn constant(&self) -> Result<Option<ScalarValue>, SqlError> {
        if !collect_columns(&self.physical).is_empty() {
            return Ok(None);
        }
        let row = batch_of(Arc::new(Schema::empty()), Vec::new(), 1)?;
        Ok(Some(ScalarValue::try_from_array(&self.evaluate(&row)?, 0)?))
    }

    /// One value per row of `batch`.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef, SqlError> {
        let value = self.physical.evaluate(batch)?;
        Ok(spread(value, batch.num_rows())?)
    }

    /// As [`Expression::evaluate`], for a condition.
    pub fn evaluate_bool(&self, batch: &RecordBatch) -> Result<BooleanArray, SqlError> {
        let array = self.evaluate(batch)?;
        match array.as_boolean_opt() {
            Some(bools) => Ok(bools.clone()),
            // An untyped NULL as a condition: never true.
            None if array.logical_null_count() == array.len() => Ok(BooleanArray::new_null(array.len())),
            None => panic!("a condition of type {}", array.data_type()),
        }
    }
}

/// The state beside its row that an expression's meaning depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dependence {
    /// On nothing else.
    Row,
    /// On the statement's time or settings, such as now(): the function's name.
    Statement(&'static str),
    /// On chance, such as random().
    Chance(&'static str),
    /// On other rows: a subquery.
    Subquery,
    /// On a parameter or another thing that a view cannot have.
    Other(&'static str),
}

/// The worst dependence within `expr`.
pub fn dependence(expr: &Expr) -> Result<(Dependence, String), SqlError> {
    use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
    let mut found = (Dependence::Row, String::new());
    expr.apply(|node| {
        match node {
            Expr::ScalarFunction(call) => match call.func.signature().volatility {
                Volatility::Immutable => {}
                Volatility::Volatile if is_nullable(&call.func) => {}
                Volatility::Stable => found = (Dependence::Statement("function"), call.func.name().to_string()),
                Volatility::Volatile => {
                    found = (Dependence::Chance("function"), call.func.name().to_string());
                    return Ok(TreeNodeRecursion::Stop);
                }
            },
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_) => {
                found = (Dependence::Subquery, "a subquery".to_string());
            }
            Expr::OuterReferenceColumn(..) => {
                found = (Dependence::Subquery, "a correlated subquery".to_string());
            }
            Expr::Placeholder(_) => found = (Dependence::Other("parameter"), "a parameter".to_string()),
            Expr::WindowFunction(call) => {
                found = (
                    Dependence::Other("window function"),
                    format!("window function {}", call.fun.name()),
                );
            }
            Expr::GroupingSet(_) => {
                found = (Dependence::Other("grouping sets"), "grouping sets".to_string());
            }
            Expr::Unnest(_) => found = (Dependence::Other("unnest"), "unnest".to_string()),
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// Whether evaluating `expr` can never fail: columns, literals, comparisons, their keys and logic.
/// (Arithmetic, casts and functions may.)
pub fn is_infallible(expr: &Expr) -> bool {
    use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
    let mut safe = true;
    let walked = expr.apply(|node| {
        let fine = match node {
            Expr::Column(_)
            | Expr::Literal(..)
            | Expr::Alias(_)
            | Expr::Not(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNotFalse(_)
            | Expr::IsNotUnknown(_)
            | Expr::Between(_)
            | Expr::InList(_)
            | Expr::Case(_) => true,
            Expr::BinaryExpr(binary) => compares(binary.op) || binary.op.is_logic_operator(),
            Expr::ScalarFunction(call) => makes_keys(&call.func),
            _ => false,
        };
        if !fine {
            safe = false;
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.is_ok() && safe
}
