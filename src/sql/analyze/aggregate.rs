//! Calls of aggregates: the aggregate that a name means, and the query that it belongs to.
//!
//! One rule: an aggregate belongs to the innermost query that has a column of its arguments.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, Sort};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{AggregateUDF, Expr, Subquery, when};
use sqlparser::ast;

use super::call::{GivenArguments, bottom, choice_failed, not_yet, undefined_function};
use super::choose;
use super::kinds;
use super::scope::{Clause, Scope};
use super::signatures::{self, FunctionKind, Signature};
use super::typed::{EQUALITY, Shape, Typed, at, check_operator};
use super::{Analyzer, Result};
use crate::error::{SqlError, state};
use crate::sql::functions::json::JSON_AGG_OF_LINES;
use crate::sql::functions::told::told;
use crate::sql::functions::{calls, differ_though_equal, distinct_elements, functions};
use crate::types::PgType;

/// The choice and order of the rows of a call of `string_agg`.
struct DelimitedRows<'s> {
    distinct: bool,
    filter: Option<Box<Expr>>,
    order: &'s [Sort],
}

impl Analyzer<'_> {
    pub fn aggregate_call(
        &self,
        name: &str,
        call: &ast::Function,
        scope: &Scope,
        position: Option<usize>,
    ) -> Result<Typed> {
        let around = scope.nested.take();
        let given = scope.within(Clause::Aggregate, || self.arguments(call, scope))?;
        let filter = self.filter_of(call, scope)?;
        let (mut order, ordered) = scope.within(Clause::Aggregate, || {
            let order = given.order_by.iter().map(|by| self.order_of(by, scope));
            let ordered = call.within_group.iter().map(|by| self.expr(&by.expr, scope));
            Ok::<_, SqlError>((order.collect::<Result<Vec<_>>>()?, ordered.collect::<Result<Vec<_>>>()?))
        })?;
        let (function, arguments, mut result) = self.choose_aggregate(name, &given, &ordered, position)?;
        scope.end_nesting(around)?;
        let mut read = ColumnsRead::default();
        given.arguments.iter().try_for_each(|typed| read.add(typed, scope))?;
        if !read.is_outer() {
            check_aggregate_clause(name, scope, position)?;
        }
        // The ordered value of WITHIN GROUP is an argument, whose type the function gives.
        for (by, value) in call.within_group.iter().zip(ordered) {
            let value = match value.is_unknown() {
                true => arguments[0].clone(),
                false => value,
            };
            order.push(self.ordered_by(value, by.options)?);
        }
        if given.distinct {
            arguments
                .iter()
                .filter(|typed| !typed.has_rows())
                .try_for_each(|typed| check_operator(&typed.pg_type(), EQUALITY, typed.position))?;
        }
        let mut is_hex = false;
        let guarded = |expr: Expr, pg_type: &PgType| only_where(expr, pg_type, filter.as_deref());
        let own: Vec<Sort> = order
            .into_iter()
            .map(|(typed, sort)| Ok(sort.with_expr(guarded(sort.expr.clone(), &typed.pg_type())?)))
            .collect::<Result<_>>()?;
        let mut arguments = arguments
            .into_iter()
            .map(|typed| {
                if typed.has_rows() {
                    return Ok(typed);
                }
                let expr = guarded(typed.expr.clone(), &typed.pg_type())?;
                Ok(Typed { expr, ..typed })
            })
            .collect::<Result<Vec<_>>>()?;
        let mut sorts = match (own.is_empty(), scope.items.as_slice()) {
            // The rows come in the order of the subquery that they are from.
            (true, [only]) if !given.distinct && calls::ORDERED.contains(&name) => only.order.clone(),
            // PostgreSQL sorts to find distinct values.
            (true, _) if given.distinct && calls::ORDERED.contains(&name) => {
                vec![arguments[0].expr.clone().sort(true, false)]
            }
            _ => own,
        };
        if let ("string_agg", [value, delimiter], Shape::Of(PgType::Bytea)) = (name, arguments.as_slice(), &result) {
            // The engine joins texts: bytes are written as such, and read again.
            let written = [self.in_hex(value)?, self.in_hex(delimiter)?];
            if given.distinct {
                for sort in sorts.iter_mut().filter(|sort| sort.expr == value.expr) {
                    sort.expr = written[0].expr.clone();
                }
            }
            arguments = written.into();
            result = Shape::Of(PgType::Text);
            is_hex = true;
        }
        if let ("string_agg", [value, delimiter]) = (name, arguments.as_slice())
            && !super::expr::is_constant(&delimiter.expr)
        {
            let of = DelimitedRows {
                distinct: given.distinct,
                filter,
                order: &sorts,
            };
            let joined = self.delimited(value, delimiter, of, scope, position)?;
            return self.of_hex(joined, is_hex);
        }
        // One of the equal values, in order, by their keys.
        let distinct = match (name, given.distinct, arguments.as_slice(), sorts.as_slice()) {
            ("array_agg", true, [value], [sort]) if differ_though_equal(&value.pg_type().arrow()) => {
                Some(distinct_elements(!sort.asc, sort.nulls_first))
            }
            _ => None,
        };
        let sorts = if distinct.is_some() { Vec::new() } else { sorts };
        let exprs: Vec<Expr> = arguments.iter().map(|typed| typed.expr.clone()).collect();
        let made = AggregateFunction::new_udf(
            function.clone(),
            exprs,
            given.distinct,
            filter,
            sorts,
            given.respects_nulls,
        );
        let typed = self.aggregate_type(Expr::AggregateFunction(made), &function, &arguments, &result, position)?;
        let typed = self.at_its_level(typed, &given.arguments, scope)?;
        let typed = match distinct {
            Some(distinct) => Typed {
                expr: distinct.call(vec![typed.expr.clone()]),
                ..typed
            },
            None => typed,
        };
        let typed = super::arrays::gathered(typed);
        self.of_hex(typed, is_hex)
    }

    /// Bytes as hexadecimal digits; of none an empty text.
    fn in_hex(&self, typed: &Typed) -> Result<Typed> {
        let text = |text: String| {
            let text = Expr::Literal(ScalarValue::Utf8(Some(text)), None);
            Typed::new(text, PgType::Text, typed.position)
        };
        match &typed.expr {
            Expr::Literal(ScalarValue::Binary(bytes), _) => {
                let bytes = bytes.as_deref().unwrap_or_default().iter();
                Ok(text(bytes.map(|byte| format!("{byte:02x}")).collect()))
            }
            _ => self.named_call("encode", vec![typed.clone(), text("hex".to_string())], typed.position),
        }
    }

    fn of_hex(&self, typed: Typed, is_hex: bool) -> Result<Typed> {
        if !is_hex {
            return Ok(typed);
        }
        let position = typed.position;
        let hex = Expr::Literal(ScalarValue::Utf8(Some("hex".to_string())), None);
        self.named_call("decode", vec![typed, Typed::new(hex, PgType::Text, position)], position)
    }

    /// `string_agg` with a delimiter of each row's own, which stands before its value: all of them one after another,
    /// without the first delimiter.
    fn delimited(
        &self,
        value: &Typed,
        delimiter: &Typed,
        of: DelimitedRows,
        scope: &Scope,
        position: Option<usize>,
    ) -> Result<Typed> {
        if of.distinct || value.pg_type() != PgType::Text {
            return Err(at(
                SqlError::unsupported(
                    "string_agg with a delimiter that is no constant is not supported over BYTEA or DISTINCT values",
                    "Use a constant, or a subquery with SELECT DISTINCT.",
                ),
                position,
            ));
        }
        let text = |expr: Expr| Typed::new(expr, PgType::Text, position);
        let empty = || Expr::Literal(ScalarValue::Utf8(Some(String::new())), None);
        let before = text(when(delimiter.expr.clone().is_null(), empty()).otherwise(delimiter.expr.clone())?);
        let piece = self.binary("||", before.clone(), value.clone(), position)?;
        let has_value = value.expr.clone().is_not_null();
        let filter = Box::new(match of.filter {
            Some(filter) => filter.and(has_value),
            None => has_value,
        });
        let gathered = |typed: Typed| -> Result<Typed> {
            let function = functions().aggregate["array_agg"].clone();
            let call = AggregateFunction::new_udf(
                function,
                vec![typed.expr],
                false,
                Some(filter.clone()),
                of.order.to_vec(),
                None,
            );
            let list = PgType::Array(Box::new(PgType::Text));
            self.at_its_level(Typed::new(Expr::AggregateFunction(call), list, position), &[], scope)
        };
        let joined = self.named_call("array_to_string", vec![gathered(piece)?, text(empty())], position)?;
        let one = Expr::Literal(ScalarValue::Int64(Some(1)), None);
        let first = datafusion::functions_nested::expr_fn::array_element(gathered(before)?.expr, one);
        let skipped = self.named_call("length", vec![text(first)], position)?;
        let start = self.binary("+", skipped, super::number::integer(1, position), position)?;
        self.named_call("substr", vec![joined, start], position)
    }

    /// The condition of a call's FILTER.
    pub fn filter_of(&self, call: &ast::Function, scope: &Scope) -> Result<Option<Box<Expr>>> {
        let Some(filter) = &call.filter else {
            return Ok(None);
        };
        let typed = scope.within(Clause::Filter, || self.expr(filter, scope))?;
        Ok(Some(Box::new(self.condition(typed, "FILTER")?)))
    }

    /// The aggregate that a name means, its arguments as it takes them, and its result.
    pub fn choose_aggregate(
        &self,
        name: &str,
        given: &GivenArguments,
        ordered: &[Typed],
        position: Option<usize>,
    ) -> Result<(Arc<AggregateUDF>, Vec<Typed>, Shape)> {
        let computed = |name: &str, arguments: &[Typed]| {
            let known = functions().aggregate.get(name).cloned();
            known.ok_or_else(|| at(not_yet(name, arguments), position))
        };
        if name == "grouping" {
            let function = computed("grouping", &given.arguments)?;
            return Ok((function, given.arguments.to_vec(), Shape::Of(PgType::Int4)));
        }
        if given.star {
            if name != "count" {
                return Err(at(undefined_function(name, &[]), position));
            }
            let one = Expr::Literal(ScalarValue::Int64(Some(1)), None);
            let one = Typed::new(one, PgType::Int8, position);
            return Ok((computed("count", &[])?, vec![one], Shape::Of(PgType::Int8)));
        }
        if name == "count" && given.arguments.is_empty() {
            return Err(at(
                SqlError::new(
                    state::WRONG_OBJECT_TYPE,
                    "count(*) must be used to call a parameterless aggregate function",
                ),
                position,
            ));
        }
        // WITHIN GROUP (ORDER BY x): the value that is ordered is an argument after the direct ones.
        let mut arguments = given.arguments.to_vec();
        // What is compared is text where nothing says what it is.
        if given.distinct && name == "count" {
            arguments = arguments
                .into_iter()
                .map(|typed| self.settle(typed))
                .collect::<Result<_>>()?;
        }
        arguments.extend(ordered.iter().cloned());
        let mut computed_by = name;
        if let ("json_agg" | "jsonb_agg", [value]) = (name, arguments.as_mut_slice()) {
            let in_zone = matches!(value.pg_type(), PgType::Array(_))
                && matches!(bottom(&value.pg_type()), PgType::TimestampTz)
                && !given.distinct;
            if value.has_rows() || in_zone {
                *value = self.named_call("to_json", vec![value.clone()], position)?;
                // Each of them begins a line.
                if name == "json_agg" {
                    computed_by = JSON_AGG_OF_LINES;
                }
            }
        }
        // DISTINCT compares the values themselves.
        if !given.distinct {
            self.zone_in_json(name, &mut arguments, position)?;
        }
        let types: Vec<u32> = arguments.iter().map(Typed::oid).collect();
        let candidates: Vec<&'static Signature> = signatures::of(name)
            .iter()
            .filter(|signature| signature.kind == FunctionKind::Aggregate)
            .collect();
        let chosen = choose::function(&candidates, &types)
            .map_err(|failure| at(choice_failed(failure, name, &arguments), position))?;
        if chosen.signature.is_lacking {
            return Err(at(not_yet(name, &arguments), position));
        }
        if name == "count"
            && let [row] = arguments.as_slice()
            && row.fields().is_some()
        {
            let counted = match given.distinct {
                true => self.row_key(row)?,
                false => self.row_presence(row),
            };
            return Ok((computed("count", &arguments)?, vec![counted], Shape::Of(PgType::Int8)));
        }
        let mut arguments = self.as_declared(arguments, &chosen)?;
        if name == "array_agg" {
            arguments = arguments.into_iter().map(super::arrays::shaped).collect();
        }
        let function = computed(computed_by, &arguments)?;
        let result = match chosen.result {
            oid @ (kinds::RECORD | kinds::RECORDS) => {
                let rows = Self::result_shape(oid, &arguments);
                rows.ok_or_else(|| at(not_yet(name, &arguments), position))?
            }
            oid => Shape::Of(PgType::from_oid(oid).unwrap_or_else(|| arguments[0].pg_type())),
        };
        // The engine takes the value first.
        let arguments = match (ordered, arguments.as_slice()) {
            ([_], [direct, value]) => vec![value.clone(), direct.clone()],
            _ => arguments,
        };
        Ok((function, arguments, result))
    }

    /// An aggregate does not know the session's time zone: times with a zone are written as JSON before it.
    fn zone_in_json(&self, name: &str, arguments: &mut [Typed], position: Option<usize>) -> Result<()> {
        let write = match name {
            "json_agg" | "json_object_agg" => "to_json",
            "jsonb_agg" | "jsonb_object_agg" => "to_jsonb",
            _ => return Ok(()),
        };
        if let Some(value) = arguments.last_mut()
            && matches!(bottom(&value.pg_type()), PgType::TimestampTz)
        {
            *value = self.named_call(write, vec![value.clone()], position)?;
        }
        Ok(())
    }

    /// The type that an aggregate returns in PostgreSQL.
    pub fn aggregate_type(
        &self,
        expr: Expr,
        function: &AggregateUDF,
        arguments: &[Typed],
        result: &Shape,
        position: Option<usize>,
    ) -> Result<Typed> {
        let Shape::Of(result) = result else {
            return Ok(result.over(expr, position));
        };
        let fields: Vec<_> = arguments.iter().map(Typed::field).collect();
        if function.name() == "grouping" {
            return Ok(Typed::new(expr, PgType::Int4, position));
        }
        if let ("array_agg", [array]) = (function.name(), arguments)
            && super::arrays::is_shaped(array)
        {
            return Ok(Typed::new(expr, PgType::Array(Box::new(array.pg_type())), position));
        }
        let fields =
            fields_with_udf(&fields, function).map_err(|_| at(not_yet(function.name(), arguments), position))?;
        let returned = function
            .return_field(&fields)
            .map_err(|error| at(SqlError::from(error), position))?;
        Ok(self.returning(expr, &returned, result, position))
    }

    /// An aggregate over columns of a query further out only is that query's. The arguments as they are `given` count too:
    /// of some rows the engine's call keeps no column.
    pub fn at_its_level(&self, typed: Typed, given: &[Typed], scope: &Scope) -> Result<Typed> {
        let mut read = ColumnsRead::default();
        for given in given.iter().chain([&typed]) {
            read.add(given, scope)?;
        }
        if !read.is_outer() {
            return Ok(typed);
        }
        let outer = read.outer;
        let mut level = scope.parent;
        while let Some(scope) = level {
            if let Some(nested) = outer.iter().find(|column| scope.has_aggregate(column)) {
                let place = self.positions.borrow().get(nested).copied();
                let message = "aggregate function calls cannot be nested";
                return Err(at(
                    SqlError::new(state::GROUPING_ERROR, message),
                    place.or(typed.position),
                ));
            }
            if outer.iter().any(|column| scope.has(column)) {
                if scope.clause.get() == Clause::From {
                    let message = "aggregate functions are not allowed in FROM clause of their own query level";
                    return Err(at(SqlError::new(state::GROUPING_ERROR, message), typed.position));
                }
                check_aggregate_clause("", scope, typed.position)?;
                let inner = typed.expr.clone().transform_up(|node| match node {
                    Expr::OuterReferenceColumn(_, column) if scope.has(&column) => {
                        Ok(Transformed::yes(Expr::Column(column)))
                    }
                    other => Ok(Transformed::no(other)),
                })?;
                let name = self.internal_name("aggregate");
                scope.aggregates.borrow_mut().push(inner.data.alias(&name));
                self.note_position(&Column::from_name(&name), typed.position);
                let field = Arc::new(typed.pg_type().field(&name, true));
                let expr = Expr::OuterReferenceColumn(field, Column::from_name(name));
                return Ok(Typed { expr, ..typed });
            }
            level = scope.parent;
        }
        Ok(typed)
    }
}

