//! Functions that return rows, in FROM and in a select list: lists of a row become rows, and a series of constants is constant.

use arrow::compute::concat_batches;
use arrow::datatypes::DataType;
use datafusion::datasource::source_as_provider;
use datafusion::functions_table::generate_series::GenerateSeriesTable;
use datafusion::logical_expr::logical_plan;

use super::super::dataflow::NodeWork;
use super::super::delta::batch_of;
use super::super::operators::linear::Linear;
use super::super::operators::unnest::Unnest;
use super::{Built, CompileStop, Compiler, arrow_schema, kept, subset, unsupported};

/// Rows of a series that a view keeps as constants, at most.
const SERIES_ROWS_MAX: usize = 100_000;

impl Compiler {
    pub(super) fn unnest(&mut self, unnest: &logical_plan::Unnest, needed: &[bool]) -> Result<Built, CompileStop> {
        let input_schema = unnest.input.schema();
        let is_plain = unnest.struct_type_columns.is_empty()
            && unnest.list_type_columns.iter().all(|(column, list)| {
                list.depth == 1 && matches!(input_schema.field(*column).data_type(), DataType::List(_))
            });
        if !is_plain {
            return unsupported("fields of rows that are unnested are not kept incrementally");
        }
        let columns = kept(needed);
        let mut below = vec![false; input_schema.fields().len()];
        for column in &columns {
            below[unnest.dependency_indices[*column]] = true;
        }
        // All lists say how many rows there are.
        for (list, _) in &unnest.list_type_columns {
            below[*list] = true;
        }
        let input = self.node(&unnest.input, &below)?;
        let place = |column: usize| {
            let found = input.columns.iter().position(|have| *have == column);
            found.expect("needed, so made")
        };
        let is_list = |column: usize| unnest.list_type_columns.iter().any(|(list, _)| *list == column);
        let made = columns.iter().map(|column| {
            let of = unnest.dependency_indices[*column];
            (place(of), is_list(of))
        });
        let made: Vec<(usize, bool)> = made.collect();
        let schema = subset(&unnest.schema, &columns)?;
        let names = unnest.list_type_columns.iter();
        let names: Vec<&str> = names
            .map(|(list, _)| input_schema.field(*list).name().as_str())
            .collect();
        let bounds = made
            .iter()
            .map(|(column, is_list)| input.bounds[*column].filter(|_| !is_list))
            // A row may have gone.
            .map(|bound| bound.map(|bound| bound.above(false, true)))
            .collect();
        let linear = Linear::Unnest(Unnest {
            columns: made,
            lists: unnest.list_type_columns.iter().map(|(list, _)| place(*list)).collect(),
            schema: arrow_schema(&schema),
            text: names.join(", "),
        });
        let work = NodeWork::Linear {
            linear,
            is_infallible: true,
        };
        Ok(Built {
            node: self.add(work, &[input.node]),
            schema,
            columns,
            bounds,
            append_only: input.append_only,
        })
    }

    /// A scan of what is no relation: `generate_series` of constants.
    pub(super) fn series(&mut self, scan: &logical_plan::TableScan, needed: &[bool]) -> Result<Built, CompileStop> {
        let provider = source_as_provider(&scan.source)?;
        let Some(series) = provider.downcast_ref::<GenerateSeriesTable>() else {
            return unsupported("it reads something that is neither a topic nor a view");
        };
        let generator = series.as_generator(8192)?;
        let mut batches = Vec::new();
        let mut rows = 0;
        while let Some(batch) = generator.write().generate_next_batch()? {
            rows += batch.num_rows();
            if rows > SERIES_ROWS_MAX {
                return unsupported(format!(
                    "a series of more than {SERIES_ROWS_MAX} rows is not kept incrementally"
                ));
            }
            batches.push(batch);
        }
        let columns = kept(needed);
        let schema = subset(&scan.projected_schema, &columns)?;
        let all = concat_batches(&provider.schema(), &batches)?;
        let in_source = |column: &usize| {
            scan.projection
                .as_ref()
                .map_or(*column, |projection| projection[*column])
        };
        let arrays = columns.iter().map(|column| all.column(in_source(column)).clone());
        let constant = batch_of(arrow_schema(&schema), arrays.collect(), rows)?;
        Ok(Built {
            node: self.add(NodeWork::Constant(constant), &[]),
            bounds: vec![None; columns.len()],
            schema,
            columns,
            append_only: true,
        })
    }
}
