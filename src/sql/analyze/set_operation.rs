//! UNION, INTERSECT, EXCEPT and VALUES.
//!
//! One rule: the columns of all branches become the types that they have in common, and the first branch names them.

use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::common::{Column, JoinType};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, LogicalPlanBuilder, Projection, Union, Values};
use sqlparser::ast::{self, SetExpr, SetOperator, SetQuantifier};

use super::from_part::{aliased, nothing, plain_query};
use super::key_join::null_safe_join;
use super::modifier;
use super::operators::has;
use super::output::{OutColumn, QueryOutput};
use super::query::Wanted;
use super::scope::{Clause, Scope};
use super::typed::{EQUALITY, Typed, check_operator, of_type};
use super::window::row_number;
use super::{Analyzer, Result};
use crate::error::{SqlError, state};
use crate::types::PgType;

impl Analyzer<'_> {
    pub fn set_expr(&self, body: &SetExpr, parent: Option<&Scope>) -> Result<QueryOutput> {
        match body {
            SetExpr::Select(select) => {
                // Nothing stands around it.
                let query = plain_query(SetExpr::Values(ast::Values {
                    explicit_row: false,
                    value_keyword: false,
                    rows: vec![],
                }));
                self.select(select, &query, parent, Wanted::Rows)
            }
            SetExpr::Query(query) => self.query(query, parent),
            SetExpr::Values(values) => self.values(values, parent),
            SetExpr::SetOperation {
                left,
                op,
                set_quantifier,
                right,
            } => self.set_operation(left, *op, *set_quantifier, right, parent),
            SetExpr::Table(table) => {
                let name = table.table_name.clone().unwrap_or_default();
                Err(SqlError::new(
                    state::SYNTAX_ERROR,
                    format!("syntax error at or near \"{name}\""),
                ))
            }
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                Err(crate::sql::with::not_at_top_level())
            }
        }
    }

    fn set_operation(
        &self,
        left: &SetExpr,
        op: SetOperator,
        quantifier: SetQuantifier,
        right: &SetExpr,
        parent: Option<&Scope>,
    ) -> Result<QueryOutput> {
        let (all, name) = match (quantifier, op) {
            (SetQuantifier::All, SetOperator::Union) => (true, "UNION"),
            (SetQuantifier::All, SetOperator::Intersect) => (true, "INTERSECT"),
            (SetQuantifier::All, _) => (true, "EXCEPT"),
            (SetQuantifier::None | SetQuantifier::Distinct, SetOperator::Union) => (false, "UNION"),
            (SetQuantifier::None | SetQuantifier::Distinct, SetOperator::Intersect) => (false, "INTERSECT"),
            (SetQuantifier::None | SetQuantifier::Distinct, _) => (false, "EXCEPT"),
            _ => return Err(SqlError::new(state::SYNTAX_ERROR, "syntax error at or near \"BY\"")),
        };
        // A chain of UNION ALL is one node: it is as long as it is written, and not as deep.
        let mut branches = vec![right];
        let mut first = left;
        if op == SetOperator::Union {
            while let SetExpr::SetOperation {
                left,
                op: SetOperator::Union,
                set_quantifier,
                right,
            } = first
                && (!all || *set_quantifier == SetQuantifier::All)
            {
                branches.push(right);
                first = left;
            }
        }
        branches.push(first);
        branches.reverse();
        let mut outputs = Vec::with_capacity(branches.len());
        for branch in branches {
            self.is_branch.set(is_select(branch));
            outputs.push(self.set_expr(branch, parent)?);
        }
        let (outputs, columns) = self.aligned(outputs, name)?;
        if !all || op != SetOperator::Union {
            for column in &columns {
                check_operator(&column.pg_type, EQUALITY, None)?;
            }
        }
        self.combined(op, all, outputs, columns)
    }

    /// Branches with the same types, and the columns that they make together.
    fn aligned(&self, outputs: Vec<QueryOutput>, name: &str) -> Result<(Vec<LogicalPlan>, Vec<OutColumn>)> {
        let outputs: Vec<QueryOutput> = outputs
            .into_iter()
            .map(|output| self.settle_output(output))
            .collect::<Result<_>>()?;
        let width = outputs[0].columns.len();
        if outputs.iter().any(|output| output.columns.len() != width) {
            return Err(SqlError::new(
                state::SYNTAX_ERROR,
                format!("each {name} query must have the same number of columns"),
            ));
        }
        let mut commons = Vec::with_capacity(width);
        for at in 0..width {
            let all: Vec<Typed> = outputs.iter().map(|output| column_of(&output.columns[at])).collect();
            let mut all: Vec<Typed> = all
                .into_iter()
                .zip(&outputs)
                .map(|(typed, output)| written_out(typed, &output.plan, at))
                .collect();
            // The first two decide: a column that neither gives a type is text, even if a later one has a type.
            if let [first, second, _, ..] = all.as_mut_slice()
                && first.is_unknown()
                && second.is_unknown()
            {
                for typed in [first, second] {
                    typed.ty = super::typed::Ty::Of(PgType::Text);
                }
            }
            let common = self.common_type(&all, name)?;
            let typmod = modifier::shared(&all, &common);
            commons.push((common, typmod));
        }
        let names: Vec<String> = outputs[0]
            .columns
            .iter()
            .map(|column| column.column.name.clone())
            .collect();
        let mut plans = Vec::with_capacity(outputs.len());
        for output in &outputs {
            let mut exprs = Vec::with_capacity(width);
            let mut changed = false;
            for (at, ((column, (common, _)), name)) in output.columns.iter().zip(&commons).zip(&names).enumerate() {
                let typed = written_out(column_of(column), &output.plan, at);
                let typed = self.unify_one(typed, common)?;
                changed |= !matches!(&typed.expr, Expr::Column(column) if column.name == *name);
                exprs.push(match &typed.expr {
                    Expr::Column(column) if column.name == *name => typed.expr,
                    _ => of_type(typed.expr, common, output.plan.schema()).alias(name),
                });
            }
            plans.push(match changed {
                true => LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(output.plan.clone()))?),
                false => output.plan.clone(),
            });
        }
        let columns = outputs[0]
            .columns
            .iter()
            .zip(commons)
            .map(|(column, (pg_type, typmod))| OutColumn {
                name: column.name.clone(),
                column: Column::from_name(&column.column.name),
                pg_type,
                untyped: false,
                row: None,
                typmod,
            })
            .collect();
        Ok((plans, columns))
    }

    fn combined(
        &self,
        op: SetOperator,
        all: bool,
        plans: Vec<LogicalPlan>,
        columns: Vec<OutColumn>,
    ) -> Result<QueryOutput> {
        let plan = match op {
            SetOperator::Union => {
                let inputs = plans.into_iter().map(|plan| unqualified(plan).map(Arc::new));
                let union = Union::try_new_with_loose_types(inputs.collect::<Result<_>>()?)?;
                let union = LogicalPlan::Union(union);
                match all {
                    true => union,
                    false => LogicalPlan::Distinct(Distinct::All(Arc::new(union))),
                }
            }
            _ => {
                let mut plans = plans.into_iter();
                let left = plans.next().expect("two branches");
                let right = plans.next().expect("two branches");
                let join_type = match op {
                    SetOperator::Intersect => JoinType::LeftSemi,
                    _ => JoinType::LeftAnti,
                };
                self.matched(left, right, join_type, all)?
            }
        };
        // The columns have their own names, independent of the plan below.
        let schema = plan.schema().clone();
        let columns = columns
            .into_iter()
            .enumerate()
            .map(|(at, column)| OutColumn {
                column: Column::from(schema.qualified_field(at)),
                ..column
            })
            .collect();
        Ok(QueryOutput { plan, columns })
    }

    /// INTERSECT and EXCEPT: rows that match, counted with ALL: the n-th copy on the left meets the n-th on the right.
    fn matched(&self, left: LogicalPlan, right: LogicalPlan, join_type: JoinType, all: bool) -> Result<LogicalPlan> {
        let number = self.internal_name("copy");
        let prepare = |plan: LogicalPlan, side: &str| -> Result<LogicalPlan> {
            let plan = unqualified(plan)?;
            let plan = match all {
                true => {
                    let keys = plan.schema().columns().into_iter().map(Expr::Column).collect();
                    row_number(plan, keys, vec![], &number)?
                }
                false => LogicalPlan::Distinct(Distinct::All(Arc::new(plan))),
            };
            let alias = self.qualifier(&self.internal_name(side));
            aliased(plan, &alias)
        };
        let (left, right) = (prepare(left, "left")?, prepare(right, "right")?);
        let keys = |plan: &LogicalPlan| plan.schema().columns().into_iter().map(Expr::Column);
        let on = keys(&left).zip(keys(&right)).collect();
        let columns: Vec<Expr> = left
            .schema()
            .columns()
            .into_iter()
            .filter(|column| column.name != number)
            .map(|column| {
                let name = column.name.clone();
                Expr::Column(column).alias(name)
            })
            .collect();
        let joined = null_safe_join(left, right, join_type, on, None)?;
        let projected = Projection::try_new(columns, Arc::new(joined))?;
        Ok(LogicalPlan::Projection(projected))
    }

    /// VALUES: each column of the type that its rows have in common.
    fn values(&self, values: &ast::Values, parent: Option<&Scope>) -> Result<QueryOutput> {
        let scope = Scope::new(vec![], parent);
        let width = values.rows.first().map_or(0, |row| row.content.len());
        let mut rows: Vec<Vec<Typed>> = Vec::with_capacity(values.rows.len());
        for row in &values.rows {
            if row.content.len() != width {
                return Err(SqlError::new(
                    state::SYNTAX_ERROR,
                    "VALUES lists must all be the same length",
                ));
            }
            let typed = row
                .content
                .iter()
                .map(|expr| scope.within(Clause::Values, || self.expr(expr, &scope)));
            rows.push(typed.collect::<Result<_>>()?);
        }
        let mut columns: Vec<Vec<Typed>> = (0..width).map(|_| Vec::with_capacity(rows.len())).collect();
        for row in rows {
            for (at, typed) in row.into_iter().enumerate() {
                let typed = match typed.fields() {
                    Some(_) => self.row_text(&typed)?,
                    None => typed,
                };
                columns[at].push(typed);
            }
        }
        let mut types = Vec::with_capacity(width);
        let mut untyped = Vec::with_capacity(width);
        let mut typmods = Vec::with_capacity(width);
        let mut made: Vec<Vec<Expr>> = vec![Vec::with_capacity(width); values.rows.len()];
        for column in columns {
            untyped.push(column.iter().all(Typed::is_unknown));
            let common = self.common_type(&column, "VALUES")?;
            typmods.push(modifier::shared(&column, &common));
            let unified = self.unified(column, &common)?;
            for (row, typed) in made.iter_mut().zip(unified) {
                row.push(typed.expr);
            }
            types.push(common);
        }
        let names: Vec<String> = (1..=width).map(|number| format!("column{number}")).collect();
        let has_query = |expr: &Expr| {
            has(expr, |node| {
                matches!(
                    node,
                    Expr::ScalarSubquery(_)
                        | Expr::Exists(_)
                        | Expr::InSubquery(_)
                        | Expr::SetComparison(_)
                        | Expr::OuterReferenceColumn(..)
                )
            })
        };
        let plan = match made.iter().flatten().any(has_query) {
            // Rows that are computed: each a query of its own.
            true => {
                let mut branches = Vec::with_capacity(made.len());
                for row in made {
                    let exprs = row
                        .into_iter()
                        .zip(&names)
                        .map(|(expr, name)| expr.alias(name))
                        .collect();
                    let branch = Projection::try_new(exprs, Arc::new(nothing(true)))?;
                    branches.push(Arc::new(LogicalPlan::Projection(branch)));
                }
                match branches.len() {
                    1 => Arc::unwrap_or_clone(branches.remove(0)),
                    _ => LogicalPlan::Union(Union::try_new_with_loose_types(branches)?),
                }
            }
            false => {
                let fields: Vec<Field> = types
                    .iter()
                    .zip(&names)
                    .map(|(kind, name)| kind.field(name, true))
                    .collect();
                let schema = arrow::datatypes::Schema::new(fields);
                let schema = Arc::new(datafusion::common::DFSchema::try_from(schema)?);
                match LogicalPlanBuilder::values_with_schema(made, &schema)?.build()? {
                    // The builder leaves out the metadata that our types are known by.
                    LogicalPlan::Values(values) => LogicalPlan::Values(Values { schema, ..values }),
                    other => other,
                }
            }
        };
        let schema = plan.schema().clone();
        let columns = names
            .into_iter()
            .zip(types)
            .zip(untyped)
            .zip(typmods)
            .enumerate()
            .map(|(at, (((name, pg_type), untyped), typmod))| OutColumn {
                name,
                column: Column::from(schema.qualified_field(at)),
                pg_type,
                untyped,
                row: None,
                typmod,
            })
            .collect();
        Ok(QueryOutput { plan, columns })
    }
}

