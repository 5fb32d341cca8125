//! Functions in FROM: of one value, of rows, of records; windows over a relation.

use std::sync::Arc;

use arrow::datatypes::IntervalMonthDayNano;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection};
use sqlparser::ast::{self, FunctionArg, TableAlias};

use super::from_part::{Factor, Rel, aliased, column_name, nothing};
use super::operators::has;
use super::output::{OutColumn, QueryOutput};
use super::populate::JsonRecords;
use super::scope::{Clause, FromItem, Scope, ScopeColumn, reference};
use super::typed::{Ty, Typed, at};
use super::{Analyzer, Result, rows};
use crate::catalog::SqlKeyword;
use crate::error::{SqlError, state};
use crate::sql::plan::names::fold;
use crate::sql::plan::provider::series_source;
use crate::sql::plan::windows;
use crate::sql::statement::mark;
use crate::sql::window::{WINDOW_TIME, WindowColumns};
use crate::types::PgType;

/// The kind of JSON that a function makes rows of by a column definition list.
fn defined_rows(function: &str) -> Option<JsonRecords> {
    let (json, of_array) = match function {
        "json_to_record" => (PgType::Json, false),
        "jsonb_to_record" => (PgType::Jsonb, false),
        "json_to_recordset" => (PgType::Json, true),
        "jsonb_to_recordset" => (PgType::Jsonb, true),
        _ => return None,
    };
    Some(JsonRecords { json, of_array })
}

