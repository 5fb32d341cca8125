//! INSERT and COPY FROM: from values to validated rows in the transaction; and its commit.
//!
//! One rule: rows are complete (defaults, generated columns, NOT NULL, CHECK) before they enter the transaction, so
//! that the log never refuses a row. INSERT ... VALUES goes from tokens to Arrow builders without the planner.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, RecordBatch, UInt32Array};
use arrow::compute;
use arrow::row::{RowConverter, SortField};
use futures::StreamExt;

use super::compute::SMALL_BYTES;
use super::outcome::{CopyIn, Outcome, Parameters, Prepared};
use super::{Engine, Session, spill, stale};
use crate::catalog::{Relation, Snapshot, Topic, View};
use crate::error::{SqlError, state};
use crate::log::{Acknowledge, Append, AppendRows, Commit, LogError, Receipt, Spilled};
use crate::query::SessionInfo;
use crate::sql::field::OutField;
use crate::sql::returning;
use crate::sql::rows::{self, RowExprs};
use crate::sql::statement::{CopyFrom, CopyKind, Insert, InsertRows, Name};
use crate::types::{ObjectNames, PgType, varying};

/// Rows that are split by key where they stand.
const ROWS_FEW: usize = 1024;

impl Session {
    /// The topic that a name means, or why it cannot be written to.
    pub(super) fn writable_topic(&self, name: &Name) -> Result<Arc<Topic>, SqlError> {
        let catalog = self.catalog();
        match self.resolve(&catalog, name)? {
            Relation::Topic(topic) => Ok(topic),
            Relation::View(view) => {
                let kind = if view.materialized { "materialized view" } else { "view" };
                Err(SqlError::new(
                    state::WRONG_OBJECT_TYPE,
                    format!("cannot insert into {kind} \"{}\"", view.name),
                )
                .hint("Insert into the topics that it reads; it follows by itself."))
            }
        }
    }

