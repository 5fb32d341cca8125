//! SEARCH and CYCLE of a recursive query: columns for the order in which its rows were found, and for rows that come
//! back to an earlier one.
//!
//! One rule: the query is written out as PostgreSQL's documentation writes it by hand. The path to a row is an
//! array of rows there: here it is their texts, and the key of SEARCH DEPTH FIRST stands beside them in one column.

use std::sync::Arc;

use datafusion::logical_expr::{Expr, LogicalPlan, Projection};
use sqlparser::ast;

use super::output::{OutColumn, QueryOutput};
use super::scope::Scope;
use super::typed::{Shape, Typed, at};
use super::{Analyzer, Result};
use crate::error::{SqlError, state};
use crate::sql::plan::names::fold;
use crate::sql::statement::{Statement, mark};
use crate::types::PgType;

/// Fields of a column that is ordered by one value and shown as another.
const KEY: &str = "\u{1}key";
const SHOWN: &str = "\u{1}shown";
/// Columns of the recursive query that nobody sees.
const DEPTH: &str = "\u{1}depth";
const MARK: &str = "\u{1}mark";
const PATH: &str = "\u{1}path";

struct Search {
    depth_first: bool,
    column: String,
    by: Vec<String>,
}

struct Cycle {
    value: String,
    default: String,
    mark: String,
    path: String,
    columns: Vec<String>,
}

/// The SEARCH and CYCLE clauses behind the query of a WITH.
pub struct Traversal {
    search: Option<Search>,
    cycle: Option<Cycle>,
}

/// The shown value of a column, if it differs from the one that it is ordered by.
pub fn shown(column: &Expr, row: &Shape) -> Option<(Expr, PgType)> {
    let Shape::Row(fields) = row else { return None };
    let [(key, _), (name, Shape::Of(pg_type))] = fields.as_slice() else {
        return None;
    };
    (key == KEY && name == SHOWN).then(|| {
        let field = datafusion::functions::core::expr_fn::get_field(column.clone(), SHOWN);
        (field, pg_type.clone())
    })
}

