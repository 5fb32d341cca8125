//! WITH: queries that have a name, and those that read themselves.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ExprSchema, JoinType};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection, RecursiveQuery};
use sqlparser::ast::{self, TableAlias};

use super::from::Cte;
use super::from_part::{Rel, aliased, column_name};
use super::output::{OutColumn, QueryOutput};
use super::scope::{FromItem, Scope, columns_of};
use super::typed::{Typed, at, of_type};
use super::{Analyzer, Result, traversal};
use crate::error::{SqlError, state};
use crate::sql::functions::nullable::nullable;
use crate::sql::plan::names::fold;
use crate::sql::plan::provider::{cte_work_table, given_source, is_work_table};
use crate::sql::plan::size;
use crate::sql::plan::subquery::{outer_references, subquery};
use crate::sql::shared::SharedQuery;
use crate::sql::with;
use crate::types::PgType;

impl Analyzer<'_> {
    /// Puts the queries of a WITH in scope, in turn.
    pub fn define(&self, list: &ast::With, query: &ast::Query, parent: Option<&Scope>) -> Result<()> {
        let mut names = HashSet::new();
        for cte in &list.cte_tables {
            let name = fold(&cte.alias.name);
            if !names.insert(name.clone()) {
                return Err(at(
                    SqlError::new(
                        state::DUPLICATE_ALIAS,
                        format!("WITH query name \"{name}\" specified more than once"),
                    ),
                    self.position(cte.alias.name.span),
                ));
            }
            let is_recursive = list.recursive && (places_in(&cte.query, &name) > 0);
            if with::is_write(&cte.query.body) {
                return Err(at(with::not_at_top_level(), self.position(cte.alias.name.span)));
            }
            let given = with::given(&cte.query);
            let output = match (is_recursive, traversal::of_query(&cte.query)) {
                _ if given.is_some() => self.given_rows(&name, given.expect("it is there"))?,
                (true, Some(traversal)) => self.traversed(&name, cte, &traversal, parent)?,
                (true, None) => self.recursive(&name, cte, parent)?,
                (false, None) => self.query(&cte.query, parent)?,
                (false, Some(_)) => {
                    return Err(at(
                        SqlError::new(state::SYNTAX_ERROR, "WITH query is not recursive"),
                        self.position(cte.alias.name.span),
                    ));
                }
            };
            let mut columns = output.columns;
            if cte.alias.columns.len() > columns.len() {
                let message = format!(
                    "WITH query \"{name}\" has {} columns available but {} columns specified",
                    columns.len(),
                    cte.alias.columns.len()
                );
                return Err(at(
                    SqlError::new(state::INVALID_COLUMN_REFERENCE, message),
                    self.position(cte.alias.name.span),
                ));
            }
            for (column, given) in columns.iter_mut().zip(&cte.alias.columns) {
                column.name = fold(&given.name);
            }
            // Before anything walks it as a tree.
            if size::nodes(&output.plan)? > size::NODES_MAX {
                return Err(size::too_many_steps());
            }
            let is_shared = is_shared(cte, query, &output.plan);
            let (plan, order) = self.with_order(output.plan)?;
            let plan = match is_shared {
                true => SharedQuery {
                    body: Arc::new(plan),
                    name: name.clone(),
                    number: self.number(),
                }
                .into_plan(),
                false => plan,
            };
            self.ctes.borrow_mut().push(Cte {
                name,
                plan: Arc::new(plan),
                columns,
                is_silent: given.is_some_and(|number| self.given[number].fields.is_none()),
                order,
            });
        }
        Ok(())
    }

    /// The rows of a query that ran before the statement.
    fn given_rows(&self, name: &str, number: usize) -> Result<QueryOutput> {
        let rows = &self.given[number];
        let fields = rows.fields.as_deref().unwrap_or_default();
        let (source, types) = given_source(fields, &rows.batches)?;
        let plan = LogicalPlanBuilder::scan(name, source, None)?.build()?;
        let schema = plan.schema().clone();
        let columns = fields
            .iter()
            .zip(types)
            .enumerate()
            .map(|(at, (field, pg_type))| OutColumn {
                name: field.name.clone(),
                column: Column::from(schema.qualified_field(at)),
                pg_type,
                untyped: false,
                row: None,
                typmod: field.typmod,
            });
        Ok(QueryOutput {
            columns: columns.collect(),
            plan,
        })
    }

    pub fn cte_item(&self, cte: &Cte, shown: String, alias: Option<&TableAlias>) -> Result<Rel> {
        let qualifier = self.qualifier(&shown);
        let below = cte.plan.schema().clone();
        let plan = aliased(cte.plan.as_ref().clone(), &qualifier)?;
        let item = FromItem {
            order: super::ordered::under(&cte.order, &below, plan.schema())?,
            name: Some(shown),
            columns: columns_of(&plan, &cte.columns),
            bare: true,
            ..FromItem::default()
        };
        self.only_item(plan, item, alias)
    }

    /// Where the expression of a column stands that a query gives.
    fn place_of_column(&self, query: &ast::SetExpr, index: usize) -> Option<usize> {
        use ast::Spanned;
        match query {
            ast::SetExpr::Select(select) => match select.projection.get(index)? {
                ast::SelectItem::UnnamedExpr(expr) | ast::SelectItem::ExprWithAlias { expr, .. } => {
                    self.position(expr.span())
                }
                _ => None,
            },
            ast::SetExpr::Values(values) => self.position(values.rows.first()?.content.get(index)?.span()),
            _ => None,
        }
    }

    /// `WITH RECURSIVE name AS (first UNION [ALL] next)`: the first part gives the types.
    pub fn recursive(&self, name: &str, cte: &ast::Cte, parent: Option<&Scope>) -> Result<QueryOutput> {
        let position = self.position(cte.alias.name.span);
        let shape = || {
            at(
                SqlError::new(
                    state::INVALID_RECURSION,
                    format!(
                        "recursive query \"{name}\" does not have the form non-recursive-term UNION [ALL] recursive-term"
                    ),
                ),
                position,
            )
        };
        let query = &cte.query;
        let ast::SetExpr::SetOperation {
            left,
            op: ast::SetOperator::Union,
            set_quantifier,
            right,
        } = query.body.as_ref()
        else {
            return Err(shape());
        };
        if places_in(left, name) > 0 {
            return Err(at(
                SqlError::new(
                    state::INVALID_RECURSION,
                    format!("recursive reference to query \"{name}\" must not appear within its non-recursive term"),
                ),
                position,
            ));
        }
        for (is_there, clause) in [
            (query.order_by.is_some(), "ORDER BY"),
            (query.limit_clause.is_some() || query.fetch.is_some(), "LIMIT"),
        ] {
            if is_there {
                return Err(at(
                    SqlError::new(
                        state::FEATURE_NOT_SUPPORTED,
                        format!("{clause} in a recursive query is not implemented"),
                    ),
                    position,
                ));
            }
        }
        let first = self.set_expr(left, parent)?;
        let mut names: Vec<String> = first.columns.iter().map(|column| column.name.clone()).collect();
        for (name, given) in names.iter_mut().zip(&cte.alias.columns) {
            *name = fold(&given.name);
        }
        let first = self.settle_output(first)?;
        // The rows that follow have scales of their own.
        let types = first.columns.iter().map(|column| match &column.pg_type {
            PgType::Numeric(_) => PgType::Numeric(None),
            other => other.clone(),
        });
        let types: Vec<PgType> = types.collect();
        let own_columns: Vec<OutColumn> = first
            .columns
            .iter()
            .zip(&names)
            .zip(&types)
            .map(|((column, name), pg_type)| OutColumn {
                name: name.clone(),
                pg_type: pg_type.clone(),
                ..column.clone()
            })
            .collect();
        let first_columns = first.columns.clone();
        // The columns of the newest rows are the first part's, by names of their own.
        let work = self.internal_name(name);
        let exprs = first
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let expr = Expr::Column(column.column.clone());
                let expr = match column.pg_type == types[at] {
                    true => expr,
                    false => super::typed::cast_to(expr, &types[at]),
                };
                let field = first.plan.schema().field_from_column(&column.column);
                let expr = match field.is_ok_and(|field| field.is_nullable()) {
                    true => expr,
                    false => nullable(expr),
                };
                of_type(expr, &types[at], first.plan.schema()).alias(column_name(&names[at], at))
            })
            .collect();
        let first_plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(first.plan))?);
        let schema = Arc::new(first_plan.schema().as_arrow().clone());
        let source = cte_work_table(&work, schema);
        let found = LogicalPlanBuilder::scan(work.as_str(), source, None)?.build()?;
        self.ctes.borrow_mut().push(Cte {
            name: name.to_string(),
            plan: Arc::new(found),
            columns: own_columns.clone(),
            is_silent: false,
            order: vec![],
        });
        let next = self.set_expr(right, parent);
        self.ctes.borrow_mut().pop();
        let next = self.settle_output(next?)?;
        if let Some(why) = misplaced(right, &next.plan, name, &work) {
            let message = match why {
                Misplaced::Aggregated => {
                    "aggregate functions are not allowed in a recursive query's recursive term".to_string()
                }
                Misplaced::Within(place) => {
                    format!("recursive reference to query \"{name}\" must not appear {place}")
                }
            };
            return Err(at(SqlError::new(state::INVALID_RECURSION, message), position));
        }
        if next.columns.len() != types.len() {
            return Err(SqlError::new(
                state::SYNTAX_ERROR,
                "each UNION query must have the same number of columns",
            ));
        }
        let refused = |index: usize, known: &str, overall: &str| {
            let message = format!(
                "recursive query \"{name}\" column {} has type {known} in non-recursive term but type {overall} overall",
                index + 1
            );
            let error = SqlError::new(state::DATATYPE_MISMATCH, message)
                .hint("Cast the output of the non-recursive term to the correct type.");
            at(error, self.place_of_column(left, index).or(position))
        };
        let mut exprs = Vec::with_capacity(types.len());
        for (index, (column, wanted)) in next.columns.iter().zip(&types).enumerate() {
            let expr = Expr::Column(column.column.clone());
            let typed = match column.untyped {
                true => Typed::unknown(expr, None),
                false => Typed::new(expr, column.pg_type.clone(), None),
            };
            let fits = super::choose::common(&[wanted.oid(), typed.oid()]);
            if fits.is_none_or(|oid| oid != wanted.oid()) {
                let Some(overall) = fits.map(super::kinds::name) else {
                    let message = format!(
                        "UNION types {} and {} cannot be matched",
                        super::kinds::name(wanted.oid()),
                        typed.type_name()
                    );
                    return Err(SqlError::new(state::DATATYPE_MISMATCH, message));
                };
                return Err(refused(index, &super::kinds::name(wanted.oid()), &overall));
            }
            let own = &first_columns[index];
            if own.told_typmod() != -1 && own.told_typmod() != column.told_typmod() {
                let known = own.pg_type.name_with(own.told_typmod());
                let overall = own.pg_type.bare().name();
                return Err(refused(index, &known, &overall));
            }
            let typed = self.unify_one(typed, wanted)?;
            let name = column_name(&names[index], index);
            exprs.push(of_type(typed.expr, wanted, next.plan.schema()).alias(name));
        }
        let next_plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(next.plan))?);
        let is_distinct = !matches!(set_quantifier, ast::SetQuantifier::All);
        let recursive = RecursiveQuery::try_new(work, Arc::new(first_plan), Arc::new(next_plan), is_distinct)?;
        let plan = LogicalPlan::RecursiveQuery(recursive);
        let schema = plan.schema().clone();
        let columns = own_columns.into_iter().enumerate();
        let columns = columns.map(|(at, own)| OutColumn {
            column: Column::from(schema.qualified_field(at)),
            untyped: false,
            row: None,
            ..own
        });
        Ok(QueryOutput {
            columns: columns.collect(),
            plan,
        })
    }
}

