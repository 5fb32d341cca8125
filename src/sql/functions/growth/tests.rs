//! Sizes of values: every function is known, and a value past its bound is refused before it is made.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use datafusion::logical_expr::{Expr, col, lit};
use datafusion::physical_expr::PhysicalExpr;

use super::account::{Mode, with_mode};
use super::estimate::Growth;
use super::*;
use crate::sql::functions::functions;
use crate::sql::functions::regexes::limits;
use crate::sql::plan::eval;

/// Functions whose result is no larger than an argument, or of a size of its own.
const FIXED: &str = "
    abs aclexplode acos acosd acosh age array_contained array_contains_all array_dims array_length array_lower array_ndims
    array_overlap array_position array_remove array_upper ascii asin asind asinh atan atan2
    atan2d atand atanh bit_count bit_length bit_not btrim bytealike byteanlike cardinality cbrt ceil ceiling char_length
    character_length chr clock_timestamp coalesce convert_to cos cosd cosh cot cotd current_catalog
    current_database current_date current_role current_schema current_schemas current_setting current_time
    current_timestamp current_user date_bin date_part date_trunc degrees dexp div dsqrt exp extract factorial
    floor gcd gen_random_uuid get_bit get_byte getpgusername hashint2 hashint4
    hashint4extended hashint8 hashint8extended hashname hashoid hashtext hashtextextended inet_client_addr inet_client_port int8xor is_normalized
    isfinite json_array_length json_extract json_extract_path json_extract_path_text json_extract_text
    json_object_field json_object_field_text json_typeof jsonb_array_length jsonb_cmp jsonb_compare
    jsonb_contained jsonb_contains jsonb_delete jsonb_delete_path jsonb_eq jsonb_exists jsonb_exists_all
    jsonb_exists_any jsonb_extract_path jsonb_extract_path_text jsonb_path_exists jsonb_path_exists_opr
    jsonb_path_exists_tz jsonb_path_match jsonb_path_match_opr jsonb_path_match_tz jsonb_subscript jsonb_to_bool
    jsonb_to_float4 jsonb_to_float8 jsonb_to_int2 jsonb_to_int4 jsonb_to_int8 jsonb_to_numeric jsonb_typeof
    justify_days justify_hours justify_interval lcm left length ln localtime localtimestamp log log10 ltrim
    make_date make_interval make_time make_timestamp make_timestamptz md5 millstream_version min_scale mod now
    num_nonnulls num_nulls octet_length overlaps pg_backend_pid pg_cancel_backend pg_options_to_table pg_sleep pg_terminate_backend
    pi position pow power proctime radians random right round rtrim rw_version scale session_user set_bit
    set_byte sha224 sha256 sha384 sha512 sign signum sin sind sinh split_part sqrt starts_with
    statement_timestamp strpos substr substring system_user tan tand tanh time_bucket timezone to_date to_hex
    to_number to_timestamp today transaction_timestamp trim trim_array trim_scale trunc unistr user uuid version
    width_bucket
    ~pg_advisory_unlock ~pg_advisory_unlock_shared ~pg_try_advisory_lock
    ~pg_try_advisory_lock_shared ~pg_try_advisory_xact_lock ~pg_try_advisory_xact_lock_shared
";

/// A call over rows of a number `n` and a text `t`.
fn call(name: &str, args: Vec<Expr>) -> Arc<dyn PhysicalExpr> {
    let schema = DFSchema::try_from(schema()).expect("the columns have names of their own");
    let expr = functions().scalar[name].call(args);
    let expr = eval::coerce(expr, &schema).expect("the call has a meaning");
    eval::compile(&expr, &schema).expect("it can be computed")
}

fn schema() -> Schema {
    Schema::new(vec![
        Field::new("n", DataType::Int64, true),
        Field::new("t", DataType::Utf8, true),
    ])
}

fn rows(numbers: Vec<i64>, text: &str) -> RecordBatch {
    let texts = StringArray::from(vec![text; numbers.len()]);
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(numbers)), Arc::new(texts)];
    RecordBatch::try_new(Arc::new(schema()), columns).expect("the columns fit")
}

