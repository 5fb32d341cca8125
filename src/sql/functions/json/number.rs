//! Order of numbers of any length.

use std::cmp::Ordering;

/// Two numbers as NUMERIC prints them, by value.
pub fn compare_digits(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| -> (bool, String, String) {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let whole = whole.trim_start_matches('0').to_string();
        let fraction = fraction.trim_end_matches('0').to_string();
        (negative && !(whole.is_empty() && fraction.is_empty()), whole, fraction)
    };
    let ((a_negative, a_whole, a_fraction), (b_negative, b_whole, b_fraction)) = (parts(a), parts(b));
    let sizes = (a_whole.len(), &a_whole, &a_fraction).cmp(&(b_whole.len(), &b_whole, &b_fraction));
    match (a_negative, b_negative) {
        (false, false) => sizes,
        (true, true) => sizes.reverse(),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
    }
}
