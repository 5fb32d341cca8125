//! Each phrase of the engine's, provoked; and errors of ours on their way through the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;

use super::phrases::PHRASES;
use super::*;
use crate::server::open_empty_engine;
use crate::session::{Outcome, Parameters, Session};

/// The rows of the table that have been read, one bit each.
static READ: AtomicU64 = AtomicU64::new(0);

/// Notes that an error was read by a row.
pub fn note(row: usize) {
    READ.fetch_or(1 << row, Ordering::Relaxed);
}

async fn run(session: &mut Session, text: &str) -> Result<(), SqlError> {
    for statement in session.parse(text).await? {
        let outcome = session.execute(&statement, &Parameters::default()).await?;
        if let Outcome::Rows { mut batches, .. } = outcome {
            while let Some(batch) = batches.next().await {
                batch?;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_phrase_is_provoked() {
    let engine = open_empty_engine().await;
    let (user, database) = ("me".to_string(), "millstream".to_string());
    let mut session = Session::new(engine, user, database, Default::default()).expect("a user and the database");
    let mut wrong = Vec::new();
    for (row, phrase) in PHRASES.iter().enumerate() {
        let (last, before) = phrase.provoked_by.split_last().expect("a statement");
        for statement in before {
            run(&mut session, statement).await.expect("it prepares the last one");
        }
        READ.fetch_and(!(1 << row), Ordering::Relaxed);
        let met = run(&mut session, last).await.err();
        let met = met.map(|error| (error.state.0, error.message.clone()));
        let is_read = READ.load(Ordering::Relaxed) & 1 << row != 0;
        match &met {
            Some((state, message)) if is_read && *state == phrase.state.0 && message == phrase.message => {}
            _ => wrong.push(format!("{last}: {met:?}, read by its row: {is_read}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_error_of_ours_comes_through_the_engine_unchanged() {
    let ours = SqlError::new(state::INVALID_PARAMETER_VALUE, "no").hint("Do.");
    let wrapped = external(ours.clone()).context("somewhere");
    assert_eq!(SqlError::from(wrapped), ours);
    let shared = DataFusionError::Shared(Arc::new(external(ours.clone())));
    assert_eq!(SqlError::from(shared), ours);
}

#[test]
fn errors_of_kernels_are_known_by_their_kind() {
    let read = |error: ArrowError| {
        let error = SqlError::from(error);
        (error.state.0, error.message.clone())
    };
    assert_eq!(
        read(ArrowError::DivideByZero),
        ("22012", "division by zero".to_string())
    );
    assert_eq!(read(ArrowError::OffsetOverflowError(1)).0, "54000");
    assert_eq!(read(ArrowError::ArithmeticOverflow("1 + 1".to_string())).0, "22003");
}
