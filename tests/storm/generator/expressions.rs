//! Expressions of a wanted kind, of operators, casts, CASE, subqueries and functions; and calls of any function of the
//! registry, whose arguments need not fit.

use millstream::sql::functions::functions;
use rand::seq::IndexedRandom;

use super::Generator;
use super::values::{Kind, TYPES};

impl Generator<'_> {
    /// A call of one function of the registry, with arguments of any kind.
    pub(super) fn function_alone(&mut self) -> String {
        self.columns = false;
        let call = self.any_function(1);
        if self.chance(0.3) {
            self.columns = true;
            let call = self.any_function(1);
            return format!("SELECT {call} FROM {}", self.topic());
        }
        format!("SELECT {call}")
    }

    fn any_function(&mut self, depth: usize) -> String {
        // Those that end others' sessions have tests of their own.
        const EXCLUDED: &[&str] = &["pg_terminate_backend", "pg_cancel_backend"];
        let functions = functions();
        let mut names: Vec<&str> = functions
            .scalar
            .keys()
            .chain(functions.aggregate.keys())
            .map(String::as_str)
            .collect();
        names.extend(functions.window.keys().map(String::as_str));
        names.retain(|name| !EXCLUDED.contains(name));
        // Maps have no order of their own.
        names.sort_unstable();
        let name = self.one(&names);
        let is_window = functions.window.contains_key(name);
        let count = *[0, 1, 1, 1, 2, 2, 2, 3, 3, 4]
            .choose(self.random)
            .expect("there are some");
        let arguments: Vec<String> = (0..count)
            .map(|_| {
                let kind = self.kind();
                self.expression(kind, depth)
            })
            .collect();
        let over = if is_window || self.chance(0.05) {
            self.over()
        } else {
            String::new()
        };
        format!("{name}({}){over}", arguments.join(", "))
    }

    /// An expression that is mostly of this kind.
    pub fn expression(&mut self, kind: Kind, depth: usize) -> String {
        if depth == 0 || self.chance(0.3) {
            return if self.columns && self.chance(0.6) {
                self.column(kind).to_string()
            } else {
                self.literal(kind)
            };
        }
        let depth = depth - 1;
        if self.chance(0.12) {
            return self.any_function(depth);
        }
        if self.chance(0.08) {
            let (from, to) = (self.kind(), self.one(TYPES));
            return format!("({})::{to}", self.expression(from, depth));
        }
        if self.chance(0.08) {
            let (condition, one, other) = (
                self.expression(Kind::Boolean, depth),
                self.expression(kind, depth),
                self.expression(kind, depth),
            );
            return format!("CASE WHEN {condition} THEN {one} ELSE {other} END");
        }
        if self.chance(0.05) {
            return format!("({} LIMIT 1)", self.select_of(kind, depth));
        }
        let mut e = |kind| self.expression(kind, depth);
        let (i, j, t, u) = (e(Kind::Integer), e(Kind::Integer), e(Kind::Text), e(Kind::Text));
        let (n, f, time, date) = (e(Kind::Numeric), e(Kind::Float), e(Kind::Time), e(Kind::Date));
        let (interval, array, boolean) = (e(Kind::Interval), e(Kind::Array), e(Kind::Boolean));
        let (bytes, json) = (e(Kind::Bytes), e(Kind::Json));
        let choices: Vec<String> = match kind {
            Kind::Integer => vec![
                format!("({i} + {j})"),
                format!("({i} * {j})"),
                format!("({i} / {j})"),
                format!("({i} % {j})"),
                format!("length({t})"),
                format!("(-{i})"),
                format!("strpos({t}, {u})"),
                format!("array_length({array}, 1)"),
                format!("abs({i})"),
                format!("extract(year FROM {time})::int"),
                format!("cardinality({array})"),
                format!("({i} << {j})"),
                format!("({i} & {j})"),
                format!("levenshtein({t}, {u})"),
                format!("ascii({t})"),
                format!("octet_length({bytes})"),
                format!("({i})::smallint"),
                format!("coalesce({i}, {j})"),
                format!("greatest({i}, {j}, 3)"),
                format!("width_bucket({n}, 0, 10, {i})"),
                format!("factorial({i})"),
            ],
            Kind::Text => vec![
                format!("({t} || {u})"),
                format!("upper({t})"),
                format!("repeat({t}, {i})"),
                format!("lpad({t}, {i}, {u})"),
                format!("rpad({t}, {i})"),
                format!("replace({t}, {u}, {t})"),
                format!("substr({t}, {i}, {j})"),
                format!("to_char({time}, {t})"),
                format!("to_char({n}, {t})"),
                format!("translate({t}, {u}, {t})"),
                format!("overlay({t} placing {u} from {i})"),
                format!("concat({t}, {i}, {n}, NULL)"),
                format!("concat_ws({t}, {u}, {i})"),
                format!("format({t}, {u}, {i})"),
                format!("regexp_replace({t}, {u}, {t}, 'g')"),
                format!("split_part({t}, {u}, {i})"),
                format!("array_to_string({array}, {t})"),
                format!("({json})::text"),
                format!("({time})::text"),
                format!("quote_literal({t})"),
                format!("encode({bytes}, 'base64')"),
                format!("reverse({t})"),
                format!("left({t}, {i})"),
                format!("({array})::text"),
                format!("md5({t})"),
                format!("chr({i})"),
                format!("trim(both {t} from {u})"),
                format!("initcap({t})"),
                format!("json_build_object({t}, {i})::text"),
            ],
            Kind::Numeric => vec![
                format!("({n} * {n})"),
                format!("({n} / {i})"),
                format!("round({n}, {i})"),
                format!("({i})::numeric"),
                format!("({f})::numeric"),
                format!("power({n}, {i})"),
                format!("mod({n}, {n})"),
                format!("trunc({n})"),
                format!("ceil({n})"),
                format!("({t})::numeric(20,5)"),
                format!("sqrt({n})"),
                format!("exp({n})"),
                format!("extract(epoch FROM {time})"),
            ],
            Kind::Float => vec![
                format!("({f} * {f})"),
                format!("({f} / {f})"),
                format!("sin({f})"),
                format!("exp({f})"),
                format!("ln({f})"),
                format!("power({f}, {f})"),
                format!("({n})::double precision"),
                format!("round({f})"),
                format!("({t})::real"),
                format!("atan2({f}, {f})"),
                format!("cbrt({f})"),
            ],
            Kind::Time => vec![
                format!("({time} + {interval})"),
                format!("({time} - {interval})"),
                format!("date_trunc({t}, {time})"),
                format!("date_bin({interval}, {time}, {time})"),
                format!("({time} AT TIME ZONE {t})"),
                format!("to_timestamp({f})"),
                format!("({date})::timestamp"),
                format!("make_timestamp({i}, {i}, {i}, {i}, {i}, {f})"),
                format!("({t})::timestamp"),
                format!("to_timestamp({t}, {u})"),
            ],
            Kind::Date => vec![
                format!("({date} + {i})"),
                format!("({time})::date"),
                format!("make_date({i}, {j}, {i})"),
                format!("({t})::date"),
                format!("to_date({t}, {u})"),
            ],
            Kind::Interval => vec![
                format!("({interval} * {f})"),
                format!("({interval} + {interval})"),
                format!("({time} - {time})"),
                format!("age({time}, {time})"),
                format!("make_interval({i}, {j}, {i})"),
                format!("justify_interval({interval})"),
                format!("(-{interval})"),
                format!("({t})::interval"),
                format!("({interval} / {i})"),
            ],
            Kind::Array => vec![
                format!("ARRAY[{i}, {j}]"),
                format!("array_append({array}, {i})"),
                format!("({array} || {array})"),
                format!("string_to_array({t}, {u})"),
                format!("array_fill({i}, ARRAY[{j}])"),
                format!("array_repeat({i}, {j})"),
                format!("range({i}, {j})"),
                format!("({array})[{i}:{j}]"),
                format!("regexp_split_to_array({t}, {u})"),
                format!("array_sort({array})"),
                format!("array_remove({array}, {i})"),
                format!("ARRAY({})", "SELECT x FROM generate_series(1, 10) x"),
                format!("({t})::int[]"),
            ],
            Kind::Boolean => vec![
                format!("({i} < {j})"),
                format!("({t} = {u})"),
                format!("({t} LIKE {u})"),
                format!("({t} ~ {u})"),
                format!("({t} ILIKE {u})"),
                format!("({i} BETWEEN {j} AND {i})"),
                format!("({i} IN ({j}, {i}, NULL))"),
                format!("({array} @> {array})"),
                format!("NOT {boolean}"),
                format!("({boolean} AND {boolean})"),
                format!("({boolean} OR {boolean})"),
                format!("({n} IS NOT DISTINCT FROM {n})"),
                format!("({i} = ANY({array}))"),
                format!("EXISTS (SELECT 1 WHERE {boolean})"),
                format!("({time} < {date})"),
                format!("({t} SIMILAR TO {u})"),
                format!("({i} IN (SELECT x FROM generate_series(1, 5) x))"),
                format!("starts_with({t}, {u})"),
                format!("({interval} > {interval})"),
            ],
            Kind::Bytes => vec![
                format!("decode({t}, 'hex')"),
                format!("decode({t}, 'escape')"),
                format!("({t})::bytea"),
                format!("({bytes} || {bytes})"),
                format!("sha256({bytes})"),
                format!("substr({bytes}, {i}, {j})"),
            ],
            Kind::Json => vec![
                format!("({t})::jsonb"),
                format!("to_jsonb({array})"),
                format!("to_jsonb({t})"),
                format!("jsonb_build_object({t}, {i}, {u}, {array})"),
                format!("jsonb_build_array({i}, {t})"),
                format!("({json})::json"),
                format!("({json} -> {t})"),
                format!("({json} -> {i})"),
            ],
        };
        choices.choose(self.random).expect("there are some").clone()
    }
}
