//! One step from a value: to members and elements, to descendants, through a filter or a method.

use std::rc::Rc;

use super::item::JsonItem;
use super::run::{
    ARRAY_NOT_FOUND, FoundItems, INVALID_SUBSCRIPT, MEMBER_NOT_FOUND, OBJECT_NOT_FOUND, PathResult, PathRun, again,
    missing,
};
use super::tree::{LEAVES, Method, PathNode, PathStep};
use crate::types::decimal::Decimal;

impl PathRun<'_> {
    pub fn step_inside(
        &self,
        steps: &[PathStep],
        item: &Rc<JsonItem>,
        mut found: FoundItems,
        unwrap: bool,
    ) -> PathResult<bool> {
        let Some((step, rest)) = steps.split_first() else {
            return self.next(steps, item, found);
        };
        // In the place of an array, its elements.
        let takes_arrays = match step {
            PathStep::AnyElement | PathStep::Elements(_) | PathStep::Below(..) => true,
            PathStep::Method(method) => matches!(method, Method::Type | Method::Size),
            PathStep::Member(_) | PathStep::AnyMember | PathStep::Filter(_) => false,
        };
        if let JsonItem::Array(items) = &**item
            && unwrap
            && !takes_arrays
        {
            return self.each(items.iter(), found, |item, found| self.step(steps, item, found, false));
        }
        match step {
            PathStep::Member(key) => match (&**item, item.member(key)) {
                (_, Some(value)) => self.next(rest, value, found),
                (_, None) if self.forgiving.get() => Ok(false),
                (JsonItem::Object(_), None) => {
                    missing(MEMBER_NOT_FOUND, format!("JSON object does not contain key \"{key}\""))
                }
                _ => missing(
                    MEMBER_NOT_FOUND,
                    "jsonpath member accessor can only be applied to an object",
                ),
            },
            PathStep::AnyMember => match &**item {
                JsonItem::Object(_) => self.each(item.children(), found, |item, found| self.next(rest, item, found)),
                _ if self.forgiving.get() => Ok(false),
                _ => missing(
                    OBJECT_NOT_FOUND,
                    "jsonpath wildcard member accessor can only be applied to an object",
                ),
            },
            PathStep::AnyElement => match &**item {
                JsonItem::Array(items) => self.each(items.iter(), found, |item, found| self.next(rest, item, found)),
                _ if self.lax => self.next(rest, item, found),
                _ if self.forgiving.get() => Ok(false),
                _ => missing(
                    ARRAY_NOT_FOUND,
                    "jsonpath wildcard array accessor can only be applied to an array",
                ),
            },
            PathStep::Elements(places) => self.elements(places, rest, item, found),
            PathStep::Below(first, last) => {
                let mut any = false;
                if *first == 0 {
                    any = self.forgive(|| self.next(rest, item, again(&mut found)))?;
                    if any && found.is_none() {
                        return Ok(true);
                    }
                }
                Ok(self.below(rest, item, found, 1, (*first, *last))? || any)
            }
            PathStep::Filter(predicate) => {
                let before = self.current.replace(item.clone());
                let truth = self.truth(predicate, item);
                self.current.replace(before);
                match truth? {
                    Some(true) => self.next(rest, item, found),
                    _ => Ok(false),
                }
            }
            PathStep::Method(method) => self.method(*method, rest, item, found),
        }
    }

    fn elements(
        &self,
        places: &[(PathNode, Option<PathNode>)],
        rest: &[PathStep],
        item: &Rc<JsonItem>,
        mut found: FoundItems,
    ) -> PathResult<bool> {
        let only = std::slice::from_ref(item);
        let items = match &**item {
            JsonItem::Array(items) => items.as_slice(),
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
        let mut work = || -> PathResult<()> {
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

    /// A place in an array: a number, without its fraction.
    fn place(&self, node: &PathNode, item: &Rc<JsonItem>) -> PathResult<i64> {
        let mut values = Vec::new();
        self.node(node, item, Some(&mut values))?;
        let [only] = values.as_slice() else {
            return missing(
                INVALID_SUBSCRIPT,
                "jsonpath array subscript is not a single numeric value",
            );
        };
        let JsonItem::Number(digits) = &**only else {
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

    /// The steps from the descendants of an item, `level` levels and more below it.
    fn below(
        &self,
        rest: &[PathStep],
        item: &Rc<JsonItem>,
        mut found: FoundItems,
        level: u32,
        (first, last): (u32, u32),
    ) -> PathResult<bool> {
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