/// The clauses behind a query, where the parser has put them.
pub fn of_query(query: &ast::Query) -> Option<Traversal> {
    let ast::OrderByKind::Expressions(items) = &query.order_by.as_ref()?.kind else {
        return None;
    };
    let mut found = Traversal {
        search: None,
        cycle: None,
    };
    for item in items {
        let ast::Expr::Function(call) = &item.expr else {
            continue;
        };
        let ast::FunctionArguments::List(list) = &call.args else {
            continue;
        };
        let Some(name) = call.name.0.first().and_then(|part| part.as_ident()) else {
            continue;
        };
        let arguments: Vec<&ast::Expr> = list
            .args
            .iter()
            .filter_map(|argument| match argument {
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Some(expr),
                _ => None,
            })
            .collect();
        let named = |expr: &&ast::Expr| match expr {
            ast::Expr::Identifier(name) => fold(name),
            other => other.to_string(),
        };
        let names = |from: usize| arguments.iter().skip(from).map(named).collect::<Vec<String>>();
        match name.value.as_str() {
            known @ (mark::SEARCH_DEPTH | mark::SEARCH_BREADTH) => {
                let mut by = names(0);
                found.search = Some(Search {
                    depth_first: known == mark::SEARCH_DEPTH,
                    column: by.remove(0),
                    by,
                });
            }
            mark::CYCLE => {
                let mut columns = names(2);
                let (mark, path) = (columns.remove(0), columns.remove(0));
                found.cycle = Some(Cycle {
                    value: arguments[0].to_string(),
                    default: arguments[1].to_string(),
                    mark,
                    path,
                    columns,
                });
            }
            _ => {}
        }
    }
    (found.search.is_some() || found.cycle.is_some()).then_some(found)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Traversal {
    /// 42601 for columns that are missing, or listed twice.
    fn check(&self, names: &[String]) -> Result<()> {
        let wrong = |message: String| Err(SqlError::new(state::SYNTAX_ERROR, message));
        let listed = |what: &str, columns: &[String]| {
            for (place, column) in columns.iter().enumerate() {
                if !names.contains(column) {
                    return wrong(format!("{what} column \"{column}\" not in WITH query column list"));
                }
                if columns[..place].contains(column) {
                    let message = format!("{what} column \"{column}\" specified more than once");
                    return Err(SqlError::new(state::DUPLICATE_COLUMN, message));
                }
            }
            Ok(())
        };
        let fresh = |what: &str, column: &String| match names.contains(column) {
            true => wrong(format!(
                "{what} column name \"{column}\" already used in WITH query column list"
            )),
            false => Ok(()),
        };
        if let Some(search) = &self.search {
            listed("search", &search.by)?;
            fresh("search sequence", &search.column)?;
        }
        if let Some(cycle) = &self.cycle {
            listed("cycle", &cycle.columns)?;
            fresh("cycle mark", &cycle.mark)?;
            fresh("cycle path", &cycle.path)?;
            if cycle.mark == cycle.path {
                return wrong("cycle mark column name and cycle path column name are the same".to_string());
            }
        }
        if let (Some(search), Some(cycle)) = (&self.search, &self.cycle) {
            for (what, column) in [("mark", &cycle.mark), ("path", &cycle.path)] {
                if search.column == *column {
                    return wrong(format!(
                        "search sequence column name and cycle {what} column name are the same"
                    ));
                }
            }
        }
        Ok(())
    }

    /// The added columns, by their names in the recursive query.
    fn added(&self) -> Vec<&'static str> {
        let mut added = match &self.search {
            Some(search) if search.depth_first => vec![KEY, SHOWN],
            Some(_) => vec![DEPTH],
            None => vec![],
        };
        if self.cycle.is_some() {
            added.extend([MARK, PATH]);
        }
        added
    }

    /// The added columns of one side as SQL; `old` is false for the rows that are found first.
    fn computed(&self, columns: &[(String, PgType)], old: bool) -> Result<Vec<String>> {
        let mut made = Vec::new();
        let row = |names: &[String]| {
            let fields: Vec<String> = names.iter().map(|name| quoted(name)).collect();
            format!("ROW({})::text", fields.join(", "))
        };
        let appended = |old_column: &str, item: String| match old {
            true => format!("{} || ARRAY[{item}]", quoted(old_column)),
            false => format!("ARRAY[{item}]"),
        };
        match &self.search {
            Some(search) if search.depth_first => {
                made.push(appended(KEY, keys(&search.by, columns)?));
                made.push(appended(SHOWN, row(&search.by)));
            }
            Some(_) if old => made.push(format!("{} + 1", quoted(DEPTH))),
            Some(_) => made.push("0::bigint".to_string()),
            None => {}
        }
        if let Some(cycle) = &self.cycle {
            let came_back = match old {
                true => format!("{} = ANY ({})", row(&cycle.columns), quoted(PATH)),
                false => "false".to_string(),
            };
            let (value, default) = (&cycle.value, &cycle.default);
            made.push(format!("CASE WHEN {came_back} THEN {value} ELSE {default} END"));
            made.push(appended(PATH, row(&cycle.columns)));
        }
        Ok(made)
    }

    /// `SELECT columns, added FROM (side) AS side(columns)` around one side of the UNION.
    fn around(&self, side: ast::SetExpr, columns: &[(String, PgType)], old: bool) -> Result<ast::SetExpr> {
        let names = columns.iter().map(|(name, _)| quoted(name));
        let mut outer: Vec<String> = names.clone().collect();
        let mut inner: Vec<String> = names.collect();
        outer.extend(self.computed(columns, old)?);
        if old {
            inner.extend(self.added().into_iter().map(quoted));
        }
        let mut text = format!(
            "SELECT {} FROM (SELECT 1) AS {}({})",
            outer.join(", "),
            quoted("\u{1}side"),
            inner.join(", ")
        );
        if let (Some(cycle), true) = (&self.cycle, old) {
            text += &format!(" WHERE {} <> {}", quoted(MARK), cycle.value);
        }
        let parsed = crate::sql::parse::parse(&text)?.pop().expect("it is one statement");
        let Statement::Select(select) = parsed.statement else {
            unreachable!("it is a SELECT");
        };
        let mut body = select.query.body.as_ref().clone();
        if let ast::SetExpr::Select(select) = &mut body
            && let Some(from) = select.from.first_mut()
            && let ast::TableFactor::Derived { subquery, .. } = &mut from.relation
        {
            *subquery.body = side;
        }
        Ok(body)
    }

    /// The side that reads the rows found so far, with the added columns beside its own.
    fn reading(&self, side: &ast::SetExpr, name: &str) -> Result<ast::SetExpr> {
        let ast::SetExpr::Select(select) = side else {
            return Err(SqlError::new(
                state::FEATURE_NOT_SUPPORTED,
                "with a SEARCH or CYCLE clause, the right side of the UNION must be a SELECT",
            ));
        };
        let mut select = select.clone();
        let factors = select
            .from
            .iter()
            .flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)));
        let alias = factors.into_iter().find_map(|factor| match factor {
            ast::TableFactor::Table { name: table, alias, .. } => match table.0.as_slice() {
                [part] if part.as_ident().is_some_and(|ident| fold(ident) == name) => Some(match alias {
                    Some(alias) => alias.name.clone(),
                    None => part.as_ident()?.clone(),
                }),
                _ => None,
            },
            _ => None,
        });
        let Some(alias) = alias else {
            let message = format!(
                "with a SEARCH or CYCLE clause, the recursive reference to WITH query \"{name}\" must be at the top level of its \
                 right-hand SELECT"
            );
            return Err(SqlError::new(state::FEATURE_NOT_SUPPORTED, message));
        };
        for column in self.added() {
            let column = ast::Ident::with_quote('"', column);
            let expr = ast::Expr::CompoundIdentifier(vec![alias.clone(), column]);
            // The brackets around name it again.
            let alias = ast::Ident::new("added");
            select.projection.push(ast::SelectItem::ExprWithAlias { expr, alias });
        }
        Ok(ast::SetExpr::Select(select))
    }
}

