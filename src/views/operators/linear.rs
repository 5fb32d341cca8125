//! The linear operators: filter, project, rename, unnest. Each works on one delta alone and keeps nothing.
//!
//! One rule: f(a + b) = f(a) + f(b), so the output's weights are the input's.

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::datatypes::SchemaRef;

use crate::error::SqlError;
use crate::sql::functions::growth::{BatchSlices, is_too_large};

use super::unnest::Unnest;
use crate::views::delta::Delta;
use crate::views::expression::Expression;

/// A stateless step of a dataflow.
#[derive(Clone, Debug)]
pub enum Linear {
    Filter {
        /// Each is asked of the rows that those before it leave: it may fail for others.
        conditions: Vec<Expression>,
        /// The predicate as EXPLAIN shows it.
        text: String,
    },
    Project {
        expressions: Vec<Expression>,
        schema: SchemaRef,
        text: String,
    },
    /// Picks columns by position, under the names of `schema`.
    Pick {
        columns: Vec<usize>,
        schema: SchemaRef,
    },
    Unnest(Unnest),
}

impl Linear {
    /// For [`Linear::part`]: nothing of the delta has been done yet.
    pub fn parts(&self, delta: &Delta) -> BatchSlices {
        let step = match self {
            Linear::Unnest(unnest) => unnest.part_rows(delta),
            _ => usize::MAX,
        };
        BatchSlices::new(delta.rows(), step)
    }

    /// The next part of the output: most often all of it, else so few rows that their values are not too large together.
    /// `None` behind the last part.
    pub fn part(&self, delta: &Delta, parts: &mut BatchSlices) -> Option<Result<Option<Delta>, SqlError>> {
        parts.next(|start, rows| self.apply(delta.slice(start, rows)), is_too_large)
    }

    /// The output delta, or `None` if no row is left.
    pub fn apply(&self, mut delta: Delta) -> Result<Option<Delta>, SqlError> {
        if delta.is_empty() {
            return Ok(None);
        }
        match self {
            Linear::Filter { conditions, .. } => {
                for condition in conditions {
                    let keep = condition.evaluate_bool(&delta.batch)?;
                    match trues(&keep) {
                        0 => return Ok(None),
                        all if all == delta.rows() => {}
                        _ => delta = delta.filter(&keep)?,
                    }
                }
                Ok(Some(delta))
            }
            Linear::Project {
                expressions, schema, ..
            } => {
                let columns: Result<Vec<ArrayRef>, SqlError> = expressions
                    .iter()
                    .map(|expression| expression.evaluate(&delta.batch))
                    .collect();
                Ok(Some(delta.with_columns(schema.clone(), columns?)?))
            }
            Linear::Unnest(unnest) => unnest.apply(&delta),
            Linear::Pick { columns, schema } => {
                let columns = columns
                    .iter()
                    .map(|column| delta.batch.column(*column).clone())
                    .collect();
                Ok(Some(delta.with_columns(schema.clone(), columns)?))
            }
        }
    }

    /// One line for EXPLAIN.
    pub fn describe(&self) -> String {
        match self {
            Linear::Filter { text, .. } => format!("Filter: {text}"),
            Linear::Project { text, .. } => format!("Project: {text}"),
            Linear::Unnest(unnest) => format!("Unnest: {}", unnest.text),
            Linear::Pick { schema, .. } => {
                let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                format!("Columns: {}", names.join(", "))
            }
        }
    }
}

/// The number of values that are true and not null.
fn trues(bools: &BooleanArray) -> usize {
    match bools.nulls() {
        None => bools.values().count_set_bits(),
        Some(nulls) => (bools.values() & nulls.inner()).count_set_bits(),
    }
}
