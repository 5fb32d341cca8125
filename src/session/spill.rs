//! Spilling: rows that do not fit into a transaction's memory go to files, which its commit adopts (`log/spill.rs`).
//!
//! One rule: files are written by a thread that may block, never by one that talks to clients; and rows that were taken
//! out of a transaction for that come back as a file, or the statement fails, and its rows with it.
//!
//! Not here: which rows (`transaction`).

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tokio::runtime::Handle;

use super::Session;
use crate::error::SqlError;
use crate::log::{Append, AppendRows, Log, LogError, SpillWriter, TopicId};

/// Rows of one partition to be written to a file.
pub struct Job {
    pub topic: TopicId,
    pub schema_id: u32,
    pub partition: u32,
    /// With the ids of its columns.
    pub schema: SchemaRef,
    /// The file that has the rows before them, if there is one.
    pub writer: Option<SpillWriter>,
    pub rows: Vec<RecordBatch>,
    /// No more rows are to come for the file.
    pub finish: bool,
}

/// The results of some jobs.
#[derive(Default)]
pub struct SpilledRows {
    /// Files that take more rows.
    pub open: Vec<SpillWriter>,
    /// Files that are whole, those of a partition in order.
    pub appends: Vec<Append>,
}

impl Session {
    /// Writes rows of the transaction to files if it has too many.
    pub(super) async fn spill(&mut self) -> Result<(), SqlError> {
        let bytes_max = self.engine.log.spill_bytes();
        let jobs = self.transaction().spill(bytes_max);
        self.write_out(jobs).await
    }

    /// Ends the transaction's files that take more rows: later rows are not to be in them, or they are to be read.
    pub(super) async fn finish_spills(&mut self) -> Result<(), SqlError> {
        let jobs = match &mut self.transaction {
            Some(transaction) => transaction.finish_spills(),
            None => Vec::new(),
        };
        self.write_out(jobs).await
    }

    async fn write_out(&mut self, jobs: Vec<Job>) -> Result<(), SqlError> {
        if jobs.is_empty() {
            return Ok(());
        }
        let written = write(Arc::clone(&self.engine.log), jobs).await?;
        self.transaction().spilled(written);
        Ok(())
    }
}

/// Writes rows to files, on a thread that may block.
pub async fn write(log: Arc<Log>, jobs: Vec<Job>) -> Result<SpilledRows, LogError> {
    blocking(move || {
        let mut written = SpilledRows::default();
        for job in jobs {
            write_one(&log, job, &mut written)?;
        }
        Ok(written)
    })
    .await
}

/// Runs work that may block.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match Handle::try_current() {
        Ok(runtime) => match runtime.spawn_blocking(work).await {
            Ok(done) => done,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends, and this task with it.
                Err(_) => std::future::pending().await,
            },
        },
        // Nobody else is kept waiting.
        Err(_) => work(),
    }
}

fn write_one(log: &Log, job: Job, written: &mut SpilledRows) -> Result<(), LogError> {
    let Job {
        topic,
        schema_id,
        partition,
        schema,
        mut writer,
        rows,
        finish,
    } = job;
    let mut end = |writer: SpillWriter| -> Result<(), LogError> {
        if let Some(spilled) = writer.finish()? {
            written.appends.push(Append {
                topic,
                schema_id,
                partition,
                rows: AppendRows::Spilled(spilled),
            });
        }
        Ok(())
    };
    if writer.is_some() && !rows.is_empty() {
        log.admit_spill()?;
    }
    for rows in rows {
        let mut open = match writer.take() {
            Some(open) => open,
            None => log.spill(topic, schema_id, partition, Arc::clone(&schema))?,
        };
        open.push(rows)?;
        match open.is_full() {
            true => end(open)?,
            false => writer = Some(open),
        }
    }
    match writer {
        Some(open) if finish => end(open)?,
        Some(mut open) => {
            open.write_out()?;
            written.open.push(open);
        }
        None => {}
    }
    Ok(())
}
