//! Window functions, with frames. Rows that are peers must not be told apart, so functions of single rows have an order
//! down to the unique columns.

use super::{Generator, list, optional, other, text};
use crate::differential::tree::{Node, Part, Sort};
use crate::differential::types::Type;

impl Generator<'_> {
    /// A call over a window, or over one of `names`.
    pub(super) fn window_call(&mut self, names: &[&str]) -> Option<Node> {
        let ids = self.ids();
        let kind = self.kind();
        let is_total = ids.is_some() && names.is_empty();
        let function = if is_total && self.chance(0.7) {
            self.one(&[
                "row_number()",
                "ntile({3;1})",
                "lag({same})",
                "lag({same}, {2;0;-1})",
                "lead({same}, 1, {same})",
                "first_value({same})",
                "last_value({same})",
                "nth_value({same}, 2)",
                "array_agg({same})",
                "string_agg({text}, ',')",
                "sum({int4})",
                "avg({numeric})",
                "count({free})",
                "sum({interval})",
                "sum({float8})",
                "jsonb_agg({int4})",
                "max({ordered})",
            ])
        } else {
            self.one(&[
                "rank()",
                "dense_rank()",
                "percent_rank()",
                "cume_dist()",
                "count(*)",
                "sum({int4})",
                "sum({int8})",
                "avg({int4})",
                "min({text})",
                "max({date})",
                "bool_and({bool})",
                "bit_or({int4})",
                "count({free})",
                "min({ordered})",
            ])
        };
        let mut parts = vec![Part::Node(self.fill(function, kind, 1))];
        let is_aggregate = ["sum", "avg", "count", "min", "max", "array", "bool", "bit", "string"]
            .iter()
            .any(|name| function.starts_with(name));
        if is_aggregate && self.chance(0.2) {
            let condition = self.expression(Type::Bool, 1);
            parts.push(optional(other(vec![
                text(" FILTER (WHERE "),
                Part::Node(condition),
                text(")"),
            ])));
        }
        if let Some(name) = names.first() {
            parts.push(text(format!(" OVER {name}")));
        } else {
            let definition = self.window(if is_total { ids } else { None });
            parts.extend([text(" OVER ("), Part::Node(definition), text(")")]);
        }
        Some(Node::new(Sort::Expression(Type::Text), parts))
    }

    /// The unique columns, if every relation has one.
    fn ids(&self) -> Option<String> {
        let scope = self.scopes.last()?;
        let is_plain = scope.keys.is_none() && !scope.relations.is_empty();
        let all = is_plain && scope.relations.iter().all(|relation| relation.has_id);
        let ids: Vec<String> = scope
            .relations
            .iter()
            .map(|relation| format!("{}.id", relation.alias))
            .collect();
        all.then(|| ids.join(", "))
    }

    /// The text between the parentheses of OVER; a total order if there are unique columns.
    pub(super) fn window(&mut self, ids: Option<String>) -> Node {
        let mut partitions = Vec::new();
        for _ in 0..self.below(3) {
            let kind = self.kind();
            partitions.push(self.expression(kind, 1));
        }
        let mut parts = vec![list("PARTITION BY ", ", ", 0, partitions)];
        let direction = self.one(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
        let kind = self.one(&[
            Type::Int4,
            Type::Numeric,
            Type::Date,
            Type::Timestamp,
            Type::Text,
            Type::Int8,
        ]);
        let key = match self.named(kind) {
            Some(key) => key,
            None => self.expression(kind, 1),
        };
        let ordered = other(vec![Part::Node(key), text(direction)]);
        // Not every frame has its EXCLUDE, which would hide other differences.
        let exclude = if self.chance(0.1) {
            self.one(&[" EXCLUDE TIES", " EXCLUDE CURRENT ROW", " EXCLUDE GROUP"])
        } else {
            ""
        };
        if let Some(ids) = ids {
            parts.push(text(" ORDER BY "));
            if self.chance(0.5) {
                parts.push(optional(other(vec![Part::Node(ordered), text(", ")])));
            }
            parts.push(text(ids));
            let frame = self.one(&[
                "",
                "",
                " ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
                " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING",
                " ROWS 2 PRECEDING",
                " ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
                " ROWS BETWEEN 1 FOLLOWING AND 3 FOLLOWING",
                " GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW",
                " RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
                " ROWS BETWEEN 2 PRECEDING AND 2 FOLLOWING",
                " ROWS UNBOUNDED PRECEDING",
            ]);
            parts.push(optional(other(vec![
                text(frame),
                text(if frame.is_empty() { "" } else { exclude }),
            ])));
        } else if self.chance(0.8) {
            parts.push(list(" ORDER BY ", ", ", 0, vec![ordered]));
            let mut frames = vec![
                "",
                "",
                " RANGE UNBOUNDED PRECEDING",
                " RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
            ];
            frames.push(" GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING");
            frames.push(match kind {
                Type::Int4 | Type::Int8 => " RANGE BETWEEN 1 PRECEDING AND 2 FOLLOWING",
                Type::Numeric => " RANGE BETWEEN 1.5 PRECEDING AND CURRENT ROW",
                Type::Date | Type::Timestamp => " RANGE BETWEEN '1 month' PRECEDING AND '10 days' FOLLOWING",
                _ => " RANGE BETWEEN CURRENT ROW AND CURRENT ROW",
            });
            let frame = self.one(&frames);
            parts.push(optional(other(vec![
                text(frame),
                text(if frame.is_empty() { "" } else { exclude }),
            ])));
        }
        other(parts)
    }
}
