//! Parts of partitions as batches, and the parts of large ones whose window functions a step can change.
//!
//! One rule: what stands outside a part is the same before and after the step, and so are its values.

use std::collections::{BTreeMap, HashMap};
use std::ops::{Bound, Range};

use arrow::array::RecordBatch;

use crate::error::SqlError;

use super::kernel::OrderedPartitions;
use super::over::{Distance, WindowCalls, WindowPart, WindowState};
use super::rows::{ALL_ROWS, PartitionedRows, RowKey, RowRange};

/// Partitions of fewer rows are computed whole.
const LARGE_ROWS: usize = 64;
/// If more than this part of a partition's rows changes, it is computed whole.
const CHANGED_PART: usize = 8;
/// Rows between states that are kept, about.
const STATE_ROWS: usize = 1024;
/// Bytes of a state beside its own: its place.
const STATE_BYTES: usize = 96;

/// Takes output rows with a weight.
pub type AddRows<'a> = dyn FnMut(RecordBatch, i64) -> Result<(), SqlError> + 'a;

pub fn is_large(rows: &PartitionedRows, partition: u32) -> bool {
    rows.copies(partition) >= LARGE_ROWS && rows.changed_rows(partition).is_some()
}

/// Rows of some partitions, copies written out.
#[derive(Default)]
pub struct PartitionRun<'a> {
    pub rows: Vec<&'a RowKey>,
    ranges: Vec<Range<usize>>,
}

impl<'a> PartitionRun<'a> {
    pub fn add(&mut self, rows: impl Iterator<Item = (&'a RowKey, i64)>, shows_empty: bool) {
        let from = self.rows.len();
        for (row, copies) in rows {
            let copies = usize::try_from(copies).expect("V4: a row was taken away more often than it was added");
            self.rows.extend(std::iter::repeat_n(row, copies));
        }
        if self.rows.len() > from || shows_empty {
            self.ranges.push(from..self.rows.len());
        }
    }

    pub fn partitions(self, kept: &PartitionedRows) -> Result<OrderedPartitions, SqlError> {
        let peers = self.ranges.iter().map(|range| peers(&self.rows[range.clone()]));
        Ok(OrderedPartitions {
            peers: peers.collect(),
            rows: kept.batch(self.rows.iter().copied(), self.rows.len())?,
            ranges: self.ranges,
        })
    }
}

/// Groups of rows that are alike in the order.
fn peers(rows: &[&RowKey]) -> Vec<Range<usize>> {
    let mut from = 0;
    let groups = rows.chunk_by(|one, other| one.order() == other.order());
    groups
        .map(|group| {
            let range = from..from + group.len();
            from = range.end;
            range
        })
        .collect()
}

fn written_out<'a>(rows: impl Iterator<Item = (&'a RowKey, i64)>) -> Vec<&'a RowKey> {
    let mut run = PartitionRun::default();
    run.add(rows, false);
    run.rows
}

/// States before groups of peers, by partition.
#[derive(Default)]
pub struct WindowStates {
    partitions: HashMap<u32, PartitionStates>,
    bytes: usize,
}

#[derive(Default)]
struct PartitionStates {
    states: BTreeMap<RowKey, WindowState>,
    bytes: usize,
}

impl WindowStates {
    pub fn of(&mut self, partition: u32) -> &mut BTreeMap<RowKey, WindowState> {
        &mut self.partitions.entry(partition).or_default().states
    }

    /// Counts a partition's states anew.
    pub fn count(&mut self, partition: u32) {
        if let Some(of) = self.partitions.get_mut(&partition) {
            let bytes: usize = of.states.values().map(|state| state.bytes() + STATE_BYTES).sum();
            self.bytes = self.bytes + bytes - std::mem::replace(&mut of.bytes, bytes);
        }
    }

    pub fn forget(&mut self, partitions: &[u32]) {
        for partition in partitions {
            if let Some(of) = self.partitions.remove(partition) {
                self.bytes -= of.bytes;
            }
        }
    }

