//! [`Absent`]: a constant on a side of an outer join is not constant above it.
//!
//! One rule: a column of the side that may be absent is the same above the join, or NULL. The engine takes it for a
//! constant there as well (if the side is filtered by `g = 1`, or has a literal for it), and leaves out the sort, or
//! groups as if the rows came sorted. It takes a function of constants for one, unless the function has no arguments:
//! [`varying`] takes such a one beside the value.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, JoinType, Result, ScalarValue, internal_err};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Join, LogicalPlan, Operator, Projection, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// The last rule of the logical optimizer.
#[derive(Debug)]
pub struct Absent;

impl OptimizerRule for Absent {
    fn name(&self) -> &str {
        "absent"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(join) = plan else {
            return Ok(Transformed::no(plan));
        };
        let left = match join.join_type {
            JoinType::Right | JoinType::Full => hidden(&join.left)?,
            _ => None,
        };
        let right = match join.join_type {
            JoinType::Left | JoinType::Full => hidden(&join.right)?,
            _ => None,
        };
        if left.is_none() && right.is_none() {
            return Ok(Transformed::no(LogicalPlan::Join(join)));
        }
        Ok(Transformed::yes(LogicalPlan::Join(Join {
            left: left.map_or(join.left, Arc::new),
            right: right.map_or(join.right, Arc::new),
            ..join
        })))
    }
}

/// A side whose constants are hidden; `None` if it has none.
fn hidden(side: &Arc<LogicalPlan>) -> Result<Option<LogicalPlan>> {
    let columns = side.schema().columns();
    let constant: Vec<bool> = columns.iter().map(|column| is_constant(side, column)).collect();
    if !constant.contains(&true) {
        return Ok(None);
    }
    let exprs = columns
        .into_iter()
        .zip(constant)
        .map(|(column, constant)| match constant {
            true => varying(Expr::Column(column.clone())).alias_qualified(column.relation.clone(), column.name),
            false => Expr::Column(column),
        });
    let projection = Projection::try_new(exprs.collect(), side.clone())?;
    Ok(Some(LogicalPlan::Projection(projection)))
}

/// Whether a column has one value in all rows, as far as the engine may find out.
fn is_constant(plan: &LogicalPlan, column: &Column) -> bool {
    let all = |expr: &Expr, input: &LogicalPlan| {
        !expr.is_volatile() && expr.column_refs().into_iter().all(|column| is_constant(input, column))
    };
    match plan {
        LogicalPlan::Projection(projection) => {
            let at = projection.schema.maybe_index_of_column(column);
            at.is_some_and(|at| all(&projection.expr[at], &projection.input))
        }
        LogicalPlan::Filter(filter) => {
            let equals = |left: &Expr, right: &Expr| {
                matches!(left, Expr::Column(known) if known == column) && all(right, &filter.input)
            };
            let decides = split_conjunction(&filter.predicate)
                .into_iter()
                .any(|condition| match condition {
                    Expr::BinaryExpr(binary) if matches!(binary.op, Operator::Eq | Operator::IsNotDistinctFrom) => {
                        equals(&binary.left, &binary.right) || equals(&binary.right, &binary.left)
                    }
                    Expr::IsNull(inner) | Expr::IsTrue(inner) | Expr::IsFalse(inner) => {
                        matches!(inner.as_ref(), Expr::Column(known) if known == column)
                    }
                    Expr::Column(known) => known == column,
                    Expr::Not(inner) => matches!(inner.as_ref(), Expr::Column(known) if known == column),
                    _ => false,
                });
            decides || is_constant(&filter.input, column)
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let at = alias.schema.maybe_index_of_column(column);
            at.is_some_and(|at| is_constant(&alias.input, &Column::from(alias.input.schema().qualified_field(at))))
        }
        LogicalPlan::Aggregate(aggregate) => {
            let at = aggregate.schema.maybe_index_of_column(column);
            at.and_then(|at| aggregate.group_expr.get(at))
                .is_some_and(|key| !matches!(key, Expr::GroupingSet(_)) && all(key, &aggregate.input))
        }
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner => {
            let mut sides = join.on.iter().filter_map(|(left, right)| match (left, right) {
                (Expr::Column(known), other) if known == column => Some((other, &join.right)),
                (other, Expr::Column(known)) if known == column => Some((other, &join.left)),
                _ => None,
            });
            sides.any(|(other, side)| all(other, side)) || in_inputs(plan, column)
        }
        LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) | LogicalPlan::TableScan(_) => false,
        LogicalPlan::Union(_) => false,
        _ => in_inputs(plan, column),
    }
}

fn in_inputs(plan: &LogicalPlan, column: &Column) -> bool {
    let mut inputs = plan
        .inputs()
        .into_iter()
        .filter(|input| input.schema().has_column(column));
    inputs.any(|input| is_constant(input, column))
}

/// The same value, which may be another one in another row as far as the engine can tell.
fn varying(expr: Expr) -> Expr {
    static FUNCTIONS: LazyLock<[ScalarUDF; 2]> = LazyLock::new(|| {
        let of = |signature| ScalarUDF::from(Varying { signature });
        [
            of(Signature::any(2, Volatility::Volatile)),
            of(Signature::nullary(Volatility::Volatile)),
        ]
    });
    let [value, row] = &*FUNCTIONS;
    value.call(vec![expr, row.call(vec![])])
}

/// The first of its arguments; NULL without any.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Varying {
    signature: Signature,
}

impl ScalarUDFImpl for Varying {
    fn name(&self) -> &str {
        "varying"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("its field says it")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(match args.arg_fields.first() {
            Some(value) => Arc::new(value.as_ref().clone().with_nullable(true)),
            None => Arc::new(arrow::datatypes::Field::new(self.name(), DataType::Null, true)),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(match args.args.into_iter().next() {
            Some(value) => value,
            None => ColumnarValue::Scalar(ScalarValue::Null),
        })
    }
}
