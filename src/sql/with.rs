//! WITH whose queries write: the queries that run before the statement, and the names of their rows in it.
//!
//! One rule: each INSERT runs once, in turn, whether anybody reads it or not. A SELECT that an INSERT and something
//! else read runs once as well; others stay in the WITH of their readers. Not here: the execution (`session/with.rs`).

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{self, SetExpr, Visit, visit_expressions, visit_relations};

use super::cell::{Cell, parameter};
use super::parse::only_select;
use super::plan::names::fold;
use super::statement::{Emit, Given, Insert, InsertRows, InsertWith, Select, Statement, With, mark};
use crate::catalog;
use crate::error::{SqlError, state};

/// The statement of a WITH. A query that is an INSERT has it beside its name.
pub fn build(recursive: bool, ctes: Vec<(ast::Cte, Option<Insert>)>, main: Statement) -> Result<Statement, SqlError> {
    let (mut listed, mut inserts): (Vec<ast::Cte>, Vec<Option<Insert>>) = ctes.into_iter().unzip();
    let names: Vec<String> = listed.iter().map(|cte| fold(&cte.alias.name)).collect();
    let shared = shared(&names, &listed, &inserts, &main);
    let with_of = |listed: &[ast::Cte]| ast::With {
        with_token: AttachedToken::empty(),
        recursive,
        cte_tables: listed.to_vec(),
    };
    let mut parts = Vec::new();
    let mut part_names = Vec::new();
    for index in 0..listed.len() {
        let part = match inserts[index].take() {
            Some(insert) => {
                if recursive {
                    let position = listed[index].alias.name.span.start.column as usize;
                    refuse_recursion(&names[index], &insert).map_err(|error| error.position(position))?;
                }
                Statement::Insert(inside(insert, with_of(&listed[..index]))?)
            }
            None if shared[index] => {
                let all = format!("SELECT * FROM {}", catalog::quote_ident(&names[index]));
                let mut query = only_select(&all)?.query.clone();
                query.with = Some(with_of(&listed[..=index]));
                let (emit, given) = (Emit::default(), Given::default());
                Statement::Select(Select { query, emit, given }.into())
            }
            None => continue,
        };
        let mut rows = only_select("SELECT 1")?.query.clone();
        *rows.body = SetExpr::Table(Box::new(ast::Table {
            table_name: Some(format!("{}{}", mark::GIVEN, parts.len())),
            schema_name: None,
        }));
        listed[index].query = rows;
        parts.push(part);
        part_names.push(names[index].clone());
    }
    let with = with_of(&listed);
    let main = match main {
        Statement::Insert(insert) => Statement::Insert(inside(insert, with)?),
        Statement::Select(select) => {
            let mut select = Arc::unwrap_or_clone(select);
            attach(&mut select.query, with)?;
            Statement::Select(select.into())
        }
        _ => unreachable!("WITH stands before SELECT and INSERT"),
    };
    if parts.is_empty() {
        return Ok(main);
    }
    let with = With {
        parts,
        main: Box::new(main),
        names: part_names,
    };
    Ok(Statement::With(with.into()))
}

/// The number of the rows that a query of WITH is.
pub fn given(query: &ast::Query) -> Option<usize> {
    match query.body.as_ref() {
        SetExpr::Table(table) => table.table_name.as_deref()?.strip_prefix(mark::GIVEN)?.parse().ok(),
        _ => None,
    }
}

/// Whether a query of WITH is none.
pub fn is_write(body: &SetExpr) -> bool {
    matches!(
        body,
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)
    )
}

pub fn not_at_top_level() -> SqlError {
    SqlError::new(
        state::FEATURE_NOT_SUPPORTED,
        "WITH clause containing a data-modifying statement must be at the top level",
    )
}

/// The query with a WITH before it. Names of its own come first.
fn attach(query: &mut Box<ast::Query>, with: ast::With) -> Result<(), SqlError> {
    if with.cte_tables.is_empty() {
        return Ok(());
    }
    if query.with.is_some() {
        let outer = only_select("SELECT 1")?.query.clone();
        let own = std::mem::replace(query, outer);
        *query.body = SetExpr::Query(own);
    }
    query.with = Some(with);
    Ok(())
}

/// The INSERT with a WITH before it.
fn inside(mut insert: Insert, mut with: ast::With) -> Result<Insert, SqlError> {
    if let InsertRows::Select(select) = &mut insert.rows {
        let mut own = Select::clone(select);
        attach(&mut own.query, with.clone())?;
        *select = own.into();
    }
    let outer = insert.with.take();
    // Its own WITH comes after the queries before it.
    with.cte_tables
        .extend(outer.iter().flat_map(|outer| outer.with.cte_tables.clone()));
    insert.with = (!with.cte_tables.is_empty()).then(|| {
        Arc::new(InsertWith {
            with,
            given: Given::default(),
        })
    });
    Ok(insert)
}

