//! The join operator of a dataflow: inner, outer, semi, anti and mark joins, by equal keys and a condition on pairs.
//!
//! One rule: after any sequence of deltas the sum of the output is the join of the sums of the inputs. A delta of one side
//! meets the other side's rows as they are, and is then added to its own: (A + a) x B, then (A + a) x b. "As they are" means as far
//! as this join has taken them: rows that are kept for several joins may be further (`arrangement.rs`).
//!
//! A row that is shown by whether it matches (outer, semi, anti, mark) is shown again, with the opposite sign, when that changes.
//! So within a step rows are shown that no query would see. Where an expression above could fail on such a row, the output is
//! held until the step ends and is net then. Where the condition itself could, the inputs are held as well: at the step's end
//! rows leave before others come, so that the condition is asked only of pairs that are there before the step or after it.
//!
//! Others work on the same rows while the output goes on, so no lock is held then.
//!
//! Not here: how the rows of a side are kept (`rows.rs`, `chains.rs`, `column.rs`), NOT IN (`not_in.rs`), ASOF JOIN (`asof.rs`).

mod arrangement;
mod asof;
mod chains;
mod column;
mod expiry;
mod not_in;
mod rows;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::compute;
use arrow::datatypes::{DataType, SchemaRef};
use parking_lot::RwLock;

use crate::error::{SqlError, state};
use crate::log::Lsn;

use super::aggregate::keys::Keys;
use super::net::{Direction, Net, PART_ROWS, weighted};
use super::{Operator, Ported, SharedState, Sink, StepEnd};
use crate::views::delta::{Delta, batch_of};
use crate::views::expression::Expression;
use crate::views::memory::{Limits, row_bytes_max};
use chains::{MeetPlace, Pairs};
use rows::{JoinRows, SideUse};

pub use arrangement::{Arrangements, RelationRows};
pub use asof::{AsofOperator, AsofSideSpec, AsofSpec};
pub use expiry::{Expiry, TimeLimit};
pub use not_in::{NotIn, NotInSpec};

/// Fewer rows are looked through for expired ones after each step, more once they have doubled.
const EXPIRY_ROWS_MIN: usize = 256;
/// Bytes of pairs that are made together, at most: a few large rows may meet many.
const PART_BYTES: usize = 64 << 20;

/// When a row of a side is shown by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShownWhen {
    Never,
    /// While nothing of the other side matches it; with NULLs in the place of the other's columns where pairs are shown, too.
    Unmatched,
    /// Once, while something of the other side matches it.
    Matched,
    /// Always, with a last column that says whether something matches it.
    Marked,
}

#[derive(Clone, Debug)]
pub struct JoinSideSpec {
    /// The keys of the side's rows.
    pub keys: Vec<Expression>,
    pub schema: SchemaRef,
    /// Its rows are never taken away.
    pub grows: bool,
    pub shown: ShownWhen,
}

/// A join as it is compiled. Sides are in the order of its inputs.
#[derive(Clone, Debug)]
pub struct JoinSpec {
    pub sides: [JoinSideSpec; 2],
    pub key_types: Vec<DataType>,
    /// By key: NULLs are equal.
    pub nulls_match: Vec<bool>,
    /// Asked of pairs, the first side's columns first.
    pub condition: Option<Expression>,
    /// Of pairs.
    pub pair_schema: SchemaRef,
    /// Pairs are shown.
    pub pairs: bool,
    /// The columns of each side that the output has.
    pub outputs: [Vec<usize>; 2],
    /// Of the output.
    pub schema: SchemaRef,
    /// The output is never taken back.
    pub append_only: bool,
    /// Neither keys nor condition can fail.
    pub is_infallible: bool,
    /// Which inputs are held until the step ends: the condition may fail on pairs of a row that goes in the step, or each row
    /// is too dear to come and go within one.
    pub holds_inputs: [bool; 2],
    /// A side is constant rows.
    pub has_constant_side: bool,
    /// Something above may fail on rows that go again in the step.
    pub holds_output: bool,
    /// When rows of each side can be dropped.
    pub expiry: Option<[Expiry; 2]>,
    /// Conditions that would let it drop rows.
    pub unbounded: Vec<String>,
    pub text: String,
}

pub struct JoinOperator {
    spec: Arc<JoinSpec>,
    /// Of each side; one table for both, unless their rows are kept with those of others.
    keys: [Arc<RwLock<Keys>>; 2],
    sides: [JoinRows; 2],
    /// The inputs of this step, where they are held.
    held: [Option<Net>; 2],
    /// The output of this step, where it is held.
    shown: Option<Net>,
    /// Rows that were left when it looked for expired ones last.
    left: usize,
    limits: Limits,
}

