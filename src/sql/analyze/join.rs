//! Joins: the condition, the columns that USING and NATURAL merge, and the items of both sides.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError, JoinType, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Distinct, Expr, Filter, LogicalPlan, Projection};
use sqlparser::ast::{self, JoinOperator, TableFactor};

use super::from_part::{Factor, Rel};
use super::key_join::{EqualPairs, join, keys, null_safe_join};
use super::lookup::looked_up;
use super::modifier;
use super::operators::{conjunction, has};
use super::scope::{Clause, FromItem, Scope, ScopeColumn};
use super::typed::{Typed, at};
use super::unnest;
use super::{Analyzer, Result};
use crate::error::{SqlError, state};
use crate::sql::plan::names::fold;
use crate::sql::plan::subquery::held;
use crate::sql::statement::mark;

impl Analyzer<'_> {
    pub fn cross(&self, left: Rel, right: Rel) -> Result<Rel> {
        let mut items = left.items;
        items.extend(right.items);
        let plan = self.joined(left.plan, right.plan, JoinType::Inner, None)?;
        Ok(Rel { plan, items })
    }

    /// A join of two plans; the right one may name columns of the left.
    pub fn joined(
        &self,
        left: LogicalPlan,
        right: LogicalPlan,
        join_type: JoinType,
        condition: Option<Expr>,
    ) -> Result<LogicalPlan> {
        if unnest::names_columns_of(&right, &left) {
            return unnest::dependent_join(left, right, join_type, condition);
        }
        let has_query = condition.as_ref().is_some_and(|condition| has(condition, is_subquery));
        if has_query {
            if join_type != JoinType::Inner {
                return self.outer_join_with_subqueries(left, right, join_type, condition.expect("it has a subquery"));
            }
            let crossed = join(left, right, JoinType::Inner, vec![], None)?;
            let condition = condition.expect("it has a subquery");
            return Ok(LogicalPlan::Filter(Filter::try_new(condition, Arc::new(crossed))?));
        }
        let (on, filter) = match condition {
            Some(condition) => keys(condition, &left, &right)?,
            None => (vec![], None),
        };
        join(left, right, join_type, on, filter)
    }

    /// An outer join whose condition has subqueries: each becomes a column of the side that it is over, and those over the
    /// right side of a left join alone choose its rows before.
    fn outer_join_with_subqueries(
        &self,
        left: LogicalPlan,
        right: LogicalPlan,
        join_type: JoinType,
        condition: Expr,
    ) -> Result<LogicalPlan> {
        let mut of_both = false;
        condition.apply(|node| {
            if is_subquery(node) {
                let of = columns_with_subqueries(node)?;
                let is_of = |side: &LogicalPlan| of.iter().any(|column| side.schema().has_column(column));
                of_both |= is_of(&left) && is_of(&right);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        if of_both {
            let named = columns_with_subqueries(&condition)?;
            return self.join_by_pairs(left, right, join_type, condition, &named);
        }
        let mut sides = [left, right];
        let mut added: [Vec<Expr>; 2] = Default::default();
        let mut rest = Vec::new();
        for part in split_conjunction_owned(condition) {
            let of = columns_with_subqueries(&part)?;
            let of_left = of.iter().any(|column| sides[0].schema().has_column(column));
            let has_query = has(&part, is_subquery);
            if has_query && !of_left && join_type == JoinType::Left {
                let filter = Filter::try_new(part, Arc::new(sides[1].clone()))?;
                sides[1] = LogicalPlan::Filter(filter);
                continue;
            }
            let replaced = part.transform_down(|node| {
                if !is_subquery(&node) {
                    return Ok(Transformed::no(node));
                }
                let of = columns_with_subqueries(&node)?;
                let is_of = |side: &LogicalPlan| of.iter().any(|column| side.schema().has_column(column));
                let side = usize::from(!is_of(&sides[0]) && is_of(&sides[1]));
                let name = self.internal_name("subquery");
                added[side].push(node.alias(&name));
                let column = Expr::Column(Column::from_name(name));
                Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
            })?;
            rest.push(replaced.data);
        }
        let [left, right] = sides;
        let [of_left, of_right] = added;
        let left = with_columns(left, of_left)?;
        let right = with_columns(right, of_right)?;
        self.joined(left, right, join_type, conjunction(rest))
    }

    /// An outer join by the pairs of values for which its condition is true: of the columns that it names, each pair once.
    /// The right side is joined with the pairs, and the left side with both.
    fn join_by_pairs(
        &self,
        left: LogicalPlan,
        right: LogicalPlan,
        join_type: JoinType,
        condition: Expr,
        named: &[Column],
    ) -> Result<LogicalPlan> {
        let columns = |side: &LogicalPlan| -> Vec<Expr> {
            let all = side.schema().columns().into_iter();
            all.filter(|column| named.contains(column)).map(Expr::Column).collect()
        };
        let values = |side: &LogicalPlan| -> Result<LogicalPlan> {
            let values = Projection::try_new(columns(side), Arc::new(side.clone()))?;
            let values = LogicalPlan::Projection(values);
            Ok(LogicalPlan::Distinct(Distinct::All(Arc::new(values))))
        };
        let pairs = self.joined(values(&left)?, values(&right)?, JoinType::Inner, Some(condition))?;
        let found = self.internal_name("found");
        let mut exprs = vec![Expr::Literal(ScalarValue::Boolean(Some(true)), None).alias(&found)];
        let mut paired = |side: &LogicalPlan| -> EqualPairs {
            let columns = columns(side).into_iter();
            let pairs = columns.map(|column| {
                let name = self.internal_name("pair");
                exprs.push(column.clone().alias(&name));
                (column, Expr::Column(Column::from_name(name)))
            });
            pairs.collect()
        };
        let (of_left, of_right) = (paired(&left), paired(&right));
        let shown = left.schema().columns().into_iter().chain(right.schema().columns());
        let shown = shown.map(Expr::Column).collect();
        let pairs = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(pairs))?);
        // A row of the right side without a pair stays for the joins that show it.
        let of_pairs = match join_type {
            JoinType::Left => JoinType::Inner,
            _ => JoinType::Left,
        };
        let right = null_safe_join(right, pairs, of_pairs, of_right, None)?;
        let found = Expr::IsNotNull(Box::new(Expr::Column(Column::from_name(found))));
        let joined = null_safe_join(left, right, join_type, of_left, Some(found))?;
        Ok(LogicalPlan::Projection(Projection::try_new(shown, Arc::new(joined))?))
    }

    pub fn join(
        &self,
        left: Factor,
        written: &ast::Join,
        before: Option<&Rel>,
        parent: Option<&Scope>,
    ) -> Result<Factor> {
        let (join_type, constraint) = match &written.join_operator {
            JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => (JoinType::Inner, Some(constraint)),
            JoinOperator::CrossJoin(_) => (JoinType::Inner, None),
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => (JoinType::Left, Some(constraint)),
            JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
                (JoinType::Right, Some(constraint))
            }
            JoinOperator::FullOuter(constraint) => (JoinType::Full, Some(constraint)),
            _ => {
                return Err(SqlError::new(
                    state::SYNTAX_ERROR,
                    format!("syntax error at or near \"{written}\""),
                ));
            }
        };
        let looked_up = looked_up(&written.relation);
        let relation = looked_up.as_ref().unwrap_or(&written.relation);
        // LATERAL and functions see the items to the left: of this join, and those before it.
        let visible = match (before, left.joined) {
            (Some(before), false) => Rel {
                plan: left.rel.plan.clone(),
                items: left.rel.items.iter().chain(&before.items).cloned().collect(),
            },
            _ => Rel {
                plan: left.rel.plan.clone(),
                items: left.rel.items.clone(),
            },
        };
        let is_function = matches!(
            relation,
            TableFactor::Function { .. } | TableFactor::UNNEST { .. } | TableFactor::Table { args: Some(_), .. }
        );
        // The rows of an outer join come from the left side, so the arguments of a function are outer columns to it.
        let right = match is_function && join_type != JoinType::Inner {
            true => {
                let beside = Scope::new(visible.items.clone(), parent);
                self.factor(relation, None, Some(&beside))?
            }
            false => self.factor(relation, Some(&visible), parent)?,
        };
        // The parser writes ASOF so.
        if written.global {
            if looked_up.is_some() {
                return Err(SqlError::unsupported(
                    "an ASOF JOIN with FOR SYSTEM_TIME AS OF is not supported",
                    "Use either of them.",
                ));
            }
            return self.asof_join(left, right, written, parent);
        }
        if right.joined {
            return self.function_join(left, right, constraint, parent);
        }
        let Factor { rel: left_rel, joined } = left;
        let right_rel = right.rel;
        let mut all = left_rel.items.clone();
        all.extend(right_rel.items.iter().cloned());
        let mut using_alias = None;
        let (condition, merged) = match constraint {
            None | Some(ast::JoinConstraint::None) => (None, vec![]),
            Some(ast::JoinConstraint::On(on)) => {
                check_names(&all, None)?;
                let scope = Scope::new(all.clone(), parent);
                let typed = scope.within(Clause::On, || self.expr(on, &scope))?;
                (Some(self.condition(typed, "JOIN/ON")?), vec![])
            }
            Some(ast::JoinConstraint::Using(names)) => {
                let mut names: Vec<String> = names
                    .iter()
                    .filter_map(|name| name.0.last()?.as_ident().map(fold))
                    .collect();
                using_alias = names
                    .last()
                    .and_then(|name| name.strip_prefix(mark::USING_ALIAS))
                    .map(str::to_string);
                if using_alias.is_some() {
                    names.pop();
                }
                self.using(&left_rel.items, &right_rel.items, &names, join_type)?
            }
            Some(ast::JoinConstraint::Natural) => {
                let right: Vec<String> = self.star(&right_rel.items).map(|column| column.name.clone()).collect();
                let names: Vec<String> = self
                    .star(&left_rel.items)
                    .map(|column| column.name.clone())
                    .filter(|name| right.contains(name))
                    .collect();
                self.using(&left_rel.items, &right_rel.items, &names, join_type)?
            }
        };
        let merges = matches!(
            constraint,
            Some(ast::JoinConstraint::Using(_) | ast::JoinConstraint::Natural)
        );
        let condition = match looked_up {
            Some(_) => {
                let then = self.as_of_commit(&left_rel.items, &right_rel.items, join_type)?;
                conjunction(condition.into_iter().chain([then]))
            }
            None => condition,
        };
        let plan = self.joined(left_rel.plan, right_rel.plan, join_type, condition)?;
        let (left_rel_items, right_rel_items) = (
            absent(left_rel.items, matches!(join_type, JoinType::Right | JoinType::Full)),
            absent(right_rel.items, matches!(join_type, JoinType::Left | JoinType::Full)),
        );
        let mut all = left_rel_items.clone();
        all.extend(right_rel_items.iter().cloned());
        let mut items = match merges {
            false => all,
            true => merge(left_rel_items, right_rel_items, merged.clone()),
        };
        // The merged columns alone have the name.
        if let Some(alias) = using_alias {
            items.push(FromItem {
                name: Some(alias),
                columns: merged,
                ..FromItem::default()
            });
        }
        Ok(Factor {
            rel: Rel { plan, items },
            joined,
        })
    }

    /// A join with a function whose arguments name the left side: its rows stand beside theirs already.
    pub fn function_join(
        &self,
        left: Factor,
        right: Factor,
        constraint: Option<&ast::JoinConstraint>,
        parent: Option<&Scope>,
    ) -> Result<Factor> {
        let condition = match constraint {
            None | Some(ast::JoinConstraint::None) => None,
            Some(ast::JoinConstraint::On(on)) => {
                let scope = Scope::new(right.rel.items.clone(), parent);
                let typed = scope.within(Clause::On, || self.expr(on, &scope))?;
                Some(self.condition(typed, "JOIN/ON")?)
            }
            Some(_) => {
                return Err(SqlError::unsupported(
                    "USING with a function that names columns of the left side is not supported",
                    "Write ON.",
                ));
            }
        };
        let plan = match condition {
            Some(condition) => LogicalPlan::Filter(Filter::try_new(condition, Arc::new(right.rel.plan))?),
            None => right.rel.plan,
        };
        Ok(Factor {
            rel: Rel {
                plan,
                items: right.rel.items,
            },
            joined: left.joined,
        })
    }

    /// The condition of USING, and the merged columns.
    pub fn using(
        &self,
        left: &[FromItem],
        right: &[FromItem],
        names: &[String],
        join_type: JoinType,
    ) -> Result<(Option<Expr>, Vec<ScopeColumn>)> {
        let find = |items: &[FromItem], name: &str, side: &str| -> Result<ScopeColumn> {
            let mut found = self.star(items).filter(|column| column.name == name);
            let Some(column) = found.next().cloned() else {
                return Err(SqlError::new(
                    state::UNDEFINED_COLUMN,
                    format!("column \"{name}\" specified in USING clause does not exist in {side} table"),
                ));
            };
            match found.next() {
                Some(_) => Err(SqlError::new(
                    state::AMBIGUOUS_COLUMN,
                    format!("common column name \"{name}\" appears more than once in {side} table"),
                )),
                None => Ok(column),
            }
        };
        let mut conditions = Vec::with_capacity(names.len());
        let mut merged = Vec::with_capacity(names.len());
        for name in names {
            let (left, right) = (find(left, name, "left")?, find(right, name, "right")?);
            let column_types = (left.pg_type.clone(), right.pg_type.clone());
            let typed = |column: &ScopeColumn| {
                Typed::new(column.expr.clone(), column.pg_type.clone(), None).modified(column.typmod)
            };
            let both = vec![typed(&left), typed(&right)];
            let common = self.common_type(&both, "JOIN/USING")?;
            let typmod = modifier::shared(&both, &common);
            let both = self.unified(both, &common)?;
            conditions.push(self.binary("=", typed(&left), typed(&right), None)?.expr);
            let [left, right] = <[Typed; 2]>::try_from(both).expect("two went in");
            // Of two that are the same, the one that is as it was: digits stay.
            let right_stays = column_types.0 != common && column_types.1 == common;
            let expr = match join_type {
                JoinType::Inner if right_stays => right.expr,
                JoinType::Right => right.expr,
                JoinType::Full => {
                    let function = self.scalar("coalesce").expect("it is the engine's");
                    let both = Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![left.expr, right.expr]));
                    crate::sql::functions::told::told(both, &common)
                }
                _ => left.expr,
            };
            merged.push(ScopeColumn {
                name: name.clone(),
                expr,
                pg_type: common,
                hidden: false,
                row: None,
                typmod,
            });
        }
        Ok((conjunction(conditions), merged))
    }
}