fn refuse_recursion(name: &str, insert: &Insert) -> Result<(), SqlError> {
    if reads(&[name.to_string()], insert_parts(insert)).contains(&0) {
        return Err(SqlError::new(
            state::INVALID_RECURSION,
            format!("recursive query \"{name}\" must not contain data-modifying statements"),
        ));
    }
    Ok(())
}

/// The parts of an INSERT that may name relations.
fn insert_parts(insert: &Insert) -> (Option<&ast::Query>, &Vec<ast::SelectItem>) {
    let query = match &insert.rows {
        InsertRows::Select(select) => Some(select.query.as_ref()),
        InsertRows::Values(_) | InsertRows::DefaultValues => None,
    };
    (query, &insert.returning)
}

/// The indexes of the names that are named as relations.
fn reads(names: &[String], (query, items): (Option<&ast::Query>, &Vec<ast::SelectItem>)) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut look = |relation: &ast::ObjectName| {
        if let [part] = relation.0.as_slice()
            && let Some(ident) = part.as_ident()
        {
            let named = fold(ident);
            found.extend(names.iter().position(|name| *name == named));
        }
        ControlFlow::<()>::Continue(())
    };
    if let Some(query) = query {
        let _ = visit_relations(query, &mut look);
    }
    let _ = visit_relations(items, &mut look);
    found
}

/// Whether each SELECT runs before the statements that read it, since two do, one of them an INSERT.
fn shared(names: &[String], listed: &[ast::Cte], inserts: &[Option<Insert>], main: &Statement) -> Vec<bool> {
    let count = listed.len();
    let no_items = Vec::new();
    let of_main = match main {
        Statement::Select(select) => reads(names, (Some(&select.query), &no_items)),
        Statement::Insert(insert) => reads(names, insert_parts(insert)),
        _ => BTreeSet::new(),
    };
    let mut reads_of: Vec<BTreeSet<usize>> = (0..count)
        .map(|index| match &inserts[index] {
            Some(insert) => reads(names, insert_parts(insert)),
            None => reads(names, (Some(&listed[index].query), &no_items)),
        })
        .collect();
    reads_of.push(of_main);
    let mut shared = vec![false; count];
    // By the final readers of each: the numbers of statements that run.
    let mut runs: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); count];
    for index in (0..count).rev() {
        for reader in index + 1..=count {
            if !reads_of[reader].contains(&index) {
                continue;
            }
            if reader == count || inserts[reader].is_some() || shared[reader] {
                runs[index].insert(reader);
            } else {
                let by = runs[reader].clone();
                runs[index].extend(by);
            }
        }
        shared[index] = inserts[index].is_none() && runs[index].len() > 1;
    }
    shared
}

/// The statement with the rows of the queries that ran before it.
pub fn with_given(statement: &Statement, given: &Given) -> Statement {
    match statement {
        Statement::Select(select) => {
            let mut select = Select::clone(select);
            select.given = given.clone();
            Statement::Select(select.into())
        }
        Statement::Insert(insert) => {
            let mut insert = insert.clone();
            if let InsertRows::Select(select) = &mut insert.rows {
                let mut own = Select::clone(select);
                own.given = given.clone();
                *select = own.into();
            }
            if let Some(with) = &insert.with {
                let (with, given) = (with.with.clone(), given.clone());
                insert.with = Some(InsertWith { with, given }.into());
            }
            Statement::Insert(insert)
        }
        other => other.clone(),
    }
}

/// The parameters that a part of a WITH names.
pub fn parameters(statement: &Statement) -> BTreeSet<usize> {
    fn add<V: Visit>(part: &V, found: &mut BTreeSet<usize>) {
        let _ = visit_expressions(part, |expr| {
            if let ast::Expr::Value(value) = expr
                && let ast::Value::Placeholder(name) = &value.value
            {
                found.extend(parameter(name));
            }
            ControlFlow::<()>::Continue(())
        });
    }
    let mut found = BTreeSet::new();
    match statement {
        Statement::Select(select) => add(&select.query, &mut found),
        Statement::Insert(insert) => {
            match &insert.rows {
                InsertRows::Select(select) => add(&select.query, &mut found),
                InsertRows::Values(rows) => {
                    for cell in rows.iter().flatten() {
                        match cell {
                            Cell::Parameter(number) => {
                                found.insert(*number);
                            }
                            Cell::Expression(expr) => add(expr.as_ref(), &mut found),
                            _ => {}
                        }
                    }
                }
                InsertRows::DefaultValues => {}
            }
            add(&insert.returning, &mut found);
        }
        _ => {}
    }
    found
}
