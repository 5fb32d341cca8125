//! [`SessionGroups`]: the sessions of each key as the groups of an aggregate, over rows that are never taken away.
//!
//! One rule: after a step the groups are the sessions of all rows so far. A row begins a session, makes one longer or joins two:
//! one of these groups is added to the other then, and is not there any more. So no row is kept, and none comes twice.
//!
//! Nearly every row meets the newest session of its key, which stands in an array by key. Those before it that may still grow
//! stand in lists. A closed session never changes again (`sql::window::SessionRules`): the lists forget it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};

use crate::error::SqlError;
use crate::log::TopicId;
use crate::sql::window::SessionRules;

use crate::views::delta::batch_of;
use crate::views::expression::Expression;

const NO_GROUP: u32 = u32::MAX;
/// Lists are looked through for closed sessions once there are more of them than this, and twice as many as then.
const LISTS_MIN: usize = 1024;

/// The sessions that an aggregate groups rows by.
#[derive(Clone, Debug)]
pub struct SessionKeys {
    pub rules: SessionRules,
    /// The time of a row.
    pub time: Expression,
    /// Topics whose watermarks close the sessions; empty if they never close.
    pub topics: Vec<TopicId>,
}

/// A column of the output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionBound {
    Start,
    End,
}

#[derive(Clone, Copy)]
struct GrowingSession {
    start_us: i64,
    last_us: i64,
    group: u32,
}

impl GrowingSession {
    /// No row meets it.
    const NONE: GrowingSession = GrowingSession {
        start_us: i64::MAX,
        last_us: i64::MIN,
        group: NO_GROUP,
    };

    fn of_row(time_us: i64, group: u32) -> GrowingSession {
        GrowingSession {
            start_us: time_us,
            last_us: time_us,
            group,
        }
    }
}

/// Two groups that become one.
#[derive(Clone, Copy)]
pub struct JoinedGroups {
    pub to: u32,
    pub from: u32,
}

pub struct SessionGroups {
    rules: SessionRules,
    /// By key.
    newest: Vec<GrowingSession>,
    /// By key: the sessions before the newest that may still grow, rising.
    older: HashMap<u32, Vec<GrowingSession>, foldhash::fast::FixedState>,
    lists_max: usize,
    /// By group: its key, its first row and its last, without those of the batch at hand.
    keys: Vec<u32>,
    starts: Vec<i64>,
    lasts: Vec<i64>,
    /// By the batch at hand, in this order.
    joined: Vec<JoinedGroups>,
    /// Groups that were added to others.
    dead: usize,
    /// At the end of the last step.
    watermark_us: Option<i64>,
}

impl SessionGroups {
    pub fn new(rules: SessionRules) -> SessionGroups {
        SessionGroups {
            rules,
            newest: Vec::new(),
            older: HashMap::default(),
            lists_max: LISTS_MIN,
            keys: Vec::new(),
            starts: Vec::new(),
            lasts: Vec::new(),
            joined: Vec::new(),
            dead: 0,
            watermark_us: None,
        }
    }

    /// Number of groups.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Groups that are not there any more.
    pub fn dead(&self) -> usize {
        self.dead
    }

    /// Finds the session of each row, of `known` keys, making new ones, into `groups`. The bounds of groups stay as they are until
    /// [`SessionGroups::widen`] and [`SessionGroups::join`].
    pub fn assign(&mut self, keys: &[u32], times: &[i64], known: usize, groups: &mut Vec<u32>) {
        assert!(self.joined.is_empty(), "the last batch was joined");
        self.newest.resize(known, GrowingSession::NONE);
        groups.clear();
        groups.reserve(keys.len());
        for (key, time) in keys.iter().zip(times) {
            let newest = &mut self.newest[*key as usize];
            if newest.start_us <= *time && self.rules.continues(newest.last_us, *time) {
                newest.last_us = newest.last_us.max(*time);
                groups.push(newest.group);
            } else {
                let group = self.meet(*key, *time);
                groups.push(group);
            }
        }
    }

