//! Functions that return rows: in a select list, several in lockstep, as PostgreSQL runs them.
//!
//! One rule: such a call is a list until its rows are made, marked by a function of that name that never runs. Calls in one
//! select list give their rows side by side; the shorter ones end in NULLs.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, UnnestOptions};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Projection, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, when,
};

use super::choose::Chosen;
use super::kinds;
use super::scope::{Clause, Scope};
use super::signatures::computed_by;
use super::typed::{Typed, at, cast_to, returned_field};
use super::{Analyzer, Result};
use crate::error::{SqlError, state};
use crate::sql::functions::numeric_series;
use crate::sql::functions::told::told;
use crate::types::PgType;

/// Marks a list whose elements are rows: `rows(list)` is one of them.
#[derive(Debug, PartialEq, Eq, Hash)]
struct RowsMarker {
    signature: Signature,
}

impl ScalarUDFImpl for RowsMarker {
    fn name(&self) -> &str {
        "rows"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> datafusion::common::Result<DataType> {
        match arguments {
            [DataType::List(item)] => Ok(item.data_type().clone()),
            _ => datafusion::common::plan_err!("rows are made of a list"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> datafusion::common::Result<FieldRef> {
        match args.arg_fields[0].data_type() {
            DataType::List(item) => Ok(Arc::new(item.as_ref().clone().with_nullable(true))),
            _ => datafusion::common::plan_err!("rows are made of a list"),
        }
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> datafusion::common::Result<ColumnarValue> {
        datafusion::common::exec_err!("set-returning functions are not allowed here")
    }
}

/// A list whose elements are rows.
pub fn marked_list(list: Expr) -> Expr {
    static ROWS: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        Arc::new(ScalarUDF::from(RowsMarker {
            signature: Signature::any(1, Volatility::Volatile),
        }))
    });
    Expr::ScalarFunction(ScalarFunction::new_udf(ROWS.clone(), vec![list]))
}

/// The list that a call makes rows of, if it is one.
pub fn list_of(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::ScalarFunction(call) if call.func.inner().is::<RowsMarker>() => call.args.first(),
        _ => None,
    }
}

/// Whether an expression makes rows.
pub fn makes_rows(typed: &Typed) -> bool {
    let has = |expr: &Expr| expr.exists(|node| Ok(list_of(node).is_some())).unwrap_or(false);
    match typed.fields() {
        Some(fields) => fields.iter().any(|(_, field)| makes_rows(field)),
        None => has(&typed.expr),
    }
}

/// 0A000 for rows within a choice between values.
pub fn refuse(typed: &Typed, choice: &str) -> Result<()> {
    if !makes_rows(typed) {
        return Ok(());
    }
    let error = SqlError::new(
        state::FEATURE_NOT_SUPPORTED,
        format!("set-returning functions are not allowed in {choice}"),
    )
    .hint("You might be able to move the set-returning function into a LATERAL FROM item.");
    Err(at(error, typed.position))
}

/// 0A000 where rows cannot be made.
pub fn check_clause(scope: &Scope, position: Option<usize>) -> Result<()> {
    let error = match scope.clause.get() {
        Clause::Select | Clause::OrderBy | Clause::GroupBy | Clause::DistinctOn | Clause::From => return Ok(()),
        Clause::Aggregate => SqlError::new(
            state::FEATURE_NOT_SUPPORTED,
            "aggregate function calls cannot contain set-returning function calls",
        )
        .hint("You might be able to move the set-returning function into a LATERAL FROM item."),
        Clause::WindowCall => SqlError::new(
            state::FEATURE_NOT_SUPPORTED,
            "window function calls cannot contain set-returning function calls",
        )
        .hint("You might be able to move the set-returning function into a LATERAL FROM item."),
        other => SqlError::new(
            state::FEATURE_NOT_SUPPORTED,
            format!("set-returning functions are not allowed in {}", other.name()),
        ),
    };
    Err(at(error, position))
}

impl Analyzer<'_> {
    /// `unnest(array)`
    pub fn unnest_call(&self, arguments: Vec<Typed>, result: u32, position: Option<usize>) -> Result<Typed> {
        let array = arguments.into_iter().next().expect("it was chosen with one");
        if let super::typed::Ty::Rows(fields) = array.ty {
            return Ok(super::typed::Shape::Row(fields).over(marked_list(array.expr), position));
        }
        let array = match array.is_unknown() {
            true => self.coerce(array, &PgType::Array(Box::new(PgType::Text)))?,
            false => array,
        };
        let array = super::arrays::flat(array);
        let item = match array.pg_type() {
            PgType::Array(item) => *item,
            _ => PgType::from_oid(result).unwrap_or(PgType::Text),
        };
        Ok(Typed::new(marked_list(array.expr), item, position))
    }

    /// A call of a function that returns rows, whose arguments it takes as they are.
    pub fn rows_call(
        &self,
        name: &str,
        arguments: Vec<Typed>,
        chosen: &Chosen,
        position: Option<usize>,
    ) -> Result<Typed> {
        let not_yet = || {
            at(
                SqlError::unsupported(
                    format!("function {name} is not supported"),
                    "docs/compat.md lists the functions that are not there yet.",
                ),
                position,
            )
        };
        let item = PgType::from_oid(chosen.result);
        let list = match name {
            "generate_series" => return self.series(arguments, position),
            "generate_subscripts" => {
                let mut given = arguments.clone().into_iter();
                let array = given.next().expect("it was chosen with an array");
                let reverse = arguments.get(2).cloned();
                if super::arrays::is_shaped(&array) || reverse.is_some() {
                    return self.all_subscripts(array, arguments[1].clone(), reverse, position);
                }
                let function = self.scalar("array_length").expect("it is the engine's");
                let one = super::number::integer(1, position);
                let dimension = given.next().unwrap_or(one.clone());
                let dimension = self.cast(dimension, &PgType::Int8, kinds::CastContext::Implicit)?;
                let length = Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![array.expr, dimension.expr]));
                let length = Typed::new(cast_to(length, &PgType::Int4), PgType::Int4, position);
                return self.series(vec![one, length], position);
            }
            // Nothing is partitioned in PostgreSQL's sense, so nothing has an ancestor.
            "pg_partition_ancestors" => self.empty_array(&PgType::Regclass, position)?,
            "_pg_expandarray" => return self.expand_array(arguments, position),
            _ => {
                let Some(function) = self.scalar(computed_by(name)) else {
                    return Err(not_yet());
                };
                let fields: Vec<FieldRef> = arguments.iter().map(Typed::field).collect();
                let fields =
                    datafusion::logical_expr::type_coercion::functions::fields_with_udf(&fields, function.as_ref())
                        .map_err(|_| not_yet())?;
                let returned = returned_field(&function, &arguments, &fields).map_err(|error| at(error, position))?;
                let exprs = arguments.into_iter().map(|typed| typed.expr).collect();
                let list = Expr::ScalarFunction(ScalarFunction::new_udf(function, exprs));
                let DataType::List(element) = returned.data_type() else {
                    return Err(not_yet());
                };
                if let DataType::Struct(columns) = element.data_type() {
                    return Ok(self.record_rows(list, columns, chosen, position));
                }
                let item = PgType::of_field(element).or(item.clone()).ok_or_else(not_yet)?;
                Typed::new(list, PgType::Array(Box::new(item)), position)
            }
        };
        let item = match (list.pg_type(), item) {
            (_, Some(item)) if !matches!(item, PgType::Numeric(_)) => item,
            (PgType::Array(item), _) => *item,
            (_, item) => item.ok_or_else(not_yet)?,
        };
        Ok(Typed::new(marked_list(list.expr), item, position))
    }

    /// Rows with columns: each column is a field of the row.
    fn record_rows(
        &self,
        list: Expr,
        columns: &arrow::datatypes::Fields,
        chosen: &Chosen,
        position: Option<usize>,
    ) -> Typed {
        let row = marked_list(list);
        let fields = columns.iter().enumerate().map(|(index, column)| {
            let declared = chosen.signature.columns.get(index);
            let pg_type = declared
                .and_then(|(_, oid)| PgType::from_oid(*oid))
                .or_else(|| PgType::of_field(column))
                .unwrap_or(PgType::Text);
            let name = declared.map_or(column.name().as_str(), |(name, _)| name);
            let field = datafusion::functions::core::expr_fn::get_field(row.clone(), column.name().as_str());
            (name.to_string(), Typed::new(field, pg_type, position))
        });
        Typed {
            expr: row.clone(),
            ty: super::typed::Ty::Row(fields.collect()),
            position,
            typmod: None,
        }
    }

    /// `information_schema._pg_expandarray(array)`: the elements with their numbers.
    fn expand_array(&self, arguments: Vec<Typed>, position: Option<usize>) -> Result<Typed> {
        let array = super::arrays::flat(arguments.into_iter().next().expect("it was chosen with an array"));
        let item = match array.pg_type() {
            PgType::Array(item) => *item,
            other => other,
        };
        let function = self.scalar("cardinality").expect("it is the engine's");
        let count = Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![array.expr.clone()]));
        let count = Typed::new(cast_to(count, &PgType::Int4), PgType::Int4, position);
        let numbers = self.series(vec![super::number::integer(1, position), count], position)?;
        let fields = vec![
            ("x".to_string(), Typed::new(marked_list(array.expr), item, position)),
            ("n".to_string(), numbers),
        ];
        Ok(Typed::row(fields, position))
    }

    /// `generate_subscripts(array, dimension [, reverse])` between the bounds of the dimension.
    fn all_subscripts(
        &self,
        array: Typed,
        dimension: Typed,
        reverse: Option<Typed>,
        position: Option<usize>,
    ) -> Result<Typed> {
        let bound = |name| self.named_call(name, vec![array.clone(), dimension.clone()], position);
        let (lower, upper) = (bound("array_lower")?, bound("array_upper")?);
        let Some(reverse) = reverse else {
            return self.series(vec![lower, upper], position);
        };
        let either = |down: &Typed, up: &Typed| -> Result<Typed> {
            let is_up = Expr::Not(Box::new(reverse.expr.clone()));
            let expr = when(reverse.expr.clone(), down.expr.clone())
                .when(is_up, up.expr.clone())
                .end()?;
            Ok(Typed::new(expr, PgType::Int4, position))
        };
        let step = either(
            &super::number::integer(-1, position),
            &super::number::integer(1, position),
        )?;
        self.series(vec![either(&upper, &lower)?, either(&lower, &upper)?, step], position)
    }

    /// `generate_series(from, to [, by])` as rows of a list.
    fn series(&self, arguments: Vec<Typed>, position: Option<usize>) -> Result<Typed> {
        let item = arguments[0].pg_type();
        if let PgType::Numeric(_) = item {
            let mut exprs: Vec<Expr> = arguments.into_iter().map(|typed| typed.expr).collect();
            if exprs.len() == 2 {
                exprs.push(super::number::integer(1, position).expr);
            }
            let varying = PgType::Numeric(None);
            return Ok(Typed::new(marked_list(numeric_series().call(exprs)), varying, position));
        }
        let function = self.scalar("generate_series").expect("it is the engine's");
        let whole = matches!(item, PgType::Int4 | PgType::Int8);
        let mut exprs = Vec::with_capacity(3);
        for typed in arguments {
            let typed = match whole {
                true => self.cast(typed, &PgType::Int8, kinds::CastContext::Implicit)?,
                false => typed,
            };
            exprs.push(typed.expr);
        }
        let list = Expr::ScalarFunction(ScalarFunction::new_udf(function, exprs));
        let list = match item {
            PgType::Int8 => list,
            _ => cast_to(list, &PgType::Array(Box::new(item.clone()))),
        };
        Ok(Typed::new(marked_list(list), item, position))
    }
}

