//! [`Model`]: the expected content of the log, kept in the plainest way: the commits in order, and for each topic its
//! rows.
//!
//! One rule: the model takes each commit as it is put in order, and forgets those that a crash may lose and did lose;
//! the log must then hold the model's content, and nothing else (L5).

use std::collections::BTreeMap;

use arrow::array::Array;
use arrow::datatypes::TimestampMicrosecondType;

use super::super::super::columns::column_id;
use super::super::*;

/// One row, as it was inserted.
#[derive(Clone, Debug)]
pub struct Row {
    pub id: i64,
    pub name: Option<String>,
    pub event_us: Option<i64>,
    /// Of the commit; 0 before it has one.
    pub lsn: Lsn,
    /// Ids of the added columns that the topic had when it was inserted.
    pub added: Arc<[u32]>,
}

/// A transaction to be committed.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// Topic, partition, rows.
    pub appends: Vec<(u32, u32, Vec<Row>)>,
    pub ddl: Option<TopicChange>,
    pub advances: Vec<(u32, i64)>,
    pub producer: Option<ProducerStamp>,
    pub groups: Vec<GroupChange>,
}

/// One commit, as far as it is no topic's.
#[derive(Clone, Debug)]
struct Done {
    timestamp_us: i64,
    record: Option<Vec<u8>>,
    /// The producer, its sequence, and the rows.
    produced: Option<(ProducerStamp, u64)>,
    groups: Vec<GroupChange>,
}

#[derive(Clone, Debug)]
pub struct Topic {
    /// Definitions by the LSN that made them.
    specs: Vec<(Lsn, TopicSpec)>,
    dropped: Option<Lsn>,
    /// Rows by partition; a row's offset is its index.
    partitions: Vec<Vec<Row>>,
    /// The watermark after each commit that moved it.
    watermarks: Vec<(Lsn, i64)>,
    /// Newest event time that counts, by append.
    events: Vec<(Lsn, i64)>,
}

impl Topic {
    pub fn spec(&self) -> &TopicSpec {
        &self.specs[self.specs.len() - 1].1
    }

    /// Whether it has, or had, a retention.
    pub fn retains(&self) -> bool {
        let mut specs = self.specs.iter();
        specs.any(|(_, spec)| spec.retention != Retention::default())
    }

    pub fn watermark(&self, at: Lsn) -> Option<i64> {
        let later = self.watermarks.partition_point(|(lsn, _)| *lsn <= at);
        later.checked_sub(1).map(|last| self.watermarks[last].1)
    }

    fn advance(&mut self, lsn: Lsn, watermark: i64) {
        match self.watermarks.last_mut() {
            Some((_, last)) if *last >= watermark => {}
            Some((last_lsn, last)) if *last_lsn == lsn => *last = watermark,
            _ => self.watermarks.push((lsn, watermark)),
        }
    }
}

/// Columns that are there from the start; those after them were added.
const FIRST_COLUMNS: usize = 3;

/// Ids of the added columns of a schema.
pub fn added(schema: &Schema) -> Arc<[u32]> {
    let columns = FIRST_COLUMNS..schema.fields().len();
    columns.map(|column| column_id(schema, column)).collect()
}

/// The value of an added column in a row that was inserted with it.
fn value(id: i64, column: u32) -> i64 {
    id * i64::from(column)
}

/// The value of an added column in rows from before it.
pub fn missing(column: u32) -> Option<i64> {
    column.is_multiple_of(2).then_some(-i64::from(column))
}

