//! Calls of functions: the function that a name means for its arguments, and the expression that computes it.
//!
//! One rule: a function of PostgreSQL's that nothing here computes is 0A000, and one that PostgreSQL does not have 42883.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{NullTreatment, ScalarFunction};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{Expr, ScalarUDF};
use sqlparser::ast::{self, FunctionArg, FunctionArgExpr, FunctionArguments};

use super::choose::{self, Chosen, NoChoice};
use super::kinds::{self, CastContext};
use super::modifier;
use super::populate::JsonRecords;
use super::scope::Scope;
use super::signatures::{self, FunctionKind, Signature, computed_by};
use super::typed::{Ty, Typed, at, cast_to, returned_field};
use super::{Analyzer, Result};
use crate::error::{SqlError, state};
use crate::sql::functions::spread::spread;
use crate::sql::functions::told::told;
use crate::sql::functions::{Modifier, extreme};
use crate::sql::plan::names::fold;
use crate::sql::statement::{is_all_fields, mark};
use crate::types::PgType;

/// `normalize(x, NFC)`: the form is a word.
fn is_normal_form(name: &ast::ObjectName, expr: &ast::Expr) -> bool {
    let ast::Expr::Identifier(form) = expr else {
        return false;
    };
    name.to_string() == "normalize"
        && form.quote_style.is_none()
        && matches!(form.value.as_str(), "nfc" | "nfd" | "nfkc" | "nfkd")
}

/// The arguments of a call, and the clauses in its brackets.
#[derive(Default)]
pub struct GivenArguments {
    pub arguments: Vec<Typed>,
    /// Names of the arguments that have one, which are the last.
    pub names: Vec<String>,
    /// `f(*)`
    pub star: bool,
    /// The last argument is an array of arguments.
    pub is_variadic: bool,
    pub distinct: bool,
    pub order_by: Vec<ast::OrderByExpr>,
    pub respects_nulls: Option<NullTreatment>,
}