    pub(super) async fn insert(
        &mut self,
        insert: &Insert,
        parameters: &Parameters,
        prepared: Option<&Prepared>,
    ) -> Result<Outcome, SqlError> {
        self.begin_writing()?;
        let places = returning::places(insert)?;
        if let Some((_, column)) = places.first()
            && (self.batch || self.transaction().explicit)
        {
            return Err(SqlError::unsupported(
                format!("RETURNING {} is not supported in a transaction block", column.name()),
                "The commit gives rows their places: run the INSERT by itself, or read them after COMMIT.",
            ));
        }
        let topic = self.writable_topic(&insert.into)?;
        let exprs = self.row_exprs(&topic).await?;
        let columns = target_columns(&topic, &insert.columns, &insert.into)?;
        let info = self.session_info();
        let mut inserted = Vec::with_capacity(1);
        let mut count = 0;
        match &insert.rows {
            InsertRows::Values(values) => {
                let constants = prepared.map(|prepared| {
                    let mut made = prepared.constants.lock();
                    match made.as_ref() {
                        Some(constants) if constants.hold(&exprs, &info) => constants.clone(),
                        _ => made.insert(exprs.constants(&columns, values, &info).into()).clone(),
                    }
                });
                let text_bytes = prepared.and_then(|prepared| prepared.parsed.as_ref());
                let text_bytes = text_bytes.map_or(self.text.len(), |parsed| parsed.text.len());
                let small = text_bytes.max(parameters.bytes) <= SMALL_BYTES;
                let rows = if small && exprs.is_plain() && rows::are_literals(values) {
                    let context = self.context(self.catalog(), Vec::new());
                    let constants = constants.as_deref();
                    let ctx = context.borrowed();
                    exprs.insert_values(&columns, values, constants, &parameters.values, &info, &ctx)?
                } else {
                    let (exprs, columns, values) = (exprs.clone(), columns.clone(), values.clone());
                    let parameters = parameters.values.clone();
                    let evaluated = self.compute_with(Vec::new(), move |ctx| {
                        exprs.insert_values(&columns, &values, constants.as_deref(), &parameters, &info, ctx)
                    });
                    evaluated.await?
                };
                inserted.push(rows);
            }
            InsertRows::DefaultValues => {
                let width = topic.columns.len();
                let exprs = exprs.clone();
                let complete = move || exprs.complete(vec![None; width], 1, &info);
                inserted.push(self.compute(complete).await?);
            }
            InsertRows::Select(select) => {
                let types = parameters.types();
                let planned = self.plan(select, types).await?;
                let (fields, mut batches) = self.rows_of_plan(&planned, select, parameters, None).await?;
                let mut fields = fields.to_vec();
                // A quoted string or a NULL takes the type of the column that it goes to.
                for (field, _) in fields.iter_mut().zip(&planned.untyped).filter(|(_, untyped)| **untyped) {
                    field.pg_type = PgType::Unknown;
                }
                check_width(fields.len(), columns.len(), !insert.columns.is_empty())?;
                let columns = &columns[..fields.len()];
                for (field, column) in fields.iter().zip(columns) {
                    let target = exprs.target(*column);
                    rows::check_assignment(target.name, &field.pg_type, target.pg_type)?;
                }
                let (fields, columns): (Arc<[_]>, Arc<[_]>) = (fields.into(), columns.into());
                let names = self.row_style(&fields).object_names;
                while let Some(batch) = batches.next().await {
                    let batch = batch?;
                    let (exprs, fields, columns) = (exprs.clone(), fields.clone(), columns.clone());
                    let (info, names) = (info.clone(), names.clone());
                    let complete = move || insert_batch(&exprs, &fields, &columns, &batch, &info, names.as_ref());
                    let rows = self.compute(complete).await?;
                    match insert.returning.is_empty() {
                        true => {
                            count += rows.num_rows();
                            self.append(&topic, rows).await?;
                            self.spill().await?;
                        }
                        false => inserted.push(rows),
                    }
                }
            }
        }
        if !places.is_empty() {
            return self
                .insert_returning_places(insert, &topic, inserted, &places, parameters, prepared)
                .await;
        }
        count += inserted.iter().map(RecordBatch::num_rows).sum::<usize>();
        let answer = match insert.returning.is_empty() {
            true => Outcome::Command(format!("INSERT 0 {count}")),
            false => self.returning(insert, &topic, &inserted, parameters).await?,
        };
        for batch in inserted {
            self.append(&topic, batch).await?;
        }
        self.spill().await?;
        Ok(answer)
    }

    /// The transaction is one that writes, whether or not there are rows.
    fn begin_writing(&mut self) -> Result<(), SqlError> {
        // A producer's transaction without a sequence is refused before its rows are sent.
        self.stamp()?;
        self.transaction().produces = true;
        Ok(())
    }

