//! One step from a value: to members and elements, to what is below, through a filter or a method.

use std::rc::Rc;

use super::item::Item;
use super::run::{
    ARRAY_NOT_FOUND, Found, INVALID_SUBSCRIPT, MEMBER_NOT_FOUND, OBJECT_NOT_FOUND, Result, Run, again, missing,
};
use super::tree::{LEAVES, Method, Node, Step};
use crate::types::decimal::Decimal;

impl Run<'_> {
    pub fn step_inside(&self, steps: &[Step], item: &Rc<Item>, mut found: Found, unwrap: bool) -> Result<bool> {
        let Some((step, rest)) = steps.split_first() else {
            return self.next(steps, item, found);
        };
        // In the place of an array, its elements.
        let takes_arrays = match step {
            Step::AnyElement | Step::Elements(_) | Step::Below(..) => true,
            Step::Method(method) => matches!(method, Method::Type | Method::Size),
            Step::Member(_) | Step::AnyMember | Step::Filter(_) => false,
        };
        if let Item::Array(items) = &**item
            && unwrap
            && !takes_arrays
        {
            return self.each(items.iter(), found, |item, found| self.step(steps, item, found, false));
        }
        match step {
            Step::Member(key) => match (&**item, item.member(key)) {
                (_, Some(value)) => self.next(rest, value, found),
                (_, None) if self.forgiving.get() => Ok(false),
                (Item::Object(_), None) => {
                    missing(MEMBER_NOT_FOUND, format!("JSON object does not contain key \"{key}\""))
                }
                _ => missing(
                    MEMBER_NOT_FOUND,
                    "jsonpath member accessor can only be applied to an object",
                ),
            },
            Step::AnyMember => match &**item {
                Item::Object(_) => self.each(item.children(), found, |item, found| self.next(rest, item, found)),
                _ if self.forgiving.get() => Ok(false),
                _ => missing(
                    OBJECT_NOT_FOUND,
                    "jsonpath wildcard member accessor can only be applied to an object",
                ),
            },
            Step::AnyElement => match &**item {
                Item::Array(items) => self.each(items.iter(), found, |item, found| self.next(rest, item, found)),
                _ if self.lax => self.next(rest, item, found),
                _ if self.forgiving.get() => Ok(false),
                _ => missing(
                    ARRAY_NOT_FOUND,
                    "jsonpath wildcard array accessor can only be applied to an array",
                ),
            },
            Step::Elements(places) => self.elements(places, rest, item, found),
            Step::Below(first, last) => {
                let mut any = false;
                if *first == 0 {
                    any = self.forgive(|| self.next(rest, item, again(&mut found)))?;
                    if any && found.is_none() {
                        return Ok(true);
                    }
                }
                Ok(self.below(rest, item, found, 1, (*first, *last))? || any)
            }
            Step::Filter(predicate) => {
                let before = self.current.replace(item.clone());
                let truth = self.truth(predicate, item);
                self.current.replace(before);
                match truth? {
                    Some(true) => self.next(rest, item, found),
                    _ => Ok(false),
                }
            }
            Step::Method(method) => self.method(*method, rest, item, found),
        }
    }

    fn elements(
        &self,
        places: &[(Node, Option<Node>)],
        rest: &[Step],
        item: &Rc<Item>,
        mut found: Found,
    ) -> Result<bool> {
        let only = std::slice::from_ref(item);
        let items = match &**item {
            Item::Array(items) => items.as_slice(),
            _ if self.lax => only,
            _ if self.forgiving.get() => return Ok(false),
            _ => {
                return missing(
                    ARRAY_NOT_FOUND,
                    "jsonpath array accessor can only be applied to an array",
                );
            }
        };
        let outer = self.size.replace(Some(items.len()));
        let mut any = false;
        let mut work = || -> Result<()> {
            for (from, to) in places {
                let from = self.place(from, item)?;
                let to = to.as_ref().map_or(Ok(from), |to| self.place(to, item))?;
                let size = items.len() as i64;
                if !self.forgiving.get() && (from < 0 || from > to || to >= size) {
                    return missing(INVALID_SUBSCRIPT, "jsonpath array subscript is out of bounds");
                }
                for at in from.max(0)..=to.min(size - 1) {
                    any |= self.next(rest, &items[at as usize], again(&mut found))?;
                    if any && found.is_none() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        };
        let done = work();
        self.size.set(outer);
        done.map(|()| any)
    }

    /// A place in an array: a number, what is behind its point cut off.
    fn place(&self, node: &Node, item: &Rc<Item>) -> Result<i64> {
        let mut values = Vec::new();
        self.node(node, item, Some(&mut values))?;
        let [only] = values.as_slice() else {
            return missing(
                INVALID_SUBSCRIPT,
                "jsonpath array subscript is not a single numeric value",
            );
        };
        let Item::Number(digits) = &**only else {
            return missing(
                INVALID_SUBSCRIPT,
                "jsonpath array subscript is not a single numeric value",
            );
        };
        match Decimal::parse(digits).truncated() {
            Some(place) => Ok(place.into()),
            None => missing(INVALID_SUBSCRIPT, "jsonpath array subscript is out of integer range"),
        }
    }

    /// The steps from what is below an item, `level` levels and more.
    fn below(
        &self,
        rest: &[Step],
        item: &Rc<Item>,
        mut found: Found,
        level: u32,
        (first, last): (u32, u32),
    ) -> Result<bool> {
        let mut any = false;
        if level > last {
            return Ok(false);
        }
        for child in item.children() {
            self.tick()?;
            let is_leaf = first == LEAVES && last == LEAVES && child.is_scalar();
            if level >= first || is_leaf {
                any |= self.forgive(|| self.next(rest, child, again(&mut found)))?;
                if any && found.is_none() {
                    return Ok(true);
                }
            }
            if level < last {
                any |= self.deeper(|| self.below(rest, child, again(&mut found), level + 1, (first, last)))?;
                if any && found.is_none() {
                    return Ok(true);
                }
            }
        }
        Ok(any)
    }
}