/// Most nodes of a choice of rows and columns that each place that reads it makes for itself.
const PLAIN_NODES_MAX: usize = 16;

/// Why a recursive term may not read itself where it does.
enum Misplaced {
    Aggregated,
    Within(&'static str),
}

fn misplaced(term: &ast::SetExpr, plan: &LogicalPlan, name: &str, work: &str) -> Option<Misplaced> {
    let is_work = |node: &LogicalPlan| matches!(node, LogicalPlan::TableScan(scan) if scan.table_name.table() == work);
    let reads = |plan: &LogicalPlan| plan.exists(|node| Ok(is_work(node))).unwrap_or(false);
    let mut found = None;
    let looked = plan.apply_with_subqueries(|node| {
        let mut of_query = false;
        node.apply_expressions(|expr| {
            expr.apply(|inner| {
                of_query |= subquery(inner).is_some_and(reads);
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        let why = match node {
            _ if of_query => Some(Misplaced::Within("within a subquery")),
            LogicalPlan::Aggregate(aggregate) if reads(&aggregate.input) => Some(Misplaced::Aggregated),
            LogicalPlan::Join(join) => {
                let absent = match join.join_type {
                    JoinType::Left => reads(&join.right),
                    JoinType::Right => reads(&join.left),
                    JoinType::Full => reads(&join.left) || reads(&join.right),
                    _ => false,
                };
                absent.then_some(Misplaced::Within("within an outer join"))
            }
            _ => None,
        };
        found = found.take().or(why);
        Ok(match found {
            Some(_) => TreeNodeRecursion::Stop,
            None => TreeNodeRecursion::Continue,
        })
    });
    looked.expect("looking fails never");
    found.or((places_in(term, name) > 1).then_some(Misplaced::Within("more than once")))
}

/// Whether the query of a CTE is computed once for all places that read it: where it is said so, where its rows would differ,
/// and where there are several such places and it is more than a short choice of rows and columns.
fn is_shared(cte: &ast::Cte, query: &ast::Query, plan: &LogicalPlan) -> bool {
    // Its rows differ from one row of the query around it to the next, or from one step of a recursion to the next.
    if !outer_references(plan).is_empty() || reads_work_table(plan) {
        return false;
    }
    match cte.materialized {
        Some(ast::CteAsMaterialized::Materialized) => return true,
        Some(ast::CteAsMaterialized::NotMaterialized) => return false,
        None => {}
    }
    let name = fold(&cte.alias.name);
    // A recursive query names itself, which is no place that reads it.
    if places_in(query, &name) < 2 + places_in(cte.query.as_ref(), &name) {
        return false;
    }
    let (mut is_plain, mut nodes) = (true, 0);
    let looked = plan.apply_with_subqueries(|node| {
        nodes += 1;
        is_plain &= nodes <= PLAIN_NODES_MAX;
        is_plain &= matches!(
            node,
            LogicalPlan::TableScan(_)
                | LogicalPlan::Projection(_)
                | LogicalPlan::Filter(_)
                | LogicalPlan::SubqueryAlias(_)
                | LogicalPlan::Union(_)
                | LogicalPlan::Values(_)
                | LogicalPlan::EmptyRelation(_)
        );
        node.apply_expressions(|expr| {
            is_plain &= !expr.is_volatile();
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(match is_plain {
            true => TreeNodeRecursion::Continue,
            false => TreeNodeRecursion::Stop,
        })
    });
    looked.is_ok() && !is_plain
}

/// The number of times that a part of a statement names a relation.
fn places_in(part: &impl ast::Visit, name: &str) -> usize {
    let mut places = 0;
    let _ = ast::visit_relations(part, |relation| {
        places += usize::from(is_named(relation, name));
        ControlFlow::<()>::Continue(())
    });
    places
}

/// Whether a plan reads the rows that a recursive query around it found last.
fn reads_work_table(plan: &LogicalPlan) -> bool {
    let mut own = HashSet::new();
    let mut read = HashSet::new();
    let looked = plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::RecursiveQuery(recursive) => {
                own.insert(recursive.name.clone());
            }
            LogicalPlan::TableScan(scan) if is_work_table(scan) => {
                read.insert(scan.table_name.table().to_string());
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    looked.is_err() || !read.is_subset(&own)
}

fn is_named(relation: &ast::ObjectName, name: &str) -> bool {
    match relation.0.as_slice() {
        [part] => part.as_ident().is_some_and(|ident| fold(ident) == name),
        _ => false,
    }
}