/// The numbers of a delta's keys.
struct KeyNumbers {
    own: Vec<u32>,
    /// Among the other side's keys, where these have numbers of their own.
    other: Option<Vec<u32>>,
}

impl KeyNumbers {
    fn other(&self) -> &[u32] {
        self.other.as_ref().unwrap_or(&self.own)
    }
}

impl JoinOperator {
    pub fn new(spec: Arc<JoinSpec>, limits: Limits) -> Result<JoinOperator, SqlError> {
        let budget = &limits.budget;
        let side = |side: usize| {
            let own = &spec.sides[side];
            let how = SideUse {
                grows: own.grows,
                knows_keys: spec.expiry.is_some(),
                tells_keys: spec.condition.is_none() && spec.sides[1 - side].shown != ShownWhen::Never,
                counts_matches: spec.condition.is_some() && own.shown != ShownWhen::Never,
            };
            JoinRows::new(own.schema.clone(), how, budget.clone())
        };
        let net = |holds: bool, schema: &SchemaRef| holds.then(|| Net::new(schema.clone(), budget.clone())).transpose();
        let held = [
            net(spec.holds_inputs[0], &spec.sides[0].schema)?,
            net(spec.holds_inputs[1], &spec.sides[1].schema)?,
        ];
        let shown = net(spec.holds_output, &spec.schema)?;
        let keys = Arc::new(RwLock::new(Keys::new(&spec.key_types, budget.clone())?));
        Ok(JoinOperator {
            keys: [keys.clone(), keys],
            sides: [side(0)?, side(1)?],
            held,
            shown,
            left: 0,
            spec,
            limits,
        })
    }

    /// Drops rows that have expired; answers whether there were any.
    fn expire(&mut self, end: &StepEnd) -> Result<bool, SqlError> {
        let Some(expiry) = &self.spec.expiry else {
            return Ok(false);
        };
        let rows = self.rows();
        if rows >= EXPIRY_ROWS_MIN && rows < 2 * self.left {
            return Ok(false);
        }
        let passed = [expiry[0].passed(end), expiry[1].passed(end)];
        let mut any = false;
        for (side, passed) in self.sides.iter_mut().zip(&passed) {
            any |= !passed.is_nothing() && side.expire(passed)?;
        }
        self.left = self.rows();
        Ok(any)
    }

    /// Takes rows of a side from a saved state.
    fn put_back(&mut self, side: usize, delta: &Delta, matches: &[i64]) -> Result<(), SqlError> {
        let keys = self.spec.sides[side].keys.iter().map(|key| key.evaluate(&delta.batch));
        let keys = keys.collect::<Result<Vec<ArrayRef>, SqlError>>()?;
        let numbers = self.number(side, &keys, delta.rows())?;
        self.sides[side].apply(delta, &numbers.own, matches)?;
        Ok(())
    }

    fn number(&self, side: usize, keys: &[ArrayRef], rows: usize) -> Result<KeyNumbers, SqlError> {
        let mut own = Vec::new();
        self.keys[side].write().intern(keys, rows, &mut own)?;
        let other = match self.has_one_table() {
            true => None,
            false => Some(self.keys[1 - side].read().find(keys, rows)?),
        };
        Ok(KeyNumbers { own, other })
    }

    fn has_one_table(&self) -> bool {
        Arc::ptr_eq(&self.keys[0], &self.keys[1])
    }

    /// Takes a delta of one side; the changes go to `out`, or are held.
    fn take(&mut self, side: usize, delta: Delta, out: &mut Sink<'_>) -> Result<(), SqlError> {
        let Some(mut shown) = self.shown.take() else {
            return self.meet(side, delta, out);
        };
        let taken = self.meet(side, delta, &mut |delta| shown.add(&delta));
        self.shown = Some(shown);
        taken
    }

