//! The spelling of types: `format_type`'s names out, every usual alias in.

use super::{IntervalFields, Opaque, PgType, typmod};

impl PgType {
    /// As `format_type` prints it: `timestamp without time zone`, `numeric(18,2)`, `bigint[]`.
    pub fn name(&self) -> String {
        match self {
            PgType::Numeric(Some((precision, scale))) => format!("numeric({precision},{scale})"),
            PgType::Varchar(Some(length)) => format!("character varying({length})"),
            PgType::Char(length) if *length > 0 => format!("character({length})"),
            PgType::Array(item) => match item.as_ref() {
                nested @ PgType::Array(_) => nested.name(),
                scalar => format!("{}[]", scalar.name()),
            },
            PgType::Shaped(item) => format!("{}[]", item.name()),
            unmodified => unmodified.base_name().to_string(),
        }
    }

    /// [`PgType::name`] without modifier, as error messages say it: `numeric`, `character varying`, `integer`.
    pub fn base_name(&self) -> &'static str {
        match self {
            PgType::Bool => "boolean",
            PgType::Int2 => "smallint",
            PgType::Int4 => "integer",
            PgType::Int8 => "bigint",
            PgType::Float4 => "real",
            PgType::Float8 => "double precision",
            PgType::Numeric(_) => "numeric",
            PgType::Text => "text",
            PgType::Varchar(_) => "character varying",
            PgType::Char(0) => "bpchar",
            PgType::Char(_) => "character",
            PgType::Bytea => "bytea",
            PgType::Date => "date",
            PgType::Time => "time without time zone",
            PgType::Timestamp => "timestamp without time zone",
            PgType::TimestampTz => "timestamp with time zone",
            PgType::Interval => "interval",
            PgType::Uuid => "uuid",
            PgType::Json => "json",
            PgType::Jsonb => "jsonb",
            PgType::Array(_) | PgType::Shaped(_) => "array",
            PgType::Oid => "oid",
            PgType::Name => "name",
            PgType::InternalChar => "\"char\"",
            PgType::Regclass => "regclass",
            PgType::Regtype => "regtype",
            PgType::Regproc => "regproc",
            PgType::Regnamespace => "regnamespace",
            PgType::Unknown => "unknown",
            PgType::Void => "void",
            PgType::Regprocedure => "regprocedure",
            PgType::Regoper => "regoper",
            PgType::Regoperator => "regoperator",
            PgType::Regrole => "regrole",
            PgType::Regcollation => "regcollation",
            PgType::PgLsn => "pg_lsn",
            PgType::Xid8 => "xid8",
            PgType::Opaque(opaque) => opaque.name(),
            PgType::Tid => "tid",
            PgType::Xid => "xid",
            PgType::Cid => "cid",
            PgType::Int2Vector => "int2vector",
            PgType::OidVector => "oidvector",
        }
    }

    /// `pg_type.typname`: `int4`, `timestamptz`, `_text`.
    pub fn catalog_name(&self) -> String {
        match self {
            PgType::Bool => "bool",
            PgType::Int2 => "int2",
            PgType::Int4 => "int4",
            PgType::Int8 => "int8",
            PgType::Float4 => "float4",
            PgType::Float8 => "float8",
            PgType::Varchar(_) => "varchar",
            PgType::Char(_) => "bpchar",
            PgType::Time => "time",
            PgType::Timestamp => "timestamp",
            PgType::TimestampTz => "timestamptz",
            PgType::InternalChar => "char",
            PgType::Array(item) => match item.as_ref() {
                nested @ PgType::Array(_) => return nested.catalog_name(),
                scalar => return format!("_{}", scalar.catalog_name()),
            },
            PgType::Shaped(item) => return format!("_{}", item.catalog_name()),
            other => other.base_name(),
        }
        .to_string()
    }

    /// Reads a name from [`PgType::name`], and every usual alias (`int8`, `double`, `timestamptz`, `string`, ...).
    ///
    /// `None` for a name that no type has and for a modifier out of range (NUMERIC has at most 38 digits here; `parse_written`
    /// reads more).
    pub fn parse(name: &str) -> Option<PgType> {
        match PgType::parse_written(name)? {
            // Without its modifier it would be another type.
            (number, Some(_)) if number.bottom() == &PgType::Numeric(None) => None,
            (pg_type, _) => Some(pg_type),
        }
    }

    /// As [`PgType::parse`], with the modifier that the type itself does not say ([`typmod`]).
    pub fn parse_written(name: &str) -> Option<(PgType, Option<i32>)> {
        let words = normalize(name);
        let mut text = words.as_str();
        // T[], T[3], T array, T array[3], array<T>; any number of dimensions is one array type, more than one its other form.
        let mut dimensions = 0;
        loop {
            text = text.trim_end();
            if let Some(item) = text.strip_prefix("array<").and_then(|rest| rest.strip_suffix('>')) {
                text = item;
                dimensions += 1;
            } else if let Some(open) = text.strip_suffix(']').and_then(|inside| inside.rfind('[')) {
                let bound = text[open + 1..text.len() - 1].trim();
                if !bound.bytes().all(|b| b.is_ascii_digit()) {
                    return None;
                }
                text = &text[..open];
                dimensions += 1;
            } else if let Some(item) = text.strip_suffix(" array") {
                text = item;
                dimensions += 1;
            } else {
                break;
            }
        }
        let text = text.strip_prefix("pg_catalog.").unwrap_or(text);
        if dimensions == 0
            && let Some(item) = text.strip_prefix('_')
        {
            let (item, typmod) = parse_scalar(item)?;
            return Some((PgType::Array(Box::new(item)), typmod));
        }
        let (scalar, typmod) = parse_scalar(text)?;
        let pg_type = match dimensions {
            0 => scalar,
            1 => PgType::Array(Box::new(scalar)),
            _ => PgType::Shaped(Box::new(scalar)),
        };
        Some((pg_type, typmod))
    }

    /// The type below all dimensions.
    fn bottom(&self) -> &PgType {
        match self {
            PgType::Array(item) | PgType::Shaped(item) => item.bottom(),
            scalar => scalar,
        }
    }
}

