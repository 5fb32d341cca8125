//! Cancel requests, and the running statement that each of them means.
//!
//! A request comes on a connection of its own, with the number and the key that the session got at its start. A
//! key is random bytes of the system's: 32 where the client's protocol version has room for them (3.2), else 4.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rand::TryRngCore;
use rand::rngs::OsRng;

use crate::error::{SqlError, state};
use crate::session::Cancel;

const KEY_BYTES: usize = 32;
const KEY_BYTES_BEFORE_3_2: usize = 4;

#[derive(Default)]
pub(super) struct Cancels {
    by_session: Mutex<HashMap<i32, (Bytes, Arc<Cancel>)>>,
}

/// A session's key; void when it is dropped.
pub(super) struct CancelKey {
    cancels: Arc<Cancels>,
    pub session: i32,
    pub bytes: Bytes,
}

impl Cancels {
    /// The key of a new session whose client speaks minor version `minor` of the protocol.
    pub fn register(self: &Arc<Self>, session: i32, cancel: Arc<Cancel>, minor: u16) -> Result<CancelKey, SqlError> {
        let mut key = [0; KEY_BYTES];
        let key = match minor {
            0 | 1 => &mut key[..KEY_BYTES_BEFORE_3_2],
            _ => &mut key[..],
        };
        OsRng.try_fill_bytes(key).map_err(|error| {
            let message = format!("the system gives no random bytes: {error}");
            SqlError::new(state::INSUFFICIENT_RESOURCES, message)
        })?;
        let bytes = Bytes::copy_from_slice(key);
        self.by_session.lock().insert(session, (bytes.clone(), cancel));
        Ok(CancelKey {
            cancels: self.clone(),
            session,
            bytes,
        })
    }

    /// The server stops: ends the statement of every session.
    pub fn stop_all(&self) {
        for (_, cancel) in self.by_session.lock().values() {
            cancel.stop();
        }
    }

    /// Cancels the session's statement; a wrong key does nothing, and says nothing either.
    pub fn cancel(&self, session: i32, key: &[u8]) {
        if let Some((known, cancel)) = self.by_session.lock().get(&session)
            && is_same(known, key)
        {
            cancel.request();
        }
    }
}

impl Drop for CancelKey {
    fn drop(&mut self) {
        self.cancels.by_session.lock().remove(&self.session);
    }
}

/// In a time that tells nothing of where they differ.
fn is_same(known: &[u8], given: &[u8]) -> bool {
    known.len() == given.len() && known.iter().zip(given).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_as_long_as_the_protocol_version_allows_and_differ() {
        let cancels = Arc::new(Cancels::default());
        let register = |session, minor| {
            let key = cancels.register(session, Arc::default(), minor);
            key.expect("the system has random bytes")
        };
        let keys = [register(1, 0), register(2, 1), register(3, 2), register(4, 2)];
        let lengths: Vec<usize> = keys.iter().map(|key| key.bytes.len()).collect();
        assert_eq!(lengths, [4, 4, 32, 32]);
        assert_ne!(keys[2].bytes, keys[3].bytes);
        drop(keys);
        assert!(cancels.by_session.lock().is_empty());
    }

    #[test]
    fn keys_are_compared_whole() {
        assert!(is_same(b"abcd", b"abcd"));
        for other in [&b"abce"[..], b"bbcd", b"abc", b"abcde", b""] {
            assert!(!is_same(b"abcd", other));
        }
    }
}