/// A constant that has no type yet in the place of its column.
fn written_out(typed: Typed, plan: &LogicalPlan, at: usize) -> Typed {
    match plan {
        LogicalPlan::Projection(projection) if typed.is_unknown() => match projection.expr[at].clone().unalias() {
            constant @ (Expr::Literal(..) | Expr::Placeholder(_)) => Typed::unknown(constant, typed.position),
            _ => typed,
        },
        _ => typed,
    }
}

/// Whether a branch is a SELECT by itself.
fn is_select(branch: &SetExpr) -> bool {
    match branch {
        SetExpr::Select(_) => true,
        SetExpr::Query(query) => query.with.is_none() && is_select(&query.body),
        _ => false,
    }
}

/// A column of a branch: one without a type there has none yet.
fn column_of(column: &OutColumn) -> Typed {
    let expr = Expr::Column(column.column.clone());
    match column.untyped {
        true => Typed::unknown(expr, None),
        false => Typed::new(expr, column.pg_type.clone(), None).modified(column.typmod),
    }
}

/// The plan with its columns under their bare names.
fn unqualified(plan: LogicalPlan) -> Result<LogicalPlan> {
    let schema = plan.schema().clone();
    if schema.iter().all(|(qualifier, _)| qualifier.is_none()) {
        return Ok(plan);
    }
    let exprs = schema.iter().map(|(qualifier, field)| {
        let column = Expr::Column(Column::from((qualifier, field)));
        match qualifier {
            Some(_) => column.alias(field.name()),
            None => column,
        }
    });
    let projection = Projection::try_new(exprs.collect(), Arc::new(plan))?;
    Ok(LogicalPlan::Projection(projection))
}