    /// Puts complete rows into the transaction, each to its partition.
    async fn append(&mut self, topic: &Arc<Topic>, rows: RecordBatch) -> Result<(), SqlError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        if let Some(partition) = self.one_partition(topic) {
            return self.transaction().append(topic, partition, rows);
        }
        let split = if rows.num_rows() <= ROWS_FEW {
            split_by_key(topic, &rows)?
        } else {
            let topic = topic.clone();
            self.compute(move || split_by_key(&topic, &rows)).await?
        };
        for (partition, rows) in split {
            self.transaction().append(topic, partition, rows)?;
        }
        Ok(())
    }

    /// The partition of each row, as [`Session::append`] would choose it; and the rows by partition.
    pub(super) fn place(&mut self, topic: &Topic, rows: RecordBatch) -> Result<Placed, SqlError> {
        let partitions = match self.one_partition(topic) {
            Some(partition) => vec![partition; rows.num_rows()],
            None => partitions_by_key(topic, &rows)?,
        };
        let rows = split(topic, &rows, &partitions)?;
        Ok(Placed { partitions, rows })
    }

    /// The partition that all rows of a statement go to; `None` if their keys decide.
    fn one_partition(&mut self, topic: &Topic) -> Option<u32> {
        if topic.partitions == 1 {
            return Some(0);
        }
        if !topic.partition_by.is_empty() {
            return None;
        }
        let partition = self.next_partition % topic.partitions;
        self.next_partition = self.next_partition.wrapping_add(1);
        Some(partition)
    }

    pub(super) async fn copy_from(&mut self, copy: &CopyFrom) -> Result<Outcome, SqlError> {
        let topic = self.writable_topic(&copy.into)?;
        let mut targets = target_columns(&topic, &copy.columns, &copy.into)?;
        if copy.columns.is_empty() {
            targets.retain(|index| topic.columns[*index].generated.is_none());
        }
        if let Some(generated) = targets
            .iter()
            .map(|i| &topic.columns[*i])
            .find(|c| c.generated.is_some())
        {
            return Err(SqlError::new(
                state::INVALID_COLUMN_REFERENCE,
                format!("column \"{}\" is a generated column", generated.name),
            )
            .detail("Generated columns cannot be used in COPY."));
        }
        let exprs = self.row_exprs(&topic).await?;
        if self.transaction().read_only {
            return Err(SqlError::new(
                state::READ_ONLY_SQL_TRANSACTION,
                "cannot execute COPY FROM in a read-only transaction",
            ));
        }
        self.begin_writing()?;
        // Before the client has sent all that would be refused with the commit.
        self.engine.log.admit_rows()?;
        let columns = targets
            .iter()
            .map(|i| (topic.columns[*i].name.clone(), topic.columns[*i].pg_type.clone()));
        Ok(Outcome::CopyIn(CopyIn {
            table: topic.name.clone(),
            columns: columns.collect(),
            format: copy.format.clone(),
            targets,
            topic,
            exprs,
            rows: 0,
        }))
    }

    /// Rows of a COPY in progress; their columns are `copy.columns`.
    pub async fn copy_append(&mut self, copy: &mut CopyIn, rows: &RecordBatch) -> Result<(), SqlError> {
        let info = self.session_info();
        let complete = if copy.exprs.is_plain() {
            copy_batch(copy, rows, &info)?
        } else {
            let (part, rows) = (copy.clone(), rows.clone());
            self.compute(move || copy_batch(&part, &rows, &info)).await?
        };
        copy.rows += rows.num_rows() as u64;
        self.append(&copy.topic, complete).await?;
        self.spill().await
    }

    /// All rows have come: commits, unless in a transaction block, and returns the command tag.
    pub async fn copy_finish(&mut self, copy: CopyIn) -> Result<String, SqlError> {
        if !self.batch {
            let committed = self.commit_implicit().await;
            if committed.is_err() {
                self.fail();
            }
            committed?;
        }
        Ok(format!("COPY {}", copy.rows))
    }

    /// The client gave up, or a row was bad: nothing of the COPY is kept.
    pub fn copy_abort(&mut self, _copy: CopyIn) {
        self.fail();
    }

    /// Commits the writes of the transaction; returns once they are durable and visible (L1), or queued under
    /// `synchronous_commit = off`.
    pub(super) async fn commit_transaction(&mut self) -> Result<(), SqlError> {
        self.commit_as(self.settings.synchronous_commit()).await.map(drop)
    }

    /// The same, and the commit with its receipt, if there was anything to commit. `synced`: it is durable and visible.
    pub(super) async fn commit_as(&mut self, synced: bool) -> Result<Option<(Commit, Receipt)>, SqlError> {
        self.cancel.committing(true);
        let result = self.commit_whole(synced).await;
        self.cancel.committing(false);
        result
    }

    async fn commit_whole(&mut self, synced: bool) -> Result<Option<(Commit, Receipt)>, SqlError> {
        if let Err(error) = self.finish_spills().await {
            self.end_transaction(false);
            return Err(error);
        }
        let Some(mut transaction) = self.transaction.take() else {
            return Ok(None);
        };
        let stamp = match transaction.produces.then(|| self.stamp()).transpose() {
            Ok(stamp) => stamp.flatten(),
            Err(error) => {
                self.places.settle(transaction.consumed(), false);
                self.end_transaction(false);
                return Err(error);
            }
        };
        let mut new_views = std::mem::take(&mut transaction.new_views);
        for new in &mut new_views {
            // It may have got another name.
            new.view = Arc::clone(transaction.catalog.view(new.view.oid).expect("it was created here"));
        }
        let dropped = std::mem::take(&mut transaction.dropped);
        let renamed = transaction.renamed.iter();
        let renamed = renamed.filter_map(|oid| transaction.catalog.view(*oid).cloned());
        let renamed: Vec<Arc<View>> = renamed.filter(|view| view.is_maintained()).collect();
        let result = match transaction.commit(stamp.clone()) {
            None => Ok(None),
            Some(commit) => {
                let adapts = !transaction.explicit && commit.ddl.is_none();
                let synced = synced || commit.ddl.is_some();
                let catalog = Arc::clone(&transaction.catalog);
                self.put_in_order(commit, catalog, synced, adapts).await
            }
        };
        let repeated = matches!(result, Ok(None)) && stamp.is_some();
        if repeated {
            // They were sent by the first one.
            self.take_back_notifications();
        }
        // Of one that was made before, the first one has committed the offsets.
        self.places.settle(transaction.consumed(), result.is_ok() && !repeated);
        self.end_transaction(result.is_ok());
        let committed = result?;
        if let Some(stamp) = &stamp {
            self.produced(stamp);
        }
        if repeated {
            return Ok(None);
        }
        if let Some((commit, receipt)) = &committed
            && !self.engine.views.is_empty()
        {
            let watermarks = receipt.appended.iter().map(|appended| appended.watermark);
            self.report_late_rows(commit.appends.iter().zip(watermarks)).await;
            self.report_failed_views(&commit.appends);
        }
        if let Some((commit, _)) = &committed {
            self.engine.consumers.changed(&commit.groups);
        }
        self.engine.views.remove(&dropped);
        for view in &renamed {
            self.engine.views.rename(view.oid, &view.name).await?;
        }
        for new in new_views {
            self.start_view(new).await?;
        }
        Ok(committed)
    }

    /// `adapts`: rows follow others' changes of their topics. `None`: it is a producer's that was made before.
    async fn put_in_order(
        &mut self,
        mut commit: Commit,
        mut catalog: Arc<Snapshot>,
        synced: bool,
        adapts: bool,
    ) -> Result<Option<(Commit, Receipt)>, SqlError> {
        let acknowledge = match synced {
            true => Acknowledge::Synced,
            false => Acknowledge::Queued,
        };
        loop {
            match self.engine.log.commit(&commit, acknowledge).await {
                Ok(receipt) => {
                    if !synced {
                        self.queued = receipt.lsn;
                    }
                    return Ok(Some((commit, receipt)));
                }
                Err(LogError::StaleSchema { .. }) if adapts => {
                    let newer = stale::changed_catalog(&self.engine, &commit.appends).await?;
                    let appends = std::mem::take(&mut commit.appends);
                    commit.appends = stale::adapt(&self.engine, &catalog, &newer, appends).await?;
                    catalog = newer;
                }
                Err(LogError::Repeated { first }) => {
                    self.engine.log.wait_published(first.lsn).await?;
                    if let Some(stamp) = &commit.producer {
                        self.tell_repeated(stamp, first);
                    }
                    return Ok(None);
                }
                Err(error) => return Err(stale::named(error, &catalog)),
            }
        }
    }

    /// INSERT and COPY say which views have failed that read their topic, once a session.
    fn report_failed_views(&mut self, appends: &[Append]) {
        let failures = self.engine.views.failures();
        if failures == 0 {
            return;
        }
        for append in appends {
            if self.failures_told.insert(append.topic, failures) == Some(failures) {
                continue;
            }
            for view in self.engine.views.failed_readers(append.topic) {
                if self.failed_views_told.insert(view.oid) {
                    self.notice(format!(
                        "materialized view \"{}\" has failed and takes no more rows: {}",
                        view.name, view.reason
                    ));
                }
            }
        }
    }

    /// COPY and INSERT into a topic with closing windows report the number of late rows for each view.
    async fn report_late_rows<'a>(&mut self, appended: impl Iterator<Item = (&'a Append, Option<i64>)>) {
        let mut late: std::collections::BTreeMap<u32, u64> = std::collections::BTreeMap::new();
        let catalog = self.engine.catalog.current();
        for (append, watermark) in appended {
            // Without a watermark nothing is late; a topic that was changed meanwhile was another one.
            let topic = catalog.topic(append.topic.0).filter(|_| watermark.is_some());
            let Some(topic) = topic.filter(|topic| topic.schema_id == append.schema_id) else {
                continue;
            };
            let late_rows = match &append.rows {
                AppendRows::Memory(rows) => self.engine.views.late_rows(topic, rows, watermark),
                AppendRows::Spilled(spilled) if self.engine.views.closes_windows_of(topic) => {
                    let (engine, topic, spilled) = (Arc::clone(&self.engine), Arc::clone(topic), Arc::clone(spilled));
                    spill::blocking(move || late_rows(&engine, &topic, &spilled, watermark)).await
                }
                AppendRows::Spilled(_) => continue,
            };
            for (view, rows) in late_rows {
                *late.entry(view).or_default() += rows;
            }
        }
        for (view, rows) in late.into_iter().filter(|(_, rows)| *rows > 0) {
            let name = catalog
                .relation(view)
                .map_or_else(|| view.to_string(), |view| view.name().to_string());
            let (noun, verb) = if rows == 1 { ("row", "was") } else { ("rows", "were") };
            self.notice(format!(
                "{rows} {noun} came late for view \"{name}\" and {verb} skipped by its closed windows"
            ));
        }
    }
}