/// The sort keys of rows: the columns themselves if they are of one type, or texts in the same order.
fn keys(by: &[String], columns: &[(String, PgType)]) -> Result<String> {
    let types: Vec<&PgType> = by
        .iter()
        .filter_map(|name| columns.iter().find(|(known, _)| known == name))
        .map(|(_, pg_type)| pg_type)
        .collect();
    let alike = types.iter().all(|pg_type| pg_type.oid() == types[0].oid());
    let mut keys = Vec::with_capacity(by.len());
    for (name, pg_type) in by.iter().zip(types) {
        let name = quoted(name);
        let counted = |number: String| format!("lpad(({number} + 9223372036854775808)::text, 20, '0')");
        keys.push(match pg_type {
            _ if alike => name,
            PgType::Text | PgType::Varchar(_) | PgType::Uuid => format!("{name}::text"),
            PgType::Bool => format!("{name}::int::text"),
            PgType::Int2 | PgType::Int4 | PgType::Int8 => counted(format!("{name}::numeric")),
            PgType::Date => counted(format!("({name} - date '2000-01-01')::numeric")),
            other => {
                return Err(SqlError::unsupported(
                    format!(
                        "SEARCH DEPTH FIRST BY columns of several types, {} among them, is not supported",
                        other.name()
                    ),
                    "Cast them to text in the query.",
                ));
            }
        });
    }
    Ok(keys.join(", "))
}

