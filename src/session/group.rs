//! Statements about consumer groups: CREATE, DROP, SEEK, CONSUME, COMMIT OFFSETS.
//!
//! One rule: a session consumes on from where it stands, and what it consumed becomes the group's with a commit: that of the block in
//! which it consumed, or COMMIT OFFSETS. A session that loses a partition, or whose commit is refused, goes on from the group's
//! offset; so does one whose transaction is rolled back.
//!
//! Not here: the members of groups (`consumers.rs`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use futures::StreamExt;
use tokio::time::Instant;

use super::ddl::timestamp_us;
use super::outcome::{Outcome, RowsTag};
use super::transaction::Consumed;
use super::{Engine, Session};
use crate::catalog::system::{GroupPartitionState, GroupState};
use crate::catalog::{Change, ConsumerGroup, Snapshot, Topic};
use crate::error::{SqlError, state};
use crate::log::{Chunk, Extent, GroupChange, GroupId, HiddenColumn, LogError, Lsn, TopicId};
use crate::panics;
use crate::sql::field::OutField;
use crate::sql::statement::{GroupStatement, Name, StartAt};
use crate::types::PgType;

/// Rows of this many bytes end the answer of a CONSUME, whatever its LIMIT: it is in memory.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Where a session stands in a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct ReadPlace {
    /// The group's offset when it came here.
    committed: u64,
    /// The next offset that it consumes.
    next: u64,
}

/// Where a session stands in a group.
#[derive(Default)]
struct Consuming {
    /// Of the group, see `MemberShare`.
    seeks: u64,
    places: BTreeMap<u32, ReadPlace>,
}

/// By group: where a session stands.
#[derive(Default)]
pub(super) struct ReadPlaces(HashMap<GroupId, Consuming>);

impl ReadPlaces {
    /// A transaction with these offsets has been committed, or not: then the session goes on from the groups' offsets.
    pub(super) fn settle(&mut self, consumed: &Consumed, committed: bool) {
        for ((group, partition), (_, to)) in consumed {
            if !committed {
                self.0.remove(group);
            } else if let Some(place) = self.0.get_mut(group).and_then(|group| group.places.get_mut(partition)) {
                place.committed = *to;
            }
        }
    }

    /// Rows that were consumed and are not the group's yet.
    fn uncommitted(&self, group: GroupId) -> impl Iterator<Item = (u32, ReadPlace)> + '_ {
        let places = self.0.get(&group).into_iter().flat_map(|group| &group.places);
        let uncommitted = places.filter(|(_, place)| place.next != place.committed);
        uncommitted.map(|(partition, place)| (*partition, *place))
    }
}

/// Ends a session's wait for rows, however it ends.
struct Waiting {
    engine: Arc<Engine>,
    group: u32,
    session: i32,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let now_us = self.engine.clock.monotonic_us();
        self.engine.consumers.done(self.group, self.session, now_us);
    }
}

impl Session {
    pub(super) async fn group_statement(&mut self, statement: &GroupStatement) -> Result<Outcome, SqlError> {
        match statement {
            GroupStatement::Create {
                name,
                topic,
                start,
                if_not_exists,
            } => self.create_group(name, topic, start, *if_not_exists).await,
            GroupStatement::Drop { names, if_exists } => self.drop_groups(names, *if_exists),
            GroupStatement::Seek { name, to } => self.seek(name, to).await,
            GroupStatement::CommitOffsets(name) => self.commit_offsets(name),
            GroupStatement::Consume {
                group,
                rows_max,
                timeout_us,
            } => self.consume(group, *rows_max, *timeout_us).await,
        }
    }

    fn resolve_group(&self, catalog: &Snapshot, name: &Name) -> Result<Arc<ConsumerGroup>, SqlError> {
        let found = catalog.resolve_group(name.schema.as_deref(), &name.name, self.settings.search_path());
        found.cloned().ok_or_else(|| {
            let error = SqlError::new(
                state::UNDEFINED_OBJECT,
                format!("consumer group \"{}\" does not exist", name.name),
            );
            match name.position {
                Some(position) => error.position(position),
                None => error,
            }
        })
    }