    fn meet(&mut self, side: usize, delta: Delta, out: &mut Sink<'_>) -> Result<(), SqlError> {
        let spec = self.spec.clone();
        let evaluated = spec.sides[side].keys.iter().map(|key| key.evaluate(&delta.batch));
        let mut key_columns = evaluated.collect::<Result<Vec<ArrayRef>, SqlError>>()?;
        let mut delta = delta;
        let must_be_valid = key_columns
            .iter()
            .zip(&spec.nulls_match)
            .filter(|(_, nulls_match)| !**nulls_match);
        if let Some(valid) = all_valid(must_be_valid.map(|(column, _)| column)) {
            // They match nothing, ever.
            let alone = delta.filter(&compute::not(&valid)?)?;
            self.show_own(side, &alone, &vec![0; alone.rows()], out)?;
            delta = delta.filter(&valid)?;
            for column in &mut key_columns {
                *column = compute::filter(column, &valid)?;
            }
        }
        if delta.is_empty() {
            return Ok(());
        }
        let numbers = self.number(side, &key_columns, delta.rows())?;
        let mut matches = vec![0; delta.rows()];
        if spec.pairs || spec.condition.is_some() {
            self.join(side, &delta, numbers.other(), &mut matches, out)?;
        }
        if spec.condition.is_none() && spec.sides[side].shown != ShownWhen::Never {
            let have_rows = self.sides[1 - side].have_rows(numbers.other());
            matches = have_rows.into_iter().map(i64::from).collect();
        }
        self.show_own(side, &delta, &matches, out)?;
        let mut changed = self.sides[side].apply(&delta, &numbers.own, &matches)?;
        if changed.is_empty() {
            return Ok(());
        }
        if !self.has_one_table() {
            let own: Vec<u32> = changed.iter().map(|change| change.key).collect();
            let columns = self.keys[side].read().columns(&own)?;
            let other = self.keys[1 - side].read().find(&columns, own.len())?;
            for (change, key) in changed.iter_mut().zip(other) {
                change.key = key;
            }
        }
        // With a key's first row here the other side's rows of that key begin to match, with its last they end.
        for has_rows in [true, false] {
            let keys = changed.iter().filter(|change| change.has_rows == has_rows);
            let rows = self.sides[1 - side].of_keys(keys.map(|change| change.key));
            let (before, after) = (i64::from(!has_rows), i64::from(has_rows));
            self.show_changes(1 - side, rows.into_iter().map(|row| (row, before, after)), out)?;
        }
        Ok(())
    }

    /// Meets the rows of the other side; counts in `matches` how many of them each row of the delta matches under the condition.
    fn join(
        &mut self,
        side: usize,
        delta: &Delta,
        numbers: &[u32],
        matches: &mut [i64],
        out: &mut Sink<'_>,
    ) -> Result<(), SqlError> {
        // Rows of the other side, and the change of the number of their matches.
        let mut touched: HashMap<u32, i64> = HashMap::new();
        let counts_other = self.spec.condition.is_some() && self.spec.sides[1 - side].shown != ShownWhen::Never;
        let pair_bytes = row_bytes_max(&delta.batch) + self.sides[1 - side].row_bytes_max();
        let pairs_max = (PART_BYTES / pair_bytes.max(1)).clamp(1, PART_ROWS);
        let mut place = MeetPlace::default();
        loop {
            let mut pairs = Pairs::default();
            let goes_on = self.sides[1 - side].meet(numbers, &mut place, pairs_max, &mut pairs);
            for at in self.matching(side, delta, &pairs, out)? {
                let own = pairs.own[at] as usize;
                matches[own] += pairs.copies(at);
                if counts_other {
                    *touched.entry(pairs.other[at]).or_default() += delta_weight(delta, own);
                }
            }
            if !goes_on {
                break;
            }
        }
        let mut touched: Vec<(u32, i64)> = touched.into_iter().collect();
        touched.sort_unstable();
        let changes = touched.iter().map(|(row, more)| {
            let before = self.sides[1 - side].matches(*row);
            (*row, before, before + more)
        });
        self.show_changes(1 - side, changes, out)?;
        for (row, more) in touched {
            self.sides[1 - side].add_matches(row, more);
        }
        Ok(())
    }

