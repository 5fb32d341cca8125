//! The functions and operators of the SQL surface: PostgreSQL's, by DataFusion's where the two agree (`names.rs` lists them).
//!
//! One rule: batch queries and views call the very same definitions, so that a view equals its batch query (V1).
//! Pure: a function sees its arguments and the session's time zone, nothing else. Session values (`now()`,
//! `current_user`) are put into the plan by [`session::bind`] before it runs.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::{AggregateUDF, ColumnarValue, ScalarFunctionArgs, ScalarUDF, WindowUDF};

use crate::error::{SqlError, state};
use crate::stop;
use crate::types::PgType;

pub mod aggregates;
pub mod arithmetic;
mod array_extremes;
mod arrays;
mod bins;
mod bits;
mod bytes;
pub mod calls;
pub mod casts;
pub mod catalog;
mod datetime;
mod encodings;
pub mod excluded;
mod exploded;
mod extracted;
mod extremes;
pub mod gaps;
pub mod growth;
mod hashes;
mod hypothetical;
mod interval;
pub mod json;
mod kernel;
mod keys;
mod lengths;
mod locked;
mod math;
mod modifier;
mod moments;
mod names;
pub mod nullable;
mod numeric;
mod once;
pub mod operator;
mod ordered;
pub mod overflow;
mod overlaps;
mod overload;
mod part;
mod patterns;
pub mod quantified;
mod record;
mod regexes;
pub mod session;
pub mod shifted;
mod single;
mod sleep;
pub mod spread;
mod sums;
pub mod temporal;
mod text;
pub mod told;
mod trims;
mod variadic;
pub mod zone;

pub use arrays::{Shaping, differ_though_equal, distinct_elements, shaping};
pub use datetime::extract as datetime_extract;
pub use extremes::extreme;
pub use hypothetical::hypothetical;
pub use json::operator as json_operator;
pub use keys::{KeyKind, makes_keys};
pub use locked::RowLocks;
pub use modifier::Modifier;
pub use numeric::{Numbers, series as numeric_series};
pub use ordered::is_percentile;
pub use record::{is_row, make_row, record_text};
pub use single::{SinglePart, more_than_one, only_value, single_part, single_value, some_value_and_rows};
pub use text::quoting::like_escape;

/// The tables of functions that are computed row by row.
const TABLES: &[&[overload::Overload]] = &[
    text::TABLE,
    bytes::TABLE,
    regexes::TABLE,
    numeric::TABLE,
    overlaps::TABLE,
    bins::TABLE,
    bits::TABLE,
    hashes::TABLE,
];

/// Every function by each of its names, lower case.
pub struct Functions {
    pub scalar: HashMap<String, Arc<ScalarUDF>>,
    pub aggregate: HashMap<String, Arc<AggregateUDF>>,
    pub window: HashMap<String, Arc<WindowUDF>>,
}

/// The functions that a statement may name.
pub fn functions() -> &'static Functions {
    static FUNCTIONS: LazyLock<Functions> = LazyLock::new(Functions::new);
    &FUNCTIONS
}

impl Functions {
    fn new() -> Functions {
        let mut functions = Functions {
            scalar: HashMap::new(),
            aggregate: HashMap::new(),
            window: HashMap::new(),
        };
        functions.add_engines();
        // The engine's, which knows bins of months.
        functions.alias_scalar("date_bin", "time_bucket");

        for function in lengths::all()
            .into_iter()
            .chain(math::all())
            .chain(datetime::all())
            .chain(encodings::all())
            .chain(trims::all())
            .chain(arrays::all())
            .chain(variadic::all())
            .chain(numeric::all())
            .chain(overload::functions(TABLES))
            .chain(session::all())
            .chain(sleep::all())
            .chain(exploded::all())
            .chain(json::all())
        {
            functions.add_scalar(function);
        }
        let aggregates = sums::all().into_iter().chain(extremes::all()).chain(ordered::all());
        let variances = numeric::variances(&functions.aggregate);
        for function in aggregates
            .chain(json::aggregates())
            .chain(variances)
            .chain(moments::all())
        {
            functions.add_aggregate(function);
        }
        let bit_xor = functions.aggregate["bit_xor"].clone();
        functions.add_aggregate(once::one_by_one(bit_xor));
        functions.alias_aggregate("bool_and", "every");
        functions.alias_aggregate("var_samp", "variance");
        functions.alias_aggregate("stddev_samp", "stddev");
        functions
    }

    /// The engine's own, as far as a statement may name them or our rewrites call them.
    fn add_engines(&mut self) {
        let internal = |name: &str| {
            names::INTERNAL
                .iter()
                .find(|(engines, _)| *engines == name)
                .map(|(_, ours)| *ours)
        };
        for function in SessionStateDefaults::default_scalar_functions() {
            let function = growth::bound(function);
            for name in all_names(function.name(), function.aliases()) {
                if names::is_scalar(name) {
                    self.scalar.insert(name.to_string(), function.clone());
                }
                if let Some(ours) = internal(name) {
                    self.scalar.insert(ours.to_string(), function.clone());
                }
            }
        }
        for function in SessionStateDefaults::default_aggregate_functions() {
            let function = growth::bound_aggregate(function);
            for name in all_names(function.name(), function.aliases()) {
                if names::is_aggregate(name) {
                    self.aggregate.insert(name.to_string(), function.clone());
                }
                if let Some(ours) = internal(name) {
                    self.aggregate.insert(ours.to_string(), function.clone());
                }
            }
        }
        for function in SessionStateDefaults::default_window_functions() {
            let function = growth::bound_window(function);
            for name in all_names(function.name(), function.aliases()) {
                if names::is_window(name) {
                    self.window.insert(name.to_string(), function.clone());
                }
            }
        }
    }