    /// Bytes of memory, about.
    pub fn bytes(&self) -> usize {
        self.bytes + self.partitions.capacity() * size_of::<(u32, PartitionStates)>()
    }
}

/// A row, or a row and its peers, at the end of a part.
#[derive(Clone)]
struct PartEdge {
    row: RowKey,
    with_peers: bool,
}

impl PartEdge {
    /// The place before it.
    fn start(&self) -> RowKey {
        match self.with_peers {
            true => self.row.group_start(),
            false => self.row.clone(),
        }
    }

    /// The place behind it; `None` behind all rows.
    fn end(&self) -> Option<RowKey> {
        match self.with_peers {
            true => self.row.group_end(),
            false => Some(self.row.end()),
        }
    }
}

/// Finds rows by distance.
#[derive(Clone, Copy)]
struct Surroundings<'a> {
    rows: &'a PartitionedRows,
    partition: u32,
    calls: &'a WindowCalls,
}

impl Surroundings<'_> {
    /// The edge of the rows that are no further before; `None`: that is from the first row on.
    fn back(&self, from: &PartEdge, distance: &Distance) -> Result<Option<PartEdge>, SqlError> {
        let start = from.start();
        self.stepped(from, distance, false, &mut self.rows.leading(self.partition, &start))
    }

    /// The same behind.
    fn ahead(&self, from: &PartEdge, distance: &Distance) -> Result<Option<PartEdge>, SqlError> {
        let Some(end) = from.end() else {
            return Ok(None);
        };
        let range = (Bound::Included(&end), Bound::Unbounded);
        self.stepped(from, distance, true, &mut self.rows.now(self.partition, range))
    }

    fn stepped(
        &self,
        from: &PartEdge,
        distance: &Distance,
        onward: bool,
        rows: &mut dyn Iterator<Item = (&RowKey, i64)>,
    ) -> Result<Option<PartEdge>, SqlError> {
        let with_peers = |row: RowKey| PartEdge { row, with_peers: true };
        Ok(match distance {
            Distance::Rows(0) => Some(from.clone()),
            Distance::Rows(count) => {
                let mut left = *count as i64;
                let mut last = None;
                for (row, copies) in rows {
                    left -= copies;
                    if left <= 0 {
                        last = Some(row.clone());
                        break;
                    }
                }
                last.map(|row| PartEdge { row, with_peers: false })
            }
            Distance::Groups(0) => Some(with_peers(from.row.clone())),
            Distance::Groups(count) => {
                let mut left = *count;
                let mut last = from.row.clone();
                for (row, _) in rows {
                    if row.order() != last.order() {
                        last = row.clone();
                        left -= 1;
                        if left == 0 {
                            break;
                        }
                    }
                }
                (left == 0).then(|| with_peers(last))
            }
            Distance::Values(by) => self.rows.moved(&from.row, by, onward)?.map(with_peers),
        })
    }

    /// The edge before which no value depends on any row from this edge on.
    fn first_dependent(&self, of: &PartEdge) -> Result<Option<PartEdge>, SqlError> {
        let steps = self.calls.distances().map(|(_, ahead)| self.back(of, ahead));
        least(of, steps)
    }

    /// The first row that a value from this edge on depends on.
    fn first_needed(&self, of: &PartEdge) -> Result<Option<PartEdge>, SqlError> {
        let steps = self.calls.distances().map(|(back, _)| self.back(of, back));
        least(of, steps)
    }

    fn last_dependent(&self, of: &PartEdge) -> Result<Option<PartEdge>, SqlError> {
        let steps = self.calls.distances().map(|(back, _)| self.ahead(of, back));
        greatest(of, steps)
    }

    fn last_needed(&self, of: &PartEdge) -> Result<Option<PartEdge>, SqlError> {
        let steps = self.calls.distances().map(|(_, ahead)| self.ahead(of, ahead));
        greatest(of, steps)
    }
}