/// A batch of rows with `schema`.
pub fn batch(rows: &[Row], schema: &SchemaRef) -> RecordBatch {
    let ids: Int64Array = rows.iter().map(|row| Some(row.id)).collect();
    let names: StringArray = rows.iter().map(|row| row.name.as_deref()).collect();
    let at: TimestampMicrosecondArray = rows.iter().map(|row| row.event_us).collect();
    let mut columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(names), Arc::new(at)];
    for column in added(schema).iter() {
        let values: Int64Array = rows.iter().map(|row| Some(value(row.id, *column))).collect();
        columns.push(Arc::new(values));
    }
    RecordBatch::try_new(Arc::clone(schema), columns).expect("columns fit the schema")
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    commits: Vec<Done>,
    topics: BTreeMap<u32, Topic>,
}

impl Model {
    /// LSN of the newest commit that was put in order.
    pub fn newest(&self) -> Lsn {
        self.commits.len() as Lsn
    }

    pub fn last_timestamp_us(&self) -> i64 {
        self.commits.last().map_or(0, |commit| commit.timestamp_us)
    }

    /// The number of catalog records.
    pub fn catalog_version(&self) -> u64 {
        self.catalog().len() as u64
    }

    pub fn catalog(&self) -> Vec<(Lsn, Vec<u8>)> {
        let commits = (1..).zip(&self.commits);
        commits
            .filter_map(|(lsn, commit)| Some((lsn, commit.record.clone()?)))
            .collect()
    }

    /// The newest transactions of each producer.
    pub fn producers(&self) -> Vec<(String, Vec<Produced>)> {
        let mut known: BTreeMap<String, Vec<Produced>> = BTreeMap::new();
        for (lsn, commit) in (1..).zip(&self.commits) {
            if let Some((stamp, rows)) = &commit.produced {
                let known = known.entry(stamp.producer.to_string()).or_default();
                let (sequence, rows) = (stamp.sequence, *rows);
                known.push(Produced { sequence, lsn, rows });
                // Five are known.
                known.drain(..known.len().saturating_sub(5));
            }
        }
        known.into_iter().collect()
    }

    /// The offsets of consumer groups: by group and partition.
    pub fn groups(&self) -> BTreeMap<u32, BTreeMap<u32, u64>> {
        let mut groups: BTreeMap<u32, BTreeMap<u32, u64>> = BTreeMap::new();
        for change in self.commits.iter().flat_map(|commit| &commit.groups) {
            match change {
                GroupChange::Commit {
                    group, partition, to, ..
                }
                | GroupChange::Seek { group, partition, to } => {
                    groups.entry(group.0).or_default().insert(*partition, *to);
                }
                GroupChange::Forget { group } => drop(groups.remove(&group.0)),
            }
        }
        groups
    }

    /// Topics that exist.
    pub fn topics(&self) -> impl Iterator<Item = (u32, &Topic)> {
        let topics = self.topics.iter().filter(|(_, topic)| topic.dropped.is_none());
        topics.map(|(id, topic)| (*id, topic))
    }

    pub fn dropped(&self) -> impl Iterator<Item = u32> {
        let topics = self.topics.iter().filter(|(_, topic)| topic.dropped.is_some());
        topics.map(|(id, _)| *id)
    }

    pub fn topic(&self, id: u32) -> &Topic {
        &self.topics[&id]
    }

