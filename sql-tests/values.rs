//! PostgreSQL's binary values as PostgreSQL's text, so that one expected answer serves both protocols.
//!
//! One rule: independent of the product; the layouts are those of PostgreSQL's `*send` functions, the text that of its
//! `*out` functions under `DateStyle = ISO`, `TimeZone = UTC`. A type that is not listed is an error, not a guess.

use chrono::{DateTime, Duration, NaiveDate};
use tokio_postgres::types::{Kind, Type};

/// Whether values of the type are OIDs that show as names.
pub fn is_named_oid(ty: &Type) -> bool {
    let item = match ty.kind() {
        Kind::Array(item) => item,
        _ => ty,
    };
    item.name().starts_with("reg") && item.name() != "regconfig"
}

/// The text of a binary value of type `ty`.
pub fn text(ty: &Type, bytes: &[u8]) -> Result<String, String> {
    if matches!(*ty, Type::INT2_VECTOR | Type::OID_VECTOR) {
        return vector(ty, bytes);
    }
    if let Kind::Array(item) = ty.kind() {
        return array(item, bytes);
    }
    Ok(match *ty {
        Type::BOOL => if bytes == [1] { "t" } else { "f" }.to_string(),
        Type::INT2 => i16::from_be_bytes(exact(bytes)?).to_string(),
        Type::INT4 => i32::from_be_bytes(exact(bytes)?).to_string(),
        Type::INT8 => i64::from_be_bytes(exact(bytes)?).to_string(),
        Type::OID => u32::from_be_bytes(exact(bytes)?).to_string(),
        Type::FLOAT4 => float4(f32::from_be_bytes(exact(bytes)?)),
        Type::FLOAT8 => float8(f64::from_be_bytes(exact(bytes)?)),
        Type::NUMERIC => numeric(bytes)?,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN | Type::JSON => utf8(bytes)?,
        Type::CHAR => match u8::from_be_bytes(exact(bytes)?) {
            0 => String::new(),
            letter @ ..0x80 => char::from(letter).to_string(),
            high => format!("\\{high:03o}"),
        },
        Type::JSONB | Type::JSONPATH => match bytes {
            [1, rest @ ..] => utf8(rest)?,
            _ => return Err(format!("{ty} without version 1: {bytes:?}")),
        },
        Type::BYTEA => format!("\\x{}", hex(bytes)),
        Type::UUID => uuid(&exact(bytes)?),
        Type::DATE => date(i32::from_be_bytes(exact(bytes)?)),
        Type::TIME => time(i64::from_be_bytes(exact(bytes)?)),
        Type::TIMESTAMP => timestamp(i64::from_be_bytes(exact(bytes)?), ""),
        Type::TIMESTAMPTZ => timestamp(i64::from_be_bytes(exact(bytes)?), "+00"),
        Type::INTERVAL => interval(bytes)?,
        Type::VOID => String::new(),
        Type::PG_NODE_TREE | Type::XML | Type::PG_SNAPSHOT | Type::TXID_SNAPSHOT => utf8(bytes)?,
        Type::XID8 => u64::from_be_bytes(exact(bytes)?).to_string(),
        Type::PG_LSN => {
            let position = u64::from_be_bytes(exact(bytes)?);
            format!("{:X}/{:X}", position >> 32, position & 0xffff_ffff)
        }
        _ => return Err(format!("no text form for type {ty} (oid {}) here", ty.oid())),
    })
}

fn exact<const N: usize>(bytes: &[u8]) -> Result<[u8; N], String> {
    bytes.try_into().map_err(|_| format!("{N} bytes expected: {bytes:?}"))
}

fn utf8(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn uuid(bytes: &[u8; 16]) -> String {
    let all = hex(bytes);
    format!(
        "{}-{}-{}-{}-{}",
        &all[..8],
        &all[8..12],
        &all[12..16],
        &all[16..20],
        &all[20..]
    )
}

pub fn float8(value: f64) -> String {
    float(value, format!("{value:e}"), 15, value.to_string())
}

fn float4(value: f32) -> String {
    float(f64::from(value), format!("{value:e}"), 6, value.to_string())
}

/// PostgreSQL writes an exponent from `digits` digits on and below 1e-4.
fn float(value: f64, scientific: String, digits: i32, plain: String) -> String {
    if value.is_nan() {
        return "NaN".to_string();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_string();
    }
    let (mantissa, exponent) = scientific.split_once('e').expect("Rust's {:e} has an exponent");
    let exponent: i32 = exponent.parse().expect("Rust's {:e} has a decimal exponent");
    if (-4..digits).contains(&exponent) {
        plain
    } else {
        format!(
            "{mantissa}e{}{:02}",
            if exponent < 0 { '-' } else { '+' },
            exponent.abs()
        )
    }
}

/// Digits of base 10,000, weight of the first, sign, scale of the text.
fn numeric(bytes: &[u8]) -> Result<String, String> {
    let words: Vec<u16> = bytes
        .chunks(2)
        .map(|pair| u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]))
        .collect();
    let [count, weight, sign, scale, digits @ ..] = words.as_slice() else {
        return Err(format!("short numeric: {bytes:?}"));
    };
    if !bytes.len().is_multiple_of(2) || digits.len() != usize::from(*count) {
        return Err(format!("numeric of {count} digits in {} bytes", bytes.len()));
    }
    let sign = match sign {
        0x0000 => "",
        0x4000 => "-",
        0xC000 => return Ok("NaN".to_string()),
        0xD000 => return Ok("Infinity".to_string()),
        0xF000 => return Ok("-Infinity".to_string()),
        other => return Err(format!("numeric sign {other:#x}")),
    };
    let weight = i32::from(*weight as i16);
    let digit = |place: i32| {
        usize::try_from(weight - place)
            .ok()
            .and_then(|at| digits.get(at))
            .copied()
            .unwrap_or(0)
    };
    let whole: String = (0..=weight.max(0))
        .rev()
        .map(|place| format!("{:04}", digit(place)))
        .collect();
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let scale = usize::from(*scale);
    let mut fraction: String = (1..)
        .take(scale.div_ceil(4))
        .map(|place| format!("{:04}", digit(-place)))
        .collect();
    fraction.truncate(scale);
    let point = if scale > 0 { "." } else { "" };
    Ok(format!("{sign}{whole}{point}{fraction}"))
}

