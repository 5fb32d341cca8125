//! Expressions with another order of operators in `sqlparser` than in PostgreSQL, and some that `sqlparser` does not
//! know.
//!
//! One rule: precedence is that of PostgreSQL's grammar (its `gram.y`, from OR up to `::`), and if that lets no two
//! operators follow each other (`a < b < c`), the second one is a syntax error.
//!
//! ```text
//! OR  AND  NOT  IS  < > = <= >= <>  BETWEEN IN LIKE SIMILAR  other operators  + -  * / %  ^  AT  COLLATE  sign  []  ::  .
//! ```

use sqlparser::ast::{self, BinaryOperator, Expr, UnaryOperator};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use crate::error::Result;

const NONE: u8 = 0;
const OR: u8 = 10;
const AND: u8 = 20;
const IS: u8 = 40;
const COMPARISON: u8 = 50;
const LIKE: u8 = 60;
const OPERATOR: u8 = 70;
const SUM: u8 = 80;
const PRODUCT: u8 = 90;
const POWER: u8 = 100;
const AT: u8 = 110;
/// COLLATE is 120.
const SIGN: u8 = 125;

/// The unquoted word at that distance in tokens, in lower case.
fn word<'p>(parser: &'p Parser, ahead: usize) -> Option<&'p str> {
    match &parser.peek_nth_token_ref(ahead).token {
        Token::Word(word) if word.quote_style.is_none() => Some(&word.value),
        _ => None,
    }
}

fn is_next(parser: &Parser, ahead: usize, token: &Token) -> bool {
    parser.peek_nth_token_ref(ahead).token == *token
}

/// The precedence of the next token as an operator; `None` where `sqlparser` knows.
pub fn of_next(parser: &Parser) -> Option<u8> {
    let token = &parser.peek_token_ref().token;
    Some(match token {
        Token::Word(_) => match word(parser, 0)? {
            "or" => OR,
            "and" => AND,
            "is" | "isnull" | "notnull" => IS,
            "in" | "between" | "like" | "ilike" | "similar" | "overlaps" => LIKE,
            "not" => match word(parser, 1) {
                Some("in" | "between" | "like" | "ilike" | "similar") => LIKE,
                _ => NONE,
            },
            "operator" if is_next(parser, 1, &Token::LParen) => OPERATOR,
            "at" if word(parser, 1) == Some("time") && word(parser, 2) == Some("zone") => AT,
            "collate" => return None,
            _ => NONE,
        },
        Token::Eq | Token::Lt | Token::Gt | Token::LtEq | Token::GtEq | Token::Neq => COMPARISON,
        Token::Plus | Token::Minus => SUM,
        Token::Mul | Token::Div | Token::Mod => PRODUCT,
        Token::Caret => POWER,
        Token::Assignment | Token::RArrow => NONE,
        token => match operator(token) {
            Some(_) => OPERATOR,
            None => return None,
        },
    })
}

