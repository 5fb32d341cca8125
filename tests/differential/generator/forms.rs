//! Operators, functions and aggregates, each as a template with holes: `{int4}` takes an expression of the type, `{same}` of
//! the type that the form gives, `{free}` of one type for the whole form and `{other}` of another, `{ordered}` of one that
//! has an order, `{number}` of any number, `{again}` the expression before, `{x;y}` one of the words.

use crate::differential::types::Type;

pub struct Form {
    /// `any` is every type.
    kind: &'static str,
    pub template: &'static str,
}

impl Form {
    pub fn gives(&self, kind: Type) -> bool {
        self.kind == "any" || self.kind == kind.name()
    }
}

pub enum Hole<'a> {
    Text(&'a str),
    Of(Type),
    Same,
    Free,
    Other,
    Ordered,
    Number,
    Again,
    Choice(Vec<&'a str>),
}

pub fn holes(template: &str) -> Vec<Hole<'_>> {
    let mut holes = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some(end) = end_of_hole(after) else { break };
        let name = &after[..end];
        let hole = match name {
            "same" => Some(Hole::Same),
            "free" => Some(Hole::Free),
            "other" => Some(Hole::Other),
            "ordered" => Some(Hole::Ordered),
            "number" => Some(Hole::Number),
            "again" => Some(Hole::Again),
            _ if name.starts_with('\'') || words(name).len() > 1 => Some(Hole::Choice(words(name))),
            _ => Type::of(name).map(Hole::Of),
        };
        match hole {
            Some(hole) => {
                holes.extend([Hole::Text(before), hole]);
                rest = &after[end + 1..];
            }
            // Braces of a literal.
            None => {
                holes.push(Hole::Text(&rest[..=before.len()]));
                rest = after;
            }
        }
    }
    holes.push(Hole::Text(rest));
    holes
}

/// The place of the brace that closes the one before `after`.
fn end_of_hole(after: &str) -> Option<usize> {
    let mut depth = 0;
    after.find(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        depth < 0
    })
}

/// The words of a choice; a semicolon between quotes is none.
fn words(name: &str) -> Vec<&str> {
    let mut is_quoted = false;
    let is_end = |c| {
        is_quoted ^= c == '\'';
        c == ';' && !is_quoted
    };
    name.split(is_end).collect()
}

/// Forms that are generated only now and then, since most are for PostgreSQL's own use, or known to be missing.
const RARE: &[&str] = &[
    "CASE {free}",
    "NULLIF({same}",
    "NULLIF({varchar}",
    "({numeric} / NULLIF",
    "({int4} / {2.0",
    "stddev",
    "var",
    "sign({float8})",
    "\"days\"",
    "({int4[]} {=",
    "bit_xor",
    "{jsonb} @@",
    "lower('X')",
    "string_agg({bytea}",
    "percentile_disc(0.5) WITHIN GROUP (ORDER BY {free})",
    "({text[]} || '{x",
    "1 NULLIF",
    "{<;>;<=;>=} {jsonb}",
    "array_fill(7",
    "jsonb_concat",
    "jsonb_extract_path",
    "to_jsonb(ROW",
    "VALUES",
    "array_agg(DISTINCT {same})",
    "json_object",
    "jsonb_array_length({jsonb})",
    "isfinite({d",
    "WITHIN GROUP (ORDER BY {interval})",
    "string_agg(DISTINCT",
    "array_agg(DISTINCT {text})",
    "array_agg(DISTINCT {int4})",
    "({int8})::int4",
    "regexp_replace({text}, {'a'",
    "SYMMETRIC",
    "LIKE ANY",
    "NFC",
    "booleq",
    "int2(",
    "int4(",
    "int8(",
    "numeric(",
    "float8(",
    "bool(",
    "date(",
    "hashtext",
    "int2larger",
    "int4send",
    "jsonb_exists(",
    "pg_column_size",
    "to_ascii",
    "OVERLAPS",
    "SIMILAR",
    "min_scale",
    "parse_ident",
    "unistr",
    "chr(",
    "make_date",
];

