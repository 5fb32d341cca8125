//! Random SELECT statements, as trees, whose answer is a function of the seed and of the tables.
//!
//! Here: the parts that the files below share. `forms` are the operators and functions by the type that they give.

mod expressions;
mod forms;
mod queries;
mod relations;
mod subqueries;
mod windows;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::tree::{List, Node, Part, Sort};
use super::types::{TYPES, Type};

/// A relation of a FROM, by its alias.
#[derive(Clone, Debug)]
struct Relation {
    alias: String,
    columns: Vec<(String, Type)>,
    /// The column `id` is unique.
    has_id: bool,
}

/// Relations and columns that expressions of a query level may name.
#[derive(Clone, Debug, Default)]
struct Scope {
    relations: Vec<Relation>,
    /// Grouped: expressions are made of these, of aggregates and of literals.
    keys: Option<Vec<(Node, Type)>>,
    /// Columns may be named: not those of a grouped query's row from within a subquery.
    is_open: bool,
}

pub struct Generator<'a> {
    random: &'a mut StdRng,
    scopes: Vec<Scope>,
    /// Names of the CTEs that can be read.
    ctes: Vec<Relation>,
    aliases: usize,
    /// An expression over the outermost FROM, to sort by.
    sort_key: Option<Node>,
}

impl<'a> Generator<'a> {
    pub fn new(random: &'a mut StdRng) -> Generator<'a> {
        Generator {
            random,
            scopes: Vec::new(),
            ctes: Vec::new(),
            aliases: 0,
            sort_key: None,
        }
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        *of.choose(self.random).expect("there are some")
    }

    fn chance(&mut self, likely: f64) -> bool {
        self.random.random_bool(likely)
    }

    fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    fn kind(&mut self) -> Type {
        self.one(&TYPES)
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("r{}", self.aliases)
    }
}

fn list(before: &'static str, between: &'static str, least: usize, items: Vec<Node>) -> Part {
    Part::List(List {
        before,
        between,
        after: "",
        least,
        is_select: false,
        items,
    })
}

/// A part that can go as a whole.
fn optional(node: Node) -> Part {
    list("", "", 0, vec![node])
}

fn text(text: impl Into<String>) -> Part {
    Part::Text(text.into())
}

fn other(parts: Vec<Part>) -> Node {
    Node::new(Sort::Other, parts)
}