impl Analyzer<'_> {
    pub fn window_item(
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
        let call = windows::WindowCall::read(&upper, args.to_vec())?;
        // A query in brackets is an argument, and needs no name.
        let Factor { rel, .. } = match &call.relation {
            ast::TableFactor::Derived { subquery, .. } => self.query_rows(false, subquery, None, None, parent)?,
            relation => {
                let made = self.factor(relation, None, parent)?;
                if let ast::TableFactor::Table { name, .. } = relation
                    && let Some(first) = name.0.first().and_then(|part| part.as_ident())
                {
                    // No other name can stand in the call.
                    self.names_no_item(first);
                }
                made
            }
        };
        let scope = Scope::new(rel.items.clone(), None);
        let time = scope.within(Clause::From, || self.expr(&call.time, &scope))?;
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
        let mut keys = Vec::with_capacity(call.keys.len());
        for key in &call.keys {
            keys.push(scope.within(Clause::From, || self.expr(key, &scope))?);
        }
        let (input, keys) = with_keys(rel.plan, keys)?;
        let mut lengths = Vec::with_capacity(call.lengths.len());
        for (expr, what) in call.lengths.iter().zip(windows::length_names(&function)) {
            lengths.push(self.length_us(&upper, what, expr)?);
        }
        let lateness = match &call.allowed_lateness {
            Some(expr) => self.length_us(&upper, "allowed_lateness", expr)?,
            None => 0,
        };
        let mut item = rel.items.into_iter().next().expect("a relation is an item");
        let columns = WindowColumns {
            time: time_column,
            keys,
        };
        let plan = windows::plan_window(&function, input, columns, &lengths, lateness)?;
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
                row: None,
                typmod: None,
            });
        }
        let plan = match call.has_window_time {
            true => self.with_window_time(plan, &mut item, time.position)?,
            false => plan,
        };
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

    /// Flink's `window_time`: the last millisecond of the window.
    fn with_window_time(&self, plan: LogicalPlan, item: &mut FromItem, position: Option<usize>) -> Result<LogicalPlan> {
        let end = item.columns.last().expect("a window has an end").clone();
        let schema = plan.schema().clone();
        let (qualifier, _) = schema.qualified_field(schema.fields().len() - 1);
        let millisecond = IntervalMonthDayNano::new(0, 0, 1_000_000);
        let millisecond = Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(millisecond)), None);
        let millisecond = Typed::new(millisecond, PgType::Interval, position);
        let typed = Typed::new(end.expr.clone(), end.pg_type.clone(), position);
        let time = self.binary("-", typed, millisecond, position)?;
        let mut exprs: Vec<Expr> = schema.iter().map(|field| Expr::Column(Column::from(field))).collect();
        exprs.push(time.expr.alias_qualified(qualifier.cloned(), WINDOW_TIME));
        let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?);
        let (qualifier, field) = plan.schema().qualified_field(schema.fields().len());
        item.columns.push(ScopeColumn {
            name: WINDOW_TIME.to_string(),
            expr: Expr::Column(Column::from((qualifier, field))),
            ..end
        });
        Ok(plan)
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

    pub fn function_item(
        &self,
        name: &ast::ObjectName,
        args: &[FunctionArg],
        alias: Option<&TableAlias>,
        ordinality: bool,
        left: Option<&Rel>,
        parent: Option<&Scope>,
    ) -> Result<Factor> {
        let (function, position) = self.function_name(name)?;
        let together = match function == mark::ROWS_FROM {
            true => Some(calls_together(args)?),
            false => None,
        };
        let shown = match (alias, &together) {
            (Some(alias), _) => fold(&alias.name),
            (None, Some(calls)) => self.function_name(&calls[0].name)?.0,
            (None, None) => function.clone(),
        };
        if function == "pg_get_keywords" {
            return self.named_output(self.keywords()?, alias).map(|mut rel| {
                rel.items[0].name = Some(shown);
                Factor { rel, joined: false }
            });
        }
        if args.is_empty()
            && !ordinality
            && let Some(view) = view_over(&function)
        {
            let view = ast::ObjectName::from(vec![ast::Ident::new("pg_catalog"), ast::Ident::new(view)]);
            let mut rel = self.relation(&view, alias)?;
            rel.items[0].name = Some(shown);
            return Ok(Factor { rel, joined: false });
        }
        if !ordinality && let Some(output) = self.written_rows(&function, args, parent)? {
            return self.named_output(output, alias).map(|mut rel| {
                rel.items[0].name = Some(shown);
                Factor { rel, joined: false }
            });
        }
        // Arguments may name items to the left.
        let beside = left.map_or_else(Vec::new, |left| left.items.clone());
        let scope = Scope::new(beside, parent);
        let mut calls: Vec<(String, Typed)> = Vec::new();
        scope
            .within(Clause::From, || -> Result<()> {
                for call in together.iter().flatten() {
                    let (name, _) = self.function_name(&call.name)?;
                    let ast::FunctionArguments::List(list) = &call.args else {
                        continue;
                    };
                    let lists = match name.as_str() {
                        "unnest" if list.args.len() > 1 => list.args.chunks(1).collect(),
                        _ => vec![list.args.as_slice()],
                    };
                    for args in lists {
                        calls.push((name.clone(), self.call_in_from(&name, args, &scope)?));
                    }
                }
                if together.is_some() {
                    return Ok(());
                }
                if function == "unnest" && args.len() > 1 {
                    for arg in args {
                        calls.push((
                            function.clone(),
                            self.call_in_from(&function, std::slice::from_ref(arg), &scope)?,
                        ));
                    }
                    return Ok(());
                }
                let call = match defined_rows(&function) {
                    Some(records) => self.json_records(records, &function, args, alias, &scope)?,
                    None => self.call_in_from(&function, args, &scope)?,
                };
                calls.push((function.clone(), call));
                Ok(())
            })
            .map_err(|error| at(error, position))?;
        if let Some(rel) = self.streamed_series(&function, &calls, ordinality, alias, &shown)? {
            return Ok(Factor { rel, joined: false });
        }
        // Beside rows of others, one value is one row.
        if calls.len() > 1 {
            for (_, typed) in &mut calls {
                if typed.fields().is_none() && !rows::makes_rows(typed) {
                    let item = typed.pg_type();
                    let list = self.make_array(vec![typed.clone()], &item, position)?;
                    typed.expr = rows::marked_list(list.expr);
                }
            }
        }
        // The columns: of one value, of a record, of each list.
        let mut fields: Vec<(String, Typed)> = Vec::new();
        let is_value = calls.len() == 1 && calls[0].1.fields().is_none();
        for (name, typed) in &calls {
            match typed.fields() {
                Some(record) => fields.extend(record.iter().cloned()),
                None => {
                    let column = match (only_column(name), is_value, alias) {
                        (Some(column), _, _) => column.to_string(),
                        (None, true, Some(alias)) => fold(&alias.name),
                        _ => name.clone(),
                    };
                    fields.push((column, typed.clone()));
                }
            }
        }
        let named_left = fields
            .iter()
            .any(|(_, typed)| has(&typed.expr, |node| matches!(node, Expr::Column(_))));
        let base = match (named_left, left) {
            (true, Some(left)) => left.plan.clone(),
            _ => nothing(true),
        };
        let mut exprs: Vec<Expr> = fields.iter().map(|(_, typed)| typed.expr.clone()).collect();
        let makes_rows = fields.iter().any(|(_, typed)| rows::makes_rows(typed));
        if ordinality {
            // The longest list has a number for each of its rows.
            let cardinality = self.scalar("cardinality").expect("it is the engine's");
            let mut lists: Vec<Expr> = Vec::new();
            for expr in &exprs {
                expr.apply(|node| {
                    if let Some(list) = rows::list_of(node)
                        && !lists.contains(list)
                    {
                        lists.push(list.clone());
                    }
                    Ok(TreeNodeRecursion::Continue)
                })?;
            }
            let counts = lists.into_iter().map(|list| {
                let count = cardinality.call(vec![list]);
                super::typed::cast_to(count, &PgType::Int8)
            });
            let counts: Vec<Expr> = counts.collect();
            let number = match counts.len() {
                1.. => {
                    let greatest = self.scalar("greatest").expect("it is the engine's");
                    let count = match counts.len() {
                        1 => counts[0].clone(),
                        _ => greatest.call(counts),
                    };
                    let one = Expr::Literal(ScalarValue::Int64(Some(1)), None);
                    let series = self.scalar("generate_series").expect("it is the engine's");
                    rows::marked_list(series.call(vec![one, count]))
                }
                _ => Expr::Literal(ScalarValue::Int64(Some(1)), None),
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
            let expr = super::typed::of_type(expr, &typed.pg_type(), plan.schema());
            let told = super::typed::metadata(&typed.pg_type());
            projected.push(expr.alias_qualified_with_metadata(Some(reference(&qualifier)), &column, told));
            columns.push(ScopeColumn {
                name: name.clone(),
                expr: Expr::Column(Column::new(Some(reference(&qualifier)), column)),
                pg_type: typed.pg_type(),
                hidden: false,
                row: typed.shape().of_rows(),
                typmod: typed.typmod,
            });
        }
        let plan = LogicalPlan::Projection(Projection::try_new(projected, Arc::new(plan))?);
        let mut item = FromItem {
            name: Some(shown),
            columns,
            bare: true,
            is_value: is_value && !ordinality,
            ..FromItem::default()
        };
        // A definition list has named the columns of records.
        if let Some(alias) = alias.filter(|_| defined_rows(&function).is_none()) {
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

    /// `json_to_record(value) AS t(name type, ...)` and its kind: the fields of an object, or of each object of an array.
    fn json_records(
        &self,
        records: JsonRecords,
        function: &str,
        args: &[FunctionArg],
        alias: Option<&TableAlias>,
        scope: &Scope,
    ) -> Result<Typed> {
        let value = match args {
            [FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(value))] => self.expr(value, scope)?,
            _ => return self.call_in_from(function, args, scope),
        };
        let value = self.coerce(value, &records.json)?;
        let columns = alias.map_or(&[][..], |alias| &alias.columns);
        if columns.is_empty() || columns.iter().any(|column| column.data_type.is_none()) {
            return Err(SqlError::new(
                state::SYNTAX_ERROR,
                "a column definition list is required for functions returning \"record\"",
            ));
        }
        let row = self.json_row(value, &records)?;
        let mut fields = Vec::with_capacity(columns.len());
        for column in columns {
            let name = fold(&column.name);
            let declared = column.data_type.as_ref().expect("all are declared");
            let wanted = self.data_type(declared, None)?;
            let field = self.json_field(&row, &records, &name, &wanted)?;
            fields.push((name, self.cast_to_written(field, declared, &wanted)?));
        }
        Ok(Typed::row(fields, None))
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
        let mut item = FromItem {
            name: Some(shown.to_string()),
            columns: vec![ScopeColumn {
                name: wanted,
                expr: Expr::Column(Column::from(plan.schema().qualified_field(0))),
                pg_type: item_type,
                hidden: false,
                row: None,
                typmod: None,
            }],
            bare: true,
            is_value: true,
            ..FromItem::default()
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
            let value = crate::sql::plan::eval::constant(argument.clone())?;
            // The engine's source takes no NULL. The list of a series with one has no rows.
            if value.is_null() {
                return Ok(None);
            }
            values.push(value);
        }
        Ok(Some(series_source(values, self.ctx.time_zone)?))
    }

    /// The words that need quotes, as rows.
    fn keywords(&self) -> Result<QueryOutput> {
        let text = |text: &str| Expr::Literal(ScalarValue::Utf8(Some(text.to_string())), None);
        let row = |keyword: &SqlKeyword| {
            vec![
                text(keyword.word),
                text(keyword.category),
                Expr::Literal(ScalarValue::Boolean(Some(keyword.is_bare_label)), None),
                text(keyword.category_in_words()),
                text(keyword.label_in_words()),
            ]
        };
        let plan = LogicalPlanBuilder::values(crate::catalog::keywords().iter().map(row).collect())?.build()?;
        let names = [
            ("word", PgType::Text),
            ("catcode", PgType::InternalChar),
            ("barelabel", PgType::Bool),
            ("catdesc", PgType::Text),
            ("baredesc", PgType::Text),
        ];
        let columns = plan.schema().columns().into_iter().zip(names);
        let columns = columns.map(|(column, (name, pg_type))| OutColumn {
            name: name.to_string(),
            column,
            pg_type,
            untyped: false,
            row: None,
            typmod: None,
        });
        Ok(QueryOutput {
            columns: columns.collect(),
            plan,
        })
    }
}

/// The calls of `ROWS FROM (...)`.
fn calls_together(args: &[FunctionArg]) -> Result<Vec<&ast::Function>> {
    if args.is_empty() {
        return Err(SqlError::new(state::SYNTAX_ERROR, "syntax error at or near \")\""));
    }
    let calls = args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(ast::Expr::Function(call))) => Ok(call),
        other => Err(SqlError::new(
            state::SYNTAX_ERROR,
            format!("syntax error at or near \"{other}\""),
        )),
    });
    calls.collect()
}

