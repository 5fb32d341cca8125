//! FROM: tables, subqueries, CTEs, VALUES, functions, and all joins of them.

use super::{Generator, Relation, list, other, text};
use crate::differential::tables::TABLES;
use crate::differential::tree::{Node, Part, Sort};
use crate::differential::types::Type;

impl Generator<'_> {
    /// The FROM of the innermost scope, whose relations it fills in.
    pub(super) fn from(&mut self, depth: usize) -> Part {
        let (mut tree, relation) = self.relation(depth, false);
        self.add(relation);
        let joins = match self.below(10) {
            0..=4 => 0,
            5..=8 => 1,
            _ => 2,
        };
        for _ in 0..joins {
            tree = self.join(tree, depth);
        }
        list(" FROM ", ", ", 0, vec![tree])
    }

    fn add(&mut self, relation: Relation) {
        self.scopes
            .last_mut()
            .expect("a scope is open")
            .relations
            .push(relation);
    }

    fn join(&mut self, left: Node, depth: usize) -> Node {
        let join = self.one(&[
            "JOIN",
            "LEFT JOIN",
            "RIGHT JOIN",
            "FULL JOIN",
            "INNER JOIN",
            "LEFT OUTER JOIN",
        ]);
        let form = self.below(12);
        let is_lateral = (4..=5).contains(&form);
        let (right, relation) = self.relation(depth, is_lateral);
        let shared = self.shared(&relation);
        let mut parts = vec![Part::Node(left)];
        match form {
            0 => parts.extend([text(" CROSS JOIN "), Part::Node(right)]),
            1 => parts.extend([text(", "), Part::Node(right)]),
            2 | 3 if !shared.is_empty() => {
                let count = 1 + self.below(2.min(shared.len()));
                let columns = shared
                    .into_iter()
                    .take(count)
                    .map(|name| Node::text(Sort::Other, name))
                    .collect();
                parts.extend([text(format!(" {join} ")), Part::Node(right)]);
                parts.extend([list(" USING (", ", ", 1, columns), text(")")]);
            }
            6 if !shared.is_empty() => parts.extend([text(format!(" NATURAL {join} ")), Part::Node(right)]),
            _ => {
                let inner = is_lateral && matches!(join, "RIGHT JOIN" | "FULL JOIN");
                let join = if inner { "LEFT JOIN" } else { join };
                let last = self.scopes.last().and_then(|scope| scope.relations.last()).cloned();
                self.add(relation.clone());
                let equal = self.equality(last.as_ref(), &relation);
                let condition = match equal {
                    Some(node) if self.chance(0.7) || join == "FULL JOIN" => node,
                    _ if join == "FULL JOIN" => Node::text(Sort::Literal(Type::Bool), "true"),
                    _ => self.expression(Type::Bool, 1),
                };
                parts.extend([text(format!(" {join} ")), Part::Node(right)]);
                parts.extend([text(" ON "), Part::Node(condition)]);
                return Node::new(Sort::Relation, parts);
            }
        }
        self.add(relation);
        Node::new(Sort::Relation, parts)
    }

    fn shared(&self, right: &Relation) -> Vec<String> {
        let Some(scope) = self.scopes.last() else {
            return Vec::new();
        };
        let [left] = &scope.relations[..] else {
            return Vec::new();
        };
        let both = left.columns.iter().filter(|column| right.columns.contains(column));
        both.map(|(name, _)| name.clone()).collect()
    }

    fn equality(&mut self, left: Option<&Relation>, right: &Relation) -> Option<Node> {
        let left = left?;
        let mut pairs = Vec::new();
        for (name, kind) in &left.columns {
            let of = right.columns.iter().filter(|(_, other)| other == kind);
            pairs.extend(of.map(|(other, _)| (name, other, *kind)));
        }
        if pairs.is_empty() {
            return None;
        }
        let (name, other, kind) = pairs[self.below(pairs.len())];
        let side = |relation: &Relation, name: &str| {
            Part::Node(Node::text(Sort::Column(kind), format!("{}.{name}", relation.alias)))
        };
        Some(Node::new(
            Sort::Expression(Type::Bool),
            vec![side(left, name), text(" = "), side(right, other)],
        ))
    }

    /// A relation with its alias. A relation that is not LATERAL sees nothing of this FROM.
    fn relation(&mut self, depth: usize, is_lateral: bool) -> (Node, Relation) {
        let alias = self.alias();
        let choice = self.below(20);
        if is_lateral || (depth > 0 && choice < 4) {
            let hidden = if is_lateral { None } else { self.scopes.pop() };
            let (query, kinds) = self.select(depth.saturating_sub(1), None);
            self.scopes.extend(hidden);
            let columns: Vec<_> = kinds
                .into_iter()
                .enumerate()
                .map(|(at, kind)| (format!("c{at}"), kind))
                .collect();
            // Its items can go, and then their names with them: names are those of the items.
            let node = Node::new(
                Sort::Relation,
                vec![
                    text(if is_lateral { "LATERAL (" } else { "(" }),
                    Part::Node(query),
                    text(format!(") AS {alias}")),
                ],
            );
            return (
                node,
                Relation {
                    alias,
                    columns,
                    has_id: false,
                },
            );
        }
        match choice {
            4 => self.function(alias),
            5 if depth > 0 => self.values_relation(alias),
            6..=8 if !self.ctes.is_empty() => {
                let at = self.below(self.ctes.len());
                let cte = self.ctes[at].clone();
                let node = Node::text(Sort::Relation, format!("{} AS {alias}", cte.alias));
                (node, Relation { alias, ..cte })
            }
            _ => {
                let table = &TABLES[self.below(TABLES.len())];
                let columns = table
                    .columns
                    .iter()
                    .map(|(name, kind)| ((*name).to_string(), *kind))
                    .collect();
                let node = Node::text(Sort::Relation, format!("{} AS {alias}", table.name));
                (
                    node,
                    Relation {
                        alias,
                        columns,
                        has_id: true,
                    },
                )
            }
        }
    }

    fn function(&mut self, alias: String) -> (Node, Relation) {
        let (call, kind) = self.one(&[
            ("generate_series(1, 4)", Type::Int4),
            ("generate_series(5::int8, 1, -2)", Type::Int8),
            ("generate_series(1.0, 2.0, 0.5)", Type::Numeric),
            (
                "generate_series(timestamp '2024-01-30', '2024-04-01', '1 month')",
                Type::Timestamp,
            ),
            (
                "generate_series(timestamptz '2024-03-09', '2024-03-11', '12 hours')",
                Type::Timestamptz,
            ),
            ("unnest('{3,NULL,1}'::int4[])", Type::Int4),
            ("unnest(ARRAY['x', 'y', NULL])", Type::Text),
            ("regexp_split_to_table('a,b,,c', ',')", Type::Text),
            ("string_to_table('a b c', ' ')", Type::Text),
            ("jsonb_array_elements('[1, \"a\", null, {\"b\": 2}]')", Type::Jsonb),
            ("jsonb_array_elements_text('[1, \"a\", null]')", Type::Text),
            ("jsonb_object_keys('{\"b\": 1, \"a\": 2}')", Type::Text),
            ("jsonb_path_query('[1, 2, 3]', '$[*] ? (@ > 1)')", Type::Jsonb),
            ("generate_subscripts('{a,b,c}'::text[], 1)", Type::Int4),
        ]);
        let mut columns = vec![("c0".to_string(), kind)];
        let written = if self.chance(0.4) {
            columns.push(("o".to_string(), Type::Int8));
            format!("{call} WITH ORDINALITY AS {alias}(c0, o)")
        } else {
            format!("{call} AS {alias}(c0)")
        };
        let node = Node::text(Sort::Relation, written);
        (
            node,
            Relation {
                alias,
                columns,
                has_id: false,
            },
        )
    }

    fn values_relation(&mut self, alias: String) -> (Node, Relation) {
        let (query, kinds) = self.values();
        let columns: Vec<_> = kinds
            .into_iter()
            .enumerate()
            .map(|(at, kind)| (format!("c{at}"), kind))
            .collect();
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let after = format!(") AS {alias}({})", names.join(", "));
        let node = Node::new(Sort::Relation, vec![text("("), Part::Node(query), text(after)]);
        (
            node,
            Relation {
                alias,
                columns,
                has_id: false,
            },
        )
    }

    /// VALUES of a row or more.
    pub(super) fn values(&mut self) -> (Node, Vec<Type>) {
        let kinds: Vec<Type> = (0..1 + self.below(3)).map(|_| self.kind()).collect();
        let rows = (0..1 + self.below(4)).map(|row| {
            let mut parts = vec![text("(")];
            for (at, kind) in kinds.iter().enumerate() {
                parts.push(text(if at > 0 { ", " } else { "" }));
                let value = if row == 0 {
                    Node::text(Sort::Literal(*kind), kind.simplest())
                } else {
                    self.literal(*kind)
                };
                parts.push(Part::Node(value));
            }
            parts.push(text(")"));
            other(parts)
        });
        let rows = rows.collect();
        (Node::new(Sort::Query, vec![list("VALUES ", ", ", 1, rows)]), kinds)
    }
}
