//! [`StoredColumn`]: a column of rows that are numbered as they come, in blocks.
//!
//! One rule: rows are added at the end, and never change. Several may add the same rows: the first one does, the others find them
//! there.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array, new_empty_array};
use arrow::compute;
use arrow::datatypes::DataType;
use parking_lot::RwLock;

use crate::error::SqlError;

/// Rows of a block that is complete: a power of two, so that a row's number says where it stands.
pub const BLOCK_ROWS: usize = 8192;

/// As its values came: complete blocks, then pieces of the last one.
pub struct StoredColumn {
    data_type: DataType,
    blocks: Vec<ArrayRef>,
    last: Vec<ArrayRef>,
    last_rows: usize,
    bytes: usize,
}

impl StoredColumn {
    pub fn new(data_type: &DataType) -> StoredColumn {
        StoredColumn {
            data_type: data_type.clone(),
            blocks: Vec::new(),
            last: Vec::new(),
            last_rows: 0,
            bytes: 0,
        }
    }

    pub fn rows(&self) -> usize {
        self.blocks.len() * BLOCK_ROWS + self.last_rows
    }

    /// Adds values of rows that are numbered from `from` on, as far as they are not there. Complete blocks become one array each.
    pub fn append(&mut self, from: usize, values: &ArrayRef) -> Result<(), SqlError> {
        let known = self.rows().checked_sub(from).expect("rows are numbered without gaps");
        let mut offset = known;
        while offset < values.len() {
            let rows = (BLOCK_ROWS - self.last_rows).min(values.len() - offset);
            self.last.push(values.slice(offset, rows));
            self.last_rows += rows;
            offset += rows;
            let is_complete = self.last_rows == BLOCK_ROWS;
            // Pieces of like size are merged, so that there are few of them and each row is copied a few times at most.
            let mut start = self.last.len() - 1;
            let mut merged = self.last[start].len();
            while start > 0 && (self.last[start - 1].len() <= merged || is_complete) {
                start -= 1;
                merged += self.last[start].len();
            }
            let bytes = |pieces: &[ArrayRef]| pieces.iter().map(array_bytes).sum::<usize>();
            let known_bytes = bytes(&self.last[start..self.last.len() - 1]);
            // A slice holds the whole array that it is of: the values are copied.
            let one = match (&self.last[start..], rows == values.len()) {
                ([one], true) => one.clone(),
                ([one], false) => compute::take(one, &UInt32Array::from_iter_values(0..one.len() as u32), None)?,
                (several, _) => {
                    let several: Vec<&dyn Array> = several.iter().map(|piece| &**piece).collect();
                    compute::concat(&several)?
                }
            };
            self.bytes = self.bytes - known_bytes + array_bytes(&one);
            self.last.truncate(start);
            self.last.push(one);
            if is_complete {
                self.blocks.append(&mut self.last);
                self.last_rows = 0;
            }
        }
        Ok(())
    }

    /// Leaves out the rows that are not to be kept.
    pub fn retain(&mut self, kept: &[bool]) -> Result<(), SqlError> {
        let old = std::mem::replace(self, StoredColumn::new(&self.data_type));
        let mut from = 0;
        for piece in old.blocks.into_iter().chain(old.last) {
            let upto = from + piece.len();
            let mask = BooleanArray::from(kept[from..upto].to_vec());
            self.append(self.rows(), &compute::filter(&piece, &mask)?)?;
            from = upto;
        }
        Ok(())
    }

    fn array(&self, number: usize) -> &ArrayRef {
        match number.checked_sub(self.blocks.len()) {
            None => &self.blocks[number],
            Some(piece) => &self.last[piece],
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

fn array_bytes(array: &ArrayRef) -> usize {
    array.to_data().get_slice_memory_size().unwrap_or(0)
}

/// Where rows stand in columns that are cut into the same arrays.
struct RowPlaces {
    blocks: usize,
    /// Rows of each piece of the last block.
    pieces: Vec<usize>,
    /// The arrays that have some of the rows.
    arrays: Vec<usize>,
    /// By row: which of those, and where in it.
    places: Vec<(usize, usize)>,
}

impl RowPlaces {
    fn of(column: &StoredColumn, rows: &[u32]) -> RowPlaces {
        let blocks = column.blocks.len();
        let pieces: Vec<usize> = column.last.iter().map(|piece| piece.len()).collect();
        let mut arrays: Vec<usize> = Vec::new();
        let mut used = vec![usize::MAX; blocks + pieces.len()];
        let places = rows.iter().map(|row| {
            let mut array = *row as usize / BLOCK_ROWS;
            let mut at = *row as usize % BLOCK_ROWS;
            if array == blocks {
                let mut piece = 0;
                while at >= pieces[piece] {
                    at -= pieces[piece];
                    piece += 1;
                }
                array += piece;
            }
            if used[array] == usize::MAX {
                used[array] = arrays.len();
                arrays.push(array);
            }
            (used[array], at)
        });
        RowPlaces {
            places: places.collect(),
            blocks,
            pieces,
            arrays,
        }
    }

    fn fits(&self, column: &StoredColumn) -> bool {
        let pieces = column.last.iter().map(|piece| piece.len());
        self.blocks == column.blocks.len() && pieces.eq(self.pieces.iter().copied())
    }

    fn take(&self, column: &StoredColumn) -> Result<ArrayRef, SqlError> {
        match self.arrays[..] {
            [] => Ok(new_empty_array(&column.data_type)),
            [array] => {
                let rows = UInt32Array::from_iter_values(self.places.iter().map(|(_, row)| *row as u32));
                Ok(compute::take(column.array(array), &rows, None)?)
            }
            _ => {
                let arrays: Vec<&dyn Array> = self.arrays.iter().map(|array| &**column.array(*array)).collect();
                Ok(compute::interleave(&arrays, &self.places)?)
            }
        }
    }
}

/// The values of rows in columns, in that order.
pub fn gather<'a>(
    columns: impl Iterator<Item = &'a Arc<RwLock<StoredColumn>>>,
    rows: &[u32],
) -> Result<Vec<ArrayRef>, SqlError> {
    let mut places: Option<RowPlaces> = None;
    let take = |column: &Arc<RwLock<StoredColumn>>| {
        let column = column.read();
        let known = places.take().filter(|places| places.fits(&column));
        let known = places.insert(known.unwrap_or_else(|| RowPlaces::of(&column, rows)));
        known.take(&column)
    };
    columns.map(take).collect()
}