    /// The session of a row that is not in the newest one of its key, nor continues it.
    fn meet(&mut self, key: u32, time_us: i64) -> u32 {
        let newest = self.newest[key as usize];
        if newest.group == NO_GROUP || newest.start_us <= time_us {
            self.retire(key, newest);
            let group = self.begin(key);
            self.newest[key as usize] = GrowingSession::of_row(time_us, group);
            return group;
        }
        let mut open = self.older.remove(&key).unwrap_or_default();
        open.push(newest);
        // The newest starts behind the row.
        let after = open.partition_point(|session| session.start_us <= time_us);
        let joins_after = self.rules.continues(time_us, open[after].start_us);
        let before = after
            .checked_sub(1)
            .filter(|before| self.rules.continues(open[*before].last_us, time_us));
        let group = match before {
            None if joins_after => {
                open[after].start_us = time_us;
                open[after].group
            }
            None => {
                let group = self.begin(key);
                open.insert(after, GrowingSession::of_row(time_us, group));
                group
            }
            Some(before) => {
                let last_us = open[before].last_us.max(time_us);
                open[before].last_us = last_us;
                if joins_after {
                    let from = open.remove(after);
                    open[before].last_us = last_us.max(from.last_us);
                    self.joined.push(JoinedGroups {
                        to: open[before].group,
                        from: from.group,
                    });
                }
                open[before].group
            }
        };
        self.newest[key as usize] = open.pop().expect("the newest is among them");
        if !open.is_empty() {
            self.older.insert(key, open);
        }
        group
    }

    fn begin(&mut self, key: u32) -> u32 {
        let group = u32::try_from(self.keys.len()).expect("fewer than 4 billion groups");
        assert!(group != NO_GROUP, "fewer than 4 billion groups");
        self.keys.push(key);
        self.starts.push(i64::MAX);
        self.lasts.push(i64::MIN);
        group
    }

    /// A newer session of its key begins.
    fn retire(&mut self, key: u32, session: GrowingSession) {
        let is_closed = closed_at(&self.rules, self.watermark_us);
        if session.group == NO_GROUP || is_closed(&session) {
            return;
        }
        let list = self.older.entry(key).or_default();
        let closed = list.partition_point(is_closed);
        list.drain(..closed);
        list.push(session);
    }

    /// The groups that a join of the batch at hand changes.
    pub fn joining(&self) -> Vec<u32> {
        self.joined.iter().flat_map(|joined| [joined.to, joined.from]).collect()
    }

    /// Takes the times of the batch's rows into the bounds of their groups.
    pub fn widen(&mut self, groups: &[u32], times: &[i64]) {
        for (group, time) in groups.iter().zip(times) {
            let (start, last) = (&mut self.starts[*group as usize], &mut self.lasts[*group as usize]);
            *start = (*start).min(*time);
            *last = (*last).max(*time);
        }
    }

    /// Ends a batch: the groups that become one, to be added to one another in this order.
    pub fn join(&mut self) -> Vec<JoinedGroups> {
        let joined = std::mem::take(&mut self.joined);
        for JoinedGroups { to, from } in &joined {
            let (to, from) = (*to as usize, *from as usize);
            self.starts[to] = self.starts[to].min(self.starts[from]);
            self.lasts[to] = self.lasts[to].max(self.lasts[from]);
        }
        self.dead += joined.len();
        joined
    }

    /// Ends a step at this watermark.
    pub fn close(&mut self, watermark_us: Option<i64>) {
        self.watermark_us = self.watermark_us.max(watermark_us);
        if self.older.len() > self.lists_max {
            let is_closed = closed_at(&self.rules, self.watermark_us);
            self.older.retain(|_, list| {
                list.retain(|session| !is_closed(session));
                !list.is_empty()
            });
            self.lists_max = LISTS_MIN.max(self.older.len() * 2);
        }
    }

    /// The keys of groups.
    pub fn keys(&self, groups: &[u32]) -> Vec<u32> {
        groups.iter().map(|group| self.keys[*group as usize]).collect()
    }

