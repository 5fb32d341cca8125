//! [`Reuse`]: the optimized form of a plan that runs again and again.
//!
//! One rule: it answers as the plan itself does. The optimizer makes the first run with the values of its parameters, since most
//! statements run once; later runs put their values into a plan that was optimized without any.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::engine::QueryEngine;
use super::{ReadPoint, bind};
use crate::error::SqlError;
use crate::sql::shared;

/// Kept with one plan, by sessions with one time zone.
#[derive(Debug, Default)]
pub struct Reuse {
    has_run: AtomicBool,
    optimized: OnceLock<Optimized>,
}

#[derive(Debug)]
struct Optimized {
    plan: LogicalPlan,
    /// Its LIMITs have parameters, so that they could not be pushed down.
    limits: bool,
}

impl Reuse {
    /// The optimized plan with its values, if it has run before.
    pub(super) fn plan(
        &self,
        engine: &QueryEngine,
        plan: &LogicalPlan,
        point: &ReadPoint,
    ) -> Result<Option<LogicalPlan>, SqlError> {
        if !self.has_run.swap(true, Ordering::Relaxed) {
            return Ok(None);
        }
        let time_zone = &point.session.time_zone;
        let optimized = match self.optimized.get() {
            Some(optimized) => optimized,
            None => {
                // A plan that cannot be optimized without values is optimized with them.
                let Ok(plan) = engine.optimize(plan.clone(), time_zone) else {
                    return Ok(None);
                };
                let limits = has_open_limits(&plan)?;
                self.optimized.get_or_init(|| Optimized { plan, limits })
            }
        };
        let plan = bind::bind(optimized.plan.clone(), point)?;
        Ok(Some(match optimized.limits {
            true => engine.push_limits(plan, time_zone)?,
            false => plan,
        }))
    }
}

fn has_open_limits(plan: &LogicalPlan) -> Result<bool, SqlError> {
    let mut open = false;
    shared::apply(plan, |node| {
        if let LogicalPlan::Limit(limit) = node {
            let mut counts = limit.skip.iter().chain(&limit.fetch);
            open |= counts.any(|count| !matches!(count.as_ref(), Expr::Literal(..)));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(open)
}
