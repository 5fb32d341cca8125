//! FROM: relations, subqueries, functions, windows and joins; and WITH, which names queries for it.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, NullEquality, ScalarValue, TableReference};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{
    BinaryExpr, Expr, Filter, Join, JoinConstraint, LogicalPlan, LogicalPlanBuilder, Operator, Projection,
    RecursiveQuery, SubqueryAlias,
};
use sqlparser::ast::{self, FunctionArg, FunctionArgExpr, JoinOperator, TableAlias, TableFactor, TableWithJoins};

use super::operators::conjunction;
use super::query::Output;
use super::scope::{Clause, Item, Scope, ScopeColumn, columns_of};
use super::select::{nothing, reference};
use super::typed::{Ty, Typed, at};
use super::unnest;
use super::{Analyzer, Result, rows};
use crate::catalog::Relation;
use crate::error::{SqlError, state};
use crate::log::SystemColumn;
use crate::sql::plan::names::fold;
use crate::sql::plan::provider::{columns_schema, cte_work_table, series_source, topic_schema};
use crate::sql::plan::resolve::{self, Resolved};
use crate::sql::plan::{expand, size, windows};
use crate::sql::source::{RelationKind, RelationSource};
use crate::types::PgType;

/// Most nodes of views' plans that one query may copy.
const COPIED_NODES_MAX: u64 = 100 * size::NODES_MAX;
/// How deep views may stand on views.
const VIEW_DEPTH_MAX: usize = 64;

/// A query that WITH names.
#[derive(Clone)]
pub struct Cte {
    name: String,
    plan: Arc<LogicalPlan>,
    names: Vec<String>,
    types: Vec<PgType>,
}

/// A part of FROM.
pub struct Rel {
    pub plan: LogicalPlan,
    pub items: Vec<Item>,
}

/// The hidden columns whose names stand anywhere in a query.
pub fn hidden_columns(query: &ast::Query) -> Vec<SystemColumn> {
    let mut named = HashSet::new();
    let _ = ast::visit_expressions(query, |expr: &ast::Expr| {
        match expr {
            ast::Expr::Identifier(ident) => named.insert(fold(ident)),
            ast::Expr::CompoundIdentifier(idents) => idents.last().is_some_and(|ident| named.insert(fold(ident))),
            _ => false,
        };
        ControlFlow::<()>::Continue(())
    });
    let all = SystemColumn::ALL.into_iter();
    all.filter(|column| named.contains(column.name())).collect()
}

/// A relation's own name.
pub fn relation_name(relation: &Relation) -> &str {
    match relation {
        Relation::Topic(topic) => &topic.name,
        Relation::View(view) => &view.name,
    }
}

