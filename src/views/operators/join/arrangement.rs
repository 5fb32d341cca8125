//! [`Arrangements`]: rows that the joins of several views keep together, by relation and keys.
//!
//! One rule: all who share rows take the same rows in the same order, and rows are only added. So a join's rows are the first so
//! many of all, and whoever comes first with a row adds it for the others. A step of all ends with the same rows, wherever each
//! of them stands.
//!
//! Rows of one topic are shared, as conditions and expressions leave them, by joins with the same keys; each column is there
//! once, and as long as someone needs it. Not shared are rows that may be taken away (of tables, and of views that change), that
//! are dropped when their time has passed, that are counted by a condition of an outer join, and distinct rows.

use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use crate::error::SqlError;
use crate::log::{Lsn, Reader, TopicId};

use super::super::aggregate::keys::{Keys, UNKNOWN};
use super::super::linear::Linear;
use super::JoinOperator;
use super::chains::KeyChains;
use super::column::StoredColumn;
use super::rows::GrownRows;
use crate::views::expression::Expression;

/// The rows of a join's input, by their definition.
#[derive(Clone, PartialEq, Debug)]
pub struct RelationRows {
    topic: (TopicId, u32, Option<i64>, bool),
    /// Over the topic's columns, as all of these.
    conditions: Vec<Expression>,
    columns: Vec<Expression>,
}

impl RelationRows {
    pub fn of_topic(reader: &Reader, columns: Vec<Expression>) -> RelationRows {
        let (topic, schema_id, since_us) = reader.key();
        RelationRows {
            topic: (topic, schema_id, since_us, reader.ignores_dropped),
            conditions: Vec::new(),
            columns,
        }
    }

    /// Whether both are the same rows, be it in other columns.
    pub fn has_rows_of(&self, other: &RelationRows) -> bool {
        self.topic == other.topic && self.conditions == other.conditions
    }

    /// The same behind a stateless step. `None` if it makes other rows of them.
    pub fn through(mut self, step: &Linear) -> Option<RelationRows> {
        match step {
            Linear::Filter { conditions, .. } => self.conditions.extend(self.over(conditions)?),
            Linear::Project { expressions, .. } => self.columns = self.over(expressions)?,
            Linear::Pick { columns, .. } => self.columns = columns.iter().map(|at| self.columns[*at].clone()).collect(),
            Linear::Unnest(_) => return None,
        }
        Some(self)
    }

    /// Expressions over its columns, as ones over the topic's.
    fn over(&self, expressions: &[Expression]) -> Option<Vec<Expression>> {
        expressions.iter().map(|own| own.over(&self.columns)).collect()
    }
}

/// Rows by the keys that a join finds them by.
#[derive(PartialEq, Debug)]
struct KeyedRows {
    topic: (TopicId, u32, Option<i64>, bool),
    conditions: Vec<Expression>,
    keys: Vec<Expression>,
    /// By key. Rows with a NULL where these are unlike are not kept.
    nulls_match: Vec<bool>,
}

/// Rows that are kept, while someone keeps them.
struct Arrangement {
    of: KeyedRows,
    keys: Weak<RwLock<Keys>>,
    chains: Weak<RwLock<KeyChains>>,
    columns: Vec<(Expression, Weak<RwLock<StoredColumn>>)>,
}

/// The rows that joins of views may share.
#[derive(Default)]
pub struct Arrangements {
    all: Mutex<Vec<Arrangement>>,
}

/// Rows to be shared, and the numbers of their keys.
type Found = (Arc<RwLock<Keys>>, GrownRows);

impl Arrangements {
    /// The rows of all that are the same as `own`, of which a view has taken so many up to an LSN.
    fn find(&self, of: &KeyedRows, columns: &[Expression], own: &GrownRows, taken: usize, lsn: Lsn) -> Option<Found> {
        let mut all = self.all.lock();
        let known = all.iter_mut().find(|known| known.of == *of)?;
        let keys = known.keys.upgrade()?;
        let chains = known.chains.upgrade()?;
        // A new view has seen the rows in other steps, so in another order. Rows that retention has removed before are not its.
        let known_rows = match lsn {
            0 => Some(0),
            _ => chains.read().rows_at(lsn),
        };
        if known_rows != Some(taken) {
            return None;
        }
        let mut found = Vec::with_capacity(columns.len());
        let mut brought = Vec::new();
        for (column, own) in columns.iter().zip(&own.columns) {
            let same = known.columns.iter().filter(|(known, _)| known == column);
            let mut same = same.filter_map(|(_, stored)| stored.upgrade());
            match same.find(|stored| stored.read().rows() >= taken) {
                Some(stored) => found.push(stored),
                None if taken == 0 => {
                    brought.push((column.clone(), Arc::downgrade(own)));
                    found.push(own.clone());
                }
                None => return None,
            }
        }
        known.columns.retain(|(_, stored)| stored.strong_count() > 0);
        known.columns.extend(brought);
        Some((keys, GrownRows { chains, columns: found }))
    }

    /// Takes over those of others, as far as the same rows are not known here.
    pub fn take_over(&self, others: &Arrangements) {
        let mut all = self.all.lock();
        all.retain(|known| known.chains.strong_count() > 0);
        for other in std::mem::take(&mut *others.all.lock()) {
            if all.iter().all(|known| known.of != other.of) {
                all.push(other);
            }
        }
    }