/// The arguments of the engine's `generate_series` in a list that is made of it, without the cast of its elements.
fn series_arguments(list: &Expr) -> Option<&[Expr]> {
    match list {
        Expr::ScalarFunction(call) if call.func.name() == "generate_series" => Some(&call.args),
        Expr::Cast(cast) => series_arguments(&cast.expr),
        _ => None,
    }
}

/// The name that a function gives to its only column, under any alias.
fn only_column(function: &str) -> Option<&'static str> {
    match function {
        "json_array_elements" | "json_array_elements_text" | "jsonb_array_elements" | "jsonb_array_elements_text" => {
            Some("value")
        }
        _ => None,
    }
}

/// The system view that PostgreSQL has over a function of its; here the view has the rows.
fn view_over(function: &str) -> Option<&'static str> {
    Some(match function {
        "pg_cursor" => "pg_cursors",
        "pg_lock_status" => "pg_locks",
        "pg_prepared_statement" => "pg_prepared_statements",
        "pg_show_all_settings" => "pg_settings",
        "pg_timezone_abbrevs" => "pg_timezone_abbrevs",
        "pg_timezone_names" => "pg_timezone_names",
        _ => return None,
    })
}

/// The plan with the keys of a session as columns, equal values as the same bytes; and the places of these.
fn with_keys(plan: LogicalPlan, keys: Vec<Typed>) -> Result<(LogicalPlan, Vec<usize>)> {
    let schema = plan.schema().clone();
    let mut exprs: Vec<Expr> = schema.iter().map(|field| Expr::Column(Column::from(field))).collect();
    let mut places = Vec::with_capacity(keys.len());
    for (number, key) in keys.into_iter().enumerate() {
        let key = windows::session_key(key.expr, &schema);
        let place = exprs.iter().position(|expr| *expr == key);
        places.push(place.unwrap_or(exprs.len()));
        if place.is_none() {
            exprs.push(key.alias(format!("\u{1}session key {number}")));
        }
    }
    if exprs.len() == schema.fields().len() {
        return Ok((plan, places));
    }
    let plan = Projection::try_new(exprs, Arc::new(plan))?;
    Ok((LogicalPlan::Projection(plan), places))
}
