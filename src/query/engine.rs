//! DataFusion, set up once: memory pool, optimizer rules, settings; one state per time zone.
//!
//! One rule: nothing here is built per query but the plan itself.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::config::{ConfigNonZeroUsize, ConfigOptions};
use datafusion::execution::context::ExecutionProps;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::Optimizer;
use datafusion::optimizer::push_down_limit::PushDownLimit;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::SessionConfig;
use parking_lot::Mutex;

use super::conjunction::Conjunction;
use super::kept::CountWindows;
use super::leaves::Leaves;
use super::memory::Measured;
use super::slices::SliceProjections;
use super::stoppable;
use super::{Physical, QueryOptions};
use crate::error::SqlError;
use crate::sql::functions::functions;
use crate::sql::functions::growth::{Mode, with_mode};
use crate::sql::shared;

/// Time zones whose states are kept.
const ZONES_MAX: usize = 64;

pub struct QueryEngine {
    options: QueryOptions,
    runtime: Arc<RuntimeEnv>,
    /// Its memory, if it is held against the process.
    measured: Option<Arc<Measured<FairSpillPool>>>,
    states: Mutex<HashMap<String, Arc<SessionState>>>,
    limits: Optimizer,
}

impl QueryEngine {
    pub fn new(options: QueryOptions) -> Result<QueryEngine, SqlError> {
        let disk = match &options.spill_directory {
            Some(directory) => DiskManagerMode::Directories(vec![directory.clone()]),
            None => DiskManagerMode::Disabled,
        };
        let pool = FairSpillPool::new(options.memory_bytes_max);
        let (pool, measured): (Arc<dyn MemoryPool>, _) = match &options.process {
            Some(process) => {
                let measured = Arc::new(Measured::new(pool, options.memory_bytes_max, process.clone()));
                (measured.clone(), Some(measured))
            }
            None => (Arc::new(pool), None),
        };
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(pool)
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(disk))
            .build_arc()?;
        Ok(QueryEngine {
            options,
            runtime,
            measured,
            states: Mutex::new(HashMap::new()),
            limits: Optimizer::with_rules(vec![
                Arc::new(SimplifyExpressions::new()),
                Arc::new(PushDownLimit::new()),
            ]),
        })
    }

    /// The pool that all queries share.
    pub fn memory(&self) -> Arc<dyn MemoryPool> {
        self.runtime.memory_pool.clone()
    }

    /// Gives free memory back to the system, if the process is near its limit.
    pub fn relieve(&self) {
        if let Some(measured) = &self.measured {
            measured.relieve();
        }
    }

    fn state(&self, time_zone: &str) -> Arc<SessionState> {
        let mut states = self.states.lock();
        if let Some(known) = states.get(time_zone) {
            return known.clone();
        }
        if states.len() >= ZONES_MAX {
            states.clear();
        }
        let made = Arc::new(self.build(time_zone));
        states.insert(time_zone.to_string(), made.clone());
        made
    }

    fn build(&self, time_zone: &str) -> SessionState {
        let mut config = ConfigOptions::new();
        config.execution.time_zone = Some(time_zone.to_string());
        config.execution.target_partitions = self.options.parallelism.max(1);
        config.execution.batch_size =
            ConfigNonZeroUsize::try_new(self.options.batch_rows.max(1)).expect("the size is at least 1");
        // The two plans may differ in the columns that have NULLs, and in metadata beside the Arrow type.
        config.execution.skip_physical_aggregate_schema_check = true;
        config.sql_parser.map_string_types_to_utf8view = false;
        config.catalog.create_default_catalog_and_schema = false;
        // Rows of small tables are not worth a repartitioning.
        config.optimizer.default_filter_selectivity = 20;
        // Functions read the time zone from here.
        let mut props = ExecutionProps::new();
        props.config_options = Some(Arc::new(config.clone()));
        // Rules of the optimizer look functions up by name.
        let functions = functions();
        SessionStateBuilder::new()
            .with_config(SessionConfig::from(config))
            .with_execution_props(props)
            .with_scalar_functions(functions.scalar.values().cloned().collect())
            .with_aggregate_functions(functions.aggregate.values().cloned().collect())
            .with_window_functions(functions.window.values().cloned().collect())
            .with_optimizer_rules(stoppable::logical_rules())
            .with_physical_optimizer_rules(stoppable::physical_rules())
            .with_physical_optimizer_rule(Arc::new(Conjunction))
            .with_physical_optimizer_rule(Arc::new(SliceProjections))
            .with_physical_optimizer_rule(Arc::new(CountWindows))
            .with_runtime_env(self.runtime.clone())
            .build()
    }

    /// Rows of a batch, unless they are wide.
    pub fn batch_rows(&self) -> usize {
        self.options.batch_rows.max(1)
    }

    /// The state for batches of that many rows.
    fn state_for(&self, time_zone: &str, batch_rows: usize) -> Arc<SessionState> {
        let state = self.state(time_zone);
        if batch_rows == self.batch_rows() {
            return state;
        }
        let mut state = state.as_ref().clone();
        let rows = ConfigNonZeroUsize::try_new(batch_rows.max(1)).expect("the size is at least 1");
        state.config_mut().options_mut().execution.batch_size = rows;
        Arc::new(state)
    }

    /// The context that a running query asks for memory and settings.
    pub fn task(&self, time_zone: &str, batch_rows: usize) -> Arc<TaskContext> {
        let state = self.state_for(time_zone, batch_rows);
        // Running operators look up no function by name.
        Arc::new(TaskContext::new(
            None,
            String::new(),
            state.config().clone(),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            self.runtime.clone(),
        ))
    }

    /// The logical optimizer.
    pub fn optimize(&self, plan: LogicalPlan, time_zone: &str) -> Result<LogicalPlan, SqlError> {
        let state = self.state(time_zone);
        // Large constants are left to the run, where they count.
        with_mode(Mode::Folded, || {
            shared::each(plan, |plan| {
                Ok(state.optimizer().optimize(plan, state.as_ref(), |_, _| {})?)
            })
        })
    }

    /// Pushes LIMITs down whose values are known by now, in a plan that was optimized without them.
    pub fn push_limits(&self, plan: LogicalPlan, time_zone: &str) -> Result<LogicalPlan, SqlError> {
        let state = self.state(time_zone);
        shared::each(plan, |plan| {
            Ok(self.limits.optimize(plan, state.as_ref(), |_, _| {})?)
        })
    }

    /// The physical plan of an optimized plan that is known to find nothing.
    pub fn nothing(&self, plan: &LogicalPlan, leaves: &Leaves, time_zone: &str) -> Result<Option<Physical>, SqlError> {
        let finds_nothing = leaves.finds_nothing(plan, self.state(time_zone).as_ref())?;
        let schema = || Arc::new(plan.schema().as_arrow().clone());
        Ok(finds_nothing.then(|| Arc::new(EmptyExec::new(schema())) as Physical))
    }

    /// The physical plan of an optimized plan whose values are bound.
    pub fn physical(
        &self,
        plan: LogicalPlan,
        leaves: Leaves,
        time_zone: &str,
        batch_rows: usize,
    ) -> Result<Physical, SqlError> {
        let mut state = self.state_for(time_zone, batch_rows);
        if is_recursive(&plan)? {
            // Rows come in the order of their steps, and no more steps are taken than a LIMIT asks for.
            let mut serial = state.as_ref().clone();
            serial
                .config_mut()
                .options_mut()
                .optimizer
                .enable_round_robin_repartition = false;
            state = Arc::new(serial);
        }
        let leaves = Arc::new(leaves);
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![leaves.clone()]);
        let physical = |plan: &LogicalPlan| {
            // Planning waits for nothing: it is a future by DataFusion's convention only.
            futures::executor::block_on(planner.create_physical_plan(plan, state.as_ref()))
        };
        for query in shared::all_of(&plan)? {
            leaves.share(&query, physical(&query.body)?);
        }
        Ok(physical(&plan)?)
    }
}

/// Whether a plan has a recursive query.
fn is_recursive(plan: &LogicalPlan) -> Result<bool, SqlError> {
    let mut found = false;
    shared::apply(plan, |node| {
        found |= matches!(node, LogicalPlan::RecursiveQuery(_));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}