/// Rows that a query answers, as complete rows of the topic. `columns` are the topic's that `fields` go to.
fn insert_batch(
    exprs: &RowExprs,
    fields: &[OutField],
    columns: &[usize],
    batch: &RecordBatch,
    info: &SessionInfo,
    names: Option<&ObjectNames>,
) -> Result<RecordBatch, SqlError> {
    let given = batch.columns().iter().zip(fields).zip(columns);
    let assigned = given.map(|((array, field), column)| {
        let wanted = exprs.target(*column).pg_type;
        let (array, pg_type) = rows::named(array, &field.pg_type, wanted, names)?;
        rows::assign(&array, &pg_type, wanted, &info.time_zone)
    });
    let arrays = assigned.collect::<Result<Vec<ArrayRef>, SqlError>>()?;
    exprs.insert_columns(columns, &arrays, batch.num_rows(), info)
}

/// Rows that a COPY brings, as complete rows of the topic. An error says which of them it was.
fn copy_batch(copy: &CopyIn, rows: &RecordBatch, info: &SessionInfo) -> Result<RecordBatch, SqlError> {
    let complete = copy
        .exprs
        .insert_columns(&copy.targets, rows.columns(), rows.num_rows(), info);
    complete.map_err(|error| {
        // Again row by row, to say which one it was.
        let one = |row| {
            let row = rows.slice(row, 1);
            copy.exprs.insert_columns(&copy.targets, row.columns(), 1, info)
        };
        let first = (0..rows.num_rows()).find_map(|row| Some((row as u64, one(row).err()?)));
        let (row, error) = first.unwrap_or((0, error));
        // Lines of text need not be rows.
        let unit = match copy.format.kind {
            CopyKind::Binary => "line",
            CopyKind::Text | CopyKind::Csv => "row",
        };
        match error.context {
            None => error.context(format!("COPY {}, {unit} {}", copy.table, copy.rows + row + 1)),
            Some(_) => error,
        }
    })
}

