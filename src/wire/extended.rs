//! The extended query protocol: Parse, Bind, Describe, Execute, Close; prepared statements and portals.
//!
//! The statements up to Sync are one implicit transaction, committed at Sync; answers are written then (or at Flush, or
//! when they have become many).

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::AsArray;
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{BindComplete, CloseComplete, ParseComplete, PortalSuspended};
use pgwire::messages::response::EmptyQueryResponse;
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::{AnswerFailure, Connection};
use super::frontend::{Bind, Formats, Frontend, Parse, Target, Values};
use super::message;
use super::portal::{Portal, PortalState};
use super::rows::RowEncoder;
use super::send::until;
use super::socket::{Ended, Peer};
use crate::error::{SqlError, state};
use crate::session::{CursorRows, Outcome, Parameters, Prepared, RowsTag, SqlCursor, TransactionStatus};
use crate::sql::parse::Parsed;
use crate::sql::plan::ObjectOids;
use crate::sql::statement::Statement;
use crate::stop;
use crate::types::{self, ColumnBuilder, InputStyle, PgType, TextStyle};

const SYNC: u8 = b'S';
/// Bytes of parameters that are decoded here: those of a larger Bind are where computing runs.
const PARAMETERS_BYTES: usize = 64 << 10;

impl<S: AsyncRead + AsyncWrite + Peer + Unpin + Send> Connection<S> {
    pub(super) async fn extended(&mut self, message: Frontend<'_>) -> Result<(), AnswerFailure> {
        if !self.in_pipeline {
            self.in_pipeline = true;
            self.session.begin_batch();
        }
        match message {
            Frontend::Parse(parse) => self.parse(parse).await,
            Frontend::Bind(bind) => self.bind(bind).await,
            Frontend::Describe(target) => self.describe(target),
            Frontend::Execute { portal, rows_max } => self.execute(portal, rows_max).await,
            Frontend::Close(target) => self.close(target),
            _ => Err(SqlError::new(state::PROTOCOL_VIOLATION, "unexpected message type").into()),
        }
    }

    async fn parse(&mut self, parse: Parse<'_>) -> Result<(), AnswerFailure> {
        let name = parse.name;
        if !name.is_empty() && self.session.statements.contains_key(name) {
            return Err(SqlError::new(
                state::DUPLICATE_PREPARED_STATEMENT,
                format!("prepared statement \"{name}\" already exists"),
            )
            .into());
        }
        let types: Vec<u32> = parse.types().collect();
        let preparing = self.session.prepare(parse.query, &types);
        let prepared = self.socket.while_connected(preparing).await??;
        self.session.statements.insert(name.to_string(), prepared);
        message::put(&mut self.socket.output, &ParseComplete::new());
        Ok(())
    }

    fn prepared(&self, name: &str) -> Result<&Prepared, SqlError> {
        self.session.statements.get(name).ok_or_else(|| {
            let message = match name {
                "" => "unnamed prepared statement does not exist".to_string(),
                name => format!("prepared statement \"{name}\" does not exist"),
            };
            SqlError::new(state::INVALID_SQL_STATEMENT_NAME, message)
        })
    }

    async fn bind(&mut self, bind: Bind<'_>) -> Result<(), AnswerFailure> {
        let name = bind.portal;
        if !name.is_empty() && self.portals.contains_key(name) {
            return Err(SqlError::new(state::DUPLICATE_CURSOR, format!("portal \"{name}\" already exists")).into());
        }
        let prepared = self.prepared(bind.statement)?.clone();
        let types = prepared.parameter_types.clone();
        let names = self.session.names_of(&types);
        let (values, formats) = (bind.parameters, bind.parameter_formats);
        let parameters = if values.bytes().len() <= PARAMETERS_BYTES {
            decode_parameters(&types, values, formats, self.session.text_style(), names.as_ref())?
        } else {
            let style = self.session.text_style().clone();
            let (count, values, formats) = (values.len(), values.bytes().to_vec(), formats.bytes().to_vec());
            self.session.begin_statement();
            let cancel = self.session.cancel_handle();
            let decoding = self.session.compute(move || {
                let (values, formats) = (Values::of(count, &values), Formats::of(&formats));
                decode_parameters(&types, values, formats, &style, names.as_ref())
            });
            self.socket.while_connected(until(&cancel, decoding)).await??
        };
        let columns = prepared.fields.as_ref().map_or(0, |fields| fields.len());
        let formats: Vec<i16> = bind.result_formats.iter().collect();
        if formats.len() > 1 && formats.len() != columns {
            return Err(SqlError::new(
                state::PROTOCOL_VIOLATION,
                format!(
                    "bind message has {} result formats but query has {columns} columns",
                    formats.len()
                ),
            )
            .into());
        }
        if let Some(unknown) = formats.iter().find(|format| !matches!(format, 0 | 1)) {
            return Err(SqlError::new(
                state::INVALID_PARAMETER_VALUE,
                format!("unsupported format code: {unknown}"),
            )
            .into());
        }
        self.session.note_portal(name, &prepared);
        self.portals.insert(
            name.to_string(),
            Portal {
                prepared,
                parameters,
                formats,
                state: PortalState::Bound,
            },
        );
        message::put(&mut self.socket.output, &BindComplete::new());
        Ok(())
    }

