//! A parsed query to a typed logical plan, by PostgreSQL's rules of names and types.
//!
//! 1. `query.rs` and `select.rs` walk the syntax tree once: FROM (`from.rs`) gives names (`scope.rs`), expressions (`expr.rs`,
//!    `call.rs`) get types (`typed.rs`, `kinds.rs`), and a call or an operator is chosen by them (`choose.rs`).
//! 2. Aggregates, window functions and functions that return rows are taken out of expressions into plan nodes of their own
//!    (`group.rs`, `window.rs`, `rows.rs`).
//! 3. Subqueries stay expressions of the plan. `unnest.rs` makes joins of those that name columns of the query around them.
//!
//! One rule: every error of a statement's meaning arises here, with its SQLSTATE and position, and every column of a plan has
//! a name of its own. Not here: the definitions of relations and functions (`plan`, `functions`), running a plan
//! (`query`).

mod aggregate;
mod arrays;
mod asof;
mod bind;
mod call;
mod choose;
mod composite;
mod expr;
mod frames;
mod from;
mod from_part;
mod gapfill;
mod group;
mod hypothetical;
mod join;
mod key_join;
mod kinds;
mod lookup;
mod modifier;
mod number;
mod operators;
mod ordered;
mod output;
mod padding;
mod populate;
mod query;
mod record;
mod repetition;
mod rows;
mod scope;
mod select;
mod set_operation;
mod signatures;
mod sizes;
mod table_function;
mod traversal;
mod type_modifier;
mod typed;
pub mod unnest;
mod value_test;
mod window;
mod window_definition;
mod with;
mod written;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::{Expr, LogicalPlan, ScalarUDF};
use sqlparser::ast;
use sqlparser::tokenizer::Span;

use crate::catalog::Mention;
use crate::error::{Result, SqlError, state};
use crate::log::HiddenColumn;
use crate::sql::functions::catalog::{Facts, catalog_function};
use crate::sql::functions::functions;
use crate::sql::plan::context::{PlanContext, catalog_facts};
use crate::sql::plan::position;
use crate::sql::plan::provider::Reached;
use crate::sql::statement::Given;
use crate::sql::system_columns::TableColumn;
use crate::types::PgType;

pub use kinds::{CastContext, can_coerce};
pub use modifier::of_type as time_modifier;
pub use output::{OutColumn, QueryOutput};
pub use scope::{Clause, FromItem, Scope, ScopeColumn};
pub use typed::{Ty, Typed};

/// Analyzes one statement, or one view's definition.
pub struct Analyzer<'a> {
    pub ctx: &'a PlanContext<'a>,
    pub reached: &'a RefCell<Reached>,
    /// Its depth in views.
    pub depth: usize,
    /// Hidden columns that the statement names.
    hidden: Vec<HiddenColumn>,
    /// System columns that it names.
    system: Vec<TableColumn>,
    /// Relations that it names itself.
    direct: RefCell<BTreeSet<u32>>,
    /// Where it names them, by the first byte.
    mentions: RefCell<BTreeMap<usize, Mention>>,
    parameters: RefCell<Vec<Option<PgType>>>,
    /// Uses of each name of a FROM item in the plan.
    qualifiers: RefCell<HashMap<String, usize>>,
    /// The position where a column was named first.
    positions: RefCell<HashMap<Column, usize>>,
    /// Common table expressions in scope, innermost last.
    ctes: RefCell<Vec<from::Cte>>,
    /// Rows of queries of its WITH that ran before it.
    given: Given,
    /// Relations that it reads with its CTEs in place.
    relations: u64,
    /// Whether the next SELECT is a branch of a set operation, which gives its parameters their types.
    is_branch: Cell<bool>,
    /// Parameters that were used where any type will do, and had none yet, with their places.
    untyped: RefCell<Vec<(String, Option<usize>)>>,
    facts: OnceCell<Arc<Facts>>,
}

/// An analyzed query.
pub struct Analyzed {
    pub plan: LogicalPlan,
    pub columns: Vec<OutColumn>,
    /// OIDs of the relations named in the text itself.
    pub direct: Vec<u32>,
    /// Where it names them as items of FROM.
    pub mentions: Vec<Mention>,
    /// Types of `$1`, `$2`, ...; `None` where nothing gave one a type.
    pub parameters: Vec<Option<PgType>>,
}