/// Makes the rows of the calls in expressions: the plan below, with a row for each of theirs.
pub fn compute(analyzer: &Analyzer, plan: LogicalPlan, exprs: &mut [Expr]) -> Result<LogicalPlan> {
    let mut plan = plan;
    loop {
        // The innermost ones first: a call may be an argument of another.
        let mut lists: Vec<Expr> = Vec::new();
        for expr in exprs.iter() {
            expr.apply(|node| {
                if let Some(list) = list_of(node) {
                    let nested = list.exists(|inner| Ok(list_of(inner).is_some()))?;
                    if !nested {
                        if !lists.contains(list) {
                            lists.push(list.clone());
                        }
                        return Ok(TreeNodeRecursion::Jump);
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        if lists.is_empty() {
            return Ok(plan);
        }
        let names: Vec<String> = lists.iter().map(|_| analyzer.internal_name("rows")).collect();
        let columns: Vec<Expr> = lists
            .iter()
            .zip(&names)
            .map(|(list, name)| element(list, name, &plan))
            .collect::<Result<_>>()?;
        plan = match (&plan, lists.as_slice()) {
            (LogicalPlan::EmptyRelation(empty), [list]) if empty.produce_one_row => {
                match analyzer.constant_series(list)? {
                    Some(series) => under(series, list, &names[0])?,
                    None => unnested(plan, vec![(list.clone(), names[0].clone())])?,
                }
            }
            _ => unnested(plan, lists.iter().cloned().zip(names.iter().cloned()).collect())?,
        };
        for expr in exprs.iter_mut() {
            let replaced = std::mem::take(expr).transform_up(|node| {
                let column = list_of(&node)
                    .and_then(|list| lists.iter().position(|known| known == list))
                    .map(|at| columns[at].clone());
                Ok(match column {
                    Some(column) => Transformed::yes(column),
                    None => Transformed::no(node),
                })
            })?;
            *expr = replaced.data;
        }
    }
}

/// The column of a list's elements. The engine computes a constant list beforehand, and forgets the type that its elements
/// have beside Arrow's.
fn element(list: &Expr, name: &str, plan: &LogicalPlan) -> Result<Expr> {
    let column = Expr::Column(Column::from_name(name));
    if !list.column_refs().is_empty() {
        return Ok(column);
    }
    let (_, field) = list.to_field(plan.schema())?;
    let item = PgType::item_field(&field).and_then(|item| PgType::of_field(&item));
    Ok(match item {
        Some(item) => told(column, &item),
        None => column,
    })
}

/// The only column of a series under a name, of the type that the elements of its list have.
fn under(series: LogicalPlan, list: &Expr, name: &str) -> Result<LogicalPlan> {
    let column = Expr::Column(Column::from(series.schema().qualified_field(0)));
    let value = match list {
        Expr::Cast(cast) => match PgType::of_field(&cast.field) {
            Some(PgType::Array(item)) => cast_to(column, &item),
            _ => column,
        },
        _ => column,
    };
    let projection = Projection::try_new(vec![value.alias(name)], Arc::new(series))?;
    Ok(LogicalPlan::Projection(projection))
}

/// The plan's columns, and for each row those of its lists' elements side by side, under their names.
pub fn unnested(plan: LogicalPlan, lists: Vec<(Expr, String)>) -> Result<LogicalPlan> {
    let mut exprs: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let columns: Vec<Column> = lists.iter().map(|(_, name)| Column::from_name(name)).collect();
    exprs.extend(lists.into_iter().map(|(list, name)| list.alias(name)));
    let projected = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?);
    let options = UnnestOptions::new().with_preserve_nulls(false);
    let plan = LogicalPlanBuilder::from(projected)
        .unnest_columns_with_options(columns, options)?
        .build()?;
    Ok(plan)
}
