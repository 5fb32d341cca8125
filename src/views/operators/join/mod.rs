//! The join operator of a dataflow: inner, outer, semi, anti and mark joins, by equal keys and a condition on pairs.
//!
//! One rule: after any sequence of deltas the sum of the output is the join of the sums of the inputs. A delta of one side
//! meets the other side's rows as they are, and is then added to its own: (A + a) x B, then (A + a) x b.
//!
//! A row that is shown by whether it matches (outer, semi, anti, mark) is shown again, with the opposite sign, when that changes.
//! So within a step rows are shown that no query would see. Where an expression above could fail on such a row, the output is
//! held until the step ends and is net then. Where the condition itself could, the inputs are held as well: at the step's end
//! rows leave before others come, so that the condition is asked only of pairs that are there before the step or after it.
//!
//! Not here: how the rows of a side are kept (`rows.rs`), NOT IN (`not_in.rs`), ASOF JOIN (`asof.rs`).

mod asof;
mod expiry;
mod not_in;
mod rows;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::compute;
use arrow::datatypes::{DataType, SchemaRef};

use crate::error::{SqlError, state};

use super::aggregate::keys::Keys;
use super::net::{Direction, Net, PART_ROWS, weighted};
use super::{Operator, Ported, Sink, StepEnd};
use crate::views::delta::{Delta, batch_of, take_rows};
use crate::views::expression::Expression;
use crate::views::memory::{Limits, row_bytes_max};
use rows::JoinRows;

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
    /// Of both sides.
    keys: Keys,
    sides: [JoinRows; 2],
    /// The inputs of this step, where they are held.
    held: [Option<Net>; 2],
    /// The output of this step, where it is held.
    shown: Option<Net>,
    /// Rows that were left when it looked for expired ones last.
    left: usize,
    limits: Limits,
}

/// Pairs of a delta's rows with rows of the other side.
#[derive(Default)]
struct Pairs {
    own: Vec<u32>,
    other: Vec<u32>,
    /// Of the pair; and copies of the other side's row.
    weights: Vec<i64>,
    copies: Vec<i64>,
}

