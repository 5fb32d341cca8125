//! FROM: relations, subqueries, functions, windows and joins; and WITH, which names queries for it.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::{Column, ScalarValue, TableReference};
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, LogicalPlanBuilder, Projection};
use sqlparser::ast::{self, FunctionArg, FunctionArgExpr, TableAlias, TableFactor, TableWithJoins};

use super::from_part::{Factor, Rel, aliased};
use super::join::check_names;
use super::kinds::CastContext;
use super::output::{OutColumn, QueryOutput};
use super::scope::{Clause, FromItem, Scope, ScopeColumn, columns_of};
use super::typed::{Typed, at, metadata};
use super::{Analyzer, Result};
use crate::catalog::{self, Relation};
use crate::error::{SqlError, SqlState, state};
use crate::log::HiddenColumn;
use crate::sql::plan::names::fold;
use crate::sql::plan::provider::{columns_schema, topic_schema};
use crate::sql::plan::resolve::{self, Resolved};
use crate::sql::plan::{eval, expand, size, windows};
use crate::sql::source::{RelationKind, RelationSource};
use crate::sql::statement::mark;
use crate::sql::system_columns::TableColumn;
use crate::types::PgType;

/// 2202H
const INVALID_TABLESAMPLE_ARGUMENT: SqlState = SqlState("2202H");
/// Most nodes of views' plans that one query may copy.
const COPIED_NODES_MAX: u64 = 100 * size::NODES_MAX;
/// Views that may stand on views, in depth.
const VIEW_DEPTH_MAX: usize = 64;

/// A query that WITH names.
#[derive(Clone)]
pub struct Cte {
    pub name: String,
    pub plan: Arc<LogicalPlan>,
    pub columns: Vec<OutColumn>,
    /// It is an INSERT without RETURNING.
    pub is_silent: bool,
    /// The order of its rows.
    pub order: Vec<Sort>,
}

/// The hidden columns and the system columns whose names stand anywhere in a query.
pub fn hidden_columns(query: &ast::Query) -> (Vec<HiddenColumn>, Vec<TableColumn>) {
    let mut named = HashSet::new();
    let _ = ast::visit_expressions(query, |expr: &ast::Expr| {
        match expr {
            ast::Expr::Identifier(ident) => named.insert(fold(ident)),
            ast::Expr::CompoundIdentifier(idents) => idents.last().is_some_and(|ident| named.insert(fold(ident))),
            _ => false,
        };
        ControlFlow::<()>::Continue(())
    });
    let _ = ast::visit_relations(query, |name| {
        let first = name.0.first().and_then(|part| part.as_ident());
        if first.is_some_and(|first| first.value == mark::AS_OF_COMMIT) {
            named.insert(HiddenColumn::Lsn.name().to_string());
        }
        ControlFlow::<()>::Continue(())
    });
    let hidden = HiddenColumn::ALL.into_iter();
    let hidden = hidden.filter(|column| named.contains(column.name()));
    let system = TableColumn::ALL.into_iter();
    let system = system.filter(|column| named.contains(column.name()));
    (hidden.collect(), system.collect())
}