    fn describe(&mut self, target: Target<'_>) -> Result<(), AnswerFailure> {
        let name = match target {
            Target::Statement(name) => {
                let prepared = self.prepared(name)?.clone();
                let types = prepared.parameter_types.iter().map(PgType::oid).collect();
                message::put(&mut self.socket.output, &ParameterDescription::new(types));
                match &prepared.fields {
                    Some(fields) => {
                        let formats = vec![0; fields.len()];
                        message::row_description(&mut self.socket.output, fields, &formats);
                    }
                    None => message::put(&mut self.socket.output, &NoData::new()),
                }
                return Ok(());
            }
            Target::Portal(name) => name,
        };
        let Some(portal) = self.portals.get(name) else {
            // A cursor that SQL has declared is a portal whose rows are text.
            let fields = self.session.cursor_fields(name).map_err(|_| unknown_portal(name))?;
            message::row_description(&mut self.socket.output, &fields, &vec![0; fields.len()]);
            return Ok(());
        };
        match &portal.prepared.fields {
            Some(fields) => {
                let formats = all_formats(&portal.formats, fields.len());
                message::row_description(&mut self.socket.output, fields, &formats);
            }
            None => message::put(&mut self.socket.output, &NoData::new()),
        }
        Ok(())
    }

    async fn execute(&mut self, name: &str, rows_max: i32) -> Result<(), AnswerFailure> {
        // Taken out while it runs: the connection is needed whole.
        let Some((name, mut portal)) = self.portals.remove_entry(name) else {
            return self.execute_cursor(name, rows_max).await;
        };
        let result = self.execute_portal(&mut portal, rows_max).await;
        let ended =
            self.session.status() == TransactionStatus::Idle && !matches!(portal.state, PortalState::Running { .. });
        if !ended || result.is_ok() {
            self.portals.insert(name, portal);
        }
        result
    }

    /// Execute of a cursor that SQL has declared.
    async fn execute_cursor(&mut self, name: &str, rows_max: i32) -> Result<(), AnswerFailure> {
        let cursor = self.session.take_cursor(name)?.ok_or_else(|| unknown_portal(name))?;
        let (rows, declared) = cursor.apart();
        let mut portal = Portal {
            prepared: Prepared::of_fields(Arc::clone(&rows.fields)),
            parameters: Parameters::default(),
            formats: Vec::new(),
            state: PortalState::running(rows, RowsTag::Select),
        };
        let result = self.execute_portal(&mut portal, rows_max).await;
        if result.is_ok() {
            let rows = portal.state.rows().unwrap_or_else(|| portal.prepared.no_rows());
            self.session.put_cursor(name, declared.with(rows));
        }
        result
    }

    /// Before a statement that names a portal of the protocol as its cursor: the session has it while it runs.
    pub(super) async fn lend_portal(&mut self, parsed: Option<&Parsed>) -> Result<Option<String>, AnswerFailure> {
        let name = match parsed.map(|parsed| &parsed.statement) {
            Some(Statement::Fetch(fetch)) => &fetch.cursor,
            Some(Statement::Close(Some(name))) => name,
            _ => return Ok(None),
        };
        let Some(portal) = self
            .portals
            .get_mut(name)
            .filter(|portal| portal.prepared.fields.is_some())
        else {
            return Ok(None);
        };
        if matches!(portal.state, PortalState::Bound) {
            let running = self
                .session
                .execute_prepared(&portal.prepared, &portal.parameters, false);
            match self.socket.while_connected(running).await?? {
                Outcome::Rows { fields, batches, tag } => {
                    let rest = None;
                    portal.state = PortalState::running(CursorRows { fields, batches, rest }, tag);
                }
                _ => unreachable!("a statement that has fields answers rows"),
            }
        }
        let state = std::mem::replace(&mut portal.state, PortalState::Done);
        let rows = state.rows().unwrap_or_else(|| portal.prepared.no_rows());
        self.session.put_cursor(name, SqlCursor::of_portal(rows));
        Ok(Some(name.clone()))
    }