/// The operator that a token is between two operands.
fn operator(token: &Token) -> Option<BinaryOperator> {
    Some(match token {
        Token::Eq => BinaryOperator::Eq,
        Token::Neq => BinaryOperator::NotEq,
        Token::Gt => BinaryOperator::Gt,
        Token::GtEq => BinaryOperator::GtEq,
        Token::Lt => BinaryOperator::Lt,
        Token::LtEq => BinaryOperator::LtEq,
        Token::Plus => BinaryOperator::Plus,
        Token::Minus => BinaryOperator::Minus,
        Token::Mul => BinaryOperator::Multiply,
        Token::Div => BinaryOperator::Divide,
        Token::Mod => BinaryOperator::Modulo,
        Token::Caret => BinaryOperator::PGExp,
        Token::StringConcat => BinaryOperator::StringConcat,
        Token::Pipe => BinaryOperator::BitwiseOr,
        Token::Ampersand => BinaryOperator::BitwiseAnd,
        Token::ShiftLeft => BinaryOperator::PGBitwiseShiftLeft,
        Token::ShiftRight => BinaryOperator::PGBitwiseShiftRight,
        Token::Sharp => BinaryOperator::PGBitwiseXor,
        Token::Overlap => BinaryOperator::PGOverlap,
        Token::CaretAt => BinaryOperator::PGStartsWith,
        Token::Tilde => BinaryOperator::PGRegexMatch,
        Token::TildeAsterisk => BinaryOperator::PGRegexIMatch,
        Token::ExclamationMarkTilde => BinaryOperator::PGRegexNotMatch,
        Token::ExclamationMarkTildeAsterisk => BinaryOperator::PGRegexNotIMatch,
        Token::DoubleTilde => BinaryOperator::PGLikeMatch,
        Token::DoubleTildeAsterisk => BinaryOperator::PGILikeMatch,
        Token::ExclamationMarkDoubleTilde => BinaryOperator::PGNotLikeMatch,
        Token::ExclamationMarkDoubleTildeAsterisk => BinaryOperator::PGNotILikeMatch,
        Token::Arrow => BinaryOperator::Arrow,
        Token::LongArrow => BinaryOperator::LongArrow,
        Token::HashArrow => BinaryOperator::HashArrow,
        Token::HashLongArrow => BinaryOperator::HashLongArrow,
        Token::AtArrow => BinaryOperator::AtArrow,
        Token::ArrowAt => BinaryOperator::ArrowAt,
        Token::HashMinus => BinaryOperator::HashMinus,
        Token::AtQuestion => BinaryOperator::AtQuestion,
        Token::AtAt => BinaryOperator::AtAt,
        Token::Question => BinaryOperator::Question,
        Token::QuestionAnd => BinaryOperator::QuestionAnd,
        Token::QuestionPipe => BinaryOperator::QuestionPipe,
        Token::DoubleSharp
        | Token::ExclamationMark
        | Token::DoubleExclamationMark
        | Token::AtSign
        | Token::PGSquareRoot
        | Token::PGCubeRoot
        | Token::AtDashAt
        | Token::QuestionMarkDash
        | Token::QuestionMarkSharp
        | Token::QuestionMarkDashVerticalBar
        | Token::QuestionMarkDoubleVerticalBar
        | Token::AmpersandLeftAngleBracket
        | Token::AmpersandRightAngleBracket
        | Token::AmpersandLeftAngleBracketVerticalBar
        | Token::VerticalBarAmpersandRightAngleBracket
        | Token::TwoWayArrow
        | Token::LeftAngleBracketCaret
        | Token::RightAngleBracketCaret
        | Token::TildeEqual
        | Token::ShiftLeftVerticalBar
        | Token::VerticalBarShiftRight => BinaryOperator::Custom(token.to_string()),
        Token::CustomBinaryOperator(symbol) => BinaryOperator::Custom(symbol.clone()),
        _ => return None,
    })
}

/// An expression that begins with a sign, NOT or another prefix operator; `None` for others.
pub fn prefix(parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
    let (op, binds) = match &parser.peek_token_ref().token {
        Token::Minus => (UnaryOperator::Minus, SIGN),
        Token::Plus => (UnaryOperator::Plus, SIGN),
        token => match unary(token) {
            Some(op) => (op, OPERATOR),
            None => {
                return match word(parser, 0)? {
                    "not" => {
                        parser.advance_token();
                        Some(parser.parse_not())
                    }
                    "operator" if is_next(parser, 1, &Token::LParen) => Some(named_prefix(parser)),
                    _ => None,
                };
            }
        },
    };
    parser.advance_token();
    let operand = parser.parse_subexpr(binds);
    Some(operand.map(|operand| Expr::UnaryOp {
        op,
        expr: Box::new(operand),
    }))
}

fn unary(token: &Token) -> Option<UnaryOperator> {
    Some(match token {
        Token::Tilde => UnaryOperator::BitwiseNot,
        Token::AtSign => UnaryOperator::PGAbs,
        Token::PGSquareRoot => UnaryOperator::PGSquareRoot,
        Token::PGCubeRoot => UnaryOperator::PGCubeRoot,
        _ => return None,
    })
}

/// `OPERATOR(schema.op) operand`
fn named_prefix(parser: &mut Parser) -> Result<Expr, ParserError> {
    parser.advance_token();
    let token = named_operator(parser)?;
    let op = match token {
        Token::Minus => UnaryOperator::Minus,
        Token::Plus => UnaryOperator::Plus,
        token => match unary(&token) {
            Some(op) => op,
            None => return parser.expected_ref("an operator", parser.get_current_token()),
        },
    };
    let operand = parser.parse_subexpr(OPERATOR)?;
    Ok(Expr::UnaryOp {
        op,
        expr: Box::new(operand),
    })
}

