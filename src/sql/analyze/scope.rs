//! The meaning of names in a query: its FROM items, and those of the queries around it.
//!
//! One rule: a column is found in the innermost query that has one of the name, and there it must be the only one. A plan has
//! a name of its own for each FROM item and column, so that nothing is ambiguous there.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::ScalarValue;
use datafusion::common::TableReference;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Expr, LogicalPlan, Operator, when};
use sqlparser::ast::{self, Ident};

use super::operators::binary;
use super::output::OutColumn;
use super::typed::{Shape, Typed, at};
use super::window_definition::WindowDefinition;
use super::{Analyzer, Result};
use crate::error::{SqlError, state};
use crate::sql::error::undefined_column;
use crate::sql::plan::names::fold;
use crate::types::PgType;

/// A column that may be named.
#[derive(Clone, Debug)]
pub struct ScopeColumn {
    pub name: String,
    /// Over the plan of the FROM clause.
    pub expr: Expr,
    pub pg_type: PgType,
    /// Not part of `*`.
    pub hidden: bool,
    /// It is a row, or an array of rows.
    pub row: Option<Shape>,
    /// [`Typed::typmod`]
    pub typmod: Option<i32>,
}

/// The columns that FROM brings under one name.
#[derive(Clone, Debug, Default)]
pub struct FromItem {
    pub name: Option<String>,
    /// The schema, if it was named without an alias: `schema.name.column` finds it too.
    pub schema: Option<String>,
    pub columns: Vec<ScopeColumn>,
    /// Its columns are found without its name, and are part of `*`.
    pub bare: bool,
    /// Of the relation.
    pub oid: Option<u32>,
    /// It is a system relation, whose `oid` is its key.
    pub is_system: bool,
    /// It is the rows of an INSERT, for its RETURNING.
    pub inserted: bool,
    /// A function that returns one value a row: the name alone is that value.
    pub is_value: bool,
    /// An outer join may have no row of it.
    pub may_be_absent: bool,
    /// The order that a subquery gives its rows.
    pub order: Vec<Sort>,
}

/// The part of a query that an expression stands in: parts differ in the expressions that they allow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clause {
    Select,
    From,
    On,
    Where,
    GroupBy,
    Having,
    OrderBy,
    DistinctOn,
    Window,
    Values,
    Limit,
    Filter,
    Aggregate,
    WindowCall,
    Returning,
    /// DEFAULT, parameters of EXECUTE.
    Stored,
    Check,
    Generated,
}

impl Clause {
    pub fn name(self) -> &'static str {
        match self {
            Clause::Select => "SELECT",
            Clause::From => "functions in FROM",
            Clause::On => "JOIN conditions",
            Clause::Where => "WHERE",
            Clause::GroupBy => "GROUP BY",
            Clause::Having => "HAVING",
            Clause::OrderBy => "ORDER BY",
            Clause::DistinctOn => "DISTINCT ON",
            Clause::Window => "window definitions",
            Clause::Values => "VALUES",
            Clause::Limit => "LIMIT",
            Clause::Filter => "FILTER",
            Clause::Aggregate => "aggregate function calls",
            Clause::WindowCall => "window function calls",
            Clause::Returning => "RETURNING",
            Clause::Stored => "DEFAULT expressions",
            Clause::Check => "check constraints",
            Clause::Generated => "column generation expressions",
        }
    }
}

/// A query's names.
pub struct Scope<'s> {
    pub items: Vec<FromItem>,
    pub parent: Option<&'s Scope<'s>>,
    pub clause: Cell<Clause>,
    /// Aggregates of this query that stand in subqueries of it.
    pub aggregates: RefCell<Vec<Expr>>,
    /// Expressions with queries of their own that were analyzed, with their text.
    pub queries: RefCell<Vec<(ast::Expr, Typed)>>,
    /// Subqueries without FROM that became expressions, with the clauses that they stand in.
    pub inlined: RefCell<Vec<(Expr, Clause)>>,
    /// Windows that the query names, with their definitions.
    pub windows: RefCell<Vec<(String, WindowDefinition)>>,
    /// The first aggregate or window function in the arguments of another, which is an error once that one is known.
    pub nested: RefCell<Option<SqlError>>,
}

