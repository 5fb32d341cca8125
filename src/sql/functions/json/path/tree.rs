//! The syntax tree of a path.

use std::rc::Rc;

use ::regex::Regex;

use super::item::JsonItem;

/// A path over JSONB.
#[derive(Debug)]
pub struct Path {
    /// A missing member is an error.
    pub strict: bool,
    pub root: PathNode,
}

/// A path: a beginning, and the steps from there.
#[derive(Debug)]
pub struct PathNode {
    pub head: Head,
    pub steps: Vec<PathStep>,
    /// Levels of nodes and predicates inside.
    pub depth: usize,
}

impl PathNode {
    pub fn new(head: Head, depth: usize) -> PathNode {
        PathNode {
            head,
            steps: Vec::new(),
            depth,
        }
    }
}

#[derive(Debug)]
pub enum Head {
    Root,
    /// The item that a filter looks at.
    Current,
    /// The last place of the array whose elements are picked.
    Last,
    Literal(Rc<JsonItem>),
    Variable(String),
    Sign(Sign, Box<PathNode>),
    Arithmetic(PathArithmetic, Box<PathNode>, Box<PathNode>),
    Predicate(Box<Predicate>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sign {
    Plus,
    Minus,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathArithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

impl PathArithmetic {
    pub fn symbol(self) -> &'static str {
        match self {
            PathArithmetic::Add => "+",
            PathArithmetic::Subtract => "-",
            PathArithmetic::Multiply => "*",
            PathArithmetic::Divide => "/",
            PathArithmetic::Modulo => "%",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug)]
pub enum Predicate {
    And(Box<Predicate>, Box<Predicate>),
    Or(Box<Predicate>, Box<Predicate>),
    Not(Box<Predicate>),
    IsUnknown(Box<Predicate>),
    Exists(PathNode),
    Compare(Comparison, PathNode, PathNode),
    StartsWith(PathNode, PathNode),
    Like(PathNode, PathPattern),
}

/// The pattern of `like_regex`, with its text and flags as they were written.
#[derive(Debug)]
pub struct PathPattern {
    pub regex: Regex,
    pub text: String,
    pub flags: String,
}

#[derive(Debug)]
pub enum PathStep {
    Member(String),
    AnyMember,
    AnyElement,
    /// Places and ranges of places.
    Elements(Vec<(PathNode, Option<PathNode>)>),
    /// The values from the first to the last of these levels below; `LEAVES` for both: values with nothing below.
    Below(u32, u32),
    Filter(Predicate),
    Method(Method),
}

/// The level of `last`.
pub const LEAVES: u32 = u32::MAX;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    Type,
    Size,
    Double,
    Ceiling,
    Floor,
    Abs,
    KeyValue,
}

impl Method {
    pub const ALL: [Method; 7] = [
        Method::Type,
        Method::Size,
        Method::Double,
        Method::Ceiling,
        Method::Floor,
        Method::Abs,
        Method::KeyValue,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Method::Type => "type",
            Method::Size => "size",
            Method::Double => "double",
            Method::Ceiling => "ceiling",
            Method::Floor => "floor",
            Method::Abs => "abs",
            Method::KeyValue => "keyvalue",
        }
    }
}
