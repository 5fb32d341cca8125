//! `JOIN b FOR SYSTEM_TIME AS OF PROCTIME()`: only the left side drives, a later right row changes no earlier answer.
//!
//! One rule: a left row meets the right rows of its own commit and of those before it, so that the answer is a function of the log.

use datafusion::common::JoinType;
use datafusion::logical_expr::{Expr, Operator};
use sqlparser::ast::TableFactor;

use super::operators::binary;
use super::scope::{FromItem, ScopeColumn};
use super::{Analyzer, Result};
use crate::error::SqlError;
use crate::log::HiddenColumn;
use crate::sql::statement::mark;

const HINT: &str =
    "Join a topic with a topic. A view knows of no commit of its rows: a plain join meets those that are there now.";

/// The right side of such a join, as it is without that.
pub fn looked_up(relation: &TableFactor) -> Option<TableFactor> {
    let TableFactor::Table { name, .. } = relation else {
        return None;
    };
    let first = name.0.first()?.as_ident()?;
    if first.value != mark::AS_OF_COMMIT {
        return None;
    }
    let mut plain = relation.clone();
    if let TableFactor::Table { name, .. } = &mut plain {
        name.0.remove(0);
    }
    Some(plain)
}

/// The LSN of an item's rows.
fn lsn_of(item: &FromItem) -> Result<&ScopeColumn> {
    let named = |column: &&ScopeColumn| column.hidden && column.name == HiddenColumn::Lsn.name();
    item.columns.iter().find(named).ok_or_else(|| {
        let name = item.name.as_deref().unwrap_or("?");
        SqlError::unsupported(
            format!(
                "FOR SYSTEM_TIME AS OF PROCTIME() needs the commits of the rows of \"{name}\", which is not a topic"
            ),
            HINT,
        )
    })
}

impl Analyzer<'_> {
    /// The condition that the right row was there when the left row came. In a transaction its own rows, which have no LSN yet,
    /// come last.
    pub fn as_of_commit(&self, left: &[FromItem], right: &[FromItem], join_type: JoinType) -> Result<Expr> {
        if !matches!(join_type, JoinType::Inner | JoinType::Left) {
            return Err(SqlError::unsupported(
                "FOR SYSTEM_TIME AS OF PROCTIME() stands on the right side of an inner or a left join",
                "Put the side that drives on the left.",
            ));
        }
        let mut conditions: Vec<Expr> = Vec::new();
        for right in right {
            let looked_up = lsn_of(right)?;
            // A row of several relations came when the last of them did.
            for item in left.iter().filter(|item| item.name.is_some()) {
                let own = lsn_of(item)?;
                conditions.push(binary(looked_up.expr.clone(), Operator::LtEq, own.expr.clone()));
                if !item.may_be_absent {
                    conditions.push(Expr::IsNull(Box::new(own.expr.clone())));
                }
            }
        }
        let any = conditions
            .into_iter()
            .reduce(|one, other| binary(one, Operator::Or, other));
        any.ok_or_else(|| SqlError::unsupported("FOR SYSTEM_TIME AS OF PROCTIME() needs a left side of topics", HINT))
    }
}
