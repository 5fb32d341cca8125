//! One transaction: the position that it reads at, the rows and changes that it has written so far, and its savepoints.
//!
//! One rule: nothing of it reaches the log before its commit, and then all of it in one commit (L5). A statement
//! outside BEGIN is a transaction of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::spill::{self, Job};
use crate::catalog::{self, Change, Snapshot};
use crate::error::{SqlError, state};
use crate::log::{
    Append, AppendRows, Commit, Ddl, GroupChange, GroupId, Lsn, Pin, ProducerStamp, SpillWriter, TopicChange, TopicId,
};
use crate::query::{OwnRows, OwnWrites};
use crate::views::Dataflow;

/// Most bytes of Arrow data that a transaction may have in memory; one more row is 54000.
pub const TRANSACTION_BYTES_MAX: usize = 1 << 30;

/// Offsets that a transaction commits: by group and partition the offset that it goes on from, and the next one.
pub type Consumed = BTreeMap<(GroupId, u32), (u64, u64)>;

/// A materialized view that the transaction makes: started once the commit is published.
pub struct NewView {
    pub view: Arc<catalog::View>,
    pub dataflow: Dataflow,
}

/// The amount written so far; a savepoint is such a mark.
#[derive(Clone, Copy, Default)]
struct WrittenMark {
    appends: usize,
    groups: usize,
    bytes: usize,
    changes: usize,
    topics: usize,
    advances: usize,
    empty: usize,
    new_views: usize,
    dropped: usize,
    renamed: usize,
}

/// Rows written since the newest savepoint: only these are spilled, so that a rollback to a savepoint never cuts a
/// file.
#[derive(Default)]
struct Recent {
    /// The first of its appends in memory; those before it are files, or from before the savepoint.
    start: usize,
    /// Of its appends in memory.
    bytes: usize,
    /// With more bytes another try to spill is worth it.
    spills_at: usize,
    /// Files that take more rows: the first of their partitions' rows, which come before those in memory.
    open: Vec<SpillWriter>,
    /// Rows have been taken out to be written.
    taken: bool,
}

/// So many files of a transaction take more rows at a time.
const OPEN_FILES_MAX: usize = 64;
/// Fewer rows than this part of the limit do not begin a file.
const SPILLED_SHARE: usize = 64;
/// Nor do fewer than this part one that gets no more rows.
const WHOLE_SHARE: usize = 16;

struct Savepoint {
    name: String,
    mark: WrittenMark,
    consumed: Consumed,
    catalog: Arc<Snapshot>,
}

pub struct Transaction {
    /// By BEGIN; else it ends with the statement or the batch that it was made for.
    pub explicit: bool,
    pub read_only: bool,
    /// Position that it reads at, taken at the first statement that reads.
    pub read_lsn: Option<Lsn>,
    /// Its own rows as a statement of several parts found them: its parts see these.
    pub own_before: Option<OwnWrites>,
    /// Holds the rows that retention kept when it first read.
    pub pin: Option<Pin>,
    /// `now()`: when the transaction began, microseconds since 1970-01-01 UTC.
    pub started_us: i64,
    /// The catalog with this transaction's own changes.
    pub catalog: Arc<Snapshot>,
    /// Version of the committed catalog that `catalog` was made from.
    based_on: u64,
    appends: Vec<Append>,
    /// Of the appends in memory.
    bytes: usize,
    recent: Recent,
    changes: Vec<Change>,
    topics: Vec<TopicChange>,
    advances: Vec<(TopicId, i64)>,
    /// Consumer groups that are set to other offsets or dropped.
    groups: Vec<GroupChange>,
    consumed: Consumed,
    /// Topics that were seen to be without rows, on which a change rests.
    empty: Vec<TopicId>,
    /// Of a serializable one: the topics that it has read, and the first position of these reads.
    reads: Option<(Lsn, BTreeSet<TopicId>)>,
    pub new_views: Vec<NewView>,
    /// OIDs of dropped incremental views.
    pub dropped: Vec<u32>,
    /// OIDs of renamed relations.
    pub renamed: Vec<u32>,
    savepoints: Vec<Savepoint>,
    /// An INSERT or COPY was run in it, with rows or without.
    pub produces: bool,
}