/// Late rows of a file by view, as far as the file can be read.
fn late_rows(engine: &Engine, topic: &Topic, spilled: &Spilled, watermark: Option<i64>) -> Vec<(u32, u64)> {
    let mut late = Vec::new();
    for rows in spilled.batches().into_iter().flatten() {
        match rows {
            Ok(rows) => late.extend(engine.views.late_rows(topic, &rows, watermark)),
            Err(error) => tracing::warn!(%error, "late rows are not counted"),
        }
    }
    late
}

/// Indexes of the named columns; all of them if none is named.
pub(super) fn target_columns(topic: &Topic, names: &[String], relation: &Name) -> Result<Vec<usize>, SqlError> {
    if names.is_empty() {
        return Ok((0..topic.columns.len()).collect());
    }
    let mut targets = Vec::with_capacity(names.len());
    for name in names {
        let Some(index) = topic.columns.iter().position(|column| column.name == *name) else {
            return Err(SqlError::new(
                state::UNDEFINED_COLUMN,
                format!("column \"{name}\" of relation \"{}\" does not exist", relation.name),
            ));
        };
        if targets.contains(&index) {
            return Err(SqlError::new(
                state::DUPLICATE_COLUMN,
                format!("column \"{name}\" specified more than once"),
            ));
        }
        targets.push(index);
    }
    Ok(targets)
}

