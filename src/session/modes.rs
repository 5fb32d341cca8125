//! The modes of a transaction: its isolation level, READ ONLY, and their text in SHOW.
//!
//! One rule: SHOW tells the level that was asked for. Every level runs as snapshot isolation, which satisfies the
//! levels below SERIALIZABLE. At that level a transaction that writes also remembers the topics that it has read, and the log
//! refuses its commit (40001) if one of them has changed since: all that it read then holds at its commit's place.

use std::sync::Arc;

use super::{Outcome, Session, TransactionStatus};
use crate::error::{SqlError, state};
use crate::sql::statement::{IsolationLevel, TransactionModes};

impl Session {
    /// The modes of the transaction from here on, and their values in SHOW.
    pub(super) fn take_modes(&mut self, modes: &TransactionModes) {
        if let Some(read_only) = modes.read_only {
            self.transaction().read_only = read_only;
        }
        for (name, value) in modes_as_settings(modes) {
            Arc::make_mut(&mut self.settings).set_mode(name, Some(value));
        }
    }

    /// The modes of the block that ends, for the one that it is chained to.
    pub(super) fn modes(&self) -> TransactionModes {
        let mut modes = TransactionModes::default();
        for name in MODES.into_iter().filter(|name| self.settings.is_set(name)) {
            let value = self.settings.get(name).unwrap_or_default();
            add_mode(&mut modes, name, &value);
        }
        modes
    }

    pub(super) fn set_transaction(&mut self, modes: &TransactionModes) -> Result<Outcome, SqlError> {
        if self.status() == TransactionStatus::Idle {
            self.warn(
                state::NO_ACTIVE_SQL_TRANSACTION,
                "SET TRANSACTION can only be used in transaction blocks",
            );
            return Ok(Outcome::Command("SET".to_string()));
        }
        let transaction = self.transaction();
        let (read_only, begun) = (
            transaction.read_only,
            transaction.read_lsn.is_some() || transaction.wrote(),
        );
        let isolation = self.settings.get("transaction_isolation")?;
        let too_late = |message| Err(SqlError::new(state::ACTIVE_SQL_TRANSACTION, message));
        if begun && modes.isolation.as_ref().is_some_and(|level| level.name() != isolation) {
            return too_late("SET TRANSACTION ISOLATION LEVEL must be called before any query");
        }
        if begun && read_only && modes.read_only == Some(false) {
            return too_late("transaction read-write mode must be set before any query");
        }
        self.take_modes(modes);
        Ok(Outcome::Command("SET".to_string()))
    }

    /// `SET transaction_isolation = ...` is SET TRANSACTION; outside a block the transaction that it is of ends with it.
    pub(super) fn set_mode(&mut self, name: &str, value: Option<&str>) -> Result<Outcome, SqlError> {
        let default = self.settings.get(&format!("default_{name}"))?;
        let value = match (name, value) {
            (_, None) => default,
            (_, Some(value)) => {
                let mut checked = (*self.settings).clone();
                checked.set(name, value)?;
                checked.get(name)?
            }
        };
        let mut modes = TransactionModes::default();
        add_mode(&mut modes, name, &value);
        match self.status() {
            TransactionStatus::Idle => Ok(Outcome::Command("SET".to_string())),
            TransactionStatus::InTransaction | TransactionStatus::Failed => self.set_transaction(&modes),
        }
    }
}

/// The settings that are of one transaction.
pub(super) const MODES: [&str; 3] = [
    "transaction_isolation",
    "transaction_read_only",
    "transaction_deferrable",
];

pub(super) fn modes_as_settings(modes: &TransactionModes) -> Vec<(&'static str, &'static str)> {
    let flag = |value| if value { "on" } else { "off" };
    let values = [
        modes.isolation.as_ref().map(IsolationLevel::name),
        modes.read_only.map(flag),
        modes.deferrable.map(flag),
    ];
    let given = MODES.into_iter().zip(values);
    given.filter_map(|(name, value)| Some((name, value?))).collect()
}

/// `value` is as SHOW has it.
fn add_mode(modes: &mut TransactionModes, name: &str, value: &str) {
    match name {
        "transaction_isolation" => {
            modes.isolation = Some(match value {
                "serializable" => IsolationLevel::Serializable,
                "repeatable read" => IsolationLevel::RepeatableRead,
                "read uncommitted" => IsolationLevel::ReadUncommitted,
                _ => IsolationLevel::ReadCommitted,
            });
        }
        "transaction_read_only" => modes.read_only = Some(value == "on"),
        _ => modes.deferrable = Some(value == "on"),
    }
}