    /// A bound of groups, in a column of this type.
    pub fn bound(&self, groups: &[u32], bound: SessionBound, data_type: &DataType) -> ArrayRef {
        let bounds = groups.iter().map(|group| match bound {
            SessionBound::Start => self.starts[*group as usize],
            SessionBound::End => self.rules.end(self.lasts[*group as usize]),
        });
        let zone = match data_type {
            DataType::Timestamp(_, zone) => zone.clone(),
            other => panic!("a bound of a session is a time, not {other}"),
        };
        Arc::new(TimestampMicrosecondArray::from_iter_values(bounds).with_timezone_opt(zone))
    }

    /// Keeps only `groups` (rising), renumbered from 0: all that are there.
    pub fn keep(&mut self, groups: &[u32]) {
        let mut places = vec![NO_GROUP; self.keys.len()];
        for (place, group) in groups.iter().enumerate() {
            places[*group as usize] = place as u32;
        }
        let newest = self.newest.iter_mut().filter(|newest| newest.group != NO_GROUP);
        for session in newest.chain(self.older.values_mut().flatten()) {
            session.group = places[session.group as usize];
            assert!(session.group != NO_GROUP, "an open session is there");
        }
        self.keys = self.keys(groups);
        self.starts = groups.iter().map(|group| self.starts[*group as usize]).collect();
        self.lasts = groups.iter().map(|group| self.lasts[*group as usize]).collect();
        self.dead = 0;
    }

    /// The bounds of all groups; their keys are saved beside.
    pub fn save(&self) -> Result<RecordBatch, SqlError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(self.starts.clone())),
            Arc::new(Int64Array::from(self.lasts.clone())),
        ];
        let fields = ["start", "last"].map(|name| Field::new(name, DataType::Int64, false));
        let watermark = self
            .watermark_us
            .map_or(String::new(), |watermark| watermark.to_string());
        let metadata = [("watermark".to_string(), watermark)].into();
        let schema = Arc::new(Schema::new_with_metadata(fields.to_vec(), metadata));
        batch_of(schema, columns, self.keys.len())
    }

    /// Takes the state from `save`; `keys` and `rows` are those of the groups.
    pub fn restore(&mut self, saved: &RecordBatch, keys: Vec<u32>, rows: &[i64]) {
        let column = |index: usize| saved.column(index).as_primitive::<Int64Type>().values().to_vec();
        *self = SessionGroups::new(self.rules.clone());
        (self.starts, self.lasts) = (column(0), column(1));
        let metadata = saved.schema().metadata().get("watermark").cloned();
        self.watermark_us = metadata.and_then(|watermark| watermark.parse().ok());
        self.newest = vec![GrowingSession::NONE; keys.iter().max().map_or(0, |last| *last as usize + 1)];
        let mut there: Vec<u32> = (0..keys.len() as u32)
            .filter(|group| rows[*group as usize] > 0)
            .collect();
        there.sort_unstable_by_key(|group| self.starts[*group as usize]);
        self.dead = keys.len() - there.len();
        for group in there {
            let key = keys[group as usize];
            let session = GrowingSession {
                start_us: self.starts[group as usize],
                last_us: self.lasts[group as usize],
                group,
            };
            let before = std::mem::replace(&mut self.newest[key as usize], session);
            self.retire(key, before);
        }
        self.keys = keys;
    }

    /// Bytes of memory held, about.
    pub fn bytes(&self) -> usize {
        let group = size_of::<u32>() + 2 * size_of::<i64>();
        // Lists are short.
        let list = size_of::<(u32, Vec<GrowingSession>)>() + 4 * size_of::<GrowingSession>();
        self.newest.capacity() * size_of::<GrowingSession>()
            + self.keys.capacity() * group
            + self.older.capacity() * list
    }
}

fn closed_at(rules: &SessionRules, watermark_us: Option<i64>) -> impl Fn(&GrowingSession) -> bool + Copy {
    move |session| rules.is_closed(rules.end(session.last_us), watermark_us)
}