fn check_width(expressions: usize, targets: usize, named: bool) -> Result<(), SqlError> {
    if expressions > targets {
        return Err(SqlError::new(
            state::SYNTAX_ERROR,
            "INSERT has more expressions than target columns",
        ));
    }
    if named && expressions < targets {
        return Err(SqlError::new(
            state::SYNTAX_ERROR,
            "INSERT has more target columns than expressions",
        ));
    }
    Ok(())
}

/// Rows and where they go.
pub(super) struct Placed {
    /// Of each row.
    pub partitions: Vec<u32>,
    pub rows: Vec<(u32, RecordBatch)>,
}

fn split_by_key(topic: &Topic, rows: &RecordBatch) -> Result<Vec<(u32, RecordBatch)>, SqlError> {
    split(topic, rows, &partitions_by_key(topic, rows)?)
}

/// A column without the parts that equal values may differ in: the scale of NUMERIC.
fn partition_key(column: &ArrayRef) -> ArrayRef {
    match column.as_binary_opt::<i64>() {
        Some(numbers) => {
            let keys = numbers.iter().map(|number| number.map(varying::key));
            Arc::new(keys.collect::<BinaryArray>())
        }
        None => Arc::clone(column),
    }
}

/// The partition of each row: CRC32C of the key's row encoding, scaled to the number of partitions.
fn partitions_by_key(topic: &Topic, rows: &RecordBatch) -> Result<Vec<u32>, SqlError> {
    let keys: Vec<ArrayRef> = topic
        .partition_by
        .iter()
        .filter_map(|name| rows.column_by_name(name))
        .map(partition_key)
        .collect();
    assert_eq!(
        keys.len(),
        topic.partition_by.len(),
        "PARTITION BY names were checked when the topic was made"
    );
    let fields = keys.iter().map(|key| SortField::new(key.data_type().clone())).collect();
    let converter = RowConverter::new(fields).and_then(|converter| converter.convert_columns(&keys));
    let encoded = converter.map_err(SqlError::from)?;
    let partition = |key: &[u8]| {
        let hash = u64::from(crc32c::crc32c(key));
        // By the upper bits: those of a CRC of small numbers differ, its lower ones hardly do.
        let partition = (hash * u64::from(topic.partitions)) >> 32;
        u32::try_from(partition).expect("less than the number of partitions")
    };
    Ok(encoded.iter().map(|key| partition(key.as_ref())).collect())
}

/// Rows by partition, in order.
fn split(topic: &Topic, rows: &RecordBatch, partitions: &[u32]) -> Result<Vec<(u32, RecordBatch)>, SqlError> {
    let mut indices: Vec<Vec<u32>> = vec![Vec::new(); topic.partitions as usize];
    for (index, partition) in partitions.iter().enumerate() {
        indices[*partition as usize].push(u32::try_from(index).expect("a batch has less than 2^32 rows"));
    }
    let mut split = Vec::new();
    for (partition, indices) in indices
        .into_iter()
        .enumerate()
        .filter(|(_, indices)| !indices.is_empty())
    {
        let taken = match indices.len() == rows.num_rows() {
            true => rows.clone(),
            false => compute::take_record_batch(rows, &UInt32Array::from(indices)).map_err(SqlError::from)?,
        };
        split.push((u32::try_from(partition).expect("partitions are counted in u32"), taken));
    }
    Ok(split)
}
