//! Encoding of the session's answers as backend messages.

use bytes::BytesMut;
use pgwire::messages::Message;
use pgwire::messages::data::{FieldDescription, RowDescription};
use pgwire::messages::response::{
    CommandComplete, ErrorResponse, NoticeResponse, NotificationResponse, ReadyForQuery, TransactionStatus as Status,
};
use pgwire::messages::startup::ParameterStatus;

use crate::error::{Notice, Severity, SqlError};
use crate::session::{Notification, TransactionStatus};
use crate::sql::field::OutField;

/// Appends a message. The library refuses only messages above its size limits, which none of these reaches.
pub(super) fn put(out: &mut BytesMut, message: &impl Message) {
    let start = out.len();
    if let Err(error) = message.encode(out) {
        out.truncate(start);
        tracing::error!(%error, "a message was too large to send");
    }
}

/// Takes back a message that was begun and is not whole: work broke off while it was written.
pub(super) fn cut(out: &mut BytesMut) {
    let mut whole = 0;
    while let Some(head) = out[whole..].first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        // The length of a row is written last; until then it is 0.
        if length < 4 || length >= out.len() - whole {
            break;
        }
        whole += 1 + length;
    }
    out.truncate(whole);
}

fn report(severity: &str, error: &SqlError) -> Vec<(u8, String)> {
    let mut fields = vec![
        (b'S', severity.to_string()),
        (b'V', severity.to_string()),
        (b'C', error.state.0.to_string()),
        (b'M', error.message.clone()),
    ];
    let position = error.position.map(|position| position.to_string());
    for (code, value) in [
        (b'D', &error.detail),
        (b'H', &error.hint),
        (b'P', &position),
        (b'W', &error.context),
        (b'R', &error.routine.map(str::to_string)),
    ] {
        if let Some(value) = value {
            fields.push((code, value.clone()));
        }
    }
    // A NUL would end the field in the middle.
    for (_, value) in fields.iter_mut().filter(|(_, value)| value.contains('\0')) {
        *value = value.replace('\0', "\\0");
    }
    fields
}

pub(super) fn error(out: &mut BytesMut, error: &SqlError) {
    put(out, &ErrorResponse::new(report("ERROR", error)));
}

/// An error after which the connection ends.
pub(super) fn fatal(out: &mut BytesMut, error: &SqlError) {
    put(out, &ErrorResponse::new(report("FATAL", error)));
}

pub(super) fn notice(out: &mut BytesMut, notice: &Notice) {
    let severity = match notice.severity {
        Severity::Notice => "NOTICE",
        Severity::Warning => "WARNING",
        Severity::Info => "INFO",
    };
    put(out, &NoticeResponse::new(report(severity, &notice.report)));
}

pub(super) fn parameter(out: &mut BytesMut, name: String, value: String) {
    put(out, &ParameterStatus::new(name, value));
}

pub(super) fn notification(out: &mut BytesMut, notification: Notification) {
    let Notification { from, channel, payload } = notification;
    put(out, &NotificationResponse::new(from, channel, payload));
}

pub(super) fn complete(out: &mut BytesMut, tag: String) {
    put(out, &CommandComplete::new(tag));
}

pub(super) fn ready(out: &mut BytesMut, status: TransactionStatus) {
    put(
        out,
        &ReadyForQuery::new(match status {
            TransactionStatus::Idle => Status::Idle,
            TransactionStatus::InTransaction => Status::Transaction,
            TransactionStatus::Failed => Status::Error,
        }),
    );
}

/// `formats`: one per field, 0 text, 1 binary.
pub(super) fn row_description(out: &mut BytesMut, fields: &[OutField], formats: &[i16]) {
    let fields = fields.iter().zip(formats).map(|(field, format)| {
        FieldDescription::new(
            field.name.clone(),
            i32::from_ne_bytes(field.table_oid.to_ne_bytes()),
            i16::try_from(field.column).unwrap_or(0),
            field.pg_type.oid(),
            field.pg_type.typlen(),
            field.typmod.unwrap_or_else(|| field.pg_type.typmod()),
            *format,
        )
    });
    put(out, &RowDescription::new(fields.collect()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_does_not_end_a_field_of_an_error() {
        let mut out = BytesMut::new();
        let told = SqlError::new(crate::error::state::INVALID_TEXT_REPRESENTATION, "not \"1\0\"").hint("Leave \0 out.");
        error(&mut out, &told);
        let fields = out[5..].split(|byte| *byte == 0).filter(|field| !field.is_empty());
        let codes: Vec<u8> = fields.map(|field| field[0]).collect();
        assert_eq!(codes, b"SVCMH");
    }

    #[test]
    fn a_message_that_was_begun_is_taken_back() {
        let mut whole = BytesMut::new();
        complete(&mut whole, "INSERT 0 1".to_string());
        ready(&mut whole, TransactionStatus::Idle);
        for begun in [&b""[..], b"D", b"D\0\0\0", b"D\0\0\0\0\0\x01", b"D\0\0\0\x0a\0\x01"] {
            let mut out = whole.clone();
            out.extend_from_slice(begun);
            cut(&mut out);
            assert_eq!(out, whole, "{begun:?}");
        }
    }
}
