//! A statement as a tree that can be made smaller: texts, nodes and lists whose items can go.
//!
//! One rule: it knows nothing of SQL but the sorts of nodes that may stand in a place; the databases decide whether a
//! smaller tree still means anything.

use super::types::Type;

/// The family of a node: another of it may replace the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sort {
    Expression(Type),
    Column(Type),
    Literal(Type),
    /// A literal without a type: a parameter in the extended protocol.
    Untyped(Type),
    Query,
    Relation,
    Other,
}

impl Sort {
    pub fn value(self) -> Option<Type> {
        match self {
            Sort::Expression(kind) | Sort::Column(kind) | Sort::Literal(kind) | Sort::Untyped(kind) => Some(kind),
            Sort::Query | Sort::Relation | Sort::Other => None,
        }
    }

    fn is_like(self, other: Sort) -> bool {
        match self {
            Sort::Query | Sort::Relation => self == other,
            Sort::Other => false,
            _ => other.value().is_some(),
        }
    }
}

#[derive(Clone, Debug)]
pub enum Part {
    Text(String),
    Node(Node),
    List(List),
    /// The part of this number of the same node once more.
    Again(usize),
    /// The positions of all items of the query: `1, 2, 3`.
    Positions,
}

/// Items with the texts before, between and after them. A list without items is empty.
#[derive(Clone, Debug)]
pub struct List {
    pub before: &'static str,
    pub between: &'static str,
    pub after: &'static str,
    /// The fewest items that must stay.
    pub least: usize,
    pub is_select: bool,
    pub items: Vec<Node>,
}

#[derive(Clone, Debug)]
pub struct Node {
    pub sort: Sort,
    pub parts: Vec<Part>,
}

/// A statement as it is sent.
#[derive(Clone, Debug, Default)]
pub struct Rendered {
    pub text: String,
    /// The values of `$1`, `$2`, ...
    pub parameters: Vec<String>,
    /// The order of the answer is fixed.
    pub is_ordered: bool,
}

struct Renderer {
    rendered: Rendered,
    takes_parameters: bool,
    /// The numbers of items of the queries around.
    widths: Vec<usize>,
}

impl Node {
    pub fn new(sort: Sort, parts: Vec<Part>) -> Node {
        Node { sort, parts }
    }

    pub fn text(sort: Sort, text: impl Into<String>) -> Node {
        Node::new(sort, vec![Part::Text(text.into())])
    }

    /// The statement's text; with parameters in the places of literals without a type.
    pub fn render(&self, takes_parameters: bool) -> Rendered {
        let mut renderer = Renderer {
            rendered: Rendered::default(),
            takes_parameters,
            widths: Vec::new(),
        };
        renderer.node(self);
        renderer.rendered
    }

    fn lists(&self) -> impl Iterator<Item = &List> {
        self.parts.iter().filter_map(|part| match part {
            Part::List(list) => Some(list),
            _ => None,
        })
    }

    /// The number of columns of a query.
    fn width(&self) -> usize {
        if let Some(list) = self.lists().find(|list| list.is_select) {
            return list.items.len();
        }
        let first = self.children().into_iter().find(|child| child.sort == Sort::Query);
        first.map_or(0, Node::width)
    }

    fn children(&self) -> Vec<&Node> {
        let parts = self.parts.iter().map(|part| match part {
            Part::Node(node) => std::slice::from_ref(node),
            Part::List(list) => &list.items[..],
            Part::Text(_) | Part::Again(_) | Part::Positions => &[],
        });
        parts.flatten().collect()
    }

    fn children_mut(&mut self) -> Vec<&mut Node> {
        let parts = self.parts.iter_mut().map(|part| match part {
            Part::Node(node) => std::slice::from_mut(node),
            Part::List(list) => &mut list.items[..],
            Part::Text(_) | Part::Again(_) | Part::Positions => &mut [],
        });
        parts.flatten().collect()
    }

    /// All nodes below, this one first.
    fn all(&self) -> Vec<&Node> {
        let below = self.children().into_iter().flat_map(Node::all);
        std::iter::once(self).chain(below).collect()
    }

    /// The node of this number in the order of [`Node::all`].
    fn at(&mut self, number: &mut usize) -> Option<&mut Node> {
        if *number == 0 {
            return Some(self);
        }
        *number -= 1;
        self.children_mut().into_iter().find_map(|child| child.at(number))
    }

