//! A WITH whose queries write: its INSERTs, and the SELECTs that they share with the statement, run before it.
//!
//! One rule: all parts see the rows from before the statement, and their own rows enter the log in one commit or not at
//! all (L5). So the answer is complete before the commit. Not here: the choice of the parts (`sql/with.rs`).

use std::sync::Arc;

use futures::StreamExt;

use super::Session;
use super::outcome::{Outcome, Parameters};
use crate::error::{SqlError, state};
use crate::sql::field::OutField;
use crate::sql::returning;
use crate::sql::statement::{Given, GivenRows, Statement, With};
use crate::sql::with;
use crate::types::PgType;

impl Session {
    /// `described`: the statement's meaning has been looked at already.
    pub(super) async fn with(
        &mut self,
        with: &With,
        parameters: &Parameters,
        described: bool,
    ) -> Result<Outcome, SqlError> {
        if !described {
            // Nothing runs of a statement that means nothing.
            self.describe_with(with, parameters.types()).await?;
        }
        refuse_places(with)?;
        if self.transaction().read_only && writes(with) {
            let what = match with.main.as_ref() {
                Statement::Insert(_) => "INSERT",
                _ => "SELECT",
            };
            return Err(SqlError::new(
                state::READ_ONLY_SQL_TRANSACTION,
                format!("cannot execute {what} in a read-only transaction"),
            ));
        }
        self.finish_spills().await?;
        let own = self.transaction().all_own_rows();
        self.transaction().own_before = Some(own);
        let kept = self.engine.query.keep();
        let mut given: Vec<GivenRows> = Vec::with_capacity(with.parts.len());
        for part in &with.parts {
            let part = with::with_given(part, &given.as_slice().into());
            let rows = match self.part(&part, parameters).await? {
                Outcome::Rows {
                    fields, mut batches, ..
                } => {
                    let mut rows = Vec::new();
                    while let Some(batch) = batches.next().await {
                        let batch = batch?;
                        kept.take(&batch)?;
                        rows.push(batch);
                    }
                    GivenRows {
                        fields: Some(fields),
                        batches: rows,
                    }
                }
                _ => GivenRows {
                    fields: None,
                    batches: Vec::new(),
                },
            };
            given.push(rows);
        }
        let main = with::with_given(&with.main, &given.into());
        let outcome = self.part(&main, parameters).await?;
        let outcome = match outcome {
            Outcome::Rows {
                fields,
                mut batches,
                tag,
            } => {
                let mut rows = Vec::new();
                while let Some(batch) = batches.next().await {
                    let batch = batch?;
                    kept.take(&batch)?;
                    rows.push(Ok(batch));
                }
                // Kept rows count against memory until the client has them.
                let batches = futures::stream::iter(rows).map(move |batch| {
                    let _ = &kept;
                    batch
                });
                Outcome::Rows {
                    fields,
                    batches: batches.boxed(),
                    tag,
                }
            }
            other => other,
        };
        self.transaction().own_before = None;
        Ok(outcome)
    }

    async fn part(&mut self, part: &Statement, parameters: &Parameters) -> Result<Outcome, SqlError> {
        match part {
            Statement::Select(select) => self.select(select, parameters, None).await,
            Statement::Insert(insert) => self.insert(insert, parameters, None).await,
            _ => unreachable!("a WITH has SELECTs and INSERTs"),
        }
    }

    /// The lines of EXPLAIN: the statement itself, then each part below its name.
    pub(super) async fn explain_with(
        &mut self,
        with: &With,
        verbose: bool,
        parameters: &Parameters,
    ) -> Result<Vec<String>, SqlError> {
        let mut given: Vec<GivenRows> = Vec::with_capacity(with.parts.len());
        let mut below = Vec::new();
        for (part, name) in with.parts.iter().zip(&with.names) {
            let part = with::with_given(part, &given.as_slice().into());
            below.push(format!("  CTE {name}"));
            let lines = Box::pin(self.explain_lines(false, verbose, &part, parameters)).await?;
            below.extend(lines.into_iter().map(|line| format!("    {line}")));
            let (_, fields, _) = Box::pin(self.describe_statement(&part, parameters.types())).await?;
            given.push(GivenRows {
                fields: fields.map(Into::into),
                batches: Vec::new(),
            });
        }
        let main = with::with_given(&with.main, &given.into());
        let mut lines = Box::pin(self.explain_lines(false, verbose, &main, parameters)).await?;
        lines.extend(below);
        Ok(lines)
    }

    /// Types of the parameters, and the columns of the answer.
    pub(super) async fn describe_with(
        &mut self,
        with: &With,
        mut types: Vec<Option<PgType>>,
    ) -> Result<(Vec<PgType>, Option<Vec<OutField>>), SqlError> {
        let mut given: Vec<GivenRows> = Vec::with_capacity(with.parts.len());
        for part in with.parts.iter().chain([with.main.as_ref()]) {
            let part = with::with_given(part, &Given::from(given.as_slice()));
            let (known, fields, _) = Box::pin(self.describe_statement(&part, types.clone())).await?;
            types.resize(types.len().max(known.len()), None);
            for number in with::parameters(&part) {
                if let (Some(slot @ None), Some(pg_type)) = (types.get_mut(number - 1), known.get(number - 1)) {
                    *slot = Some(pg_type.clone());
                }
            }
            given.push(GivenRows {
                fields: fields.map(Into::into),
                batches: Vec::new(),
            });
        }
        let main = given.pop().expect("the statement itself comes last");
        let types = types.into_iter().map(|known| known.unwrap_or(PgType::Text));
        Ok((types.collect(), main.fields.map(|fields: Arc<[_]>| fields.to_vec())))
    }
}

fn writes(with: &With) -> bool {
    let mut parts = with.parts.iter().chain([with.main.as_ref()]);
    parts.any(|part| matches!(part, Statement::Insert(_)))
}

/// The commit gives rows their places, after all was answered.
fn refuse_places(with: &With) -> Result<(), SqlError> {
    for part in with.parts.iter().chain([with.main.as_ref()]) {
        let Statement::Insert(insert) = part else { continue };
        if let Some((_, column)) = returning::places(insert)?.first() {
            return Err(SqlError::unsupported(
                format!(
                    "RETURNING {} is not supported in a statement with data-modifying WITH",
                    column.name()
                ),
                "The commit gives rows their places: run the INSERT by itself.",
            ));
        }
    }
    Ok(())
}