/// `([schema.]op)`; operators are in one schema.
fn named_operator(parser: &mut Parser) -> Result<Token, ParserError> {
    parser.expect_token(&Token::LParen)?;
    while is_next(parser, 1, &Token::Period) {
        parser.parse_identifier()?;
        parser.advance_token();
    }
    let found = parser.next_token();
    if operator(&found.token).is_none() {
        return parser.expected("an operator", found);
    }
    parser.expect_token(&Token::RParen)?;
    Ok(found.token)
}

/// The rest of an expression behind an operand, if `sqlparser` would read it otherwise; `None` for others.
pub fn infix(parser: &mut Parser, left: &Expr, precedence: u8) -> Option<Result<Expr, ParserError>> {
    if !may_follow(left, precedence) {
        let next = parser.peek_token_ref().clone();
        return Some(parser.expected("no second operator of its kind", next));
    }
    let left = || Box::new(left.clone());
    if let Some(first) = word(parser, 0) {
        let negated = first == "not";
        return match if negated { word(parser, 1)? } else { first } {
            "isnull" => {
                parser.advance_token();
                Some(Ok(Expr::IsNull(left())))
            }
            "notnull" => {
                parser.advance_token();
                Some(Ok(Expr::IsNotNull(left())))
            }
            "is" => is_distinct(parser, left),
            "operator" => {
                parser.advance_token();
                Some(named_infix(parser, left()))
            }
            "collate" => {
                parser.advance_token();
                let collation = parser.parse_object_name(false);
                Some(collation.map(|collation| Expr::Collate {
                    expr: left(),
                    collation,
                }))
            }
            known @ ("in" | "between" | "like" | "ilike" | "similar") => {
                let parse = match known {
                    "in" => in_list,
                    "between" => between,
                    "similar" => similar,
                    _ => like,
                };
                if negated {
                    parser.advance_token();
                }
                Some(parse(parser, left(), negated))
            }
            _ => None,
        };
    }
    let op = operator(&parser.peek_token_ref().token)?;
    // The base reads a plain one without a copy of its left side, which a long chain would pay for again and again.
    let is_quantified = matches!(word(parser, 1), Some("any" | "some" | "all")) && is_next(parser, 2, &Token::LParen);
    if !is_quantified && !matches!(op, BinaryOperator::Custom(_)) {
        return None;
    }
    parser.advance_token();
    Some(with_right(parser, left(), op, precedence))
}

/// Whether an operator that binds so may follow the operand: comparisons and the like do not follow each other without brackets.
fn may_follow(left: &Expr, precedence: u8) -> bool {
    match (precedence, left) {
        (COMPARISON, Expr::BinaryOp { op, .. }) => !matches!(
            op,
            BinaryOperator::Eq
                | BinaryOperator::NotEq
                | BinaryOperator::Lt
                | BinaryOperator::LtEq
                | BinaryOperator::Gt
                | BinaryOperator::GtEq
        ),
        (LIKE, Expr::Like { .. } | Expr::ILike { .. } | Expr::SimilarTo { .. } | Expr::Between { .. })
        | (IS, Expr::IsDistinctFrom(..) | Expr::IsNotDistinctFrom(..)) => false,
        _ => true,
    }
}

/// `op right`, `op ANY (...)` or `op ALL (...)`
fn with_right(parser: &mut Parser, left: Box<Expr>, op: BinaryOperator, precedence: u8) -> Result<Expr, ParserError> {
    if let Some(made) = quantified(parser, &left, &op)? {
        return Ok(made);
    }
    let right = Box::new(parser.parse_subexpr(precedence)?);
    Ok(Expr::BinaryOp { left, op, right })
}

