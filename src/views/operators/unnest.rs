//! Lists to rows: each row of the input once for each element of its lists, side by side; shorter lists end in NULLs.
//!
//! One rule: a row whose lists are all empty or NULL makes none, as in batch queries. Nothing is kept, so it is linear.

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array, UInt32Builder};
use arrow::compute;
use arrow::datatypes::SchemaRef;

use crate::error::SqlError;

use crate::views::delta::{Delta, batch_of};

/// Rows that one part of the output has, about.
const PART_ROWS: usize = 65_536;

/// The columns of the output.
#[derive(Clone, Debug)]
pub struct Unnest {
    /// By column: the input's column, and whether it is a list whose elements stand here.
    pub columns: Vec<(usize, bool)>,
    /// Columns that are lists to be unnested, shown or not.
    pub lists: Vec<usize>,
    pub schema: SchemaRef,
    pub text: String,
}

impl Unnest {
    /// Rows of the input whose output is not too much at once.
    pub fn part_rows(&self, delta: &Delta) -> usize {
        let elements: usize = self.lists.iter().map(|list| elements(delta.batch.column(*list))).sum();
        match elements {
            0..PART_ROWS => usize::MAX,
            many => (delta.rows() * PART_ROWS / many).max(1),
        }
    }

    pub fn apply(&self, delta: &Delta) -> Result<Option<Delta>, SqlError> {
        let lists: Vec<&ArrayRef> = self.lists.iter().map(|list| delta.batch.column(*list)).collect();
        let mut sources: Vec<u32> = Vec::new();
        let mut places: Vec<UInt32Builder> = lists.iter().map(|_| UInt32Builder::new()).collect();
        for row in 0..delta.rows() {
            let ranges: Vec<(usize, usize)> = lists.iter().map(|list| range(list, row)).collect();
            let longest = ranges.iter().map(|(start, end)| end - start).max().unwrap_or(0);
            sources.resize(sources.len() + longest, row as u32);
            for ((start, end), places) in ranges.into_iter().zip(&mut places) {
                (start..end).for_each(|place| places.append_value(place as u32));
                places.append_nulls(longest - (end - start));
            }
        }
        if sources.is_empty() {
            return Ok(None);
        }
        let sources = UInt32Array::from(sources);
        let places: Vec<UInt32Array> = places.into_iter().map(|mut places| places.finish()).collect();
        let mut columns = Vec::with_capacity(self.columns.len());
        for (column, is_list) in &self.columns {
            columns.push(match is_list {
                false => compute::take(delta.batch.column(*column), &sources, None)?,
                true => {
                    let list = self.lists.iter().position(|list| list == column).expect("it is a list");
                    compute::take(lists[list].as_list::<i32>().values(), &places[list], None)?
                }
            });
        }
        Ok(Some(Delta {
            batch: batch_of(self.schema.clone(), columns, sources.len())?,
            weights: delta.take_weights(&sources)?,
        }))
    }
}

/// The elements of a row, by their places.
fn range(list: &ArrayRef, row: usize) -> (usize, usize) {
    if list.is_null(row) {
        return (0, 0);
    }
    let offsets = list.as_list::<i32>().value_offsets();
    (offsets[row] as usize, offsets[row + 1] as usize)
}

fn elements(list: &ArrayRef) -> usize {
    let offsets = list.as_list::<i32>().value_offsets();
    (offsets[list.len()] - offsets[0]) as usize
}
