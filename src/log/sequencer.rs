//! Orders commits: checks them against the newest definitions, gives each its LSN and offsets, and lays its encoded
//! rows into the group that the writer takes next.
//!
//! One rule: a commit that passes [`Sequencer::add`] is in order for good: LSNs and offsets are dense (L2), and a
//! commit is either refused whole here or in the group whole (L5). Runs under one short lock, in the committing task; a
//! commit in order is neither durable nor visible before the writer has synced it (L1).

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use hashbrown::HashMap;
use tokio::sync::oneshot;

use super::encode::{Body, EncodedAppend};
use super::frame::{BlockRun, FRAME_BYTES_MAX, Placement, RUN_BYTES};
use super::offsets::{GroupBlock, GroupOffsets};
use super::producers::{Produced, ProducerStamp, Producers};
use super::retention::Retired;
use super::spill::Spilled;
use super::{Appended, Ddl, GroupChange, LogError, Lsn, Receipt, TopicChange, TopicId, TopicSpec};

/// A frame of small commits is closed once it holds this much.
const FRAME_BYTES_TARGET: usize = 4 << 20;
/// A commit with more than this is written at once, though nobody waits for it.
const LINGERING_BYTES_MAX: usize = 64 << 10;
/// Upper bound of a block's fields beside its bytes and runs, with padding.
pub const BLOCK_BYTES: usize = 64;
/// Of one partition's new start.
const RETIRED_BYTES: usize = 16;
/// A commit with more than this gets frames of its own.
const SHARED_COMMIT_BYTES_MAX: usize = 1 << 20;

/// A block to be written.
pub enum BlockDraft {
    Rows {
        place: Placement,
        runs: Vec<BlockRun>,
        rows: u32,
        bytes: Vec<u8>,
    },
    Batch {
        place: Placement,
        run: BlockRun,
        message: Vec<Buffer>,
        batch: RecordBatch,
    },
    Adopt {
        place: Placement,
        spec: Arc<TopicSpec>,
        run: BlockRun,
        spilled: Arc<Spilled>,
    },
    Ddl {
        lsn: Lsn,
        ddl: Ddl,
    },
    Advance {
        lsn: Lsn,
        topic: TopicId,
        watermark: i64,
    },
    Retire {
        lsn: Lsn,
        retired: Retired,
    },
    Produce {
        producer: Arc<str>,
        outcome: Produced,
    },
    Group(GroupBlock),
}

/// A frame to be written.
pub struct FrameDraft {
    pub first_lsn: Lsn,
    pub last_lsn: Lsn,
    pub continued: bool,
    pub blocks: Vec<BlockDraft>,
    bytes: usize,
}

/// The caller that waits for a commit's sync.
pub struct Waiter {
    pub receipt: Receipt,
    pub sender: oneshot::Sender<Result<Receipt, LogError>>,
}

/// Commits that the writer takes at once: written, synced, published and acknowledged together.
#[derive(Default)]
pub struct Group {
    pub frames: Vec<FrameDraft>,
    pub waiters: Vec<Waiter>,
    /// Watermarks that moved: topic, LSN, watermark after it.
    pub watermarks: Vec<(TopicId, Lsn, i64)>,
    pub commits: u64,
}

struct SequencedPartition {
    next_offset: u64,
    /// Group number, frame and block that takes this partition's next small append.
    open: (u64, usize, usize),
}

struct SequencedTopic {
    spec: Arc<TopicSpec>,
    partitions: Vec<SequencedPartition>,
    watermark: Option<i64>,
    /// The newest commit with rows, a definition or a watermark of it; 0 for those before the start.
    changed: Lsn,
}

/// The state of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    Open,
    /// Takes no more commits; the writer finishes those that it has, and `clean` tells whether it then seals and saves.
    Closing {
        clean: bool,
    },
    Failed {
        reason: String,
    },
}

