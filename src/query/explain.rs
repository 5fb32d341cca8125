//! EXPLAIN: the physical plan as indented lines; ANALYZE runs it first and shows the work of each operator.

use std::sync::Arc;
use std::time::Instant;

use datafusion::execution::TaskContext;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;

use super::Physical;
use super::shared::SharedExec;
use crate::error::SqlError;

pub fn plan(plan: &Physical, verbose: bool) -> Result<Vec<String>, SqlError> {
    lines(plan, |plan| {
        DisplayableExecutionPlan::new(plan).indent(verbose).to_string()
    })
}

/// The lines of a plan, and below them those of each CTE that it reads.
fn lines(plan: &Physical, show: impl Fn(&dyn ExecutionPlan) -> String) -> Result<Vec<String>, SqlError> {
    let mut lines: Vec<String> = show(plan.as_ref()).lines().map(str::to_string).collect();
    for shared in SharedExec::all_of(plan)? {
        lines.push(format!("CTE {}", shared.name));
        lines.extend(show(shared.body.as_ref()).lines().map(|line| format!("  {line}")));
    }
    Ok(lines)
}

pub async fn analyze(plan: Physical, context: Arc<TaskContext>, verbose: bool) -> Result<Vec<String>, SqlError> {
    let started = Instant::now();
    let mut stream = execute_stream(plan.clone(), context)?;
    let mut rows = 0;
    while let Some(batch) = stream.next().await {
        rows += batch?.num_rows();
    }
    let elapsed = started.elapsed();
    let mut lines = lines(&plan, |plan| {
        DisplayableExecutionPlan::with_metrics(plan).indent(verbose).to_string()
    })?;
    lines.push(format!("Rows: {rows}"));
    lines.push(format!("Execution Time: {:.3} ms", elapsed.as_secs_f64() * 1000.0));
    Ok(lines)
}