/// Topic, schema id, partition.
type AppendKey = (TopicId, u32, u32);

fn key(append: &Append) -> AppendKey {
    (append.topic, append.schema_id, append.partition)
}

fn key_of(writer: &SpillWriter) -> AppendKey {
    (writer.topic(), writer.schema_id(), writer.partition())
}

impl Transaction {
    pub fn new(catalog: Arc<Snapshot>, explicit: bool, read_only: bool, started_us: i64) -> Transaction {
        Transaction {
            explicit,
            read_only,
            read_lsn: None,
            own_before: None,
            pin: None,
            started_us,
            based_on: catalog.version,
            catalog,
            appends: Vec::new(),
            bytes: 0,
            recent: Recent::default(),
            changes: Vec::new(),
            topics: Vec::new(),
            advances: Vec::new(),
            groups: Vec::new(),
            consumed: Consumed::new(),
            empty: Vec::new(),
            reads: None,
            new_views: Vec::new(),
            dropped: Vec::new(),
            renamed: Vec::new(),
            savepoints: Vec::new(),
            produces: false,
        }
    }

    pub fn wrote(&self) -> bool {
        !self.appends.is_empty()
            || !self.recent.open.is_empty()
            || !self.changes.is_empty()
            || !self.advances.is_empty()
            || !self.groups.is_empty()
            || !self.consumed.is_empty()
    }

    /// Validated rows for one partition.
    pub fn append(&mut self, topic: &catalog::Topic, partition: u32, rows: RecordBatch) -> Result<(), SqlError> {
        self.check_writable("INSERT")?;
        let bytes = rows.get_array_memory_size();
        self.bytes += bytes;
        self.recent.bytes += bytes;
        if self.bytes > TRANSACTION_BYTES_MAX {
            return Err(SqlError::new(state::PROGRAM_LIMIT_EXCEEDED, "transaction is too large")
                .detail(format!(
                    "A transaction may have at most {} MiB in memory.",
                    TRANSACTION_BYTES_MAX >> 20
                ))
                .hint("Load the rows in several transactions."));
        }
        self.appends.push(Append {
            topic: TopicId(topic.oid),
            schema_id: topic.schema_id,
            partition,
            rows: AppendRows::Memory(rows),
        });
        Ok(())
    }

    /// Takes rows out to be written to files, if those in memory take more than `bytes_max`: the largest partitions',
    /// until half is left. They come back by [`Transaction::spilled`].
    pub fn spill(&mut self, bytes_max: usize) -> Vec<Job> {
        if self.recent.bytes <= bytes_max.max(self.recent.spills_at) {
            return Vec::new();
        }
        let mut sizes: HashMap<AppendKey, usize> = HashMap::new();
        for append in &self.appends[self.recent.start..] {
            if let AppendRows::Memory(rows) = &append.rows {
                *sizes.entry(key(append)).or_default() += rows.get_array_memory_size();
            }
        }
        let mut sizes: Vec<(AppendKey, usize)> = sizes.into_iter().collect();
        sizes.sort_unstable_by_key(|(key, bytes)| (std::cmp::Reverse(*bytes), *key));
        let mut open = self.recent.open.len();
        let mut left = self.recent.bytes;
        let mut jobs = Vec::new();
        for (key, bytes) in sizes {
            if left <= bytes_max / 2 {
                break;
            }
            let has_file = self.recent.open.iter().any(|writer| key_of(writer) == key);
            let finish = !has_file && open >= OPEN_FILES_MAX;
            let share = if finish { WHOLE_SHARE } else { SPILLED_SHARE };
            if !has_file && bytes < bytes_max / share {
                continue;
            }
            if let Some(job) = self.job(key, finish) {
                open += usize::from(!has_file && !finish);
                left -= bytes;
                jobs.push(job);
            }
        }
        self.recent.spills_at = left + bytes_max / 2;
        self.take(&mut jobs);
        jobs
    }