fn quantified(parser: &mut Parser, left: &Expr, op: &BinaryOperator) -> Result<Option<Expr>, ParserError> {
    let Some(quantifier) = word(parser, 0).filter(|word| matches!(*word, "any" | "some" | "all")) else {
        return Ok(None);
    };
    let (is_all, is_some) = (quantifier == "all", quantifier == "some");
    if !is_next(parser, 1, &Token::LParen) {
        return Ok(None);
    }
    parser.advance_token();
    let is_query = holds_query(parser);
    parser.expect_token(&Token::LParen)?;
    let right = match is_query {
        true => Expr::Subquery(parser.parse_query()?),
        false => parser.parse_expr()?,
    };
    parser.expect_token(&Token::RParen)?;
    let (left, right) = (Box::new(left.clone()), Box::new(right));
    let compare_op = op.clone();
    Ok(Some(match is_all {
        true => Expr::AllOp {
            left,
            compare_op,
            right,
        },
        false => Expr::AnyOp {
            left,
            compare_op,
            right,
            is_some,
        },
    }))
}

/// Whether the brackets that come next hold a query, and not an expression or a list that begins with one.
fn holds_query(parser: &Parser) -> bool {
    let mut open = 1;
    while is_next(parser, open, &Token::LParen) {
        open += 1;
    }
    if !matches!(word(parser, open), Some("select" | "values" | "with" | "table")) {
        return false;
    }
    // The token after each pair of brackets around it tells whether they are the query's or an operand's.
    let mut depth = open;
    let mut around = open - 1;
    let mut ahead = open;
    while around > 0 {
        match parser.peek_nth_token_ref(ahead).token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            Token::EOF => return true,
            _ => {}
        }
        ahead += 1;
        if depth > around {
            continue;
        }
        around -= 1;
        let goes_on = is_next(parser, ahead, &Token::RParen)
            || matches!(
                word(parser, ahead),
                Some("union" | "intersect" | "except" | "order" | "limit" | "offset" | "fetch" | "for")
            );
        if !goes_on {
            return false;
        }
    }
    true
}

/// `OPERATOR(schema.op) right`: every operator written so binds like any other operator.
fn named_infix(parser: &mut Parser, left: Box<Expr>) -> Result<Expr, ParserError> {
    let token = named_operator(parser)?;
    let op = BinaryOperator::PGCustomBinaryOperator(vec![token.to_string()]);
    with_right(parser, left, op, OPERATOR)
}

/// `IS [NOT] DISTINCT FROM right`: the base takes an AND or OR and its operand after it for a part of the right side.
fn is_distinct(parser: &mut Parser, left: impl Fn() -> Box<Expr>) -> Option<Result<Expr, ParserError>> {
    const DISTINCT: [Keyword; 3] = [Keyword::IS, Keyword::DISTINCT, Keyword::FROM];
    const NOT_DISTINCT: [Keyword; 4] = [Keyword::IS, Keyword::NOT, Keyword::DISTINCT, Keyword::FROM];
    let make = match parser.parse_keywords(&DISTINCT) {
        true => Expr::IsDistinctFrom,
        false if parser.parse_keywords(&NOT_DISTINCT) => Expr::IsNotDistinctFrom,
        false => return None,
    };
    Some(parser.parse_subexpr(IS).map(|right| make(left(), Box::new(right))))
}

/// `IN (query)` and `IN (list)`; the parser is at IN.
fn in_list(parser: &mut Parser, expr: Box<Expr>, negated: bool) -> Result<Expr, ParserError> {
    parser.advance_token();
    let is_query = holds_query(parser);
    parser.expect_token(&Token::LParen)?;
    let made = match is_query {
        true => Expr::InSubquery {
            expr,
            subquery: parser.parse_query()?,
            negated,
        },
        false => Expr::InList {
            expr,
            list: parser.parse_comma_separated(Parser::parse_expr)?,
            negated,
        },
    };
    parser.expect_token(&Token::RParen)?;
    Ok(made)
}

/// `BETWEEN [SYMMETRIC | ASYMMETRIC] low AND high`; the parser is at BETWEEN.
fn between(parser: &mut Parser, expr: Box<Expr>, negated: bool) -> Result<Expr, ParserError> {
    parser.advance_token();
    let symmetric = match word(parser, 0) {
        Some("symmetric") => true,
        Some("asymmetric") => false,
        _ => {
            return between_bounds(parser).map(|(low, high)| Expr::Between {
                expr,
                negated,
                low,
                high,
            });
        }
    };
    parser.advance_token();
    let (low, high) = between_bounds(parser)?;
    let of = |low: &Expr, high: &Expr| Expr::Between {
        expr: expr.clone(),
        negated,
        low: Box::new(low.clone()),
        high: Box::new(high.clone()),
    };
    if !symmetric {
        return Ok(of(&low, &high));
    }
    let op = if negated {
        BinaryOperator::And
    } else {
        BinaryOperator::Or
    };
    Ok(Expr::Nested(Box::new(Expr::BinaryOp {
        left: Box::new(of(&low, &high)),
        op,
        right: Box::new(of(&high, &low)),
    })))
}