impl JoinOperator {
    pub fn new(spec: Arc<JoinSpec>, limits: Limits) -> Result<JoinOperator, SqlError> {
        let budget = &limits.budget;
        let side = |side: usize| {
            let own = &spec.sides[side];
            let counts_matches = spec.condition.is_some() && own.shown != ShownWhen::Never;
            JoinRows::new(own.schema.clone(), own.grows, counts_matches, budget.clone())
        };
        let net = |holds: bool, schema: &SchemaRef| holds.then(|| Net::new(schema.clone(), budget.clone())).transpose();
        let held = [
            net(spec.holds_inputs[0], &spec.sides[0].schema)?,
            net(spec.holds_inputs[1], &spec.sides[1].schema)?,
        ];
        let shown = net(spec.holds_output, &spec.schema)?;
        Ok(JoinOperator {
            keys: Keys::new(&spec.key_types, budget.clone())?,
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
        let mut numbers = Vec::new();
        self.keys.intern(&keys, delta.rows(), &mut numbers)?;
        for side in &mut self.sides {
            side.reach(self.keys.len());
        }
        delta.each(|row, weight| self.sides[side].add_to_count(numbers[row], weight));
        self.sides[side].apply(delta, &numbers, matches)
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
        let mut numbers = Vec::new();
        self.keys.intern(&key_columns, delta.rows(), &mut numbers)?;
        for side in &mut self.sides {
            side.reach(self.keys.len());
        }
        let mut matches = vec![0; delta.rows()];
        if spec.pairs || spec.condition.is_some() {
            self.join(side, &delta, &numbers, &mut matches, out)?;
        }
        if spec.condition.is_none() {
            let other = &self.sides[1 - side];
            for (matches, key) in matches.iter_mut().zip(&numbers) {
                *matches = other.count(*key);
            }
        }
        self.show_own(side, &delta, &matches, out)?;
        self.count(side, &delta, &numbers, out)?;
        self.sides[side].apply(&delta, &numbers, &matches)
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
        let mut pairs = Pairs::default();
        let mut flush = |pairs: &mut Pairs| -> Result<(), SqlError> {
            let found = self.matching(side, delta, pairs, out)?;
            if self.spec.condition.is_some() {
                for at in found {
                    let own = pairs.own[at] as usize;
                    matches[own] += pairs.copies[at];
                    if counts_other {
                        *touched.entry(pairs.other[at]).or_default() += delta_weight(delta, own);
                    }
                }
            }
            *pairs = Pairs::default();
            Ok(())
        };
        let other = &self.sides[1 - side];
        let pair_bytes = row_bytes_max(&delta.batch) + other.row_bytes_max();
        let part_rows = (PART_BYTES / pair_bytes.max(1)).clamp(1, PART_ROWS);
        for (row, key) in numbers.iter().enumerate() {
            let weight = delta_weight(delta, row);
            for found in other.of_key(*key) {
                let copies = other.copies(found);
                pairs.own.push(row as u32);
                pairs.other.push(found);
                pairs.weights.push(weight * copies);
                pairs.copies.push(copies);
                if pairs.own.len() == part_rows {
                    flush(&mut pairs)?;
                }
            }
        }
        flush(&mut pairs)?;
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

    /// The pairs that the condition lets through, by position, once they are shown.
    fn matching(&self, side: usize, delta: &Delta, pairs: &Pairs, out: &mut Sink<'_>) -> Result<Vec<usize>, SqlError> {
        if self.limits.stop.is_set() {
            return Err(SqlError::new(state::QUERY_CANCELED, "the view is no longer wanted"));
        }
        let rows = pairs.own.len();
        if rows == 0 {
            return Ok(Vec::new());
        }
        let own = take_rows(&delta.batch, &UInt32Array::from(pairs.own.clone()))?;
        let other = self.sides[1 - side].columns(&pairs.other)?;
        let columns = match side {
            0 => [own.columns(), &other].concat(),
            _ => [&other, own.columns()].concat(),
        };
        let mut batch = batch_of(self.spec.pair_schema.clone(), columns, rows)?;
        let mut found: Vec<usize> = (0..rows).collect();
        if let Some(condition) = &self.spec.condition {
            let keep = condition.evaluate_bool(&batch)?;
            found.retain(|row| keep.is_valid(*row) && keep.value(*row));
            if found.len() < rows && self.spec.pairs {
                batch = compute::filter_record_batch(&batch, &keep)?;
            }
        }
        if self.spec.pairs && !found.is_empty() {
            let weights = found.iter().map(|row| pairs.weights[*row]).collect();
            let columns = batch.columns().to_vec();
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
        if shown == ShownWhen::Marked {
            let marks: BooleanArray = matches.iter().map(|matches| Some(*matches > 0)).collect();
            return self.show(
                side,
                delta.batch.columns().to_vec(),
                delta.listed_weights(),
                Some(marks),
                out,
            );
        }
        let keep: BooleanArray = matches.iter().map(|matches| Some(is_shown(shown, *matches))).collect();
        let kept = delta.filter(&keep)?;
        self.show(side, kept.batch.columns().to_vec(), kept.listed_weights(), None, out)
    }

    /// Shows rows of a side whose number of matches changes, from and to these.
    fn show_changes(
        &self,
        side: usize,
        changes: impl Iterator<Item = (u32, i64, i64)>,
        out: &mut Sink<'_>,
    ) -> Result<(), SqlError> {
        let shown = self.spec.sides[side].shown;
        let rows = &self.sides[side];
        let (mut numbers, mut weights, mut marks) = (Vec::new(), Vec::new(), Vec::new());
        let mut flush = |numbers: &mut Vec<u32>, weights: &mut Vec<i64>, marks: &mut Vec<bool>| {
            let marks = std::mem::take(marks);
            let marks = (shown == ShownWhen::Marked).then(|| BooleanArray::from(marks));
            let columns = rows.columns(&std::mem::take(numbers))?;
            self.show(side, columns, std::mem::take(weights), marks, out)
        };
        for (row, before, after) in changes {
            let copies = rows.copies(row);
            if (before > 0) == (after > 0) || copies == 0 {
                continue;
            }
            if shown == ShownWhen::Marked {
                numbers.extend([row, row]);
                weights.extend([-copies, copies]);
                marks.extend([before > 0, after > 0]);
            } else {
                numbers.push(row);
                weights.push(if is_shown(shown, after) { copies } else { -copies });
            }
            if numbers.len() >= PART_ROWS {
                flush(&mut numbers, &mut weights, &mut marks)?;
            }
        }
        match numbers.is_empty() {
            true => Ok(()),
            false => flush(&mut numbers, &mut weights, &mut marks),
        }
    }

    /// Counts a delta by key. Rows of the other side are shown for which that changes whether they match.
    fn count(&mut self, side: usize, delta: &Delta, numbers: &[u32], out: &mut Sink<'_>) -> Result<(), SqlError> {
        let shows = self.spec.condition.is_none() && self.spec.sides[1 - side].shown != ShownWhen::Never;
        if !shows {
            delta.each(|row, weight| self.sides[side].add_to_count(numbers[row], weight));
            return Ok(());
        }
        let mut before: HashMap<u32, i64> = HashMap::new();
        delta.each(|row, weight| {
            let key = numbers[row];
            let own = &mut self.sides[side];
            before.entry(key).or_insert(own.count(key));
            own.add_to_count(key, weight);
        });
        let mut keys: Vec<(u32, i64)> = before.into_iter().collect();
        keys.sort_unstable();
        let (own, other) = (&self.sides[side], &self.sides[1 - side]);
        let changed = keys.into_iter().filter_map(|(key, before)| {
            let after = own.count(key);
            ((before > 0) != (after > 0)).then_some((key, before, after))
        });
        let changes = changed.flat_map(|(key, before, after)| other.of_key(key).map(move |row| (row, before, after)));
        self.show_changes(1 - side, changes, out)
    }

    /// Rows of one side by themselves.
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
        if self.spec.pairs {
            let other = self.spec.sides[1 - side].schema.fields().iter();
            let nulls = other.map(|field| new_null_array(field.data_type(), weights.len()));
            match side {
                0 => columns.extend(nulls),
                _ => columns = nulls.chain(columns).collect(),
            }
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
        let expired = self.expire(end)?;
        if !expired && !self.sides.iter().any(JoinRows::is_sparse) {
            return Ok(());
        }
        let mut used = vec![false; self.keys.len()];
        for side in &self.sides {
            side.mark_keys(&mut used);
        }
        let mut new_key = vec![u32::MAX; used.len()];
        let mut kept = Vec::new();
        if self.spec.key_types.is_empty() {
            // There is one key, always.
            new_key = vec![0];
            kept.push(0);
        } else {
            for key in (0..used.len()).filter(|key| used[*key]) {
                new_key[key] = kept.len() as u32;
                kept.push(key as u32);
            }
        }
        self.keys.keep(&kept);
        for side in &mut self.sides {
            side.compact(&new_key, kept.len());
        }
        Ok(())
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
        self.keys.bytes() + self.sides.iter().map(JoinRows::bytes).sum::<usize>() + held.sum::<usize>()
    }
}
