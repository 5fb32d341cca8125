//! Expressions: each form of the syntax tree to a typed expression of the plan.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{Between, Case, InList};
use datafusion::logical_expr::{Expr, Operator};
use sqlparser::ast::Spanned;
use sqlparser::ast::{self, BinaryOperator, DateTimeField, UnaryOperator, Value};

use super::kinds;
use super::modifier;
use super::operators::{binary, has, truth};
use super::populate::{cast_to_record, record_type};
use super::repetition::is_query;
use super::scope::Scope;
use super::type_modifier::wrong_length;
use super::typed::{Typed, at, literal};
use super::{Analyzer, Result};
use crate::error::{SqlError, state};
use crate::sql::functions::{datetime_extract, like_escape};
use crate::sql::plan::names::fold;
use crate::stop;
use crate::types::PgType;

impl Analyzer<'_> {
    /// One expression.
    pub fn expr(&self, expr: &ast::Expr, scope: &Scope) -> Result<Typed> {
        stop::check()?;
        match is_query(expr) {
            true => self.repeated(expr, scope, self.position(expr.span())),
            false => self.analyzed(expr, scope),
        }
    }

    /// The same, whether it stands elsewhere in the query or not.
    pub fn analyzed(&self, expr: &ast::Expr, scope: &Scope) -> Result<Typed> {
        let place = || self.position(expr.span());
        match expr {
            ast::Expr::Identifier(ident) => self.column(ident, scope),
            ast::Expr::CompoundIdentifier(idents) => self.qualified(idents, scope),
            ast::Expr::CompoundFieldAccess { root, access_chain } => self.access(root, access_chain, scope),
            ast::Expr::Nested(inner) => self.expr(inner, scope),
            ast::Expr::Value(value) => self.value(&value.value, self.position(value.span)),
            ast::Expr::TypedString(typed) => {
                let wanted = self.data_type(&typed.data_type, place())?;
                let value = self.value(&typed.value.value, self.position(typed.value.span))?;
                self.cast_to_written(value, &typed.data_type, &wanted)
            }
            ast::Expr::Interval(interval) => self.interval(interval, scope, place()),
            ast::Expr::Cast {
                expr, data_type, kind, ..
            } => {
                if !matches!(kind, ast::CastKind::Cast | ast::CastKind::DoubleColon) {
                    return Err(SqlError::new(state::SYNTAX_ERROR, "only CAST and :: are casts"));
                }
                if let Some((name, columns)) = self.row_type(data_type) {
                    return self.cast_to_row(self.expr(expr, scope)?, &name, columns);
                }
                if let Some(of_arrays) = record_type(data_type) {
                    return cast_to_record(self.expr(expr, scope)?, of_arrays);
                }
                let wanted = self.data_type(data_type, None)?;
                let mut inner = expr.as_ref();
                while let ast::Expr::Nested(nested) = inner {
                    inner = nested;
                }
                let typed = match inner {
                    // ARRAY[]::int[] has elements of that type.
                    ast::Expr::Array(array) if wanted.item().is_some() => {
                        self.array(array, Some(&wanted), scope, place())?
                    }
                    _ => self.expr(expr, scope)?,
                };
                self.cast_to_written(typed, data_type, &wanted)
            }
            ast::Expr::UnaryOp { op, expr: operand } => self.unary(*op, operand, scope, place()),
            ast::Expr::BinaryOp { left, op, right } => self.binary_op(left, op, right, scope),
            ast::Expr::IsNull(inner) => self.is_null(inner, false, scope),
            ast::Expr::IsNotNull(inner) => self.is_null(inner, true, scope),
            ast::Expr::IsTrue(inner) => self.is_truth(inner, "IS TRUE", Expr::IsTrue, scope),
            ast::Expr::IsNotTrue(inner) => self.is_truth(inner, "IS NOT TRUE", Expr::IsNotTrue, scope),
            ast::Expr::IsFalse(inner) => self.is_truth(inner, "IS FALSE", Expr::IsFalse, scope),
            ast::Expr::IsNotFalse(inner) => self.is_truth(inner, "IS NOT FALSE", Expr::IsNotFalse, scope),
            ast::Expr::IsUnknown(inner) => self.is_truth(inner, "IS UNKNOWN", Expr::IsNull, scope),
            ast::Expr::IsNotUnknown(inner) => self.is_truth(inner, "IS NOT UNKNOWN", Expr::IsNotNull, scope),
            ast::Expr::IsDistinctFrom(left, right) => self.distinct(left, right, true, scope),
            ast::Expr::IsNotDistinctFrom(left, right) => self.distinct(left, right, false, scope),
            ast::Expr::InList { expr, list, negated } => self.in_list(expr, list, *negated, scope),
            ast::Expr::InSubquery {
                expr,
                subquery,
                negated,
            } => self.in_subquery(expr, subquery, *negated, scope),
            ast::Expr::Between {
                expr,
                negated,
                low,
                high,
            } => self.between(expr, *negated, low, high, scope),
            ast::Expr::Like {
                negated,
                any,
                expr,
                pattern,
                escape_char,
            } => self.like(expr, pattern, escape_char.as_ref(), (*negated, false, *any), scope),
            ast::Expr::ILike {
                negated,
                any,
                expr,
                pattern,
                escape_char,
            } => self.like(expr, pattern, escape_char.as_ref(), (*negated, true, *any), scope),
            ast::Expr::SimilarTo {
                negated,
                expr,
                pattern,
                escape_char,
            } => self.similar(expr, pattern, escape_char.as_ref(), *negated, scope),
            ast::Expr::AnyOp {
                left,
                compare_op,
                right,
                ..
            } => self.quantified(left, compare_op, right, false, scope),
            ast::Expr::AllOp {
                left,
                compare_op,
                right,
            } => self.quantified(left, compare_op, right, true, scope),
            ast::Expr::AtTimeZone { timestamp, time_zone } => {
                let given = vec![self.expr(time_zone, scope)?, self.expr(timestamp, scope)?];
                self.named_call("timezone", given, place())
            }
            ast::Expr::Extract { field, expr, .. } => self.extract(field, expr, scope, place()),
            ast::Expr::Ceil { expr, field } => self.rounded("ceil", expr, field, scope, place()),
            ast::Expr::Floor { expr, field } => self.rounded("floor", expr, field, scope, place()),
            ast::Expr::Position { expr, r#in } => {
                let given = vec![self.expr(r#in, scope)?, self.expr(expr, scope)?];
                match given.iter().any(|typed| typed.oid() == kinds::BYTEA) {
                    true => self.named_call("position", given, place()),
                    false => self.named_call("strpos", given, place()),
                }
            }
            ast::Expr::Substring {
                expr,
                substring_from,
                substring_for,
                shorthand,
                ..
            } => self.substring(
                if *shorthand { "substr" } else { "substring" },
                expr,
                (substring_from.as_deref(), substring_for.as_deref()),
                scope,
                place(),
            ),
            ast::Expr::Overlay {
                expr,
                overlay_what,
                overlay_from,
                overlay_for,
            } => {
                let mut given = vec![
                    self.expr(expr, scope)?,
                    self.expr(overlay_what, scope)?,
                    self.expr(overlay_from, scope)?,
                ];
                if let Some(count) = overlay_for {
                    given.push(self.expr(count, scope)?);
                }
                self.named_call("overlay", given, place())
            }
            ast::Expr::Trim {
                trim_where,
                trim_what,
                expr,
                trim_characters,
            } => {
                let mut given = vec![self.expr(expr, scope)?];
                let characters = trim_what
                    .as_deref()
                    .or_else(|| trim_characters.as_ref().and_then(|all| all.first()));
                if let Some(characters) = characters {
                    given.push(self.expr(characters, scope)?);
                }
                let name = match trim_where {
                    Some(ast::TrimWhereField::Leading) => "ltrim",
                    Some(ast::TrimWhereField::Trailing) => "rtrim",
                    _ => "btrim",
                };
                self.named_call(name, given, place())
            }
            ast::Expr::Collate { expr, collation } => {
                let name = collation.0.last().and_then(|part| part.as_ident());
                let name = name.map_or(String::new(), |name| name.value.clone());
                if !matches!(name.as_str(), "default" | "C" | "POSIX" | "ucs_basic") {
                    let message = format!("collation \"{name}\" for encoding \"UTF8\" does not exist");
                    return Err(SqlError::new(state::UNDEFINED_OBJECT, message));
                }
                let typed = self.expr(expr, scope)?;
                let item = match typed.pg_type() {
                    PgType::Array(item) => *item,
                    other => other,
                };
                if typed.fields().is_some() || kinds::category(item.oid()) != b'S' {
                    let message = format!("collations are not supported by type {}", typed.type_name());
                    return Err(at(SqlError::new(state::DATATYPE_MISMATCH, message), place()));
                }
                Ok(typed)
            }
            ast::Expr::Function(call) => self.function(call, scope),
            ast::Expr::Case {
                operand,
                conditions,
                else_result,
                ..
            } => {
                let typed = self.case(operand.as_deref(), conditions, else_result.as_deref(), scope, place())?;
                super::rows::refuse(&typed, "CASE")?;
                Ok(typed)
            }
            ast::Expr::Exists { subquery, negated } => self.exists(subquery, *negated, scope),
            ast::Expr::Subquery(query) => self.scalar_subquery(query, scope, place()),
            ast::Expr::Tuple(items) => {
                let fields = items.iter().enumerate().map(|(at, item)| {
                    let typed = self.expr(item, scope)?;
                    Ok((format!("f{}", at + 1), typed))
                });
                Ok(Typed::row(fields.collect::<Result<_>>()?, place()))
            }
            ast::Expr::Array(array) => self.array(array, None, scope, place()),
            ast::Expr::IsNormalized { expr, form, negated } => {
                let mut given = vec![self.expr(expr, scope)?];
                if let Some(form) = form {
                    let form = Expr::Literal(ScalarValue::Utf8(Some(form.to_string())), None);
                    given.push(Typed::unknown(form, place()));
                }
                let typed = self.named_call("is_normalized", given, place())?;
                Ok(match negated {
                    true => Typed::boolean(Expr::Not(Box::new(typed.expr)), place()),
                    false => typed,
                })
            }
            ast::Expr::QualifiedWildcard(name, _) => {
                let idents: Vec<ast::Ident> = name.0.iter().filter_map(|part| part.as_ident().cloned()).collect();
                self.item_row(&idents, scope)
            }
            other => Err(at(
                SqlError::new(state::SYNTAX_ERROR, format!("syntax error at or near \"{other}\"")),
                place(),
            )),
        }
    }

    fn value(&self, value: &Value, position: Option<usize>) -> Result<Typed> {
        let text = |text: &str| {
            let value = ScalarValue::Utf8(Some(text.to_string()));
            Ok(Typed::unknown(Expr::Literal(value, None), position))
        };
        match value {
            Value::Number(digits, _) => super::number::number(digits, position),
            Value::SingleQuotedString(value)
            | Value::EscapedStringLiteral(value)
            | Value::UnicodeStringLiteral(value)
            | Value::NationalStringLiteral(value) => text(value),
            Value::DollarQuotedString(value) => text(&value.value),
            Value::Boolean(value) => Ok(Typed::boolean(truth(Some(*value)), position)),
            Value::Null => Ok(Typed::unknown(Expr::Literal(ScalarValue::Null, None), position)),
            Value::Placeholder(id) => self.parameter(id, position),
            other => Err(at(
                SqlError::unsupported(
                    format!("the constant {other} is of a type that is not supported"),
                    "Write an integer, which has the operators &, |, #, ~, << and >>, or bytes: '\\x...'::bytea.",
                ),
                position,
            )),
        }
    }

    /// A type as it is written.
    pub fn data_type(&self, data_type: &ast::DataType, position: Option<usize>) -> Result<PgType> {
        let written = data_type.to_string();
        let lower = match written.contains('"') {
            true => written.clone(),
            false => written.to_lowercase(),
        };
        let database = format!("{}.", self.ctx.database);
        let lower = lower.strip_prefix(&database).unwrap_or(&lower).to_string();
        let bare = lower
            .strip_prefix("pg_catalog.")
            .or_else(|| lower.strip_prefix("information_schema."))
            .unwrap_or(&lower);
        let (item, brackets) = match bare.find('[') {
            Some(open) => bare.split_at(open),
            None => (bare, ""),
        };
        let held = match item {
            "aclitem" | "cstring" | "anyarray" | "sql_identifier" | "character_data" | "yes_or_no" | "_aclitem" => {
                Some("text")
            }
            "cardinal_number" => Some("integer"),
            _ => None,
        };
        let spelled = match held {
            Some(held) => format!("{held}{brackets}"),
            None => bare.to_string(),
        };
        if let Some((known, _)) = PgType::parse_written(&spelled) {
            return Ok(known);
        }
        let error = match data_type {
            ast::DataType::Numeric(info) | ast::DataType::Decimal(info) | ast::DataType::Dec(info) => {
                crate::sql::parse::numeric_out_of_range(info)
            }
            _ => match (wrong_length(data_type), item.split_once('.')) {
                (Some(error), _) => error,
                (None, Some((schema, _))) if !self.ctx.catalog.schemas.contains_key(schema) => SqlError::new(
                    state::INVALID_SCHEMA_NAME,
                    format!("schema \"{}\" does not exist", schema.trim_matches('"')),
                ),
                _ => {
                    let shown = lower.split('[').next().unwrap_or_default().trim_matches('"');
                    let unknown = || SqlError::new(state::UNDEFINED_OBJECT, format!("type \"{shown}\" does not exist"));
                    crate::sql::parse::missing_type(shown).unwrap_or_else(unknown)
                }
            },
        };
        Err(at(error, position))
    }

    fn unary(&self, op: UnaryOperator, operand: &ast::Expr, scope: &Scope, place: Option<usize>) -> Result<Typed> {
        // A sign belongs to the number that it stands before: -2147483648 is an INTEGER.
        let mut inner = operand;
        while let ast::Expr::Nested(nested) = inner {
            inner = nested;
        }
        if let (UnaryOperator::Minus, ast::Expr::Value(value)) = (op, inner)
            && let Value::Number(digits, _) = &value.value
        {
            return super::number::number(&format!("-{digits}"), place);
        }
        // So does `::` than a sign.
        let typed = self.expr(operand, scope)?;
        let symbol = match op {
            UnaryOperator::Not | UnaryOperator::BangNot => {
                let condition = self.condition(typed, "NOT")?;
                return Ok(Typed::boolean(Expr::Not(Box::new(condition)), place));
            }
            UnaryOperator::Plus => "+",
            UnaryOperator::Minus => "-",
            UnaryOperator::BitwiseNot => "~",
            UnaryOperator::PGAbs => "@",
            UnaryOperator::PGSquareRoot => "|/",
            UnaryOperator::PGCubeRoot => "||/",
            other => return Err(unknown_operator(&other.to_string(), place)),
        };
        self.prefix(symbol, typed, place)
    }

    fn binary_op(&self, left: &ast::Expr, op: &BinaryOperator, right: &ast::Expr, scope: &Scope) -> Result<Typed> {
        if let BinaryOperator::And | BinaryOperator::Or = op {
            return self.logic(left, op, right, scope);
        }
        if let BinaryOperator::Overlaps = op {
            let mut given = Vec::with_capacity(4);
            for side in [left, right] {
                let typed = self.expr(side, scope)?;
                match typed.fields() {
                    Some([(_, start), (_, end)]) => given.extend([start.clone(), end.clone()]),
                    _ => {
                        return Err(SqlError::new(
                            state::SYNTAX_ERROR,
                            "wrong number of parameters on left side of OVERLAPS expression",
                        ));
                    }
                }
            }
            return self.named_call("overlaps", given, self.position(left.span()));
        }
        let symbol = symbol_of(op);
        let place = self.symbol_position(left, &symbol);
        // A row beside a subquery is compared with its only row.
        let is_row = |expr: &ast::Expr| match expr {
            ast::Expr::Tuple(_) => true,
            ast::Expr::Function(call) => names_row(&call.name),
            _ => false,
        };
        let right_is_row = is_row(right);
        let (left_is_row, left) = (is_row(left), self.operand_of(left, right_is_row, scope)?);
        let right = self.operand_of(right, left_is_row, scope)?;
        // A row of one column that is a row is that one.
        let left = match (left.fields(), right.fields()) {
            (Some([(_, only)]), Some(fields)) if fields.len() > 1 && only.fields().is_some() => only.clone(),
            _ => left,
        };
        self.binary(&symbol, left, right, place)
    }

    fn operand_of(&self, expr: &ast::Expr, beside_row: bool, scope: &Scope) -> Result<Typed> {
        match expr {
            ast::Expr::Subquery(query) if beside_row => self.row_subquery(query, scope),
            other => self.expr(other, scope),
        }
    }

    /// A chain of AND or OR is as long as it is written, and not as deep.
    fn logic(&self, left: &ast::Expr, op: &BinaryOperator, right: &ast::Expr, scope: &Scope) -> Result<Typed> {
        let (operator, name) = match op {
            BinaryOperator::And => (Operator::And, "AND"),
            _ => (Operator::Or, "OR"),
        };
        let mut rest = vec![right];
        let mut first = left;
        while let ast::Expr::BinaryOp { left, op: inner, right } = first
            && inner == op
        {
            rest.push(right);
            first = left;
        }
        let first = self.expr(first, scope)?;
        let position = first.position;
        let mut made = self.condition(first, name)?;
        for operand in rest.into_iter().rev() {
            let operand = self.expr(operand, scope)?;
            made = binary(made, operator, self.condition(operand, name)?);
        }
        Ok(Typed::boolean(made, position))
    }

    /// The position of an operator: after its left operand.
    fn symbol_position(&self, left: &ast::Expr, symbol: &str) -> Option<usize> {
        let text = self.ctx.text;
        let end = left.span().end;
        if text.is_empty() || end.column == 0 {
            return None;
        }
        let start = usize::try_from(end.column).ok()?.saturating_sub(1);
        let mut rest = text.chars().skip(start).enumerate();
        let first = symbol.chars().next()?;
        let (offset, _) = rest.find(|(_, c)| *c == first)?;
        (offset < 64).then_some(start + offset + 1)
    }

    fn in_list(&self, expr: &ast::Expr, list: &[ast::Expr], negated: bool, scope: &Scope) -> Result<Typed> {
        let value = self.expr(expr, scope)?;
        let position = value.position;
        let mut items = Vec::with_capacity(list.len());
        for item in list {
            items.push(self.expr(item, scope)?);
        }
        let plain = value.fields().is_none() && items.iter().all(|item| item.fields().is_none());
        if plain {
            let mut all = vec![value.clone()];
            all.extend(items.iter().cloned());
            let oids: Vec<u32> = all.iter().map(Typed::oid).collect();
            // A single parameter is compared as `=` does it.
            let alone =
                matches!(items.as_slice(), [only] if only.is_unknown() && matches!(only.expr, Expr::Placeholder(_)));
            // There is no array of arrays: they are compared one by one.
            let shared = super::choose::common(&oids);
            let shared = shared.filter(|oid| !is_array(*oid));
            if !alone && shared.is_some() && items.iter().all(|item| is_listable(&item.expr)) {
                // A value without a type has that of the operator, which VARCHAR has none of.
                if all[0].is_unknown() && self.common_type(&all, "IN")?.oid() == kinds::VARCHAR {
                    all[0] = self.coerce(all[0].clone(), &PgType::Text)?;
                }
                let (mut all, common) = match shared {
                    Some(kinds::BPCHAR) => {
                        let bare = |typed: Typed| match typed.oid() {
                            kinds::BPCHAR => Ok(self.bare(typed)),
                            _ => Ok(self.bare(self.coerce(typed, &PgType::Char(0))?)),
                        };
                        let all = all.into_iter().map(bare).collect::<Result<Vec<Typed>>>()?;
                        (all, PgType::Char(0))
                    }
                    _ => self.unify(all, "IN")?,
                };
                // Lengths are compared where intervals are: one by one.
                if common != PgType::Interval {
                    let value = all.remove(0);
                    let list = all.into_iter().map(|item| item.expr).collect();
                    let expr = Expr::InList(InList::new(Box::new(value.expr), list, negated));
                    return Ok(Typed::boolean(expr, position));
                }
            }
        }
        // Items that name no column have a type in common; others are compared one by one.
        let mut constants = vec![value.clone()];
        constants.extend(items.iter().filter(|item| is_constant(&item.expr)).cloned());
        let oids: Vec<u32> = constants.iter().map(Typed::oid).collect();
        if plain && constants.len() > 2 && super::choose::common(&oids).is_some_and(|oid| !is_array(oid)) {
            let common = self.common_type(&constants, "IN")?;
            for item in items.iter_mut().filter(|item| item.is_unknown()) {
                *item = self.coerce(item.clone(), &common)?;
            }
        }
        let (symbol, operator) = match negated {
            false => ("=", Operator::Or),
            true => ("<>", Operator::And),
        };
        let mut made: Option<Expr> = None;
        for item in items {
            let compared = self.binary(symbol, value.clone(), item, position)?.expr;
            made = Some(match made {
                Some(before) => binary(before, operator, compared),
                None => compared,
            });
        }
        Ok(Typed::boolean(made.unwrap_or_else(|| truth(Some(negated))), position))
    }

    fn between(
        &self,
        expr: &ast::Expr,
        negated: bool,
        low: &ast::Expr,
        high: &ast::Expr,
        scope: &Scope,
    ) -> Result<Typed> {
        let value = self.expr(expr, scope)?;
        let position = value.position;
        let (low, high) = (self.expr(low, scope)?, self.expr(high, scope)?);
        let alike = low.pg_type() == high.pg_type();
        let above = self.binary(">=", value.clone(), low, None)?;
        // A parameter has the type by now that the lower bound gave it.
        let value = match value.is_unknown() {
            true => self.expr(expr, scope)?,
            false => value,
        };
        let below = self.binary("<=", value, high, None)?;
        // One expression where the value is compared as one type.
        if let (Expr::BinaryExpr(above), Expr::BinaryExpr(below)) = (&above.expr, &below.expr)
            && above.op == Operator::GtEq
            && below.op == Operator::LtEq
            && above.left == below.left
            && alike
        {
            let between = Between::new(above.left.clone(), negated, above.right.clone(), below.right.clone());
            return Ok(Typed::boolean(Expr::Between(between), position));
        }
        let both = binary(above.expr, Operator::And, below.expr);
        let made = match negated {
            true => Expr::Not(Box::new(both)),
            false => both,
        };
        Ok(Typed::boolean(made, position))
    }

    fn like(
        &self,
        expr: &ast::Expr,
        pattern: &ast::Expr,
        escape: Option<&ast::ValueWithSpan>,
        (negated, case_insensitive, any): (bool, bool, bool),
        scope: &Scope,
    ) -> Result<Typed> {
        let value = self.expr(expr, scope)?;
        let position = value.position;
        if any {
            let array = self.expr(pattern, scope)?;
            let symbol = like_symbol(negated, case_insensitive);
            return self.any_of_array(symbol, value, array, false, position);
        }
        // `LIKE ANY (array)` and `LIKE ALL (array)`
        if let ast::Expr::Function(call) = pattern
            && let [part] = call.name.0.as_slice()
            && let Some(quantifier) = part.as_ident().map(fold)
            && matches!(quantifier.as_str(), "any" | "some" | "all")
            && let ast::FunctionArguments::List(list) = &call.args
            && let [ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(array))] = list.args.as_slice()
        {
            let array = self.expr(array, scope)?;
            let symbol = like_symbol(negated, case_insensitive);
            return self.any_of_array(symbol, value, array, quantifier == "all", position);
        }
        let mut pattern = self.expr(pattern, scope)?;
        if let Some(escape) = escape {
            let escape = self.value(&escape.value, self.position(escape.span))?;
            let mark = escape.literal().unwrap_or("\\").to_string();
            if mark.chars().count() > 1 {
                return Err(at(
                    SqlError::new(INVALID_ESCAPE_SEQUENCE, "invalid escape string")
                        .hint("Escape string must be empty or one character."),
                    escape.position,
                ));
            }
            if pattern.pg_type() == PgType::Bytea {
                pattern = self.named_call("like_escape", vec![pattern, escape], position)?;
            } else if mark != "\\" {
                let escape = self.coerce(escape, &PgType::Text)?;
                pattern = self.coerce(pattern, &PgType::Text)?;
                pattern = match &pattern.expr {
                    Expr::Literal(ScalarValue::Utf8(Some(text)), _) => {
                        let text = like_escape(text, &mark).map_err(|error| at(error, escape.position))?;
                        let expr = literal(ScalarValue::Utf8(Some(text)), &PgType::Text);
                        Typed { expr, ..pattern }
                    }
                    _ => self.named_call("like_escape", vec![pattern, escape], position)?,
                };
            }
        }
        let typed = self.binary(like_symbol(negated, case_insensitive), value, pattern, position)?;
        Ok(Typed { position, ..typed })
    }

    fn similar(
        &self,
        expr: &ast::Expr,
        pattern: &ast::Expr,
        escape: Option<&ast::ValueWithSpan>,
        negated: bool,
        scope: &Scope,
    ) -> Result<Typed> {
        let value = self.expr(expr, scope)?;
        let position = value.position;
        let value = match value.pg_type() {
            PgType::Char(1..) if !value.has_rows() => self.padded(value)?,
            _ => self.settle(value)?,
        };
        let pattern = self.coerce(self.expr(pattern, scope)?, &PgType::Text)?;
        let mut given = vec![pattern];
        if let Some(escape) = escape {
            let escape = self.value(&escape.value, self.position(escape.span))?;
            given.push(self.coerce(escape, &PgType::Text)?);
        }
        let function = self.scalar("similar_to_escape").expect("it is a function of ours");
        let pattern = self.call_of(function, given, &PgType::Text, position)?;
        let symbol = if negated { "!~" } else { "~" };
        self.binary(symbol, value, pattern, position)
    }

    fn quantified(
        &self,
        left: &ast::Expr,
        op: &BinaryOperator,
        right: &ast::Expr,
        all: bool,
        scope: &Scope,
    ) -> Result<Typed> {
        let symbol = symbol_of(op);
        let mut inner = right;
        while let ast::Expr::Nested(nested) = inner {
            inner = nested;
        }
        let value = self.expr(left, scope)?;
        let place = self.symbol_position(left, &symbol);
        if let ast::Expr::Subquery(query) = inner {
            return self.quantified_subquery(&symbol, value, query, all, scope, place);
        }
        let array = self.expr(inner, scope)?;
        self.any_of_array(&symbol, value, array, all, place)
    }

    fn extract(
        &self,
        field: &DateTimeField,
        expr: &ast::Expr,
        scope: &Scope,
        position: Option<usize>,
    ) -> Result<Typed> {
        let field = match field {
            DateTimeField::Custom(ident) => ident.value.clone(),
            other => other.to_string(),
        };
        let text = Expr::Literal(ScalarValue::Utf8(Some(field.to_lowercase())), None);
        let given = vec![Typed::unknown(text, position), self.expr(expr, scope)?];
        let types: Vec<u32> = given.iter().map(Typed::oid).collect();
        let candidates: Vec<_> = super::signatures::of("extract").iter().collect();
        let chosen = super::choose::function(&candidates, &types).map_err(|failure| {
            at(
                super::call::choice_failed(failure, "pg_catalog.extract", &given),
                position,
            )
        })?;
        if chosen.signature.is_lacking {
            return Err(at(super::call::not_yet("extract", &given), position));
        }
        let mut arguments = Vec::with_capacity(2);
        for (typed, wanted) in given.into_iter().zip(&chosen.arguments) {
            let wanted = PgType::from_oid(*wanted).expect("its arguments are types");
            arguments.push(self.coerce(typed, &wanted)?);
        }
        self.call_of(datetime_extract(), arguments, &PgType::Numeric(None), position)
    }

    fn rounded(
        &self,
        name: &str,
        expr: &ast::Expr,
        field: &ast::CeilFloorKind,
        scope: &Scope,
        position: Option<usize>,
    ) -> Result<Typed> {
        match field {
            ast::CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => {
                let given = vec![self.expr(expr, scope)?];
                self.named_call(name, given, position)
            }
            _ => Err(at(
                SqlError::new(state::SYNTAX_ERROR, format!("{name} takes one number")),
                position,
            )),
        }
    }

    fn substring(
        &self,
        name: &str,
        expr: &ast::Expr,
        (from, count): (Option<&ast::Expr>, Option<&ast::Expr>),
        scope: &Scope,
        position: Option<usize>,
    ) -> Result<Typed> {
        let mut given = vec![self.expr(expr, scope)?];
        match (from, count) {
            (Some(from), count) => {
                given.push(self.expr(from, scope)?);
                if let Some(count) = count {
                    given.push(self.expr(count, scope)?);
                }
            }
            (None, Some(count)) => {
                given.push(super::number::integer(1, position));
                given.push(self.expr(count, scope)?);
            }
            (None, None) => {}
        }
        self.named_call(name, given, position)
    }

    /// CASE of an operand that is computed once.
    fn case_of(
        &self,
        operand: Typed,
        conditions: &[ast::CaseWhen],
        otherwise: Option<&ast::Expr>,
        scope: &Scope,
        position: Option<usize>,
    ) -> Result<Typed> {
        let mut compared = vec![operand];
        let mut results = Vec::with_capacity(conditions.len() + 1);
        for arm in conditions {
            compared.push(self.expr(&arm.condition, scope)?);
            results.push(self.expr(&arm.result, scope)?);
        }
        if let Some(otherwise) = otherwise {
            results.push(self.expr(otherwise, scope)?);
        }
        let (mut compared, _) = self.unify(compared, "CASE/WHEN")?;
        let operand = compared.remove(0);
        let branches = results.clone();
        let (mut results, common) = self.unify_values(results, "CASE")?;
        let typmod = modifier::shared_of(&branches, &common).filter(|_| otherwise.is_some());
        let otherwise = otherwise.and_then(|_| results.pop()).map(|typed| Box::new(typed.expr));
        let arms = compared.into_iter().zip(results);
        let arms = arms
            .map(|(test, result)| (Box::new(test.expr), Box::new(result.expr)))
            .collect();
        let case = Expr::Case(Case::new(Some(Box::new(operand.expr)), arms, otherwise));
        Ok(common.told_over(case, position).modified(typmod))
    }

    fn case(
        &self,
        operand: Option<&ast::Expr>,
        conditions: &[ast::CaseWhen],
        otherwise: Option<&ast::Expr>,
        scope: &Scope,
        position: Option<usize>,
    ) -> Result<Typed> {
        let operand = operand.map(|operand| self.expr(operand, scope)).transpose()?;
        // As one without a type it would be compared as a value of another type in each arm.
        let operand = operand
            .map(|operand| match operand.is_unknown() {
                true => self.coerce(operand, &PgType::Text),
                false => Ok(operand),
            })
            .transpose()?;
        // An operand that changes by itself is looked at once.
        let is_volatile = operand.as_ref().is_some_and(|operand| operand.expr.is_volatile());
        if let (Some(operand), true) = (&operand, is_volatile) {
            return self.case_of(operand.clone(), conditions, otherwise, scope, position);
        }
        let mut tests = Vec::with_capacity(conditions.len());
        let mut results = Vec::with_capacity(conditions.len() + 1);
        for arm in conditions {
            let test = self.expr(&arm.condition, scope)?;
            tests.push(match &operand {
                Some(operand) => self.binary("=", operand.clone(), test, None)?.expr,
                None => self.condition(test, "CASE/WHEN")?,
            });
            results.push(self.expr(&arm.result, scope)?);
        }
        // PostgreSQL looks at ELSE first.
        if let Some(otherwise) = otherwise {
            results.insert(0, self.expr(otherwise, scope)?);
        }
        let branches = results.clone();
        let (mut results, common) = self.unify_values(results, "CASE")?;
        // Without ELSE the last branch is a NULL without a modifier.
        let typmod = modifier::shared_of(&branches, &common).filter(|_| otherwise.is_some());
        let otherwise = otherwise.map(|_| Box::new(results.remove(0).expr));
        let arms = tests.into_iter().zip(results);
        let arms = arms.map(|(test, result)| (Box::new(test), Box::new(result.expr)));
        let case = Expr::Case(Case::new(None, arms.collect(), otherwise));
        Ok(common.told_over(case, position).modified(typmod))
    }
}

