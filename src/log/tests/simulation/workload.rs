//! The settings of a seed's log, and the transactions that it commits.
//!
//! One rule: a transaction is drawn from the published state, as a session sees it, so that none is refused by
//! accident.

use arrow::ipc::CompressionType;
use rand::Rng;
use rand::rngs::StdRng;

use super::super::super::columns::column_field;
use super::super::*;
use super::model::{Draft, Model, Row, added, batch, missing};

/// Settings: everything small, so that files end, rows leave memory and images are written all the time.
pub fn options(random: &mut StdRng) -> LogOptions {
    let mut pick = |choices: &[usize]| choices[random.random_range(0..choices.len())];
    let layout = Layout {
        batch_rows: pick(&[1, 8, 8, 100, 32 << 10]),
        batch_bytes: pick(&[512, 8 << 10, 8 << 20]),
        compression: None,
    };
    let flush = FlushOptions {
        segment_bytes_min: pick(&[1, 1 << 10, 16 << 10]),
        segment_bytes_max: pick(&[2 << 10, 16 << 10, 1 << 20]) as u64,
        image_rows_bytes_max: pick(&[0, 2 << 10, 16 << 10]),
        layout,
        merge: MergeOptions {
            bytes_min: pick(&[4 << 10, 64 << 10]) as u64,
            segments_min: pick(&[2, 4, 8]),
            bytes_max: pick(&[16 << 10, 256 << 10]) as u64,
            after_ms: [u64::MAX, 0][pick(&[0, 1, 1])],
            latest_ms: u64::MAX,
            layout: Layout {
                compression: [None, None, Some(CompressionType::ZSTD)][pick(&[0, 1, 2])],
                ..layout
            },
        },
    };
    let never = pick(&[0, 0, 0, 0, 0, 1]) == 1;
    LogOptions {
        wal_file_bytes_max: pick(&[12 << 10, 16 << 10, 32 << 10, 64 << 10]) as u64,
        seal_after_ms: [1 << 40, 0][pick(&[0, 0, 1])],
        compress: pick(&[0, 0, 1]) == 1,
        inline_sync_us_max: [None, Some(u64::MAX)][pick(&[0, 1, 1])],
        measured_syncs: pick(&[0, 0, 1, 3]) as u32,
        background: false,
        mark_every_ms: [0, u64::MAX][pick(&[0, 1])],
        tail_bytes_max: pick(&[8 << 10, 64 << 10, 1 << 20]),
        flush_bytes: pick(&[128, 1 << 10, 16 << 10, usize::MAX]),
        // Looked after behind a commit, once that much has passed; the writer's thread alone never waits that long.
        retire_every_us: 10_000_000,
        flush_retry_after_ms: [0, 1 << 40][pick(&[0, 1])],
        image_after_bytes: if never {
            u64::MAX
        } else {
            pick(&[16 << 10, 48 << 10, 128 << 10]) as u64
        },
        flush,
        ..LogOptions::default()
    }
}

/// By time, by bytes, by both, or for ever.
fn retention(random: &mut StdRng) -> Retention {
    let us = [10, 100, 1000][random.random_range(0..3)] * 1_000_000;
    let bytes = [1 << 10, 8 << 10][random.random_range(0..2)];
    Retention {
        us: random.random_bool(0.3).then_some(us),
        bytes: random.random_bool(0.15).then_some(bytes),
    }
}

/// Draws transactions.
pub struct Workload {
    /// Steps of one life, at most.
    pub steps_max: usize,
    /// The log was opened with an image at this LSN.
    pub exact_from: Lsn,
    topics_max: usize,
    next_topic: u32,
    next_id: i64,
    /// Id of the next column that is added.
    next_column: u32,
    /// Topics that a session knows, as published, and that no commit of the group under way has changed.
    usable: Vec<u32>,
    /// The group under way has changed the catalog.
    catalog_changed: bool,
}

impl Workload {
    pub fn new(random: &mut StdRng) -> Workload {
        Workload {
            steps_max: [3, 8, 20][random.random_range(0..3)],
            exact_from: 0,
            topics_max: random.random_range(1..=3),
            next_topic: 1,
            next_id: 1,
            next_column: 4,
            usable: Vec::new(),
            catalog_changed: false,
        }
    }

    /// The id of a topic that was never made.
    pub fn unused_topic(&self) -> u32 {
        self.next_topic
    }

    /// Everything put in order is published now.
    pub fn begin_group(&mut self, model: &Model) {
        self.usable = model.topics().map(|(id, _)| id).collect();
        self.catalog_changed = false;
    }