impl<'a> Analyzer<'a> {
    pub fn new(ctx: &'a PlanContext<'a>, depth: usize, reached: &'a RefCell<Reached>) -> Analyzer<'a> {
        Analyzer {
            ctx,
            reached,
            depth,
            hidden: vec![],
            system: vec![],
            direct: RefCell::default(),
            mentions: RefCell::default(),
            parameters: RefCell::new(ctx.parameter_types.to_vec()),
            qualifiers: RefCell::default(),
            positions: RefCell::default(),
            ctes: RefCell::default(),
            given: Given::default(),
            relations: 1,
            is_branch: Cell::new(false),
            untyped: RefCell::default(),
            facts: OnceCell::new(),
        }
    }

    /// Analyzes a query that reads `relations` relations with its CTEs in place.
    pub fn analyze(mut self, query: &ast::Query, relations: u64) -> Result<Analyzed> {
        (self.hidden, self.system) = from::hidden_columns(query);
        self.relations = relations;
        let output = self.query(query, None)?;
        let output = self.settle_output(output)?;
        self.check_parameters()?;
        Ok(Analyzed {
            plan: output.plan,
            columns: output.columns,
            direct: self.direct.into_inner().into_iter().collect(),
            mentions: self.mentions.into_inner().into_values().collect(),
            parameters: self.parameters.into_inner(),
        })
    }

    /// The facts that catalog functions answer from; made when the first one is named.
    fn facts(&self) -> &Arc<Facts> {
        self.facts.get_or_init(|| Arc::new(catalog_facts(self.ctx)))
    }

    /// The same with the rows of queries of its WITH.
    pub fn with_given(mut self, given: Given) -> Analyzer<'a> {
        self.given = given;
        self
    }

    fn catalog_function(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        catalog_function(name, self.facts())
    }

    /// The implementation of a function.
    fn scalar(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        // Answered while planning, since FROM may need it: names are resolved along the same path.
        if name == "current_schemas" {
            return self.catalog_function(name);
        }
        let known = functions().scalar.get(name).cloned();
        known.or_else(|| self.catalog_function(name))
    }

    fn position(&self, span: Span) -> Option<usize> {
        position::of_span(self.ctx.text, span)
    }

    /// Notes where an item of FROM is a relation.
    fn mention(&self, idents: &[&ast::Ident], oid: u32, is_named_by_itself: bool) {
        let (Some(first), Some(last)) = (idents.first(), idents.last()) else {
            return;
        };
        // Lines are bytes, from 1, and 0 where a token was made.
        let start = (first.span.start.line as usize).checked_sub(1);
        let end = (last.span.end.line as usize).checked_sub(1);
        if let Some((start, end)) = start.zip(end).filter(|(start, end)| start < end) {
            let mention = Mention {
                start,
                end,
                oid,
                is_named_by_itself,
            };
            self.mentions.borrow_mut().insert(start, mention);
        }
    }

    /// The relation that is named there cannot be given another name there.
    fn names_no_item(&self, first: &ast::Ident) {
        let start = (first.span.start.line as usize).saturating_sub(1);
        if let Some(mention) = self.mentions.borrow_mut().get_mut(&start) {
            mention.is_named_by_itself = false;
        }
    }

    fn note_position(&self, column: &Column, position: Option<usize>) {
        if let Some(position) = position {
            self.positions.borrow_mut().entry(column.clone()).or_insert(position);
        }
    }

    /// A name for a FROM item that no other one has in the plan.
    fn qualifier(&self, name: &str) -> String {
        let mut qualifiers = self.qualifiers.borrow_mut();
        let used = qualifiers.entry(name.to_string()).or_default();
        *used += 1;
        match *used {
            1 => name.to_string(),
            number => format!("{name}\u{1}{number}"),
        }
    }

    /// A number that no other part of the statement has.
    fn number(&self) -> u64 {
        // Views that are expanded in place count on.
        let mut reached = self.reached.borrow_mut();
        reached.numbers += 1;
        reached.numbers
    }