type EdgeStep = Result<Option<PartEdge>, SqlError>;

fn least(first: &PartEdge, steps: impl Iterator<Item = EdgeStep>) -> EdgeStep {
    let mut least = first.clone();
    for step in steps {
        match step? {
            None => return Ok(None),
            Some(edge) if edge.start() < least.start() => least = edge,
            Some(_) => {}
        }
    }
    Ok(Some(least))
}

fn greatest(first: &PartEdge, steps: impl Iterator<Item = EdgeStep>) -> EdgeStep {
    let mut greatest = first.clone();
    for step in steps {
        match step? {
            None => return Ok(None),
            Some(edge) if is_behind(&edge.end(), &greatest.end()) => greatest = edge,
            Some(_) => {}
        }
    }
    Ok(Some(greatest))
}

/// Whether an end is behind another; `None` is behind all.
fn is_behind(end: &Option<RowKey>, other: &Option<RowKey>) -> bool {
    match (end, other) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(end), Some(other)) => end > other,
    }
}

/// Changed rows so near to one another that their values are computed together: places between rows, `None` at either end.
#[derive(Default)]
struct Cluster {
    /// The rows whose values may change.
    start: Option<RowKey>,
    end: Option<RowKey>,
    /// The rows that these depend on.
    from: Option<RowKey>,
    to: Option<RowKey>,
}

fn clusters(around: Surroundings) -> Result<Vec<Cluster>, SqlError> {
    let changed = around.rows.changed_rows(around.partition).unwrap_or_default();
    if changed.len() > around.rows.copies(around.partition) / CHANGED_PART {
        return Ok(vec![Cluster::default()]);
    }
    let mut clusters: Vec<Cluster> = Vec::new();
    for row in changed {
        let own = PartEdge {
            row: row.clone(),
            with_peers: false,
        };
        let (first, last) = (around.first_dependent(&own)?, around.last_dependent(&own)?);
        let from = first.as_ref().map(|first| around.first_needed(first)).transpose()?;
        let to = last.as_ref().map(|last| around.last_needed(last)).transpose()?;
        let cluster = Cluster {
            start: first.as_ref().map(PartEdge::start),
            end: last.as_ref().and_then(PartEdge::end),
            from: from.flatten().as_ref().map(PartEdge::start),
            to: to.flatten().as_ref().and_then(PartEdge::end),
        };
        match clusters.last_mut() {
            // One before all others takes in all that are known.
            Some(before) if cluster.from.is_none() || before.to.is_none() || cluster.from < before.to => {
                if cluster.from.is_none() || cluster.from < before.from {
                    before.from = cluster.from;
                }
                if cluster.start.is_none() || cluster.start < before.start {
                    before.start = cluster.start;
                }
                if is_behind(&cluster.end, &before.end) {
                    before.end = cluster.end;
                }
                if is_behind(&cluster.to, &before.to) {
                    before.to = cluster.to;
                }
            }
            _ => clusters.push(cluster),
        }
    }
    Ok(clusters)
}

fn between<'a>(from: &'a Option<RowKey>, to: &'a Option<RowKey>) -> RowRange<'a> {
    (
        from.as_ref().map_or(Bound::Unbounded, Bound::Included),
        to.as_ref().map_or(Bound::Unbounded, Bound::Excluded),
    )
}