    /// Takes out the files that take more rows, with the rows that are theirs, to be ended.
    pub fn finish_spills(&mut self) -> Vec<Job> {
        let keys: Vec<AppendKey> = self.recent.open.iter().map(key_of).collect();
        let jobs = keys
            .into_iter()
            .map(|key| self.job(key, true).expect("its topic was there"));
        let mut jobs: Vec<Job> = jobs.collect();
        self.take(&mut jobs);
        jobs
    }

    /// A job without rows; `None` if the topic has changed since they were inserted.
    fn job(&mut self, key: AppendKey, finish: bool) -> Option<Job> {
        let (topic, schema_id, partition) = key;
        let position = self.recent.open.iter().position(|writer| key_of(writer) == key);
        let writer = position.map(|position| self.recent.open.swap_remove(position));
        let schema = match &writer {
            Some(writer) => writer.schema(),
            None => {
                let known = self.catalog.topic(topic.0);
                known.filter(|topic| topic.schema_id == schema_id)?.log_schema()
            }
        };
        Some(Job {
            topic,
            schema_id,
            partition,
            schema,
            writer,
            rows: Vec::new(),
            finish,
        })
    }

    /// Gives jobs the rows in memory that are theirs.
    fn take(&mut self, jobs: &mut [Job]) {
        if jobs.is_empty() {
            return;
        }
        assert!(!self.recent.taken, "rows are taken out once at a time");
        self.recent.taken = true;
        let places = (0..).zip(jobs.iter());
        let places: HashMap<AppendKey, usize> = places
            .map(|(place, job)| ((job.topic, job.schema_id, job.partition), place))
            .collect();
        let mut kept = Vec::new();
        for append in self.appends.drain(self.recent.start..) {
            match (places.get(&key(&append)), append.rows) {
                (Some(place), AppendRows::Memory(rows)) => {
                    let bytes = rows.get_array_memory_size();
                    self.bytes -= bytes;
                    self.recent.bytes -= bytes;
                    jobs[*place].rows.push(rows);
                }
                (_, rows) => kept.push(Append { rows, ..append }),
            }
        }
        self.appends.extend(kept);
    }

    /// Takes back rows that were taken out, as files.
    pub fn spilled(&mut self, written: spill::SpilledRows) {
        assert!(self.recent.taken, "rows were taken out");
        self.recent.taken = false;
        self.recent.open.extend(written.open);
        let (start, count) = (self.recent.start, written.appends.len());
        // Before those in memory, which came later or are of other partitions.
        self.appends.splice(start..start, written.appends);
        self.recent.start += count;
    }

    /// Catalog changes, visible to the rest of this transaction at once.
    pub fn change(&mut self, changes: Vec<Change>, topics: Vec<TopicChange>) -> Result<(), SqlError> {
        self.check_writable("DDL")?;
        self.catalog = Arc::new(self.catalog.apply(&changes));
        self.changes.extend(changes);
        self.topics.extend(topics);
        Ok(())
    }

    pub fn advance(&mut self, topic: TopicId, watermark_us: i64) -> Result<(), SqlError> {
        self.check_writable("ALTER TOPIC")?;
        self.advances.push((topic, watermark_us));
        Ok(())
    }

    pub fn change_groups(&mut self, changes: Vec<GroupChange>) -> Result<(), SqlError> {
        self.check_writable("ALTER CONSUMER GROUP")?;
        self.groups.extend(changes);
        Ok(())
    }