/// Everything that decides a commit's place. Owned by a lock.
pub struct Sequencer {
    pub standing: Standing,
    /// The writer sleeps and wants to be woken.
    pub writer_waits: bool,
    /// Someone waits for the queued commits, or they have become many; else the group may wait for more.
    hurried: bool,
    last_lsn: Lsn,
    catalog_version: u64,
    topics: HashMap<TopicId, SequencedTopic>,
    /// With the commits in order that are not durable yet.
    pub producers: Producers,
    /// The same.
    offsets: GroupOffsets,
    group: Group,
    group_number: u64,
    /// The last frame of the group may take more commits.
    frame_is_open: bool,
}

/// A commit whose rows are encoded.
pub struct EncodedCommit {
    pub appends: Vec<EncodedAppend>,
    pub ddl: Option<Ddl>,
    pub advances: Vec<(TopicId, i64)>,
    pub empty: Vec<TopicId>,
    pub read: Option<(Lsn, Vec<TopicId>)>,
    pub producer: Option<ProducerStamp>,
    pub groups: Vec<GroupChange>,
    /// Of all parts and the catalog record, with [`BLOCK_BYTES`] and [`RUN_BYTES`] for each part.
    pub bytes: usize,
}

impl EncodedCommit {
    /// Topics with rows whose event times are too far ahead to move the watermark, and the number of these rows.
    pub fn events_ahead(&self) -> impl Iterator<Item = (TopicId, u64)> {
        let appends = self.appends.iter().filter(|append| append.ahead > 0);
        appends.map(|append| (append.topic, append.ahead))
    }
}

/// The state of one topic, to start from.
pub struct Start {
    pub spec: Arc<TopicSpec>,
    pub next_offsets: Vec<u64>,
    pub watermark: Option<i64>,
}

const NOWHERE: (u64, usize, usize) = (u64::MAX, 0, 0);

impl Sequencer {
    pub fn new(
        last_lsn: Lsn,
        catalog_version: u64,
        topics: Vec<Start>,
        producers: Producers,
        offsets: GroupOffsets,
    ) -> Sequencer {
        let topics = topics.into_iter().map(|start| {
            let partitions = start.next_offsets.into_iter();
            let topic = SequencedTopic {
                partitions: partitions
                    .map(|next_offset| SequencedPartition {
                        next_offset,
                        open: NOWHERE,
                    })
                    .collect(),
                watermark: start.watermark,
                changed: 0,
                spec: start.spec,
            };
            (topic.spec.id, topic)
        });
        Sequencer {
            standing: Standing::Open,
            writer_waits: false,
            hurried: false,
            last_lsn,
            catalog_version,
            topics: topics.collect(),
            producers,
            offsets,
            group: Group::default(),
            group_number: 0,
            frame_is_open: false,
        }
    }

    pub fn has_work(&self) -> bool {
        self.group.commits > 0
    }

    /// Whether the queue is to be written at once.
    pub fn is_hurried(&self) -> bool {
        self.hurried || self.standing != Standing::Open
    }

    /// Has the queue written at once. True if the writer is to be woken for that.
    pub fn hurry(&mut self) -> bool {
        self.hurried |= self.has_work();
        self.hurried && std::mem::take(&mut self.writer_waits)
    }

    /// Whether the writer is to be woken for the newest commit: to write it, or to look at the clock.
    pub fn wakes(&mut self) -> bool {
        (self.is_hurried() || self.group.commits == 1) && std::mem::take(&mut self.writer_waits)
    }

    /// Takes the queue; the next commit starts another group.
    pub fn take_group(&mut self) -> Group {
        self.group_number += 1;
        self.frame_is_open = false;
        self.hurried = false;
        std::mem::take(&mut self.group)
    }

