//! Predicates of a path: true, false, or unknown, if the document does not fit them.

use std::cmp::Ordering;
use std::rc::Rc;

use super::item::JsonItem;
use super::run::{PathFailure, PathResult, PathRun};
use super::tree::{Comparison, PathNode, Predicate};
use crate::sql::functions::json::number::compare_digits;

/// `None`: unknown.
type Truth = Option<bool>;

impl PathRun<'_> {
    pub fn truth(&self, predicate: &Predicate, item: &Rc<JsonItem>) -> PathResult<Truth> {
        self.tick()?;
        match predicate {
            Predicate::And(left, right) => match self.truth(left, item)? {
                Some(false) => Ok(Some(false)),
                left => Ok(match self.truth(right, item)? {
                    Some(true) => left,
                    right => right,
                }),
            },
            Predicate::Or(left, right) => match self.truth(left, item)? {
                Some(true) => Ok(Some(true)),
                left => Ok(match self.truth(right, item)? {
                    Some(false) => left,
                    right => right,
                }),
            },
            Predicate::Not(inner) => Ok(self.truth(inner, item)?.map(|truth| !truth)),
            Predicate::IsUnknown(inner) => Ok(Some(self.truth(inner, item)?.is_none())),
            Predicate::Exists(node) => {
                let any = match self.lax {
                    true => self.node(node, item, None),
                    false => {
                        let mut values = Vec::new();
                        let done = self.node(node, item, Some(&mut values));
                        done.map(|_| !values.is_empty())
                    }
                };
                known(any)
            }
            Predicate::Compare(comparison, left, right) => {
                self.pairs(item, left, Some((right, true)), |a, b| compared(*comparison, a, b))
            }
            Predicate::StartsWith(left, right) => self.pairs(item, left, Some((right, false)), |a, b| match (a, b) {
                (JsonItem::Text(text), JsonItem::Text(start)) => Some(text.starts_with(&**start)),
                _ => None,
            }),
            Predicate::Like(left, pattern) => self.pairs(item, left, None, |a, _| match a {
                JsonItem::Text(text) => Some(pattern.regex.is_match(text)),
                _ => None,
            }),
        }
    }

    /// Whether a test holds for any pair of values of two nodes. In strict mode it has to be known for all.
    fn pairs(
        &self,
        item: &Rc<JsonItem>,
        left: &PathNode,
        right: Option<(&PathNode, bool)>,
        test: impl Fn(&JsonItem, &JsonItem) -> Truth,
    ) -> PathResult<Truth> {
        let (mut lefts, mut rights) = (Vec::new(), Vec::new());
        if known(self.unwrapped(left, item, true, &mut lefts).map(|()| true))?.is_none() {
            return Ok(None);
        }
        match right {
            Some((right, unwrap)) => {
                if known(self.unwrapped(right, item, unwrap, &mut rights).map(|()| true))?.is_none() {
                    return Ok(None);
                }
            }
            None => rights.push(Rc::new(JsonItem::Null)),
        }
        let (mut holds, mut unknown) = (false, false);
        for a in &lefts {
            for b in &rights {
                self.tick()?;
                match test(a, b) {
                    None if !self.lax => return Ok(None),
                    None => unknown = true,
                    Some(true) if self.lax => return Ok(Some(true)),
                    Some(truth) => holds |= truth,
                }
            }
        }
        Ok(match (holds, unknown) {
            (true, _) => Some(true),
            (false, true) => None,
            (false, false) => Some(false),
        })
    }
}

/// A missing member makes a predicate unknown.
fn known(truth: PathResult<bool>) -> PathResult<Truth> {
    match truth {
        Ok(truth) => Ok(Some(truth)),
        Err(PathFailure::Missing(_)) => Ok(None),
        Err(fatal) => Err(fatal),
    }
}

fn compared(comparison: Comparison, a: &JsonItem, b: &JsonItem) -> Truth {
    let order = match (a, b) {
        (JsonItem::Null, JsonItem::Null) => Ordering::Equal,
        (JsonItem::Null, _) | (_, JsonItem::Null) => return Some(comparison == Comparison::NotEqual),
        (JsonItem::Bool(a), JsonItem::Bool(b)) => a.cmp(b),
        (JsonItem::Number(a), JsonItem::Number(b)) => compare_digits(a, b),
        (JsonItem::Text(a), JsonItem::Text(b)) => a.cmp(b),
        _ => return None,
    };
    Some(match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    })
}
