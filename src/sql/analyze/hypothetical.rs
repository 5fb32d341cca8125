//! Calls of hypothetical-set aggregates: `rank(5) WITHIN GROUP (ORDER BY x)`.
//!
//! One rule: a value and the column that it is asked about become one type, as the two sides of a comparison do.

use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::{AggregateFunction, Sort};
use sqlparser::ast;

use super::call::GivenArguments;
use super::scope::{Clause, Scope};
use super::typed::{Typed, at};
use super::{Analyzer, Result};
use crate::error::{SqlError, state};
use crate::sql::functions::hypothetical;
use crate::types::PgType;

impl Analyzer<'_> {
    /// A call of a window function's name that is none of a window; `None` where it is no aggregate either.
    pub fn hypothetical_call(
        &self,
        name: &str,
        call: &ast::Function,
        scope: &Scope,
        position: Option<usize>,
    ) -> Result<Option<Typed>> {
        let Some(function) = hypothetical(name) else {
            return Ok(None);
        };
        if call.within_group.is_empty() {
            let has_arguments = matches!(&call.args, ast::FunctionArguments::List(list) if !list.args.is_empty());
            return match has_arguments {
                true => Err(at(
                    SqlError::new(
                        state::WRONG_OBJECT_TYPE,
                        format!("WITHIN GROUP is required for ordered-set aggregate {name}"),
                    ),
                    position,
                )),
                false => Ok(None),
            };
        }
        let around = scope.nested.take();
        let given = scope.within(Clause::Aggregate, || self.arguments(call, scope))?;
        let filter = self.filter_of(call, scope)?;
        let order = scope.within(Clause::Aggregate, || {
            let all = call.within_group.iter().map(|by| self.expr(&by.expr, scope));
            all.collect::<Result<Vec<_>>>()
        })?;
        check_counts(name, &given, &order, position)?;
        let (mut ordered, mut asked, mut sorts) = (Vec::new(), Vec::new(), Vec::new());
        let columns = call.within_group.iter().zip(order);
        for ((by, column), value) in columns.zip(given.arguments) {
            let (both, _) = self.unify(vec![column, value], "WITHIN GROUP")?;
            let [column, value] = <[Typed; 2]>::try_from(both).expect("two went in");
            let (column, sort) = self.ordered_by(column, by.options)?;
            sorts.push(Sort {
                expr: column.expr.clone(),
                ..sort
            });
            ordered.push(column);
            asked.push(value);
        }
        scope.end_nesting(around)?;
        super::aggregate::check_aggregate_clause(name, scope, position)?;
        let arguments: Vec<Typed> = ordered.into_iter().chain(asked).collect();
        let exprs = arguments.iter().map(|typed| typed.expr.clone()).collect();
        let made = AggregateFunction::new_udf(function.clone(), exprs, false, filter, sorts, None);
        let result = match name {
            "rank" | "dense_rank" => PgType::Int8,
            _ => PgType::Float8,
        };
        let typed = Typed::new(Expr::AggregateFunction(made), result, position);
        self.at_its_level(typed, &arguments, scope).map(Some)
    }
}

fn check_counts(name: &str, given: &GivenArguments, order: &[Typed], position: Option<usize>) -> Result<()> {
    if given.distinct {
        return Err(at(
            SqlError::new(state::SYNTAX_ERROR, "cannot use DISTINCT with WITHIN GROUP"),
            position,
        ));
    }
    if given.arguments.len() == order.len() {
        return Ok(());
    }
    let all = given.arguments.iter().chain(order);
    let types: Vec<String> = all.map(Typed::type_name).collect();
    let message = format!("function {name}({}) does not exist", types.join(", "));
    let hint = format!(
        "To use the hypothetical-set aggregate {name}, the number of hypothetical direct arguments (here {}) must match \
         the number of ordering columns (here {}).",
        given.arguments.len(),
        order.len()
    );
    Err(at(
        SqlError::new(state::UNDEFINED_FUNCTION, message).hint(hint),
        position,
    ))
}