/// Lower case (but for quoted parts), single spaces, none around parentheses, brackets and commas.
fn normalize(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut quoted = false;
    let mut space = false;
    for c in name.trim().chars() {
        if c.is_whitespace() && !quoted {
            space = true;
            continue;
        }
        let tight = matches!(c, '(' | ')' | ',' | '[' | ']' | '<' | '>');
        let after_tight = matches!(out.chars().last(), Some('(' | ',' | '[' | '<' | '.'));
        if space && !tight && !after_tight && !out.is_empty() {
            out.push(' ');
        }
        space = false;
        if c == '"' {
            quoted = !quoted;
        }
        if quoted {
            out.push(c)
        } else {
            out.extend(c.to_lowercase())
        }
    }
    out
}

/// `text` is normalized: `timestamp(6) with time zone`, `numeric(18,2)`.
fn parse_scalar(text: &str) -> Option<(PgType, Option<i32>)> {
    // Take the modifier out: base name, its numbers.
    let (base, modifiers) = match text.find('(') {
        None => (text.to_string(), Vec::new()),
        Some(open) => {
            let close = open + text[open..].find(')')?;
            let numbers = text[open + 1..close]
                .split(',')
                .map(|number| number.parse::<i32>().ok())
                .collect::<Option<Vec<_>>>()?;
            let after = text[close + 1..].trim_start();
            let base = if after.is_empty() {
                text[..open].to_string()
            } else {
                format!("{} {after}", &text[..open])
            };
            (base, numbers)
        }
    };
    let base = match base.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some("char") => return modifiers.is_empty().then_some((PgType::InternalChar, None)),
        Some(quoted) => quoted.to_string(),
        None => base,
    };
    let plain = |pg_type: PgType| modifiers.is_empty().then_some(pg_type);
    let mut typmod = None;
    // Fractional digits of seconds: 0 to 6 kept as microseconds; more are accepted and cut, as PostgreSQL does.
    let mut seconds = |pg_type: PgType| match modifiers.as_slice() {
        [] => Some(pg_type),
        [digits] if *digits >= 0 => {
            typmod = Some((*digits).min(typmod::DIGITS_MAX as i32));
            Some(pg_type)
        }
        _ => None,
    };
    let scalar = match base.as_str() {
        "bool" | "boolean" => plain(PgType::Bool),
        "smallint" | "int2" | "tinyint" => plain(PgType::Int2),
        "int" | "integer" | "int4" => plain(PgType::Int4),
        "bigint" | "int8" => plain(PgType::Int8),
        "real" | "float4" => plain(PgType::Float4),
        "double precision" | "float8" | "double" => plain(PgType::Float8),
        "float" => match modifiers.as_slice() {
            [] | [25..=53] => Some(PgType::Float8),
            [1..=24] => Some(PgType::Float4),
            _ => None,
        },
        "numeric" | "decimal" | "dec" => match modifiers.as_slice() {
            [] => Some(PgType::Numeric(None)),
            [precision @ 1..=38] => Some(PgType::Numeric(Some((*precision as u8, 0)))),
            [precision @ 1..=38, scale] if (-38..=*precision).contains(scale) => {
                Some(PgType::Numeric(Some((*precision as u8, *scale as i8))))
            }
            // Precisions that `Decimal128` has no form for are rounded and checked when a value is put in.
            [precision @ 1..=typmod::PRECISION_MAX] => {
                typmod = Some(typmod::of_number(*precision as u16, 0));
                Some(PgType::Numeric(None))
            }
            [
                precision @ 1..=typmod::PRECISION_MAX,
                scale @ typmod::SCALE_MIN..=typmod::PRECISION_MAX,
            ] => {
                typmod = Some(typmod::of_number(*precision as u16, *scale as i16));
                Some(PgType::Numeric(None))
            }
            _ => None,
        },
        "text" | "string" => plain(PgType::Text),
        "varchar" | "character varying" | "char varying" | "nvarchar" | "national character varying" => {
            match modifiers.as_slice() {
                [] => Some(PgType::Varchar(None)),
                [length @ 1..=10_485_760] => Some(PgType::Varchar(Some(*length as u32))),
                // Flink's spelling of STRING.
                [i32::MAX] => Some(PgType::Text),
                _ => None,
            }
        }
        "char" | "character" | "nchar" | "national character" => match modifiers.as_slice() {
            [] => Some(PgType::Char(1)),
            [length @ 1..=10_485_760] => Some(PgType::Char(*length as u32)),
            _ => None,
        },
        "bpchar" => match modifiers.as_slice() {
            [] => Some(PgType::Char(0)),
            [length @ 1..=10_485_760] => Some(PgType::Char(*length as u32)),
            _ => None,
        },
        "bytea" | "bytes" | "blob" => plain(PgType::Bytea),
        "varbinary" | "binary" => Some(PgType::Bytea),
        "date" => plain(PgType::Date),
        "time" | "time without time zone" => seconds(PgType::Time),
        "timestamp" | "timestamp without time zone" | "datetime" => seconds(PgType::Timestamp),
        "timestamptz" | "timestamp with time zone" | "timestamp_ltz" | "timestamp with local time zone" => {
            seconds(PgType::TimestampTz)
        }
        "uuid" => plain(PgType::Uuid),
        "json" => plain(PgType::Json),
        "jsonb" => plain(PgType::Jsonb),
        "oid" => plain(PgType::Oid),
        "name" => plain(PgType::Name),
        "regclass" => plain(PgType::Regclass),
        "regtype" => plain(PgType::Regtype),
        "regproc" => plain(PgType::Regproc),
        "regnamespace" => plain(PgType::Regnamespace),
        "unknown" => plain(PgType::Unknown),
        "void" => plain(PgType::Void),
        "regprocedure" => plain(PgType::Regprocedure),
        "regoper" => plain(PgType::Regoper),
        "regoperator" => plain(PgType::Regoperator),
        "regrole" => plain(PgType::Regrole),
        "regcollation" => plain(PgType::Regcollation),
        "pg_lsn" => plain(PgType::PgLsn),
        "xid8" => plain(PgType::Xid8),
        "tid" => plain(PgType::Tid),
        "xid" => plain(PgType::Xid),
        "cid" => plain(PgType::Cid),
        "int2vector" => plain(PgType::Int2Vector),
        "oidvector" => plain(PgType::OidVector),
        interval if interval == "interval" || interval.starts_with("interval ") => {
            let fields = interval["interval".len()..].trim_start();
            let (first, last) = match fields.split_once(" to ") {
                Some((first, last)) => (typmod::field(first)?, typmod::field(last)?),
                None if fields.is_empty() => {
                    let digits = match modifiers.as_slice() {
                        [] => None,
                        [digits] => Some(u32::try_from(*digits).ok()?),
                        _ => return None,
                    };
                    return Some((
                        PgType::Interval,
                        digits.map(|digits| typmod::of_interval(None, Some(digits))),
                    ));
                }
                None => (typmod::field(fields)?, typmod::field(fields)?),
            };
            let digits = match modifiers.as_slice() {
                [] => None,
                [digits] => Some(u32::try_from(*digits).ok()?),
                _ => return None,
            };
            if first > last || (first == last && fields.contains(" to ")) {
                return None;
            }
            typmod = Some(typmod::of_interval(Some(IntervalFields { first, last }), digits));
            Some(PgType::Interval)
        }
        other => Opaque::named(other).and_then(|opaque| plain(PgType::Opaque(opaque))),
    };
    scalar.map(|scalar| (scalar, typmod))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let array = |item: PgType| PgType::Array(Box::new(item));
        for pg_type in [
            PgType::Bool,
            PgType::Int2,
            PgType::Int4,
            PgType::Int8,
            PgType::Float4,
            PgType::Float8,
            PgType::Numeric(None),
            PgType::Numeric(Some((18, 2))),
            PgType::Numeric(Some((5, -2))),
            PgType::Text,
            PgType::Varchar(None),
            PgType::Varchar(Some(7)),
            PgType::Char(0),
            PgType::Char(1),
            PgType::Char(9),
            PgType::Bytea,
            PgType::Date,
            PgType::Time,
            PgType::Timestamp,
            PgType::TimestampTz,
            PgType::Interval,
            PgType::Uuid,
            PgType::Json,
            PgType::Jsonb,
            PgType::Oid,
            PgType::Name,
            PgType::InternalChar,
            PgType::Regclass,
            PgType::Regtype,
            PgType::Regproc,
            PgType::Regnamespace,
            PgType::Unknown,
            PgType::Void,
            PgType::Regprocedure,
            PgType::Regoper,
            PgType::Regoperator,
            PgType::Regrole,
            PgType::Regcollation,
            PgType::PgLsn,
            PgType::Xid8,
            PgType::Opaque(Opaque::NodeTree),
            PgType::Opaque(Opaque::Inet),
            PgType::Tid,
            PgType::Xid,
            PgType::Cid,
            PgType::Int2Vector,
            PgType::OidVector,
        ] {
            assert_eq!(
                PgType::parse(&pg_type.name()),
                Some(pg_type.clone()),
                "{}",
                pg_type.name()
            );
            assert_eq!(
                PgType::parse(&array(pg_type.clone()).name()),
                Some(array(pg_type.clone()))
            );
            let field = pg_type.field("c", true);
            assert_eq!(PgType::of_field(&field), Some(pg_type.clone()), "{field:?}");
            let field = array(pg_type.clone()).field("c", true);
            assert_eq!(PgType::of_field(&field), Some(array(pg_type.clone())), "{field:?}");
            let field = array(pg_type.clone()).shaped().field("c", true);
            assert_eq!(PgType::of_field(&field), Some(array(pg_type).shaped()), "{field:?}");
        }
    }

    #[test]
    fn aliases_are_known() {
        for (name, expected) in [
            ("INT", "integer"),
            ("double", "double precision"),
            ("Double  Precision", "double precision"),
            ("float(24)", "real"),
            ("float(25)", "double precision"),
            ("decimal(10)", "numeric(10,0)"),
            ("DEC ( 10 , 2 )", "numeric(10,2)"),
            ("string", "text"),
            ("varchar ( 3 )", "character varying(3)"),
            ("char", "character(1)"),
            ("\"char\"", "\"char\""),
            ("timestamp(3)", "timestamp without time zone"),
            ("timestamp(3) with time zone", "timestamp with time zone"),
            ("timestamp_ltz(3)", "timestamp with time zone"),
            ("TIMESTAMPTZ", "timestamp with time zone"),
            ("interval day to second", "interval"),
            ("interval second(3)", "interval"),
            ("int[]", "integer[]"),
            ("int [3] [ ]", "integer[]"),
            ("int array", "integer[]"),
            ("_int8", "bigint[]"),
            ("array<string>", "text[]"),
            ("array<array<int[]>>", "integer[]"),
            ("pg_catalog.int4", "integer"),
            ("varchar(2147483647)", "text"),
        ] {
            assert_eq!(
                PgType::parse(name).map(|t| t.name()).as_deref(),
                Some(expected),
                "{name}"
            );
        }
        for name in [
            "",
            "blah",
            "int(3)",
            "numeric(39)",
            "numeric(4,5)",
            "varchar(0)",
            "interval second to day",
            "int[x]",
            "(3)",
        ] {
            assert_eq!(PgType::parse(name), None, "{name}");
        }
    }
}