    fn add_scalar(&mut self, function: Arc<ScalarUDF>) {
        let function = growth::bound(function);
        for name in function.aliases() {
            self.scalar.insert(name.clone(), function.clone());
        }
        self.scalar.insert(function.name().to_string(), function);
    }

    fn add_aggregate(&mut self, function: Arc<AggregateUDF>) {
        let function = growth::bound_aggregate(function);
        for name in function.aliases() {
            self.aggregate.insert(name.clone(), function.clone());
        }
        self.aggregate.insert(function.name().to_string(), function);
    }

    fn alias_scalar(&mut self, name: &str, alias: &str) {
        let function = self
            .scalar
            .get(name)
            .expect("the aliased function is a default one")
            .clone();
        self.scalar.insert(alias.to_string(), function);
    }

    fn alias_aggregate(&mut self, name: &str, alias: &str) {
        let function = self
            .aggregate
            .get(name)
            .expect("the aliased aggregate is a default one")
            .clone();
        self.aggregate.insert(alias.to_string(), function);
    }
}

fn all_names<'a>(name: &'a str, aliases: &'a [String]) -> impl Iterator<Item = &'a str> {
    aliases.iter().map(String::as_str).chain(std::iter::once(name))
}

/// 42883 for a function that takes no such arguments.
pub fn undefined_function(name: &str, arguments: &[DataType]) -> SqlError {
    let arguments: Vec<String> = arguments.iter().map(type_name).collect();
    SqlError::new(
        state::UNDEFINED_FUNCTION,
        format!("function {name}({}) does not exist", arguments.join(", ")),
    )
    .hint("No function matches the given name and argument types. You might need to add explicit type casts.")
}

/// 42883 for an operator that takes no such operands.
pub fn undefined_operator(operator: &str, left: &DataType, right: &DataType) -> SqlError {
    let message = format!(
        "operator does not exist: {} {operator} {}",
        type_name(left),
        type_name(right)
    );
    SqlError::new(state::UNDEFINED_FUNCTION, message)
        .hint("No operator matches the given name and argument types. You might need to add explicit type casts.")
}

/// PostgreSQL's name of the type that an Arrow type stands for, without modifier.
pub fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Decimal128(_, _) | DataType::LargeBinary => "numeric".to_string(),
        DataType::Null => "unknown".to_string(),
        other => PgType::of_arrow(other).map_or_else(|| other.to_string(), |pg_type| pg_type.name()),
    }
}

/// Between two steps of work whose length a statement decides: an error once nobody waits for it.
pub fn go_on() -> Result<(), DataFusionError> {
    stop::check().map_err(fail)
}

/// Evaluates a function over the columns of its arguments: of one row, whose value comes out, if no argument is a column.
fn over_columns(
    args: &ScalarFunctionArgs,
    evaluate: impl FnOnce(&[ArrayRef], usize) -> Result<ArrayRef, SqlError>,
) -> Result<ColumnarValue, DataFusionError> {
    let constant = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
    let rows = if constant { 1 } else { args.number_rows };
    let columns = args.args.iter().map(|value| value.to_array(rows));
    let made = evaluate(&columns.collect::<Result<Vec<_>, _>>()?, rows).map_err(fail)?;
    Ok(match (constant, made.as_list_opt::<i32>()) {
        (false, _) => ColumnarValue::Array(made),
        // As it is: the type of its items has metadata, which the engine would leave out.
        (true, Some(list)) => ColumnarValue::Scalar(ScalarValue::List(Arc::new(list.clone()))),
        (true, None) => ColumnarValue::Scalar(ScalarValue::try_from_array(&made, 0)?),
    })
}

/// Carries a [`SqlError`] through DataFusion; `sql::error` takes it out again.
pub fn fail(error: SqlError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_postgresql_has_may_be_named() {
        let known = functions();
        for name in [
            "arrow_cast",
            "arrow_typeof",
            "array_repeat",
            "levenshtein",
            "make_array",
            "range",
            "uuid",
            "nvl",
        ] {
            assert!(!known.scalar.contains_key(name), "{name}");
        }
        for name in ["approx_distinct", "median", "first_value", "quantile_cont", "var"] {
            assert!(!known.aggregate.contains_key(name), "{name}");
        }
        for (_, ours) in names::INTERNAL {
            let maps = [known.scalar.contains_key(ours), known.aggregate.contains_key(ours)];
            assert!(maps.contains(&true), "{ours}");
        }
    }

    /// A name on the lists that neither the engine nor we have would be a slip.
    #[test]
    fn every_name_on_the_lists_is_a_function() {
        let known = functions();
        let grammar = ["extract", "row", "trim"];
        for name in names::SCALAR.split(' ') {
            assert!(known.scalar.contains_key(name) || grammar.contains(&name), "{name}");
        }
        for name in names::AGGREGATE.split(' ') {
            assert!(known.aggregate.contains_key(name), "{name}");
        }
        for name in names::WINDOW.split(' ') {
            assert!(known.window.contains_key(name), "{name}");
        }
    }
}
