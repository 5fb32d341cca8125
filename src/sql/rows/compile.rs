//! An expression's text, compiled over the rows of a topic or over nothing.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator};
use datafusion::physical_expr::PhysicalExpr;
use sqlparser::ast;

use super::Default;
use super::assign::{assign, check_assignment};
use super::literal::literal_array;
use crate::catalog::{Snapshot, Topic};
use crate::error::{SqlError, state};
use crate::sql::analyze::{Clause, Ty, stored};
use crate::sql::functions::session::{self, SessionInfo};

use crate::sql::plan::{PlanContext, compares, eval};
use crate::types::PgType;

/// A coerced expression, ready for batches.
#[derive(Debug)]
pub enum CompiledExpr {
    Fixed {
        expr: Arc<dyn PhysicalExpr>,
        from: PgType,
        to: PgType,
        plain: bool,
    },
    /// It needs values of the session: compiled for each statement.
    PerSession {
        expr: Box<Expr>,
        schema: Arc<DFSchema>,
        from: PgType,
        to: PgType,
        plain: bool,
    },
}

/// Functions whose time is linear in their arguments, and small.
const PLAIN_FUNCTIONS: &[&str] = &[
    "abs",
    "ceil",
    "char_length",
    "character_length",
    "coalesce",
    "current_date",
    "current_timestamp",
    "date_part",
    "date_trunc",
    "floor",
    "greatest",
    "least",
    "length",
    "lower",
    "now",
    "nullif",
    "octet_length",
    "round",
    "sign",
    "trunc",
    "upper",
];