    /// Puts a transaction in order at `now_us`; returns the expected receipt.
    pub fn apply(&mut self, draft: &Draft, record: Option<Vec<u8>>, now_us: i64) -> Receipt {
        let lsn = self.newest() + 1;
        let timestamp_us = now_us.max(self.last_timestamp_us());
        match &draft.ddl {
            Some(TopicChange::Create(spec)) => {
                let topic = Topic {
                    specs: vec![(lsn, spec.clone())],
                    dropped: None,
                    partitions: vec![Vec::new(); spec.partitions as usize],
                    watermarks: Vec::new(),
                    events: Vec::new(),
                };
                self.topics.insert(spec.id.0, topic);
            }
            Some(TopicChange::Alter(spec)) => {
                let topic = self.topics.get_mut(&spec.id.0).expect("an altered topic exists");
                topic.partitions.resize(spec.partitions as usize, Vec::new());
                topic.specs.push((lsn, spec.clone()));
            }
            Some(TopicChange::Drop(id)) => {
                self.topics.get_mut(&id.0).expect("a dropped topic exists").dropped = Some(lsn);
            }
            None => {}
        }
        let mut appended = Vec::new();
        let mut moved = Vec::new();
        for (id, partition, rows) in &draft.appends {
            let topic = self.topics.get_mut(id).expect("a topic that exists");
            if topic.dropped.is_some() {
                appended.push(Appended {
                    base_offset: 0,
                    watermark: None,
                });
                continue;
            }
            let event_time = topic.spec().event_time;
            let watermark = topic.watermark(lsn - 1);
            let stored = &mut topic.partitions[*partition as usize];
            appended.push(Appended {
                base_offset: stored.len() as u64,
                watermark,
            });
            stored.extend(rows.iter().map(|row| Row { lsn, ..row.clone() }));
            let ahead_us = event_time.map_or(0, |event| event.ahead_us);
            let counts = |event_us: &i64| *event_us <= now_us.saturating_add(ahead_us);
            let newest = rows.iter().filter_map(|row| row.event_us).filter(counts).max();
            if let (Some(event_us), Some(event_time)) = (newest, event_time) {
                topic.events.push((lsn, event_us));
                moved.push((*id, event_us - event_time.delay_us));
            }
        }
        for (id, watermark) in moved.into_iter().chain(draft.advances.iter().copied()) {
            let topic = self.topics.get_mut(&id).expect("a topic that exists");
            topic.advance(lsn, watermark);
        }
        let rows = draft.appends.iter().map(|(_, _, rows)| rows.len() as u64).sum();
        let produced = draft.producer.clone().map(|stamp| (stamp, rows));
        self.commits.push(Done {
            timestamp_us,
            record,
            produced,
            groups: draft.groups.clone(),
        });
        Receipt {
            lsn,
            timestamp_us,
            appended,
        }
    }

    /// Takes note of a commit of the log's own: a record of retention.
    pub fn skip(&mut self, now_us: i64) {
        let timestamp_us = now_us.max(self.last_timestamp_us());
        self.commits.push(Done {
            timestamp_us,
            record: None,
            produced: None,
            groups: Vec::new(),
        });
    }

    /// Whether some topic has, or had, a retention.
    pub fn retains(&self) -> bool {
        self.topics.values().any(Topic::retains)
    }

    /// Checks that only rows beyond retention have gone from a topic. `at_us`: the furthest position of its clock;
    /// `needed_us`: rows from then on stay.
    pub fn check_gone(&self, id: u32, stats: &TopicStats, at_us: i64, needed_us: Option<i64>) {
        let topic = &self.topics[&id];
        let retentions = || topic.specs.iter().map(|(_, spec)| spec.retention);
        let before_us = match retentions().any(|retention| retention.bytes.is_some()) {
            true => i64::MAX,
            false => {
                let least_us = retentions().filter_map(|retention| retention.us).min();
                least_us.map_or(i64::MIN, |us| at_us - us)
            }
        };
        let before_us = before_us.min(needed_us.unwrap_or(i64::MAX));
        for (rows, partition) in topic.partitions.iter().zip(&stats.partitions) {
            for row in &rows[..partition.start_offset as usize] {
                let timestamp_us = self.commits[row.lsn as usize - 1].timestamp_us;
                assert!(
                    timestamp_us < before_us,
                    "a row of topic {id}, appended at {timestamp_us}, has gone, and should stay from {before_us} on"
                );
            }
        }
    }

