//! `set_config(name, value, is_local)`, `pg_notify(channel, payload)` and the functions of advisory locks in a SELECT:
//! the functions that act on the session that calls them.
//!
//! They are carried out before the statement is planned, but for advisory locks that answer for each row of a relation
//! (`sql/effects/by_row.rs`), which the plan runs; the answer takes the place of the call in the plan. Their
//! arguments are computed by a SELECT of their own: over the FROM and WHERE of the statement if the call stands in
//! its select list, so that it runs once for each row; elsewhere without relations, once.
//!
//! Not here: the calls in the statement's tree (`sql/effects.rs`).

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use futures::TryStreamExt;

use super::Session;
use super::outcome::Parameters;
use crate::error::SqlError;
use crate::sql::effects::{self, Effect};
use crate::sql::statement::Select;

/// The texts of one row.
fn texts(batch: &RecordBatch, row: usize) -> Vec<Option<String>> {
    let texts = batch.columns().iter().map(|column| {
        let column = arrow::compute::cast(column, &DataType::Utf8).expect("the columns are text");
        let column = column.as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_string())
    });
    texts.collect()
}

impl Session {
    /// The SELECT with its calls replaced by their answers, after carrying them out if that is wanted; `None` if there
    /// are none.
    pub(super) async fn with_effects(
        &mut self,
        select: &Arc<Select>,
        parameters: Option<&Parameters>,
    ) -> Result<Option<Arc<Select>>, SqlError> {
        let looked_at = select.clone();
        let by_row = self.compute(move || Ok(effects::by_row(&looked_at))).await?;
        if let Some((_, true)) = &by_row {
            self.begin_advisory_locks();
        }
        let by_row = by_row.map(|(marked, _)| Arc::new(marked));
        let select = by_row.as_ref().unwrap_or(select);
        let looked_at = select.clone();
        let found = self.compute(move || effects::calls(&looked_at)).await?;
        if found.is_empty() {
            return Ok(by_row);
        }
        let of = select.clone();
        let Some(parameters) = parameters else {
            return Ok(Some(
                self.compute(move || Ok(Arc::new(effects::answered(&of, None)))).await?,
            ));
        };
        let per_row = effects::per_row(select);
        let arguments = Arc::new(effects::arguments(select, &found, per_row)?);
        let (_, batches) = self.rows_of(&arguments, parameters).await?;
        let batches: Vec<RecordBatch> = batches.try_collect().await?;
        let mut answers = Vec::with_capacity(found.len());
        for batch in &batches {
            for row in 0..batch.num_rows() {
                answers.clear();
                let mut texts = texts(batch, row).into_iter();
                for call in &found {
                    let arguments = texts.by_ref().take(call.arguments.len()).collect();
                    answers.push(self.carry_out(call.effect, arguments).await?);
                }
            }
        }
        let answers = (!per_row).then_some(answers);
        Ok(Some(
            self.compute(move || Ok(Arc::new(effects::answered(&of, answers))))
                .await?,
        ))
    }

    async fn carry_out(&mut self, effect: Effect, arguments: Vec<Option<String>>) -> Result<String, SqlError> {
        if let Effect::Lock(function) = effect {
            let answer = self.advisory(function, &arguments).await?;
            return Ok(answer.map_or(String::new(), |answer| answer.to_string()));
        }
        let mut given = arguments.into_iter();
        let mut given = || given.next().expect("counted");
        match effect {
            Effect::SetConfig => {
                // NULL is the value that the setting began with.
                let (name, value, local) = (given().unwrap_or_default(), given(), given().unwrap_or_default());
                let local = matches!(local.as_str(), "true" | "t");
                self.set(&name, value.as_deref(), local)?;
                self.settings.get(&name)
            }
            Effect::Notify => {
                let (channel, payload) = (given().unwrap_or_default(), given().unwrap_or_default());
                self.notify(&channel, &payload)?;
                Ok(String::new())
            }
            Effect::Lock(_) => unreachable!("it was called above"),
        }
    }

    /// Whether the query string that was parsed last may call one of them.
    pub(super) fn may_have_effects(&self) -> bool {
        let has = |name: &[u8]| memchr::memmem::find(self.text.as_bytes(), name).is_some();
        [
            &b"set_config"[..],
            b"pg_notify",
            b"advisory_",
            b"SET_CONFIG",
            b"PG_NOTIFY",
            b"ADVISORY_",
        ]
        .into_iter()
        .any(has)
    }
}
