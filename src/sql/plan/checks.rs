//! What PostgreSQL refuses and the engine would not: casts that do not exist, functions that nobody knows.
//!
//! One rule: runs before the analyzer, while the only casts of a plan are those that were written.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, TypeSignature, Volatility, WindowFunctionDefinition,
};

use crate::error::{SqlError, state};
use crate::sql::error::{external, type_name};
use crate::sql::functions::{calls, undefined_function};
use crate::types::{PgType, multidimensional};

/// Checks every expression of a plan.
pub fn check(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        crate::sql::functions::go_on()?;
        let schema = merge_schema(&node.inputs());
        node.apply_expressions(|expr| check_expr(expr, &schema).map(|()| TreeNodeRecursion::Continue))
    })?;
    Ok(())
}

/// Checks an expression over rows of `schema`.
pub fn check_expr(expr: &Expr, schema: &DFSchema) -> Result<()> {
    expr.apply(|expr| check_node(expr, schema)).map(|_| ())
}

fn check_node(expr: &Expr, schema: &DFSchema) -> Result<TreeNodeRecursion> {
    match expr {
        Expr::Cast(cast) => {
            // What has no type yet, an untyped parameter, takes the cast's.
            if let Ok((_, from)) = cast.expr.to_field(schema)
                && !is_castable(&from, &cast.field)
            {
                return Err(external(SqlError::new(
                    state::CANNOT_COERCE,
                    format!("cannot cast type {} to {}", name(&from), name(&cast.field)),
                )));
            }
        }
        Expr::ScalarFunction(call) if call.func.inner().is::<Unknown>() => {
            expr.to_field(schema)?;
        }
        Expr::ScalarFunction(call)
            if call.func.name() == "make_array" && call.args.iter().any(|item| is_list(item, schema)) =>
        {
            return Err(external(multidimensional()));
        }
        Expr::AggregateFunction(call) => {
            let name = call.func.name();
            calls::check_arguments(name, &call.params.args, schema)?;
            if name == "array_agg" && call.params.args.iter().any(|item| is_list(item, schema)) {
                return Err(external(multidimensional()));
            }
        }
        Expr::WindowFunction(window) => {
            let params = &window.params;
            calls::check_range(&params.window_frame, &params.order_by, schema)?;
            let name = window.fun.name();
            match &window.fun {
                WindowFunctionDefinition::AggregateUDF(_) => calls::check_arguments(name, &params.args, schema)?,
                WindowFunctionDefinition::WindowUDF(_) => calls::check_count(name, &params.args, schema)?,
            }
        }
        _ => {}
    }
    Ok(TreeNodeRecursion::Continue)
}

/// An untyped parameter is none.
fn is_list(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema)
        .is_ok_and(|data_type| matches!(data_type, DataType::List(_)))
}

/// Types that are cast alike.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Bool,
    Integer,
    Number,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
    Bytea,
    Uuid,
    Json,
    Jsonb,
    Array,
    /// OIDs and the like: the engine decides.
    Other,
}

fn kind(field: &Field) -> Kind {
    match PgType::of_field(field) {
        Some(PgType::Text | PgType::Varchar(_) | PgType::Char(_) | PgType::Name) => Kind::Text,
        Some(PgType::Bool) => Kind::Bool,
        Some(PgType::Int4) => Kind::Integer,
        Some(PgType::Int2 | PgType::Int8 | PgType::Float4 | PgType::Float8 | PgType::Numeric(_)) => Kind::Number,
        Some(PgType::Date) => Kind::Date,
        Some(PgType::Time) => Kind::Time,
        Some(PgType::Timestamp) => Kind::Timestamp,
        Some(PgType::TimestampTz) => Kind::TimestampTz,
        Some(PgType::Interval) => Kind::Interval,
        Some(PgType::Bytea) => Kind::Bytea,
        Some(PgType::Uuid) => Kind::Uuid,
        Some(PgType::Json) => Kind::Json,
        Some(PgType::Jsonb) => Kind::Jsonb,
        Some(PgType::Array(_)) => Kind::Array,
        Some(_) => Kind::Other,
        // The planner casts through units that no column has.
        None => match field.data_type() {
            DataType::Timestamp(_, None) => Kind::Timestamp,
            DataType::Timestamp(_, Some(_)) => Kind::TimestampTz,
            _ => Kind::Other,
        },
    }
}

/// Whether PostgreSQL has a cast; to and from text there always is one.
fn is_castable(from: &Field, to: &Field) -> bool {
    use Kind::{Bool, Date, Integer, Interval, Json, Jsonb, Number, Other, Text, Time, Timestamp, TimestampTz};
    if *from.data_type() == DataType::Null {
        return true;
    }
    match (kind(from), kind(to)) {
        (Text | Other, _) | (_, Text | Other) => true,
        (from, to) if from == to => true,
        (Integer | Number, Integer | Number) | (Integer, Bool) | (Bool, Integer) => true,
        (Date, Timestamp | TimestampTz) | (Timestamp, Date | Time | TimestampTz) => true,
        (TimestampTz, Date | Time | Timestamp) | (Time, Interval) | (Interval, Time) => true,
        (Json, Jsonb) | (Jsonb, Json | Bool | Integer | Number) => true,
        _ => false,
    }
}

fn name(field: &Field) -> String {
    match PgType::of_field(field) {
        Some(PgType::Numeric(_)) => PgType::Numeric(None).name(),
        Some(known) => known.name(),
        None => type_name(field.data_type()),
    }
}

/// Stands for a function that nobody knows, until the types of its arguments are known: the error names them.
pub fn unknown_function(name: &str) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Unknown {
        name: name.to_string(),
        signature: Signature::one_of(
            vec![TypeSignature::Nullary, TypeSignature::VariadicAny],
            Volatility::Volatile,
        ),
    }))
}

#[derive(Debug, PartialEq, Eq)]
struct Unknown {
    name: String,
    signature: Signature,
}

impl Hash for Unknown {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Unknown {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Err(external(undefined_function(&self.name, arguments)))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let arguments: Vec<DataType> = args
            .arg_fields
            .iter()
            .zip(args.scalar_arguments)
            .map(|(field, value)| match value {
                // Literals have the engine's types here: a number that fits is INTEGER, a string has no type yet.
                Some(ScalarValue::Int64(Some(value))) if i32::try_from(*value).is_ok() => DataType::Int32,
                Some(ScalarValue::Utf8(_)) => DataType::Null,
                _ => field.data_type().clone(),
            })
            .collect();
        Err(external(undefined_function(&self.name, &arguments)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arguments: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        Err(external(undefined_function(&self.name, &arguments)))
    }
}