fn evaluate(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<ArrayRef, SqlError> {
    let value = expr.evaluate(batch).map_err(SqlError::from)?;
    Ok(value.into_array(batch.num_rows()).expect("it is an array"))
}

fn repeats() -> Arc<dyn PhysicalExpr> {
    call("repeat", vec![col("t"), col("n")])
}

#[test]
fn every_function_grows_in_a_known_way_or_not_at_all() {
    let fixed: BTreeSet<&str> = FIXED.split_whitespace().collect();
    let unknown: Vec<&String> = functions()
        .scalar
        .iter()
        .filter(|(name, function)| {
            !fixed.contains(name.as_str()) && !fixed.contains(function.name()) && !is_bounded(function)
        })
        .map(|(name, _)| name)
        .collect();
    assert!(unknown.is_empty(), "say how these grow: {unknown:?}");
    let named: BTreeSet<&str> = functions()
        .scalar
        .iter()
        .flat_map(|(name, function)| [name.as_str(), function.name()])
        .collect();
    let gone: Vec<&&str> = fixed.difference(&named).collect();
    assert!(gone.is_empty(), "no function has these names: {gone:?}");
    let both: Vec<&&str> = fixed.iter().filter(|name| Growth::of(name).is_some()).collect();
    assert!(both.is_empty(), "these grow: {both:?}");
}

#[test]
fn a_value_past_the_bound_is_refused_before_it_is_made() {
    let error = evaluate(&repeats(), &rows(vec![1, 200_000_000], "abcdefgh")).expect_err("it would have 1.6 GB");
    assert_eq!(error.state, state::PROGRAM_LIMIT_EXCEEDED);
    assert_eq!(error.message, "requested length too large");
}

#[test]
fn values_count_until_their_array_goes() {
    let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(64 << 20));
    let account = Account::new(&pool);
    let scope = AccountScope {
        account: Some(account.clone()),
        runs: true,
    };
    let entered = scope.enter();
    let made = evaluate(&repeats(), &rows(vec![1 << 20; 16], "a")).expect("16 MiB fit twice");
    assert!((16 << 20..32 << 20).contains(&account.bytes()), "{}", account.bytes());
    assert_eq!(made.as_string::<i32>().value(15).len(), 1 << 20);
    let error = evaluate(&repeats(), &rows(vec![1 << 20; 32], "a")).expect_err("32 MiB take 64 while they are made");
    assert_eq!(error.state, state::OUT_OF_MEMORY);
    drop(made);
    assert_eq!(account.bytes(), 0);
    evaluate(&repeats(), &rows(vec![1 << 20; 32], "a")).expect("now they fit");
    drop(entered);
    evaluate(&repeats(), &rows(vec![1 << 20; 64], "a")).expect("nobody counts outside of the scope");
}

#[test]
fn what_a_statement_leaves_behind_counts_no_longer() {
    let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(64 << 20));
    let account = Account::new(&pool);
    let scope = AccountScope {
        account: Some(account.clone()),
        runs: true,
    };
    let _entered = scope.enter();
    let left = evaluate(&repeats(), &rows(vec![1 << 20; 16], "a")).expect("it fits");
    account.settle();
    assert_eq!(pool.reserved(), 0);
    let next = evaluate(&repeats(), &rows(vec![1 << 20; 16], "a")).expect("it fits");
    let bytes = account.bytes();
    drop(left);
    assert_eq!(account.bytes(), bytes, "the next statement's is untouched");
    drop(next);
    assert_eq!(pool.reserved(), 0);
}

#[test]
fn a_batch_is_made_in_parts_that_are_small() {
    let (repeats, batch) = (repeats(), rows(vec![3 << 20; 9], "a"));
    let mut slices = BatchSlices::new(batch.num_rows(), usize::MAX);
    let mut lengths = Vec::new();
    while let Some(part) = slices.next(
        |start, length| evaluate(&repeats, &batch.slice(start, length)),
        is_too_large,
    ) {
        lengths.push(part.expect("it fits").len());
    }
    assert_eq!(lengths, [2, 2, 2, 2, 1]);
}

#[test]
fn one_row_and_none_are_one_part() {
    let repeats = repeats();
    for batch in [rows(vec![100 << 20], "a"), rows(vec![], "a")] {
        let mut slices = BatchSlices::new(batch.num_rows(), usize::MAX);
        let mut parts = 0;
        while let Some(part) = slices.next(
            |start, length| evaluate(&repeats, &batch.slice(start, length)),
            is_too_large,
        ) {
            assert_eq!(part.expect("it is made whole").len(), batch.num_rows());
            parts += 1;
        }
        assert_eq!(parts, 1);
    }
}

#[test]
fn one_value_for_all_rows_counts_for_each_where_it_may_become_so() {
    let constant = call("repeat", vec![lit("a"), lit(1_i64 << 20)]);
    let batch = rows(vec![0; 100], "a");
    let refused = with_mode(Mode::Sliced, || constant.evaluate(&batch)).expect_err("100 MiB");
    assert!(engine_says_too_large(&refused));
    with_mode(Mode::Sliced, || constant.evaluate(&batch.slice(0, 8))).expect("8 MiB");
}

#[test]
fn large_constants_are_not_folded() {
    let constant = call("repeat", vec![lit("a"), lit(2_i64 << 20)]);
    let refused = with_mode(Mode::Folded, || constant.evaluate(&eval::one_row())).expect_err("2 MiB");
    assert!(engine_says_too_large(&refused));
}

