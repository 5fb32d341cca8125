//! Relations as the leaves of a plan: the columns of a topic or view, and the engine's own sources of rows.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::TableFunctionArgs;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::{MemTable, provider_as_source, source_as_provider};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableScan, TableSource};

use super::series;
use crate::catalog;
use crate::error::{SqlError, state};
use crate::log::HiddenColumn;
use crate::sql::field::OutField;
use crate::sql::functions::{temporal, zone};
use crate::types::PgType;

/// Leaves reached while planning, through every view expanded in place.
#[derive(Default, Debug)]
pub struct Reached {
    /// Topics and incremental views.
    pub relations: BTreeSet<u32>,
    /// Plain and recomputed views that were expanded.
    pub expanded: BTreeSet<u32>,
    /// Schema and name of system relations.
    pub system: BTreeSet<(String, String)>,
    /// Nodes of the expanded views' plans, each time that one is named.
    pub nodes: u64,
    /// About the bytes that planning takes.
    pub planning_bytes: u64,
    /// Numbers that are given out, to shared queries.
    pub numbers: u64,
}

/// A topic's user columns, then the hidden ones that are shown.
pub fn topic_schema(topic: &catalog::Topic, hidden: &[HiddenColumn]) -> SchemaRef {
    let mut fields: Vec<_> = topic
        .columns
        .iter()
        .map(|column| column.pg_type.field(&column.name, !column.not_null))
        .collect();
    for column in hidden {
        let pg_type = match column {
            HiddenColumn::Partition => PgType::Int4,
            HiddenColumn::Offset | HiddenColumn::Lsn => PgType::Int8,
            HiddenColumn::Timestamp => PgType::TimestampTz,
            HiddenColumn::Watermark => watermark_type(topic),
        };
        // Rows that are not committed have no place yet.
        fields.push(pg_type.field(column.name(), true));
    }
    Arc::new(Schema::new(fields))
}

/// The type of `_watermark`: the event-time column's, or TIMESTAMP if there is none.
pub fn watermark_type(topic: &catalog::Topic) -> PgType {
    topic
        .watermark
        .as_ref()
        .and_then(|watermark| topic.columns.iter().find(|column| column.name == watermark.column))
        .map_or(PgType::Timestamp, |column| column.pg_type.clone())
}

pub fn columns_schema(columns: &[catalog::Column]) -> SchemaRef {
    let fields: Vec<_> = columns
        .iter()
        .map(|column| column.pg_type.field(&column.name, !column.not_null))
        .collect();
    Arc::new(Schema::new(fields))
}

/// The planner's settings. TIMESTAMPTZ is UTC inside; the session's time zone is bound where a query runs.
pub fn options() -> &'static ConfigOptions {
    static OPTIONS: LazyLock<ConfigOptions> = LazyLock::new(|| {
        let mut options = ConfigOptions::new();
        options.execution.time_zone = Some("UTC".to_string());
        options
    });
    &OPTIONS
}

/// The input that a recursive query has of itself: the rows that were found last.
pub fn cte_work_table(name: &str, schema: SchemaRef) -> Arc<dyn TableSource> {
    provider_as_source(Arc::new(CteWorkTable::new(name, schema)))
}

/// Whether a scan reads such rows.
pub fn is_work_table(scan: &TableScan) -> bool {
    source_as_provider(&scan.source).is_ok_and(|provider| provider.is::<CteWorkTable>())
}

/// Rows that are known already as a leaf, and the types of its columns, which it names by their place.
pub fn given_source(
    fields: &[OutField],
    batches: &[RecordBatch],
) -> Result<(Arc<dyn TableSource>, Vec<PgType>), SqlError> {
    let types = fields.iter().enumerate().map(|(at, field)| {
        let is_it = |batch: &RecordBatch| *batch.column(at).data_type() == field.pg_type.arrow();
        match batches.iter().all(is_it) {
            true => field.pg_type.clone(),
            // A type that a client is sent as text.
            false => PgType::Text,
        }
    });
    let types: Vec<PgType> = types.collect();
    let columns = types.iter().zip(fields).enumerate();
    let columns = columns.map(|(at, (pg_type, field))| pg_type.field(&format!("{}\u{1}{at}", field.name), true));
    let schema = Arc::new(Schema::new(columns.collect::<Vec<_>>()));
    let mut rows = Vec::with_capacity(batches.len());
    for batch in batches {
        let columns = batch.columns().iter().zip(schema.fields());
        let columns = columns.map(|(column, field)| arrow::compute::cast(column, field.data_type()));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        rows.push(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?);
    }
    let table = MemTable::try_new(schema, vec![rows])?;
    Ok((provider_as_source(Arc::new(table)), types))
}

/// The rows of `generate_series` with these bounds, one column.
pub fn series_source(values: Vec<ScalarValue>, time_zone: &str) -> Result<LogicalPlan, SqlError> {
    let function = datafusion::execution::SessionStateDefaults::default_table_functions()
        .into_iter()
        .find(|function| function.name() == "generate_series")
        .expect("the engine has it");
    let values = series::bounds("generate_series", values, time_zone)?;
    let args = values
        .into_iter()
        .map(|value| Ok(Expr::Literal(in_nanoseconds(value, time_zone)?, None)))
        .collect::<Result<Vec<Expr>, SqlError>>()?;
    // The function wants a session and reads nothing from it.
    static SESSION: LazyLock<SessionState> = LazyLock::new(|| SessionStateBuilder::new().build());
    let provider = function.create_table_provider_with_args(TableFunctionArgs::new(&args, &*SESSION))?;
    let source = provider_as_source(provider);
    let kind = source.schema().field(0).data_type().clone();
    let column = source.schema().field(0).name().clone();
    let scan = LogicalPlanBuilder::scan("generate_series", source, None)?;
    let unit = match kind {
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => zone.map(|_| Arc::from("UTC")),
        _ => return Ok(scan.build()?),
    };
    let microseconds = DataType::Timestamp(TimeUnit::Microsecond, unit);
    let cast = Expr::Cast(Cast::new(
        Box::new(Expr::Column(Column::from_name(&column))),
        microseconds,
    ));
    Ok(scan.project(vec![cast.alias(column)])?.build()?)
}

/// A bound of a series of instants as the engine counts it. Steps of days are days of the session's time zone; a
/// series of dates is one of TIMESTAMPTZ.
fn in_nanoseconds(value: ScalarValue, time_zone: &str) -> std::result::Result<ScalarValue, SqlError> {
    let nanoseconds = |microseconds: Option<i64>| match microseconds.map(|value| value.checked_mul(1_000)) {
        Some(None) => Err(SqlError::new(
            state::DATETIME_FIELD_OVERFLOW,
            "timestamp out of range for generate_series",
        )),
        known => Ok(known.flatten()),
    };
    let session: Arc<str> = Arc::from(time_zone);
    Ok(match value {
        ScalarValue::TimestampMicrosecond(value, None) => ScalarValue::TimestampNanosecond(nanoseconds(value)?, None),
        ScalarValue::TimestampMicrosecond(value, Some(_)) => {
            ScalarValue::TimestampNanosecond(nanoseconds(value)?, Some(session))
        }
        ScalarValue::Date32(value) => {
            let zone = crate::types::TimeZone::of_setting(time_zone);
            let midnight = value.map(temporal::midnight).transpose()?;
            let instant = midnight.map(|local| zone::from_local(local, zone));
            ScalarValue::TimestampNanosecond(nanoseconds(instant)?, Some(session))
        }
        other => other,
    })
}