/// An operator as PostgreSQL names it.
fn symbol_of(op: &BinaryOperator) -> String {
    match op {
        BinaryOperator::PGCustomBinaryOperator(parts) => parts.last().cloned().unwrap_or_default(),
        BinaryOperator::Custom(symbol) => symbol.clone(),
        BinaryOperator::PGLikeMatch => "~~".to_string(),
        BinaryOperator::PGILikeMatch => "~~*".to_string(),
        BinaryOperator::PGNotLikeMatch => "!~~".to_string(),
        BinaryOperator::PGNotILikeMatch => "!~~*".to_string(),
        other => other.to_string(),
    }
}

/// Whether an expression has one value for all rows: the engine computes a list of such once.
pub fn is_constant(expr: &Expr) -> bool {
    !expr.is_volatile()
        && !has(expr, |node| {
            matches!(
                node,
                Expr::Column(_)
                    | Expr::OuterReferenceColumn(..)
                    | Expr::ScalarSubquery(_)
                    | Expr::Exists(_)
                    | Expr::InSubquery(_)
                    | Expr::SetComparison(_)
            )
        })
}

/// Whether an expression is a constant that the engine may keep in a list: it computes the list over no rows, for which an
/// expression that chooses by rows is NULL.
pub fn is_listable(expr: &Expr) -> bool {
    is_constant(expr)
        && !has(expr, |node| match node {
            Expr::Case(_) => true,
            Expr::ScalarFunction(call) => {
                call.func.short_circuits() || matches!(call.func.name(), "coalesce" | "nullif")
            }
            _ => false,
        })
}

fn is_array(oid: u32) -> bool {
    PgType::from_oid(oid).is_some_and(|pg_type| pg_type.item().is_some())
}

/// `ROW(...)`
fn names_row(name: &ast::ObjectName) -> bool {
    match name.0.as_slice() {
        [part] => part.as_ident().is_some_and(|name| fold(name) == "row"),
        _ => false,
    }
}

fn like_symbol(negated: bool, case_insensitive: bool) -> &'static str {
    match (negated, case_insensitive) {
        (false, false) => "~~",
        (true, false) => "!~~",
        (false, true) => "~~*",
        (true, true) => "!~~*",
    }
}

fn unknown_operator(symbol: &str, place: Option<usize>) -> SqlError {
    let message = format!("operator does not exist: {symbol}");
    at(SqlError::new(state::UNDEFINED_FUNCTION, message), place)
}

/// 22025
const INVALID_ESCAPE_SEQUENCE: crate::error::SqlState = crate::error::SqlState("22025");
