//! The columns that PostgreSQL gives every table beside its own: `tableoid`, `ctid`, `xmin`, `xmax`, `cmin`, `cmax`.
//!
//! One rule: a row has the same ones for ever. A topic's are made of the places that the commit gave its rows: `ctid` of partition
//! and offset, `xmin` of the commit's LSN. Those of other relations are constants. Not here: where they may be named
//! (`analyze/from.rs`).

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, lit, when};

use crate::error::SqlError;
use crate::log::HiddenColumn;
use crate::types::{PgType, tid};

/// Bits of an offset in a `ctid`, below those of the partition: together the 48 that PostgreSQL's have.
const OFFSET_BITS: u32 = 38;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableColumn {
    TableOid,
    Ctid,
    Xmin,
    Xmax,
    Cmin,
    Cmax,
}

impl TableColumn {
    pub const ALL: [TableColumn; 6] = [
        TableColumn::TableOid,
        TableColumn::Ctid,
        TableColumn::Xmin,
        TableColumn::Xmax,
        TableColumn::Cmin,
        TableColumn::Cmax,
    ];

    pub fn name(self) -> &'static str {
        match self {
            TableColumn::TableOid => "tableoid",
            TableColumn::Ctid => "ctid",
            TableColumn::Xmin => "xmin",
            TableColumn::Xmax => "xmax",
            TableColumn::Cmin => "cmin",
            TableColumn::Cmax => "cmax",
        }
    }

    pub fn pg_type(self) -> PgType {
        match self {
            TableColumn::TableOid => PgType::Oid,
            TableColumn::Ctid => PgType::Tid,
            TableColumn::Xmin | TableColumn::Xmax => PgType::Xid,
            TableColumn::Cmin | TableColumn::Cmax => PgType::Cid,
        }
    }

    /// The hidden columns that it is made of.
    pub fn made_of(self) -> &'static [HiddenColumn] {
        match self {
            TableColumn::Ctid => &[HiddenColumn::Partition, HiddenColumn::Offset],
            TableColumn::Xmin => &[HiddenColumn::Lsn],
            _ => &[],
        }
    }

    /// Of a relation that is not a topic.
    pub fn constant(self, oid: u32) -> Expr {
        number(match self {
            TableColumn::TableOid => i64::from(oid),
            // As PostgreSQL marks rows that were there before all transactions.
            TableColumn::Xmin => 1,
            TableColumn::Ctid | TableColumn::Xmax | TableColumn::Cmin | TableColumn::Cmax => 0,
        })
    }

    /// Of a topic, over its hidden columns. Rows that are not committed have no place yet.
    pub fn of_topic(self, oid: u32, hidden: impl Fn(HiddenColumn) -> Expr) -> Result<Expr, SqlError> {
        Ok(match self {
            TableColumn::Ctid => {
                let wide = |expr: Expr| Expr::Cast(Cast::new(Box::new(expr), PgType::Tid.arrow()));
                let (partition, offset) = (hidden(HiddenColumn::Partition), hidden(HiddenColumn::Offset));
                let place = wide(partition) * lit(1i64 << OFFSET_BITS) + offset.clone() % lit(1i64 << OFFSET_BITS);
                when(offset.is_null(), number(tid::NOWHERE)).otherwise(place)?
            }
            TableColumn::Xmin => {
                let lsn = hidden(HiddenColumn::Lsn);
                when(lsn.clone().is_null(), number(0)).otherwise(lsn % lit(1i64 << 32))?
            }
            _ => self.constant(oid),
        })
    }
}

/// The `ctid` of a row's place.
pub fn ctid(partition: u32, offset: i64) -> i64 {
    i64::from(partition) << OFFSET_BITS | offset & ((1 << OFFSET_BITS) - 1)
}

/// The `xmin` of a commit's rows.
pub fn xmin(lsn: i64) -> i64 {
    lsn & i64::from(u32::MAX)
}

fn number(value: i64) -> Expr {
    Expr::Literal(ScalarValue::Int64(Some(value)), None)
}

/// Whether no column of a topic may have that name.
pub fn is_system_column(name: &str) -> bool {
    HiddenColumn::ALL.iter().any(|column| column.name() == name)
        || TableColumn::ALL.iter().any(|column| column.name() == name)
}
