//! Finds what a path leads to, as PostgreSQL's `jsonpath_exec.c` does.
//!
//! One rule: what a document does not have is an error that a predicate, and whoever asks silently, makes nothing of
//! ([`Failure::Missing`]). Any other error ends the statement.
//!
//! In lax mode an array stands for its elements where a step takes no array, and a value for an array of itself where
//! a step takes one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::decimal::Decimal;
use super::item::{Item, Offsets};
use super::parser::{Arithmetic, Comparison, Head, LEAVES, Method, Node, Path, Predicate, Sign, Step};
use crate::depth::{DEPTH_MAX, too_deep};
use crate::error::{SqlError, SqlState, state};
use crate::sql::functions::growth::{Claim, ELEMENTS_MAX, hold, too_many_elements};
use crate::sql::functions::json::number::compare_digits;
use crate::stop;
use crate::types::json::number;

const MEMBER_NOT_FOUND: SqlState = SqlState("2203A");
const ARRAY_NOT_FOUND: SqlState = SqlState("22039");
const OBJECT_NOT_FOUND: SqlState = SqlState("2203C");
const INVALID_SUBSCRIPT: SqlState = SqlState("22033");
const NON_NUMERIC: SqlState = SqlState("22036");
const NUMBER_NOT_FOUND: SqlState = SqlState("2203B");
pub const SINGLETON_REQUIRED: SqlState = SqlState("22038");

/// Levels of a path and of the document that it goes through.
const RUN_DEPTH_MAX: usize = 5 * DEPTH_MAX;
/// Steps between two looks at whether to go on.
const STEPS_AT_ONCE: u64 = 1 << 12;
/// Values found between two claims of memory.
const FOUND_AT_ONCE: u64 = 1 << 16;
/// What parts the numbers of documents from places in them, in the `id` of `.keyvalue()`.
const DOCUMENT_ID: u64 = 10_000_000_000;

/// Of the first object that `.keyvalue()` makes: the document is 0, the variables are 1.
const FIRST_MADE_ID: u64 = 2;

#[derive(Debug)]
pub enum Failure {
    /// The document is not as the path wants it.
    Missing(SqlError),
    Fatal(SqlError),
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Failure {
        Failure::Fatal(error)
    }
}

type Result<T> = std::result::Result<T, Failure>;

fn missing<T>(state: SqlState, message: impl Into<String>) -> Result<T> {
    Err(Failure::Missing(SqlError::new(state, message)))
}

/// True, false, or unknown.
type Truth = Option<bool>;

/// Where values go; nowhere, if one is enough to know.
type Found<'f> = Option<&'f mut Vec<Rc<Item>>>;

/// The same place, for a shorter time.
fn again<'s>(found: &'s mut Found<'_>) -> Found<'s> {
    found.as_mut().map(|found| &mut **found)
}

/// A document that objects have their ids in.
#[derive(Clone)]
struct Base {
    root: Rc<Item>,
    id: u64,
    offsets: Rc<RefCell<Option<Offsets>>>,
}

impl Base {
    fn new(root: &Rc<Item>, id: u64) -> Base {
        Base {
            root: root.clone(),
            id,
            offsets: Rc::default(),
        }
    }

    fn id_of(&self, item: &Rc<Item>) -> u64 {
        let mut offsets = self.offsets.borrow_mut();
        let offsets = offsets.get_or_insert_with(|| Offsets::of(&self.root));
        self.id * DOCUMENT_ID + offsets.find(item)
    }
}

/// One run of a path over a document.
pub struct Run<'a> {
    lax: bool,
    root: Base,
    variables: Option<Base>,
    base: RefCell<Base>,
    current: RefCell<Rc<Item>>,
    /// What is missing is nothing; always so below `**`.
    forgiving: Cell<bool>,
    /// Of the array whose elements are picked.
    size: Cell<Option<usize>>,
    last_id: Cell<u64>,
    steps: Cell<u64>,
    depth: Cell<usize>,
    found: Cell<u64>,
    claims: RefCell<Vec<Claim>>,
    path: &'a Path,
}

