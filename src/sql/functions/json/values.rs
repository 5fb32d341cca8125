//! Columns of results: texts, lists of texts and lists of pairs, each value within its bound.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int32Array, ListArray, StringArray, StringBuilder, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, FieldRef};

use super::JsonCall;
use crate::error::{SqlError, state};
use crate::sql::functions::growth::{
    BATCH_BYTES_MAX, Claim, SMALL_BYTES, VALUE_BYTES_MAX, hold, too_large_together, too_long,
};
use crate::stop;

/// Rows between two looks at whether to go on.
const ROWS_AT_ONCE: usize = 1 << 10;

/// Counts the output of a function that cannot tell its size before.
struct Meter {
    name: &'static str,
    bytes: u64,
    claimed: u64,
    _claims: Vec<Claim>,
}

impl Meter {
    fn new(name: &'static str) -> Meter {
        Meter {
            name,
            bytes: 0,
            claimed: 0,
            _claims: Vec::new(),
        }
    }

    fn add(&mut self, bytes: usize) -> Result<(), SqlError> {
        if bytes as u64 > VALUE_BYTES_MAX {
            return Err(too_long(self.name, bytes as u64));
        }
        self.bytes += bytes as u64;
        if self.bytes > BATCH_BYTES_MAX {
            return Err(too_large_together(self.name));
        }
        if self.bytes - self.claimed > SMALL_BYTES {
            let claim = hold(self.bytes - self.claimed).map_err(SqlError::from)?;
            self._claims.extend(claim);
            self.claimed = self.bytes;
        }
        Ok(())
    }
}

impl JsonCall<'_> {
    /// 54000 for a text that is too long for a value, while it is made.
    pub fn check_length(&self, text: &str) -> Result<(), SqlError> {
        match text.len() as u64 {
            bytes if bytes > VALUE_BYTES_MAX => Err(too_long(self.name, bytes)),
            _ => Ok(()),
        }
    }

    fn each_row(&self, mut each: impl FnMut(usize) -> Result<(), SqlError>) -> Result<(), SqlError> {
        for row in 0..self.rows {
            if row % ROWS_AT_ONCE == 0 {
                stop::check()?;
            }
            each(row)?;
        }
        Ok(())
    }

    /// Texts of the rows where no argument is NULL; `write` says whether there is one.
    pub fn make_texts(
        &self,
        mut write: impl FnMut(usize, &mut String) -> Result<bool, SqlError>,
    ) -> Result<ArrayRef, SqlError> {
        self.make_any_texts(|row, out| Ok(!self.is_null(row) && write(row, out)?))
    }

    /// Texts of all rows.
    pub fn make_any_texts(
        &self,
        mut write: impl FnMut(usize, &mut String) -> Result<bool, SqlError>,
    ) -> Result<ArrayRef, SqlError> {
        let mut made = StringBuilder::with_capacity(self.rows, self.rows * 16);
        let mut meter = Meter::new(self.name);
        let mut buffer = String::new();
        self.each_row(|row| {
            buffer.clear();
            match write(row, &mut buffer)? {
                true => {
                    meter.add(buffer.len())?;
                    made.append_value(&buffer);
                }
                false => made.append_null(),
            }
            Ok(())
        })?;
        Ok(Arc::new(made.finish()))
    }

    /// Booleans of the rows where no argument is NULL.
    pub fn make_bools(
        &self,
        mut each: impl FnMut(usize) -> Result<Option<bool>, SqlError>,
    ) -> Result<ArrayRef, SqlError> {
        let mut made = Vec::with_capacity(self.rows);
        self.each_row(|row| {
            made.push(if self.is_null(row) { None } else { each(row)? });
            Ok(())
        })?;
        Ok(Arc::new(BooleanArray::from(made)))
    }

    /// Numbers of the rows where no argument is NULL.
    pub fn make_ints(&self, each: impl FnMut(usize) -> Result<i32, SqlError>) -> Result<ArrayRef, SqlError> {
        Ok(Arc::new(Int32Array::from(self.make_values(each)?)))
    }

    /// Values of the rows where no argument is NULL.
    pub fn make_values<T>(
        &self,
        mut each: impl FnMut(usize) -> Result<T, SqlError>,
    ) -> Result<Vec<Option<T>>, SqlError> {
        let mut made = Vec::with_capacity(self.rows);
        self.each_row(|row| {
            made.push(if self.is_null(row) { None } else { Some(each(row)?) });
            Ok(())
        })?;
        Ok(made)
    }

    /// Lists of the rows where no argument is NULL.
    pub fn make_rows(
        &self,
        mut each: impl FnMut(usize, &mut JsonRows) -> Result<(), SqlError>,
    ) -> Result<ArrayRef, SqlError> {
        let mut made = JsonRows {
            meter: Meter::new(self.name),
            keys: StringBuilder::new(),
            values: StringBuilder::new(),
        };
        let mut ends = Vec::with_capacity(self.rows + 1);
        ends.push(0);
        let mut valid = Vec::with_capacity(self.rows);
        self.each_row(|row| {
            let is_null = self.is_null(row);
            if !is_null {
                each(row, &mut made)?;
            }
            valid.push(!is_null);
            ends.push(made.len()?);
            Ok(())
        })?;
        let DataType::List(item) = self.returns else {
            unreachable!("rows come out as lists")
        };
        let values = made.finish(item);
        let offsets = OffsetBuffer::new(ends.into());
        Ok(Arc::new(ListArray::new(
            item.clone(),
            offsets,
            values,
            Some(NullBuffer::from(valid)),
        )))
    }
}

/// Rows of all calls of a batch, one after another.
pub struct JsonRows {
    meter: Meter,
    keys: StringBuilder,
    values: StringBuilder,
}

impl JsonRows {
    pub fn push(&mut self, value: Option<&str>) -> Result<(), SqlError> {
        self.meter.add(value.map_or(0, str::len) + size_of::<i32>())?;
        self.values.append_option(value);
        Ok(())
    }

    pub fn push_pair(&mut self, key: &str, value: Option<&str>) -> Result<(), SqlError> {
        self.meter.add(key.len() + size_of::<i32>())?;
        self.keys.append_value(key);
        self.push(value)
    }

    fn len(&self) -> Result<i32, SqlError> {
        use arrow::array::ArrayBuilder;
        i32::try_from(self.values.len())
            .map_err(|_| SqlError::new(state::PROGRAM_LIMIT_EXCEEDED, "too many rows of a function"))
    }

    fn finish(mut self, item: &FieldRef) -> ArrayRef {
        let values: StringArray = self.values.finish();
        match item.data_type() {
            DataType::Struct(members) => {
                let columns: Vec<ArrayRef> = vec![Arc::new(self.keys.finish()), Arc::new(values)];
                Arc::new(StructArray::new(members.clone(), columns, None))
            }
            _ => Arc::new(values),
        }
    }
}