    fn add(&self, of: KeyedRows, columns: &[Expression], keys: &Arc<RwLock<Keys>>, own: &GrownRows) {
        let mut all = self.all.lock();
        all.retain(|known| known.chains.strong_count() > 0);
        if all.iter().any(|known| known.of == of) {
            return;
        }
        let stored = own.columns.iter().map(Arc::downgrade);
        all.push(Arrangement {
            of,
            keys: Arc::downgrade(keys),
            chains: Arc::downgrade(&own.chains),
            columns: columns.iter().cloned().zip(stored).collect(),
        });
    }
}

impl JoinOperator {
    fn keyed(&self, side: usize, input: &RelationRows) -> Option<KeyedRows> {
        // Inputs that are held come in another order.
        (!self.spec.holds_inputs[side]).then_some(())?;
        Some(KeyedRows {
            topic: input.topic,
            conditions: input.conditions.clone(),
            keys: input.over(&self.spec.sides[side].keys)?,
            nulls_match: self.spec.nulls_match.clone(),
        })
    }

    /// Goes over to the rows that others keep already, and lets others have those that nobody else keeps.
    pub(super) fn share_sides(
        &mut self,
        inputs: &[Option<RelationRows>],
        known: &Arrangements,
        lsn: Lsn,
    ) -> Result<(), SqlError> {
        let mut attached = [false; 2];
        for (side, input) in inputs.iter().enumerate() {
            attached[side] = self.attach(side, input.as_ref(), known, lsn);
        }
        match attached {
            [true, false] => self.follow(1, 0)?,
            [false, true] => self.follow(0, 1)?,
            _ => {}
        }
        for (side, input) in inputs.iter().enumerate().filter(|(side, _)| !attached[*side]) {
            // The other side may be the same rows.
            if self.attach(side, input.as_ref(), known, lsn) {
                continue;
            }
            if let (Some(input), Some(own)) = (input, self.sides[side].shareable())
                && let Some(of) = self.keyed(side, input)
            {
                known.add(of, &input.columns, &self.keys[side], &own);
            }
        }
        Ok(())
    }

    fn attach(&mut self, side: usize, input: Option<&RelationRows>, known: &Arrangements, lsn: Lsn) -> bool {
        let (Some(input), Some(own)) = (input, self.sides[side].shareable()) else {
            return false;
        };
        let of = self.keyed(side, input);
        let taken = self.sides[side].taken();
        let Some((keys, rows)) = of.and_then(|of| known.find(&of, &input.columns, &own, taken, lsn)) else {
            return false;
        };
        drop(own);
        self.sides[side].share(rows);
        self.keys[side] = keys;
        true
    }

    /// A side whose partner has other keys from now on takes these as well, if nobody else has its rows: one look-up is enough for
    /// both sides then.
    fn follow(&mut self, side: usize, partner: usize) -> Result<(), SqlError> {
        if self.has_one_table() {
            return Ok(());
        }
        if self.sides[side].shareable().is_none() || !self.sides[side].is_alone() {
            return self.compact();
        }
        let old = self.keys[side].clone();
        let old = old.read();
        let (kept, mut new_key) = self.used_keys(&[side], old.len());
        let mut numbers = Vec::new();
        let mut keys = self.keys[partner].write();
        if keys.intern(&old.columns(&kept)?, kept.len(), &mut numbers).is_err() {
            // Without room for that it keeps its own.
            return Ok(());
        }
        for (old, new) in kept.iter().zip(numbers) {
            new_key[*old as usize] = new;
        }
        self.sides[side].compact(&new_key, keys.len());
        drop(keys);
        self.keys[side] = self.keys[partner].clone();
        Ok(())
    }

    /// The keys of sides that have rows, and their numbers if only they are left.
    fn used_keys(&self, sides: &[usize], keys: usize) -> (Vec<u32>, Vec<u32>) {
        let mut used = vec![false; keys];
        for side in sides {
            self.sides[*side].mark_keys(&mut used);
        }
        if self.spec.key_types.is_empty() {
            // There is one key, always.
            used = vec![true];
        }
        let mut new_key = vec![UNKNOWN; used.len()];
        let kept: Vec<u32> = (0..used.len() as u32).filter(|key| used[*key as usize]).collect();
        for (new, old) in kept.iter().enumerate() {
            new_key[*old as usize] = new as u32;
        }
        (kept, new_key)
    }

    /// Forgets rows and keys that are gone. Keys that others have too keep their numbers: a side whose rows go takes numbers of its
    /// own then.
    pub(super) fn compact(&mut self) -> Result<(), SqlError> {
        let tables: &[&[usize]] = match self.has_one_table() {
            true => &[&[0, 1]],
            false => &[&[0], &[1]],
        };
        for sides in tables {
            let table = self.keys[sides[0]].clone();
            let mut keys = table.write();
            // The one in hand counts as well.
            if Arc::strong_count(&table) == sides.len() + 1 {
                let (kept, new_key) = self.used_keys(sides, keys.len());
                keys.keep(&kept);
                for side in *sides {
                    self.sides[*side].compact(&new_key, kept.len());
                }
                continue;
            }
            for side in *sides {
                if self.sides[*side].shareable().is_some() {
                    continue;
                }
                let (kept, new_key) = self.used_keys(&[*side], keys.len());
                let mut own = Keys::new(&self.spec.key_types, self.limits.budget.clone())?;
                own.intern(&keys.columns(&kept)?, kept.len(), &mut Vec::new())?;
                assert_eq!(own.len(), kept.len(), "keys are distinct");
                self.sides[*side].compact(&new_key, kept.len());
                self.keys[*side] = Arc::new(RwLock::new(own));
            }
        }
        Ok(())
    }
}