/// `low AND high`. Between the two words may stand comparisons, and no NOT, AND, OR, IN, LIKE or IS NULL.
fn between_bounds(parser: &mut Parser) -> Result<(Box<Expr>, Box<Expr>), ParserError> {
    if word(parser, 0) == Some("not") {
        return parser.expected_ref("an expression", parser.peek_token_ref());
    }
    let mut low = parser.parse_subexpr(LIKE)?;
    loop {
        let binds = of_next(parser).unwrap_or(NONE);
        low = match binds {
            COMPARISON if may_follow(&low, COMPARISON) => {
                let op = operator(&parser.peek_token_ref().token);
                parser.advance_token();
                let op = op.expect("a comparison is an operator");
                with_right(parser, Box::new(low), op, LIKE)?
            }
            IS => {
                let left = low.clone();
                match is_distinct(parser, || Box::new(left.clone())) {
                    Some(made) => made?,
                    None => break,
                }
            }
            _ => break,
        };
    }
    parser.expect_keyword_is(Keyword::AND)?;
    let high = parser.parse_subexpr(LIKE)?;
    Ok((Box::new(low), Box::new(high)))
}

/// `LIKE pattern [ESCAPE mark]`, `LIKE ANY (...)`; the parser is at LIKE or ILIKE.
fn like(parser: &mut Parser, expr: Box<Expr>, negated: bool) -> Result<Expr, ParserError> {
    let case_insensitive = word(parser, 0) == Some("ilike");
    parser.advance_token();
    let op = match (negated, case_insensitive) {
        (false, false) => BinaryOperator::PGLikeMatch,
        (true, false) => BinaryOperator::PGNotLikeMatch,
        (false, true) => BinaryOperator::PGILikeMatch,
        (true, true) => BinaryOperator::PGNotILikeMatch,
    };
    if let Some(made) = quantified(parser, &expr, &op)? {
        return Ok(made);
    }
    let pattern = parser.parse_subexpr(LIKE)?;
    let (pattern, escape_char) = escaped(parser, pattern, "like_escape")?;
    let pattern = Box::new(pattern);
    let any = false;
    Ok(match case_insensitive {
        true => Expr::ILike {
            negated,
            any,
            expr,
            pattern,
            escape_char,
        },
        false => Expr::Like {
            negated,
            any,
            expr,
            pattern,
            escape_char,
        },
    })
}

/// `SIMILAR TO pattern [ESCAPE mark]`; the parser is at SIMILAR.
fn similar(parser: &mut Parser, expr: Box<Expr>, negated: bool) -> Result<Expr, ParserError> {
    parser.advance_token();
    parser.expect_keyword_is(Keyword::TO)?;
    let pattern = Box::new(parser.parse_subexpr(LIKE)?);
    Ok(Expr::SimilarTo {
        negated,
        expr,
        pattern,
        escape_char: parser.parse_escape_char()?,
    })
}

/// A pattern and the mark after ESCAPE. A mark that is computed is given to the function that applies it.
fn escaped(
    parser: &mut Parser,
    pattern: Expr,
    function: &str,
) -> Result<(Expr, Option<ast::ValueWithSpan>), ParserError> {
    if !parser.parse_keyword(Keyword::ESCAPE) {
        return Ok((pattern, None));
    }
    let mark = parser.parse_subexpr(LIKE)?;
    Ok(match mark {
        Expr::Value(mark) => (pattern, Some(mark)),
        mark => (call(function, vec![pattern, mark]), None),
    })
}

fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let arguments = arguments.into_iter().map(ast::FunctionArgExpr::Expr);
    Expr::Function(ast::Function {
        name: ast::ObjectName::from(ast::Ident::new(name)),
        uses_odbc_syntax: false,
        parameters: ast::FunctionArguments::None,
        args: ast::FunctionArguments::List(ast::FunctionArgumentList {
            duplicate_treatment: None,
            args: arguments.map(ast::FunctionArg::Unnamed).collect(),
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}