    async fn create_group(
        &mut self,
        name: &Name,
        topic: &Name,
        start: &StartAt,
        if_not_exists: bool,
    ) -> Result<Outcome, SqlError> {
        let topic = self.writable_topic(topic)?;
        let catalog = self.catalog();
        let schema = catalog.create_schema(name.schema.as_deref(), self.settings.search_path())?;
        let tag = Outcome::Command("CREATE CONSUMER GROUP".to_string());
        if catalog.groups.contains_key(&(schema.clone(), name.name.clone())) {
            let message = format!("consumer group \"{}\" already exists", name.name);
            if !if_not_exists {
                return Err(SqlError::new(state::DUPLICATE_OBJECT, message));
            }
            self.notice(format!("{message}, skipping"));
            return Ok(tag);
        }
        let oid = catalog.next_oid;
        let seeks = self.offsets_at(oid, &topic, start).await?;
        let group = ConsumerGroup {
            oid,
            schema,
            name: name.name.clone(),
            topic: topic.oid,
        };
        let transaction = self.transaction();
        transaction.change(vec![Change::CreateGroup(group)], Vec::new())?;
        transaction.change_groups(seeks)?;
        Ok(tag)
    }

    fn drop_groups(&mut self, names: &[Name], if_exists: bool) -> Result<Outcome, SqlError> {
        self.transaction();
        for name in names {
            let catalog = self.catalog();
            match self.resolve_group(&catalog, name) {
                Ok(group) => self.drop_group(group.oid)?,
                Err(_) if if_exists => {
                    self.notice(format!("consumer group \"{}\" does not exist, skipping", name.name));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Outcome::Command("DROP CONSUMER GROUP".to_string()))
    }

    pub(super) fn drop_group(&mut self, oid: u32) -> Result<(), SqlError> {
        let group = GroupId(oid);
        let transaction = self.transaction();
        transaction.change(vec![Change::DropGroup { oid }], Vec::new())?;
        transaction.change_groups(vec![GroupChange::Forget { group }])
    }

    async fn seek(&mut self, name: &Name, to: &StartAt) -> Result<Outcome, SqlError> {
        let catalog = self.catalog();
        let group = self.resolve_group(&catalog, name)?;
        let topic = topic_of(&catalog, &group);
        let seeks = self.offsets_at(group.oid, &topic, to).await?;
        self.transaction().change_groups(seeks)?;
        Ok(Outcome::Command("ALTER CONSUMER GROUP".to_string()))
    }

    /// The changes that have a group go on from there.
    async fn offsets_at(&mut self, oid: u32, topic: &Arc<Topic>, at: &StartAt) -> Result<Vec<GroupChange>, SqlError> {
        let id = TopicId(topic.oid);
        // A topic that this transaction makes has no rows that others see.
        let stats = self.engine.log.topic_stats(id);
        let partitions = || stats.iter().flat_map(|stats| &stats.partitions);
        let mut offsets: Vec<u64> = match at {
            StartAt::Earliest => partitions().map(|partition| partition.start_offset).collect(),
            StartAt::Latest => partitions().map(|partition| partition.next_offset).collect(),
            StartAt::Offset(offset) => vec![*offset; topic.partitions as usize],
            StartAt::Timestamp(text) => {
                let us = timestamp_us(&PgType::TimestampTz, text, self.settings.time_zone())?;
                let reader = topic.reader(Some(us));
                let (log, newest) = (self.engine.log.clone(), self.engine.log.newest());
                let ends: Vec<u64> = partitions().map(|partition| partition.next_offset).collect();
                let find = move || {
                    let first = (0..).zip(ends).map(|(partition, end)| {
                        let extents = log.read_partition(&reader, (partition, 0), newest, 1)?;
                        let chunks = extents.iter().map(Extent::load).filter_map(Result::transpose);
                        let first = chunks.map(|chunk| chunk.map(|chunk| chunk.base_offset)).next();
                        Ok(first.transpose()?.unwrap_or(end))
                    });
                    first.collect::<Result<Vec<u64>, SqlError>>()
                };
                self.compute(find).await?
            }
        };
        offsets.resize(topic.partitions as usize, 0);
        let group = GroupId(oid);
        let seeks = (0..).zip(offsets);
        Ok(seeks
            .map(|(partition, to)| GroupChange::Seek { group, partition, to })
            .collect())
    }

    /// ROLLBACK TO SAVEPOINT: what was consumed since is consumed again.
    pub(super) fn rollback_to(&mut self, name: &str) -> Result<Outcome, SqlError> {
        let transaction = self.in_block("ROLLBACK TO SAVEPOINT")?;
        let consumed = transaction.consumed().clone();
        transaction.rollback_to(name)?;
        self.places.settle(&consumed, false);
        self.failed = false;
        Ok(Outcome::Command("ROLLBACK".to_string()))
    }

    fn commit_offsets(&mut self, name: &Name) -> Result<Outcome, SqlError> {
        let group = GroupId(self.resolve_group(&self.catalog(), name)?.oid);
        let uncommitted: Vec<(u32, ReadPlace)> = self.places.uncommitted(group).collect();
        let transaction = self.transaction();
        for (partition, place) in uncommitted {
            transaction.consume(group, partition, (place.committed, place.next))?;
        }
        Ok(Outcome::Command("COMMIT OFFSETS".to_string()))
    }

    async fn consume(&mut self, name: &Name, rows_max: u64, timeout_us: i64) -> Result<Outcome, SqlError> {
        if self.transaction().read_only {
            return Err(SqlError::new(
                state::READ_ONLY_SQL_TRANSACTION,
                "cannot execute CONSUME in a read-only transaction",
            ));
        }
        let group = self.resolve_group(&self.catalog(), name)?;
        let timeout = Duration::from_micros(timeout_us.unsigned_abs());
        let deadline = Instant::now().checked_add(timeout);
        let (engine, session) = (self.engine.clone(), self.registration.id());
        let mut published = engine.log.subscribe();
        let mut changed = engine.consumers.subscribe();
        let _waiting = Waiting {
            engine: engine.clone(),
            group: group.oid,
            session,
        };
        loop {
            let newest = *published.borrow_and_update();
            changed.borrow_and_update();
            // The topic as it is now: a block keeps its own catalog, but the rows that it consumes are the newest.
            let catalog = engine.catalog.current();
            let Some(topic) = catalog.topic(group.topic).filter(|_| group_is_there(&catalog, &group)) else {
                return Err(SqlError::new(
                    state::UNDEFINED_OBJECT,
                    format!("consumer group \"{}\" does not exist", group.name),
                )
                .detail("It was dropped meanwhile, or is not committed yet."));
            };
            let now_us = engine.clock.monotonic_us();
            let share = engine.consumers.join(group.oid, session, topic.partitions, now_us);
            self.stand(GroupId(group.oid), share.seeks, &share.partitions);
            let chunks = self.read_on(&group, topic, newest, rows_max).await?;
            let is_over = deadline.is_some_and(|deadline| deadline <= Instant::now());
            if !chunks.is_empty() || is_over || rows_max == 0 {
                return self.consumed(&group, topic, chunks);
            }
            let silent = share.silent_at_us.map(|at_us| (at_us - now_us).max(0).unsigned_abs());
            let silent = silent.and_then(|us| Instant::now().checked_add(Duration::from_micros(us)));
            let wake = deadline.into_iter().chain(silent).min();
            let sleeps = async {
                match wake {
                    Some(wake) => tokio::time::sleep_until(wake).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                published = published.changed() => published.map_err(|_| LogError::Closed)?,
                // It lives as long as the engine.
                _ = changed.changed() => {}
                () = sleeps => {}
            }
        }
    }

    /// The session stands in these partitions: where it stood, or in new ones where the group does.
    fn stand(&mut self, group: GroupId, seeks: u64, partitions: &[u32]) {
        let consumed = self.transaction.as_ref().map(|transaction| transaction.consumed());
        let consuming = self.places.0.entry(group).or_default();
        if consuming.seeks != seeks {
            *consuming = Consuming {
                seeks,
                ..Consuming::default()
            };
        }
        let log = &self.engine.log;
        consuming.places.retain(|partition, place| {
            // Where another session has committed since, or this one has lost the partition, it begins anew.
            partitions.contains(partition) && log.group_offset(group, *partition) == place.committed
        });
        for partition in partitions {
            consuming.places.entry(*partition).or_insert_with(|| {
                let committed = self.engine.log.group_offset(group, *partition);
                match consumed.and_then(|consumed| consumed.get(&(group, *partition))) {
                    Some((from, to)) => ReadPlace {
                        committed: *from,
                        next: *to,
                    },
                    None => ReadPlace {
                        committed,
                        next: committed,
                    },
                }
            });
        }
    }

    /// The next rows of the partitions in which the session stands; the partition that comes first is another one each time.
    async fn read_on(
        &mut self,
        group: &ConsumerGroup,
        topic: &Arc<Topic>,
        newest: Lsn,
        rows_max: u64,
    ) -> Result<Vec<Chunk>, SqlError> {
        let Some(consuming) = self.places.0.get(&GroupId(group.oid)) else {
            return Ok(Vec::new());
        };
        let mut places: Vec<(u32, u64)> = consuming.places.iter().map(|(at, place)| (*at, place.next)).collect();
        let stats = self.engine.log.topic_stats(TopicId(topic.oid));
        let end = |partition: u32| {
            let partition = stats
                .as_ref()
                .and_then(|stats| stats.partitions.get(partition as usize));
            partition.map_or(0, |partition| partition.next_offset)
        };
        places.retain(|(partition, next)| *next < end(*partition));
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let first = self.next_partition as usize % places.len();
        self.next_partition = self.next_partition.wrapping_add(1);
        places.rotate_left(first);
        let reader = topic.reader(topic.since_us(self.engine.log.pin().at_us));
        let log = self.engine.log.clone();
        let rows_max = usize::try_from(rows_max).unwrap_or(usize::MAX);
        let read = move || {
            panics::catch(|| {
                let mut chunks = Vec::new();
                let (mut left, mut bytes) = (rows_max, 0);
                for place in places {
                    if left == 0 {
                        break;
                    }
                    for extent in log.read_partition(&reader, place, newest, left)? {
                        let Some(chunk) = extent.load()?.filter(|_| left > 0) else {
                            continue;
                        };
                        let rows = chunk.rows.num_rows().min(left);
                        left -= rows;
                        let chunk = chunk.slice(0, rows);
                        bytes += chunk.rows.get_array_memory_size();
                        if bytes >= ANSWER_BYTES_MAX {
                            left = 0;
                        }
                        chunks.push(chunk);
                    }
                }
                Ok::<_, SqlError>(chunks)
            })?
        };
        self.compute(read).await
    }

    /// Answers with rows, from which the session goes on.
    fn consumed(&mut self, group: &ConsumerGroup, topic: &Topic, chunks: Vec<Chunk>) -> Result<Outcome, SqlError> {
        let id = GroupId(group.oid);
        let mut gaps: BTreeMap<u32, u64> = BTreeMap::new();
        for chunk in &chunks {
            let consuming = self.places.0.get_mut(&id).expect("the session stands in the group");
            let place = consuming
                .places
                .get_mut(&chunk.partition)
                .expect("it was read from there");
            if chunk.base_offset > place.next {
                *gaps.entry(chunk.partition).or_default() += chunk.base_offset - place.next;
            }
            place.next = chunk.base_offset + chunk.rows.num_rows() as u64;
            let (committed, next) = (place.committed, place.next);
            if self.transaction().explicit {
                self.transaction().consume(id, chunk.partition, (committed, next))?;
            }
        }
        for (partition, rows) in gaps {
            let (noun, verb) = if rows == 1 { ("row", "was") } else { ("rows", "were") };
            self.notice(format!(
                "{rows} {noun} of partition {partition} {verb} removed by retention before consumer group \"{}\" consumed them",
                group.name
            ));
        }
        let fields: Arc<[OutField]> = group_fields(topic).into();
        let schema = rows_schema(topic);
        let batches: Vec<_> = chunks.iter().map(|chunk| rows_of(chunk, &schema)).collect();
        Ok(Outcome::Rows {
            fields,
            batches: futures::stream::iter(batches).boxed(),
            tag: RowsTag::Consume,
        })
    }

    /// The columns that a CONSUME answers.
    pub(super) fn consumed_fields(&self, name: &Name) -> Result<Vec<OutField>, SqlError> {
        let catalog = self.catalog();
        let group = self.resolve_group(&catalog, name)?;
        Ok(group_fields(&topic_of(&catalog, &group)))
    }
}

fn topic_of(catalog: &Snapshot, group: &ConsumerGroup) -> Arc<Topic> {
    let topic = catalog.topic(group.topic);
    Arc::clone(topic.expect("C1: a group's topic is there"))
}

fn group_is_there(catalog: &Snapshot, group: &ConsumerGroup) -> bool {
    catalog.groups.values().any(|other| other.oid == group.oid)
}

/// The topic's columns, and the hidden ones that say where a row stands.
fn group_fields(topic: &Topic) -> Vec<OutField> {
    let columns = (1..).zip(&topic.columns).map(|(number, column)| OutField {
        name: column.name.clone(),
        pg_type: column.pg_type.clone(),
        typmod: column.typmod,
        table_oid: topic.oid,
        column: number,
    });
    let hidden = [
        (HiddenColumn::Partition, PgType::Int4),
        (HiddenColumn::Offset, PgType::Int8),
    ];
    let hidden = hidden.into_iter().map(|(column, pg_type)| OutField {
        name: column.name().to_string(),
        pg_type,
        typmod: None,
        table_oid: 0,
        column: 0,
    });
    columns.chain(hidden).collect()
}

fn rows_schema(topic: &Topic) -> SchemaRef {
    let columns = topic.columns.iter();
    let columns = columns.map(|column| column.pg_type.field(&column.name, true));
    let hidden = [
        PgType::Int4.field(HiddenColumn::Partition.name(), true),
        PgType::Int8.field(HiddenColumn::Offset.name(), true),
    ];
    Arc::new(Schema::new(columns.chain(hidden).collect::<Vec<Field>>()))
}

fn rows_of(chunk: &Chunk, schema: &SchemaRef) -> Result<RecordBatch, SqlError> {
    let rows = chunk.rows.num_rows();
    let partition = i32::try_from(chunk.partition).expect("partitions are few");
    let first = i64::try_from(chunk.base_offset).expect("offsets fit 63 bits");
    let mut columns = chunk.rows.columns().to_vec();
    let partitions: ArrayRef = Arc::new(Int32Array::from_value(partition, rows));
    let offsets: ArrayRef = Arc::new(Int64Array::from_iter_values(first..first + rows as i64));
    columns.extend([partitions, offsets]);
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

impl Engine {
    /// The consumer groups of a catalog as they are now, by schema and name.
    pub(super) fn groups(&self, catalog: &Snapshot) -> Vec<GroupState> {
        let groups = catalog.groups.values().map(|group| {
            let topic = topic_of(catalog, group);
            let members = self.consumers.members(group.oid);
            let stats = self.log.topic_stats(TopicId(topic.oid));
            let partitions = (0..topic.partitions).map(|partition| {
                let stats = stats
                    .as_ref()
                    .and_then(|stats| stats.partitions.get(partition as usize));
                let member = members.iter().find(|member| member.partitions.contains(&partition));
                GroupPartitionState {
                    partition,
                    committed_offset: self.log.group_offset(GroupId(group.oid), partition),
                    start_offset: stats.map_or(0, |stats| stats.start_offset),
                    end_offset: stats.map_or(0, |stats| stats.next_offset),
                    member: member.map(|member| member.session),
                }
            });
            GroupState {
                oid: group.oid,
                schema: group.schema.clone(),
                name: group.name.clone(),
                topic_oid: topic.oid,
                topic: topic.name.clone(),
                members: members.len() as u64,
                partitions: partitions.collect(),
            }
        });
        groups.collect()
    }
}
