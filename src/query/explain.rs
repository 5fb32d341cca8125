//! EXPLAIN: the physical plan as indented lines; ANALYZE runs it first and shows what each operator did.

use std::sync::Arc;
use std::time::Instant;

use datafusion::execution::TaskContext;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;

use super::engine::Physical;
use crate::error::SqlError;

pub fn plan(plan: &dyn ExecutionPlan, verbose: bool) -> Vec<String> {
    split(&DisplayableExecutionPlan::new(plan).indent(verbose).to_string())
}

pub async fn analyze(plan: Physical, context: Arc<TaskContext>, verbose: bool) -> Result<Vec<String>, SqlError> {
    let started = Instant::now();
    let mut stream = execute_stream(plan.clone(), context)?;
    let mut rows = 0;
    while let Some(batch) = stream.next().await {
        rows += batch?.num_rows();
    }
    let elapsed = started.elapsed();
    let mut lines = split(
        &DisplayableExecutionPlan::with_metrics(plan.as_ref())
            .indent(verbose)
            .to_string(),
    );
    lines.push(format!("Rows: {rows}"));
    lines.push(format!("Execution Time: {:.3} ms", elapsed.as_secs_f64() * 1000.0));
    Ok(lines)
}

fn split(text: &str) -> Vec<String> {
    text.lines().map(str::to_string).collect()
}