impl<'a> Run<'a> {
    pub fn new(path: &'a Path, document: &Rc<Item>, variables: Option<&Rc<Item>>) -> Run<'a> {
        let root = Base::new(document, 0);
        Run {
            lax: !path.strict,
            base: RefCell::new(root.clone()),
            root,
            variables: variables.map(|variables| Base::new(variables, 1)),
            current: RefCell::new(document.clone()),
            forgiving: Cell::new(!path.strict),
            size: Cell::new(None),
            last_id: Cell::new(FIRST_MADE_ID),
            steps: Cell::new(0),
            depth: Cell::new(0),
            found: Cell::new(0),
            claims: RefCell::default(),
            path,
        }
    }

    /// All values that the path leads to; silently, those up to what is missing.
    pub fn all(&self, silent: bool) -> Result<Vec<Rc<Item>>> {
        let mut found = Vec::new();
        match self.node(&self.path.root, &self.root.root, Some(&mut found)) {
            Err(Failure::Missing(_)) if silent => Ok(found),
            done => done.map(|_| found),
        }
    }

    /// Whether it leads to any; in strict mode, all of them are looked at.
    pub fn any(&self) -> Result<bool> {
        match self.lax {
            true => self.node(&self.path.root, &self.root.root, None),
            false => Ok(!self.all(false)?.is_empty()),
        }
    }

    fn tick(&self) -> Result<()> {
        let steps = self.steps.get() + 1;
        self.steps.set(steps);
        if steps.is_multiple_of(STEPS_AT_ONCE) {
            stop::check()?;
        }
        Ok(())
    }

    /// One level further down the stack: a path can go through a document again at each of its own levels.
    fn deeper<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.tick()?;
        let depth = self.depth.get() + 1;
        if depth > RUN_DEPTH_MAX {
            let hint = format!("A path and the document under it may nest {RUN_DEPTH_MAX} levels together.");
            return Err(Failure::Fatal(too_deep(hint)));
        }
        self.depth.set(depth);
        let made = work();
        self.depth.set(depth - 1);
        made
    }

    fn push(&self, found: &mut Vec<Rc<Item>>, item: &Rc<Item>) -> Result<()> {
        let count = self.found.get() + 1;
        self.found.set(count);
        if count > ELEMENTS_MAX {
            return Err(Failure::Fatal(too_many_elements()));
        }
        if count.is_multiple_of(FOUND_AT_ONCE) {
            let bytes = FOUND_AT_ONCE * size_of::<Rc<Item>>() as u64 * 2;
            let claim = hold(bytes + crate::sql::functions::growth::SMALL_BYTES).map_err(SqlError::from)?;
            self.claims.borrow_mut().extend(claim);
        }
        found.push(item.clone());
        Ok(())
    }

    /// The steps from an item; it is found if there are none.
    fn next(&self, steps: &[Step], item: &Rc<Item>, found: Found) -> Result<bool> {
        match steps {
            [] => {
                if let Some(found) = found {
                    self.push(found, item)?;
                }
                Ok(true)
            }
            steps => self.step(steps, item, found, self.lax),
        }
    }

    fn with_base<T>(&self, base: Base, work: impl FnOnce() -> T) -> T {
        let before = self.base.replace(base);
        let made = work();
        self.base.replace(before);
        made
    }