    /// Whether it depends on a row.
    pub fn has_column(&self) -> bool {
        self.all().into_iter().any(|node| matches!(node.sort, Sort::Column(_)))
    }

    /// The measure that is to become smaller.
    pub fn cost(&self) -> usize {
        let columns = self
            .all()
            .into_iter()
            .filter(|node| matches!(node.sort, Sort::Column(_)));
        self.render(false).text.len() + 12 * columns.count()
    }

    /// Every tree that is one step smaller, the smallest first.
    pub fn smaller(&self) -> Vec<Node> {
        let mut found = Vec::new();
        for (number, node) in self.all().into_iter().enumerate() {
            let mut with = |new: Node| {
                let mut root = self.clone();
                if let Some(place) = root.at(&mut { number }) {
                    *place = new;
                }
                found.push((root.cost(), root));
            };
            node.without_parts().into_iter().for_each(&mut with);
            if let Some(kind) = node.sort.value()
                && !matches!(node.sort, Sort::Literal(_))
            {
                for text in [kind.simplest().to_string(), format!("NULL::{}", kind.name())] {
                    with(Node::text(Sort::Literal(kind), text));
                }
            }
            for below in node.all().into_iter().skip(1) {
                if node.sort.is_like(below.sort) {
                    with(below.clone());
                }
            }
        }
        let cost = self.cost();
        found.retain(|(smaller, _)| *smaller < cost);
        found.sort_by_key(|(cost, _)| *cost);
        found.into_iter().map(|(_, root)| root).collect()
    }

    /// This node without an item of one of its lists, or without a column in all of its queries.
    fn without_parts(&self) -> Vec<Node> {
        let mut found = Vec::new();
        for (at, part) in self.parts.iter().enumerate() {
            let Part::List(list) = part else { continue };
            for item in 0..list.items.len() {
                let mut smaller = self.clone();
                if let Part::List(list) = &mut smaller.parts[at]
                    && list.items.len() > list.least
                {
                    list.items.remove(item);
                    found.push(smaller);
                }
            }
        }
        let is_set_operation = self.sort == Sort::Query && self.lists().all(|list| !list.is_select);
        for column in 0..if is_set_operation { self.width() } else { 0 } {
            let mut smaller = self.clone();
            if smaller.narrow(column) {
                found.push(smaller);
            }
        }
        found
    }

    /// Drops a column of all queries that are put together here.
    fn narrow(&mut self, column: usize) -> bool {
        for part in &mut self.parts {
            if let Part::List(list) = part
                && list.is_select
            {
                let can = list.items.len() > list.least && column < list.items.len();
                if can {
                    list.items.remove(column);
                }
                return can;
            }
        }
        let mut narrowed = true;
        for child in self.children_mut() {
            narrowed &= child.sort != Sort::Query || child.narrow(column);
        }
        narrowed
    }
}

impl Renderer {
    fn node(&mut self, node: &Node) {
        if self.takes_parameters
            && let (Sort::Untyped(_), [Part::Text(text)]) = (node.sort, &node.parts[..])
        {
            let value = text.trim_start_matches('\'').trim_end_matches('\'').replace("''", "'");
            self.rendered.parameters.push(value);
            self.rendered.text += &format!("${}", self.rendered.parameters.len());
            return;
        }
        if node.sort == Sort::Query {
            self.widths.push(node.width());
        }
        for part in &node.parts {
            let part = match part {
                Part::Again(at) => &node.parts[*at],
                part => part,
            };
            match part {
                Part::Again(_) => {}
                Part::Text(text) => self.rendered.text += text,
                Part::Node(node) => self.node(node),
                Part::List(list) => self.list(list),
                Part::Positions => {
                    self.rendered.is_ordered |= self.widths.len() == 1;
                    let width = self.widths.last().copied().unwrap_or_default();
                    let positions: Vec<String> = (1..=width).map(|position| position.to_string()).collect();
                    self.rendered.text += &positions.join(", ");
                }
            }
        }
        if node.sort == Sort::Query {
            self.widths.pop();
        }
    }

    fn list(&mut self, list: &List) {
        if list.items.is_empty() {
            return;
        }
        self.rendered.text += list.before;
        for (at, item) in list.items.iter().enumerate() {
            if at > 0 {
                self.rendered.text += list.between;
            }
            self.node(item);
        }
        self.rendered.text += list.after;
    }
}
