//! Finds the values of a path, as PostgreSQL's `jsonpath_exec.c` does.
//!
//! One rule: a member that a document lacks is an error that a predicate and a silent call ignore
//! ([`PathFailure::Missing`]). Any other error ends the statement.
//!
//! In lax mode an array stands for its elements where a step takes no array, and a value for an array of itself where
//! a step takes one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::item::{JsonItem, Offsets};
use super::tree::{Head, Path, PathArithmetic, PathNode, PathStep, Sign};
use crate::depth::{DEPTH_MAX, too_deep};
use crate::error::{SqlError, SqlState, state};
use crate::sql::functions::growth::{Claim, ELEMENTS_MAX, SMALL_BYTES, hold, too_many_elements};
use crate::stop;
use crate::types::decimal::Decimal;

pub const MEMBER_NOT_FOUND: SqlState = SqlState("2203A");
pub const ARRAY_NOT_FOUND: SqlState = SqlState("22039");
pub const OBJECT_NOT_FOUND: SqlState = SqlState("2203C");
pub const INVALID_SUBSCRIPT: SqlState = SqlState("22033");
const NUMBER_NOT_FOUND: SqlState = SqlState("2203B");
pub const SINGLETON_REQUIRED: SqlState = SqlState("22038");

/// Levels of a path and of the document that it goes through.
const RUN_DEPTH_MAX: usize = 5 * DEPTH_MAX;
/// Steps between two looks at whether to go on.
const STEPS_AT_ONCE: u64 = 1 << 12;
/// Values found between two claims of memory.
const FOUND_AT_ONCE: u64 = 1 << 16;
/// The factor between the numbers of documents and places in them, in the `id` of `.keyvalue()`.
const DOCUMENT_ID: u64 = 10_000_000_000;

/// Of the first object that `.keyvalue()` makes: the document is 0, the variables are 1.
const FIRST_MADE_ID: u64 = 2;

#[derive(Debug)]
pub enum PathFailure {
    /// The document is not as the path wants it.
    Missing(SqlError),
    Fatal(SqlError),
}

impl From<SqlError> for PathFailure {
    fn from(error: SqlError) -> PathFailure {
        PathFailure::Fatal(error)
    }
}

pub type PathResult<T> = std::result::Result<T, PathFailure>;

pub fn missing<T>(state: SqlState, message: impl Into<String>) -> PathResult<T> {
    Err(PathFailure::Missing(SqlError::new(state, message)))
}

/// The place where values go; none, if one is enough to know.
pub type FoundItems<'f> = Option<&'f mut Vec<Rc<JsonItem>>>;

/// The same place, for a shorter time.
pub fn again<'s>(found: &'s mut FoundItems<'_>) -> FoundItems<'s> {
    found.as_mut().map(|found| &mut **found)
}

/// A document that objects have their ids in.
#[derive(Clone)]
pub struct Base {
    root: Rc<JsonItem>,
    id: u64,
    offsets: Rc<RefCell<Option<Offsets>>>,
}

impl Base {
    pub fn new(root: &Rc<JsonItem>, id: u64) -> Base {
        Base {
            root: root.clone(),
            id,
            offsets: Rc::default(),
        }
    }

    pub fn id_of(&self, item: &Rc<JsonItem>) -> u64 {
        let mut offsets = self.offsets.borrow_mut();
        let offsets = offsets.get_or_insert_with(|| Offsets::of(&self.root));
        self.id * DOCUMENT_ID + offsets.find(item)
    }
}

/// One run of a path over a document.
pub struct PathRun<'a> {
    pub lax: bool,
    root: Base,
    variables: Option<Base>,
    /// The document that objects are in now.
    pub base: RefCell<Base>,
    /// The item that the innermost filter looks at.
    pub current: RefCell<Rc<JsonItem>>,
    /// A missing member is no error; always so below `**`.
    pub forgiving: Cell<bool>,
    /// Of the array whose elements are picked.
    pub size: Cell<Option<usize>>,
    /// Of the object that `.keyvalue()` makes next.
    pub last_id: Cell<u64>,
    steps: Cell<u64>,
    depth: Cell<usize>,
    found: Cell<u64>,
    claims: RefCell<Vec<Claim>>,
    path: &'a Path,
}