impl<'s> Scope<'s> {
    pub fn new(items: Vec<FromItem>, parent: Option<&'s Scope<'s>>) -> Scope<'s> {
        Scope {
            items,
            parent,
            clause: Cell::new(Clause::Select),
            aggregates: RefCell::default(),
            queries: RefCell::default(),
            inlined: RefCell::default(),
            windows: RefCell::default(),
            nested: RefCell::default(),
        }
    }

    /// Whether a column of the plan is one of this query's own.
    pub fn has(&self, column: &Column) -> bool {
        let mut columns = self.items.iter().flat_map(|item| &item.columns);
        columns.any(|known| known.expr.column_refs().contains(column))
    }

    /// Whether a column stands for an aggregate of this query in a subquery.
    pub fn has_aggregate(&self, column: &Column) -> bool {
        let aggregates = self.aggregates.borrow();
        let mut names = aggregates.iter().filter_map(|aggregate| match aggregate {
            Expr::Alias(alias) => Some(&alias.name),
            _ => None,
        });
        column.relation.is_none() && names.any(|name| *name == column.name)
    }

    pub fn nest(&self, error: SqlError) {
        self.nested.borrow_mut().get_or_insert(error);
    }

    /// The error of what stands in the arguments of a function that is known now; what was found around it stays.
    pub fn end_nesting(&self, around: Option<SqlError>) -> Result<()> {
        match self.nested.replace(around) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Runs `work` for expressions of a clause.
    pub fn within<T>(&self, clause: Clause, work: impl FnOnce() -> T) -> T {
        let before = self.clause.replace(clause);
        let done = work();
        self.clause.set(before);
        done
    }
}

/// A column of a query around this one, as this one sees it.
pub fn outer(expr: &Expr, shape: &Shape) -> Result<Expr> {
    let field = Arc::new(shape.field(""));
    let seen = expr.clone().transform_up(|node| match node {
        Expr::Column(column) => {
            let field = Arc::new(field.as_ref().clone().with_name(&column.name));
            Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(seen.data)
}

impl Analyzer<'_> {
    /// `name`
    pub fn column(&self, ident: &Ident, scope: &Scope) -> Result<Typed> {
        let name = fold(ident);
        let position = self.position(ident.span);
        let (mut level, mut depth) = (Some(scope), 0);
        while let Some(scope) = level {
            if let Some(found) = find_bare(&scope.items, &name).map_err(|error| at(error, position))? {
                return self.found(&found, depth, position);
            }
            if let Some(item) = scope.items.iter().find(|item| item.name.as_deref() == Some(&name)) {
                return self.whole_row(item, depth, position);
            }
            level = scope.parent;
            depth += 1;
        }
        if ident.quote_style.is_none() && KEYWORD_FUNCTIONS.contains(&name.as_str()) {
            return self.named_call(&name, vec![], position);
        }
        Err(at(undefined_column(None, &name), position))
    }

    /// `item.name`, `schema.item.name`, `row.field`
    pub fn qualified(&self, idents: &[Ident], scope: &Scope) -> Result<Typed> {
        let position = self.position(idents[0].span);
        let (last, path) = idents.split_last().expect("a compound name has parts");
        let name = fold(last);
        let path: Vec<String> = path.iter().map(fold).collect();
        let (schema, item) = match path.as_slice() {
            [item] => (None, item),
            [schema, item] => (Some(schema), item),
            [database, schema, item] if *database == self.ctx.database => (Some(schema), item),
            [_, _, _] => {
                let shown = path.join(".");
                let message = format!("cross-database references are not implemented: {shown}.{name}");
                return Err(at(SqlError::new(state::FEATURE_NOT_SUPPORTED, message), position));
            }
            _ => {
                let shown = path.join(".");
                let message = format!("improper qualified name (too many dotted names): {shown}.{name}");
                return Err(at(SqlError::new(state::SYNTAX_ERROR, message), position));
            }
        };
        let (mut level, mut depth) = (Some(scope), 0);
        while let Some(scope) = level {
            let named = |candidate: &&FromItem| {
                candidate.name.as_ref() == Some(item) && (schema.is_none() || candidate.schema.as_ref() == schema)
            };
            let mut found = scope.items.iter().filter(named);
            if let Some(item) = found.next() {
                if found.next().is_some() {
                    let message = format!("table reference \"{}\" is ambiguous", path.join("."));
                    return Err(at(SqlError::new(AMBIGUOUS_ALIAS, message), position));
                }
                let mut columns = item.columns.iter().filter(|column| column.name == name);
                if let Some(column) = columns.next() {
                    if columns.next().is_some() {
                        return Err(at(ambiguous(&name), position));
                    }
                    return self.found(column, depth, position);
                }
                let shown = item.name.as_deref();
                return Err(at(undefined_column(shown, &name), position));
            }
            level = scope.parent;
            depth += 1;
        }
        // A row's field, if a column is a row.
        if path.len() == 1 {
            let row = Ident { ..idents[0].clone() };
            if let Ok(typed) = self.column(&row, scope)
                && let Some(fields) = typed.fields()
                && let Some((_, field)) = fields.iter().find(|(field, _)| *field == name)
            {
                return Ok(field.clone());
            }
        }
        let mut error = SqlError::new(
            state::UNDEFINED_TABLE,
            format!("missing FROM-clause entry for table \"{item}\""),
        );
        if self.is_hidden_by_alias(item, scope) {
            error.message = format!("invalid reference to FROM-clause entry for table \"{item}\"");
            error = error.hint("Perhaps you meant to reference the table alias.");
        }
        Err(at(error, position))
    }

    fn is_hidden_by_alias(&self, relation: &str, scope: &Scope) -> bool {
        scope.items.iter().any(|item| {
            let named = item.oid.and_then(|oid| self.ctx.catalog.relations.get(&oid));
            named.is_some_and(|named| named.name() == relation)
        })
    }

    pub fn found(&self, column: &ScopeColumn, depth: usize, position: Option<usize>) -> Result<Typed> {
        let shape = column.row.clone().unwrap_or(Shape::Of(column.pg_type.clone()));
        let expr = match depth {
            0 => column.expr.clone(),
            _ => outer(&column.expr, &shape)?,
        };
        if let Expr::Column(named) = &column.expr {
            self.note_position(named, position);
        }
        Ok(shape.over(expr, position).modified(column.typmod))
    }

    /// All columns of an item as a row; the value itself of a function that returns one.
    fn whole_row(&self, item: &FromItem, depth: usize, position: Option<usize>) -> Result<Typed> {
        let shown: Vec<&ScopeColumn> = item.columns.iter().filter(|column| !column.hidden).collect();
        if let ([value], true) = (shown.as_slice(), item.is_value) {
            return self.found(value, depth, position);
        }
        let fields = shown.into_iter().map(|column| {
            let field = self.found(column, depth, position)?;
            Ok((column.name.clone(), field))
        });
        Ok(self.present_row(item, fields.collect::<Result<_>>()?, position))
    }

    /// A row of an item: its expression is NULL where an outer join found none.
    pub fn present_row(&self, item: &FromItem, fields: Vec<(String, Typed)>, position: Option<usize>) -> Typed {
        let row = Typed::row(fields, position);
        match item.may_be_absent {
            true => Typed {
                expr: presence(&row),
                ..row
            },
            false => row,
        }
    }

    /// The columns of `*`, or of `item.*`.
    pub fn star<'i>(&self, items: &'i [FromItem]) -> impl Iterator<Item = &'i ScopeColumn> {
        let bare = items.iter().filter(|item| item.bare);
        bare.flat_map(|item| item.columns.iter().filter(|column| !column.hidden))
    }
}