    /// The next transaction and its catalog record, if there is anything to do.
    pub fn draft(
        &mut self,
        random: &mut StdRng,
        model: &Model,
        now_us: i64,
    ) -> Option<(Draft, Commit, Option<Vec<u8>>)> {
        let mut draft = Draft::default();
        let topics = model.topics().count();
        // A change of the catalog is made over the newest one.
        if !self.catalog_changed && (topics == 0 || random.random_bool(0.06)) {
            draft.ddl = Some(self.change(random, model, topics));
            self.catalog_changed = true;
        }
        let mut specs: Vec<(u32, TopicSpec)> = Vec::new();
        match &draft.ddl {
            Some(TopicChange::Create(spec)) if random.random_bool(0.5) => specs.push((spec.id.0, spec.clone())),
            Some(TopicChange::Alter(spec)) => self.usable.retain(|id| *id != spec.id.0),
            Some(TopicChange::Drop(dropped)) => {
                // Rows for a topic that the same transaction drops are nobody's.
                if random.random_bool(0.5) {
                    specs.push((dropped.0, model.topic(dropped.0).spec().clone()));
                }
                self.usable.retain(|id| *id != dropped.0);
            }
            _ => {}
        }
        specs.extend(self.usable.iter().map(|id| (*id, model.topic(*id).spec().clone())));
        if specs.is_empty() && draft.ddl.is_none() {
            return None;
        }
        if !specs.is_empty() && (draft.ddl.is_none() || random.random_bool(0.5)) {
            for _ in 0..[1, 1, 1, 2, 3][random.random_range(0..5)] {
                let (id, spec) = &specs[random.random_range(0..specs.len())];
                let partition = random.random_range(0..spec.partitions);
                let rows = self.rows(random, spec, now_us);
                draft.appends.push((*id, partition, rows));
            }
            if draft.ddl.is_none() && random.random_bool(0.08) {
                let (id, spec) = &specs[random.random_range(0..specs.len())];
                if spec.event_time.is_some() {
                    draft
                        .advances
                        .push((*id, now_us + random.random_range(-10_000_000..10_000_000)));
                }
                if random.random_bool(0.5) && !draft.advances.is_empty() {
                    draft.appends.clear();
                }
            }
            if draft.ddl.is_none() && draft.advances.is_empty() && random.random_bool(0.04) {
                // A tick.
                draft.appends.clear();
            }
        }
        if random.random_bool(0.3) {
            let producer = ["a", "b", "c"][random.random_range(0..3)];
            let known = model.producers();
            let newest = known
                .iter()
                .find(|(name, _)| name == producer)
                .and_then(|(_, known)| known.last());
            let sequence = newest.map_or_else(|| random.random_range(0..100), |newest| newest.sequence + 1);
            draft.producer = Some(ProducerStamp {
                producer: producer.into(),
                sequence,
            });
        }
        if random.random_bool(0.2) {
            draft.groups = group_changes(random, model);
        }
        let record = draft.ddl.as_ref().map(|change| format!("{change:?}").into_bytes());
        let ddl = draft.ddl.clone().map(|change| Ddl {
            based_on: model.catalog_version(),
            record: record.clone().unwrap_or_default(),
            topics: vec![change],
        });
        let spec_of = |id: u32| specs.iter().find(|(known, _)| *known == id).map(|(_, spec)| spec);
        let appends = draft.appends.iter().map(|(id, partition, rows)| {
            let spec = spec_of(*id).expect("it was drawn from these");
            Append {
                topic: TopicId(*id),
                schema_id: spec.schema_id,
                partition: *partition,
                rows: batch(rows, &spec.schema).into(),
            }
        });
        let commit = Commit {
            appends: appends.collect(),
            ddl,
            empty: Vec::new(),
            read: None,
            tick: true,
            advances: draft.advances.iter().map(|(id, at)| (TopicId(*id), *at)).collect(),
            producer: draft.producer.clone(),
            groups: draft.groups.clone(),
        };
        Some((draft, commit, record))
    }

    /// A transaction that drops nothing.
    pub fn plain(&mut self, random: &mut StdRng, model: &Model, now_us: i64) -> (Draft, Commit, Option<Vec<u8>>) {
        loop {
            let drawn = self.draft(random, model, now_us);
            let (draft, commit, record) = drawn.expect("there is always something to do");
            let drops = matches!(draft.ddl, Some(TopicChange::Drop(_)));
            if !drops {
                return (draft, commit, record);
            }
            self.begin_group(model);
        }
    }

