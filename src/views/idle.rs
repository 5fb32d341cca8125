//! Quiet input: the watermark of an idle topic goes on, so that its last windows close.
//!
//! One rule: an advance is a commit like any other, so a replay closes the same windows at the same LSN. It is made only for a
//! topic that was a live stream until it fell silent, and only if it closes a window of some view.

use std::sync::Arc;

use crate::catalog::{Catalog, Snapshot};
use crate::log::{Acknowledge, Commit, Log, TopicId};
use crate::storage::SharedClock;

use super::Views;
use super::scan::LeafSource;

/// The newest event must have come within this of its append time: a history load is no live stream.
const LIVE_WITHIN_US: i64 = 60_000_000;
/// Between two looks, at least: an advance is no more exact than that.
const LOOK_EVERY_MIN_US: i64 = 100_000;

/// The log's state of a topic that has an idle timeout.
#[derive(Clone, Copy, Debug)]
pub struct Quiet {
    pub topic: TopicId,
    pub idle_timeout_us: i64,
    /// The watermark's declared delay.
    pub delay_us: i64,
    pub watermark_us: Option<i64>,
    /// Newest event time, and when it was appended.
    pub newest_event_us: Option<(i64, i64)>,
    /// When rows were last appended.
    pub newest_append_us: Option<i64>,
    /// Least watermark at which a window of some view closes.
    pub next_close_us: Option<i64>,
}

/// The next step for a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Commit this watermark.
    Advance(i64),
    /// Look again after these microseconds, or when something is published.
    WaitUs(i64),
    /// Nothing until something is published.
    Leave,
}

/// `started_us`: the start of this server; a topic whose newest rows came before then fell silent at that moment, for
/// downtime is no idle time.
pub fn judge(quiet: &Quiet, now_us: i64, started_us: i64) -> Verdict {
    let (Some(close), Some((event, appended)), Some(last)) =
        (quiet.next_close_us, quiet.newest_event_us, quiet.newest_append_us)
    else {
        return Verdict::Leave;
    };
    if (appended - event).abs() > LIVE_WITHIN_US {
        return Verdict::Leave;
    }
    let silent_at = last.max(started_us).saturating_add(quiet.idle_timeout_us);
    let closes_at = close.saturating_add(quiet.delay_us);
    if now_us < silent_at.max(closes_at) {
        return Verdict::WaitUs(silent_at.max(closes_at) - now_us);
    }
    let advance = now_us - quiet.delay_us;
    if quiet.watermark_us.is_some_and(|watermark| watermark >= advance) {
        return Verdict::Leave;
    }
    Verdict::Advance(advance)
}

/// Looks after idle topics until `stop` says true, or its sender is gone.
pub async fn run(
    log: Arc<Log>,
    views: Arc<Views>,
    catalog: Arc<Catalog>,
    clock: SharedClock,
    mut stop: tokio::sync::watch::Receiver<bool>,
) {
    let started_us = clock.now_us();
    let mut newest = log.subscribe();
    loop {
        newest.borrow_and_update();
        let mut wait_us = i64::MAX;
        let mut commit = Commit::default();
        for quiet in views.quiet_topics(&log, &catalog.current()) {
            match judge(&quiet, clock.now_us(), started_us) {
                Verdict::Advance(to) => commit.advances.push((quiet.topic, to)),
                Verdict::WaitUs(us) => wait_us = wait_us.min(us),
                Verdict::Leave => {}
            }
        }
        if !commit.advances.is_empty()
            && let Err(error) = log.commit(commit, Acknowledge::Synced).await
        {
            // The topic was dropped meanwhile, or the log has failed and the server ends anyway.
            tracing::debug!(%error, "an idle topic's watermark was not advanced");
        }
        let look_again = std::time::Duration::from_micros(wait_us.max(LOOK_EVERY_MIN_US) as u64);
        let floor = std::time::Duration::from_micros(LOOK_EVERY_MIN_US as u64);
        tokio::select! {
            stopped = stop.wait_for(|stop| *stop) => {
                drop(stopped);
                return;
            }
            // Not at every commit of a busy log: an idle topic is not looked after more often than that.
            () = async {
                tokio::time::sleep(floor).await;
                let changed = tokio::time::timeout(look_again, newest.changed()).await;
                if matches!(changed, Ok(Err(_))) {
                    std::future::pending::<()>().await;
                }
            } => {}
        }
    }
}