    /// Puts a commit in order. `sender`, if any, hears when it is durable. The receipt has no timestamp yet.
    pub fn add(
        &mut self,
        commit: EncodedCommit,
        sender: Option<oneshot::Sender<Result<Receipt, LogError>>>,
    ) -> Result<Receipt, LogError> {
        match &self.standing {
            Standing::Open => {}
            Standing::Closing { .. } => return Err(LogError::Closed),
            Standing::Failed { reason } => {
                return Err(LogError::Failed { reason: reason.clone() });
            }
        }
        self.check(&commit)?;

        // From here on nothing is refused.
        let lsn = self.last_lsn + 1;
        self.last_lsn = lsn;
        let small = commit.ddl.is_none() && commit.bytes <= SHARED_COMMIT_BYTES_MAX;
        let is_full = self
            .group
            .frames
            .last()
            .is_none_or(|frame| frame.bytes + commit.bytes > FRAME_BYTES_TARGET);
        if !small || !self.frame_is_open || is_full {
            self.new_frame(lsn);
        }
        let frame = self.group.frames.last_mut().expect("there is one now");
        frame.last_lsn = lsn;

        let mut dropped = Vec::new();
        if let Some(ddl) = commit.ddl {
            dropped = self.change_topics(lsn, &ddl.topics);
            self.catalog_version += 1;
            self.put(lsn, BLOCK_BYTES + ddl.record.len(), BlockDraft::Ddl { lsn, ddl });
        }
        let produced = commit.producer.map(|stamp| {
            let parts = commit.appends.iter().flat_map(|append| &append.parts);
            (stamp, parts.map(|part| u64::from(part.rows)).sum())
        });
        let appended = self.place(lsn, commit.appends, &dropped, small);
        if let Some((ProducerStamp { producer, sequence }, rows)) = produced {
            let outcome = Produced { sequence, lsn, rows };
            self.producers.note(producer.clone(), outcome);
            let bytes = BLOCK_BYTES + producer.len();
            self.put(lsn, bytes, BlockDraft::Produce { producer, outcome });
        }
        for change in commit.groups {
            self.offsets.apply(&change);
            self.put(lsn, BLOCK_BYTES, BlockDraft::Group(GroupBlock { lsn, change }));
        }
        for (id, watermark) in commit.advances {
            let Some(topic) = self.topics.get_mut(&id) else {
                continue;
            };
            if topic.watermark.is_none_or(|current| watermark > current) {
                topic.watermark = Some(watermark);
                topic.changed = lsn;
                self.moved(id, lsn, watermark);
                let topic = id;
                self.put(lsn, BLOCK_BYTES, BlockDraft::Advance { lsn, topic, watermark });
            }
        }
        // A catalog change stands alone: blocks after it may need the definitions that it makes.
        self.frame_is_open = small;
        self.group.commits += 1;
        let receipt = Receipt {
            lsn,
            timestamp_us: 0,
            appended,
        };
        self.hurried |= self.group.frames.len() > 1 || commit.bytes > LINGERING_BYTES_MAX;
        if let Some(sender) = sender {
            let receipt = receipt.clone();
            self.group.waiters.push(Waiter { receipt, sender });
            self.hurried = true;
        }
        Ok(receipt)
    }

    /// Puts a record of retention in order: a commit of its own.
    pub fn retire(&mut self, retired: Retired) {
        let lsn = self.last_lsn + 1;
        self.last_lsn = lsn;
        self.new_frame(lsn);
        let bytes = BLOCK_BYTES + RETIRED_BYTES * retired.starts.len();
        self.put(lsn, bytes, BlockDraft::Retire { lsn, retired });
        self.frame_is_open = false;
        self.group.commits += 1;
    }