impl Analyzer<'_> {
    /// A call as it is written.
    pub fn function(&self, call: &ast::Function, scope: &Scope) -> Result<Typed> {
        let (name, position) = self.function_name(&call.name)?;
        if is_type_word(&call.name, &name) {
            return Err(at(
                SqlError::new(state::SYNTAX_ERROR, "syntax error at or near \"(\""),
                position.map(|position| position + name.chars().count()),
            ));
        }
        if let FunctionArguments::Subquery(query) = &call.args {
            return match name.as_str() {
                "array" => self.array_of_query(query, scope, position),
                _ => Err(at(undefined_function(&name, &[]), position)),
            };
        }
        match name.as_str() {
            // `t.*` that an operator follows
            mark::WHOLE_ROW => {
                let row = self.arguments(call, scope)?.arguments.pop();
                return row.ok_or_else(|| at(undefined_function("", &[]), position));
            }
            "coalesce" | "greatest" | "least" | "nullif" | "row" if call.over.is_none() => {
                return self.grammar_call(&name, call, scope, position);
            }
            "time_bucket_gapfill" | "locf" | "interpolate" if call.over.is_none() => {
                return self.gap_call(&name, call, scope, position);
            }
            // The parser takes `(VALUES (1))` for a call.
            "values" if call.over.is_none() => {
                if let Some(query) = values_query(call) {
                    return self.scalar_subquery(&query, scope, position);
                }
            }
            _ => {}
        }
        if let Some(json) = JsonRecords::populating(&name)
            && let Some(typed) = self
                .populated(&name, &json, call, scope)
                .map_err(|error| at(error, position))?
        {
            return Ok(typed);
        }
        if let Some(typed) = self.size_call(&name, call, scope)? {
            return Ok(typed);
        }
        if call.over.is_none()
            && call.filter.is_none()
            && let Some(typed) = self.written_call(&name, call, scope, position)?
        {
            return Ok(typed);
        }
        let candidates = signatures::of(&name);
        let has = |kind: FunctionKind| candidates.iter().any(|signature| signature.kind == kind);
        let aggregates = has(FunctionKind::Aggregate) || name == "grouping";
        if name == "grouping"
            && let Some(error) = self.misspelled_grouping(call)
        {
            return Err(error);
        }
        if call.over.is_some() {
            if !call.within_group.is_empty() && (aggregates || has(FunctionKind::Window)) {
                let message = format!("OVER is not supported for ordered-set aggregate {name}");
                return Err(at(SqlError::new(state::FEATURE_NOT_SUPPORTED, message), position));
            }
            if !aggregates && !has(FunctionKind::Window) {
                let given = self.arguments(call, scope)?;
                return Err(at(
                    match has(FunctionKind::Function) || has(FunctionKind::Rows) {
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
        if has(FunctionKind::Window)
            && let Some(typed) = self.hypothetical_call(&name, call, scope, position)?
        {
            return Ok(typed);
        }
        if has(FunctionKind::Window) && !aggregates && !has(FunctionKind::Function) {
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
            [_, _, _] => {
                let message = format!("cross-database references are not implemented: {}", folded.join("."));
                return Err(at(SqlError::new(state::FEATURE_NOT_SUPPORTED, message), position));
            }
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

    pub fn arguments(&self, call: &ast::Function, scope: &Scope) -> Result<GivenArguments> {
        let mut given = GivenArguments {
            respects_nulls: call.null_treatment.map(null_treatment),
            ..GivenArguments::default()
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

    fn call_given(&self, name: &str, given: GivenArguments, position: Option<usize>) -> Result<Typed> {
        if given.is_variadic {
            return self.variadic_call(name, given.arguments, position);
        }
        let arguments = match given.names.is_empty() {
            true => given.arguments,
            false => self.in_order(name, given, position)?,
        };
        self.named_call(name, arguments, position)
    }

    /// A call whose last argument is an array of arguments.
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
        let array = super::arrays::flat(array);
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
    fn in_order(&self, name: &str, given: GivenArguments, position: Option<usize>) -> Result<Vec<Typed>> {
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
                // The defaults of named arguments are zeros, false and empty objects.
                None => {
                    let oid = signature.arguments[slot];
                    let pg_type = PgType::from_oid(oid).expect("a named argument has a type");
                    let text = match oid {
                        kinds::BOOL => "false",
                        oid if kinds::category(oid) == b'N' => "0",
                        _ => "{}",
                    };
                    let literal = Expr::Literal(ScalarValue::Utf8(Some(text.to_string())), None);
                    self.cast(Typed::unknown(literal, position), &pg_type, CastContext::Explicit)
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
                "to_jsonb" => self.cast(json, &PgType::Jsonb, CastContext::Explicit),
                _ => Ok(json),
            };
        }
        let arguments = unpacked(name, self.as_texts(name, arguments)?);
        let arguments = self.as_elements(name, arguments)?;
        let given: Vec<u32> = arguments.iter().map(Typed::oid).collect();
        let candidates: Vec<&'static Signature> = signatures::of(name)
            .iter()
            .filter(|signature| matches!(signature.kind, FunctionKind::Function | FunctionKind::Rows))
            .collect();
        let chosen = match choose::function(&candidates, &given) {
            Ok(chosen) => chosen,
            Err(failure) => match self.cast_by_call(name, &arguments)? {
                Some(typed) => return Ok(typed),
                None => return Err(at(choice_failed(failure, name, &arguments), position)),
            },
        };
        if chosen.signature.is_lacking {
            return match self.cast_by_call(name, &arguments)? {
                Some(typed) => Ok(typed),
                None => Err(at(not_yet(name, &arguments), position)),
            };
        }
        if name == "unnest" {
            return self.unnest_call(arguments, chosen.result, position);
        }
        if let ("current_timestamp" | "localtimestamp" | "localtime", [digits]) = (name, arguments.as_slice())
            && let Expr::Literal(ScalarValue::Int32(Some(digits)), _) = digits.expr
            && let Ok(digits) = u32::try_from(digits)
        {
            let digits = Some(digits.min(6));
            let whole = self.named_call(name, Vec::new(), position)?;
            let modifier = Modifier {
                digits,
                ..Modifier::default()
            };
            return Ok(Typed {
                expr: modifier.apply(whole.expr),
                typmod: digits.map(|digits| digits as i32),
                ..whole
            });
        }
        // age(x) counts from the midnight that today began with.
        if let ("age", [_]) = (name, arguments.as_slice()) {
            let wanted = PgType::from_oid(chosen.arguments[0]).expect("it is a time");
            let today = self.named_call("current_date", Vec::new(), position)?;
            let mut both = vec![self.cast(today, &wanted, CastContext::Explicit)?];
            both.extend(arguments);
            return self.named_call(name, both, position);
        }
        if name == "pg_typeof" {
            let type_name = Expr::Literal(ScalarValue::Utf8(Some(arguments[0].type_name())), None);
            return Ok(Typed::new(
                self.catalog_call("regtype", vec![type_name])?,
                PgType::Regtype,
                position,
            ));
        }
        let arguments = self.as_declared(arguments, &chosen)?;
        if let Some(symbol) = chosen.signature.symbol {
            let mut operands = arguments.into_iter();
            return match (operands.next(), operands.next()) {
                (Some(left), Some(right)) => self.binary(symbol, left, right, position),
                (Some(operand), None) => self.prefix(symbol, operand, position),
                _ => Err(at(not_yet(name, &[]), position)),
            };
        }
        if chosen.signature.kind == FunctionKind::Rows {
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
            None => match Self::result_shape(chosen.result, &arguments) {
                Some(shape) => {
                    let exprs = arguments.into_iter().map(|typed| typed.expr).collect();
                    let expr = Expr::ScalarFunction(ScalarFunction::new_udf(function, exprs));
                    Ok(shape.over(expr, position))
                }
                None => Err(at(not_yet(name, &arguments), position)),
            },
        }
    }

    /// Arguments that a function sees as their texts: rows, and CHAR(n) and BOOLEAN in their text forms.
    fn as_texts(&self, name: &str, arguments: Vec<Typed>) -> Result<Vec<Typed>> {
        let writes_rows = matches!(
            name,
            "concat" | "concat_ws" | "format" | "quote_literal" | "quote_nullable"
        );
        let quotes = name.starts_with("quote_");
        let text = |typed: Typed| match typed.ty {
            _ if writes_rows && typed.has_rows() => self.row_text(&typed),
            Ty::Of(PgType::Array(ref item)) if (writes_rows || name == "array_to_string") && item.is_oid_alias() => {
                self.cast(typed, &PgType::Array(Box::new(PgType::Text)), CastContext::Explicit)
            }
            Ty::Of(PgType::Bool) if quotes && writes_rows => self.cast(typed, &PgType::Text, CastContext::Explicit),
            Ty::Of(PgType::Char(_)) if quotes => {
                let bare = self.bare(typed);
                Ok(Typed::new(
                    cast_to(bare.expr, &PgType::Text),
                    PgType::Text,
                    bare.position,
                ))
            }
            Ty::Of(PgType::Char(_)) if matches!(name, "length" | "char_length" | "character_length") => {
                let bare = self.bare(typed);
                Ok(Typed::new(bare.expr, PgType::Text, bare.position))
            }
            _ => Ok(typed),
        };
        arguments.into_iter().map(text).collect()
    }

    /// The element that a function looks for in an array of CHAR(n): as long as those are, since blanks do not count.
    fn as_elements(&self, name: &str, mut arguments: Vec<Typed>) -> Result<Vec<Typed>> {
        let looks = matches!(
            name,
            "array_position" | "array_positions" | "array_remove" | "array_replace"
        );
        if let (true, [array, element, ..]) = (looks, arguments.as_mut_slice())
            && let Some(PgType::Char(length @ 1..)) = array.pg_type().item()
        {
            let position = element.position;
            let bare = self.bare(self.coerce(element.clone(), &PgType::Char(0))?);
            let bare = Typed::new(bare.expr, PgType::Text, position);
            let length = super::number::integer(i64::from(*length), position);
            // Longer ones stay as they are, and are equal to none.
            let padded = self.named_call("rpad", vec![bare.clone(), length.clone()], position)?;
            let letters = self.named_call("length", vec![bare.clone()], position)?;
            let is_longer = self.binary(">", letters, length, position)?;
            let expr = datafusion::logical_expr::when(is_longer.expr, bare.expr).otherwise(padded.expr)?;
            *element = Typed::new(told(expr, &PgType::Char(0)), PgType::Char(0), position);
        }
        Ok(arguments)
    }

    /// `text(x)` is a cast.
    fn cast_by_call(&self, name: &str, arguments: &[Typed]) -> Result<Option<Typed>> {
        if let [argument] = arguments
            && let Some(pg_type) = type_named(name)
            && match (argument.is_unknown(), &argument.expr) {
                (true, expr) => matches!(expr, Expr::Literal(..)),
                (false, _) => kinds::can_coerce(argument.oid(), pg_type.oid(), CastContext::Explicit),
            }
        {
            return Ok(Some(self.cast(argument.clone(), &pg_type, CastContext::Explicit)?));
        }
        Ok(None)
    }

    /// The arguments of a call as the function that was chosen takes them.
    pub fn as_declared(&self, arguments: Vec<Typed>, chosen: &Chosen) -> Result<Vec<Typed>> {
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

    /// A call of the implementation of a function; `result` is the type that PostgreSQL gives it.
    pub fn call_of(
        &self,
        function: Arc<ScalarUDF>,
        arguments: Vec<Typed>,
        result: &PgType,
        position: Option<usize>,
    ) -> Result<Typed> {
        if function.name() == "array_fill"
            && let Some(filled) = self.filled_array(&function, &arguments, position)?
        {
            return Ok(filled);
        }
        match arguments.iter().any(super::arrays::is_shaped) {
            true => self.shaped_call(function, arguments, result, position),
            false => self.called(function, arguments, result, position),
        }
    }

    /// The same, of arguments in the form that the function takes.
    pub fn called(
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
            // The elements' type is the function's to say.
            _ if *returned.data_type() == DataType::BinaryView => Typed::new(expr, result.clone().shaped(), position),
            _ if result.arrow() == *returned.data_type() => Typed::new(expr, result.clone(), position),
            _ => Typed::new(cast_to(expr, result), result.clone(), position),
        }
    }

    /// COALESCE and the others that are part of the grammar.
    fn grammar_call(&self, name: &str, call: &ast::Function, scope: &Scope, position: Option<usize>) -> Result<Typed> {
        let given = self.arguments(call, scope)?;
        if name == "row" {
            // `ROW(t.*)` has the columns of `t` as fields.
            let written = match &call.args {
                FunctionArguments::List(list) => list.args.as_slice(),
                _ => &[],
            };
            let is_spread = |at: usize| match written.get(at) {
                Some(FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(_))) => true,
                Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))) => {
                    matches!(expr, ast::Expr::QualifiedWildcard(..)) || is_all_fields(expr)
                }
                _ => false,
            };
            let mut fields = Vec::with_capacity(given.arguments.len());
            for (at, typed) in given.arguments.into_iter().enumerate() {
                match typed.fields() {
                    Some(spread) if is_spread(at) => fields.extend(spread.iter().map(|(_, field)| field.clone())),
                    _ => fields.push(typed),
                }
            }
            let fields = fields.into_iter().enumerate();
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
            if left.fields().is_some() {
                let row = self.row_value(left)?;
                let differs = Expr::IsNotTrue(Box::new(equal.expr));
                let kept = datafusion::logical_expr::when(differs, row.expr.clone()).end()?;
                return Ok(row.shape().over(kept, position));
            }
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
            let expr = told(expr, &left.pg_type());
            return Ok(Typed { expr, position, ..left });
        }
        let upper = name.to_uppercase();
        if name == "coalesce" {
            given
                .arguments
                .iter()
                .try_for_each(|typed| super::rows::refuse(typed, &upper))?;
        }
        if given.arguments.iter().any(Typed::has_rows) {
            let (rows, shape) = self.unify_values(given.arguments, &upper)?;
            return self.choice_of_rows(name, rows, &shape, position);
        }
        let common = self.common_type(&given.arguments, &upper)?;
        let typmod = modifier::shared(&given.arguments, &common);
        let arguments = self.unified(given.arguments, &common)?;
        if let [only] = arguments.as_slice() {
            return Ok(Typed {
                position,
                ..only.clone()
            });
        }
        let function = match extreme(name, &common) {
            Some(function) => function,
            None => self.scalar(name).expect("it is a function of the engine's or ours"),
        };
        let exprs = arguments.into_iter().map(|typed| typed.expr).collect();
        let expr = Expr::ScalarFunction(ScalarFunction::new_udf(function, exprs));
        Ok(Typed::new(told(expr, &common), common, position).modified(typmod))
    }
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
    Some(super::from_part::plain_query(ast::SetExpr::Values(values)))
}

fn null_treatment(nulls: ast::NullTreatment) -> NullTreatment {
    match nulls {
        ast::NullTreatment::IgnoreNulls => NullTreatment::IgnoreNulls,
        ast::NullTreatment::RespectNulls => NullTreatment::RespectNulls,
    }
}

const NO_FUNCTION: &str =
    "No function matches the given name and argument types. You might need to add explicit type casts.";

/// 42883
pub fn undefined_function(name: &str, arguments: &[Typed]) -> SqlError {
    let types: Vec<String> = arguments.iter().map(Typed::type_name).collect();
    let message = format!("function {name}({}) does not exist", types.join(", "));
    SqlError::new(state::UNDEFINED_FUNCTION, message).hint(NO_FUNCTION)
}

pub fn choice_failed(failure: NoChoice, name: &str, arguments: &[Typed]) -> SqlError {
    match failure {
        NoChoice::None => undefined_function(name, arguments),
        NoChoice::Ambiguous => {
            let types: Vec<String> = arguments.iter().map(Typed::type_name).collect();
            let message = format!("function {name}({}) is not unique", types.join(", "));
            SqlError::new(state::AMBIGUOUS_FUNCTION, message)
                .hint("Could not choose a best candidate function. You might need to add explicit type casts.")
        }
        NoChoice::Undetermined => SqlError::new(
            state::DATATYPE_MISMATCH,
            "could not determine polymorphic type because input has type unknown",
        ),
    }
}

/// 0A000 for a function that PostgreSQL has and this server does not.
pub fn not_yet(name: &str, arguments: &[Typed]) -> SqlError {
    let types: Vec<String> = arguments.iter().map(Typed::type_name).collect();
    SqlError::unsupported(
        format!("function {name}({}) is not supported", types.join(", ")),
        "docs/compat.md lists the functions that are not there yet.",
    )
}

/// The type of an array's elements, or the type itself.
pub fn bottom(pg_type: &PgType) -> &PgType {
    match pg_type {
        PgType::Array(item) | PgType::Shaped(item) => bottom(item),
        scalar => scalar,
    }
}

/// Whether a name as written, folded to `name`, is a word of PostgreSQL's grammar for types, which begins no call unless
/// it is quoted.
fn is_type_word(written: &ast::ObjectName, name: &str) -> bool {
    const WORDS: [&str; 18] = [
        "bigint",
        "bit",
        "boolean",
        "char",
        "character",
        "dec",
        "decimal",
        "float",
        "int",
        "integer",
        "interval",
        "nchar",
        "numeric",
        "real",
        "smallint",
        "time",
        "timestamp",
        "varchar",
    ];
    let [part] = written.0.as_slice() else { return false };
    part.as_ident().is_some_and(|ident| ident.quote_style.is_none()) && WORDS.contains(&name)
}

/// The type whose name in `pg_type` that is.
fn type_named(name: &str) -> Option<PgType> {
    match name {
        "char" => PgType::from_oid(kinds::INTERNAL_CHAR),
        name => PgType::parse(name).filter(|pg_type| pg_type.catalog_name() == name),
    }
}

/// Vectors as the arrays that they are, but for a function that takes vectors or anything.
fn unpacked(name: &str, arguments: Vec<Typed>) -> Vec<Typed> {
    let is_vector = |typed: &Typed| typed.pg_type().vector_item().is_some();
    if !arguments.iter().any(is_vector) {
        return arguments;
    }
    let takes = |oid: u32| {
        let mut all = signatures::of(name).iter();
        all.any(|signature| signature.arguments.contains(&oid) || signature.arguments.contains(&kinds::ANY))
    };
    let unpacked = arguments.into_iter().map(|typed| match takes(typed.oid()) {
        true => typed,
        false => super::arrays::unpacked(typed),
    });
    unpacked.collect()
}
