//! A NUMERIC on its own: digits and how many of them are fractional.

use num_bigint::BigInt;

/// `value` / 10^`scale`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decimal {
    pub value: i128,
    pub scale: u32,
}

/// 10^`exponent`
pub fn power_of_ten(exponent: u32) -> BigInt {
    BigInt::from(10).pow(exponent)
}

/// `value / divisor`, rounded half away from zero.
pub fn rounded(value: &BigInt, divisor: &BigInt) -> BigInt {
    let twice: BigInt = value.magnitude().clone().into();
    let positive: BigInt = (twice * 2 + divisor) / (divisor * 2);
    if value.sign() == num_bigint::Sign::Minus {
        -positive
    } else {
        positive
    }
}

impl Decimal {
    pub fn trimmed(self) -> Decimal {
        let Decimal { mut value, mut scale } = self;
        while scale > 0 && value % 10 == 0 {
            value /= 10;
            scale -= 1;
        }
        Decimal { value, scale }
    }

    /// The value in units of 10^-`scale`, rounded half away from zero; `None` if it is too large.
    pub fn at_scale(self, scale: u32) -> Option<i128> {
        if scale >= self.scale {
            return 10i128.checked_pow(scale - self.scale)?.checked_mul(self.value);
        }
        let Some(power) = 10i128.checked_pow(self.scale - scale) else {
            return Some(0);
        };
        let (quotient, rest) = (self.value / power, self.value % power);
        Some(if rest.unsigned_abs() >= power.unsigned_abs().div_ceil(2) {
            quotient + self.value.signum()
        } else {
            quotient
        })
    }

    /// The value in units of 10^-`digits`.
    pub fn fixed(self, digits: u32) -> BigInt {
        match digits >= self.scale {
            true => BigInt::from(self.value) * power_of_ten(digits - self.scale),
            false => rounded(&BigInt::from(self.value), &power_of_ten(self.scale - digits)),
        }
    }

    /// Of a number in units of 10^-`digits`, rounded to a scale; to a smaller one if there are too many digits.
    pub fn of_fixed(value: &BigInt, digits: u32, scale: u32) -> Option<Decimal> {
        const SCALE_MAX: u32 = 38;
        let mut scale = scale.min(SCALE_MAX);
        loop {
            let at_scale = match digits >= scale {
                true => rounded(value, &power_of_ten(digits - scale)),
                false => value * power_of_ten(scale - digits),
            };
            match i128::try_from(&at_scale) {
                Ok(value) if value.unsigned_abs() < 10u128.pow(SCALE_MAX) => return Some(Decimal { value, scale }),
                _ if scale == 0 => return None,
                _ => scale -= 1,
            }
        }
    }

    pub fn double(self) -> f64 {
        format!("{}e-{}", self.value, self.scale)
            .parse()
            .expect("it is a number")
    }

    /// Its digits to base 10000 without zeros at both ends, and the power of 10000 that the first counts.
    pub fn groups(self) -> (Vec<u32>, i32) {
        let digits = self.value.unsigned_abs().to_string();
        let scale = self.scale as usize;
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        let whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
        let fraction = format!("{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
        let mut weight = (whole.len() / 4) as i32 - 1;
        let all = whole + &fraction;
        let mut groups: Vec<u32> = all
            .as_bytes()
            .chunks(4)
            .map(|four| four.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
            .collect();
        while groups.last() == Some(&0) {
            groups.pop();
        }
        let leading = groups.iter().take_while(|group| **group == 0).count();
        groups.drain(..leading);
        weight -= leading as i32;
        if groups.is_empty() {
            weight = 0;
        }
        (groups, weight)
    }
}
