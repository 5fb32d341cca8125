//! Subqueries within expressions, mostly correlated.

use super::{Generator, Scope, list, text};
use crate::differential::tree::{Node, Part, Sort};
use crate::differential::types::Type;

impl Generator<'_> {
    /// One value: an aggregate, or the first by the order of its own values.
    pub(super) fn scalar_subquery(&mut self, kind: Type) -> Node {
        let (from, where_) = self.enter();
        let aggregate = if self.chance(0.6) { self.aggregate(kind) } else { None };
        let has_aggregate = aggregate.is_some();
        let value = aggregate.unwrap_or_else(|| self.expression(kind, 1));
        self.scopes.pop();
        let mut parts = vec![text("SELECT "), Part::Node(value), from, where_];
        if !has_aggregate {
            parts.push(text(" ORDER BY 1 LIMIT 1"));
        }
        let query = Node::new(Sort::Query, parts);
        Node::new(Sort::Expression(kind), vec![text("("), Part::Node(query), text(")")])
    }

    /// EXISTS, IN, ANY, ALL.
    pub(super) fn subquery_test(&mut self, depth: usize) -> Node {
        let kind = self.one(&[
            Type::Int4,
            Type::Int8,
            Type::Text,
            Type::Numeric,
            Type::Date,
            Type::Int2,
            Type::Float8,
            Type::Varchar,
            Type::Timestamptz,
            Type::Bool,
        ]);
        let tested = self.expression(kind, depth - 1);
        let (from, where_) = self.enter();
        let value = self.expression(kind, 1);
        self.scopes.pop();
        let query = Node::new(Sort::Query, vec![text("SELECT "), Part::Node(value), from, where_]);
        let comparison = self.one(&["=", "<>", "<", ">", "<=", ">="]);
        let (before, between) = match self.below(6) {
            0 => ("(EXISTS (", None),
            1 => ("(NOT EXISTS (", None),
            2 => ("(", Some(" IN (".to_string())),
            3 => ("(", Some(" NOT IN (".to_string())),
            4 => ("(", Some(format!(" {comparison} ANY ("))),
            _ => ("(", Some(format!(" {comparison} ALL ("))),
        };
        let mut parts = vec![text(before)];
        if let Some(between) = between {
            parts.extend([Part::Node(tested), text(between)]);
        }
        parts.extend([Part::Node(query), text("))")]);
        Node::new(Sort::Expression(Type::Bool), parts)
    }

    /// Opens a scope with a table or two; its FROM and WHERE.
    fn enter(&mut self) -> (Part, Part) {
        self.scopes.push(Scope {
            is_open: true,
            ..Scope::default()
        });
        let from = self.from(0);
        let conditions = (0..self.below(3)).map(|_| self.expression(Type::Bool, 1)).collect();
        (from, list(" WHERE ", " AND ", 0, conditions))
    }
}
