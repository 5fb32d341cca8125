//! LISTEN, UNLISTEN and NOTIFY: messages between sessions, by channel.
//!
//! One rule: a transaction's messages go out when it commits, in order, or not at all; a session gets messages between
//! transactions only. Nothing is kept: a session that is not connected does not get a message.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::outcome::Outcome;
use super::{Session, TransactionStatus};
use crate::error::{SqlError, state};

/// Messages that wait for one client. A client that does not take them loses the newest.
const WAITING_MAX: usize = 4096;
/// Messages of one transaction.
const MESSAGES_MAX: usize = 1 << 16;
/// The last notifications among which equal ones are sent once.
const SAME_AMONG: usize = 64;
/// Bytes of a payload, as in PostgreSQL.
const PAYLOAD_BYTES_MAX: usize = 7999;
/// Bytes of a channel's name, as in PostgreSQL.
const CHANNEL_BYTES_MAX: usize = 63;

/// A message as the client gets it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notification {
    /// Number of the session that sent it.
    pub from: i32,
    pub channel: String,
    pub payload: String,
}

/// A LISTEN, UNLISTEN or NOTIFY of a transaction, which its commit carries out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ListenAction {
    Listen(String),
    /// `None` is every channel.
    Unlisten(Option<String>),
    Notify(Notification),
}

/// Messages that wait for one client.
#[derive(Default)]
pub struct Inbox {
    waiting: Mutex<VecDeque<Notification>>,
    arrived: tokio::sync::Notify,
}

impl Inbox {
    fn put(&self, notification: Notification) {
        let mut waiting = self.waiting.lock();
        if waiting.len() < WAITING_MAX {
            waiting.push_back(notification);
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// All that wait.
    pub fn take(&self) -> VecDeque<Notification> {
        std::mem::take(&mut self.waiting.lock())
    }

    /// Resolves when there is something to take.
    pub async fn arrived(&self) {
        while self.waiting.lock().is_empty() {
            self.arrived.notified().await;
        }
    }
}

/// The sessions that listen, by channel.
#[derive(Default)]
pub(super) struct Channels {
    by_name: Mutex<HashMap<String, Listeners>>,
}

/// Each with the number of its session.
type Listeners = Vec<(i32, Arc<Inbox>)>;

impl Channels {
    fn join(&self, channel: &str, session: i32, inbox: &Arc<Inbox>) {
        let mut by_name = self.by_name.lock();
        let listeners = by_name.entry(channel.to_string()).or_default();
        if listeners.iter().all(|(other, _)| *other != session) {
            listeners.push((session, Arc::clone(inbox)));
        }
    }

    fn leave(&self, channel: &str, session: i32) {
        let mut by_name = self.by_name.lock();
        if let Some(listeners) = by_name.get_mut(channel) {
            listeners.retain(|(other, _)| *other != session);
            if listeners.is_empty() {
                by_name.remove(channel);
            }
        }
    }

    pub fn leave_all(&self, session: i32) {
        self.by_name.lock().retain(|_, listeners| {
            listeners.retain(|(other, _)| *other != session);
            !listeners.is_empty()
        });
    }

    fn send(&self, notification: &Notification) {
        let by_name = self.by_name.lock();
        for (_, inbox) in by_name.get(&notification.channel).into_iter().flatten() {
            inbox.put(notification.clone());
        }
    }
}

impl Session {
    /// Notes an action of the transaction's commit.
    pub(super) fn post(&mut self, tag: &str, message: ListenAction) -> Result<Outcome, SqlError> {
        if self.messages.len() >= MESSAGES_MAX {
            return Err(SqlError::new(
                state::PROGRAM_LIMIT_EXCEEDED,
                "too many notifications in the NOTIFY queue",
            ));
        }
        // Its end carries it out.
        self.transaction();
        self.messages.push(message);
        Ok(Outcome::Command(tag.to_string()))
    }

    /// NOTIFY and `pg_notify()`. A message that the transaction has just sent is not sent again.
    pub(super) fn notify(&mut self, channel: &str, payload: &str) -> Result<(), SqlError> {
        let invalid = |message| Err(SqlError::new(state::INVALID_PARAMETER_VALUE, message));
        if channel.is_empty() {
            return invalid("channel name cannot be empty");
        }
        if channel.len() > CHANNEL_BYTES_MAX {
            return invalid("channel name too long");
        }
        if payload.len() > PAYLOAD_BYTES_MAX {
            return invalid("payload string too long");
        }
        let message = ListenAction::Notify(Notification {
            from: self.id(),
            channel: channel.to_string(),
            payload: payload.to_string(),
        });
        if !self.messages.iter().rev().take(SAME_AMONG).any(|said| *said == message) {
            self.post("NOTIFY", message)?;
        }
        Ok(())
    }

    /// The transaction has ended: its messages go out if it was committed.
    pub(super) fn end_messages(&mut self, committed: bool) {
        let messages = std::mem::take(&mut self.messages);
        if !committed {
            return;
        }
        let channels = &self.engine.channels;
        for message in messages {
            match message {
                ListenAction::Listen(channel) => channels.join(&channel, self.registration.id(), &self.inbox),
                ListenAction::Unlisten(Some(channel)) => channels.leave(&channel, self.registration.id()),
                ListenAction::Unlisten(None) => channels.leave_all(self.registration.id()),
                ListenAction::Notify(notification) => channels.send(&notification),
            }
        }
    }

    /// The transaction's notifications are not sent.
    pub(super) fn take_back_notifications(&mut self) {
        self.messages
            .retain(|message| !matches!(message, ListenAction::Notify(_)));
    }

    /// The inbox of notifications.
    pub fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox)
    }

    /// Notifications that the client may be told of now.
    pub fn take_notifications(&mut self) -> VecDeque<Notification> {
        match self.status() {
            TransactionStatus::Idle => self.inbox.take(),
            TransactionStatus::InTransaction | TransactionStatus::Failed => VecDeque::new(),
        }
    }
}
