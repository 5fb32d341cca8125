//! Definitions that change under a statement.
//!
//! One rule: outside a transaction block no statement fails because somebody else altered a topic. The session plans it
//! anew, and treats the rows that it has taken already as the ALTER treats older rows. A block goes on with
//! the definitions that it began with; its commit is refused (40001).

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

use super::{Engine, Session, spill};
use crate::catalog::{self, Snapshot, Topic};
use crate::error::{SqlError, state};
use crate::log::{Append, AppendRows, LogError, Spilled, TopicId, conform};

impl Session {
    /// An implicit transaction without changes of its own goes on under the definitions of now.
    pub(super) async fn renew_transaction(&mut self) -> Result<(), SqlError> {
        self.finish_spills().await?;
        let from = Arc::clone(&self.transaction().catalog);
        let to = newer_catalog(&self.engine, from.version).await?;
        let appends = self.transaction().take_appends();
        let appends = adapt(&self.engine, &from, &to, appends).await?;
        self.transaction().renew(to, appends);
        Ok(())
    }
}

/// The catalog, once it is newer than that version: a change of it is in order, and about to be published.
pub(super) async fn newer_catalog(engine: &Engine, version: u64) -> Result<Arc<Snapshot>, SqlError> {
    loop {
        let seen = engine.log.newest();
        let current = engine.catalog.current();
        if current.version != version {
            return Ok(current);
        }
        engine.log.wait_published(seen + 1).await?;
    }
}

/// The catalog, once a topic of these rows has changed in it: the log refused them for that.
pub(super) async fn changed_catalog(engine: &Engine, appends: &[Append]) -> Result<Arc<Snapshot>, SqlError> {
    loop {
        let seen = engine.log.newest();
        let current = engine.catalog.current();
        let has_changed = |append: &Append| {
            let topic = current.topic(append.topic.0);
            topic.is_none_or(|topic| topic.schema_id != append.schema_id)
        };
        if appends.iter().any(has_changed) {
            return Ok(current);
        }
        engine.log.wait_published(seen + 1).await?;
    }
}

/// Rows for the definitions of `from` as rows for those of `to`.
pub(super) async fn adapt(
    engine: &Arc<Engine>,
    from: &Snapshot,
    to: &Snapshot,
    appends: Vec<Append>,
) -> Result<Vec<Append>, SqlError> {
    let mut adapted = Vec::with_capacity(appends.len());
    for append in appends {
        let Some(topic) = to.topic(append.topic.0) else {
            return Err(named(LogError::UnknownTopic { topic: append.topic }, from));
        };
        if topic.schema_id == append.schema_id {
            adapted.push(append);
            continue;
        }
        let partition = append.partition;
        match append.rows {
            AppendRows::Memory(rows) => adapted.push(Append {
                schema_id: topic.schema_id,
                rows: AppendRows::Memory(fit(&rows, &rows.schema(), topic, &topic.log_schema())?),
                ..append
            }),
            AppendRows::Spilled(spilled) => {
                let (engine, topic) = (Arc::clone(engine), Arc::clone(topic));
                adapted.extend(spill::blocking(move || rewrite(&engine, &spilled, &topic, partition)).await?);
            }
        }
    }
    Ok(adapted)
}

/// Rows of another version of a topic as rows of this one. `schema`: of this one.
fn fit(rows: &RecordBatch, of: &SchemaRef, topic: &Topic, schema: &SchemaRef) -> Result<RecordBatch, SqlError> {
    let columns = conform(rows, of, schema).columns().to_vec();
    for (column, values) in topic.columns.iter().zip(&columns) {
        if column.not_null && values.null_count() > 0 {
            return Err(SqlError::new(
                state::NOT_NULL_VIOLATION,
                format!(
                    "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                    column.name, topic.name
                ),
            )
            .detail("The column was added while the statement ran."));
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}

/// The rows of a file in files for this version of their topic.
fn rewrite(engine: &Engine, spilled: &Spilled, topic: &Topic, partition: u32) -> Result<Vec<Append>, SqlError> {
    let (id, schema) = (TopicId(topic.oid), topic.log_schema());
    let mut files = Vec::new();
    let mut writer = None;
    for rows in spilled.batches()? {
        let rows = fit(&rows?, &spilled.schema(), topic, &schema)?;
        let mut open = match writer.take() {
            Some(open) => open,
            None => engine.log.spill(id, topic.schema_id, partition, Arc::clone(&schema))?,
        };
        open.push(rows)?;
        match open.is_full() {
            true => files.extend(open.finish()?),
            false => writer = Some(open),
        }
    }
    if let Some(open) = writer {
        files.extend(open.finish()?);
    }
    let appends = files.into_iter().map(|file| Append {
        topic: id,
        schema_id: topic.schema_id,
        partition,
        rows: AppendRows::Spilled(file),
    });
    Ok(appends.collect())
}

/// The log knows topics by number only.
pub(super) fn named(error: LogError, catalog: &Snapshot) -> SqlError {
    let name = |topic: &TopicId| match catalog.topic(topic.0) {
        Some(topic) => topic.name.clone(),
        None => topic.0.to_string(),
    };
    match &error {
        LogError::StaleSchema { topic } => catalog::changed_concurrently(&name(topic)),
        LogError::StaleRead { topic } => {
            let detail = format!(
                "Another transaction has changed topic \"{}\" since this one read it.",
                name(topic)
            );
            SqlError::from(error).detail(detail)
        }
        LogError::UnknownTopic { topic } => catalog::dropped_meanwhile(&name(topic)),
        _ => error.into(),
    }
}