impl Form {
    pub fn is_rare(&self) -> bool {
        RARE.iter().any(|name| self.template.contains(name))
    }
}

macro_rules! forms {
    ($($kind:literal: $($template:literal),+ $(,)?;)+) => {
        &[$($(Form { kind: $kind, template: $template }),+),+]
    };
}

pub const FORMS: &[Form] = forms! {
    "any":
        "coalesce({same}, {same})", "NULLIF({same}, {same})", "(SELECT {same})", "({same})",
        "CASE {free} WHEN {free} THEN {same} ELSE {same} END";
    "bool":
        "({free} {=;<>;!=} {free})", "({ordered} {<;>;<=;>=} {ordered})", "({number} {=;<;>=;<>} {number})",
        "({free} IS NULL)", "({free} IS NOT NULL)", "({free} IS DISTINCT FROM {free})",
        "({free} IS NOT DISTINCT FROM {free})", "({bool} AND {bool})", "({bool} OR {bool})", "(NOT {bool})",
        "({bool} IS {TRUE;NOT TRUE;FALSE;NOT FALSE;UNKNOWN;NOT UNKNOWN;NULL})",
        "({free} IN ({free}, {free}, {free}))", "({free} NOT IN ({free}, {free}))", "({number} IN ({number}, {number}))",
        "({ordered} BETWEEN {ordered} AND {ordered})", "({ordered} NOT BETWEEN {ordered} AND {ordered})",
        "({ordered} BETWEEN SYMMETRIC {ordered} AND {ordered})", "({number} BETWEEN {number} AND {number})",
        "({text} {LIKE;NOT LIKE;ILIKE;NOT ILIKE} {'a%';'%b_';'_';'%';'';'a\\%b%';'%A%'})",
        "({varchar} LIKE {'a%';'%c';'___'})", "({text} LIKE 'a!%%' ESCAPE '!')", "({text} LIKE {text})",
        "({text} SIMILAR TO {'(a|b)%';'[a-c]+';'_*'})", "({text} {~;~*;!~;!~*} {'^a';'[0-9]+';'b.c';'(foo|bar)$';''})",
        "({text} {=;<;>=;<>} {varchar})", "({int4} = ANY({int4[]}))", "({int4} <> ALL({int4[]}))", "({text} = ANY({text[]}))",
        "({int4} {<;>=} ANY({int4[]}))", "({int8} = ANY({int4[]}))", "({int4} = ANY(ARRAY[{int4}, {int4}]))",
        "({text} LIKE ANY({text[]}))", "(ROW({free}, {other}) = ROW({free}, {other}))",
        "(({free}, {other}) {=;<>} ({free}, {other}))", "(({ordered}, {int4}) {<;>;<=;>=} ({ordered}, {int4}))",
        "(({free}, {other}) IN (({free}, {other}), ({free}, {other})))",
        "(ROW({free}, {other}) IS {NULL;NOT NULL})", "(ROW({free}, {other}) IS DISTINCT FROM ROW({free}, {other}))",
        "({int4[]} {@>;<@;&&} {int4[]})", "({int4[]} {=;<;<>} {int4[]})", "({text[]} {@>;<@;&&;=;>} {text[]})",
        "({jsonb} {@>;<@;=;<>} {jsonb})", "({jsonb} ? {'a';'x';'b'})", "({jsonb} {?|;?&} '{a,b}')",
        "({jsonb} @? {'$.a';'$[*] ? (@ > 1)'})", "({jsonb} @@ '$.a == 1')", "jsonb_path_exists({jsonb}, {'$.a';'$[0]'})",
        "jsonb_exists({jsonb}, {text})", "({jsonb} {<;>;<=;>=} {jsonb})",
        "starts_with({text}, {text})", "({text} ^@ {text})", "({date} {<;=;>=} {timestamp})",
        "({date} {<;=} {timestamptz})", "({timestamp} {<;=;>} {timestamptz})",
        "(({timestamp}, {timestamp}) OVERLAPS ({timestamp}, {timestamp}))", "(({date}, {interval}) OVERLAPS ({date}, {date}))",
        "isfinite({date;timestamp;interval} '2024-01-01')", "isfinite({timestamp})", "({int4} % 2 = 0)",
        "booleq({bool}, {bool})", "GREATEST({bool}, {bool})", "({bool} {=;<>;<;>} {bool})", "({bytea} {<;=;>=} {bytea})",
        "bool({int4})", "({text} IS {NFC;NOT NFC;NORMALIZED})", "({interval} {<;=;>} {interval})",
        "({text} {<;=} '12')", "({int4} = '7')", "({date} > '2000-01-01')", "({jsonb} IS NOT NULL)",
        "(GREATEST({free}, {free}) = {free})", "jsonb_path_match({jsonb}, 'exists($.a)')", "({text[]} = '{a,b}')";
    "int2":
        "({int2} {+;-;*} {int2})", "abs({int2})", "(- {int2})", "({int2} & 7::int2)", "GREATEST({int2}, {int2})",
        "({int2} % '7'::int2)", "(@ {int2})", "int2({int4})", "(~ {int2})", "({int2} # {int2})", "int2larger({int2}, {int2})";
    "int4":
        "({int4} {+;-;*} {int4})", "({int4} {/;%} NULLIF({int4} + 0, 0))", "({int4} {+;-} {int2})", "(- {int4})", "(+ {int4})",
        "abs({int4})", "({int4} {&;|;#} {int4})", "({int4} {<<;>>} {1;2;3})", "(~ {int4})", "(@ {int4})",
        "GREATEST({int4}, {int4}, {int4})", "LEAST({int4}, {int4})", "length({text})", "char_length({varchar})",
        "octet_length({text})", "bit_length({text})", "octet_length({bytea})", "length({bytea})", "strpos({text}, {text})",
        "position({text} IN {text})", "ascii({text})", "array_length({int4[]}, 1)", "array_upper({text[]}, 1)",
        "array_lower({int4[]}, 1)", "cardinality({text[]})", "array_ndims({int4[]})", "({int4[]})[{1;2;-1;5}]",
        "({int4[]})[{int4}]", "array_position({int4[]}, {int4})", "array_position({text[]}, {text})", "sign({int4})::int4",
        "({date} - {date})", "mod({int4}, 7)", "div({int4}, 3)::int4", "jsonb_array_length({'[1,2]';'[]'}::jsonb)", "({jsonb} ->> 'a')::text::int4",
        "extract({year;month;day;dow;doy;isodow;week;quarter} FROM {date})::int4", "num_nulls({free}, {other})", "num_nonnulls({free}, {other}, {int4})",
        "gcd({int4}, {int4})", "lcm({int4}, {int4})", "regexp_count({text}, 'a')", "regexp_instr({text}, 'b')", "width_bucket({numeric}, 0, 100, 5)",
        "width_bucket({float8}, '{0,1,10}'::float8[])", "scale({numeric})", "min_scale({numeric})", "pg_column_size({int4})",
        "int4({int8})", "({int4} {+;*} '2')", "trim_scale({numeric})::int4", "factorial({3;0;5})::int4", "bit_count({bytea})::int4", "get_byte('\\x0102'::bytea, {0;1})",
        "date_part({'year';'month';'hour'}, {timestamp})::int4", "jsonb_array_length({jsonb})", "(({int4}, {int4}) IS NULL)::int4";
    "int8":
        "({int8} {+;-} {int8})", "({int8} {+;-;*} {int4})", "({int4} + {int8})", "({int2} * {int8})", "({int8} {/;%} NULLIF({int8} + 0, 0))", "abs({int8})", "(- {int8})",
        "({int8} {&;|;#} {int8})", "({int8} {<<;>>} {1;5})", "GREATEST({int8}, {int4})", "LEAST({int8}, {int8})", "(SELECT count(*) FROM b)",
        "extract(epoch FROM date_trunc('second', {timestamp}))::int8", "int8({numeric})", "mod({int8}, {int4})", "gcd({int8}, 12)", "floor({numeric})::int8",
        "hashtext({text})::int8 * 0", "length({text})::int8", "({int8} {+;-} '1')", "coalesce({int8}, {int4})", "bit_count({bytea})";
    "numeric":
        "({numeric} {+;-;*} {numeric})", "({numeric} / NULLIF({numeric} + 0, 0))", "({numeric} % NULLIF({numeric} + 0, 0))", "({numeric} {+;-;*} {int4})", "({int8} {+;-;*} {numeric})",
        "({int4} / {2.0;3.0;7.5})", "abs({numeric})", "(- {numeric})", "round({numeric})", "round({numeric}, {0;1;3;-1})", "trunc({numeric}, {0;1;-2})", "ceil({numeric})", "floor({numeric})",
        "sign({numeric})", "sqrt(abs({numeric}))", "power({2;1.5}, {3;2.5;-1}::numeric)", "exp({1.0;0.0;-2.5})", "ln({1.0;2.5;10.0})", "log({10.0;2.0})", "log(2.0, {8.0;3.0})", "mod({numeric}, 3)", "div({numeric}, 2.5)",
        "GREATEST({numeric}, {int4})", "LEAST({numeric}, {numeric})", "extract({epoch;second;year;month;milliseconds;microseconds;hour;minute;day;century;decade;millennium} FROM {timestamp})",
        "extract({epoch;second;hour;timezone;isoyear;julian} FROM {timestamptz})", "extract({epoch;day;hour;month;second} FROM {interval})", "extract({year;epoch;dow;isoyear} FROM {date})", "to_number({'12,454.8-';'1.5'}, '99G999D9S')",
        "({numeric} ^ 2)", "trim_scale({numeric})", "coalesce({numeric}, {int4})", "CASE WHEN {bool} THEN {int4} ELSE {numeric} END", "numeric({int4})", "({float8})::numeric", "factorial({5;10;0})", "width_bucket({numeric}, 0, 10, 3)::numeric", "({numeric} * '1.50')", "({int2} * 1.0)", "cbrt(27)::numeric";
    "float8":
        "({float8} {+;-;*} {float8})", "({float8} / NULLIF({float8} + 0, 0))", "({float8} {+;*} {int4})", "({numeric} {+;-} {float8})", "abs({float8})", "(- {float8})", "round({float8})", "trunc({float8})", "ceil({float8})", "floor({float8})", "sqrt(abs({float8}))",
        "cbrt({float8})", "power({float8}, 2)", "sign({float8})", "exp({0;1;-1}::float8)", "ln({1;2.5}::float8)", "log({100;2}::float8)", "pi()", "degrees({0.5;1}::float8)", "radians({float8})", "sin({0.5;1;0}::float8)", "cos({0.5;0}::float8)", "tan({0.5;0}::float8)", "atan2({1;0}, {2;-1})", "asin(0.5)", "sinh({1;0})",
        "GREATEST({float8}, {float8})", "LEAST({float8}, {int4})", "date_part({'epoch';'second';'year';'doy'}, {timestamp})", "date_part('day', {interval})", "(|/ {4;2})", "(||/ {27;2})", "({float8} ^ 3)", "float8({numeric})", "({float8} * '2')", "coalesce({float8}, {numeric})", "cosd({60;90})", "({int8})::float8", "({int4} ^ 2)";
    "text":
        "({text} || {text})", "({text} || {varchar})", "({text} || {int4})", "({date} || {text})", "concat({free}, {other}, {text})", "concat_ws({'-';','}, {text}, {int4}, {date})", "upper({text})", "lower({text})", "initcap({text})",
        "substr({text}, {1;2;0;-1})", "substr({text}, {1;2;0}, {2;0;10})", "substring({text} FROM {2;0} FOR {3;1})", "substring({text} FROM 2)", "substring({text} from {'a.';'[0-9]+';'(b)c'})", "substring({text} SIMILAR '%#\"b_#\"%' ESCAPE '#')", "left({text}, {2;-1;0})", "right({text}, {2;-1;0})",
        "lpad({text}, {5;2;0}, {'*';'xy'})", "rpad({text}, {5;1})", "trim({text})", "trim({both;leading;trailing} {'a';' ab'} FROM {text})", "btrim({text}, {text})", "ltrim({text}, 'a')", "rtrim({text})", "replace({text}, {text}, {text})", "translate({text}, {'abc'}, {'xy';''})",
        "repeat({text}, {2;0;-1})", "reverse({text})", "split_part({text}, {',';'a'}, {1;2;-1})", "md5({text})", "quote_literal({text})", "quote_ident({text})", "quote_nullable({text})", "overlay({text} PLACING {'XX';''} FROM {1;2} FOR {0;1;2})", "chr({65;233;8364})", "to_hex({int4})",
        "format({'%s|%I|%L';'%2$s %1$s';'%%%5s'}, {text}, {text})", "regexp_replace({text}, {'[a-z]';'b+';'(.)(.)'}, {'X';'\\2\\1'})", "regexp_replace({text}, {'a';'[aeiou]'}, '<\\&>', {'g';'gi'})", "regexp_substr({text}, '[a-z]+', 1, {1;2})", "regexp_match({text}, {'a';'(a)(b)?'})::text",
        "to_char({timestamp}, {'YYYY-MM-DD HH24:MI:SS.US';'Day, DD Mon YYYY';'IYYY-IW ID';'HH12:MI am TZ';'FMDDth Month';'Q J WW D DDD CC'})", "to_char({numeric}, {'999.99';'FM0999.000';'S99,999.9';'9.99EEEE';'RN';'99D99MI'})", "to_char({interval}, {'HH24:MI:SS';'DD \"days\"'})", "to_char({int4}, {'0000';'999,999';'FM99PR'})", "to_char({float8}, {'99.99';'FM9990.0'})", "to_char({timestamptz}, {'YYYY-MM-DD HH24:MI TZ';'OF TZH:TZM'})",
        "encode({bytea}, {'hex';'base64';'escape'})", "array_to_string({int4[]}, {',';'; '})", "array_to_string({text[]}, ',', {'*';''})", "array_dims({int4[]})", "({text[]})[{1;2;0}]", "({jsonb} ->> {'a';'bb'})", "({jsonb} ->> {0;-1})", "({jsonb} #>> {'{a,c}';'{b,0}'})", "jsonb_typeof({jsonb})", "jsonb_pretty({jsonb})", "jsonb_extract_path_text({jsonb}, 'a')",
        "GREATEST({text}, {text})", "LEAST({text}, {varchar})", "CASE WHEN {bool} THEN {text} ELSE {varchar} END", "pg_typeof({free})::text", "({free})::text", "({other})::text", "ARRAY[{int4}, {int4}]::text", "ROW({free}, {text}, {other})::text", "to_json({free})::text", "to_json({int4[]})::text", "json_build_object('k', {free}, 'l', {other})::text", "json_build_array({free}, {int4})::text", "row_to_json(ROW({free}, {int4}))::text", "array_to_json({text[]})::text", "json_object({'{a,1,b,2}'})::text", "coalesce({text}, {varchar}, '')", "convert_from({'\\x6162'}::bytea, 'UTF8')", "normalize({text})", "unistr({'\\0061b'})", "starts_with({text}, 'a')::text", "string_to_array({text}, ',')::text", "concat({int4[]}, {jsonb})", "({interval})::text", "({float8})::text", "parse_ident('a.b')::text", "to_ascii({text})", "timezone('UTC', {timestamptz})::text", "date_trunc('hour', {timestamptz}, 'Asia/Kolkata')::text", "(VALUES ({text}))", "cast({varchar} AS char(3))";
    "varchar":
        "coalesce({varchar}, {varchar})", "({text})::varchar", "({text})::varchar(4)", "GREATEST({varchar}, {varchar})", "varchar {'abc'}", "NULLIF({varchar}, 'a')", "CASE WHEN {bool} THEN {varchar} END", "({date})::varchar";
    "date":
        "({date} {+;-} {1;30;-1})", "({date} {+;-} {int4})", "({int4} + {date})", "({timestamp})::date", "({timestamptz})::date", "GREATEST({date}, {date})", "LEAST({date}, {date})", "make_date({2024;1}, {2;12}, {29;1})", "to_date({'2024-02-29';'2000-1-5'}, 'YYYY-MM-DD')", "to_date('05 Jan 2021', 'DD Mon YYYY')", "date({timestamp})", "date_trunc('month', {date})::date", "({date} + 0)";
    "timestamp":
        "({timestamp} {+;-} {interval})", "({interval} + {timestamp})", "({date} {+;-} {interval})", "date_trunc({'year';'month';'week';'day';'hour';'minute';'quarter';'decade';'century';'millisecond'}, {timestamp})", "({timestamptz} AT TIME ZONE {'UTC';'Europe/Berlin';'Asia/Kolkata'})", "timezone('America/New_York', {timestamptz})", "({timestamptz})::timestamp", "({date})::timestamp", "GREATEST({timestamp}, {date})", "LEAST({timestamp}, {timestamp})", "make_timestamp(2024, {2;12}, 3, {0;23}, 5, 6.5)", "date_bin({'15 minutes';'1 day'}, {timestamp}, timestamp '2001-01-01')", "({date} + time '12:30')", "({timestamp})::timestamp(0)", "({timestamp} + '1 day')";
    "timestamptz":
        "({timestamptz} {+;-} {interval})", "date_trunc({'year';'week';'day';'hour';'month'}, {timestamptz})", "date_trunc('day', {timestamptz}, {'UTC';'Asia/Tokyo'})", "({timestamp} AT TIME ZONE {'UTC';'Europe/Berlin';'EST'})", "({timestamp})::timestamptz", "({date})::timestamptz", "to_timestamp({0;1.5;1e9})", "to_timestamp({'2024-02-29 10:20'}, 'YYYY-MM-DD HH24:MI')", "GREATEST({timestamptz}, {timestamptz})", "LEAST({timestamptz}, {date})", "make_timestamptz(2024, 3, 10, {1;3}, 30, 0)", "make_timestamptz(2024, 7, 1, 0, 0, 0, 'Asia/Tokyo')", "date_bin('1 hour', {timestamptz}, timestamptz '2001-01-01')", "coalesce({timestamptz}, {timestamp})";
    "interval":
        "({timestamp} - {timestamp})", "({timestamptz} - {timestamptz})", "({interval} {+;-} {interval})", "({interval} * {2;0.5;-1})", "({interval} / {2;1.5})", "({float8} * interval '1 hour')", "(- {interval})", "age({timestamp}, {timestamp})", "age({date}, {date})", "make_interval({1;0}, {2;0}, 0, {3;-1})", "make_interval(days => {3;10}, hours => 5)", "justify_days({interval})", "justify_hours({interval})", "justify_interval({interval})", "GREATEST({interval}, {interval})", "LEAST({interval}, {interval})", "date_trunc({'day';'hour';'month'}, {interval})", "({timestamp} - {date})", "({text} || '')::text::interval", "interval {'1' year;'2' month;'1:30' hour to minute;'3 4' day to hour}", "({int4} * interval '1 day')", "(time '10:00' - time '08:30')";
    "uuid":
        "coalesce({uuid}, {uuid})", "GREATEST({uuid}, {uuid})", "({uuid}::text)::uuid", "CASE WHEN {bool} THEN {uuid} END";
    "bytea":
        "({bytea} || {bytea})", "substr({bytea}, {1;2})", "substring({bytea} FROM 1 FOR 2)", "decode({'6162';'ff'}, 'hex')", "decode('YWJj', 'base64')", "convert_to({text}, 'UTF8')", "sha256({bytea})", "md5({bytea})::bytea", "set_byte('\\x0000'::bytea, 1, 65)", "overlay({bytea} PLACING '\\xff' FROM 1)", "trim({bytea} FROM {bytea})", "GREATEST({bytea}, {bytea})", "coalesce({bytea}, {bytea})", "reverse({text})::bytea", "int4send({int4})";
    "jsonb":
        "({jsonb} -> {'a';'b'})", "({jsonb} -> {0;1;-1})", "({jsonb} #> {'{a,c}';'{b,0}'})", "({jsonb} || {jsonb})", "({jsonb} - {'a';'x'})", "({'[1,2,3]'}::jsonb - {0;-1})", "({jsonb} #- '{a,c}')", "to_jsonb({free})", "to_jsonb({other})", "jsonb_build_object('k', {free}, 'l', {other})", "jsonb_build_array({free}, {other})", "jsonb_set({'{\"a\":1}'}::jsonb, {'{a}';'{b}'}, {jsonb})", "jsonb_insert('[1,2]'::jsonb, '{0}', {jsonb})", "jsonb_strip_nulls({jsonb})", "jsonb_path_query_first({jsonb}, {'$.a';'$[1]'})", "jsonb_path_query_array({jsonb}, '$.*')", "jsonb_extract_path({jsonb}, 'a', 'c')", "jsonb_object({'{a,1,b,2}'}::text[])", "coalesce({jsonb}, {jsonb})", "(SELECT jsonb_agg({free} ORDER BY {again}))", "({jsonb})['a']", "to_jsonb(ROW({int4}, {text}))", "('{\"a\": [1, 2]}'::jsonb)['a'][{0;1}]", "jsonb_concat({jsonb}, {jsonb})", "({int4})::text::jsonb";
    "int4[]":
        "({int4[]} || {int4[]})", "({int4[]} || {int4})", "({int4} || {int4[]})", "ARRAY[{int4}, {int4}]", "ARRAY[{int4}, {int2}]", "array_append({int4[]}, {int4})", "array_prepend({int4}, {int4[]})", "array_cat({int4[]}, {int4[]})", "array_remove({int4[]}, {int4})", "array_replace({int4[]}, {int4}, {int4})", "({int4[]})[{1;2}:{2;3}]", "({int4[]})[:2]", "trim_array('{1,2,3}'::int4[], {1;2})", "array_fill({int4}, '{2}')", "array_positions({int4[]}, {int4})", "ARRAY(SELECT id FROM b ORDER BY id LIMIT 3)", "ARRAY(SELECT generate_series(1, {3;0}))", "coalesce({int4[]}, '{}')", "GREATEST({int4[]}, {int4[]})", "string_to_array({'1,2,3';''}, ',')::int4[]", "(SELECT array_agg({int4}))", "array_fill(7, ARRAY[2], ARRAY[0])";
    "text[]":
        "({text[]} || {text[]})", "({text[]} || {text})", "ARRAY[{text}, {text}]", "ARRAY[{text}, {varchar}, NULL]", "array_append({text[]}, {text})", "array_remove({text[]}, {text})", "array_replace({text[]}, {text}, {text})", "string_to_array({text}, {',';' ';''})", "string_to_array({text}, ',', 'a')", "regexp_split_to_array({text}, {',';'[ab]';''})", "regexp_match({text}, {'a(.)';'b'})", "({text[]})[1:1]", "({int4[]})::text[]", "parse_ident({'a.b';'\"A\".c'})", "array_cat({text[]}, {text[]})", "coalesce({text[]}, ARRAY[{text}])", "ARRAY(SELECT s FROM b ORDER BY 1)", "({text[]} || '{x,y}')", "({text[]} || ARRAY[{date}]::text[])";
};

