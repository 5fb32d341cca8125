//! Ranks of a row among others: `rank`, `dense_rank`, `percent_rank` and `cume_dist`, called with WITHIN GROUP.
//!
//! One rule: rows are counted as they come and only those before the row in question are kept, for `dense_rank`. The
//! arguments are the values that are ordered, then as many values of the row; NULLs have their place in the order. The
//! columns that the engine adds behind them, to order by, are ignored.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

use super::arrays::canonical;
use super::fail;
use crate::stop;

/// The aggregate of a name.
pub fn hypothetical(name: &str) -> Option<Arc<AggregateUDF>> {
    let (name, kind) = [
        ("rank", RankKind::Rank),
        ("dense_rank", RankKind::DenseRank),
        ("percent_rank", RankKind::PercentRank),
        ("cume_dist", RankKind::CumeDist),
    ]
    .into_iter()
    .find(|(known, _)| *known == name)?;
    Some(Arc::new(AggregateUDF::from(Hypothetical {
        name,
        kind,
        signature: Signature::user_defined(Volatility::Immutable),
    })))
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum RankKind {
    Rank,
    DenseRank,
    PercentRank,
    CumeDist,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Hypothetical {
    name: &'static str,
    kind: RankKind,
    signature: Signature,
}

impl AggregateUDFImpl for Hypothetical {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arguments.to_vec())
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(match self.kind {
            RankKind::Rank | RankKind::DenseRank => DataType::Int64,
            RankKind::PercentRank | RankKind::CumeDist => DataType::Float64,
        })
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name: &str, data_type| Arc::new(Field::new(format_state_name(args.name, name), data_type, true));
        Ok(vec![
            field("before", DataType::Int64),
            field("equal", DataType::Int64),
            field("rows", DataType::Int64),
            field("distinct", DataType::List(item())),
        ])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let columns = args.expr_fields.len() / 2;
        let options = |at: usize| {
            args.order_bys
                .get(at)
                .map_or(SortOptions::default(), |sort| sort.options)
        };
        let fields = args.expr_fields[..columns].iter().enumerate();
        let fields = fields.map(|(at, field)| SortField::new_with_options(key_type(field.data_type()), options(at)));
        Ok(Box::new(RankPlace {
            kind: self.kind,
            columns,
            rows: RowConverter::new(fields.collect())?,
            before: 0,
            equal: 0,
            total: 0,
            distinct: BTreeSet::new(),
            bytes: 0,
        }))
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }
}

fn item() -> FieldRef {
    Arc::new(Field::new("item", DataType::Binary, true))
}

/// The type of the key that a column is compared by.
fn key_type(data_type: &DataType) -> DataType {
    canonical(&arrow::array::new_empty_array(data_type)).data_type().clone()
}

/// The place of the row so far.
#[derive(Debug)]
struct RankPlace {
    kind: RankKind,
    columns: usize,
    rows: RowConverter,
    before: i64,
    equal: i64,
    total: i64,
    /// The rows before it, each once.
    distinct: BTreeSet<Box<[u8]>>,
    bytes: usize,
}

impl RankPlace {
    fn keep(&mut self, row: &[u8]) {
        if self.kind == RankKind::DenseRank && self.distinct.insert(row.into()) {
            self.bytes += row.len() + size_of::<Box<[u8]>>();
        }
    }
}

impl Accumulator for RankPlace {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        stop::check().map_err(fail)?;
        let keys: Vec<ArrayRef> = values.iter().map(canonical).collect();
        let ordered = self.rows.convert_columns(&keys[..self.columns])?;
        let asked = self.rows.convert_columns(&keys[self.columns..2 * self.columns])?;
        for (row, asked) in ordered.iter().zip(asked.iter()) {
            self.total += 1;
            match row.cmp(&asked) {
                std::cmp::Ordering::Less => {
                    self.before += 1;
                    self.keep(row.as_ref());
                }
                std::cmp::Ordering::Equal => self.equal += 1,
                std::cmp::Ordering::Greater => {}
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let sum = |at: usize| states[at].as_primitive::<Int64Type>().iter().flatten().sum::<i64>();
        self.before += sum(0);
        self.equal += sum(1);
        self.total += sum(2);
        let lists = states[3].as_list::<i32>();
        for list in lists.iter().flatten() {
            for row in list.as_binary::<i32>().iter().flatten() {
                self.keep(row);
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let kept = BinaryArray::from_iter_values(self.distinct.iter());
        let offsets = OffsetBuffer::from_lengths([kept.len()]);
        let list = ListArray::new(item(), offsets, Arc::new(kept), None);
        Ok(vec![
            ScalarValue::Int64(Some(self.before)),
            ScalarValue::Int64(Some(self.equal)),
            ScalarValue::Int64(Some(self.total)),
            ScalarValue::List(Arc::new(list)),
        ])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(match self.kind {
            RankKind::Rank => ScalarValue::Int64(Some(self.before + 1)),
            RankKind::DenseRank => ScalarValue::Int64(Some(self.distinct.len() as i64 + 1)),
            RankKind::PercentRank => ScalarValue::Float64(Some(match self.total {
                0 => 0.0,
                total => self.before as f64 / total as f64,
            })),
            RankKind::CumeDist => {
                let up_to = self.before + self.equal + 1;
                ScalarValue::Float64(Some(up_to as f64 / (self.total + 1) as f64))
            }
        })
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.rows.size() + self.bytes
    }
}
