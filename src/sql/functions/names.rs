//! The functions of the engine that a statement may name: those that PostgreSQL has.
//!
//! One rule: a function that is not on these lists does not exist (42883), so the server promises nothing that
//! PostgreSQL does not have, and clients reach nothing unreviewed. The engine's rewrites use all of theirs; ours use
//! some, too ([`INTERNAL`]).

/// Scalar functions, and syntax that the grammar turns into functions.
pub const SCALAR: &str = "\
    abs acos acosh age array_append array_cat array_dims array_length array_ndims array_position \
    array_positions array_prepend array_replace array_to_string ascii asin asinh atan atan2 \
    atanh bit_length btrim cardinality cbrt ceil ceiling char_length character_length chr clock_timestamp \
    coalesce concat concat_ws cos cosh cot current_catalog current_database current_date current_role \
    current_schema current_schemas current_setting current_time current_timestamp current_user date_bin \
    date_part date_trunc decode degrees dexp div dsqrt encode exp extract factorial floor gcd \
    generate_series getpgusername greatest initcap isfinite justify_days justify_hours \
    justify_interval lcm least left length ln localtime localtimestamp log log10 lower lpad ltrim make_date \
    make_interval make_time make_timestamp make_timestamptz mod now nullif octet_length overlay \
    pg_backend_pid pg_sleep pi position pow power radians random regexp_count regexp_instr regexp_like \
    regexp_match regexp_replace repeat replace reverse right round row rpad rtrim session_user sign sin sinh \
    split_part sqrt starts_with statement_timestamp string_to_array strpos substr substring system_user tan \
    tanh timezone to_char to_date to_hex to_timestamp transaction_timestamp translate trim trunc upper user \
    version";

/// Aggregates. `first_value` and the like are window functions only.
pub const AGGREGATE: &str = "\
    any_value array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count covar_pop covar_samp every \
    grouping max min percentile_cont regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope \
    regr_sxx regr_sxy regr_syy stddev stddev_pop stddev_samp string_agg sum var_pop var_samp variance";

/// Window functions.
pub const WINDOW: &str = "\
    cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number";

/// Functions of the engine under other names: PostgreSQL's, and for our rewrites names that need quotes.
pub const INTERNAL: [(&str, &str); 3] = [
    // The engine's optimizer asks for it by name, for DISTINCT ON.
    ("first_value", "~first_value"),
    ("make_array", "~make_array"),
    ("uuid", "gen_random_uuid"),
];

fn is_in(list: &str, name: &str) -> bool {
    list.split(' ').any(|known| known == name)
}

pub fn is_scalar(name: &str) -> bool {
    is_in(SCALAR, name)
}

pub fn is_aggregate(name: &str) -> bool {
    is_in(AGGREGATE, name)
}

pub fn is_window(name: &str) -> bool {
    is_in(WINDOW, name)
}