pub fn is_subquery(expr: &Expr) -> bool {
    held(expr).is_some()
}

/// The columns that an expression names, in its subqueries too.
fn columns_with_subqueries(expr: &Expr) -> std::result::Result<Vec<Column>, DataFusionError> {
    let mut columns: Vec<Column> = expr.column_refs().into_iter().cloned().collect();
    expr.apply(|node| {
        for outer in held(node).iter().flat_map(|subquery| &subquery.outer_ref_columns) {
            if let Expr::OuterReferenceColumn(_, column) = outer {
                columns.push(column.clone());
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(columns)
}

/// A plan with more columns behind its own.
fn with_columns(plan: LogicalPlan, more: Vec<Expr>) -> Result<LogicalPlan> {
    if more.is_empty() {
        return Ok(plan);
    }
    let own = plan.schema().columns().into_iter().map(Expr::Column);
    let exprs = own.chain(more).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
}

/// Items that an outer join may have no row of.
pub fn absent(items: Vec<FromItem>, may_be_absent: bool) -> Vec<FromItem> {
    let marked = |item: FromItem| FromItem {
        may_be_absent: item.may_be_absent || may_be_absent,
        order: vec![],
        ..item
    };
    items.into_iter().map(marked).collect()
}

/// The items of a join that merges columns: these first, then the others of both sides, all without a name; the sides are
/// found by their names only.
fn merge(left: Vec<FromItem>, right: Vec<FromItem>, merged: Vec<ScopeColumn>) -> Vec<FromItem> {
    let names: HashSet<String> = merged.iter().map(|column| column.name.clone()).collect();
    let mut columns = merged;
    for item in left.iter().chain(&right).filter(|item| item.bare) {
        let others = item.columns.iter().filter(|column| !names.contains(&column.name));
        columns.extend(others.cloned());
    }
    let mut items: Vec<FromItem> = left
        .into_iter()
        .chain(right)
        .filter(|item| item.name.is_some())
        .map(|item| FromItem { bare: false, ..item })
        .collect();
    items.push(FromItem {
        columns,
        bare: true,
        ..FromItem::default()
    });
    items
}

/// 42712 for two items of one name.
pub fn check_names(items: &[FromItem], position: Option<usize>) -> Result<()> {
    let mut seen = HashSet::new();
    for item in items {
        let Some(name) = &item.name else { continue };
        let is_new = seen.insert((item.schema.clone(), name.clone()));
        let plain = items
            .iter()
            .filter(|other| other.name == item.name && other.schema.is_none())
            .count();
        if !is_new || (plain > 1 && item.schema.is_none()) {
            let message = format!("table name \"{name}\" specified more than once");
            return Err(at(SqlError::new(state::DUPLICATE_ALIAS, message), position));
        }
    }
    Ok(())
}
