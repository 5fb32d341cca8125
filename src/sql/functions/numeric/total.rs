//! The state of sums and averages over NUMERIC of any scale.
//!
//! One rule: a value that was added can be taken away again, exactly: the sum then has the largest scale of those that
//! are left, and NaN and the infinities are counted beside it.

use arrow::array::ArrayRef;

use super::column::collect;
use crate::error::SqlError;
use crate::sql::functions::aggregates::AggregateKind;
use crate::types::varying::Numeric;

/// Stands for the scale of a value that is no number.
const NAN: u32 = u32::MAX;
const INFINITY: u32 = u32::MAX - 1;
const MINUS_INFINITY: u32 = u32::MAX - 2;
const NUMBERS_END: u32 = MINUS_INFINITY;

/// A sum of values, and the number of values of each scale.
#[derive(Clone, PartialEq, Debug)]
pub struct Total {
    sum: Numeric,
    /// Scales and the number of values with each. Most columns have one.
    scales: Vec<(u32, i64)>,
}

impl Default for Total {
    fn default() -> Total {
        Total {
            sum: Numeric::ZERO,
            scales: Vec::new(),
        }
    }
}

impl Total {
    /// Adds `weight` copies of a value; takes them away if it is negative.
    pub fn add(&mut self, value: &Numeric, weight: i64) -> Result<(), SqlError> {
        let scale = match value {
            Numeric::NaN => NAN,
            Numeric::Infinity => INFINITY,
            Numeric::MinusInfinity => MINUS_INFINITY,
            number => {
                self.sum = match weight {
                    1 => self.sum.add(number)?,
                    _ => self.sum.add(&number.multiply(&Numeric::whole(weight.into()))?)?,
                };
                number.scale()
            }
        };
        match self.scales.iter_mut().find(|(known, _)| *known == scale) {
            Some((_, count)) => *count += weight,
            None => self.scales.push((scale, weight)),
        }
        Ok(())
    }

    pub fn merge(&mut self, other: &Total) -> Result<(), SqlError> {
        self.sum = self.sum.add(&other.sum)?;
        for (scale, count) in &other.scales {
            match self.scales.iter_mut().find(|(known, _)| known == scale) {
                Some((_, own)) => *own += count,
                None => self.scales.push((*scale, *count)),
            }
        }
        Ok(())
    }

    /// Values that were not NULL.
    pub fn count(&self) -> i64 {
        self.scales.iter().map(|(_, count)| count).sum()
    }

    /// `None` if there are no values.
    pub fn sum(&self) -> Option<Numeric> {
        let has = |kind: u32| self.scales.iter().any(|(scale, count)| *scale == kind && *count > 0);
        let present = self.scales.iter().filter(|(_, count)| *count > 0);
        let largest = present.map(|(scale, _)| *scale).max()?;
        if largest < NUMBERS_END {
            return Some(match self.sum.scale() == largest {
                true => self.sum.clone(),
                false => self.sum.at_scale(largest),
            });
        }
        Some(match (has(NAN), has(INFINITY), has(MINUS_INFINITY)) {
            (true, _, _) | (_, true, true) => Numeric::NaN,
            (_, true, _) => Numeric::Infinity,
            _ => Numeric::MinusInfinity,
        })
    }

    fn result(&self, kind: AggregateKind) -> Result<Option<Numeric>, SqlError> {
        let Some(sum) = self.sum() else { return Ok(None) };
        match kind {
            AggregateKind::Avg => sum.divide(&Numeric::whole(self.count().into())).map(Some),
            _ => Ok(Some(sum)),
        }
    }

    /// The results of totals, NULL where no value was added.
    pub fn finish<'a>(
        kind: AggregateKind,
        rows: usize,
        total: impl Fn(usize) -> &'a Total,
    ) -> Result<ArrayRef, SqlError> {
        collect(rows, |row| total(row).result(kind))
    }

    /// All of it as bytes, for [`Total::restore`].
    pub fn save(&self, out: &mut Vec<u8>) {
        out.push(self.scales.len() as u8);
        for (scale, count) in &self.scales {
            out.extend(scale.to_le_bytes());
            out.extend(count.to_le_bytes());
        }
        self.sum.encode(out);
    }

    pub fn saved(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.save(&mut bytes);
        bytes
    }

    pub fn restore(mut saved: &[u8]) -> Total {
        const PAIR: usize = 12;
        let count = saved.first().map_or(0, |count| usize::from(*count));
        saved = saved.get(1..).unwrap_or_default();
        let (pairs, sum) = saved.split_at_checked(count * PAIR).unwrap_or_default();
        let scales = pairs.chunks_exact(PAIR).map(|pair| {
            let (scale, count) = pair.split_at(4);
            let scale = u32::from_le_bytes(scale.try_into().expect("of four bytes"));
            (scale, i64::from_le_bytes(count.try_into().expect("of eight bytes")))
        });
        Total {
            scales: scales.collect(),
            sum: Numeric::decode(sum),
        }
    }

    /// Bytes of memory beside its own.
    pub fn bytes(&self) -> usize {
        let large = match &self.sum {
            Numeric::Large(number) => number.value.bits() as usize / 8,
            _ => 0,
        };
        self.scales.capacity() * size_of::<(u32, i64)>() + large
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_away_leaves_no_trace() {
        let number = |text: &str| Numeric::parse(text).expect(text);
        let mut total = Total::default();
        assert_eq!(total.sum(), None);
        for text in ["1.5", "2.25", "NaN", "Infinity", "1e40"] {
            total.add(&number(text), 1).expect(text);
        }
        assert_eq!(total.sum(), Some(Numeric::NaN));
        assert_eq!(Total::restore(&total.saved()), total);
        total.add(&Numeric::NaN, -1).expect("taken away");
        assert_eq!(total.sum(), Some(Numeric::Infinity));
        total.add(&Numeric::MinusInfinity, 2).expect("added");
        assert_eq!(total.sum(), Some(Numeric::NaN));
        total.add(&Numeric::MinusInfinity, -2).expect("taken away");
        for text in ["Infinity", "1e40"] {
            total.add(&number(text), -1).expect(text);
        }
        assert_eq!(total.sum().map(|sum| sum.text()).as_deref(), Some("3.75"));
        total.add(&number("2.25"), -1).expect("taken away");
        assert_eq!(total.sum().map(|sum| sum.text()).as_deref(), Some("1.5"));
        assert_eq!(total.count(), 1);
        let mut other = Total::default();
        other.merge(&total).expect("merged");
        assert_eq!(other.sum(), total.sum());
    }
}
