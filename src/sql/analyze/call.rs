//! Calls of functions: which function a name means for its arguments, and the expression that computes it.
//!
//! One rule: a function of PostgreSQL's that nothing here computes is 0A000, and one that PostgreSQL does not have 42883.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment, ScalarFunction, Sort};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{AggregateUDF, Expr, ReturnFieldArgs, ScalarUDF, when};
use sqlparser::ast::{self, FunctionArg, FunctionArgExpr, FunctionArguments};

use super::choose::{self, Chosen, Failure};
use super::kinds::{self, Context};
use super::scope::{Clause, Scope};
use super::signatures::{self, Kind, Signature};
use super::typed::{Typed, at, cast_to};
use super::{Analyzer, Result};
use crate::error::{SqlError, state};
use crate::sql::functions::spread::spread;
use crate::sql::functions::{calls, functions};
use crate::sql::plan::names::fold;
use crate::sql::statement::mark;
use crate::types::PgType;

/// Functions of PostgreSQL's by the name of what computes them.
pub fn computed_by(name: &str) -> &str {
    match name {
        "char_length" | "character_length" => "length",
        "string_to_table" => "string_to_array",
        "pow" => "power",
        other => other,
    }
}

/// `normalize(x, NFC)`: the form is a word.
fn is_normal_form(name: &ast::ObjectName, expr: &ast::Expr) -> bool {
    let ast::Expr::Identifier(form) = expr else {
        return false;
    };
    name.to_string() == "normalize"
        && form.quote_style.is_none()
        && matches!(form.value.as_str(), "nfc" | "nfd" | "nfkc" | "nfkd")
}

/// What a call was given.
#[derive(Default)]
pub struct Given {
    pub arguments: Vec<Typed>,
    /// Names of the arguments that have one, which are the last.
    names: Vec<String>,
    /// `f(*)`
    star: bool,
    /// The last argument is an array of arguments.
    is_variadic: bool,
    pub distinct: bool,
    pub order_by: Vec<ast::OrderByExpr>,
    pub respects_nulls: Option<NullTreatment>,
}