    /// Below `**`, nothing is missing.
    fn forgive<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = self.forgiving.replace(true);
        let made = work();
        self.forgiving.set(before);
        made
    }

    fn node(&self, node: &Node, item: &Rc<Item>, found: Found) -> Result<bool> {
        self.deeper(|| self.node_inside(node, item, found))
    }

    fn node_inside(&self, node: &Node, item: &Rc<Item>, mut found: Found) -> Result<bool> {
        let steps = &node.steps[..];
        match &node.head {
            Head::Root => self.with_base(self.root.clone(), || self.next(steps, &self.root.root, found)),
            Head::Current => {
                let current = self.current.borrow().clone();
                self.next(steps, &current, found)
            }
            Head::Last => match self.size.get() {
                Some(size) => self.next(steps, &of_number((size as i64 - 1).to_string()), found),
                None => Err(SqlError::new(
                    state::SYNTAX_ERROR,
                    "evaluating jsonpath LAST outside of array subscript",
                )
                .into()),
            },
            Head::Literal(literal) => self.next(steps, literal, found),
            Head::Variable(name) => {
                let unknown = || {
                    let message = format!("could not find jsonpath variable \"{name}\"");
                    SqlError::new(state::UNDEFINED_OBJECT, message)
                };
                let variables = self.variables.as_ref().ok_or_else(unknown)?;
                let value = variables.root.member(name).ok_or_else(unknown)?;
                self.with_base(variables.clone(), || self.next(steps, value, found))
            }
            Head::Predicate(predicate) => {
                let truth = self.truth(predicate, item)?;
                self.next(steps, &Rc::new(truth.map_or(Item::Null, Item::Bool)), found)
            }
            Head::Arithmetic(operator, left, right) => {
                let mut sides = [Vec::new(), Vec::new()];
                self.unwrapped(left, item, true, &mut sides[0])?;
                self.unwrapped(right, item, true, &mut sides[1])?;
                let number_of = |at: usize| match sides[at].as_slice() {
                    [only] => match &**only {
                        Item::Number(digits) => Some(Decimal::parse(digits)),
                        _ => None,
                    },
                    _ => None,
                };
                let operand = |at: usize, side: &str| match number_of(at) {
                    Some(number) => Ok(number),
                    None => missing(
                        SINGLETON_REQUIRED,
                        format!(
                            "{side} operand of jsonpath operator {} is not a single numeric value",
                            operator.symbol()
                        ),
                    ),
                };
                let (a, b) = (operand(0, "left")?, operand(1, "right")?);
                let made = match operator {
                    Arithmetic::Add => a.add(&b),
                    Arithmetic::Subtract => a.subtract(&b),
                    Arithmetic::Multiply => a.multiply(&b),
                    Arithmetic::Divide => a.divide(&b),
                    Arithmetic::Modulo => a.modulo(&b),
                };
                self.next(steps, &of_number(made.map_err(Failure::Missing)?.text()), found)
            }
            Head::Sign(sign, operand) => {
                let mut values = Vec::new();
                self.unwrapped(operand, item, true, &mut values)?;
                let is_last = steps.is_empty() && found.is_none();
                let mut any = false;
                for value in values {
                    let made = match (&*value, sign) {
                        (Item::Number(_), _) if is_last => return Ok(true),
                        (_, _) if is_last && !matches!(*value, Item::Number(_)) => continue,
                        (Item::Number(_), Sign::Plus) => value,
                        (Item::Number(digits), Sign::Minus) => of_number(Decimal::parse(digits).negated().text()),
                        _ => {
                            let symbol = if *sign == Sign::Plus { "+" } else { "-" };
                            return missing(
                                NUMBER_NOT_FOUND,
                                format!("operand of unary jsonpath operator {symbol} is not a numeric value"),
                            );
                        }
                    };
                    any |= self.next(steps, &made, again(&mut found))?;
                    if any && found.is_none() {
                        break;
                    }
                }
                Ok(any)
            }
        }
    }

    /// Values of a node; in lax mode elements of those that are arrays, if `unwrap`.
    fn unwrapped(&self, node: &Node, item: &Rc<Item>, unwrap: bool, found: &mut Vec<Rc<Item>>) -> Result<()> {
        if !unwrap || !self.lax {
            return self.node(node, item, Some(found)).map(drop);
        }
        let mut values = Vec::new();
        self.node(node, item, Some(&mut values))?;
        for value in values {
            match &*value {
                Item::Array(items) => items.iter().try_for_each(|item| self.push(found, item))?,
                _ => found.push(value),
            }
        }
        Ok(())
    }

    /// The steps from each of some items; whether one leads anywhere.
    fn each<'i>(
        &self,
        items: impl Iterator<Item = &'i Rc<Item>>,
        mut found: Found,
        mut work: impl FnMut(&Rc<Item>, Found) -> Result<bool>,
    ) -> Result<bool> {
        let mut any = false;
        for item in items {
            any |= work(item, again(&mut found))?;
            if any && found.is_none() {
                break;
            }
        }
        Ok(any)
    }

    fn step(&self, steps: &[Step], item: &Rc<Item>, found: Found, unwrap: bool) -> Result<bool> {
        self.deeper(|| self.step_inside(steps, item, found, unwrap))
    }

    fn step_inside(&self, steps: &[Step], item: &Rc<Item>, mut found: Found, unwrap: bool) -> Result<bool> {
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

    fn method(&self, method: Method, rest: &[Step], item: &Rc<Item>, found: Found) -> Result<bool> {
        let name = method.name();
        match method {
            Method::Type => self.next(rest, &Rc::new(Item::Text(item.type_name().into())), found),
            Method::Size => {
                let size = match &**item {
                    Item::Array(items) => items.len(),
                    _ if self.lax => 1,
                    _ if self.forgiving.get() => return Ok(false),
                    _ => {
                        let message = format!("jsonpath item method .{name}() can only be applied to an array");
                        return missing(ARRAY_NOT_FOUND, message);
                    }
                };
                self.next(rest, &of_number(size.to_string()), found)
            }
            Method::Double => {
                let made = double(item)?;
                self.next(rest, &made, found)
            }
            Method::Ceiling | Method::Floor | Method::Abs => {
                let Item::Number(digits) = &**item else {
                    let message = format!("jsonpath item method .{name}() can only be applied to a numeric value");
                    return missing(NON_NUMERIC, message);
                };
                let value = Decimal::parse(digits);
                let made = match method {
                    Method::Ceiling => value.ceiling(),
                    Method::Floor => value.floor(),
                    _ => value.absolute(),
                };
                self.next(rest, &of_number(made.text()), found)
            }
            Method::KeyValue => self.key_value(rest, item, found),
        }
    }

    /// An object of its own for each member.
    fn key_value(&self, rest: &[Step], item: &Rc<Item>, mut found: Found) -> Result<bool> {
        let Item::Object(members) = &**item else {
            let message = "jsonpath item method .keyvalue() can only be applied to an object";
            return missing(OBJECT_NOT_FOUND, message);
        };
        let id = of_number(self.base.borrow().id_of(item).to_string());
        let mut any = false;
        for (key, value) in members {
            let made = Rc::new(Item::Object(vec![
                ("id".into(), id.clone()),
                ("key".into(), Rc::new(Item::Text(key.clone()))),
                ("value".into(), value.clone()),
            ]));
            let base = Base::new(&made, self.last_id.get());
            self.last_id.set(self.last_id.get() + 1);
            any |= self.with_base(base, || self.next(rest, &made, again(&mut found)))?;
            if any && found.is_none() {
                break;
            }
        }
        Ok(any)
    }

    fn truth(&self, predicate: &Predicate, item: &Rc<Item>) -> Result<Truth> {
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
                (Item::Text(text), Item::Text(start)) => Some(text.starts_with(&**start)),
                _ => None,
            }),
            Predicate::Like(left, regex) => self.pairs(item, left, None, |a, _| match a {
                Item::Text(text) => Some(regex.is_match(text)),
                _ => None,
            }),
        }
    }

    /// Whether a test holds for any pair of values of two nodes. In strict mode it has to be known for all.
    fn pairs(
        &self,
        item: &Rc<Item>,
        left: &Node,
        right: Option<(&Node, bool)>,
        test: impl Fn(&Item, &Item) -> Truth,
    ) -> Result<Truth> {
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
            None => rights.push(Rc::new(Item::Null)),
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

/// What is missing makes a predicate unknown.
fn known(truth: Result<bool>) -> Result<Truth> {
    match truth {
        Ok(truth) => Ok(Some(truth)),
        Err(Failure::Missing(_)) => Ok(None),
        Err(fatal) => Err(fatal),
    }
}

fn of_number(digits: String) -> Rc<Item> {
    Rc::new(Item::Number(digits.into()))
}

fn compared(comparison: Comparison, a: &Item, b: &Item) -> Truth {
    let order = match (a, b) {
        (Item::Null, Item::Null) => std::cmp::Ordering::Equal,
        (Item::Null, _) | (_, Item::Null) => return Some(comparison == Comparison::NotEqual),
        (Item::Bool(a), Item::Bool(b)) => a.cmp(b),
        (Item::Number(a), Item::Number(b)) => compare_digits(a, b),
        (Item::Text(a), Item::Text(b)) => a.cmp(b),
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

/// `.double()`: a number that DOUBLE PRECISION can hold, or a text of one.
fn double(item: &Rc<Item>) -> Result<Rc<Item>> {
    match &**item {
        Item::Number(digits) => match digits.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(item.clone()),
            _ => missing(
                NON_NUMERIC,
                "numeric argument of jsonpath item method .double() is out of range for type double precision",
            ),
        },
        Item::Text(text) => match crate::types::float::parse_f64(text) {
            Ok(value) if value.is_finite() => {
                // The digits that surely are those of the value, without zeros behind them.
                let written = format!("{value:.14e}");
                let (mantissa, exponent) = written.split_once('e').expect("the format writes an exponent");
                let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
                Ok(of_number(number(&format!("{mantissa}e{exponent}"))?))
            }
            _ => missing(
                NON_NUMERIC,
                "string argument of jsonpath item method .double() is not a valid representation of a double \
                 precision number",
            ),
        },
        _ => missing(
            NON_NUMERIC,
            "jsonpath item method .double() can only be applied to a string or numeric value",
        ),
    }
}