    /// Forgets the commits after `newest`.
    pub fn truncate(&mut self, newest: Lsn) {
        self.commits.truncate(newest as usize);
        self.topics.retain(|_, topic| topic.specs[0].0 <= newest);
        for topic in self.topics.values_mut() {
            topic.specs.retain(|(lsn, _)| *lsn <= newest);
            topic.dropped = topic.dropped.filter(|lsn| *lsn <= newest);
            let partitions = topic.spec().partitions as usize;
            topic.partitions.truncate(partitions);
            for rows in &mut topic.partitions {
                let kept = rows.partition_point(|row| row.lsn <= newest);
                rows.truncate(kept);
            }
            topic.watermarks.retain(|(lsn, _)| *lsn <= newest);
            topic.events.retain(|(lsn, _)| *lsn <= newest);
        }
    }

    /// Whether a log may be at the newest commit, by the offsets and watermarks of its topics.
    pub fn fits(&self, stats: impl Fn(u32) -> Option<TopicStats>) -> bool {
        self.topics().all(|(id, topic)| {
            stats(id).is_some_and(|stats| {
                let next_offsets = stats.partitions.iter().map(|partition| partition.next_offset);
                next_offsets.eq(topic.partitions.iter().map(|rows| rows.len() as u64))
                    && stats.watermark == topic.watermark(self.newest())
            })
        })
    }

    /// Whether the reader's topic has its schema, now or before.
    pub fn knows(&self, reader: &Reader) -> bool {
        let topic = self.topics.get(&reader.topic.0).filter(|topic| topic.dropped.is_none());
        let mut schemas = topic
            .iter()
            .flat_map(|topic| topic.specs.iter().map(|(_, spec)| &spec.schema));
        schemas.any(|schema| Arc::ptr_eq(schema, &reader.schema))
    }

    /// Whether the reader wants a column that has been dropped since.
    pub fn is_stale(&self, reader: &Reader) -> bool {
        let now = added(&self.topics[&reader.topic.0].spec().schema);
        !reader.ignores_dropped && added(&reader.schema).iter().any(|column| !now.contains(column))
    }

    /// Checks the rows read of a topic after `after` up to `upto`: those rows, in order, with their hidden columns.
    /// `starts`: rows of partitions before these may have gone. `damaged`: some extents could not be loaded, and their
    /// rows may be missing, but no others.
    pub fn check_rows(
        &self,
        reader: &Reader,
        (after, upto): (Lsn, Lsn),
        starts: &[u64],
        chunks: &[Chunk],
        damaged: bool,
    ) {
        let id = reader.topic.0;
        let topic = &self.topics[&id];
        let since_us = reader.since_us.unwrap_or(i64::MIN);
        // Timestamps never go back, so that those too old are the first ones.
        let too_old = self.commits.partition_point(|commit| commit.timestamp_us < since_us);
        let after = after.max(too_old as Lsn);
        let range = |rows: &[Row]| {
            let start = rows.partition_point(|row| row.lsn <= after);
            let end = rows.partition_point(|row| row.lsn <= upto);
            (start, end.max(start))
        };
        let mut cursors: Vec<(usize, usize)> = topic.partitions.iter().map(|rows| range(rows)).collect();
        for chunk in chunks {
            let partition = chunk.partition as usize;
            assert!(partition < cursors.len(), "topic {id} has no partition {partition}");
            let (next, end) = cursors[partition];
            let first = chunk.base_offset as usize;
            let place = format!("topic {id}, partition {partition}, offset {first}, read ({after}, {upto}]");
            let start = starts[partition] as usize;
            assert!(
                first == next || first > next && (damaged || first <= start),
                "L2: {place}: offset {next} should be next"
            );
            let rows = first..first + chunk.rows.num_rows();
            assert!(rows.end <= end, "{place}: rows up to {} of {end}", rows.end);
            let expected = &topic.partitions[partition][rows.clone()];
            self.check_runs(topic, chunk, expected, &place);
            check_values(topic, reader, chunk, expected, &place);
            cursors[partition].0 = rows.end;
        }
        for (partition, (next, end)) in cursors.into_iter().enumerate() {
            assert!(
                next == end || damaged || end <= starts[partition] as usize,
                "topic {id}, partition {partition}, read ({after}, {upto}]: rows {next}..{end} are missing"
            );
        }
    }