impl Analyzer<'_> {
    /// The FROM clause: its items, crossed.
    pub fn from(&self, from: &[TableWithJoins], parent: Option<&Scope>) -> Result<(LogicalPlan, Vec<Item>)> {
        let mut made: Option<Rel> = None;
        for table in from {
            let left = made.take();
            let next = self.table(table, left.as_ref(), parent)?;
            made = Some(match left {
                // It has taken the left side in.
                _ if next.joined => next.rel,
                None => next.rel,
                Some(left) => self.cross(left, next.rel, false)?,
            });
        }
        let rel = made.expect("FROM has an item");
        check_names(&rel.items, None)?;
        Ok((rel.plan, rel.items))
    }

    fn table(&self, table: &TableWithJoins, before: Option<&Rel>, parent: Option<&Scope>) -> Result<Factor> {
        let mut made = self.factor(&table.relation, before, parent)?;
        for join in &table.joins {
            made = self.join(made, join, before, parent)?;
        }
        Ok(made)
    }

    fn factor(&self, factor: &TableFactor, left: Option<&Rel>, parent: Option<&Scope>) -> Result<Factor> {
        let apart = |rel: Rel| Factor { rel, joined: false };
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                with_ordinality: false,
                ..
            } => Ok(apart(self.relation(name, alias.as_ref())?)),
            TableFactor::Table {
                name,
                alias,
                args: Some(args),
                with_ordinality,
                ..
            } => {
                if windows::is_window(name) {
                    return Ok(apart(self.window_item(name, &args.args, alias.as_ref(), parent)?));
                }
                self.function_item(name, &args.args, alias.as_ref(), *with_ordinality, left, parent)
            }
            TableFactor::Function {
                name,
                args,
                with_ordinality,
                alias,
                ..
            } => self.function_item(name, args, alias.as_ref(), *with_ordinality, left, parent),
            TableFactor::UNNEST {
                alias,
                array_exprs,
                with_ordinality,
                ..
            } => {
                let name = ast::ObjectName::from(ast::Ident::new("unnest"));
                let args: Vec<FunctionArg> = array_exprs
                    .iter()
                    .map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr.clone())))
                    .collect();
                self.function_item(&name, &args, alias.as_ref(), *with_ordinality, left, parent)
            }
            TableFactor::TableFunction {
                expr: ast::Expr::Function(function),
                alias,
            } if windows::is_window(&function.name) => {
                let args = match &function.args {
                    ast::FunctionArguments::List(list) => list.args.as_slice(),
                    _ => &[],
                };
                Ok(apart(self.window_item(&function.name, args, alias.as_ref(), parent)?))
            }
            TableFactor::Derived {
                lateral,
                subquery,
                alias,
                ..
            } => self.derived(*lateral, subquery, alias.as_ref(), left, parent),
            TableFactor::NestedJoin {
                table_with_joins,
                alias,
            } => {
                let mut made = self.table(table_with_joins, left, parent)?;
                if let Some(alias) = alias {
                    // The join has one name, and its parts have none any more.
                    let columns = made.rel.items.iter().filter(|item| item.bare);
                    let columns: Vec<ScopeColumn> = columns.flat_map(|item| item.columns.iter().cloned()).collect();
                    let mut item = Item {
                        name: Some(fold(&alias.name)),
                        columns,
                        bare: true,
                        ..Item::default()
                    };
                    self.rename(&mut item, alias)?;
                    made.rel.items = vec![item];
                }
                Ok(made)
            }
            TableFactor::Table { .. } => Err(SqlError::new(
                state::SYNTAX_ERROR,
                "WITH ORDINALITY stands after a function",
            )),
            other => Err(SqlError::new(
                state::SYNTAX_ERROR,
                format!("syntax error at or near \"{other}\""),
            )),
        }
    }

    /// The names that an alias gives to columns.
    fn rename(&self, item: &mut Item, alias: &TableAlias) -> Result<()> {
        let mut shown: Vec<&mut ScopeColumn> = item.columns.iter_mut().filter(|column| !column.hidden).collect();
        if alias.columns.len() > shown.len() {
            let name = fold(&alias.name);
            let message = format!(
                "table \"{name}\" has {} columns available but {} columns specified",
                shown.len(),
                alias.columns.len()
            );
            return Err(at(
                SqlError::new(state::INVALID_COLUMN_REFERENCE, message),
                self.position(alias.name.span),
            ));
        }
        for (column, given) in shown.iter_mut().zip(&alias.columns) {
            if given.data_type.is_some() {
                return Err(at(
                    SqlError::new(
                        state::SYNTAX_ERROR,
                        "a column definition list is only allowed for functions returning \"record\"",
                    ),
                    self.position(given.name.span),
                ));
            }
            column.name = fold(&given.name);
        }
        Ok(())
    }

    // ---- relations

    fn relation(&self, name: &ast::ObjectName, alias: Option<&TableAlias>) -> Result<Rel> {
        let idents: Vec<&ast::Ident> = name.0.iter().filter_map(|part| part.as_ident()).collect();
        let Some(last) = idents.last() else {
            return Err(SqlError::new(
                state::SYNTAX_ERROR,
                format!("improper relation name: {name}"),
            ));
        };
        let position = self.position(idents[0].span);
        let parts: Vec<String> = idents.iter().map(|ident| fold(ident)).collect();
        let shown = alias.map_or_else(|| fold(last), |alias| fold(&alias.name));
        if let [name] = parts.as_slice() {
            let ctes = self.ctes.borrow();
            let cte = ctes.iter().rev().find(|cte| cte.name == *name).cloned();
            drop(ctes);
            if let Some(cte) = cte {
                return self.cte_item(&cte, shown, alias);
            }
        }
        let resolved = resolve::resolve(&parts, self.ctx).map_err(|error| at(error, position))?;
        if let Resolved::Relation(relation) = &resolved {
            self.direct.borrow_mut().insert(resolve::oid(relation));
        }
        let (schema, table) = resolved.full_name();
        let qualifier = self.qualifier(&shown);
        let mut item = Item {
            name: Some(shown),
            schema: alias.is_none().then(|| schema.clone()),
            bare: true,
            ..Item::default()
        };
        let scan = |kind: RelationKind, source_schema| -> Result<LogicalPlan> {
            let source = Arc::new(RelationSource {
                kind,
                schema: source_schema,
            });
            let name = TableReference::partial(schema.clone(), table.clone());
            Ok(LogicalPlanBuilder::scan(name, source, None)?.build()?)
        };
        let plan = match &resolved {
            Resolved::Relation(Relation::Topic(topic)) => {
                self.reached.borrow_mut().relations.insert(topic.oid);
                item.oid = Some(topic.oid);
                scan(RelationKind::Topic(topic.clone()), topic_schema(topic, &self.hidden))?
            }
            Resolved::Relation(Relation::View(view)) if view.materialized && view.recomputed.is_none() => {
                self.reached.borrow_mut().relations.insert(view.oid);
                item.oid = Some(view.oid);
                scan(RelationKind::View(view.clone()), columns_schema(&view.columns))?
            }
            Resolved::Relation(Relation::View(view)) => {
                self.check_depth()?;
                item.oid = Some(view.oid);
                self.reached.borrow_mut().expanded.insert(view.oid);
                let plan = expand::expand_view(view, self.ctx, self.depth + 1, self.reached)?;
                self.copied(plan)?
            }
            Resolved::System(relation) => {
                let key = (relation.schema.to_string(), relation.name.to_string());
                self.reached.borrow_mut().system.insert(key);
                item.oid = Some(relation.oid);
                item.is_system = true;
                match relation.definition {
                    None => scan(
                        RelationKind::System(relation.schema, relation.name),
                        relation.arrow_schema().clone(),
                    )?,
                    Some(definition) => {
                        self.check_depth()?;
                        let plan =
                            expand::expand_system_view(relation, definition, self.ctx, self.depth + 1, self.reached)?;
                        self.copied(plan)?
                    }
                }
            }
        };
        let plan = aliased(plan, &qualifier)?;
        let fields = plan.schema().clone();
        item.columns = fields
            .iter()
            .map(|(qualifier, field)| {
                let name = crate::sql::error::visible_name(field.name()).to_string();
                let is_hidden = matches!(resolved, Resolved::Relation(Relation::Topic(_)))
                    && SystemColumn::ALL.iter().any(|column| column.name() == name);
                ScopeColumn {
                    expr: Expr::Column(Column::from((qualifier, field))),
                    pg_type: PgType::of_field(field).unwrap_or(PgType::Text),
                    hidden: is_hidden,
                    name,
                }
            })
            .collect();
        if let Some(alias) = alias {
            self.rename(&mut item, alias)?;
        }
        Ok(Rel {
            plan,
            items: vec![item],
        })
    }

    fn check_depth(&self) -> Result<()> {
        if self.depth < VIEW_DEPTH_MAX {
            return Ok(());
        }
        Err(SqlError::new(
            state::STATEMENT_TOO_COMPLEX,
            "views are stacked too deeply",
        ))
    }

    /// The plan of a view in place of its name. It is copied wherever a CTE that reads it is named: at most as often as the
    /// query reads relations.
    fn copied(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let nodes = {
            let mut reached = self.reached.borrow_mut();
            reached.nodes = reached.nodes.saturating_add(size::nodes(&plan)?);
            reached.nodes
        };
        if nodes.saturating_mul(self.relations) > COPIED_NODES_MAX {
            return Err(size::too_many_steps());
        }
        Ok(plan)
    }

    // ---- subqueries

    fn derived(
        &self,
        lateral: bool,
        subquery: &ast::Query,
        alias: Option<&TableAlias>,
        left: Option<&Rel>,
        parent: Option<&Scope>,
    ) -> Result<Factor> {
        let beside = left
            .filter(|_| lateral)
            .map(|left| Scope::new(left.items.clone(), parent));
        let output = self.query(subquery, beside.as_ref().or(parent))?;
        let rel = self.named_output(output, alias)?;
        Ok(Factor { rel, joined: false })
    }

    /// A query's rows as an item.
    fn named_output(&self, output: Output, alias: Option<&TableAlias>) -> Result<Rel> {
        let shown = alias.map(|alias| fold(&alias.name));
        let qualifier = match &shown {
            Some(shown) => self.qualifier(shown),
            None => self.internal_name("query"),
        };
        let names: Vec<String> = output.columns.iter().map(|column| column.name.clone()).collect();
        let types: Vec<PgType> = output.columns.iter().map(|column| column.pg_type.clone()).collect();
        let plan = aliased(output.plan, &qualifier)?;
        let mut item = Item {
            name: shown,
            columns: columns_of(&plan, &names, &types),
            bare: true,
            ..Item::default()
        };
        if let Some(alias) = alias {
            self.rename(&mut item, alias)?;
        }
        Ok(Rel {
            plan,
            items: vec![item],
        })
    }

    // ---- WITH

    /// Puts the queries of a WITH in scope, in turn.
    pub fn define(&self, with: &ast::With, parent: Option<&Scope>) -> Result<()> {
        let mut names = HashSet::new();
        for cte in &with.cte_tables {
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
            let is_recursive = with.recursive && names_relation(&cte.query, &name);
            let output = match is_recursive {
                true => self.recursive(&name, cte, parent)?,
                false => self.query(&cte.query, parent)?,
            };
            let mut names: Vec<String> = output.columns.iter().map(|column| column.name.clone()).collect();
            if cte.alias.columns.len() > names.len() {
                let message = format!(
                    "WITH query \"{name}\" has {} columns available but {} columns specified",
                    names.len(),
                    cte.alias.columns.len()
                );
                return Err(at(
                    SqlError::new(state::INVALID_COLUMN_REFERENCE, message),
                    self.position(cte.alias.name.span),
                ));
            }
            for (name, given) in names.iter_mut().zip(&cte.alias.columns) {
                *name = fold(&given.name);
            }
            let types = output.columns.iter().map(|column| column.pg_type.clone()).collect();
            self.ctes.borrow_mut().push(Cte {
                name,
                plan: Arc::new(output.plan),
                names,
                types,
            });
        }
        Ok(())
    }

    fn cte_item(&self, cte: &Cte, shown: String, alias: Option<&TableAlias>) -> Result<Rel> {
        let qualifier = self.qualifier(&shown);
        let plan = aliased(cte.plan.as_ref().clone(), &qualifier)?;
        let mut item = Item {
            name: Some(shown),
            columns: columns_of(&plan, &cte.names, &cte.types),
            bare: true,
            ..Item::default()
        };
        if let Some(alias) = alias {
            self.rename(&mut item, alias)?;
        }
        Ok(Rel {
            plan,
            items: vec![item],
        })
    }

    /// `WITH RECURSIVE name AS (first UNION [ALL] next)`: the first part gives the types.
    fn recursive(&self, name: &str, cte: &ast::Cte, parent: Option<&Scope>) -> Result<Output> {
        let position = self.position(cte.alias.name.span);
        let shape = || {
            at(
                SqlError::new(
                    INVALID_RECURSION,
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
        if body_names_relation(left, name) {
            return Err(at(
                SqlError::new(
                    INVALID_RECURSION,
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
        let types: Vec<PgType> = first.columns.iter().map(|column| column.pg_type.clone()).collect();
        // The columns of what was found last are the first part's, by names of their own.
        let work = self.internal_name(name);
        let exprs = first
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                Expr::Column(column.column.clone())
                    .alias_with_metadata(column_name(&names[at], at), super::typed::metadata(&types[at]))
            })
            .collect();
        let first_plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(first.plan))?);
        let schema = Arc::new(first_plan.schema().as_arrow().clone());
        let source = cte_work_table(&work, schema);
        let found = LogicalPlanBuilder::scan(work.as_str(), source, None)?.build()?;
        self.ctes.borrow_mut().push(Cte {
            name: name.to_string(),
            plan: Arc::new(found),
            names: names.clone(),
            types: types.clone(),
        });
        let next = self.set_expr(right, parent);
        self.ctes.borrow_mut().pop();
        let next = next?;
        if next.columns.len() != types.len() {
            return Err(SqlError::new(
                state::SYNTAX_ERROR,
                "each UNION query must have the same number of columns",
            ));
        }
        let mut exprs = Vec::with_capacity(types.len());
        for (index, (column, wanted)) in next.columns.iter().zip(&types).enumerate() {
            let expr = Expr::Column(column.column.clone());
            let typed = match column.untyped {
                true => Typed::unknown(expr, None),
                false => Typed::new(expr, column.pg_type.clone(), None),
            };
            let fits = super::choose::common(&[wanted.oid(), typed.oid()]);
            if fits.is_none_or(|oid| oid != wanted.oid()) {
                let overall = fits.map_or_else(|| typed.type_name(), super::kinds::name);
                let message = format!(
                    "recursive query \"{name}\" column {} has type {} in non-recursive term but type {overall} overall",
                    index + 1,
                    super::kinds::name(wanted.oid())
                );
                return Err(at(
                    SqlError::new(state::DATATYPE_MISMATCH, message)
                        .hint("Cast the output of the non-recursive term to the correct type."),
                    position,
                ));
            }
            let typed = self.unify_one(typed, wanted)?;
            let name = column_name(&names[index], index);
            exprs.push(typed.expr.alias_with_metadata(name, super::typed::metadata(wanted)));
        }
        let next_plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(next.plan))?);
        let is_distinct = !matches!(set_quantifier, ast::SetQuantifier::All);
        let recursive = RecursiveQuery::try_new(work, Arc::new(first_plan), Arc::new(next_plan), is_distinct)?;
        let plan = LogicalPlan::RecursiveQuery(recursive);
        let schema = plan.schema().clone();
        let columns = names.into_iter().zip(types).enumerate();
        let columns = columns.map(|(at, (name, pg_type))| super::query::OutColumn {
            name,
            column: Column::from(schema.qualified_field(at)),
            pg_type,
            untyped: false,
        });
        Ok(Output {
            columns: columns.collect(),
            plan,
        })
    }

    // ---- windows

    fn window_item(
        &self,
        name: &ast::ObjectName,
        args: &[FunctionArg],
        alias: Option<&TableAlias>,
        parent: Option<&Scope>,
    ) -> Result<Rel> {
        let function = name
            .0
            .last()
            .and_then(|part| part.as_ident())
            .map(fold)
            .unwrap_or_default();
        let upper = function.to_uppercase();
        let call = windows::Call::read(&upper, args.to_vec())?;
        let Factor { rel, .. } = self.factor(&call.relation, None, parent)?;
        let scope = Scope::new(rel.items.clone(), None);
        let time = scope.within(Clause::From, || self.expr(&windows::descriptor(call.time), &scope))?;
        let Expr::Column(column) = &time.expr else {
            return Err(at(
                SqlError::new(
                    state::WRONG_OBJECT_TYPE,
                    format!("the time argument of {upper} must be a column"),
                )
                .hint("Compute it in a subquery and give that as the relation."),
                time.position,
            ));
        };
        if !matches!(time.pg_type(), PgType::Timestamp | PgType::TimestampTz) {
            return Err(SqlError::new(
                state::DATATYPE_MISMATCH,
                format!(
                    "the time column \"{}\" of {upper} is of type {}, not timestamp",
                    crate::sql::error::visible_name(&column.name),
                    time.type_name()
                ),
            )
            .hint("Cast it to TIMESTAMP or TIMESTAMPTZ in a subquery."));
        }
        let time_column = rel.plan.schema().index_of_column(column)?;
        let mut lengths = Vec::with_capacity(call.lengths.len());
        for (expr, what) in call.lengths.iter().zip(windows::Call::length_names(&function)) {
            lengths.push(self.length_us(&upper, what, expr)?);
        }
        let lateness = match &call.allowed_lateness {
            Some(expr) => self.length_us(&upper, "allowed_lateness", expr)?,
            None => 0,
        };
        let mut item = rel.items.into_iter().next().expect("a relation is an item");
        let plan = windows::plan_window(&function, rel.plan, time_column, &lengths, lateness)?;
        // The window takes `_watermark` away, and adds its bounds.
        item.columns.retain(|column| match &column.expr {
            Expr::Column(named) => plan.schema().has_column(named),
            _ => false,
        });
        let fields = plan.schema().fields().len();
        for bound in [fields - 2, fields - 1] {
            let (qualifier, field) = plan.schema().qualified_field(bound);
            item.columns.push(ScopeColumn {
                name: field.name().clone(),
                expr: Expr::Column(Column::from((qualifier, field))),
                pg_type: time.pg_type(),
                hidden: false,
            });
        }
        let Some(alias) = alias else {
            return Ok(Rel {
                plan,
                items: vec![item],
            });
        };
        let shown = fold(&alias.name);
        let qualifier = self.qualifier(&shown);
        let before = plan.schema().clone();
        let plan = aliased(plan, &qualifier)?;
        for column in &mut item.columns {
            if let Expr::Column(named) = &column.expr {
                let index = before.index_of_column(named)?;
                column.expr = Expr::Column(Column::from(plan.schema().qualified_field(index)));
            }
        }
        item.name = Some(shown);
        item.schema = None;
        self.rename(&mut item, alias)?;
        Ok(Rel {
            plan,
            items: vec![item],
        })
    }

    /// A constant interval in microseconds.
    fn length_us(&self, upper: &str, what: &str, expr: &ast::Expr) -> Result<i64> {
        let scope = Scope::new(vec![], None);
        let typed = scope.within(Clause::From, || self.expr(expr, &scope))?;
        if let Expr::Placeholder(_) = typed.expr {
            return Err(SqlError::unsupported(
                format!("the {what} of {upper} cannot be a parameter"),
                "Write it as a constant.",
            ));
        }
        if !typed.is_unknown() && typed.pg_type() != PgType::Interval {
            return Err(SqlError::new(
                state::DATATYPE_MISMATCH,
                format!("the {what} of {upper} must be an interval, not {}", typed.type_name()),
            )
            .hint("Write INTERVAL '10 seconds'."));
        }
        let typed = self.coerce(typed, &PgType::Interval)?;
        match crate::sql::plan::eval::constant(typed.expr)? {
            ScalarValue::IntervalMonthDayNano(Some(interval)) => Ok(windows::length_us(upper, what, interval)?),
            _ => Err(SqlError::new(
                state::DATATYPE_MISMATCH,
                format!("the {what} of {upper} must be an interval, not NULL"),
            )),
        }
    }

    // ---- functions

    fn function_item(
        &self,
        name: &ast::ObjectName,
        args: &[FunctionArg],
        alias: Option<&TableAlias>,
        ordinality: bool,
        left: Option<&Rel>,
        parent: Option<&Scope>,
    ) -> Result<Factor> {
        let (function, position) = self.function_name(name)?;
        let shown = alias.map_or_else(|| function.clone(), |alias| fold(&alias.name));
        if function == "pg_get_keywords" {
            return self.named_output(self.keywords()?, alias).map(|mut rel| {
                rel.items[0].name = Some(shown);
                Factor { rel, joined: false }
            });
        }
        if function == "pg_show_all_settings" {
            let settings = ast::ObjectName::from(vec![ast::Ident::new("pg_catalog"), ast::Ident::new("pg_settings")]);
            let mut rel = self.relation(&settings, alias)?;
            rel.items[0].name = Some(shown);
            return Ok(Factor { rel, joined: false });
        }
        // Arguments may name what stands to the left.
        let beside = left.map_or_else(Vec::new, |left| left.items.clone());
        let scope = Scope::new(beside, parent);
        let mut calls: Vec<(String, Typed)> = Vec::new();
        scope
            .within(Clause::From, || -> Result<()> {
                if function == "unnest" && args.len() > 1 {
                    for arg in args {
                        calls.push((
                            function.clone(),
                            self.call_in_from(&function, std::slice::from_ref(arg), &scope)?,
                        ));
                    }
                    return Ok(());
                }
                calls.push((function.clone(), self.call_in_from(&function, args, &scope)?));
                Ok(())
            })
            .map_err(|error| at(error, position))?;
        if let Some(rel) = self.streamed_series(&function, &calls, ordinality, alias, &shown)? {
            return Ok(Factor { rel, joined: false });
        }
        // The columns: of one value, of a record, of each list.
        let mut fields: Vec<(String, Typed)> = Vec::new();
        let is_value = calls.len() == 1 && calls[0].1.fields().is_none();
        for (name, typed) in &calls {
            match typed.fields() {
                Some(record) => fields.extend(record.iter().cloned()),
                None => {
                    let column = match (is_value, alias) {
                        (true, Some(alias)) => fold(&alias.name),
                        _ => name.clone(),
                    };
                    fields.push((column, typed.clone()));
                }
            }
        }
        let named_left = fields
            .iter()
            .any(|(_, typed)| super::select::has(&typed.expr, |node| matches!(node, Expr::Column(_))));
        let base = match (named_left, left) {
            (true, Some(left)) => left.plan.clone(),
            _ => nothing(true),
        };
        let mut exprs: Vec<Expr> = fields.iter().map(|(_, typed)| typed.expr.clone()).collect();
        let makes_rows = fields.iter().any(|(_, typed)| rows::makes_rows(typed));
        if ordinality {
            let list = exprs.iter().find_map(|expr| rows::list_of(expr)).cloned();
            let number = match list {
                Some(list) => {
                    let count = self.scalar("cardinality").expect("it is the engine's").call(vec![list]);
                    let count = super::typed::cast_to(count, &PgType::Int8);
                    let one = Expr::Literal(ScalarValue::Int64(Some(1)), None);
                    let series = self.scalar("generate_series").expect("it is the engine's");
                    rows::marked_list(series.call(vec![one, count]))
                }
                None => Expr::Literal(ScalarValue::Int64(Some(1)), None),
            };
            exprs.push(number.clone());
            fields.push(("ordinality".to_string(), Typed::new(number, PgType::Int8, None)));
        }
        let plan = match makes_rows {
            true => rows::compute(self, base, &mut exprs)?,
            false => base,
        };
        // Columns of the left side stay beside those of the function.
        let qualifier = self.qualifier(&shown);
        let kept: Vec<Expr> = match (named_left, left) {
            (true, Some(left)) => left.plan.schema().columns().into_iter().map(Expr::Column).collect(),
            _ => vec![],
        };
        let mut projected = kept.clone();
        let mut columns = Vec::with_capacity(fields.len());
        for (index, ((name, typed), expr)) in fields.iter().zip(exprs).enumerate() {
            let column = column_name(name, index);
            let told = super::typed::metadata(&typed.pg_type());
            projected.push(expr.alias_qualified_with_metadata(Some(reference(&qualifier)), &column, told));
            columns.push(ScopeColumn {
                name: name.clone(),
                expr: Expr::Column(Column::new(Some(reference(&qualifier)), column)),
                pg_type: typed.pg_type(),
                hidden: false,
            });
        }
        let plan = LogicalPlan::Projection(Projection::try_new(projected, Arc::new(plan))?);
        let mut item = Item {
            name: Some(shown),
            columns,
            bare: true,
            is_value: is_value && !ordinality,
            ..Item::default()
        };
        if let Some(alias) = alias {
            self.rename(&mut item, alias)?;
        }
        let mut items = match (named_left, left) {
            (true, Some(left)) => left.items.clone(),
            _ => vec![],
        };
        items.push(item);
        Ok(Factor {
            rel: Rel { plan, items },
            joined: named_left && left.is_some(),
        })
    }

    fn call_in_from(&self, function: &str, args: &[FunctionArg], scope: &Scope) -> Result<Typed> {
        let call = ast::Function {
            name: ast::ObjectName::from(ast::Ident::new(function)),
            uses_odbc_syntax: false,
            parameters: ast::FunctionArguments::None,
            args: ast::FunctionArguments::List(ast::FunctionArgumentList {
                duplicate_treatment: None,
                args: args.to_vec(),
                clauses: vec![],
            }),
            filter: None,
            null_treatment: None,
            over: None,
            within_group: vec![],
        };
        let typed = self.function(&call, scope)?;
        match typed.ty {
            Ty::Unknown => self.settle(typed),
            _ => Ok(typed),
        }
    }

    /// `generate_series` of constants, which makes its rows as they are read.
    fn streamed_series(
        &self,
        function: &str,
        calls: &[(String, Typed)],
        ordinality: bool,
        alias: Option<&TableAlias>,
        shown: &str,
    ) -> Result<Option<Rel>> {
        if function != "generate_series" || ordinality {
            return Ok(None);
        }
        let [(_, typed)] = calls else { return Ok(None) };
        let Some(list) = rows::list_of(&typed.expr) else {
            return Ok(None);
        };
        let Some(plan) = self.constant_series(list)? else {
            return Ok(None);
        };
        let item_type = typed.pg_type();
        let field = plan.schema().field(0).clone();
        let column = Expr::Column(Column::from(plan.schema().qualified_field(0)));
        let wanted = alias.map_or_else(|| function.to_string(), |alias| fold(&alias.name));
        let value = match field.data_type() == &item_type.arrow() {
            true => column,
            false => super::typed::cast_to(column, &item_type),
        };
        let projection = Projection::try_new(vec![value.alias(&wanted)], Arc::new(plan))?;
        let qualifier = self.qualifier(shown);
        let plan = aliased(LogicalPlan::Projection(projection), &qualifier)?;
        let mut item = Item {
            name: Some(shown.to_string()),
            columns: columns_of(&plan, &[wanted], &[item_type]),
            bare: true,
            is_value: true,
            ..Item::default()
        };
        if let Some(alias) = alias {
            self.rename(&mut item, alias)?;
        }
        Ok(Some(Rel {
            plan,
            items: vec![item],
        }))
    }

    /// A plan of the rows of a list that is `generate_series` of constants: it makes them as they are read.
    pub fn constant_series(&self, list: &Expr) -> Result<Option<LogicalPlan>> {
        let Some(arguments) = series_arguments(list) else {
            return Ok(None);
        };
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments {
            let mut open = false;
            argument.apply(|node| {
                open |= matches!(
                    node,
                    Expr::Column(_) | Expr::OuterReferenceColumn(..) | Expr::Placeholder(_) | Expr::ScalarSubquery(_)
                ) || matches!(node, Expr::ScalarFunction(call)
                    if call.func.signature().volatility != datafusion::logical_expr::Volatility::Immutable);
                Ok(TreeNodeRecursion::Continue)
            })?;
            if open {
                return Ok(None);
            }
            values.push(crate::sql::plan::eval::constant(argument.clone())?);
        }
        Ok(Some(series_source(values, self.ctx.time_zone)?))
    }

    /// The words that need quotes, as rows.
    fn keywords(&self) -> Result<Output> {
        let words = sqlparser::keywords::ALL_KEYWORDS.iter().map(|word| word.to_lowercase());
        let text = |text: &str| Expr::Literal(ScalarValue::Utf8(Some(text.to_string())), None);
        let rows: Vec<Vec<Expr>> = words
            .filter(|word| crate::catalog::is_reserved(word))
            .map(|word| vec![text(&word), text("R"), text("reserved")])
            .collect();
        let plan = LogicalPlanBuilder::values(rows)?.build()?;
        let names = ["word", "catcode", "catdesc"];
        let columns = plan.schema().columns().into_iter().zip(names);
        let columns = columns.map(|(column, name)| super::query::OutColumn {
            name: name.to_string(),
            column,
            pg_type: PgType::Text,
            untyped: false,
        });
        Ok(Output {
            columns: columns.collect(),
            plan,
        })
    }

    // ---- joins

    fn cross(&self, left: Rel, right: Rel, depends: bool) -> Result<Rel> {
        let mut items = left.items;
        items.extend(right.items);
        let _ = depends;
        let plan = self.joined(left.plan, right.plan, JoinType::Inner, None)?;
        Ok(Rel { plan, items })
    }

    /// A join of two plans; the right one may name columns of the left.
    fn joined(
        &self,
        left: LogicalPlan,
        right: LogicalPlan,
        join_type: JoinType,
        condition: Option<Expr>,
    ) -> Result<LogicalPlan> {
        if unnest::names_columns_of(&right, &left) {
            return unnest::dependent_join(left, right, join_type, condition);
        }
        let has_query = condition.as_ref().is_some_and(|condition| {
            super::select::has(condition, |node| {
                matches!(
                    node,
                    Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_)
                )
            })
        });
        if has_query {
            if join_type != JoinType::Inner {
                return Err(SqlError::unsupported(
                    "subqueries in the condition of an outer join are not supported",
                    "Join with the subquery first, in a query of its own.",
                ));
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

    fn join(&self, left: Factor, written: &ast::Join, before: Option<&Rel>, parent: Option<&Scope>) -> Result<Factor> {
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
        // LATERAL and functions see what stands to the left: of this join, and of the items before it.
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
            written.relation,
            TableFactor::Function { .. } | TableFactor::UNNEST { .. } | TableFactor::Table { args: Some(_), .. }
        );
        // The rows of an outer join come from the left side, so that what a function is given is an outer column to it.
        let right = match is_function && join_type != JoinType::Inner {
            true => {
                let beside = Scope::new(visible.items.clone(), parent);
                self.factor(&written.relation, None, Some(&beside))?
            }
            false => self.factor(&written.relation, Some(&visible), parent)?,
        };
        if right.joined {
            return self.function_join(left, right, constraint, parent);
        }
        let Factor { rel: left_rel, joined } = left;
        let right_rel = right.rel;
        let mut all = left_rel.items.clone();
        all.extend(right_rel.items.iter().cloned());
        let (condition, merged) = match constraint {
            None | Some(ast::JoinConstraint::None) => (None, vec![]),
            Some(ast::JoinConstraint::On(on)) => {
                check_names(&all, None)?;
                let scope = Scope::new(all.clone(), parent);
                let typed = scope.within(Clause::On, || self.expr(on, &scope))?;
                (Some(self.condition(typed, "JOIN/ON")?), vec![])
            }
            Some(ast::JoinConstraint::Using(names)) => {
                let names: Vec<String> = names
                    .iter()
                    .filter_map(|name| name.0.last()?.as_ident().map(fold))
                    .collect();
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
        let plan = self.joined(left_rel.plan, right_rel.plan, join_type, condition)?;
        let items = match merges {
            false => all,
            true => merge(left_rel.items, right_rel.items, merged),
        };
        Ok(Factor {
            rel: Rel { plan, items },
            joined,
        })
    }

    /// A join with a function whose arguments name the left side: its rows stand beside theirs already.
    fn function_join(
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
    fn using(
        &self,
        left: &[Item],
        right: &[Item],
        names: &[String],
        join_type: JoinType,
    ) -> Result<(Option<Expr>, Vec<ScopeColumn>)> {
        let find = |items: &[Item], name: &str, side: &str| -> Result<ScopeColumn> {
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
            let typed = |column: &ScopeColumn| Typed::new(column.expr.clone(), column.pg_type.clone(), None);
            conditions.push(self.binary("=", typed(&left), typed(&right), None)?.expr);
            let (both, common) = self.unify(vec![typed(&left), typed(&right)], "JOIN/USING")?;
            let [left, right] = <[Typed; 2]>::try_from(both).expect("two went in");
            let expr = match join_type {
                JoinType::Right => right.expr,
                JoinType::Full => {
                    let function = self.scalar("coalesce").expect("it is the engine's");
                    Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![left.expr, right.expr]))
                }
                _ => left.expr,
            };
            merged.push(ScopeColumn {
                name: name.clone(),
                expr,
                pg_type: common,
                hidden: false,
            });
        }
        Ok((conjunction(conditions), merged))
    }
}

/// A part of FROM that is being made.
struct Factor {
    rel: Rel,
    /// It has the items to its left in it.
    joined: bool,
}

/// 42P19
const INVALID_RECURSION: crate::error::SqlState = crate::error::SqlState("42P19");

/// The items of a join that merges columns: these first, then the others of both sides, all without a name; the sides are
/// found by their names only.
fn merge(left: Vec<Item>, right: Vec<Item>, merged: Vec<ScopeColumn>) -> Vec<Item> {
    let names: HashSet<String> = merged.iter().map(|column| column.name.clone()).collect();
    let mut columns = merged;
    for item in left.iter().chain(&right).filter(|item| item.bare) {
        let others = item.columns.iter().filter(|column| !names.contains(&column.name));
        columns.extend(others.cloned());
    }
    let mut items: Vec<Item> = left
        .into_iter()
        .chain(right)
        .filter(|item| item.name.is_some())
        .map(|item| Item { bare: false, ..item })
        .collect();
    items.push(Item {
        columns,
        bare: true,
        ..Item::default()
    });
    items
}

/// 42712 for two items of one name.
fn check_names(items: &[Item], position: Option<usize>) -> Result<()> {
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

pub fn aliased(plan: LogicalPlan, qualifier: &str) -> Result<LogicalPlan> {
    let alias = SubqueryAlias::try_new(Arc::new(plan), reference(qualifier))?;
    Ok(LogicalPlan::SubqueryAlias(alias))
}

pub fn join(
    left: LogicalPlan,
    right: LogicalPlan,
    join_type: JoinType,
    on: Vec<(Expr, Expr)>,
    filter: Option<Expr>,
) -> Result<LogicalPlan> {
    let join = Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on,
        filter,
        join_type,
        JoinConstraint::On,
        NullEquality::NullEqualsNothing,
        false,
    )?;
    Ok(LogicalPlan::Join(join))
}

/// The pairs of a condition that must be equal on both sides, and the rest of it.
pub fn keys(condition: Expr, left: &LogicalPlan, right: &LogicalPlan) -> Result<(Vec<(Expr, Expr)>, Option<Expr>)> {
    let of = |expr: &Expr, plan: &LogicalPlan| {
        let columns = expr.column_refs();
        let volatile = super::select::has(expr, |node| matches!(node, Expr::OuterReferenceColumn(..)));
        !columns.is_empty() && !volatile && columns.iter().all(|column| plan.schema().has_column(column))
    };
    let mut on = Vec::new();
    let mut rest = Vec::new();
    for part in split_conjunction_owned(condition) {
        match part {
            Expr::BinaryExpr(BinaryExpr {
                left: a,
                op: Operator::Eq,
                right: b,
            }) if of(&a, left) && of(&b, right) => on.push((*a, *b)),
            Expr::BinaryExpr(BinaryExpr {
                left: a,
                op: Operator::Eq,
                right: b,
            }) if of(&a, right) && of(&b, left) => on.push((*b, *a)),
            other => rest.push(other),
        }
    }
    Ok((on, conjunction(rest)))
}

/// The arguments of the engine's `generate_series` in a list that is made of it, without what casts its elements.
fn series_arguments(list: &Expr) -> Option<&[Expr]> {
    match list {
        Expr::ScalarFunction(call) if call.func.name() == "generate_series" => Some(&call.args),
        Expr::Cast(cast) => series_arguments(&cast.expr),
        _ => None,
    }
}

/// Columns of one name are kept apart by their number.
fn column_name(name: &str, index: usize) -> String {
    match index {
        0 => name.to_string(),
        index => format!("{name}\u{1}{index}"),
    }
}

fn names_relation(query: &ast::Query, name: &str) -> bool {
    body_names_relation(&query.body, name) || {
        let mut found = false;
        let _ = ast::visit_relations(query, |relation| {
            found |= is_named(relation, name);
            ControlFlow::<()>::Continue(())
        });
        found
    }
}

fn body_names_relation(body: &ast::SetExpr, name: &str) -> bool {
    let mut found = false;
    let _ = ast::visit_relations(body, |relation| {
        found |= is_named(relation, name);
        ControlFlow::<()>::Continue(())
    });
    found
}

fn is_named(relation: &ast::ObjectName, name: &str) -> bool {
    match relation.0.as_slice() {
        [part] => part.as_ident().is_some_and(|ident| fold(ident) == name),
        _ => false,
    }
}