fn epoch() -> NaiveDate {
    NaiveDate::from_ymd_opt(2000, 1, 1).expect("a valid date")
}

fn date(days: i32) -> String {
    match days {
        i32::MAX => "infinity".to_string(),
        i32::MIN => "-infinity".to_string(),
        _ => (epoch() + Duration::days(days.into())).to_string(),
    }
}

fn fraction(micros: i64) -> String {
    match micros {
        0 => String::new(),
        _ => format!(".{micros:06}").trim_end_matches('0').to_string(),
    }
}

fn time(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    format!(
        "{:02}:{:02}:{:02}{}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        fraction(micros % 1_000_000)
    )
}

fn timestamp(micros: i64, zone: &str) -> String {
    match micros {
        i64::MAX => "infinity".to_string(),
        i64::MIN => "-infinity".to_string(),
        _ => {
            let start = epoch()
                .and_hms_opt(0, 0, 0)
                .expect("midnight is a valid time")
                .and_utc();
            let at: DateTime<_> = start + Duration::microseconds(micros);
            let rest = fraction(micros.rem_euclid(1_000_000));
            format!("{}{rest}{zone}", at.format("%Y-%m-%d %H:%M:%S"))
        }
    }
}

/// Microseconds, days, months; written in `IntervalStyle = postgres`.
fn interval(bytes: &[u8]) -> Result<String, String> {
    let all: [u8; 16] = exact(bytes)?;
    let micros = i64::from_be_bytes(exact(&all[..8])?);
    let days = i32::from_be_bytes(exact(&all[8..12])?);
    let months = i32::from_be_bytes(exact(&all[12..])?);
    let mut parts = Vec::new();
    let mut negative_before = false;
    let mut part = |value: i32, unit: &str| {
        if value != 0 {
            let plus = if negative_before && value > 0 { "+" } else { "" };
            let plural = if value == 1 { "" } else { "s" };
            parts.push(format!("{plus}{value} {unit}{plural}"));
            negative_before = value < 0;
        }
    };
    part(months / 12, "year");
    part(months % 12, "mon");
    part(days, "day");
    if micros != 0 || parts.is_empty() {
        let sign = if micros < 0 {
            "-"
        } else if negative_before {
            "+"
        } else {
            ""
        };
        parts.push(format!("{sign}{}", time(micros.abs())));
    }
    Ok(parts.join(" "))
}

/// `1 2`: what an array from 0 is as text.
fn vector(ty: &Type, bytes: &[u8]) -> Result<String, String> {
    let Kind::Array(item) = ty.kind() else {
        return Err(format!("{ty} is no array"));
    };
    let array = array(item, bytes)?;
    let items = array.split_once('=').map_or(array.as_str(), |(_, items)| items);
    Ok(items.trim_matches(['{', '}']).replace(',', " "))
}

/// Dimensions, then per element its length and bytes; written as `{a,"b c",NULL}`, with bounds that are not from 1 in front.
fn array(item: &Type, bytes: &[u8]) -> Result<String, String> {
    let mut words = bytes;
    let word = |words: &mut &[u8]| -> Result<i32, String> {
        let (head, rest) = words.split_first_chunk::<4>().ok_or("short array")?;
        *words = rest;
        Ok(i32::from_be_bytes(*head))
    };
    let dimensions = word(&mut words)?;
    let (_has_null, _item_oid) = (word(&mut words)?, word(&mut words)?);
    let (mut sizes, mut bounds) = (Vec::new(), Vec::new());
    for _ in 0..dimensions {
        let (size, lower) = (word(&mut words)?, word(&mut words)?);
        sizes.push(size);
        bounds.push((lower, lower + size - 1));
    }
    let mut items = Vec::new();
    for _ in 0..sizes.iter().copied().reduce(|a, b| a * b).unwrap_or(0) {
        let length = word(&mut words)?;
        items.push(match usize::try_from(length) {
            Err(_) => "NULL".to_string(),
            Ok(length) => {
                let (value, rest) = words.split_at_checked(length).ok_or("short array element")?;
                words = rest;
                quoted(&text(item, value)?)
            }
        });
    }
    for size in sizes.iter().rev().take(sizes.len().saturating_sub(1)) {
        let size = usize::try_from(*size).map_err(|error| error.to_string())?;
        items = items.chunks(size).map(|row| format!("{{{}}}", row.join(","))).collect();
    }
    let shown: String = match bounds.iter().all(|(lower, _)| *lower == 1) {
        true => String::new(),
        false => {
            bounds
                .iter()
                .map(|(lower, upper)| format!("[{lower}:{upper}]"))
                .collect::<String>()
                + "="
        }
    };
    Ok(format!("{shown}{{{}}}", items.join(",")))
}

fn quoted(value: &str) -> String {
    let special = |c: char| matches!(c, '{' | '}' | ',' | '"' | '\\') || c.is_ascii_whitespace();
    if value.is_empty() || value.eq_ignore_ascii_case("null") || value.contains(special) {
        format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        value.to_string()
    }
}
