//! Parameters of an INSERT's query that are values of a column: they have the column's type.

use sqlparser::ast::{Expr, Query, SelectItem, SetExpr, Value};

/// The parameters that stand alone in the list of a query, each with the place of its column. Both are counted from 0.
pub fn column_parameters(query: &Query) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    of_body(&query.body, &mut found);
    found
}

fn of_body(body: &SetExpr, found: &mut Vec<(usize, usize)>) {
    match body {
        SetExpr::Query(query) => of_body(&query.body, found),
        SetExpr::Select(select) => {
            for (place, item) in select.projection.iter().enumerate() {
                let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else {
                    // It may be any number of columns.
                    break;
                };
                found.extend(number_of(expr).map(|number| (number, place)));
            }
        }
        SetExpr::Values(values) => {
            for row in &values.rows {
                let places = row.content.iter().enumerate();
                found.extend(places.filter_map(|(place, expr)| Some((number_of(expr)?, place))));
            }
        }
        // The branches of the others give each other their types.
        _ => {}
    }
}

fn number_of(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Nested(inner) => number_of(inner),
        Expr::Value(value) => match &value.value {
            Value::Placeholder(id) => id.trim_start_matches('$').parse::<usize>().ok()?.checked_sub(1),
            _ => None,
        },
        _ => None,
    }
}