#[test]
fn estimates_are_never_less_than_what_is_made() {
    let text = "Straße, aß ÄÖ {\"a\\\"b\"} 12345 ŉ";
    let batch = rows(vec![3, 0, -1, 7], text);
    let array = || functions().scalar["string_to_array"].call(vec![col("t"), lit(" ")]);
    let array_of = |text: &str| functions().scalar["string_to_array"].call(vec![lit(text), lit(" ")]);
    let cases: Vec<(&str, Vec<Expr>)> = vec![
        ("repeat", vec![col("t"), col("n")]),
        ("lpad", vec![col("t"), lit(100_i64), lit("äb")]),
        ("rpad", vec![col("t"), lit(50_i64)]),
        ("replace", vec![col("t"), lit("a"), lit("longer than it")]),
        ("replace", vec![col("t"), lit(""), lit("xy")]),
        ("translate", vec![col("t"), lit("ab"), lit("ßÄ")]),
        ("overlay", vec![col("t"), lit("inner"), lit(2_i64), lit(1_i64)]),
        ("concat", vec![col("t"), col("t"), lit("x")]),
        ("concat_ws", vec![lit(", "), col("t"), col("t"), col("t")]),
        ("upper", vec![col("t")]),
        ("lower", vec![col("t")]),
        ("initcap", vec![col("t")]),
        ("reverse", vec![col("t")]),
        ("string_to_array", vec![col("t"), lit(" ")]),
        ("array_to_string", vec![array(), lit("--"), lit("none")]),
        ("array_append", vec![array(), col("t")]),
        ("array_cat", vec![array(), array()]),
        ("generate_series", vec![lit(1_i64), col("n")]),
        (
            "regexp_replace",
            vec![col("t"), lit("[a-z]"), lit("<\\0\\0>"), lit("g")],
        ),
        ("regexp_match", vec![col("t"), lit("((a)(.))")]),
        ("to_json", vec![col("t")]),
        ("to_jsonb", vec![col("n")]),
        ("to_json", vec![array()]),
        ("json_build_array", vec![col("t"), col("n"), array()]),
        (
            "jsonb_build_object",
            vec![col("t"), array(), lit("\u{1}\u{2}"), lit(true)],
        ),
        ("json_object", vec![array(), array()]),
        ("jsonb_concat", vec![lit("1"), lit("2")]),
        ("jsonb_set", vec![lit("{}"), array(), lit("[1]")]),
        ("jsonb_insert", vec![lit("[[]]"), array_of("0"), lit("1")]),
        ("json_strip_nulls", vec![lit("{\"a\":1}")]),
        ("jsonb_pretty", vec![lit("[[[], {\"a\": 1}], 2]")]),
        ("jsonb_sort_key", vec![lit("1")]),
        ("json_array_elements", vec![lit("[1,1,1,1]")]),
        ("json_each", vec![lit("{\"\":1,\"\":1}")]),
        ("jsonb_object_keys", vec![lit("{\"a\": 1, \"b\": 2}")]),
        ("jsonpath_in", vec![lit("$.\u{1}\u{2}.a.b.\"c\".*")]),
        ("jsonb_path_query", vec![lit("[1, 1, 1]"), lit("$[*]")]),
        ("jsonb_path_query_array", vec![lit("[1, 1, 1]"), lit("$[*]")]),
    ];
    for (name, args) in cases {
        let expr = call(name, args.clone());
        let made = evaluate(&expr, &batch).unwrap_or_else(|error| panic!("{name}: {error}"));
        let schema = DFSchema::try_from(schema()).expect("the columns have names of their own");
        let values: Vec<_> = args
            .iter()
            .map(|arg| {
                let arg = eval::coerce(arg.clone(), &schema).expect("it has a meaning");
                let arg = eval::compile(&arg, &schema).expect("it can be computed");
                arg.evaluate(&batch).expect("it has a value")
            })
            .collect();
        let arguments = estimate::Arguments::new(&values, batch.num_rows());
        let growth = Growth::of(name).expect("it grows");
        let mut total = 0;
        for row in 0..arguments.rows() {
            let value = ScalarValue::try_from_array(&made, row).expect("a value");
            let bytes = if value.is_null() {
                0
            } else {
                scalar_bytes(&value) - offsets(&value)
            };
            let most = growth.of_row(&arguments, row);
            assert!(most >= bytes, "{name}, row {row}: {most} for {bytes}");
            total += bytes;
        }
        assert!(growth.at_most(&arguments) >= total, "{name}: {total}");
    }
}

/// Bytes of a list that are its offsets.
fn offsets(value: &ScalarValue) -> u64 {
    match value {
        ScalarValue::List(list) => 4 * list.len() as u64 + 4 * list.values().len() as u64,
        _ => 0,
    }
}

#[test]
fn patterns_are_bounded_before_they_are_compiled() {
    limits::check(&"(foo|bar)".repeat(7000)).expect("it has 63,000 bytes");
    limits::check(&r"[a-z]\w+".repeat(2000)).expect("its sets are small");
    for pattern in ["a".repeat(65_537), r"[a-\x{2FFF}]".repeat(5000), r"[\w]".repeat(10_000)] {
        let error = limits::check(&pattern).expect_err("it takes too much");
        assert_eq!(error.state, state::INVALID_REGULAR_EXPRESSION);
        assert_eq!(
            error.message,
            "invalid regular expression: regular expression is too complex"
        );
    }
}