/// Whether an expression takes no more time than its rows have bytes: comparisons, arithmetic, a few functions.
fn is_plain(expr: &Expr) -> bool {
    let mut plain = true;
    expr.apply(|node| {
        plain &= match node {
            Expr::Column(_)
            | Expr::Literal(..)
            | Expr::Alias(_)
            | Expr::Not(_)
            | Expr::Negative(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNotFalse(_)
            | Expr::Between(_)
            | Expr::Case(_)
            | Expr::Cast(_)
            | Expr::InList(_) => true,
            Expr::BinaryExpr(binary) => {
                compares(binary.op)
                    || matches!(
                        binary.op,
                        Operator::And
                            | Operator::Or
                            | Operator::Plus
                            | Operator::Minus
                            | Operator::Multiply
                            | Operator::Divide
                            | Operator::Modulo
                    )
            }
            Expr::ScalarFunction(call) => PLAIN_FUNCTIONS.contains(&call.func.name()),
            _ => false,
        };
        Ok(match plain {
            true => TreeNodeRecursion::Continue,
            false => TreeNodeRecursion::Stop,
        })
    })
    .expect("looking fails never");
    plain
}

impl CompiledExpr {
    /// Whether it takes no more time than the rows have bytes.
    pub fn is_plain(&self) -> bool {
        match self {
            CompiledExpr::Fixed { plain, .. } | CompiledExpr::PerSession { plain, .. } => *plain,
        }
    }

    /// The values for the rows of a batch, of the type that was asked for.
    pub fn evaluate(&self, batch: &RecordBatch, session: &SessionInfo) -> Result<ArrayRef, SqlError> {
        let (value, from, to) = match self {
            CompiledExpr::Fixed { expr, from, to, .. } => (expr.evaluate(batch)?, from, to),
            CompiledExpr::PerSession {
                expr, schema, from, to, ..
            } => {
                let bound = session::bind_expr(expr.as_ref().clone(), session)?.data;
                let compiled = eval::compile_for(&bound, schema, &session.time_zone)?;
                (compiled.evaluate(batch)?, from, to)
            }
        };
        assign(&value.into_array(batch.num_rows())?, from, to, &session.time_zone)
    }
}

/// The columns that an expression may name.
pub struct RowScope {
    schema: Arc<DFSchema>,
}

impl RowScope {
    /// The columns of a topic.
    pub fn new(topic: &Topic, schema: &SchemaRef) -> RowScope {
        let schema = DFSchema::try_from_qualified_schema(topic.name.as_str(), schema)
            .expect("a topic's columns have names of their own");
        RowScope {
            schema: Arc::new(schema),
        }
    }

    /// Nothing.
    pub fn empty() -> RowScope {
        RowScope {
            schema: Arc::new(DFSchema::empty()),
        }
    }

    /// Plans and coerces an expression; also its type.
    pub fn plan(&self, expr: ast::Expr, ctx: &PlanContext) -> Result<(Expr, PgType), SqlError> {
        self.plan_in(Clause::Stored, expr, ctx)
    }

    /// The same for an expression that stands in a clause.
    pub fn plan_in(&self, clause: Clause, expr: ast::Expr, ctx: &PlanContext) -> Result<(Expr, PgType), SqlError> {
        let typed = stored(&expr, &self.schema, clause, ctx)?;
        let is_unknown = typed.is_unknown();
        let planned = eval::coerce(typed.expr, &self.schema)?;
        reject_queries(&planned)?;
        let from = match is_unknown {
            // A string by itself takes the type of its target.
            true => self.type_of(&planned)?,
            false => match &typed.ty {
                Ty::Of(known) if known.arrow() == planned.get_type(&self.schema)? => known.clone(),
                _ => self.type_of(&planned)?,
            },
        };
        Ok((planned, from))
    }

    fn type_of(&self, expr: &Expr) -> Result<PgType, SqlError> {
        if let Expr::Literal(value, _) = expr
            && value.is_null()
        {
            return Ok(PgType::Unknown);
        }
        let (_, field) = expr.to_field(&self.schema)?;
        if field.data_type().is_null() {
            return Ok(PgType::Unknown);
        }
        PgType::of_field(&field).ok_or_else(|| {
            SqlError::unsupported(
                format!("an expression has the type {}", field.data_type()),
                "Cast it to one of the types of the SQL reference.",
            )
        })
    }

    /// Compiles an expression by its text. `to` is the type wanted; the assignment has been checked before.
    pub fn expression(&self, text: &str, to: Option<&PgType>) -> Result<CompiledExpr, SqlError> {
        let (expr, from) = with_plain_context(text, |ctx| self.plan(parse_expr(text)?, ctx))?;
        self.compiled(expr, from, to)
    }

    pub fn compiled(&self, expr: Expr, from: PgType, to: Option<&PgType>) -> Result<CompiledExpr, SqlError> {
        let to = to.cloned().unwrap_or_else(|| from.clone());
        let plain = is_plain(&expr);
        if session::find(&expr).is_some() || depends_on_time_zone(&from, &to) {
            return Ok(CompiledExpr::PerSession {
                expr: Box::new(expr),
                schema: self.schema.clone(),
                from,
                to,
                plain,
            });
        }
        Ok(CompiledExpr::Fixed {
            expr: eval::compile(&expr, &self.schema)?,
            from,
            to,
            plain,
        })
    }

    /// A DEFAULT: a constant is evaluated now, once.
    pub fn default(&self, text: &str, to: &PgType) -> Result<Default, SqlError> {
        let parsed = parse_expr(text)?;
        if let Some(constant) = literal_array(&parsed, to, &SessionInfo::default())? {
            return Ok(Default::Constant(constant));
        }
        let (expr, from) = with_plain_context(text, |ctx| RowScope::empty().plan(parsed, ctx))?;
        let compiled = RowScope::empty().compiled(expr.clone(), from, Some(to))?;
        if is_immutable(&expr) && matches!(compiled, CompiledExpr::Fixed { .. }) {
            let value = compiled.evaluate(&eval::one_row(), &SessionInfo::default())?;
            return Ok(Default::Constant(value));
        }
        Ok(Default::Expression(compiled))
    }
}

/// Casts between wall-clock time and instants read the session's time zone.
fn depends_on_time_zone(from: &PgType, to: &PgType) -> bool {
    let zoned = |kind: &PgType| *kind == PgType::TimestampTz;
    zoned(from) != zoned(to)
        && (zoned(from) || matches!(from, PgType::Date | PgType::Timestamp | PgType::Text | PgType::Unknown))
}

/// Parses one expression.
pub fn parse_expr(text: &str) -> Result<ast::Expr, SqlError> {
    crate::sql::parse::expression(text)
}

/// Runs with a context that knows the system schemas only: expressions name no relations.
pub fn with_plain_context<T>(_text: &str, run: impl FnOnce(&PlanContext) -> T) -> T {
    let catalog = Snapshot::initial();
    let ctx = PlanContext {
        catalog: &catalog,
        search_path: &[],
        functions_path: &[],
        time_zone: "UTC",
        user: "",
        database: "",
        parameter_types: &[],
        // Stored text has no position in the statement at hand.
        text: "",
    };
    run(&ctx)
}

fn reject_queries(expr: &Expr) -> Result<(), SqlError> {
    let mut error = None;
    expr.apply(|node| {
        let what = match node {
            Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) => "subqueries",
            Expr::AggregateFunction(_) => "aggregate functions",
            Expr::WindowFunction(_) => "window functions",
            Expr::Unnest(_) => "set-returning functions",
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        let code = if what == "aggregate functions" {
            state::GROUPING_ERROR
        } else {
            state::FEATURE_NOT_SUPPORTED
        };
        error = Some(SqlError::new(code, format!("{what} are not allowed here")));
        Ok(TreeNodeRecursion::Stop)
    })?;
    error.map_or(Ok(()), Err)
}

/// Whether every function of an expression gives the same value for the same arguments, for ever.
pub fn is_immutable(expr: &Expr) -> bool {
    let mut immutable = true;
    expr.apply(|node| {
        if let Expr::ScalarFunction(call) = node {
            immutable &= call.func.signature().volatility == datafusion::logical_expr::Volatility::Immutable;
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .expect("looking fails never");
    immutable
}

/// Names of the columns that an expression reads.
pub fn columns_of(expr: &Expr) -> Vec<String> {
    let mut names: Vec<String> = expr.column_refs().iter().map(|column| column.name.clone()).collect();
    names.sort();
    names
}

/// Refuses an assignment with the wording of definitions.
pub fn check_default_type(column: &str, from: &PgType, to: &PgType) -> Result<(), SqlError> {
    check_assignment(column, from, to).map_err(|mut error| {
        error.message = format!(
            "column \"{column}\" is of type {} but default expression is of type {}",
            to.base_name(),
            from.base_name()
        );
        error
    })
}