impl Analyzer<'_> {
    /// A recursive query with SEARCH or CYCLE.
    pub fn traversed(
        &self,
        name: &str,
        cte: &ast::Cte,
        traversal: &Traversal,
        parent: Option<&Scope>,
    ) -> Result<QueryOutput> {
        let position = self.position(cte.alias.name.span);
        let mut cte = cte.clone();
        cte.query.order_by = None;
        let ast::SetExpr::SetOperation {
            left,
            op: ast::SetOperator::Union,
            right,
            ..
        } = cte.query.body.as_mut()
        else {
            return self.recursive(name, &cte, parent);
        };
        if matches!(left.as_ref(), ast::SetExpr::SetOperation { .. }) {
            let message = "with a SEARCH or CYCLE clause, the left side of the UNION must be a SELECT";
            return Err(at(SqlError::new(state::FEATURE_NOT_SUPPORTED, message), position));
        }
        let first = self.set_expr(left, parent)?;
        let mut columns: Vec<(String, PgType)> = first
            .columns
            .into_iter()
            .map(|column| (column.name, column.pg_type))
            .collect();
        for ((name, _), given) in columns.iter_mut().zip(&cte.alias.columns) {
            *name = fold(&given.name);
        }
        let names: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
        traversal.check(&names).map_err(|error| at(error, position))?;
        let reading = traversal.reading(right, name).map_err(|error| at(error, position))?;
        **left = traversal.around(left.as_ref().clone(), &columns, false)?;
        **right = traversal.around(reading, &columns, true)?;
        let all = names.iter().map(String::as_str).chain(traversal.added());
        let all = all.map(|name| ast::TableAliasColumnDef {
            name: ast::Ident::with_quote('"', name),
            data_type: None,
        });
        cte.alias.columns = all.collect();
        let output = self.recursive(name, &cte, parent)?;
        self.traversal_order(output, traversal, &names)
    }

    /// The columns that a statement sees: the sort key of the rows, as one column.
    fn traversal_order(&self, output: QueryOutput, traversal: &Traversal, names: &[String]) -> Result<QueryOutput> {
        let column_of = |name: &str| {
            let column = output.columns.iter().find(|column| column.name == name);
            column.expect("it is one of its columns")
        };
        let typed_of = |name: &str| {
            let column = column_of(name);
            Typed::new(Expr::Column(column.column.clone()), column.pg_type.clone(), None)
        };
        let mut columns: Vec<OutColumn> = output.columns[..names.len()].to_vec();
        let mut exprs: Vec<Expr> = columns
            .iter()
            .map(|column| Expr::Column(column.column.clone()))
            .collect();
        if let Some(search) = &traversal.search {
            let fields: Vec<(String, Typed)> = match search.depth_first {
                true => [KEY, SHOWN].map(|name| (name.to_string(), typed_of(name))).into(),
                false => std::iter::once(DEPTH)
                    .chain(search.by.iter().map(String::as_str))
                    .enumerate()
                    .map(|(place, name)| (format!("f{}", place + 1), typed_of(name)))
                    .collect(),
            };
            let value = self.row_value(&Typed::row(fields, None))?;
            let row = value.shape().of_rows();
            let column = self.internal_name("order");
            exprs.push(value.expr.alias(&column));
            columns.push(OutColumn {
                name: search.column.clone(),
                column: datafusion::common::Column::from_name(column),
                pg_type: PgType::Text,
                untyped: false,
                row,
                typmod: None,
            });
        }
        if let Some(cycle) = &traversal.cycle {
            for (inner, shown) in [(MARK, &cycle.mark), (PATH, &cycle.path)] {
                let column = column_of(inner);
                exprs.push(Expr::Column(column.column.clone()));
                columns.push(OutColumn {
                    name: shown.clone(),
                    ..column.clone()
                });
            }
        }
        let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(output.plan))?);
        Ok(QueryOutput { plan, columns })
    }
}
