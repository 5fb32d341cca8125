//! The node of a query that is computed once for all places that read it: a CTE that is named more than once, that is
//! volatile, or that is said to be MATERIALIZED.
//!
//! One rule: nodes of one number are the same rows. Such a node is a leaf: code that walks or rewrites a plan does not
//! see its body, and calls [`apply`], [`parts`] or [`each`], which come to every body once. A chain of CTEs that each
//! read the one before twice is therefore as long as its text.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, DataFusionError, Result, internal_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

#[derive(Clone, Debug)]
pub struct SharedQuery {
    pub body: Arc<LogicalPlan>,
    /// The CTE's name.
    pub name: String,
    /// Of the query, within its statement.
    pub number: u64,
}

impl SharedQuery {
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    /// The node of a plan node, if it is one.
    pub fn of(plan: &LogicalPlan) -> Option<&SharedQuery> {
        match plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref::<SharedQuery>(),
            _ => None,
        }
    }
}

/// The shared queries that a plan reads, those that one reads before it, each once.
pub fn all_of(plan: &LogicalPlan) -> Result<Vec<SharedQuery>> {
    each_once(read_by(plan)?, |shared| shared.number, |shared| read_by(&shared.body))
}

/// The items of `read`, and the items that each of them reads before it, each once by its number. No recursion: bodies
/// read those of CTEs before them in the text, as deep as a statement's WITH lists are long.
pub fn each_once<T>(
    read: Vec<T>,
    number: impl Fn(&T) -> u64,
    read_by: impl Fn(&T) -> Result<Vec<T>>,
) -> Result<Vec<T>> {
    let mut known = HashSet::new();
    let mut found = Vec::new();
    let mut open = vec![(read.into_iter(), None::<T>)];
    while let Some((reads, _)) = open.last_mut() {
        match reads.next() {
            Some(next) if known.insert(number(&next)) => {
                let reads = read_by(&next)?;
                open.push((reads.into_iter(), Some(next)));
            }
            Some(_) => {}
            None => found.extend(open.pop().and_then(|(_, shared)| shared)),
        }
    }
    Ok(found)
}

/// Shows every node of the bodies that a plan reads, and of the plan, with their subqueries.
pub fn apply(plan: &LogicalPlan, mut visit: impl FnMut(&LogicalPlan) -> Result<TreeNodeRecursion>) -> Result<()> {
    for shared in all_of(plan)? {
        shared.body.apply_with_subqueries(&mut visit)?;
    }
    plan.apply_with_subqueries(visit)?;
    Ok(())
}

/// The shared queries that a plan names itself.
fn read_by(plan: &LogicalPlan) -> Result<Vec<SharedQuery>> {
    let mut reads = Vec::new();
    plan.apply_with_subqueries(|node| {
        reads.extend(SharedQuery::of(node).cloned());
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(reads)
}

/// The bodies that a plan reads, and the plan: a check of a plan looks at all of these.
pub fn parts(plan: &LogicalPlan) -> Result<Vec<Arc<LogicalPlan>>> {
    let bodies = all_of(plan)?.into_iter().map(|shared| shared.body);
    Ok(bodies.chain([Arc::new(plan.clone())]).collect())
}

/// Rewrites every body that a plan reads, and the plan.
pub fn each<E: From<DataFusionError>>(
    plan: LogicalPlan,
    mut rewrite: impl FnMut(LogicalPlan) -> Result<LogicalPlan, E>,
) -> Result<LogicalPlan, E> {
    let mut rewritten = Rewritten::default();
    for shared in all_of(&plan)? {
        let body = rewritten.put_in(shared.body.as_ref().clone())?;
        let body = rewrite(body)?;
        rewritten.retyped |= body.schema() != shared.body.schema();
        rewritten.bodies.insert(shared.number, Arc::new(body));
    }
    rewrite(rewritten.put_in(plan)?)
}

#[derive(Default)]
struct Rewritten {
    bodies: HashMap<u64, Arc<LogicalPlan>>,
    /// Whether one has other types than before.
    retyped: bool,
}

impl Rewritten {
    fn put_in(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        if self.bodies.is_empty() {
            return Ok(plan);
        }
        let plan = plan.transform_up_with_subqueries(|node| {
            if let Some(shared) = SharedQuery::of(&node) {
                let Some(body) = self.bodies.get(&shared.number) else {
                    return internal_err!("a shared query is rewritten before what reads it");
                };
                let shared = SharedQuery {
                    body: body.clone(),
                    ..shared.clone()
                };
                return Ok(Transformed::yes(shared.into_plan()));
            }
            match self.retyped && !node.inputs().is_empty() {
                true => node.recompute_schema().map(Transformed::yes),
                false => Ok(Transformed::no(node)),
            }
        })?;
        Ok(plan.data)
    }
}

/// A plan with the bodies in the places that read them; `None` if it would have more nodes than `nodes_max`.
pub fn inlined(plan: LogicalPlan, nodes_max: u64) -> Result<Option<LogicalPlan>> {
    let mut bodies: HashMap<u64, (LogicalPlan, u64)> = HashMap::new();
    let shared = all_of(&plan)?;
    let main = [(None, Arc::new(plan))];
    let bodies_first = shared.into_iter().map(|shared| (Some(shared.number), shared.body));
    for (number, part) in bodies_first.chain(main) {
        let mut nodes = 0u64;
        let whole = part.as_ref().clone().transform_up_with_subqueries(|node| {
            nodes = nodes.saturating_add(1);
            let Some((body, below)) = SharedQuery::of(&node).and_then(|shared| bodies.get(&shared.number)) else {
                return Ok(Transformed::no(node));
            };
            nodes = nodes.saturating_add(*below);
            Ok(Transformed::yes(body.clone()))
        })?;
        if nodes > nodes_max {
            return Ok(None);
        }
        match number {
            Some(number) => bodies.insert(number, (whole.data, nodes)),
            None => return Ok(Some(whole.data)),
        };
    }
    internal_err!("the plan itself comes last")
}

impl PartialEq for SharedQuery {
    fn eq(&self, other: &SharedQuery) -> bool {
        self.number == other.number && Arc::ptr_eq(&self.body, &other.body)
    }
}

impl Eq for SharedQuery {}

impl Hash for SharedQuery {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

impl PartialOrd for SharedQuery {
    fn partial_cmp(&self, other: &SharedQuery) -> Option<Ordering> {
        self.number
            .partial_cmp(&other.number)
            .filter(|order| *order != Ordering::Equal || self == other)
    }
}

impl UserDefinedLogicalNodeCore for SharedQuery {
    fn name(&self) -> &str {
        "Shared"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.body.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    /// A filter of one place does not hold for the others.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let fields = self.body.schema().fields().iter();
        fields.map(|field| field.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "CTE {}", self.name)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match exprs.is_empty() && inputs.is_empty() {
            true => Ok(self.clone()),
            false => internal_err!("a shared query has no inputs and no expressions"),
        }
    }
}