pub const AGGREGATES: &[Form] = forms! {
    "any": "(array_agg({same} ORDER BY {again}))[1]", "(array_agg(DISTINCT {same}))[1]";
    "bool": "bool_and({bool})", "bool_or({bool})", "every({bool})", "(count(*) > {int4})", "(sum({int4}) > 3)";
    "int2":  "min({same})", "max({same})", "bit_and({int2})", "bit_or({int2})";
    "int4":  "min({same})", "max({same})", "bit_or({int4})", "bit_and({int4})", "bit_xor({int4})", "count(*)::int4", "min(length({text}))";
    "int8":  "min({same})", "max({same})", "count(*)", "count({free})", "count(DISTINCT {free})", "sum({int4})", "sum({int2})", "sum(DISTINCT {int4})", "regr_count({float8}, {float8})", "bit_or({int8})", "count(({free}, {other}))", "count(DISTINCT ({free}, {other}))";
    "numeric":  "min({same})", "max({same})", "sum({numeric})", "avg({int4})", "avg({numeric})", "sum({int8})", "avg(DISTINCT {int8})", "round(stddev({int4}), 4)", "round(variance({numeric}), 4)", "sum(DISTINCT {numeric})", "var_pop({int2})", "stddev_samp({int4})";
    "float8":  "min({same})", "max({same})", "sum({float8})", "avg({float8})", "percentile_cont({0.5;0;0.25}) WITHIN GROUP (ORDER BY {float8})", "corr({int4}, {int2})", "stddev({float8})", "regr_slope({int4}, {int2})", "covar_pop({int2}, {int4})", "var_samp({float8})";
    "text":  "min({same})", "max({same})", "string_agg({text}, ',' ORDER BY {again})", "string_agg(DISTINCT {text}, ',')", "string_agg({text}, lower('X') ORDER BY {again})", "array_agg({free} ORDER BY {again})::text", "json_agg({int4} ORDER BY {again})::text", "max({varchar})", "mode() WITHIN GROUP (ORDER BY {text})", "string_agg({text}, ';' ORDER BY {again} DESC)", "percentile_disc(0.5) WITHIN GROUP (ORDER BY {free})::text";
    "interval":  "min({same})", "max({same})", "sum({interval})", "avg({interval})", "percentile_cont(0.5) WITHIN GROUP (ORDER BY {interval})";
    "date":  "min({same})", "max({same})", "percentile_disc({0.5;1}) WITHIN GROUP (ORDER BY {date})", "mode() WITHIN GROUP (ORDER BY {date})";
    "bytea": "string_agg({bytea}, '\\x2c' ORDER BY {again})";
    "jsonb": "jsonb_agg({int4} ORDER BY {again})", "jsonb_object_agg(coalesce({text}, ''), 1)", "jsonb_agg({text} ORDER BY {again} DESC NULLS LAST)";
    "int4[]":  "min({same})", "max({same})", "array_agg({int4} ORDER BY {again})", "array_agg(DISTINCT {int4})", "array_agg(DISTINCT {int4} ORDER BY {again} DESC)", "percentile_disc('{0.25,0.75}'::float8[]) WITHIN GROUP (ORDER BY {int4})";
    "text[]":  "min({same})", "max({same})", "array_agg({text} ORDER BY {again} NULLS FIRST)", "array_agg(DISTINCT {text})";
    "timestamp": "min({same})", "max({same})";
    "timestamptz": "min({same})", "max({same})";
};