/// The columns that expressions read, by the query that has them.
#[derive(Default)]
struct ColumnsRead {
    /// One of the query that the expressions stand in.
    own: bool,
    /// Those of queries further out.
    outer: Vec<Column>,
}

impl ColumnsRead {
    /// Whether all of them are of queries further out.
    fn is_outer(&self) -> bool {
        !self.own && !self.outer.is_empty()
    }

    fn add(&mut self, typed: &Typed, scope: &Scope) -> Result<()> {
        for (_, field) in typed.fields().unwrap_or_default() {
            self.add(field, scope)?;
        }
        typed.expr.apply(|node| {
            match node {
                Expr::Column(_) => self.own = true,
                Expr::OuterReferenceColumn(_, column) => self.outer.push(column.clone()),
                Expr::ScalarSubquery(query) => self.add_query(query, scope),
                Expr::Exists(exists) => self.add_query(&exists.subquery, scope),
                Expr::InSubquery(call) => self.add_query(&call.subquery, scope),
                Expr::SetComparison(call) => self.add_query(&call.subquery, scope),
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(())
    }

    fn add_query(&mut self, query: &Subquery, scope: &Scope) {
        for column in query.outer_ref_columns.iter().flat_map(outer_column) {
            match scope.has(column) {
                true => self.own = true,
                false => self.outer.push(column.clone()),
            }
        }
    }
}

fn outer_column(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::OuterReferenceColumn(_, column) => Some(column),
        _ => None,
    }
}

/// The argument of a call with FILTER, computed for the rows that it takes: `sum(1 / x) FILTER (WHERE x <> 0)`.
pub fn only_where(expr: Expr, pg_type: &PgType, filter: Option<&Expr>) -> Result<Expr> {
    let Some(filter) = filter else { return Ok(expr) };
    let is_plain = matches!(expr, Expr::Column(_) | Expr::OuterReferenceColumn(..)) || super::expr::is_constant(&expr);
    if is_plain || filter.is_volatile() {
        return Ok(expr);
    }
    let guarded = when(filter.clone(), expr).end()?;
    Ok(told(guarded, pg_type))
}

/// 42803 for an aggregate where rows are still being chosen. One in another's arguments is an error once that one is known.
pub fn check_aggregate_clause(name: &str, scope: &Scope, position: Option<usize>) -> Result<()> {
    let grouping_error = |message: String| at(SqlError::new(state::GROUPING_ERROR, message), position);
    let clause = scope.clause.get();
    let message = match clause {
        Clause::Select
        | Clause::Having
        | Clause::OrderBy
        | Clause::DistinctOn
        | Clause::Window
        | Clause::WindowCall => {
            return Ok(());
        }
        Clause::Aggregate => {
            scope.nest(grouping_error("aggregate function calls cannot be nested".to_string()));
            return Ok(());
        }
        other if name == "grouping" => format!("grouping operations are not allowed in {}", other.name()),
        other => format!("aggregate functions are not allowed in {}", other.name()),
    };
    Err(grouping_error(message))
}