    /// Refuses a commit that was planned against a state that has changed.
    fn check(&self, commit: &EncodedCommit) -> Result<(), LogError> {
        // First: one that is repeated is refused for nothing that came after it.
        if let Some(stamp) = &commit.producer {
            self.producers.check(stamp)?;
        }
        self.offsets.check(&commit.groups)?;
        if let Some(ddl) = &commit.ddl
            && ddl.based_on != self.catalog_version
        {
            return Err(LogError::StaleCatalog {
                based_on: ddl.based_on,
                current: self.catalog_version,
            });
        }
        for encoded in &commit.appends {
            let changed = commit.ddl.as_ref().and_then(|ddl| ddl.spec(encoded.topic));
            let current = self.topics.get(&encoded.topic).map(|topic| topic.spec.as_ref());
            let Some(spec) = changed.or(current) else {
                return Err(LogError::UnknownTopic { topic: encoded.topic });
            };
            if spec.schema_id != encoded.schema_id || encoded.partition >= spec.partitions {
                return Err(LogError::StaleSchema { topic: encoded.topic });
            }
        }
        for id in &commit.empty {
            let mut partitions = self.topics.get(id).into_iter().flat_map(|topic| &topic.partitions);
            if partitions.any(|partition| partition.next_offset > 0) {
                return Err(LogError::StaleSchema { topic: *id });
            }
        }
        if let Some((since, topics)) = &commit.read {
            let same = |id: &TopicId| self.topics.get(id).is_some_and(|topic| topic.changed <= *since);
            if let Some(topic) = topics.iter().find(|id| !same(id)) {
                return Err(LogError::StaleRead { topic: *topic });
            }
        }
        for (topic, _) in &commit.advances {
            if !self.topics.contains_key(topic) {
                return Err(LogError::UnknownTopic { topic: *topic });
            }
        }
        Ok(())
    }

    /// Applies a commit's topic changes; returns the topics that it drops.
    fn change_topics(&mut self, lsn: Lsn, changes: &[TopicChange]) -> Vec<TopicId> {
        let mut dropped = Vec::new();
        for change in changes {
            match change {
                TopicChange::Create(spec) => {
                    let topic = SequencedTopic {
                        spec: Arc::new(spec.clone()),
                        partitions: Vec::new(),
                        watermark: None,
                        changed: lsn,
                    };
                    let previous = self.topics.insert(spec.id, topic);
                    assert!(previous.is_none(), "topic ids are never reused");
                }
                TopicChange::Alter(spec) => {
                    let topic = self.topics.get_mut(&spec.id).expect("an altered topic exists");
                    topic.spec = Arc::new(spec.clone());
                    topic.changed = lsn;
                }
                TopicChange::Drop(id) => {
                    // The rows of the same commit are placed nowhere.
                    dropped.push(*id);
                    continue;
                }
            }
            if let TopicChange::Create(spec) | TopicChange::Alter(spec) = change {
                let topic = self.topics.get_mut(&spec.id).expect("it was put there");
                let partitions = topic.partitions.len().max(spec.partitions as usize);
                topic.partitions.resize_with(partitions, || SequencedPartition {
                    next_offset: 0,
                    open: NOWHERE,
                });
            }
        }
        for id in &dropped {
            self.topics.remove(id);
        }
        dropped
    }

    /// Gives rows their offsets and lays them into blocks.
    fn place(&mut self, lsn: Lsn, appends: Vec<EncodedAppend>, dropped: &[TopicId], small: bool) -> Vec<Appended> {
        let mut appended = Vec::with_capacity(appends.len());
        // Watermarks as they will stand after this commit; every row of it carries the one from before.
        let mut after: Vec<(TopicId, i64)> = Vec::new();
        for append in appends {
            if dropped.contains(&append.topic) {
                appended.push(Appended {
                    base_offset: 0,
                    watermark: None,
                });
                continue;
            }
            let topic = self.topics.get_mut(&append.topic).expect("it was checked");
            topic.changed = lsn;
            let (spec, watermark) = (Arc::clone(&topic.spec), topic.watermark);
            let base_offset = topic.partitions[append.partition as usize].next_offset;
            appended.push(Appended { base_offset, watermark });
            let mut place = Placement {
                topic: append.topic,
                schema_id: append.schema_id,
                partition: append.partition,
                base_offset,
            };
            for part in append.parts {
                if let (Some(event), Some(event_us)) = (spec.event_time, part.event_us) {
                    after.push((append.topic, event_us.saturating_sub(event.delay_us)));
                }
                let run = BlockRun {
                    lsn,
                    rows: part.rows,
                    watermark,
                    event_us: part.event_us,
                };
                match part.body {
                    Body::Rows(bytes) => self.put_rows(place, run, bytes, small),
                    Body::Spilled(spilled) => {
                        spilled.put_in_order();
                        let spec = Arc::clone(&spec);
                        let draft = BlockDraft::Adopt {
                            place,
                            spec,
                            run,
                            spilled,
                        };
                        self.put(lsn, BLOCK_BYTES + RUN_BYTES, draft);
                        self.partition(&place).open = NOWHERE;
                    }
                    Body::Message(message, batch) => {
                        let bytes = BLOCK_BYTES + RUN_BYTES + message.iter().map(Buffer::len).sum::<usize>();
                        let draft = BlockDraft::Batch {
                            place,
                            run,
                            message,
                            batch,
                        };
                        self.put(lsn, bytes, draft);
                        // Rows that follow for this partition come after these.
                        self.partition(&place).open = NOWHERE;
                    }
                }
                place.base_offset += u64::from(part.rows);
                self.partition(&place).next_offset = place.base_offset;
            }
        }
        for (id, watermark) in after {
            let topic = self.topics.get_mut(&id).expect("it was checked");
            if topic.watermark.is_none_or(|current| watermark > current) {
                topic.watermark = Some(watermark);
                self.moved(id, lsn, watermark);
            }
        }
        appended
    }