    /// After it.
    pub(super) fn take_back(&mut self, lent: Option<String>) {
        let Some(name) = lent else {
            return;
        };
        match (self.session.take_cursor(&name), self.portals.get_mut(&name)) {
            (Ok(Some(cursor)), Some(portal)) => {
                portal.state = PortalState::running(cursor.apart().0, RowsTag::Select);
            }
            // CLOSE, or the end of the transaction.
            _ => {
                self.session.forget_portal(&name);
                drop(self.portals.remove(&name));
            }
        }
    }

    async fn execute_portal(&mut self, portal: &mut Portal, rows_max: i32) -> Result<(), AnswerFailure> {
        match portal.state {
            PortalState::Running { .. } => self.session.resumes()?,
            PortalState::Done => {
                // A second Execute of a finished query has no more rows; anything else cannot run twice.
                return match &portal.prepared.fields {
                    Some(_) => {
                        self.complete("SELECT 0".to_string());
                        Ok(())
                    }
                    None => Err(SqlError::new(state::OBJECT_NOT_IN_PREREQUISITE_STATE, "portal cannot be run").into()),
                };
            }
            PortalState::Bound => {
                portal.state = PortalState::Done;
                let ends = self.ends_pipeline(&portal.prepared).await?;
                let lent = self.lend_portal(portal.prepared.parsed.as_deref()).await?;
                let running = self
                    .session
                    .execute_prepared(&portal.prepared, &portal.parameters, ends);
                let outcome = self.socket.while_connected(running).await?;
                self.take_back(lent);
                match outcome? {
                    Outcome::Rows { fields, batches, tag } => {
                        portal.state = PortalState::Running {
                            fields,
                            batches,
                            rest: None,
                            tag,
                        };
                    }
                    Outcome::Command(tag) => {
                        self.complete(tag);
                        return Ok(());
                    }
                    Outcome::CopyIn(copy) => return self.copy_in(copy).await,
                    Outcome::CopyOut {
                        fields,
                        batches,
                        format,
                    } => {
                        return self.copy_out(&fields, batches, &format).await;
                    }
                    Outcome::Empty => {
                        message::put(&mut self.socket.output, &EmptyQueryResponse::new());
                        return Ok(());
                    }
                }
            }
        }
        self.fetch(portal, rows_max).await
    }

    /// Whether nothing follows in the pipeline, as far as it has come. If that matters for the statement, waits for its
    /// Sync or another message.
    async fn ends_pipeline(&mut self, prepared: &Prepared) -> Result<bool, Ended> {
        let next = match self.socket.kind_there() {
            None if prepared.runs_better_alone() => Some(self.socket.next_kind().await?),
            there => there,
        };
        Ok(next == Some(SYNC))
    }

    /// Up to `rows_max` rows of a running portal (all if it is not positive).
    async fn fetch(&mut self, portal: &mut Portal, rows_max: i32) -> Result<(), AnswerFailure> {
        let PortalState::Running {
            fields,
            batches,
            rest,
            tag,
        } = &mut portal.state
        else {
            unreachable!("only called for a running portal");
        };
        let formats = all_formats(&portal.formats, fields.len());
        let mut encoder = Arc::new(RowEncoder::new(fields, &formats, &self.session.row_style(fields)));
        let limit = usize::try_from(rows_max).ok().filter(|limit| *limit > 0);
        let mut sent = 0;
        loop {
            let batch = match rest.take() {
                Some(batch) => batch,
                None => match self.next_batch(batches).await? {
                    Some(batch) if batch.num_rows() == 0 => continue,
                    Some(batch) => batch,
                    None => break,
                },
            };
            let take = limit.map_or(batch.num_rows(), |limit| batch.num_rows().min(limit - sent));
            encoder = self.send_batch(encoder, &batch, 0..take).await?;
            sent += take;
            if take < batch.num_rows() {
                *rest = Some(batch.slice(take, batch.num_rows() - take));
            }
            if limit == Some(sent) {
                self.send_notices();
                message::put(&mut self.socket.output, &PortalSuspended::new());
                return Ok(());
            }
        }
        let tag = tag.text(sent as u64);
        portal.state = PortalState::Done;
        self.complete(tag);
        Ok(())
    }

    fn close(&mut self, target: Target<'_>) -> Result<(), AnswerFailure> {
        match target {
            Target::Statement(name) => drop(self.session.statements.remove(name)),
            Target::Portal(name) => {
                self.session.forget_portal(name);
                if self.portals.remove(name).is_none() {
                    drop(self.session.take_cursor(name));
                }
            }
        }
        message::put(&mut self.socket.output, &CloseComplete::new());
        Ok(())
    }
}

