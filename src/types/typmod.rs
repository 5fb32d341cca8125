//! Modifiers that act when a value is put in and that values know nothing of: `TIMESTAMP(2)`, `INTERVAL DAY TO MINUTE`,
//! `NUMERIC(50, 2)`.
//!
//! One rule: a modifier is the number that PostgreSQL has in `pg_attribute.atttypmod`. Not here: modifiers that are part of
//! a [`PgType`], and the effect of a modifier on values (`sql/functions/modifier.rs`).

use super::{IntervalField, IntervalFields, PgType};

/// PostgreSQL's count for the header of a value.
const HEADER: i32 = 4;
/// No precision, no fields: of intervals.
const FULL_PRECISION: i32 = 0xffff;
const FULL_RANGE: i32 = 0x7fff;
/// Digits of a second.
pub const DIGITS_MAX: u32 = 6;
/// Of NUMERIC.
pub const PRECISION_MAX: i32 = 1000;
pub const SCALE_MIN: i32 = -PRECISION_MAX;

/// The fields of an interval with their bits.
const FIELDS: [(IntervalField, i32, &str); 6] = [
    (IntervalField::Year, 1 << 2, "year"),
    (IntervalField::Month, 1 << 1, "month"),
    (IntervalField::Day, 1 << 3, "day"),
    (IntervalField::Hour, 1 << 10, "hour"),
    (IntervalField::Minute, 1 << 11, "minute"),
    (IntervalField::Second, 1 << 12, "second"),
];

/// Of NUMERIC(precision, scale).
pub fn of_number(precision: u16, scale: i16) -> i32 {
    ((i32::from(precision) << 16) | (i32::from(scale) & 0x7ff)) + HEADER
}

/// Precision and scale of NUMERIC.
pub fn number(typmod: i32) -> Option<(u16, i16)> {
    let value = typmod.checked_sub(HEADER).filter(|value| *value >= 0)?;
    // The scale is a signed number of 11 bits.
    let scale = ((value & 0x7ff) ^ 1024) - 1024;
    Some(((value >> 16) as u16, scale as i16))
}

/// Of INTERVAL.
pub fn of_interval(fields: Option<IntervalFields>, digits: Option<u32>) -> i32 {
    let range = fields.map_or(FULL_RANGE, |fields| {
        let bits = FIELDS
            .iter()
            .filter(|(field, ..)| (fields.first..=fields.last).contains(field));
        bits.map(|(_, bit, _)| bit).sum()
    });
    (range << 16) | digits.map_or(FULL_PRECISION, |digits| digits.min(DIGITS_MAX) as i32)
}

/// Fields and digits of INTERVAL.
pub fn interval(typmod: i32) -> (Option<IntervalFields>, Option<u32>) {
    if typmod < 0 {
        return (None, None);
    }
    let (range, digits) = ((typmod >> 16) & FULL_RANGE, typmod & FULL_PRECISION);
    let mut set = FIELDS.iter().filter(|(_, bit, _)| range & bit != 0);
    let fields = match (range == FULL_RANGE, set.next()) {
        (false, Some((first, ..))) => Some(IntervalFields {
            first: *first,
            last: set.next_back().map_or(*first, |(last, ..)| *last),
        }),
        _ => None,
    };
    (fields, (digits != FULL_PRECISION).then_some(digits as u32))
}

/// A field by its name.
pub(super) fn field(name: &str) -> Option<IntervalField> {
    FIELDS.iter().find(|(_, _, known)| *known == name).map(|row| row.0)
}

fn field_name(field: IntervalField) -> &'static str {
    let named = FIELDS.iter().find(|(known, ..)| *known == field);
    named.expect("all are listed").2
}

impl PgType {
    /// [`PgType::name`] with a modifier, as `format_type` prints it.
    pub fn name_with(&self, typmod: i32) -> String {
        let seconds = |name: &str| match name.split_once(' ') {
            Some((first, rest)) => format!("{first}({typmod}) {rest}"),
            None => format!("{name}({typmod})"),
        };
        match self {
            PgType::Array(item) => format!("{}[]", item.name_with(typmod)),
            PgType::Time | PgType::Timestamp | PgType::TimestampTz if typmod >= 0 => seconds(self.base_name()),
            PgType::Interval if typmod >= 0 => {
                let (fields, digits) = interval(typmod);
                let mut name = "interval".to_string();
                if let Some(fields) = fields {
                    name += &format!(" {}", field_name(fields.first));
                    if fields.first != fields.last {
                        name += &format!(" to {}", field_name(fields.last));
                    }
                }
                digits.map_or(name.clone(), |digits| format!("{name}({digits})"))
            }
            PgType::Numeric(_) => match number(typmod) {
                Some((precision, scale)) => format!("numeric({precision},{scale})"),
                None => self.bare().name(),
            },
            _ => self.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifiers_are_postgresqls() {
        for (written, name, typmod) in [
            ("timestamp(2)", "timestamp(2) without time zone", 2),
            ("timestamptz(0)", "timestamp(0) with time zone", 0),
            ("time(3)", "time(3) without time zone", 3),
            ("interval(2)", "interval(2)", 0x7fff_0002),
            ("interval day", "interval day", 589_823),
            ("interval day to second(3)", "interval day to second(3)", 470_286_339),
            ("interval year to month", "interval year to month", 458_751),
            ("numeric(50,2)", "numeric(50,2)", 3_276_806),
            ("numeric(3,5)", "numeric(3,5)", 196_617),
            ("numeric(50,-2)", "numeric(50,-2)", 3_278_850),
            ("numeric(50,2)[]", "numeric(50,2)[]", 3_276_806),
        ] {
            let (pg_type, found) = PgType::parse_written(written).expect("a type");
            assert_eq!(found, Some(typmod), "{written}");
            assert_eq!(pg_type.name_with(typmod), name);
        }
        assert_eq!(PgType::parse_written("timestamp"), Some((PgType::Timestamp, None)));
        assert_eq!(PgType::parse("numeric(50,2)"), None);
        assert_eq!(number(of_number(1000, -1000)), Some((1000, -1000)));
    }
}