impl Views {
    /// Topics with an idle timeout that have windows to close in some view.
    pub fn quiet_topics(&self, log: &Log, catalog: &Snapshot) -> Vec<Quiet> {
        let mut found: Vec<Quiet> = Vec::new();
        let registered = self.registered.lock();
        for (oid, view) in registered.iter() {
            let Some(next_closes) = view.published(*oid, |view| view.next_closes.clone()) else {
                continue;
            };
            for (_, scan) in view.dataflow.scans() {
                let LeafSource::Topic {
                    reader,
                    delay_us,
                    event_time: Some(_),
                    ..
                } = &scan.source
                else {
                    continue;
                };
                let id = &reader.topic;
                let topic = catalog.topic(id.0);
                let Some(idle_timeout_us) = topic.and_then(|topic| topic.idle_timeout_us) else {
                    continue;
                };
                let closes = next_closes.iter().filter(|(topic, _)| topic == id).map(|(_, at)| *at);
                let next_close_us = closes.min();
                match found.iter_mut().find(|quiet| quiet.topic == *id) {
                    Some(quiet) => {
                        let both = quiet.next_close_us.into_iter().chain(next_close_us);
                        quiet.next_close_us = both.min();
                    }
                    None => {
                        let Some(stats) = log.topic_stats(*id) else { continue };
                        found.push(Quiet {
                            topic: *id,
                            idle_timeout_us,
                            delay_us: *delay_us,
                            watermark_us: stats.watermark,
                            newest_event_us: stats.newest_event_us.zip(stats.newest_event_append_us),
                            newest_append_us: stats.newest_append_us,
                            next_close_us,
                        });
                    }
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn quiet() -> Quiet {
        Quiet {
            topic: TopicId(1),
            idle_timeout_us: 10 * SECOND,
            delay_us: 4 * SECOND,
            watermark_us: Some(996 * SECOND),
            newest_event_us: Some((1000 * SECOND, 1001 * SECOND)),
            newest_append_us: Some(1001 * SECOND),
            next_close_us: Some(1010 * SECOND),
        }
    }

    #[test]
    fn a_silent_live_stream_advances_to_now_minus_the_delay() {
        let verdict = judge(&quiet(), 1020 * SECOND, 0);
        assert_eq!(verdict, Verdict::Advance(1016 * SECOND));
    }

    #[test]
    fn not_before_it_closes_a_window() {
        // Silent since 1011, but the window closes at watermark 1010, which is now - 4 s from 1014 on.
        assert_eq!(judge(&quiet(), 1012 * SECOND, 0), Verdict::WaitUs(2 * SECOND));
        let none = Quiet {
            next_close_us: None,
            ..quiet()
        };
        assert_eq!(judge(&none, 1020 * SECOND, 0), Verdict::Leave);
    }

    #[test]
    fn a_history_load_stays_as_it_is() {
        let old = Quiet {
            newest_event_us: Some((100 * SECOND, 1001 * SECOND)),
            ..quiet()
        };
        assert_eq!(judge(&old, 5000 * SECOND, 0), Verdict::Leave);
    }

    #[test]
    fn downtime_is_not_idle_time() {
        let verdict = judge(&quiet(), 2000 * SECOND, 1999 * SECOND);
        assert_eq!(verdict, Verdict::WaitUs(9 * SECOND));
    }

    #[test]
    fn a_watermark_never_goes_back() {
        let ahead = Quiet {
            watermark_us: Some(1017 * SECOND),
            next_close_us: Some(1016 * SECOND),
            ..quiet()
        };
        assert_eq!(judge(&ahead, 1020 * SECOND, 0), Verdict::Leave);
    }
}
