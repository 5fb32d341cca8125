//! The node of a query that is computed once for all places that read it: a CTE that is named more than once, that is
//! volatile, or that is said to be MATERIALIZED.
//!
//! One rule: nodes of one number are the same rows. Each has the whole query below it, so that rewrites need not know of the
//! others; the first that runs computes it.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;

use datafusion::common::{DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Shared {
    pub input: LogicalPlan,
    /// The CTE's name.
    pub name: String,
    /// Of the query, within its statement.
    pub number: u64,
}

impl Shared {
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension {
            node: std::sync::Arc::new(self),
        })
    }

    /// The node of a plan node, if it is one.
    pub fn of(plan: &LogicalPlan) -> Option<&Shared> {
        match plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref::<Shared>(),
            _ => None,
        }
    }
}

impl PartialOrd for Shared {
    fn partial_cmp(&self, other: &Shared) -> Option<Ordering> {
        self.number
            .partial_cmp(&other.number)
            .filter(|order| *order != Ordering::Equal || self == other)
    }
}

impl UserDefinedLogicalNodeCore for Shared {
    fn name(&self) -> &str {
        "Shared"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    /// What one place needs is not what another does.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let fields = self.input.schema().fields().iter();
        fields.map(|field| field.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "CTE {}", self.name)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (true, Some(input), true) = (exprs.is_empty(), inputs.pop(), inputs.is_empty()) else {
            return internal_err!("a shared query has one input and no expressions");
        };
        Ok(Shared { input, ..self.clone() })
    }
}