    fn partition(&mut self, place: &Placement) -> &mut SequencedPartition {
        let topic = self.topics.get_mut(&place.topic).expect("it was checked");
        &mut topic.partitions[place.partition as usize]
    }

    /// Coalesces a small append with those before it in this frame.
    fn put_rows(&mut self, place: Placement, run: BlockRun, encoded: Vec<u8>, small: bool) {
        let frame_index = self.group.frames.len() - 1;
        let (group, frame, block) = self.partition(&place).open;
        if small && group == self.group_number && frame == frame_index {
            let frame = &mut self.group.frames[frame_index];
            frame.bytes += RUN_BYTES + encoded.len();
            let BlockDraft::Rows { runs, rows, bytes, .. } = &mut frame.blocks[block] else {
                unreachable!("only blocks of rows are open");
            };
            runs.push(run);
            *rows += run.rows;
            bytes.extend_from_slice(&encoded);
            return;
        }
        let bytes = BLOCK_BYTES + RUN_BYTES + encoded.len();
        let draft = BlockDraft::Rows {
            place,
            rows: run.rows,
            runs: vec![run],
            bytes: encoded,
        };
        self.put(run.lsn, bytes, draft);
        let frame = self.group.frames.len() - 1;
        let block = self.group.frames[frame].blocks.len() - 1;
        self.partition(&place).open = (self.group_number, frame, block);
    }

    fn new_frame(&mut self, first_lsn: Lsn) {
        self.group.frames.push(FrameDraft {
            first_lsn,
            last_lsn: first_lsn,
            continued: false,
            blocks: Vec::new(),
            bytes: 0,
        });
    }

    /// Puts a block into the last frame, or into a continuation of it if it does not fit.
    fn put(&mut self, lsn: Lsn, bytes: usize, block: BlockDraft) {
        let frame = self.group.frames.last_mut().expect("a commit has a frame");
        if frame.bytes + bytes + BLOCK_BYTES > FRAME_BYTES_MAX && !frame.blocks.is_empty() {
            assert_eq!(
                frame.first_lsn, lsn,
                "only a commit with frames of its own is continued"
            );
            frame.continued = true;
            self.new_frame(lsn);
        }
        let frame = self.group.frames.last_mut().expect("a commit has a frame");
        frame.bytes += bytes;
        frame.blocks.push(block);
    }

    fn moved(&mut self, topic: TopicId, lsn: Lsn, watermark: i64) {
        match self.group.watermarks.last_mut() {
            Some((last_topic, last_lsn, last)) if *last_topic == topic && *last_lsn == lsn => *last = watermark,
            _ => self.group.watermarks.push((topic, lsn, watermark)),
        }
    }
}
