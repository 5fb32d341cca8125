//! The shapes of arrays: the number of elements of each dimension, and its first subscript.
//!
//! One rule: the limits are PostgreSQL's. Not here: the elements (`shaped.rs`).

use crate::error::{SqlError, SqlState, state};

/// Dimensions that an array may have.
pub const DIMENSIONS_MAX: usize = 6;
/// Elements that an array may have.
pub const ITEMS_MAX: i64 = 134_217_727;
const ARRAY_SUBSCRIPT: SqlState = SqlState("2202E");

/// One dimension of an array.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Dimension {
    pub lower: i32,
    pub length: i32,
}

impl Dimension {
    /// The last subscript.
    pub fn upper(self) -> i32 {
        self.lower.wrapping_add(self.length - 1)
    }

    /// The distance of a subscript from the first one, if it is one of the dimension.
    pub fn place(self, subscript: i32) -> Option<usize> {
        let place = i64::from(subscript) - i64::from(self.lower);
        (0..i64::from(self.length)).contains(&place).then_some(place as usize)
    }
}

/// The dimensions of an array, the outermost first; none of an array without elements.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct ArrayShape(pub Vec<Dimension>);

impl ArrayShape {
    /// One dimension from 1.
    pub fn plain(length: usize) -> ArrayShape {
        match length {
            0 => ArrayShape::default(),
            length => ArrayShape(vec![Dimension {
                lower: 1,
                length: length as i32,
            }]),
        }
    }

    /// One dimension from 0.
    pub fn vector(length: usize) -> ArrayShape {
        let mut shape = ArrayShape::plain(length);
        shape.0.iter_mut().for_each(|dimension| dimension.lower = 0);
        shape
    }

    pub fn is_plain(&self) -> bool {
        match self.0.as_slice() {
            [] => true,
            [only] => only.lower == 1,
            _ => false,
        }
    }

    /// Elements of an array of this shape. 54000 for too many, or bounds that no integer has.
    pub fn count(&self) -> Result<usize, SqlError> {
        let too_many = |message: String| Err(SqlError::new(state::PROGRAM_LIMIT_EXCEEDED, message));
        if self.0.is_empty() {
            return Ok(0);
        }
        let mut count = 1_i64;
        for dimension in &self.0 {
            count *= i64::from(dimension.length);
            if dimension.length < 0 || count > ITEMS_MAX {
                return too_many(format!("array size exceeds the maximum allowed ({ITEMS_MAX})"));
            }
        }
        for dimension in &self.0 {
            if dimension.lower.checked_add(dimension.length).is_none() {
                return too_many(format!("array lower bound is too large: {}", dimension.lower));
            }
        }
        Ok(count as usize)
    }

    /// `[0:1][1:2]`, as `array_dims` shows it.
    pub fn text(&self) -> String {
        let shown = self.0.iter();
        shown
            .map(|dimension| format!("[{}:{}]", dimension.lower, dimension.upper()))
            .collect()
    }

    /// Elements that one step of each dimension passes.
    pub fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.0.len()];
        for at in (1..self.0.len()).rev() {
            strides[at - 1] = strides[at] * self.0[at].length as usize;
        }
        strides
    }
}

/// 54000
pub fn too_many_dimensions(dimensions: usize) -> SqlError {
    SqlError::new(
        state::PROGRAM_LIMIT_EXCEEDED,
        format!("number of array dimensions ({dimensions}) exceeds the maximum allowed ({DIMENSIONS_MAX})"),
    )
}

/// 2202E
pub fn subscript_error(message: &str) -> SqlError {
    SqlError::new(ARRAY_SUBSCRIPT, message)
}