impl<'a> PathRun<'a> {
    pub fn new(path: &'a Path, document: &Rc<JsonItem>, variables: Option<&Rc<JsonItem>>) -> PathRun<'a> {
        let root = Base::new(document, 0);
        PathRun {
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

    /// All values that the path leads to; silently, those before the first missing one.
    pub fn all(&self, silent: bool) -> PathResult<Vec<Rc<JsonItem>>> {
        let mut found = Vec::new();
        match self.node(&self.path.root, &self.root.root, Some(&mut found)) {
            Err(PathFailure::Missing(_)) if silent => Ok(found),
            done => done.map(|_| found),
        }
    }

    /// Whether it leads to any; in strict mode, all of them are looked at.
    pub fn any(&self) -> PathResult<bool> {
        match self.lax {
            true => self.node(&self.path.root, &self.root.root, None),
            false => Ok(!self.all(false)?.is_empty()),
        }
    }

    pub fn tick(&self) -> PathResult<()> {
        let steps = self.steps.get() + 1;
        self.steps.set(steps);
        if steps.is_multiple_of(STEPS_AT_ONCE) {
            stop::check()?;
        }
        Ok(())
    }

    /// One level further down the stack: a path can go through a document again at each of its own levels.
    pub fn deeper<T>(&self, work: impl FnOnce() -> PathResult<T>) -> PathResult<T> {
        self.tick()?;
        let depth = self.depth.get() + 1;
        if depth > RUN_DEPTH_MAX {
            let hint = format!("A path and the document under it may nest {RUN_DEPTH_MAX} levels together.");
            return Err(PathFailure::Fatal(too_deep(hint)));
        }
        self.depth.set(depth);
        let made = work();
        self.depth.set(depth - 1);
        made
    }

    fn push(&self, found: &mut Vec<Rc<JsonItem>>, item: &Rc<JsonItem>) -> PathResult<()> {
        let count = self.found.get() + 1;
        self.found.set(count);
        if count > ELEMENTS_MAX {
            return Err(PathFailure::Fatal(too_many_elements()));
        }
        if count.is_multiple_of(FOUND_AT_ONCE) {
            let bytes = FOUND_AT_ONCE * size_of::<Rc<JsonItem>>() as u64 * 2;
            let claim = hold(bytes + SMALL_BYTES).map_err(SqlError::from)?;
            self.claims.borrow_mut().extend(claim);
        }
        found.push(item.clone());
        Ok(())
    }

    /// The steps from an item; it is found if there are none.
    pub fn next(&self, steps: &[PathStep], item: &Rc<JsonItem>, found: FoundItems) -> PathResult<bool> {
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

    pub fn with_base<T>(&self, base: Base, work: impl FnOnce() -> T) -> T {
        let before = self.base.replace(base);
        let made = work();
        self.base.replace(before);
        made
    }

    /// Below `**`, nothing is missing.
    pub fn forgive<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = self.forgiving.replace(true);
        let made = work();
        self.forgiving.set(before);
        made
    }

    pub fn node(&self, node: &PathNode, item: &Rc<JsonItem>, found: FoundItems) -> PathResult<bool> {
        self.deeper(|| self.node_inside(node, item, found))
    }

    fn node_inside(&self, node: &PathNode, item: &Rc<JsonItem>, mut found: FoundItems) -> PathResult<bool> {
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
                self.next(steps, &Rc::new(truth.map_or(JsonItem::Null, JsonItem::Bool)), found)
            }
            Head::Arithmetic(operator, left, right) => {
                let mut sides = [Vec::new(), Vec::new()];
                self.unwrapped(left, item, true, &mut sides[0])?;
                self.unwrapped(right, item, true, &mut sides[1])?;
                let number_of = |at: usize| match sides[at].as_slice() {
                    [only] => match &**only {
                        JsonItem::Number(digits) => Some(Decimal::parse(digits)),
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
                    PathArithmetic::Add => a.add(&b),
                    PathArithmetic::Subtract => a.subtract(&b),
                    PathArithmetic::Multiply => a.multiply(&b),
                    PathArithmetic::Divide => a.divide(&b),
                    PathArithmetic::Modulo => a.modulo(&b),
                };
                self.next(steps, &of_number(made.map_err(PathFailure::Missing)?.text()), found)
            }
            Head::Sign(sign, operand) => {
                let mut values = Vec::new();
                self.unwrapped(operand, item, true, &mut values)?;
                let is_last = steps.is_empty() && found.is_none();
                let mut any = false;
                for value in values {
                    let made = match (&*value, sign) {
                        (JsonItem::Number(_), _) if is_last => return Ok(true),
                        (_, _) if is_last && !matches!(*value, JsonItem::Number(_)) => continue,
                        (JsonItem::Number(_), Sign::Plus) => value,
                        (JsonItem::Number(digits), Sign::Minus) => of_number(Decimal::parse(digits).negated().text()),
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
    pub fn unwrapped(
        &self,
        node: &PathNode,
        item: &Rc<JsonItem>,
        unwrap: bool,
        found: &mut Vec<Rc<JsonItem>>,
    ) -> PathResult<()> {
        if !unwrap || !self.lax {
            return self.node(node, item, Some(found)).map(drop);
        }
        let mut values = Vec::new();
        self.node(node, item, Some(&mut values))?;
        for value in values {
            match &*value {
                JsonItem::Array(items) => items.iter().try_for_each(|item| self.push(found, item))?,
                _ => found.push(value),
            }
        }
        Ok(())
    }

    /// The steps from each of some items; whether one leads anywhere.
    pub fn each<'i>(
        &self,
        items: impl Iterator<Item = &'i Rc<JsonItem>>,
        mut found: FoundItems,
        mut work: impl FnMut(&Rc<JsonItem>, FoundItems) -> PathResult<bool>,
    ) -> PathResult<bool> {
        let mut any = false;
        for item in items {
            any |= work(item, again(&mut found))?;
            if any && found.is_none() {
                break;
            }
        }
        Ok(any)
    }

    pub fn step(&self, steps: &[PathStep], item: &Rc<JsonItem>, found: FoundItems, unwrap: bool) -> PathResult<bool> {
        self.deeper(|| self.step_inside(steps, item, found, unwrap))
    }
}

pub fn of_number(digits: String) -> Rc<JsonItem> {
    Rc::new(JsonItem::Number(digits.into()))
}
