//! EXPLAIN: the plan of a statement, or the dataflow of a materialized view, as lines of text or a tree of nodes.

mod tree;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::Schema;
use std::sync::Arc;

use super::Session;
use super::outcome::{Outcome, Parameters, RowsTag};
use crate::catalog::{Relation, View};
use crate::error::{SqlError, state};
use crate::sql::field::OutField;
use crate::sql::statement::{ExplainFormat, InsertRows, Name, Statement};
use crate::types::{Opaque, PgType};

pub(super) fn fields(format: ExplainFormat) -> Vec<OutField> {
    vec![OutField {
        name: "QUERY PLAN".to_string(),
        pg_type: match format {
            ExplainFormat::Json => PgType::Json,
            ExplainFormat::Xml => PgType::Opaque(Opaque::Xml),
            ExplainFormat::Text | ExplainFormat::Yaml => PgType::Text,
        },
        typmod: None,
        table_oid: 0,
        column: 0,
    }]
}

/// One row for each line of text; in the other formats one row.
fn answer(lines: &[String], format: ExplainFormat, verbose: bool) -> Outcome {
    let column: ArrayRef = match format {
        ExplainFormat::Text => Arc::new(StringArray::from_iter_values(lines)),
        _ => Arc::new(StringArray::from_iter_values([tree::render(lines, format, verbose)])),
    };
    let fields = fields(format);
    let schema = Schema::new(vec![fields[0].pg_type.field("QUERY PLAN", false)]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![column]).expect("one text column");
    Outcome::table(fields, batch, RowsTag::Fixed("EXPLAIN"))
}

impl Session {
    pub(super) async fn explain(
        &mut self,
        analyze: bool,
        verbose: bool,
        format: ExplainFormat,
        statement: &Statement,
        parameters: &Parameters,
    ) -> Result<Outcome, SqlError> {
        let lines = self.explain_lines(analyze, verbose, statement, parameters).await?;
        Ok(answer(&lines, format, verbose))
    }

    /// The lines of EXPLAIN TEXT.
    pub(super) async fn explain_lines(
        &mut self,
        analyze: bool,
        verbose: bool,
        statement: &Statement,
        parameters: &Parameters,
    ) -> Result<Vec<String>, SqlError> {
        let (head, select) = match statement {
            Statement::Select(select) => (None, select),
            Statement::CreateView(create) => (Some(format!("Create {}", create.name.name)), &create.select),
            Statement::Insert(insert) if !analyze => match &insert.rows {
                InsertRows::Select(select) => (Some(format!("Insert on {}", insert.into.name)), select),
                _ => {
                    return Ok(vec![
                        format!("Insert on {}", insert.into.name),
                        "  ->  Values".to_string(),
                    ]);
                }
            },
            Statement::With(with) if !analyze => {
                return self.explain_with(with, verbose, parameters).await;
            }
            Statement::Execute { name, .. } => {
                let prepared = self
                    .statements
                    .get(name)
                    .cloned()
                    .ok_or_else(|| super::unknown_statement(name))?;
                let parsed = prepared.parsed.ok_or_else(|| super::unknown_statement(name))?;
                return Box::pin(self.explain_lines(analyze, verbose, &parsed.statement, parameters)).await;
            }
            _ => {
                return Err(SqlError::unsupported(
                    "EXPLAIN of this statement is not supported",
                    "EXPLAIN takes SELECT, INSERT ... SELECT and MATERIALIZED VIEW name; only SELECT with ANALYZE.",
                ));
            }
        };
        let types = parameters.types();
        let planned = self.plan(select, types).await?;
        let mut text: Vec<String> = head.into_iter().collect();
        if let Statement::CreateView(create) = statement
            && create.materialized
        {
            let time_zone = self.settings.time_zone().clone();
            let explained = self.compute(move || match crate::views::compile(&planned, &time_zone)? {
                crate::views::CompiledView::Incremental(dataflow) => Ok(dataflow.explain()),
                crate::views::CompiledView::Recompute { reason } => Ok(vec![format!("Recomputed when read: {reason}")]),
            });
            text.extend(explained.await?);
            return Ok(text);
        }
        let point = match self.position(&planned, parameters).await? {
            Some(point) => point,
            None => {
                let lsn = self.engine.log.newest();
                self.read_point(lsn, Default::default(), parameters).await?
            }
        };
        text.extend(self.engine.query.explain(planned, point, analyze, verbose).await?);
        Ok(text)
    }

    pub(super) fn require_materialized_view(&self, name: &Name) -> Result<Arc<View>, SqlError> {
        let catalog = self.catalog();
        match self.resolve(&catalog, name)? {
            Relation::View(view) if view.materialized => Ok(view),
            other => Err(SqlError::new(
                state::WRONG_OBJECT_TYPE,
                format!("\"{}\" is not a materialized view", other.name()),
            )),
        }
    }

    pub(super) async fn explain_view(
        &mut self,
        analyze: bool,
        format: ExplainFormat,
        name: &Name,
    ) -> Result<Outcome, SqlError> {
        let view = self.require_materialized_view(name)?;
        let mut text = vec![format!("Materialized View {}", view.name)];
        match &view.recomputed {
            Some(reason) => text.push(format!("  Recomputed when read: {reason}")),
            None => {
                let newest = self.engine.log.newest();
                if analyze {
                    self.engine.views.caught_up(newest).await?;
                }
                text.extend(self.engine.views.explain(view.oid, analyze).unwrap_or_default());
            }
        }
        Ok(answer(&text, format, false))
    }
}
