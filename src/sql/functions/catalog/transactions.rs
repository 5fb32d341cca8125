//! Numbers of transactions, snapshots of them, and sizes as they are written.
//!
//! One rule: a transaction has no number of its own here; questions about a past one are answered with "committed".

use super::{Returns, Spec, lenient, strict, text_of};
use crate::catalog::system::SystemValue;
use crate::error::{SqlError, state};
use crate::sql::error::invalid_input;

pub(super) const SPECS: &[Spec] = &[
    strict("pg_lsnout", 1..=1, Returns::Text, |_, args| {
        let position = args[0].as_int().unwrap_or(0) as u64;
        Ok(format!("{:X}/{:X}", position >> 32, position & 0xffff_ffff).into())
    }),
    lenient("pg_current_xact_id_if_assigned", 0..=0, Returns::Xid8, |_, _| {
        Ok(SystemValue::Null)
    }),
    strict("pg_xact_status", 1..=1, Returns::Text, |_, args| Ok(status(&args[0]))),
    strict("txid_status", 1..=1, Returns::Text, |_, args| Ok(status(&args[0]))),
    strict("pg_snapshot_xmin", 1..=1, Returns::Xid8, |_, args| {
        Ok(snapshot(&args[0])?.0.into())
    }),
    strict("pg_snapshot_xmax", 1..=1, Returns::Xid8, |_, args| {
        Ok(snapshot(&args[0])?.1.into())
    }),
    strict("txid_snapshot_xmin", 1..=1, Returns::Int8, |_, args| {
        Ok(snapshot(&args[0])?.0.into())
    }),
    strict("txid_snapshot_xmax", 1..=1, Returns::Int8, |_, args| {
        Ok(snapshot(&args[0])?.1.into())
    }),
    strict("pg_visible_in_snapshot", 2..=2, Returns::Bool, |_, args| {
        is_visible(args)
    }),
    strict("txid_visible_in_snapshot", 2..=2, Returns::Bool, |_, args| {
        is_visible(args)
    }),
    strict("pg_size_bytes", 1..=1, Returns::Int8, |_, args| {
        size_bytes(text_of(&args[0]))
    }),
];

fn status(number: &SystemValue) -> SystemValue {
    /// The numbers of bootstrap and frozen rows, which PostgreSQL knows as committed.
    const FIRST: i64 = 3;
    match number.as_int() {
        Some(1..FIRST) => "committed".into(),
        _ => SystemValue::Null,
    }
}

/// `xmin:xmax:xip,xip`
fn snapshot(value: &SystemValue) -> Result<(i64, i64, Vec<i64>), SqlError> {
    let text = text_of(value);
    let read = || {
        let mut parts = text.split(':');
        let (first, next, running) = (parts.next()?, parts.next()?, parts.next()?);
        let (first, next): (i64, i64) = (first.parse().ok()?, next.parse().ok()?);
        let running = running.split(',').filter(|number| !number.is_empty());
        let running: Vec<i64> = running.map(|number| number.parse().ok()).collect::<Option<_>>()?;
        let ascending = running.windows(2).all(|pair| pair[0] < pair[1]);
        let inside = running.iter().all(|number| (first..next).contains(number));
        (first > 0 && next >= first && parts.next().is_none() && ascending && inside).then_some((first, next, running))
    };
    read().ok_or_else(|| invalid_input("pg_snapshot", text))
}

fn is_visible(args: &[SystemValue]) -> Result<SystemValue, SqlError> {
    let number = args[0].as_int().unwrap_or(0);
    let (first, next, running) = snapshot(&args[1])?;
    Ok((number < first || (number < next && !running.contains(&number))).into())
}

/// `1.5 MB` in bytes.
fn size_bytes(text: &str) -> Result<SystemValue, SqlError> {
    let trimmed = text.trim();
    let sign = usize::from(trimmed.starts_with(['+', '-']));
    let digits = |from: usize| trimmed[from..].bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(sign);
    let mut end = sign + whole;
    let mut fraction = 0;
    if trimmed[end..].starts_with('.') {
        fraction = digits(end + 1);
        end += 1 + fraction;
    }
    let invalid = || SqlError::new(state::INVALID_PARAMETER_VALUE, format!("invalid size: \"{text}\""));
    if whole + fraction == 0 {
        return Err(invalid());
    }
    if trimmed[end..].starts_with(['e', 'E']) {
        let signed = usize::from(trimmed[end + 1..].starts_with(['+', '-']));
        let exponent = digits(end + 1 + signed);
        if exponent > 0 {
            end += 1 + signed + exponent;
        }
    }
    let unit = trimmed[end..].trim();
    let power = match unit.to_ascii_lowercase().as_str() {
        "" | "bytes" => 0,
        "kb" => 1,
        "mb" => 2,
        "gb" => 3,
        "tb" => 4,
        "pb" => 5,
        _ => {
            return Err(invalid()
                .detail(format!("Invalid size unit: \"{unit}\"."))
                .hint("Valid units are \"bytes\", \"kB\", \"MB\", \"GB\", \"TB\", and \"PB\"."));
        }
    };
    let number: f64 = trimmed[..end].parse().map_err(|_| invalid())?;
    let bytes = (number * 1024_f64.powi(power)).round();
    match bytes.abs() < i64::MAX as f64 {
        true => Ok(SystemValue::Int(bytes as i64)),
        false => Err(crate::sql::error::out_of_range("bigint")),
    }
}
