//! Differences that are meant to be, each with its reason.

use super::database::Answer;
use super::difference::Kind;

struct Exception {
    /// The reason, for readers of the list.
    #[allow(dead_code, reason = "it is for readers")]
    reason: &'static str,
    is_it: fn(&Kind, &Answer, &Answer, &str) -> bool,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        reason: "a composite value is shown as text, so record has text's OID",
        is_it: |kind, postgres, ours, _| {
            let pairs = postgres.columns.iter().zip(&ours.columns);
            let differing: Vec<_> = pairs.filter(|(postgres, ours)| postgres.oid != ours.oid).collect();
            *kind == Kind::Types
                && !differing.is_empty()
                && differing
                    .iter()
                    .all(|(postgres, ours)| postgres.oid == 2249 && ours.oid == 25)
        },
    },
    Exception {
        reason: "an error that depends on a row may come first or never, as plans evaluate other rows",
        is_it: |kind, _, _, sql| {
            let reads = sql.contains(" FROM ");
            reads && matches!(kind, Kind::Both(postgres, ours) if is_data(postgres) && is_data(ours))
        },
    },
    Exception {
        reason: "PostgreSQL computes constants even if no row asks for them",
        is_it: |kind, postgres, _, sql| {
            let message = postgres.failure.as_ref().map_or("", |failure| &failure.message);
            const SKIPPING: [&str; 10] = [
                "WHERE", "FROM", "LIMIT", "AND", "OR", "HAVING", "CASE", "OFFSET", "FETCH", "coalesce",
            ];
            let may_skip = SKIPPING.iter().any(|word| sql.contains(word));
            const OF_VALUES: [&str; 2] = ["cannot convert ", "searching for elements in multidimensional arrays"];
            let of_value = OF_VALUES.iter().any(|known| message.starts_with(known));
            may_skip && matches!(kind, Kind::OnlyPostgres(state) if is_data(state) || state == "0A000" && of_value)
        },
    },
    Exception {
        reason: "PostgreSQL drops the parts of CASE that constants rule out, and what stands in them",
        is_it: |kind, _, _, sql| {
            matches!(kind, Kind::OnlyOurs(state, message)
                if sql.contains("CASE") && (is_data(state) || message.starts_with("searching for elements in")))
        },
    },
    Exception {
        reason: "docs/sql.md, not yet: timestamps from 294247-01-10 on, which later dates become where they are compared",
        is_it: |kind, _, _, _| {
            matches!(kind, Kind::OnlyOurs(state, message)
                if state == "22008" && message == "date out of range for timestamp")
        },
    },
    Exception {
        reason: "docs/compat.md: functions that are not there yet",
        is_it: |kind, _, ours, _| {
            let message = ours.failure.as_ref().map_or("", |failure| &failure.message);
            let name = message
                .strip_prefix("function ")
                .and_then(|call| call.split('(').next());
            let listed = name.is_some_and(|name| include_str!("../../docs/compat.md").contains(&format!("`{name}`")));
            listed && matches!(kind, Kind::OnlyOurs(state, _) if state == "42883" || state == "0A000")
        },
    },
    Exception {
        reason: "of conditions that are joined by AND or OR either may be evaluated first, and decide alone",
        is_it: |kind, _, _, sql| {
            let joins = sql.contains(" AND ") || sql.contains(" OR ");
            joins && sql.contains(" FROM ") && matches!(kind, Kind::OnlyOurs(state, _) if is_data(state))
        },
    },
    Exception {
        reason: "docs/sql.md, not yet: subqueries that name columns of several queries around",
        is_it: |kind, _, _, _| {
            matches!(kind, Kind::OnlyOurs(state, message)
                if state == "0A000" && message.contains("not supported: physical plan does not"))
        },
    },
    Exception {
        reason: "docs/sql.md, not yet: NaN in NUMERIC(p,s), before or after which PostgreSQL may meet an infinite value",
        is_it: |kind, _, ours, _| {
            let is_not_yet = ours.failure.as_ref().is_some_and(|failure| {
                failure.state == "0A000" && failure.message.starts_with("NaN in a numeric with a precision")
            });
            is_not_yet
                && match kind {
                    Kind::OnlyOurs(..) => true,
                    Kind::Both(postgres, _) => is_data(postgres),
                    _ => false,
                }
        },
    },
    Exception {
        reason: "docs/sql.md, not yet: bit strings, network addresses, ranges, shapes and text search, of whose types a \
                 literal without a type might be as well",
        is_it: |kind, postgres, _, _| {
            const CALLS: [&str; 5] = [
                "function bit_count(unknown)",
                "function trunc(unknown)",
                "function unnest(unknown)",
                "operator is not unique: unknown && unknown",
                "operator is not unique: unknown ?| unknown",
            ];
            let message = postgres.failure.as_ref().map_or("", |failure| &failure.message);
            let is_call = CALLS.iter().any(|call| message.starts_with(call));
            is_call && matches!(kind, Kind::OnlyPostgres(state) | Kind::Both(state, _) if state == "42725")
        },
    },
    Exception {
        reason: "docs/sql.md, not yet: text search, which two literals around @@ are",
        is_it: |kind, _, _, _| matches!(kind, Kind::OnlyOurs(state, message) if state == "0A000" && message.starts_with("operator text @@ text")),
    },
    Exception {
        reason: "docs/compat.md: functions that write a type's binary form are not called by name",
        is_it: |kind, _, ours, _| {
            let message = ours.failure.as_ref().map_or("", |failure| &failure.message);
            let of_send = message.starts_with("function ") && message.contains("send(");
            of_send && matches!(kind, Kind::OnlyOurs(state, _) if state == "42883")
        },
    },
    Exception {
        reason: "docs/sql.md: the time of day of an interval reaches 292 years",
        is_it: |kind, _, _, _| matches!(kind, Kind::OnlyOurs(state, message) if state == "22008" && message == "interval out of range"),
    },
    Exception {
        reason: "doubles are added up in another order, and what should be 0 is nearly so",
        is_it: |kind, _, _, sql| {
            const SUMS: [&str; 5] = ["regr_", "corr(", "covar_", "stddev", "var"];
            let is_framed = ["sum(", "avg("].iter().any(|sum| sql.contains(sum)) && sql.contains("ROWS BETWEEN");
            *kind == Kind::Values && (is_framed || SUMS.iter().any(|sum| sql.contains(sum)))
        },
    },
    Exception {
        reason: "values that are gathered without ORDER BY come in any order from a join",
        is_it: |kind, _, _, sql| {
            const GATHERED: [&str; 4] = ["array_agg(", "string_agg(", "json_agg(", "jsonb_agg("];
            *kind == Kind::Values && sql.contains(" JOIN ") && GATHERED.iter().any(|call| sql.contains(call))
        },
    },
    Exception {
        reason: "PostgreSQL looks at the frames of windows after WHERE, and at the rows of a constant before",
        is_it: |kind, _, ours, _| {
            let message = ours.failure.as_ref().map_or("", |failure| &failure.message);
            matches!(kind, Kind::Both(..)) && message.starts_with("RANGE with offset")
        },
    },
    Exception {
        reason: "a strict call over a constant NULL is NULL to PostgreSQL's planner, and its other arguments are not evaluated",
        is_it: |kind, _, _, sql| sql.contains("NULL") && matches!(kind, Kind::OnlyOurs(state, _) if is_data(state)),
    },
    Exception {
        reason: "PostgreSQL reports the modifier of what its planner leaves of CASE and COALESCE over constants",
        is_it: |kind, _, _, sql| *kind == Kind::Modifiers && (sql.contains("CASE") || sql.contains("coalesce")),
    },
    Exception {
        reason: "PostgreSQL reads the fields of an interval from the last one, so it finds the other of two faults first",
        is_it: |kind, _, _, _| matches!(kind, Kind::Both(postgres, ours) if postgres == "22007" && ours == "22015"),
    },
    Exception {
        reason: "a subquery that only gives an outer column is that column, so to group by it groups the column",
        is_it: |kind, postgres, _, sql| {
            let message = postgres.failure.as_ref().map_or("", |failure| &failure.message);
            let is_ungrouped =
                message.ends_with("must appear in the GROUP BY clause or be used in an aggregate function");
            let is_refused = is_ungrouped && matches!(kind, Kind::OnlyPostgres(_));
            let is_set =
                *kind == Kind::Values && ["ROLLUP", "CUBE", "GROUPING SETS"].iter().any(|set| sql.contains(set));
            sql.contains("(SELECT r") && (is_refused || is_set)
        },
    },
    Exception {
        reason: "PostgreSQL does not compare rows with a literal without a type in them",
        is_it: |kind, postgres, _, _| {
            let message = postgres.failure.as_ref().map_or("", |failure| &failure.message);
            message == "could not identify a comparison function for type unknown"
                && matches!(kind, Kind::OnlyPostgres(_))
        },
    },
];

pub fn has(kind: &Kind, postgres: &Answer, ours: &Answer, sql: &str) -> bool {
    EXCEPTIONS
        .iter()
        .any(|exception| (exception.is_it)(kind, postgres, ours, sql))
}

/// A SQLSTATE of values, not of the statement.
fn is_data(state: &str) -> bool {
    state.starts_with("22") || state == "21000"
}