/// Words that are functions without brackets where no column has their name.
const KEYWORD_FUNCTIONS: [&str; 7] = [
    "current_schema",
    "current_catalog",
    "current_role",
    "current_user",
    "session_user",
    "system_user",
    "user",
];

/// 42P09
const AMBIGUOUS_ALIAS: crate::error::SqlState = crate::error::SqlState("42P09");

fn ambiguous(name: &str) -> SqlError {
    SqlError::new(
        state::AMBIGUOUS_COLUMN,
        format!("column reference \"{name}\" is ambiguous"),
    )
}

/// The column of that name among those that need no item's name.
fn find_bare(items: &[FromItem], name: &str) -> Result<Option<ScopeColumn>> {
    let bare = || items.iter().filter(|item| item.bare);
    for hidden in [false, true] {
        let mut found = bare()
            .flat_map(|item| item.columns.iter())
            .filter(|column| column.hidden == hidden && column.name == name);
        if let Some(column) = found.next() {
            return match found.next() {
                Some(_) => Err(ambiguous(name)),
                None => Ok(Some(column.clone())),
            };
        }
    }
    Ok(None)
}

/// The columns of a plan, by name, as they are typed.
pub fn columns_of(plan: &LogicalPlan, columns: &[OutColumn]) -> Vec<ScopeColumn> {
    let schema = plan.schema();
    schema
        .iter()
        .zip(columns)
        .map(|((qualifier, field), column)| ScopeColumn {
            name: column.name.clone(),
            expr: Expr::Column(Column::from((qualifier, field))),
            pg_type: column.pg_type.clone(),
            // Columns that a recursive query keeps for itself.
            hidden: column.name.starts_with('\u{1}'),
            row: column.row.clone(),
            typmod: column.typmod,
        })
        .collect()
}

/// 1 where a row has a field that is not NULL, else NULL.
pub fn presence(row: &Typed) -> Expr {
    let one = Expr::Literal(ScalarValue::Int64(Some(1)), None);
    let tests = row.fields().unwrap_or_default().iter();
    let some = tests
        .map(|(_, field)| Expr::IsNotNull(Box::new(field.expr.clone())))
        .reduce(|left, right| binary(left, Operator::Or, right));
    match some {
        Some(some) => when(some, one.clone()).end().unwrap_or(one),
        None => one,
    }
}

/// A qualifier for the columns of a FROM item.
pub fn reference(name: &str) -> TableReference {
    TableReference::bare(name)
}