fn unknown_portal(name: &str) -> SqlError {
    SqlError::new(state::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist"))
}

/// One format code per column.
fn all_formats(given: &[i16], columns: usize) -> Vec<i16> {
    match given {
        [] => vec![0; columns],
        [one] => vec![*one; columns],
        each => each.to_vec(),
    }
}

/// Whether the value of an array has several dimensions, or another lower bound than 1.
fn has_other_shape(value: &[u8], format: i16, item: &PgType) -> bool {
    match format {
        0 => std::str::from_utf8(value).is_ok_and(types::has_other_shape),
        _ => types::shaped::has_other_shape(value, item),
    }
}

/// The text of a parameter as its builder reads it: of `regclass` and the like, also in arrays, the numbers.
fn numbered<'a>(pg_type: &PgType, text: &'a str, names: &ObjectOids) -> Result<Cow<'a, str>, SqlError> {
    match pg_type {
        alias if alias.is_oid_alias() => Ok(names(alias, text)?.to_string().into()),
        PgType::Array(item) if item.is_oid_alias() => {
            let texts = PgType::Array(Box::new(PgType::Text));
            let array = types::scalar_from_text(&texts, text, &InputStyle::default())?;
            let array = array.as_list::<i32>().value(0);
            let numbers = array.as_string::<i32>().iter().map(|name| match name {
                Some(name) => Ok(names(item, name)?.to_string()),
                None => Ok("NULL".to_string()),
            });
            let numbers = numbers.collect::<Result<Vec<_>, SqlError>>()?;
            Ok(format!("{{{}}}", numbers.join(",")).into())
        }
        _ => Ok(text.into()),
    }
}

/// `names`: where names are looked up, if the type of a parameter asks for it.
fn decode_parameters(
    types: &[PgType],
    values: Values<'_>,
    formats: Formats<'_>,
    style: &TextStyle,
    names: Option<&ObjectOids>,
) -> Result<Parameters, SqlError> {
    if values.len() != types.len() {
        return Err(SqlError::new(
            state::PROTOCOL_VIOLATION,
            format!(
                "bind message supplies {} parameters, but prepared statement requires {}",
                values.len(),
                types.len()
            ),
        ));
    }
    if formats.len() > 1 && formats.len() != values.len() {
        return Err(SqlError::new(
            state::PROTOCOL_VIOLATION,
            format!(
                "bind message has {} parameter formats but {} parameters",
                formats.len(),
                values.len()
            ),
        ));
    }
    let one = formats.iter().next().unwrap_or(0);
    let mut each = (formats.len() > 1).then(|| formats.iter());
    let bytes = values.iter().flatten().map(<[u8]>::len).sum();
    let mut arrays = Vec::with_capacity(values.len());
    for (index, (pg_type, value)) in types.iter().zip(values.iter()).enumerate() {
        stop::check()?;
        let format = each.as_mut().and_then(Iterator::next).unwrap_or(one);
        // An array other than a list may come for a list: the statement is planned again for that.
        let mut pg_type = pg_type.clone();
        if let (PgType::Array(item), Some(value)) = (&pg_type, value)
            && has_other_shape(value, format, item)
        {
            pg_type = pg_type.shaped();
        }
        let mut builder = ColumnBuilder::new(&pg_type, 1).with_time_zone(style.time_zone);
        let appended = match (value, format) {
            (None, _) => {
                builder.append_null();
                Ok(())
            }
            (Some(value), 0) => match std::str::from_utf8(value) {
                Ok(_) if value.contains(&0) => Err(SqlError::new(
                    state::CHARACTER_NOT_IN_REPERTOIRE,
                    "invalid byte sequence for encoding \"UTF8\": 0x00",
                )),
                Ok(text) => match names {
                    Some(names) => numbered(&pg_type, text, names).and_then(|text| builder.append_text(&text)),
                    None => builder.append_text(text),
                },
                Err(_) => Err(SqlError::new(
                    state::CHARACTER_NOT_IN_REPERTOIRE,
                    "invalid byte sequence for encoding \"UTF8\"",
                )),
            },
            (Some(value), 1) => builder.append_binary(value),
            (_, unknown) => Err(SqlError::new(
                state::INVALID_PARAMETER_VALUE,
                format!("unsupported format code: {unknown}"),
            )),
        };
        appended.map_err(|error| match error.context {
            None => error.context(format!("unnamed portal parameter ${}", index + 1)),
            Some(_) => error,
        })?;
        arrays.push((pg_type, builder.finish()));
    }
    Ok(Parameters { values: arrays, bytes })
}
