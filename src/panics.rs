//! Panics, contained: the server records and counts each, and the statement that waits for the work gets an error (XX000).
//!
//! One rule: work that may panic runs in [`catch`] or [`caught`], and the caller discards the state of its unfinished
//! work (a transaction fails, a view is failed). A panic is a defect of the program, so the log has it as an error with
//! place and backtrace: a few a second, and a count of the others.

use std::any::Any;
use std::backtrace::Backtrace;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;

use crate::error::{SqlError, state};
use crate::log_limit::LogLimit;

/// Bytes of a panic's text that an error shows.
const TEXT_BYTES_MAX: usize = 1000;

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Panics of this process since [`install`], contained or not.
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Makes every panic of the process counted and logged. Calls after the first do nothing.
pub fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let former = std::panic::take_hook();
        let limit = LogLimit::default();
        std::panic::set_hook(Box::new(move |info| {
            COUNT.fetch_add(1, Ordering::Relaxed);
            if !tracing::dispatcher::has_been_set() {
                // Nothing is logged here, as in a unit test: the former hook prints.
                return former(info);
            }
            let Some(unlogged) = limit.admit() else {
                return;
            };
            log(info, unlogged);
        }));
    });
}

fn log(info: &PanicHookInfo<'_>, unlogged: u64) {
    let thread = std::thread::current();
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(
        thread = thread.name().unwrap_or("unnamed"),
        place,
        unlogged,
        "panic: {}\n{}",
        text(info.payload()),
        Backtrace::force_capture()
    );
}

/// Runs `work`; a panic in it is XX000. The caller discards what `work` may have left half done.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, SqlError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| error(&*payload))
}

/// [`catch`] for a future: a panic in any poll of it ends it with XX000.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, SqlError> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .map_err(|payload| error(&*payload))
}

/// The error that a client gets for a panic, by its payload (of `catch_unwind`, or of a task's `JoinError`).
pub fn error(payload: &(dyn Any + Send)) -> SqlError {
    SqlError::new(state::INTERNAL_ERROR, format!("internal error: {}", text(payload)))
        .hint("This is a defect of the server, whose log has the details.")
}

/// The message of the panic.
pub fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a text");
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_string();
    }
    format!("{}...", &text[..text.floor_char_boundary(TEXT_BYTES_MAX)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_text() {
        assert_eq!(catch(|| 1), Ok(1));
        let error = catch(|| -> i32 { panic!("row {} is odd", 3) }).expect_err("it panics");
        assert_eq!(error.state, state::INTERNAL_ERROR);
        assert_eq!(error.message, "internal error: row 3 is odd");
        let error = catch(|| std::panic::panic_any(7)).expect_err("it panics");
        assert_eq!(error.message, "internal error: a panic without a text");
    }

    #[tokio::test]
    async fn a_panic_of_a_later_poll_is_an_error() {
        let work = async {
            tokio::task::yield_now().await;
            panic!("after giving way");
        };
        let error: SqlError = caught::<()>(work).await.expect_err("it panics");
        assert_eq!(error.message, "internal error: after giving way");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let long = "ä".repeat(TEXT_BYTES_MAX);
        let error = catch(|| std::panic::panic_any(long)).expect_err("it panics");
        assert!(error.message.ends_with("ä...") && error.message.len() < TEXT_BYTES_MAX + 30);
    }

    #[test]
    fn every_panic_counts_once_it_is_installed() {
        install();
        let before = count();
        for _ in 0..3 {
            assert!(catch(|| panic!("counted")).is_err());
        }
        assert!(count() >= before + 3, "{} after {before}", count());
    }
}
