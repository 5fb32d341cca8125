//! The patterns of numbers, and the shape of a whole format.

use crate::error::{SqlError, state};

/// In the order in which they are tried; lower case, too.
const KEYWORDS: [(&str, Pattern); 20] = [
    (",", Pattern::Comma),
    (".", Pattern::Point),
    ("0", Pattern::Zero),
    ("9", Pattern::Nine),
    ("B", Pattern::Blank),
    ("C", Pattern::Ignored),
    ("D", Pattern::LocalPoint),
    ("EEEE", Pattern::Scientific),
    ("FM", Pattern::Fill),
    ("G", Pattern::Group),
    ("L", Pattern::Currency),
    ("MI", Pattern::Minus),
    ("PL", Pattern::Plus),
    ("PR", Pattern::Brackets),
    ("RN", Pattern::Roman),
    ("SG", Pattern::EitherSign),
    ("SP", Pattern::Ignored),
    ("S", Pattern::Sign),
    ("TH", Pattern::Ordinal),
    ("V", Pattern::Shift),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pattern {
    Comma,
    Point,
    Zero,
    Nine,
    Blank,
    Ignored,
    LocalPoint,
    Scientific,
    Fill,
    Group,
    Currency,
    Minus,
    Plus,
    Brackets,
    Roman,
    EitherSign,
    Sign,
    Ordinal,
    Shift,
}

#[derive(Clone, Copy, Debug)]
pub enum DigitToken {
    /// Whether it was written in lower case.
    Pattern(Pattern, bool),
    Letter(char),
}

/// The pieces of a format, in order.
pub fn tokens(format: &str) -> impl Iterator<Item = DigitToken> + '_ {
    let (mut rest, mut quoted) = (format, false);
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            if let Some(after) = rest.strip_prefix('"') {
                (rest, quoted) = (after, !quoted);
                continue;
            }
            if !quoted {
                for (name, pattern) in KEYWORDS {
                    let lower = name.to_ascii_lowercase();
                    for (name, lower) in [(name, false), (lower.as_str(), true)] {
                        if let Some(after) = rest.strip_prefix(name) {
                            rest = after;
                            return Some(DigitToken::Pattern(pattern, lower));
                        }
                    }
                }
            }
            let (letter, length) = super::literal(rest, quoted);
            rest = &rest[length..];
            return Some(DigitToken::Letter(letter));
        }
    })
}

/// The place of the sign of S.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignPlace {
    Before,
    After,
}

/// The meaning of a format.
#[derive(Clone, Default, Debug)]
pub struct DigitShape {
    /// Digits before the point, after it, and those that V shifts by.
    pub before: usize,
    pub after: usize,
    pub shift: usize,
    pub sign: Option<SignPlace>,
    /// Digits before the sign.
    pub digits_before_sign: usize,
    /// The first digit that a zero stands for, from 1, and the last.
    pub zero_start: usize,
    pub zero_end: usize,
    pub point: bool,
    pub zero: bool,
    pub blank: bool,
    pub fill: bool,
    pub local_sign: bool,
    pub brackets: bool,
    pub minus: bool,
    pub plus: bool,
    pub roman: bool,
    pub shifted: bool,
    pub scientific: bool,
}

fn refused(message: &str) -> SqlError {
    SqlError::new(state::SYNTAX_ERROR, message)
}

impl DigitShape {
    pub fn of(format: &str) -> Result<DigitShape, SqlError> {
        let mut shape = DigitShape::default();
        for token in tokens(format) {
            if let DigitToken::Pattern(pattern, _) = token {
                shape.add(pattern)?;
            }
        }
        Ok(shape)
    }

    fn add(&mut self, pattern: Pattern) -> Result<(), SqlError> {
        if self.scientific && pattern != Pattern::Scientific {
            return Err(refused("\"EEEE\" must be the last pattern used"));
        }
        match pattern {
            Pattern::Nine => {
                if self.brackets {
                    return Err(refused("\"9\" must be ahead of \"PR\""));
                }
                match (self.shifted, self.point) {
                    (true, _) => self.shift += 1,
                    (false, true) => self.after += 1,
                    (false, false) => self.before += 1,
                }
            }
            Pattern::Zero => {
                if self.brackets {
                    return Err(refused("\"0\" must be ahead of \"PR\""));
                }
                if !self.zero && !self.point {
                    self.zero = true;
                    self.zero_start = self.before + 1;
                }
                if self.point {
                    self.after += 1;
                } else {
                    self.before += 1;
                }
                self.zero_end = self.before + self.after;
            }
            Pattern::Blank => self.blank |= self.before == 0 && self.after == 0 && !self.zero,
            Pattern::Point | Pattern::LocalPoint => {
                if self.point {
                    return Err(refused("multiple decimal points"));
                }
                if self.shifted {
                    return Err(refused("cannot use \"V\" and decimal point together"));
                }
                self.point = true;
            }
            Pattern::Fill => self.fill = true,
            Pattern::Sign => {
                if self.local_sign {
                    return Err(refused("cannot use \"S\" twice"));
                }
                if self.plus || self.minus || self.brackets {
                    return Err(refused("cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together"));
                }
                if !self.point {
                    self.sign = Some(SignPlace::Before);
                    self.digits_before_sign = self.before;
                    self.local_sign = true;
                } else if self.sign.is_none() {
                    self.sign = Some(SignPlace::After);
                    self.local_sign = true;
                }
            }
            Pattern::Minus | Pattern::Plus | Pattern::EitherSign if self.local_sign => {
                return Err(refused(match pattern {
                    Pattern::Minus => "cannot use \"S\" and \"MI\" together",
                    Pattern::Plus => "cannot use \"S\" and \"PL\" together",
                    _ => "cannot use \"S\" and \"SG\" together",
                }));
            }
            Pattern::Minus => self.minus = true,
            Pattern::Plus => self.plus = true,
            Pattern::EitherSign => (self.minus, self.plus) = (true, true),
            Pattern::Brackets => {
                if self.local_sign || self.plus || self.minus {
                    return Err(refused("cannot use \"PR\" and \"S\"/\"PL\"/\"MI\"/\"SG\" together"));
                }
                self.brackets = true;
            }
            Pattern::Roman => self.roman = true,
            Pattern::Shift => {
                if self.point {
                    return Err(refused("cannot use \"V\" and decimal point together"));
                }
                self.shifted = true;
            }
            Pattern::Scientific => {
                if self.scientific {
                    return Err(refused("cannot use \"EEEE\" twice"));
                }
                let signs = self.local_sign || self.brackets || self.minus || self.plus;
                if self.blank || self.fill || signs || self.roman || self.shifted {
                    return Err(refused("\"EEEE\" is incompatible with other formats")
                        .detail("\"EEEE\" may only be used together with digit and decimal point patterns."));
                }
                self.scientific = true;
            }
            Pattern::Comma | Pattern::Group | Pattern::Currency | Pattern::Ordinal | Pattern::Ignored => {}
        }
        Ok(())
    }
}