    /// It commits that rows of a partition were consumed: the offset that it goes on from, and the next one.
    pub fn consume(&mut self, group: GroupId, partition: u32, offsets: (u64, u64)) -> Result<(), SqlError> {
        self.check_writable("CONSUME")?;
        self.consumed.insert((group, partition), offsets);
        Ok(())
    }

    pub fn consumed(&self) -> &Consumed {
        &self.consumed
    }

    /// The commit is refused if another has changed one of these topics after `lsn`.
    pub fn rests_on(&mut self, lsn: Lsn, topics: impl IntoIterator<Item = TopicId>) {
        let (first, read) = self.reads.get_or_insert_with(|| (lsn, BTreeSet::new()));
        *first = lsn.min(*first);
        read.extend(topics);
    }

    /// The commit is refused if the topic has rows by then.
    pub fn rests_on_empty(&mut self, topic: TopicId) {
        self.empty.push(topic);
    }

    fn check_writable(&self, what: &str) -> Result<(), SqlError> {
        if self.read_only {
            return Err(SqlError::new(
                state::READ_ONLY_SQL_TRANSACTION,
                format!("cannot execute {what} in a read-only transaction"),
            ));
        }
        Ok(())
    }

    /// The rows that it has written, to be given back by [`Transaction::renew`].
    pub fn take_appends(&mut self) -> Vec<Append> {
        assert!(self.recent.open.is_empty(), "files are ended before they are taken");
        std::mem::take(&mut self.appends)
    }

    /// Goes on under a newer catalog, for which its rows have been made anew.
    pub fn renew(&mut self, catalog: Arc<Snapshot>, appends: Vec<Append>) {
        assert!(
            !self.explicit && !self.wrote_ddl() && self.savepoints.is_empty(),
            "only an implicit transaction takes over what others change"
        );
        let rows = appends.iter().filter_map(|append| append.rows.memory());
        self.bytes = rows.map(RecordBatch::get_array_memory_size).sum();
        let files = appends.iter().take_while(|append| append.rows.memory().is_none());
        self.recent = Recent {
            start: files.count(),
            bytes: self.bytes,
            ..Recent::default()
        };
        (self.appends, self.based_on, self.catalog) = (appends, catalog.version, catalog);
    }

    /// Whether nothing has been done in it yet.
    pub fn is_fresh(&self) -> bool {
        !self.explicit && !self.wrote() && self.read_lsn.is_none() && self.pin.is_none()
    }

