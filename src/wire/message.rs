//! From the session's words to backend messages.

use bytes::BytesMut;
use pgwire::messages::Message;
use pgwire::messages::data::{FieldDescription, RowDescription};
use pgwire::messages::response::{
    CommandComplete, ErrorResponse, NoticeResponse, ReadyForQuery, TransactionStatus as Status,
};
use pgwire::messages::startup::ParameterStatus;

use crate::error::{Notice, Severity, SqlError};
use crate::session::TransactionStatus;
use crate::sql::plan::OutField;

/// Appends a message. The library refuses only messages above its size limits, which none of these reaches.
pub(super) fn put(out: &mut BytesMut, message: &impl Message) {
    let start = out.len();
    if let Err(error) = message.encode(out) {
        out.truncate(start);
        tracing::error!(%error, "a message was too large to send");
    }
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
    ] {
        if let Some(value) = value {
            fields.push((code, value.clone()));
        }
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
            field.pg_type.typmod(),
            *format,
        )
    });
    put(out, &RowDescription::new(fields.collect()));
}