impl Analyzer<'_> {
    /// A call as it is written.
    pub fn function(&self, call: &ast::Function, scope: &Scope) -> Result<Typed> {
        let (name, position) = self.function_name(&call.name)?;
        if let FunctionArguments::Subquery(query) = &call.args {
            return match name.as_str() {
                "array" => self.array_of_query(query, scope, position),
                _ => Err(at(undefined_function(&name, &[]), position)),
            };
        }
        match name.as_str() {
            "coalesce" | "greatest" | "least" | "nullif" | "row" if call.over.is_none() => {
                return self.grammar_call(&name, call, scope, position);
            }
            // The parser takes `(VALUES (1))` for a call.
            "values" if call.over.is_none() => {
                if let Some(query) = values_query(call) {
                    return self.scalar_subquery(&query, scope, position);
                }
            }
            _ => {}
        }
        if let Some(typed) = self.size_call(&name, call, scope)? {
            return Ok(typed);
        }
        let candidates = signatures::of(&name);
        let has = |kind: Kind| candidates.iter().any(|signature| signature.kind == kind);
        let aggregates = has(Kind::Aggregate) || name == "grouping";
        if call.over.is_some() {
            if !aggregates && !has(Kind::Window) {
                let given = self.arguments(call, scope)?;
                return Err(at(
                    match has(Kind::Function) || has(Kind::Rows) {
                        true => SqlError::new(
                            state::WRONG_OBJECT_TYPE,
                            format!("OVER specified, but {name} is not a window function nor an aggregate function"),
                        ),
                        false => undefined_function(&name, &given.arguments),
                    },
                    position,
                ));
            }
            return self.window_call(&name, call, scope, position);
        }
        if has(Kind::Window) && !aggregates && !has(Kind::Function) {
            return Err(at(
                SqlError::new(
                    state::WRONG_OBJECT_TYPE,
                    format!("window function {name} requires an OVER clause"),
                ),
                position,
            ));
        }
        if aggregates {
            return self.aggregate_call(&name, call, scope, position);
        }
        if call.filter.is_some() || !call.within_group.is_empty() {
            let what = if call.filter.is_some() {
                "FILTER"
            } else {
                "WITHIN GROUP"
            };
            return Err(at(
                SqlError::new(
                    state::WRONG_OBJECT_TYPE,
                    format!("{what} specified, but {name} is not an aggregate function"),
                ),
                position,
            ));
        }
        let given = self.arguments(call, scope)?;
        if given.distinct || !given.order_by.is_empty() {
            let what = if given.distinct { "DISTINCT" } else { "ORDER BY" };
            return Err(at(
                SqlError::new(
                    state::WRONG_OBJECT_TYPE,
                    format!("{what} specified, but {name} is not an aggregate function"),
                ),
                position,
            ));
        }
        if given.star {
            return Err(at(undefined_function(&name, &[]), position));
        }
        let typed = self.call_given(&name, given, position)?;
        if super::rows::makes_rows(&typed) {
            super::rows::check_clause(scope, position)?;
        }
        Ok(typed)
    }

    /// The name of a function, without the schema that all are in.
    pub fn function_name(&self, name: &ast::ObjectName) -> Result<(String, Option<usize>)> {
        let parts: Vec<&ast::Ident> = name.0.iter().filter_map(|part| part.as_ident()).collect();
        let position = parts.first().and_then(|first| self.position(first.span));
        let folded: Vec<String> = parts.iter().map(|part| fold(part)).collect();
        let path = match folded.as_slice() {
            [name] => return Ok((name.clone(), position)),
            [schema, name] => (schema, name),
            [database, schema, name] if *database == self.ctx.database => (schema, name),
            _ => {
                let message = format!("improper qualified name (too many dotted names): {name}");
                return Err(at(SqlError::new(state::SYNTAX_ERROR, message), position));
            }
        };
        match path {
            (schema, name) if matches!(schema.as_str(), "pg_catalog" | "information_schema") => {
                Ok((name.clone(), position))
            }
            (schema, name) if self.ctx.catalog.schemas.contains_key(schema) => {
                Err(at(undefined_function(&format!("{schema}.{name}"), &[]), position))
            }
            (schema, _) => Err(at(
                SqlError::new(
                    state::INVALID_SCHEMA_NAME,
                    format!("schema \"{schema}\" does not exist"),
                ),
                position,
            )),
        }
    }

    pub fn arguments(&self, call: &ast::Function, scope: &Scope) -> Result<Given> {
        let mut given = Given {
            respects_nulls: call.null_treatment.map(null_treatment),
            ..Given::default()
        };
        let FunctionArguments::List(list) = &call.args else {
            return Ok(given);
        };
        given.distinct = list.duplicate_treatment == Some(ast::DuplicateTreatment::Distinct);
        for clause in &list.clauses {
            match clause {
                ast::FunctionArgumentClause::OrderBy(order) => given.order_by.clone_from(order),
                ast::FunctionArgumentClause::IgnoreOrRespectNulls(nulls) => {
                    given.respects_nulls = Some(null_treatment(*nulls));
                }
                other => {
                    return Err(SqlError::unsupported(
                        format!("{other} is not supported in the arguments of a function"),
                        "Leave it out.",
                    ));
                }
            }
        }
        let last = list.args.len().saturating_sub(1);
        for (place, argument) in list.args.iter().enumerate() {
            let (name, argument) = match argument {
                FunctionArg::Unnamed(argument) => (None, argument),
                FunctionArg::Named { name, arg, .. } => (Some(fold(name)), arg),
                FunctionArg::ExprNamed { name, arg, .. } => match name {
                    ast::Expr::Identifier(name) => (Some(fold(name)), arg),
                    other => {
                        let message = format!("an argument cannot be named {other}");
                        return Err(SqlError::new(state::SYNTAX_ERROR, message));
                    }
                },
            };
            if place < last && name.as_deref() == Some(mark::VARIADIC) {
                return Err(SqlError::new(state::SYNTAX_ERROR, "syntax error at or near \",\""));
            }
            match argument {
                FunctionArgExpr::Expr(expr) if place == 1 && last == 1 && is_normal_form(&call.name, expr) => {
                    let form = Expr::Literal(ScalarValue::Utf8(Some(expr.to_string())), None);
                    given.arguments.push(Typed::unknown(form, None));
                }
                FunctionArgExpr::Expr(expr) => given.arguments.push(self.expr(expr, scope)?),
                FunctionArgExpr::Wildcard | FunctionArgExpr::WildcardWithOptions(_) => given.star = true,
                FunctionArgExpr::QualifiedWildcard(name) => {
                    let idents: Vec<ast::Ident> = name.0.iter().filter_map(|part| part.as_ident().cloned()).collect();
                    given.arguments.push(self.item_row(&idents, scope)?);
                }
            }
            match name {
                Some(name) if name == mark::VARIADIC => given.is_variadic = true,
                Some(name) => given.names.push(name),
                None if !given.names.is_empty() => {
                    return Err(SqlError::new(
                        state::SYNTAX_ERROR,
                        "positional argument cannot follow named argument",
                    ));
                }
                None => {}
            }
        }
        Ok(given)
    }

    fn call_given(&self, name: &str, given: Given, position: Option<usize>) -> Result<Typed> {
        if given.is_variadic {
            return self.variadic_call(name, given.arguments, position);
        }
        let arguments = match given.names.is_empty() {
            true => given.arguments,
            false => self.in_order(name, given, position)?,
        };
        self.named_call(name, arguments, position)
    }

    /// A call of which the last argument is an array of arguments.
    fn variadic_call(&self, name: &str, mut arguments: Vec<Typed>, position: Option<usize>) -> Result<Typed> {
        let takes = |signature: &&Signature| signature.is_variadic && signature.arguments.len() == arguments.len();
        let Some(signature) = signatures::of(name).iter().find(takes) else {
            return Err(at(undefined_function(name, &arguments), position));
        };
        let (wanted, first) = signature.arguments.split_last().expect("one of them repeats");
        let is_any = *wanted == kinds::ANY;
        let array = arguments.pop().expect("it was counted");
        let array = match is_any {
            true => array,
            false => self.coerce(array, &PgType::from_oid(*wanted).expect("it is an array"))?,
        };
        let PgType::Array(element) = array.pg_type() else {
            return Err(at(
                SqlError::new(state::DATATYPE_MISMATCH, "VARIADIC argument must be an array"),
                array.position,
            ));
        };
        let mut given = Vec::with_capacity(arguments.len() + 1);
        for (typed, wanted) in arguments.into_iter().zip(first) {
            given.push(match PgType::from_oid(*wanted) {
                Some(wanted) => self.coerce(typed, &wanted)?,
                None => self.settle(typed)?,
            });
        }
        given.push(array);
        let inner = self.scalar(computed_by(name));
        let inner = inner.ok_or_else(|| at(not_yet(name, &given), position))?;
        let result = PgType::from_oid(signature.result).expect("its result is a type");
        let function = spread(inner, Arc::new(element.field("item", true)));
        self.call_of(function, given, &result, position)
    }

    /// Arguments with names, at the places that the function has for them.
    fn in_order(&self, name: &str, given: Given, position: Option<usize>) -> Result<Vec<Typed>> {
        let plain = given.arguments.len() - given.names.len();
        let takes = |signature: &&Signature| {
            !signature.names.is_empty() && given.names.iter().all(|name| signature.names.contains(&name.as_str()))
        };
        let Some(signature) = signatures::of(name).iter().find(takes) else {
            let shown = given
                .arguments
                .iter()
                .enumerate()
                .map(|(at, typed)| match at.checked_sub(plain) {
                    Some(named) => format!("{} => {}", given.names[named], typed.type_name()),
                    None => typed.type_name(),
                });
            let shown = shown.collect::<Vec<_>>().join(", ");
            let message = format!("function {name}({shown}) does not exist");
            return Err(at(
                SqlError::new(state::UNDEFINED_FUNCTION, message).hint(NO_FUNCTION),
                position,
            ));
        };
        let mut slots: Vec<Option<Typed>> = vec![None; signature.arguments.len()];
        for (at, typed) in given.arguments.into_iter().enumerate() {
            let slot = match at.checked_sub(plain) {
                Some(named) => signature
                    .names
                    .iter()
                    .position(|name| *name == given.names[named])
                    .expect("the function has it"),
                None => at,
            };
            if let Some(free) = slots.get_mut(slot) {
                *free = Some(typed);
            }
        }
        let last = slots.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let filled = slots
            .into_iter()
            .take(last)
            .enumerate()
            .map(|(slot, typed)| match typed {
                Some(typed) => Ok(typed),
                // The defaults of what has names are zeros, false and empty objects.
                None => {
                    let oid = signature.arguments[slot];
                    let pg_type = PgType::from_oid(oid).expect("a named argument has a type");
                    let text = match oid {
                        kinds::BOOL => "false",
                        oid if kinds::category(oid) == b'N' => "0",
                        _ => "{}",
                    };
                    let literal = Expr::Literal(ScalarValue::Utf8(Some(text.to_string())), None);
                    self.cast(Typed::unknown(literal, position), &pg_type, Context::Explicit)
                }
            });
        filled.collect()
    }

    /// A call of a function with arguments that are typed.
    pub fn named_call(&self, name: &str, arguments: Vec<Typed>, position: Option<usize>) -> Result<Typed> {
        if let ("to_json" | "to_jsonb", [row]) = (name, arguments.as_slice())
            && row.fields().is_some()
        {
            let json = self.named_call("row_to_json", arguments, position)?;
            return match name {
                "to_jsonb" => self.cast(json, &PgType::Jsonb, Context::Explicit),
                _ => Ok(json),
            };
        }
        let given: Vec<u32> = arguments.iter().map(Typed::oid).collect();
        let candidates: Vec<&'static Signature> = signatures::of(name)
            .iter()
            .filter(|signature| matches!(signature.kind, Kind::Function | Kind::Rows))
            .collect();
        let chosen = match choose::function(&candidates, &given) {
            Ok(chosen) => chosen,
            Err(failure) => match self.cast_by_call(name, &arguments)? {
                Some(typed) => return Ok(typed),
                None => return Err(at(choice_failed(failure, name, &arguments), position)),
            },
        };
        if name == "unnest" {
            return self.unnest_call(arguments, chosen.result, position);
        }
        if name == "pg_typeof" {
            let type_name = Expr::Literal(ScalarValue::Utf8(Some(arguments[0].type_name())), None);
            return Ok(Typed::new(
                self.catalog_call("regtype", vec![type_name])?,
                PgType::Regtype,
                position,
            ));
        }
        let mut arguments = self.as_declared(arguments, &chosen)?;
        // `age(x)` is the age at midnight of today.
        if let ("age", [time]) = (name, arguments.as_slice()) {
            let today = self.named_call("current_date", Vec::new(), position)?;
            let today = self.cast(today, &time.pg_type(), Context::Implicit)?;
            arguments.insert(0, today);
        }
        if let Some(symbol) = chosen.signature.symbol {
            let mut operands = arguments.into_iter();
            return match (operands.next(), operands.next()) {
                (Some(left), Some(right)) => self.binary(symbol, left, right, position),
                (Some(operand), None) => self.prefix(symbol, operand, position),
                _ => Err(at(not_yet(name, &[]), position)),
            };
        }
        if chosen.signature.kind == Kind::Rows {
            return self.rows_call(name, arguments, &chosen, position);
        }
        let Some(function) = self.scalar(computed_by(name)) else {
            return match self.cast_by_call(name, &arguments)? {
                Some(typed) => Ok(typed),
                None => Err(at(not_yet(name, &arguments), position)),
            };
        };
        match PgType::from_oid(chosen.result) {
            Some(result) => self.call_of(function, arguments, &result, position),
            None => Err(at(not_yet(name, &arguments), position)),
        }
    }

    /// `text(x)` is a cast.
    fn cast_by_call(&self, name: &str, arguments: &[Typed]) -> Result<Option<Typed>> {
        if let [argument] = arguments
            && let Some(pg_type) = PgType::parse(name).filter(|pg_type| pg_type.catalog_name() == name)
            && (argument.is_unknown() || kinds::can_coerce(argument.oid(), pg_type.oid(), Context::Explicit))
        {
            return Ok(Some(self.cast(argument.clone(), &pg_type, Context::Explicit)?));
        }
        Ok(None)
    }

    /// The arguments of a call as the function that was chosen takes them.
    fn as_declared(&self, arguments: Vec<Typed>, chosen: &Chosen) -> Result<Vec<Typed>> {
        let declared = arguments.into_iter().zip(&chosen.arguments);
        let declared = declared.map(|(typed, wanted)| match PgType::from_oid(*wanted) {
            _ if typed.fields().is_some() => match *wanted {
                kinds::ANY | kinds::ANYELEMENT | kinds::RECORD => self.row_value(&typed),
                _ => Ok(typed),
            },
            Some(wanted) => self.coerce(typed, &wanted),
            None if *wanted == kinds::ANY => self.settle_any(typed),
            None => self.settle(typed),
        });
        declared.collect()
    }

    /// A call of what computes a function; `result` is the type that PostgreSQL gives it.
    pub fn call_of(
        &self,
        function: Arc<ScalarUDF>,
        arguments: Vec<Typed>,
        result: &PgType,
        position: Option<usize>,
    ) -> Result<Typed> {
        let fields: Vec<_> = arguments.iter().map(Typed::field).collect();
        let refused = |arguments: &[Typed]| at(not_yet(function.name(), arguments), position);
        let fields = match fields_with_udf(&fields, function.as_ref()) {
            Ok(fields) => fields,
            Err(error) => {
                let error = SqlError::from(error);
                return Err(match error.state {
                    state::INTERNAL_ERROR => refused(&arguments),
                    _ => at(error, position),
                });
            }
        };
        let returned = returned_field(&function, &arguments, &fields).map_err(|error| at(error, position))?;
        let exprs = arguments.into_iter().map(|typed| typed.expr).collect();
        let expr = Expr::ScalarFunction(ScalarFunction::new_udf(function, exprs));
        Ok(self.returning(expr, &returned, result, position))
    }

    /// An expression that returns a field, as PostgreSQL types it.
    pub fn returning(
        &self,
        expr: Expr,
        returned: &arrow::datatypes::Field,
        result: &PgType,
        position: Option<usize>,
    ) -> Typed {
        match PgType::of_field(returned) {
            Some(known) if known.oid() == result.oid() && known.arrow() == *returned.data_type() => {
                Typed::new(expr, known, position)
            }
            _ if result.arrow() == *returned.data_type() => Typed::new(expr, result.clone(), position),
            _ => Typed::new(cast_to(expr, result), result.clone(), position),
        }
    }

    /// COALESCE and the others that are part of the grammar.
    fn grammar_call(&self, name: &str, call: &ast::Function, scope: &Scope, position: Option<usize>) -> Result<Typed> {
        let given = self.arguments(call, scope)?;
        if name == "row" {
            let fields = given.arguments.into_iter().enumerate();
            let fields = fields.map(|(at, typed)| (format!("f{}", at + 1), typed));
            return Ok(Typed::row(fields.collect(), position));
        }
        if given.arguments.is_empty() {
            return Err(at(
                SqlError::new(state::SYNTAX_ERROR, "syntax error at or near \")\""),
                position,
            ));
        }
        if name == "nullif" {
            let [left, right] = given.arguments.as_slice() else {
                return Err(at(undefined_function(name, &given.arguments), position));
            };
            let equal = self.binary("=", left.clone(), right.clone(), position)?;
            // The result is the first as `=` takes it; digits of a NUMERIC stay.
            let left = match choose::binary("=", left.oid(), right.oid()) {
                Ok(chosen) if chosen.left != left.oid() => match PgType::from_oid(chosen.left) {
                    Some(taken) => self.coerce(left.clone(), &taken)?,
                    None => self.settle(left.clone())?,
                },
                _ => self.settle(left.clone())?,
            };
            let null = super::typed::null_of(&left.pg_type())?;
            let expr = datafusion::logical_expr::when(equal.expr, null).otherwise(left.expr.clone())?;
            return Ok(Typed { expr, position, ..left });
        }
        let upper = name.to_uppercase();
        let (arguments, common) = self.unify(given.arguments, &upper)?;
        if let [only] = arguments.as_slice() {
            return Ok(Typed {
                position,
                ..only.clone()
            });
        }
        let function = self.scalar(name).expect("it is a function of the engine's or ours");
        let exprs = arguments.into_iter().map(|typed| typed.expr).collect();
        let expr = Expr::ScalarFunction(ScalarFunction::new_udf(function, exprs));
        Ok(Typed::new(expr, common, position))
    }

    fn aggregate_call(
        &self,
        name: &str,
        call: &ast::Function,
        scope: &Scope,
        position: Option<usize>,
    ) -> Result<Typed> {
        check_aggregate_clause(scope, position)?;
        let given = scope.within(Clause::Aggregate, || self.arguments(call, scope))?;
        let filter = self.filter_of(call, scope)?;
        let order = match call.within_group.is_empty() {
            true => &given.order_by,
            false => &call.within_group,
        };
        let order = scope.within(Clause::Aggregate, || {
            order
                .iter()
                .map(|by| self.order_of(by, scope))
                .collect::<Result<Vec<_>>>()
        })?;
        let (function, arguments, result) = self.choose_aggregate(name, &given, &order, call, position)?;
        let order = match (order.is_empty(), scope.items.as_slice()) {
            // The rows come in the order of the subquery that they are from.
            (true, [only]) if !given.distinct && calls::ORDERED.contains(&name) => only.order.clone(),
            // PostgreSQL sorts to find what is distinct.
            (true, _) if given.distinct && calls::ORDERED.contains(&name) => {
                let value = arguments[0].clone();
                let ascending = value.expr.clone().sort(true, false);
                vec![(value, ascending)]
            }
            _ => order,
        };
        let sorts: Vec<Sort> = order.into_iter().map(|(_, sort)| sort).collect();
        if let ("string_agg", [value, delimiter]) = (name, arguments.as_slice())
            && !super::expr::is_constant(&delimiter.expr)
        {
            return self.delimited(value, delimiter, given.distinct, filter, &sorts, scope, position);
        }
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
        self.at_its_level(typed, scope)
    }

    /// `string_agg` with a delimiter of each row's own, which stands before its value: all of them one after another,
    /// without the first delimiter.
    #[allow(clippy::too_many_arguments)]
    fn delimited(
        &self,
        value: &Typed,
        delimiter: &Typed,
        distinct: bool,
        filter: Option<Box<Expr>>,
        order: &[Sort],
        scope: &Scope,
        position: Option<usize>,
    ) -> Result<Typed> {
        if distinct || value.pg_type() != PgType::Text {
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
        let filter = Box::new(match filter {
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
                order.to_vec(),
                None,
            );
            let list = PgType::Array(Box::new(PgType::Text));
            self.at_its_level(Typed::new(Expr::AggregateFunction(call), list, position), scope)
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
        given: &Given,
        order: &[(Typed, Sort)],
        call: &ast::Function,
        position: Option<usize>,
    ) -> Result<(Arc<AggregateUDF>, Vec<Typed>, PgType)> {
        let computed = |name: &str, arguments: &[Typed]| {
            let known = functions().aggregate.get(name).cloned();
            known.ok_or_else(|| at(not_yet(name, arguments), position))
        };
        if name == "grouping" {
            let function = computed("grouping", &given.arguments)?;
            return Ok((function, given.arguments.to_vec(), PgType::Int4));
        }
        if given.star {
            if name != "count" {
                return Err(at(undefined_function(name, &[]), position));
            }
            let one = Expr::Literal(ScalarValue::Int64(Some(1)), None);
            let one = Typed::new(one, PgType::Int8, position);
            return Ok((computed("count", &[])?, vec![one], PgType::Int8));
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
        // WITHIN GROUP (ORDER BY x): what is ordered is an argument after the direct ones.
        let mut arguments = given.arguments.to_vec();
        let ordered_set = !call.within_group.is_empty();
        if ordered_set {
            arguments.extend(order.iter().map(|(typed, _)| typed.clone()));
        }
        if let ("json_agg" | "jsonb_agg", [row]) = (name, arguments.as_mut_slice())
            && row.fields().is_some()
        {
            *row = self.named_call("row_to_json", vec![row.clone()], position)?;
        }
        let types: Vec<u32> = arguments.iter().map(Typed::oid).collect();
        let candidates: Vec<&'static Signature> = signatures::of(name)
            .iter()
            .filter(|signature| signature.kind == Kind::Aggregate)
            .collect();
        let chosen = choose::function(&candidates, &types)
            .map_err(|failure| at(choice_failed(failure, name, &arguments), position))?;
        if name == "count"
            && let [row] = arguments.as_slice()
            && row.fields().is_some()
        {
            // Rows that differ are counted by their text.
            let counted = match given.distinct {
                true => self.row_text(row)?,
                false => self.row_presence(row),
            };
            return Ok((computed("count", &arguments)?, vec![counted], PgType::Int8));
        }
        let arguments = self.as_declared(arguments, &chosen)?;
        let function = computed(name, &arguments)?;
        let result = match chosen.result {
            kinds::RECORD | kinds::RECORDS => return Err(at(not_yet(name, &arguments), position)),
            oid => PgType::from_oid(oid).unwrap_or_else(|| arguments[0].pg_type()),
        };
        // The engine takes the value first.
        let arguments = match (ordered_set, arguments.as_slice()) {
            (true, [direct, value]) => vec![value.clone(), direct.clone()],
            _ => arguments,
        };
        Ok((function, arguments, result))
    }

    /// What an aggregate returns, as PostgreSQL types it.
    pub fn aggregate_type(
        &self,
        expr: Expr,
        function: &AggregateUDF,
        arguments: &[Typed],
        result: &PgType,
        position: Option<usize>,
    ) -> Result<Typed> {
        let fields: Vec<_> = arguments.iter().map(Typed::field).collect();
        if function.name() == "grouping" {
            return Ok(Typed::new(expr, PgType::Int4, position));
        }
        let fields =
            fields_with_udf(&fields, function).map_err(|_| at(not_yet(function.name(), arguments), position))?;
        let returned = function
            .return_field(&fields)
            .map_err(|error| at(SqlError::from(error), position))?;
        Ok(self.returning(expr, &returned, result, position))
    }

    /// An aggregate over columns of a query further out only is that query's.
    fn at_its_level(&self, typed: Typed, scope: &Scope) -> Result<Typed> {
        let (mut own, mut outer) = (false, Vec::new());
        typed.expr.apply(|node| {
            match node {
                Expr::Column(_) => own = true,
                Expr::OuterReferenceColumn(_, column) => outer.push(column.clone()),
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        if own || outer.is_empty() {
            return Ok(typed);
        }
        let mut level = scope.parent;
        while let Some(scope) = level {
            let has = |column: &datafusion::common::Column| {
                let mut columns = scope.items.iter().flat_map(|item| &item.columns);
                columns.any(|known| known.expr.column_refs().contains(column))
            };
            if outer.iter().any(has) {
                if scope.clause.get() == Clause::From {
                    let message = "aggregate functions are not allowed in FROM clause of their own query level";
                    return Err(at(SqlError::new(state::GROUPING_ERROR, message), typed.position));
                }
                check_aggregate_clause(scope, typed.position)?;
                let inner = typed.expr.clone().transform_up(|node| match node {
                    Expr::OuterReferenceColumn(_, column) if has(&column) => Ok(Transformed::yes(Expr::Column(column))),
                    other => Ok(Transformed::no(other)),
                })?;
                let name = self.internal_name("aggregate");
                scope.aggregates.borrow_mut().push(inner.data.alias(&name));
                let field = Arc::new(typed.pg_type().field(&name, true));
                let expr = Expr::OuterReferenceColumn(field, datafusion::common::Column::from_name(name));
                return Ok(Typed { expr, ..typed });
            }
            level = scope.parent;
        }
        Ok(typed)
    }
}

/// What a function returns for arguments of these fields, some of which may be constants.
pub fn returned_field(function: &ScalarUDF, arguments: &[Typed], fields: &[FieldRef]) -> Result<FieldRef> {
    let literals = arguments.iter().map(|typed| match &typed.expr {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    });
    let literals: Vec<Option<&ScalarValue>> = literals.collect();
    Ok(function.return_field_from_args(ReturnFieldArgs {
        arg_fields: fields,
        scalar_arguments: &literals,
    })?)
}

/// `VALUES (...)` of one row that was read as a call.
fn values_query(call: &ast::Function) -> Option<ast::Query> {
    let FunctionArguments::List(list) = &call.args else {
        return None;
    };
    let row = list.args.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    });
    let rows = vec![ast::Parens::with_empty_span(row.collect::<Option<Vec<_>>>()?)];
    let values = ast::Values {
        explicit_row: false,
        value_keyword: false,
        rows,
    };
    Some(ast::Query {
        with: None,
        body: Box::new(ast::SetExpr::Values(values)),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    })
}

fn null_treatment(nulls: ast::NullTreatment) -> NullTreatment {
    match nulls {
        ast::NullTreatment::IgnoreNulls => NullTreatment::IgnoreNulls,
        ast::NullTreatment::RespectNulls => NullTreatment::RespectNulls,
    }
}

/// 42803 for an aggregate where rows are still being chosen.
fn check_aggregate_clause(scope: &Scope, position: Option<usize>) -> Result<()> {
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
        Clause::Aggregate => "aggregate function calls cannot be nested".to_string(),
        other => format!("aggregate functions are not allowed in {}", other.name()),
    };
    Err(at(SqlError::new(state::GROUPING_ERROR, message), position))
}

const NO_FUNCTION: &str =
    "No function matches the given name and argument types. You might need to add explicit type casts.";

/// 42883
pub fn undefined_function(name: &str, arguments: &[Typed]) -> SqlError {
    let types: Vec<String> = arguments.iter().map(Typed::type_name).collect();
    let message = format!("function {name}({}) does not exist", types.join(", "));
    SqlError::new(state::UNDEFINED_FUNCTION, message).hint(NO_FUNCTION)
}

pub fn choice_failed(failure: Failure, name: &str, arguments: &[Typed]) -> SqlError {
    match failure {
        Failure::None => undefined_function(name, arguments),
        Failure::Ambiguous => {
            let types: Vec<String> = arguments.iter().map(Typed::type_name).collect();
            let message = format!("function {name}({}) is not unique", types.join(", "));
            SqlError::new(state::AMBIGUOUS_FUNCTION, message)
                .hint("Could not choose a best candidate function. You might need to add explicit type casts.")
        }
        Failure::Undetermined => SqlError::new(
            state::DATATYPE_MISMATCH,
            "could not determine polymorphic type because input has type unknown",
        ),
    }
}

/// 0A000 for a function that PostgreSQL has and this server does not.
fn not_yet(name: &str, arguments: &[Typed]) -> SqlError {
    let types: Vec<String> = arguments.iter().map(Typed::type_name).collect();
    SqlError::unsupported(
        format!("function {name}({}) is not supported", types.join(", ")),
        "docs/sql.md says what is not there yet.",
    )
}