    /// Shows the pairs that the condition lets through; these by position, if there is a condition.
    fn matching(&self, side: usize, delta: &Delta, pairs: &Pairs, out: &mut Sink<'_>) -> Result<Vec<usize>, SqlError> {
        if self.limits.stop.is_set() {
            return Err(SqlError::new(state::QUERY_CANCELED, "the view is no longer wanted"));
        }
        let rows = pairs.own.len();
        if rows == 0 {
            return Ok(Vec::new());
        }
        let is_whole = rows == delta.rows() && pairs.own.iter().zip(0..).all(|(row, at)| *row == at);
        let own = |columns: Vec<ArrayRef>| match is_whole {
            true => Ok(columns),
            false => compute::take_arrays(&columns, &UInt32Array::from(pairs.own.clone()), None),
        };
        let in_order = |own: Vec<ArrayRef>, other: Vec<ArrayRef>| match side {
            0 => [own, other].concat(),
            _ => [other, own].concat(),
        };
        let outputs = &self.spec.outputs;
        let weight = |at: usize| delta_weight(delta, pairs.own[at] as usize) * pairs.copies(at);
        let Some(condition) = &self.spec.condition else {
            let own = own(columns_at(&delta.batch, &outputs[side]))?;
            let other = self.sides[1 - side].columns_at(&outputs[1 - side], &pairs.other)?;
            let batch = batch_of(self.spec.schema.clone(), in_order(own, other), rows)?;
            let is_plain = delta.weights.is_none() && pairs.copies.is_empty();
            out(match is_plain {
                true => Delta::added(batch),
                false => weighted(batch, (0..rows).map(weight).collect()),
            })?;
            return Ok(Vec::new());
        };
        let other = self.sides[1 - side].columns(&pairs.other)?;
        let columns = in_order(own(delta.batch.columns().to_vec())?, other);
        let mut batch = batch_of(self.spec.pair_schema.clone(), columns, rows)?;
        let keep = condition.evaluate_bool(&batch)?;
        let mut found: Vec<usize> = (0..rows).collect();
        found.retain(|row| keep.is_valid(*row) && keep.value(*row));
        if self.spec.pairs && !found.is_empty() {
            if found.len() < rows {
                batch = compute::filter_record_batch(&batch, &keep)?;
            }
            let weights = found.iter().map(|at| weight(*at)).collect();
            let first = self.spec.sides[0].schema.fields().len();
            let places = outputs[0].iter().copied().chain(outputs[1].iter().map(|at| first + at));
            let columns = columns_at(&batch, &places.collect::<Vec<usize>>());
            out(delta_of(self.spec.schema.clone(), columns, weights)?)?;
        }
        Ok(found)
    }

    /// Shows a delta of rows that match so many of the other side.
    fn show_own(&self, side: usize, delta: &Delta, matches: &[i64], out: &mut Sink<'_>) -> Result<(), SqlError> {
        let shown = self.spec.sides[side].shown;
        if shown == ShownWhen::Never || delta.is_empty() {
            return Ok(());
        }
        let outputs = &self.spec.outputs[side];
        if shown == ShownWhen::Marked {
            let marks: BooleanArray = matches.iter().map(|matches| Some(*matches > 0)).collect();
            let own = columns_at(&delta.batch, outputs);
            return self.show(side, own, delta.listed_weights(), Some(marks), out);
        }
        let keep: BooleanArray = matches.iter().map(|matches| Some(is_shown(shown, *matches))).collect();
        if keep.true_count() == 0 {
            return Ok(());
        }
        let kept = delta.filter(&keep)?;
        self.show(side, columns_at(&kept.batch, outputs), kept.listed_weights(), None, out)
    }

    /// Shows rows of a side whose number of matches changes, from and to these.
    fn show_changes(
        &self,
        side: usize,
        changes: impl Iterator<Item = (u32, i64, i64)>,
        out: &mut Sink<'_>,
    ) -> Result<(), SqlError> {
        let shown = self.spec.sides[side].shown;
        let mut changes = changes.filter(|(_, before, after)| (*before > 0) != (*after > 0));
        loop {
            let part: Vec<(u32, i64, i64)> = changes.by_ref().take(PART_ROWS / 2).collect();
            if part.is_empty() {
                return Ok(());
            }
            let rows: Vec<u32> = part.iter().map(|(row, ..)| *row).collect();
            let copies = self.sides[side].copies_of(&rows);
            let (mut numbers, mut weights, mut marks) = (Vec::new(), Vec::new(), Vec::new());
            for ((row, before, after), copies) in part.into_iter().zip(copies).filter(|(_, copies)| *copies != 0) {
                if shown == ShownWhen::Marked {
                    numbers.extend([row, row]);
                    weights.extend([-copies, copies]);
                    marks.extend([before > 0, after > 0]);
                } else {
                    numbers.push(row);
                    weights.push(if is_shown(shown, after) { copies } else { -copies });
                }
            }
            let marks = (shown == ShownWhen::Marked).then(|| BooleanArray::from(marks));
            let own = self.sides[side].columns_at(&self.spec.outputs[side], &numbers)?;
            self.show(side, own, weights, marks, out)?;
        }
    }

    /// Rows of one side by themselves, in the columns that the output has of it.
    fn show(
        &self,
        side: usize,
        own: Vec<ArrayRef>,
        weights: Vec<i64>,
        marks: Option<BooleanArray>,
        out: &mut Sink<'_>,
    ) -> Result<(), SqlError> {
        if weights.is_empty() {
            return Ok(());
        }
        let mut columns = own;
        if let Some(marks) = marks {
            columns.push(Arc::new(marks));
        }
        let schema = &self.spec.sides[1 - side].schema;
        let other = self.spec.outputs[1 - side].iter().map(|at| schema.field(*at));
        let nulls = other.map(|field| new_null_array(field.data_type(), weights.len()));
        match side {
            0 => columns.extend(nulls),
            _ => columns = nulls.chain(columns).collect(),
        }
        out(delta_of(self.spec.schema.clone(), columns, weights)?)
    }
}