    fn check_runs(&self, topic: &Topic, chunk: &Chunk, expected: &[Row], place: &str) {
        let mut at = 0;
        for run in chunk.runs.iter() {
            let rows = &expected[at..at + run.rows];
            assert!(
                rows.iter().all(|row| row.lsn == run.lsn),
                "{place}: LSN {} for rows of {rows:?}",
                run.lsn
            );
            let timestamp_us = self.commits[run.lsn as usize - 1].timestamp_us;
            assert_eq!(
                (run.timestamp_us, run.watermark),
                (timestamp_us, topic.watermark(run.lsn - 1)),
                "{place}: timestamp and watermark of LSN {}",
                run.lsn
            );
            at += run.rows;
        }
        assert_eq!(at, expected.len(), "{place}: runs do not add up");
    }

    /// Checks the statistics of a topic, which the log has without reading it, at the newest commit.
    pub fn check_stats(&self, id: u32, stats: &TopicStats) {
        let topic = &self.topics[&id];
        let next_offsets: Vec<u64> = stats.partitions.iter().map(|partition| partition.next_offset).collect();
        let expected: Vec<u64> = topic.partitions.iter().map(|rows| rows.len() as u64).collect();
        assert_eq!(next_offsets, expected, "L2: next offsets of topic {id}");
        assert_eq!(
            stats.watermark,
            topic.watermark(self.newest()),
            "watermark of topic {id}"
        );
        let newest_event_us = topic.events.iter().map(|(_, event_us)| *event_us).max();
        assert_eq!(stats.newest_event_us, newest_event_us, "newest event of topic {id}");
        let newest = topic
            .partitions
            .iter()
            .filter_map(|rows| rows.last())
            .map(|row| row.lsn);
        let newest_append_us = newest.max().map(|lsn| self.commits[lsn as usize - 1].timestamp_us);
        assert_eq!(stats.newest_append_us, newest_append_us, "newest append of topic {id}");
        let append_us = newest_event_us.map(|newest| {
            let first = topic.events.iter().find(|(_, event_us)| *event_us == newest);
            let (lsn, _) = first.expect("it is one of them");
            self.commits[*lsn as usize - 1].timestamp_us
        });
        assert_eq!(
            stats.newest_event_append_us, append_us,
            "append of the newest event of topic {id}"
        );
    }
}

fn check_values(topic: &Topic, reader: &Reader, chunk: &Chunk, expected: &[Row], place: &str) {
    let columns = chunk.rows.columns();
    let ids = columns[0].as_primitive::<Int64Type>().values();
    let names = columns[1].as_string::<i32>();
    let at = columns[2].as_primitive::<TimestampMicrosecondType>();
    for (index, row) in expected.iter().enumerate() {
        let name = names.is_valid(index).then(|| names.value(index));
        let event_us = at.is_valid(index).then(|| at.value(index));
        let is_equal = ids[index] == row.id && name == row.name.as_deref() && event_us == row.event_us;
        assert!(
            is_equal,
            "{place}: row {index} is ({}, {name:?}, {event_us:?}), not {row:?}",
            ids[index]
        );
    }
    let now = added(&topic.spec().schema);
    for (array, column) in columns[FIRST_COLUMNS..].iter().zip(added(&reader.schema).iter()) {
        if !now.contains(column) {
            // It has been dropped: nobody looks at it.
            continue;
        }
        let values = array.as_primitive::<Int64Type>();
        for (index, row) in expected.iter().enumerate() {
            let found = values.is_valid(index).then(|| values.value(index));
            let inserted = row.added.contains(column).then(|| value(row.id, *column));
            assert_eq!(
                found,
                inserted.or(missing(*column)),
                "{place}: column {column} of row {index}"
            );
        }
    }
}