/// Shows what changes of functions whose values depend on rows nearby.
pub fn show_near(
    rows: &PartitionedRows,
    partition: u32,
    calls: &WindowCalls,
    add: &mut AddRows<'_>,
) -> Result<(), SqlError> {
    let around = Surroundings { rows, partition, calls };
    for cluster in clusters(around)? {
        let range = between(&cluster.from, &cluster.to);
        let versions = [
            (written_out(rows.before(partition, range)), -1),
            (written_out(rows.now(partition, range)), 1),
        ];
        for (version, weight) in versions {
            let is_before = |row: &&RowKey| cluster.start.as_ref().is_some_and(|start| *row < start);
            let start = version.partition_point(is_before);
            let is_within = |row: &&RowKey| cluster.end.as_ref().is_none_or(|end| *row < end);
            let end = version.partition_point(is_within);
            if start >= end {
                continue;
            }
            let batch = rows.batch(version.iter().copied(), version.len())?;
            let (output, _) = calls.part(&WindowPart {
                rows: &batch,
                context: 0,
                peers: &peers(&version),
                state: None,
                wanted: &[],
            })?;
            add(output.slice(start, end - start), weight)?;
        }
    }
    Ok(())
}

/// Shows what changes of functions whose values depend on all rows before them, from the last state before the first change.
pub fn show_onward(
    rows: &PartitionedRows,
    partition: u32,
    calls: &WindowCalls,
    states: &mut BTreeMap<RowKey, WindowState>,
    add: &mut AddRows<'_>,
) -> Result<(), SqlError> {
    let changed = rows.changed_rows(partition).unwrap_or_default();
    let Some(first) = changed.first().copied() else {
        return Ok(());
    };
    let around = Surroundings { rows, partition, calls };
    let own = PartEdge {
        row: first.clone(),
        with_peers: true,
    };
    let earliest = around.first_dependent(&own)?;
    let known = earliest.and_then(|earliest| {
        let place = earliest.row.group_start();
        let known = states.range::<RowKey, _>(..=&place).next_back();
        known.map(|(row, state)| (row.clone(), state.clone()))
    });
    let (range, context): (RowRange, Vec<&RowKey>) = match &known {
        None => (ALL_ROWS, Vec::new()),
        Some((place, _)) => {
            let at = PartEdge {
                row: place.clone(),
                with_peers: true,
            };
            let needed = around.first_needed(&at)?.map(|needed| needed.start());
            let context = match &needed {
                Some(needed) => written_out(rows.now(partition, (Bound::Included(needed), Bound::Excluded(place)))),
                None => written_out(rows.now(partition, (Bound::Unbounded, Bound::Excluded(place)))),
            };
            ((Bound::Included(place), Bound::Unbounded), context)
        }
    };
    let mut kept: Vec<(RowKey, WindowState)> = Vec::new();
    let versions = [
        (written_out(rows.before(partition, range)), -1),
        (written_out(rows.now(partition, range)), 1),
    ];
    for (version, weight) in versions {
        if version.is_empty() {
            continue;
        }
        let peers = peers(&version);
        let wanted = match weight {
            1 => wanted_states(&peers),
            _ => Vec::new(),
        };
        let all = context.iter().chain(&version).copied();
        let batch = rows.batch(all, context.len() + version.len())?;
        let (output, made) = calls.part(&WindowPart {
            rows: &batch,
            context: context.len(),
            peers: &peers,
            state: known.as_ref().map(|(_, state)| state),
            wanted: &wanted,
        })?;
        add(output, weight)?;
        let places = wanted.iter().map(|group| version[peers[*group].start].group_start());
        kept.extend(places.zip(made));
    }
    match known {
        None => states.clear(),
        Some((place, state)) => {
            // States behind the first change are of no more use. Of those near to one another the last is enough.
            states.split_off(&place);
            let before = states.values().next_back().map_or(0, |before| before.rows);
            if state.rows - before >= STATE_ROWS || kept.is_empty() {
                states.insert(place, state);
            }
        }
    }
    states.extend(kept);
    Ok(())
}

/// Groups before which the state is kept: some on the way, and the last, where rows most often come.
fn wanted_states(peers: &[Range<usize>]) -> Vec<usize> {
    let mut wanted = Vec::new();
    let mut last = 0;
    for (group, range) in peers.iter().enumerate().skip(1) {
        if range.start - last >= STATE_ROWS || group + 1 == peers.len() {
            wanted.push(group);
            last = range.start;
        }
    }
    wanted
}