    /// A name that no statement can have.
    fn internal_name(&self, what: &str) -> String {
        let mut qualifiers = self.qualifiers.borrow_mut();
        let used = qualifiers.entry(format!("\u{1}{what}")).or_default();
        *used += 1;
        format!("\u{1}{what}{used}")
    }

    /// The type of a parameter, which is `wanted` if it has none yet.
    fn type_parameter(&self, id: &str, wanted: &PgType) -> Result<PgType> {
        let number = parameter_number(id)?;
        let mut parameters = self.parameters.borrow_mut();
        if parameters.len() < number {
            parameters.resize(number, None);
        }
        match &parameters[number - 1] {
            Some(known) if known.oid() == wanted.oid() => Ok(known.clone()),
            Some(known) => Err(SqlError::new(
                state::AMBIGUOUS_PARAMETER,
                format!("inconsistent types deduced for parameter ${number}"),
            )
            .detail(format!("{} versus {}", known.name(), wanted.name()))),
            None => {
                parameters[number - 1] = Some(wanted.clone());
                Ok(wanted.clone())
            }
        }
    }

    /// 42P18 for a parameter that nothing gave a type, 42P08 for one that had none yet at one place and got one at another.
    fn check_parameters(&self) -> Result<()> {
        let parameters = self.parameters.borrow();
        let is_typed = |id: &str| {
            let known = parameter_number(id).ok().and_then(|number| parameters.get(number - 1));
            known.is_some_and(Option::is_some)
        };
        let untyped = self.untyped.borrow();
        let late = untyped.iter().find(|(id, _)| is_typed(id));
        let Some((id, position)) = late.or(untyped.first()) else {
            return Ok(());
        };
        let message = format!("could not determine data type of parameter {id}");
        match late {
            Some(_) => Err(typed::at(SqlError::new(state::AMBIGUOUS_PARAMETER, message), *position)),
            None => Err(SqlError::new(state::INDETERMINATE_DATATYPE, message)),
        }
    }

    /// A parameter, with its type if it has one.
    fn parameter(&self, id: &str, position: Option<usize>) -> Result<Typed> {
        let number = parameter_number(id).map_err(|error| typed::at(error, position))?;
        let mut parameters = self.parameters.borrow_mut();
        if parameters.len() < number {
            parameters.resize(number, None);
        }
        Ok(match &parameters[number - 1] {
            Some(known) => Typed::new(typed::parameter(id.to_string(), known), known.clone(), position),
            None => {
                let placeholder = datafusion::logical_expr::expr::Placeholder::new_with_field(id.to_string(), None);
                Typed::unknown(Expr::Placeholder(placeholder), position)
            }
        })
    }
}

/// An expression over columns that is no part of a query: a DEFAULT, a CHECK, an argument of EXECUTE.
pub fn stored(expr: &ast::Expr, columns: &DFSchema, clause: Clause, ctx: &PlanContext) -> Result<Typed> {
    let reached = RefCell::default();
    let analyzer = Analyzer::new(ctx, 0, &reached);
    let mut item = FromItem {
        bare: true,
        ..FromItem::default()
    };
    for (qualifier, field) in columns.iter() {
        item.name = qualifier.map(|qualifier| qualifier.table().to_string());
        item.columns.push(ScopeColumn {
            name: field.name().clone(),
            expr: Expr::Column(Column::from((qualifier, field))),
            pg_type: PgType::of_field(field).unwrap_or(PgType::Text),
            hidden: false,
            row: None,
            typmod: None,
        });
    }
    let items = if item.columns.is_empty() { vec![] } else { vec![item] };
    let scope = Scope::new(items, None);
    let typed = scope.within(clause, || analyzer.expr(expr, &scope))?;
    analyzer.check_parameters()?;
    match typed.ty {
        Ty::Row(_) | Ty::Rows(_) => analyzer.row_text(&typed),
        _ => Ok(typed),
    }
}

/// Most parameters of a statement, as in PostgreSQL's protocol.
const PARAMETERS_MAX: usize = 65_535;

fn parameter_number(id: &str) -> Result<usize> {
    let number = id.trim_start_matches('$').parse::<usize>().ok();
    number
        .filter(|number| (1..=PARAMETERS_MAX).contains(number))
        .ok_or_else(|| SqlError::new(state::UNDEFINED_PARAMETER, format!("there is no parameter {id}")))
}