    /// Whether it has changed the catalog, so that its own view of it is not the committed one.
    pub fn wrote_ddl(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Its own rows by topic OID, each with its partition, in order; topics that it made are included with or without
    /// rows.
    pub fn all_own_rows(&self) -> OwnWrites {
        assert!(self.recent.open.is_empty(), "files are ended before they are read");
        let mut own = OwnWrites::new();
        let of = |schema_id, schema: &SchemaRef| OwnRows {
            schema_id,
            schema: Arc::clone(schema),
            rows: Vec::new(),
        };
        for change in &self.topics {
            if let TopicChange::Create(spec) = change {
                own.insert(spec.id.0, of(spec.schema_id, &spec.schema));
            }
        }
        for append in &self.appends {
            let written = own.entry(append.topic.0).or_insert_with(|| {
                let topic = self.catalog.topic(append.topic.0);
                let schema = match (topic, &append.rows) {
                    (Some(topic), _) => topic.log_schema(),
                    (None, AppendRows::Memory(rows)) => rows.schema(),
                    (None, AppendRows::Spilled(spilled)) => spilled.schema(),
                };
                of(append.schema_id, &schema)
            });
            written.rows.push((append.partition, append.rows.clone()));
        }
        own
    }

    /// Whether it has written rows of a topic.
    pub fn wrote_to(&self, topic: u32) -> bool {
        let mut open = self.recent.open.iter();
        self.appends.iter().any(|append| append.topic.0 == topic) || open.any(|writer| writer.topic().0 == topic)
    }

    fn mark(&self) -> WrittenMark {
        WrittenMark {
            appends: self.appends.len(),
            groups: self.groups.len(),
            bytes: self.bytes,
            changes: self.changes.len(),
            topics: self.topics.len(),
            advances: self.advances.len(),
            empty: self.empty.len(),
            new_views: self.new_views.len(),
            dropped: self.dropped.len(),
            renamed: self.renamed.len(),
        }
    }

    /// Files that take more rows have been ended.
    pub fn savepoint(&mut self, name: String) {
        assert!(self.recent.open.is_empty(), "no file goes on behind a savepoint");
        let mark = self.mark();
        self.recent = Recent {
            start: self.appends.len(),
            ..Recent::default()
        };
        self.savepoints.push(Savepoint {
            name,
            mark,
            consumed: self.consumed.clone(),
            catalog: self.catalog.clone(),
        });
    }

    fn position(&self, name: &str) -> Result<usize, SqlError> {
        self.savepoints
            .iter()
            .rposition(|savepoint| savepoint.name == name)
            .ok_or_else(|| SqlError::new(state::INVALID_SAVEPOINT, format!("savepoint \"{name}\" does not exist")))
    }

    /// Forgets the savepoint and those after it; their writes stay.
    pub fn release(&mut self, name: &str) -> Result<(), SqlError> {
        let position = self.position(name)?;
        self.savepoints.truncate(position);
        Ok(())
    }

    /// Takes back the writes since the savepoint, which stays.
    pub fn rollback_to(&mut self, name: &str) -> Result<(), SqlError> {
        let position = self.position(name)?;
        self.savepoints.truncate(position + 1);
        let Savepoint {
            mark,
            catalog,
            consumed,
            ..
        } = &self.savepoints[position];
        self.consumed.clone_from(consumed);
        self.groups.truncate(mark.groups);
        self.catalog = catalog.clone();
        self.appends.truncate(mark.appends);
        // All files since have gone, and the one in progress with them.
        self.recent = Recent {
            start: mark.appends,
            ..Recent::default()
        };
        self.bytes = mark.bytes;
        self.changes.truncate(mark.changes);
        self.topics.truncate(mark.topics);
        self.advances.truncate(mark.advances);
        self.empty.truncate(mark.empty);
        self.new_views.truncate(mark.new_views);
        self.dropped.truncate(mark.dropped);
        self.renamed.truncate(mark.renamed);
        Ok(())
    }

    /// The commit of all that was written; `None` if that is nothing, and no transaction of a producer. Appends to topics that the transaction itself
    /// dropped are left out.
    pub fn commit(&mut self, producer: Option<ProducerStamp>) -> Option<Commit> {
        if !self.wrote() && producer.is_none() {
            return None;
        }
        let Recent { open, taken, .. } = &self.recent;
        assert!(open.is_empty() && !taken, "L5: all that was written is committed");
        let catalog = self.catalog.clone();
        let mut appends = std::mem::take(&mut self.appends);
        appends.retain(|append| catalog.relations.contains_key(&append.topic.0));
        let changes = std::mem::take(&mut self.changes);
        let ddl = (!changes.is_empty()).then(|| Ddl {
            based_on: self.based_on,
            record: catalog::encode(&changes),
            topics: std::mem::take(&mut self.topics),
        });
        let consumed = self.consumed.iter();
        let consumed = consumed.map(|((group, partition), (from, to))| GroupChange::Commit {
            group: *group,
            partition: *partition,
            from: *from,
            to: *to,
        });
        Some(Commit {
            appends,
            ddl,
            advances: std::mem::take(&mut self.advances),
            tick: false,
            producer,
            groups: std::mem::take(&mut self.groups).into_iter().chain(consumed).collect(),
            empty: std::mem::take(&mut self.empty),
            read: self
                .reads
                .take()
                .map(|(lsn, topics)| (lsn, topics.into_iter().collect())),
        })
    }
}