impl Analyzer<'_> {
    /// The FROM clause: its items, crossed.
    pub fn from(&self, from: &[TableWithJoins], parent: Option<&Scope>) -> Result<(LogicalPlan, Vec<FromItem>)> {
        let mut made: Option<Rel> = None;
        for table in from {
            let left = made.take();
            let next = self.table(table, left.as_ref(), parent)?;
            made = Some(match left {
                // It has taken the left side in.
                _ if next.joined => next.rel,
                None => next.rel,
                Some(left) => self.cross(left, next.rel)?,
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

    pub fn factor(&self, factor: &TableFactor, left: Option<&Rel>, parent: Option<&Scope>) -> Result<Factor> {
        let apart = |rel: Rel| Factor { rel, joined: false };
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                with_ordinality: false,
                sample,
                ..
            } => {
                let rel = self.relation(name, alias.as_ref())?;
                match sample {
                    Some(sample) => Ok(apart(self.sampled(rel, sample)?)),
                    None => Ok(apart(rel)),
                }
            }
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
                    let mut item = FromItem {
                        name: Some(fold(&alias.name)),
                        columns,
                        bare: true,
                        ..FromItem::default()
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
    pub fn rename(&self, item: &mut FromItem, alias: &TableAlias) -> Result<()> {
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

    pub fn relation(&self, name: &ast::ObjectName, alias: Option<&TableAlias>) -> Result<Rel> {
        let idents: Vec<&ast::Ident> = name.0.iter().filter_map(|part| part.as_ident()).collect();
        let Some(last) = idents.last() else {
            return Err(SqlError::new(
                state::SYNTAX_ERROR,
                format!("improper relation name: {name}"),
            ));
        };
        if idents[0].value == mark::AS_OF_COMMIT {
            let error = SqlError::unsupported(
                "FOR SYSTEM_TIME AS OF PROCTIME() stands on the right side of a join",
                "Leave it out to read what is there now.",
            );
            return Err(at(error, self.position(last.span)));
        }
        let inserted = idents[0].value == mark::INSERTED;
        let idents = &idents[usize::from(inserted)..];
        let position = self.position(idents[0].span);
        let parts: Vec<String> = idents.iter().map(|ident| fold(ident)).collect();
        let shown = alias.map_or_else(|| fold(last), |alias| fold(&alias.name));
        if let [name] = parts.as_slice() {
            let ctes = self.ctes.borrow();
            let cte = ctes.iter().rev().find(|cte| cte.name == *name).cloned();
            drop(ctes);
            if let Some(cte) = cte {
                if cte.is_silent {
                    let message = format!("WITH query \"{name}\" does not have a RETURNING clause");
                    return Err(at(SqlError::new(state::FEATURE_NOT_SUPPORTED, message), position));
                }
                return self.cte_item(&cte, shown, alias);
            }
        }
        let resolved = resolve::resolve(&parts, self.ctx).map_err(|error| at(error, position))?;
        if let Resolved::Relation(relation) = &resolved {
            self.direct.borrow_mut().insert(resolve::oid(relation));
            self.mention(idents, resolve::oid(relation), alias.is_none());
        }
        let (schema, table) = resolved.full_name();
        let qualifier = self.qualifier(&shown);
        let mut item = FromItem {
            name: Some(shown),
            schema: alias.is_none().then(|| schema.clone()),
            bare: true,
            inserted,
            ..FromItem::default()
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
                if !inserted {
                    self.reached.borrow_mut().relations.insert(topic.oid);
                }
                item.oid = Some(topic.oid);
                let mut hidden = self.hidden.clone();
                for column in self.system.iter().flat_map(|column| column.made_of()) {
                    if !hidden.contains(column) {
                        hidden.push(*column);
                    }
                }
                let kind = match inserted {
                    true => RelationKind::Inserted(topic.clone()),
                    false => RelationKind::Topic(topic.clone()),
                };
                scan(kind, topic_schema(topic, &hidden))?
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
        let plan = self.with_system_columns(plan, &resolved, item.oid)?;
        let plan = aliased(plan, &qualifier)?;
        let fields = plan.schema().clone();
        let columns = fields.fields().len() - self.system_columns(&resolved).len();
        let (plan, order) = match &resolved {
            Resolved::Relation(Relation::View(_)) => self.with_order(plan)?,
            _ => (plan, vec![]),
        };
        item.order = order;
        let declared = |index: usize, name: &str| match &resolved {
            Resolved::Relation(relation) => relation.columns().get(index).filter(|column| column.name == name),
            Resolved::System(_) => None,
        };
        item.columns = fields
            .iter()
            .enumerate()
            .map(|(index, (qualifier, field))| {
                let name = crate::sql::error::visible_name(field.name()).to_string();
                let is_hidden = index >= columns
                    || matches!(resolved, Resolved::Relation(Relation::Topic(_)))
                        && HiddenColumn::ALL.iter().any(|column| column.name() == name);
                let declared = declared(index, &name);
                // The plan of a view need not say what the view's definition does.
                let stated = declared.map(|column| &column.pg_type);
                let stated = stated.filter(|pg_type| pg_type.arrow() == *field.data_type());
                let pg_type = stated.cloned().or_else(|| PgType::of_field(field));
                ScopeColumn {
                    expr: Expr::Column(Column::from((qualifier, field))),
                    pg_type: pg_type.unwrap_or(PgType::Text),
                    hidden: is_hidden,
                    typmod: declared.map(catalog::Column::typmod).filter(|typmod| *typmod != -1),
                    name,
                    row: None,
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

    /// The system columns that the statement names, of a relation that has them: a topic, a materialized view, a catalog's table.
    fn system_columns(&self, resolved: &Resolved) -> Vec<TableColumn> {
        let has_own = |name: &str| match resolved {
            Resolved::Relation(Relation::Topic(topic)) => topic.column_index(name).is_some(),
            Resolved::Relation(Relation::View(view)) => {
                !view.materialized || view.columns.iter().any(|column| column.name == name)
            }
            Resolved::System(relation) => {
                relation.kind != 'r' || relation.columns.iter().any(|column| column.name == name)
            }
        };
        let named = self.system.iter().copied();
        named.filter(|column| !has_own(column.name())).collect()
    }

    /// The relation's rows with those columns behind its own.
    fn with_system_columns(&self, plan: LogicalPlan, resolved: &Resolved, oid: Option<u32>) -> Result<LogicalPlan> {
        let wanted = self.system_columns(resolved);
        if wanted.is_empty() {
            return Ok(plan);
        }
        let oid = oid.unwrap_or_default();
        let schema = plan.schema().clone();
        let column = |name: &str| {
            let found = schema.iter().find(|(_, field)| field.name() == name);
            Expr::Column(Column::from(found.expect("the scan has it")))
        };
        let mut exprs: Vec<Expr> = schema.iter().map(|field| Expr::Column(Column::from(field))).collect();
        for wanted in wanted {
            let expr = match resolved {
                Resolved::Relation(Relation::Topic(_)) => wanted.of_topic(oid, |hidden| column(hidden.name()))?,
                _ => wanted.constant(oid),
            };
            exprs.push(expr.alias_with_metadata(wanted.name(), metadata(&wanted.pg_type())));
        }
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
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

    /// TABLESAMPLE: each row by chance.
    fn sampled(&self, rel: Rel, sample: &ast::TableSampleKind) -> Result<Rel> {
        let (ast::TableSampleKind::BeforeTableAlias(sample) | ast::TableSampleKind::AfterTableAlias(sample)) = sample;
        let percent = sample.quantity.as_ref().map(|quantity| &quantity.value);
        let (Some(ast::TableSampleMethod::Bernoulli | ast::TableSampleMethod::System), Some(percent)) =
            (&sample.name, percent)
        else {
            let method = match (&sample.name, percent) {
                (Some(method), _) => method.to_string().to_lowercase(),
                (None, Some(ast::Expr::Function(method))) => method.name.to_string().to_lowercase(),
                _ => String::new(),
            };
            return Err(SqlError::new(
                state::UNDEFINED_OBJECT,
                format!("tablesample method {method} does not exist"),
            ));
        };
        if sample.seed.is_some() {
            return Err(SqlError::unsupported(
                "TABLESAMPLE with REPEATABLE is not supported",
                "Leave REPEATABLE out, or choose rows by a hash of their columns.",
            ));
        }
        let scope = Scope::new(vec![], None);
        let typed = scope.within(Clause::From, || self.expr(percent, &scope))?;
        let position = typed.position;
        let percent = self.cast(typed, &PgType::Float8, CastContext::Assignment)?;
        if let Ok(ScalarValue::Float64(Some(percent))) = eval::constant(percent.expr.clone())
            && !(0.0..=100.0).contains(&percent)
        {
            return Err(at(
                SqlError::new(
                    INVALID_TABLESAMPLE_ARGUMENT,
                    "sample percentage must be between 0 and 100",
                ),
                position,
            ));
        }
        let hundred = Typed::new(Expr::Literal(ScalarValue::from(100.0), None), PgType::Float8, position);
        let chance = self.named_call("random", vec![], position)?;
        let chance = self.binary("*", chance, hundred, position)?;
        let taken = self.binary("<", chance, percent, position)?;
        let plan = LogicalPlan::Filter(Filter::try_new(taken.expr, Arc::new(rel.plan))?);
        Ok(Rel { plan, ..rel })
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
        if alias.is_none() {
            use sqlparser::ast::Spanned;
            let (what, example) = match subquery.body.as_ref() {
                ast::SetExpr::Values(_) => ("VALUES", "VALUES"),
                _ => ("subquery", "SELECT"),
            };
            let message = format!("{what} in FROM must have an alias");
            let error = SqlError::new(state::SYNTAX_ERROR, message)
                .hint(format!("For example, FROM ({example} ...) [AS] foo."));
            return Err(at(error, self.position(subquery.span())));
        }
        self.query_rows(lateral, subquery, alias, left, parent)
    }

    /// The rows of a query, under a name or none.
    pub fn query_rows(
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
        if let Some(beside) = &beside {
            beside.clause.set(Clause::From);
        }
        let output = self.query(subquery, beside.as_ref().or(parent))?;
        let rel = self.named_output(output, alias)?;
        Ok(Factor { rel, joined: false })
    }

    /// A query's rows as an item.
    pub fn named_output(&self, output: QueryOutput, alias: Option<&TableAlias>) -> Result<Rel> {
        let shown = alias.map(|alias| fold(&alias.name));
        let qualifier = match &shown {
            Some(shown) => self.qualifier(shown),
            None => self.internal_name("query"),
        };
        let (plan, order) = self.with_order(aliased(output.plan, &qualifier)?)?;
        let columns = columns_of(&plan, &output.columns);
        let item = FromItem {
            order,
            name: shown,
            columns,
            bare: true,
            ..FromItem::default()
        };
        self.only_item(plan, item, alias)
    }

    /// A part of FROM that is one item, under its alias.
    pub fn only_item(&self, plan: LogicalPlan, mut item: FromItem, alias: Option<&TableAlias>) -> Result<Rel> {
        if let Some(alias) = alias {
            self.rename(&mut item, alias)?;
        }
        Ok(Rel {
            plan,
            items: vec![item],
        })
    }
}
