//! Expressions of a type: literals, columns, forms, CASE, casts and subqueries.

use rand::seq::IndexedRandom;

use super::forms::{AGGREGATES, FORMS, Form, Hole};
use super::{Generator, optional, other, text};
use crate::differential::tables::quoted;
use crate::differential::tree::{Node, Part, Sort};
use crate::differential::types::{TYPES, Type};

impl Generator<'_> {
    pub(super) fn expression(&mut self, kind: Type, depth: usize) -> Node {
        if depth == 0 || self.chance(0.35) {
            return self.leaf(kind);
        }
        match self.below(20) {
            0 => self.case(kind, depth - 1),
            1 => self.cast(kind, depth - 1),
            2 if depth > 1 => self.scalar_subquery(kind),
            3 if depth > 1 && kind == Type::Bool => self.subquery_test(depth),
            _ => {
                let forms: Vec<&Form> = {
                    let is_rare = self.chance(0.02);
                    FORMS
                        .iter()
                        .filter(|form| form.gives(kind) && (is_rare || !form.is_rare()))
                        .collect()
                };
                let form = *forms.choose(self.random).expect("every type has forms");
                self.fill(form.template, kind, depth - 1)
            }
        }
    }

    /// Of any type; the type that it has as a select item.
    pub(super) fn any(&mut self, depth: usize) -> (Node, Type) {
        let kind = self.kind();
        let node = self.expression(kind, depth);
        let is_untyped = matches!(node.sort, Sort::Untyped(_));
        (node, if is_untyped { Type::Text } else { kind })
    }

    /// A form with expressions in its holes.
    pub(super) fn fill(&mut self, template: &str, kind: Type, depth: usize) -> Node {
        let (any, another) = (kind, self.compared());
        let free = self.compared();
        let ordered = self.ordered();
        let mut parts = Vec::new();
        for hole in super::forms::holes(template) {
            let part = match hole {
                Hole::Text(fixed) => text(fixed),
                Hole::Of(kind) => Part::Node(self.expression(kind, depth)),
                Hole::Same => Part::Node(self.expression(any, depth)),
                Hole::Free => Part::Node(self.expression(free, depth)),
                Hole::Other => Part::Node(self.expression(another, depth)),
                Hole::Ordered => Part::Node(self.expression(ordered, depth)),
                Hole::Again => Part::Again(parts.len().saturating_sub(2)),
                Hole::Number => {
                    let kind = self.one(&[Type::Int2, Type::Int4, Type::Int8, Type::Numeric, Type::Float8]);
                    Part::Node(self.expression(kind, depth))
                }
                Hole::Choice(choices) => text(choices.choose(self.random).copied().unwrap_or_default()),
            };
            parts.push(part);
        }
        Node::new(Sort::Expression(kind), parts)
    }

    fn ordered(&mut self) -> Type {
        let kind = self.compared();
        if kind == Type::Jsonb { Type::Int4 } else { kind }
    }

    /// A type whose values are to be compared: seldom int4[], until its comparisons exist.
    fn compared(&mut self) -> Type {
        let kind = self.kind();
        if kind == Type::Ints && self.chance(0.9) {
            Type::Int4
        } else {
            kind
        }
    }

    /// An expression that has a type, nearly always.
    fn typed(&mut self, kind: Type, depth: usize) -> Node {
        let node = self.expression(kind, depth);
        let is_untyped = matches!(node.sort, Sort::Untyped(_)) || node.render(false).text == "NULL";
        if is_untyped && self.chance(0.95) {
            return Node::text(Sort::Literal(kind), kind.simplest());
        }
        node
    }

    fn leaf(&mut self, kind: Type) -> Node {
        if self.chance(0.7)
            && let Some(node) = self.named(kind)
        {
            return node;
        }
        self.literal(kind)
    }

    /// A key or an aggregate of a grouped query, else a column, now and then of a query around.
    pub(super) fn named(&mut self, kind: Type) -> Option<Node> {
        let level = match self.scopes.len() {
            0 => return None,
            1 => 0,
            levels if self.chance(0.75) => levels - 1,
            levels => self.below(levels),
        };
        let scope = &self.scopes[level];
        if level + 1 < self.scopes.len() && !scope.is_open {
            return None;
        }
        if let Some(keys) = &scope.keys {
            let keys: Vec<Node> = keys
                .iter()
                .filter(|(_, of)| *of == kind)
                .map(|(key, _)| key.clone())
                .collect();
            if let Some(key) = keys.choose(self.random) {
                return Some(key.clone());
            }
            return (level + 1 == self.scopes.len()).then(|| self.aggregate(kind)).flatten();
        }
        let columns: Vec<String> = scope
            .relations
            .iter()
            .flat_map(|relation| {
                let of = relation.columns.iter().filter(|(_, of)| *of == kind);
                of.map(|(name, _)| format!("{}.{name}", relation.alias))
            })
            .collect();
        let column = columns.choose(self.random)?;
        Some(Node::text(Sort::Column(kind), column.clone()))
    }

    /// An aggregate over the rows of the innermost query.
    pub(super) fn aggregate(&mut self, kind: Type) -> Option<Node> {
        let is_rare = self.chance(0.02);
        let forms: Vec<&Form> = AGGREGATES
            .iter()
            .filter(|form| form.gives(kind) && (is_rare || !form.is_rare()))
            .collect();
        let template = forms.choose(self.random)?.template;
        let scope = self.scopes.last_mut()?;
        let keys = scope.keys.take();
        let mut call = self.fill(template, kind, 1);
        let is_call = template.starts_with(|c: char| c.is_ascii_lowercase()) && template.ends_with(')');
        if is_call && self.chance(0.2) {
            let condition = self.expression(Type::Bool, 1);
            let filter = other(vec![text(" FILTER (WHERE "), Part::Node(condition), text(")")]);
            call.parts.push(optional(filter));
        }
        if let Some(scope) = self.scopes.last_mut() {
            scope.keys = keys;
        }
        Some(call)
    }

    pub(super) fn literal(&mut self, kind: Type) -> Node {
        if self.chance(0.04) {
            let is_typed = self.chance(0.5);
            return Node::text(
                Sort::Literal(kind),
                if is_typed {
                    format!("NULL::{}", kind.name())
                } else {
                    "NULL".to_string()
                },
            );
        }
        let value = if self.chance(0.02) {
            self.one(kind.edges())
        } else {
            self.one(kind.values())
        };
        if self.chance(0.08) {
            return Node::text(Sort::Untyped(kind), quoted(value));
        }
        let is_plain = value.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '-');
        let written = match kind {
            Type::Int4 | Type::Numeric if is_plain && value.starts_with('-') => format!("({value})"),
            Type::Int4 | Type::Numeric if is_plain => value.to_string(),
            Type::Bool if value == "true" || value == "false" => value.to_string(),
            Type::Ints if value.starts_with('{') && !value.contains(' ') && !value[1..].contains('{') => {
                format!("ARRAY[{}]::int4[]", value.trim_matches(['{', '}']))
            }
            Type::Text if self.chance(0.5) => format!("'{value}'::text"),
            Type::Date | Type::Timestamp | Type::Timestamptz | Type::Interval | Type::Text => {
                format!("{} {}", kind.name(), quoted(value))
            }
            _ if self.chance(0.2) => format!("CAST({} AS {})", quoted(value), kind.name()),
            _ => format!("{}::{}", quoted(value), kind.name()),
        };
        Node::text(Sort::Literal(kind), written)
    }

    fn case(&mut self, kind: Type, depth: usize) -> Node {
        let mut parts = vec![text("CASE")];
        let (subject, compared) = (self.chance(0.3), self.compared());
        if subject {
            parts.extend([text(" "), Part::Node(self.typed(compared, depth))]);
        }
        let branches = 1 + self.below(2);
        let branch = |generator: &mut Self| {
            let condition = generator.expression(if subject { compared } else { Type::Bool }, depth);
            let value = generator.expression(kind, depth);
            other(vec![
                text(" WHEN "),
                Part::Node(condition),
                text(" THEN "),
                Part::Node(value),
            ])
        };
        let branches = (0..branches).map(|_| branch(self)).collect();
        parts.push(super::list("", "", 1, branches));
        if self.chance(0.7) {
            let value = self.expression(kind, depth);
            parts.push(optional(other(vec![text(" ELSE "), Part::Node(value)])));
        }
        parts.push(text(" END"));
        Node::new(Sort::Expression(kind), parts)
    }

    /// A cast to the type from one that has such casts, as a rule.
    fn cast(&mut self, kind: Type, depth: usize) -> Node {
        const NUMBERS: [Type; 5] = [Type::Int2, Type::Int4, Type::Int8, Type::Numeric, Type::Float8];
        const TIMES: [Type; 3] = [Type::Date, Type::Timestamp, Type::Timestamptz];
        let from = match kind {
            _ if self.chance(0.02) => self.kind(),
            Type::Text | Type::Varchar => self.one(&TYPES),
            Type::Int4 if self.chance(0.2) => Type::Bool,
            Type::Bool => self.one(&[Type::Int4, Type::Bool]),
            _ if NUMBERS.contains(&kind) => self.one(&NUMBERS),
            _ if TIMES.contains(&kind) => self.one(&TIMES),
            Type::Texts => Type::Ints,
            _ => kind,
        };
        let value = self.expression(from, depth);
        let name = match kind {
            Type::Numeric => self.one(&["numeric", "numeric(12,3)", "numeric(6)", "decimal(20,0)"]),
            Type::Varchar => self.one(&["varchar", "varchar(3)", "character varying(5)"]),
            Type::Timestamp => self.one(&["timestamp", "timestamp(0)", "timestamp(3)"]),
            Type::Float8 => self.one(&["float8", "double precision", "float"]),
            _ => kind.name(),
        };
        let parts = if self.chance(0.6) {
            vec![text("("), Part::Node(value), text(format!(")::{name}"))]
        } else {
            vec![text("CAST("), Part::Node(value), text(format!(" AS {name})"))]
        };
        Node::new(Sort::Expression(kind), parts)
    }
}