fn is_shown(shown: ShownWhen, matches: i64) -> bool {
    match shown {
        ShownWhen::Never => false,
        ShownWhen::Unmatched => matches <= 0,
        ShownWhen::Matched => matches > 0,
        ShownWhen::Marked => true,
    }
}

/// Where no column is NULL; `None` if that is everywhere.
pub fn all_valid<'a>(columns: impl Iterator<Item = &'a ArrayRef>) -> Option<BooleanArray> {
    let nulls = columns.map(|column| column.logical_nulls());
    let nulls = nulls.fold(None, |all, nulls| NullBuffer::union(all.as_ref(), nulls.as_ref()))?;
    (nulls.null_count() > 0).then(|| BooleanArray::new(nulls.into_inner(), None))
}

fn columns_at(batch: &RecordBatch, places: &[usize]) -> Vec<ArrayRef> {
    places.iter().map(|at| batch.column(*at).clone()).collect()
}

fn delta_weight(delta: &Delta, row: usize) -> i64 {
    delta.weight_values().map_or(1, |weights| weights[row])
}

fn delta_of(schema: SchemaRef, columns: Vec<ArrayRef>, weights: Vec<i64>) -> Result<Delta, SqlError> {
    Ok(weighted(batch_of(schema, columns, weights.len())?, weights))
}

impl Ported for JoinOperator {
    fn push(&mut self, side: usize, delta: Delta, out: &mut Sink<'_>) -> Result<(), SqlError> {
        match &mut self.held[side] {
            Some(held) => held.add(&delta),
            None => self.take(side, delta, out),
        }
    }

    /// Of both sides.
    fn rows(&self) -> usize {
        self.sides.iter().map(JoinRows::rows).sum()
    }

    fn share(&mut self, inputs: &[Option<RelationRows>], known: &Arrangements, lsn: Lsn) -> Result<(), SqlError> {
        self.share_sides(inputs, known, lsn)
    }

    fn shared(&self) -> Vec<SharedState> {
        self.sides.iter().filter_map(JoinRows::shared).collect()
    }
}

impl Operator for JoinOperator {
    /// Held rows go on; memory of rows that are gone is given up.
    fn finish(&mut self, end: &StepEnd, out: &mut Sink<'_>) -> Result<(), SqlError> {
        let mut held = std::mem::take(&mut self.held);
        for direction in [Direction::Taken, Direction::Added] {
            for (side, net) in held.iter().enumerate() {
                if let Some(net) = net {
                    net.part(direction, &mut |delta| self.take(side, delta, out))?;
                }
            }
        }
        for net in held.iter_mut().flatten() {
            net.clear()?;
        }
        self.held = held;
        if let Some(shown) = &mut self.shown {
            for direction in [Direction::Taken, Direction::Added] {
                shown.part(direction, out)?;
            }
            shown.clear()?;
        }
        for side in &self.sides {
            side.end_step(end.lsn);
        }
        let expired = self.expire(end)?;
        if !expired && !self.sides.iter().any(JoinRows::is_sparse) {
            return Ok(());
        }
        self.compact()
    }

    fn save(&self) -> Result<Vec<RecordBatch>, SqlError> {
        self.sides.iter().map(JoinRows::save).collect()
    }

    /// The rows of both sides make the state, in any order, with the matches that they had.
    fn restore(&mut self, saved: &[RecordBatch]) -> Result<(), SqlError> {
        *self = JoinOperator::new(self.spec.clone(), self.limits.clone())?;
        for (side, batch) in saved.iter().enumerate() {
            let (delta, matches) = self.sides[side].saved(batch)?;
            for offset in (0..delta.rows()).step_by(PART_ROWS) {
                let rows = PART_ROWS.min(delta.rows() - offset);
                self.put_back(side, &delta.slice(offset, rows), &matches[offset..offset + rows])?;
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let held = self.held.iter().flatten().chain(&self.shown).map(Net::bytes);
        let keys = self
            .keys
            .iter()
            .map(|keys| keys.read().bytes() / Arc::strong_count(keys));
        keys.sum::<usize>() + self.sides.iter().map(JoinRows::bytes).sum::<usize>() + held.sum::<usize>()
    }
}