    /// A change of the catalog.
    fn change(&mut self, random: &mut StdRng, model: &Model, topics: usize) -> TopicChange {
        if topics == 0 || topics < self.topics_max && random.random_bool(0.5) {
            let id = self.next_topic;
            self.next_topic += 1;
            let event_time = EventTime {
                column: 2,
                delay_us: random.random_range(0..3) * 1_000_000,
                ahead_us: [AHEAD_US, DAY_US / 24][random.random_range(0..2)],
            };
            return TopicChange::Create(TopicSpec {
                partitions: random.random_range(1..=4),
                event_time: random.random_bool(0.6).then_some(event_time),
                retention: retention(random),
                ..spec(id)
            });
        }
        let id = self.usable[random.random_range(0..self.usable.len())];
        let mut spec = model.topic(id).spec().clone();
        if random.random_bool(0.5) {
            return TopicChange::Drop(TopicId(id));
        }
        self.alter(random, &mut spec);
        TopicChange::Alter(spec)
    }

    /// More partitions, another retention, or a column that is added, dropped or renamed.
    fn alter(&mut self, random: &mut StdRng, spec: &mut TopicSpec) {
        let mut fields: Vec<Field> = spec
            .schema
            .fields()
            .iter()
            .map(|field| field.as_ref().clone())
            .collect();
        match random.random_range(0..6) {
            0 => {
                spec.partitions += 1;
                return;
            }
            5 => {
                spec.retention = retention(random);
                return;
            }
            1 if fields.len() > 3 => {
                fields.remove(random.random_range(3..fields.len()));
            }
            2 => fields[1] = fields[1].clone().with_name(format!("name {}", spec.schema_id)),
            _ => {
                let column = self.next_column;
                self.next_column += 1;
                let array = missing(column).map(|value| Arc::new(Int64Array::from(vec![value])) as ArrayRef);
                let text = array.map(|array| encode_value(&array));
                // Rows from before it have a value, or else NULL.
                let field = Field::new(format!("more {column}"), DataType::Int64, text.is_none());
                fields.push(column_field(field, column, text.as_deref()));
            }
        }
        spec.schema = Arc::new(Schema::new(fields));
        spec.schema_id += 1;
    }

    fn rows(&mut self, random: &mut StdRng, spec: &TopicSpec, now_us: i64) -> Vec<Row> {
        let count = match random.random_range(0..40) {
            0..25 => 1,
            25..39 => random.random_range(2..=6),
            // Too many for the row codec.
            _ => random.random_range(129..=160),
        };
        let added = added(&spec.schema);
        let long = count < 10 && random.random_bool(0.05);
        let rows = (0..count).map(|_| {
            let id = self.next_id;
            self.next_id += 1;
            let ahead_us = match random.random_range(0..10) {
                0 => random.random_range(-2 * DAY_US..3 * DAY_US),
                _ => random.random_range(-5_000_000..5_000_000),
            };
            Row {
                id,
                name: match id % 5 {
                    0 => None,
                    1 if long => Some("x".repeat(3000)),
                    _ => Some(format!("name {id}")),
                },
                event_us: (id % 3 != 0).then_some(now_us + ahead_us),
                lsn: 0,
                added: Arc::clone(&added),
            }
        });
        rows.collect()
    }
}

/// Changes of consumer groups; groups are no topic's here.
fn group_changes(random: &mut StdRng, model: &Model) -> Vec<GroupChange> {
    let id = random.random_range(1..=2);
    let (group, partition) = (GroupId(id), random.random_range(0..2));
    let known = model.groups();
    let from = known
        .get(&id)
        .and_then(|offsets| offsets.get(&partition))
        .copied()
        .unwrap_or(0);
    let to = from + random.random_range(0..10);
    match random.random_range(0..10) {
        0 => vec![GroupChange::Forget { group }],
        1 => vec![GroupChange::Seek {
            group,
            partition,
            to: 5,
        }],
        _ => vec![GroupChange::Commit {
            group,
            partition,
            from,
            to,
        }],
    }
}

/// A transaction in words.
pub fn describe(draft: &Draft) -> String {
    let mut words: Vec<String> = Vec::new();
    match &draft.ddl {
        Some(TopicChange::Create(spec)) => words.push(format!("create topic {} ({})", spec.id.0, spec.partitions)),
        Some(TopicChange::Alter(spec)) => words.push(format!("alter topic {}", spec.id.0)),
        Some(TopicChange::Drop(id)) => words.push(format!("drop topic {}", id.0)),
        None => {}
    }
    for (id, partition, rows) in &draft.appends {
        words.push(format!("{} rows into {id}.{partition}", rows.len()));
    }
    for (id, at) in &draft.advances {
        words.push(format!("advance {id} to {at}"));
    }
    if words.is_empty() {
        words.push("tick".to_string());
    }
    words.join(", ")
}
