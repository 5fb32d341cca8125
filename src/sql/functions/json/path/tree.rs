//! The syntax tree of a path.

use std::rc::Rc;

use ::regex::Regex;

use super::item::Item;

/// A path over JSONB.
#[derive(Debug)]
pub struct Path {
    /// What is missing is an error.
    pub strict: bool,
    pub root: Node,
}

/// What has values: a beginning, and the steps from there.
#[derive(Debug)]
pub struct Node {
    pub head: Head,
    pub steps: Vec<Step>,
    /// Levels of nodes and predicates inside.
    pub depth: usize,
}

impl Node {
    pub fn new(head: Head, depth: usize) -> Node {
        Node {
            head,
            steps: Vec::new(),
            depth,
        }
    }
}

#[derive(Debug)]
pub enum Head {
    Root,
    /// What a filter looks at.
    Current,
    /// The last place of the array whose elements are picked.
    Last,
    Literal(Rc<Item>),
    Variable(String),
    Sign(Sign, Box<Node>),
    Arithmetic(Arithmetic, Box<Node>, Box<Node>),
    Predicate(Box<Predicate>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sign {
    Plus,
    Minus,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

impl Arithmetic {
    pub fn symbol(self) -> &'static str {
        match self {
            Arithmetic::Add => "+",
            Arithmetic::Subtract => "-",
            Arithmetic::Multiply => "*",
            Arithmetic::Divide => "/",
            Arithmetic::Modulo => "%",
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
    Exists(Node),
    Compare(Comparison, Node, Node),
    StartsWith(Node, Node),
    Like(Node, Regex),
}

#[derive(Debug)]
pub enum Step {
    Member(String),
    AnyMember,
    AnyElement,
    /// Places and ranges of places.
    Elements(Vec<(Node, Option<Node>)>),
    /// What is so many levels below; `LEAVES` for both: what has nothing below.
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
