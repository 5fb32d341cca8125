//! Statements: SELECT with grouping, windows and order, set operations, WITH, VALUES.
//!
//! One rule: LIMIT and DISTINCT ON come with an order of all columns, so that it does not matter which of equal rows are
//! taken.

use rand::seq::IndexedRandom;

use super::{Generator, Relation, Scope, list, optional, other, text};
use crate::differential::tree::{List, Node, Part, Sort};
use crate::differential::types::Type;

/// Texts before and after the keys of a GROUP BY.
const PLAIN: [(&str, &str); 2] = [(" GROUP BY ", ""), (" GROUP BY (", ")")];
const SETS: [(&str, &str); 7] = [
    (" GROUP BY ", ""),
    (" GROUP BY ", ""),
    (" GROUP BY ROLLUP(", ")"),
    (" GROUP BY CUBE(", ")"),
    (" GROUP BY GROUPING SETS ((), (", "))"),
    (" GROUP BY CUBE(", ")"),
    (" GROUP BY DISTINCT ROLLUP(", ")"),
];

impl Generator<'_> {
    pub fn statement(&mut self) -> Node {
        match self.below(20) {
            0..=2 => self.set_operation(1, true),
            3..=5 => self.with(),
            6 => self.recursive(),
            7 => {
                let mut values = self.values().0;
                values
                    .parts
                    .push(optional(other(vec![text(self.one(&[" ORDER BY 1", " LIMIT 10", ""]))])));
                values
            }
            8..=10 => self.bare(),
            _ => {
                let (mut query, _) = self.select(2, None);
                if self.chance(0.08) {
                    return self.star(query);
                }
                self.tail(&mut query);
                query
            }
        }
    }

    /// The query with all columns, or those of one relation, in front.
    fn star(&mut self, mut query: Node) -> Node {
        let item = self.one(&["*", "*", "r1.*"]);
        let lists = query.parts.iter_mut().filter_map(|part| match part {
            Part::List(list) if list.is_select => Some(list),
            _ => None,
        });
        for list in lists {
            list.items.insert(0, Node::text(Sort::Other, item));
        }
        query
    }

    /// A SELECT of expressions alone.
    fn bare(&mut self) -> Node {
        let items = (0..1 + self.below(3))
            .map(|_| self.any(3).0)
            .map(|item| other(vec![Part::Node(item)]))
            .collect();
        Node::new(Sort::Query, vec![text("SELECT "), select_list(items)])
    }

    fn with(&mut self) -> Node {
        let mut ctes = Vec::new();
        for at in 0..1 + self.below(2) {
            let is_set = self.chance(0.2);
            let (query, kinds) = if is_set {
                let query = self.set_operation_of(&[Type::Int4, Type::Text], 0);
                (query, vec![Type::Int4, Type::Text])
            } else {
                self.select(1, None)
            };
            let name = format!("q{at}");
            let columns: Vec<_> = kinds
                .into_iter()
                .enumerate()
                .map(|(at, kind)| (format!("c{at}"), kind))
                .collect();
            let how = self.one(&["", "", "", "MATERIALIZED ", "NOT MATERIALIZED "]);
            ctes.push(other(vec![
                text(format!("{name} AS {how}(")),
                Part::Node(query),
                text(")"),
            ]));
            let relation = Relation {
                alias: name,
                columns,
                has_id: false,
            };
            self.ctes.push(relation);
        }
        let (mut query, _) = self.select(1, None);
        self.tail(&mut query);
        self.ctes.clear();
        query.parts.insert(0, with_list("WITH ", ctes));
        query
    }

    fn recursive(&mut self) -> Node {
        let kind = self.kind();
        let first = self.literal(kind);
        let step = self.one(&["r.x", "r.x", "coalesce(r.x, NULL)"]).to_string();
        let step = match kind {
            Type::Text => self.one(&["r.x || 'y'", "r.x", "upper(r.x)"]).to_string(),
            Type::Int4 | Type::Numeric | Type::Float8 => self.one(&["r.x + 1", "r.x * 2", "r.x"]).to_string(),
            Type::Ints => self.one(&["r.x || n", "r.x"]).to_string(),
            Type::Date => "r.x + 1".to_string(),
            _ => step,
        };
        let union = self.one(&["UNION ALL", "UNION"]);
        let from = self.one(&[
            "r WHERE n < 4",
            "r, b WHERE b.id = n AND n < 5",
            "r JOIN b ON b.id = r.n + 1 WHERE n < 3",
        ]);
        let columns = vec![("n".to_string(), Type::Int4), ("x".to_string(), kind)];
        self.ctes = vec![Relation {
            alias: "r".to_string(),
            columns,
            has_id: false,
        }];
        let (mut query, _) = self.select(1, None);
        self.tail(&mut query);
        self.ctes.clear();
        let recursive = other(vec![
            text("r(n, x) AS (SELECT 1, "),
            Part::Node(first),
            text(format!(" {union} SELECT n + 1, {step} FROM {from})")),
        ]);
        query.parts.insert(0, with_list("WITH RECURSIVE ", vec![recursive]));
        query
    }

    fn set_operation(&mut self, depth: usize, has_tail: bool) -> Node {
        let kinds: Vec<Type> = (0..1 + self.below(3)).map(|_| self.kind()).collect();
        let mut query = self.set_operation_of(&kinds, depth);
        if has_tail {
            self.order(&mut query, Vec::new());
        }
        query
    }

    fn set_operation_of(&mut self, kinds: &[Type], depth: usize) -> Node {
        let operator = self.one(&[
            "UNION",
            "UNION ALL",
            "INTERSECT",
            "INTERSECT ALL",
            "EXCEPT",
            "EXCEPT ALL",
        ]);
        let left = self.select(0, Some(kinds)).0;
        let right: Vec<Type> = kinds.iter().map(|kind| self.related(*kind)).collect();
        let mut parts = vec![Part::Node(left), text(format!(" {operator} "))];
        if depth > 0 && self.chance(0.3) {
            let right = self.set_operation_of(&right, depth - 1);
            parts.extend([text("("), Part::Node(right), text(")")]);
        } else {
            parts.push(Part::Node(self.select(0, Some(&right)).0));
        }
        Node::new(Sort::Query, parts)
    }

    /// The type, or one that has a common type with it.
    fn related(&mut self, kind: Type) -> Type {
        match kind {
            Type::Int2 | Type::Int4 | Type::Int8 | Type::Numeric | Type::Float8 if self.chance(0.3) => {
                self.one(&[Type::Int4, Type::Numeric, Type::Int8, Type::Float8])
            }
            Type::Varchar if self.chance(0.3) => Type::Text,
            Type::Date if self.chance(0.3) => Type::Timestamp,
            _ => kind,
        }
    }

    /// A SELECT without ORDER BY, and the types of its columns; of these types, if they are given. Its columns are c0, c1, ...
    /// within others.
    pub(super) fn select(&mut self, depth: usize, shape: Option<&[Type]>) -> (Node, Vec<Type>) {
        let is_outermost = self.scopes.is_empty() && shape.is_none() && depth == 2;
        self.scopes.push(Scope {
            is_open: true,
            ..Scope::default()
        });
        let from = if self.chance(0.95) {
            Some(self.from(depth))
        } else {
            None
        };
        let conditions: Vec<Node> = (0..self.below(3)).map(|_| self.expression(Type::Bool, 2)).collect();
        let is_grouped = from.is_some() && self.chance(0.3);
        let mut items: Vec<(Node, Type)> = Vec::new();
        let mut after = Vec::new();
        if is_grouped {
            after = self.group(&mut items, shape.is_some());
        }
        let count = shape.map_or(1 + self.below(3), <[Type]>::len);
        for at in 0..count {
            let kind = shape.map_or_else(|| self.kind(), |shape| shape[at]);
            let item = self.expression(kind, 2);
            let is_untyped = matches!(item.sort, Sort::Untyped(_)) || item.render(false).text == "NULL";
            items.push((item, if is_untyped { Type::Text } else { kind }));
        }
        if shape.is_none() && from.is_some() && !is_grouped && self.chance(0.25) {
            let is_named = self.chance(0.25);
            let names: &[&str] = if is_named { &["w"] } else { &[] };
            let is_used = self
                .window_call(names)
                .map(|call| items.push((call, Type::Text)))
                .is_some();
            if is_named && is_used {
                let definition = self.window(None);
                after.push(optional(other(vec![
                    text(" WINDOW w AS ("),
                    Part::Node(definition),
                    text(")"),
                ])));
            }
        }
        if shape.is_none() && !is_grouped && is_outermost && self.chance(0.08) {
            let call = self.one(&[
                "generate_series(1, 3)",
                "unnest('{1,2}'::int4[])",
                "unnest({int4[]})",
                "jsonb_array_elements('[1,2]')",
                "regexp_matches({text}, 'a', 'g')",
            ]);
            let call = self.fill(call, Type::Text, 1);
            items.push((call, Type::Text));
        }
        if self.scopes.len() == 1 && shape.is_none() {
            let kind = self.one(&[
                Type::Int4,
                Type::Text,
                Type::Numeric,
                Type::Date,
                Type::Float8,
                Type::Interval,
                Type::Bool,
            ]);
            let key = self.expression(kind, 1);
            let is_usable = !matches!(key.sort, Sort::Literal(_) | Sort::Untyped(_));
            self.sort_key = is_usable.then_some(key);
        }
        self.scopes.pop();
        let names = !is_outermost && shape.is_none();
        let named = items.iter().enumerate().map(|(at, (item, _))| {
            let mut parts = vec![Part::Node(item.clone())];
            if names {
                parts.push(text(format!(" AS c{at}")));
            }
            parts
        });
        let mut named: Vec<Node> = named.map(other).collect();
        if is_outermost {
            for (at, item) in named.iter_mut().enumerate() {
                if self.chance(0.15) {
                    item.parts.push(optional(other(vec![text(format!(" AS x{at}"))])));
                }
            }
        }
        let mut parts = vec![text("SELECT "), select_list(named)];
        parts.extend(from);
        parts.push(list(" WHERE ", " AND ", 0, conditions));
        parts.extend(after);
        (
            Node::new(Sort::Query, parts),
            items.into_iter().map(|(_, kind)| kind).collect(),
        )
    }

    /// Groups the innermost scope: the clauses after WHERE. Keys that GROUP BY names by position become items.
    fn group(&mut self, items: &mut Vec<(Node, Type)>, is_shaped: bool) -> Vec<Part> {
        let mut keys = Vec::new();
        for _ in 0..self.below(4) {
            let kind = self.kind();
            let named = if self.chance(0.7) { self.named(kind) } else { None };
            let key = match named {
                Some(key) => key,
                None => self.expression(kind, 1),
            };
            if !matches!(key.sort, Sort::Literal(_) | Sort::Untyped(_)) {
                keys.push((key, kind));
            }
        }
        let mut after = Vec::new();
        if !keys.is_empty() && !is_shaped && self.chance(0.5) {
            items.extend(keys.iter().cloned());
            let positions = (1..=keys.len())
                .map(|at| Node::text(Sort::Other, at.to_string()))
                .collect();
            after.push(list(" GROUP BY ", ", ", 0, positions));
        } else if !keys.is_empty() {
            let nodes: Vec<Node> = keys.iter().map(|(key, _)| key.clone()).collect();
            let rare = self.chance(0.05);
            // A constant that a set leaves out is NULL in some places and not in others, up to PostgreSQL 17.
            let is_constant = keys.iter().any(|(key, _)| !key.has_column());
            let (before, end) = if is_constant { self.one(&PLAIN) } else { self.one(&SETS) };
            let before = match before {
                " GROUP BY DISTINCT ROLLUP(" if !rare => " GROUP BY (",
                before => before,
            };
            if end == ")" && !is_shaped {
                let key = nodes.choose(self.random).cloned();
                let call = key.map(|key| vec![text("grouping("), Part::Node(key), text(")")]);
                items.extend(call.map(|parts| (Node::new(Sort::Expression(Type::Int4), parts), Type::Int4)));
            }
            let mut grouped = list(before, ", ", 0, nodes);
            if let Part::List(list) = &mut grouped {
                list.after = end;
            }
            after.push(grouped);
        }
        let scope = self.scopes.last_mut().expect("a scope is open");
        scope.keys = Some(keys);
        scope.is_open = false;
        if self.chance(0.25) {
            let condition = self.expression(Type::Bool, 1);
            after.push(list(" HAVING ", " AND ", 0, vec![condition]));
        }
        after
    }

    /// DISTINCT, ORDER BY and LIMIT of an outermost SELECT.
    fn tail(&mut self, query: &mut Node) {
        let distinct = match self.below(10) {
            0 | 1 => "DISTINCT ",
            2 => "DISTINCT ON (1) ",
            _ => "",
        };
        let at = query
            .parts
            .iter()
            .position(|part| matches!(part, Part::List(list) if list.is_select));
        if let Some(at) = at
            && !distinct.is_empty()
        {
            query.parts.insert(at, optional(other(vec![text(distinct)])));
        }
        let first = match self.below(6) {
            _ if distinct == "DISTINCT ON (1) " => vec![text("1, ")],
            0 if distinct.is_empty() => vec![text(self.one(&[
                "1 DESC, ",
                "1 NULLS FIRST, ",
                "1 ASC, ",
                "1 USING <, ",
            ]))],
            1 | 2 if distinct.is_empty() && self.sort_key.is_some() => {
                let key = self.sort_key.take().into_iter().map(Part::Node);
                let direction = self.one(&[", ", " DESC, ", " NULLS FIRST, ", " DESC NULLS LAST, "]);
                vec![optional(other(key.chain([text(direction)]).collect()))]
            }
            3 if query.render(false).text.contains(" AS c0") => vec![optional(other(vec![text("c0 DESC, ")]))],
            _ => Vec::new(),
        };
        if distinct == "DISTINCT ON (1) " {
            query.parts.extend([text(" ORDER BY "), Part::Positions]);
            return;
        }
        self.order(query, first);
    }

    fn order(&mut self, query: &mut Node, first: Vec<Part>) {
        if self.chance(0.4) {
            return;
        }
        let mut parts = vec![text(" ORDER BY ")];
        parts.extend(first);
        parts.push(Part::Positions);
        parts.push(optional(other(vec![text(self.one(&[
            "",
            "",
            " DESC",
            " NULLS FIRST",
            " DESC NULLS LAST",
        ]))])));
        if self.chance(0.4) {
            let limit = self.one(&[
                " LIMIT 3",
                " LIMIT 2 OFFSET 1",
                " OFFSET 2",
                " FETCH FIRST 2 ROWS ONLY",
                " LIMIT ALL",
                " LIMIT NULL",
                " LIMIT 0",
                " LIMIT '2'",
            ]);
            parts.push(optional(other(vec![text(limit)])));
        }
        query.parts.push(optional(other(parts)));
    }
}

fn select_list(items: Vec<Node>) -> Part {
    Part::List(List {
        before: "",
        between: ", ",
        after: "",
        least: 1,
        is_select: true,
        items,
    })
}

fn with_list(before: &'static str, items: Vec<Node>) -> Part {
    Part::List(List {
        before,
        between: ", ",
        after: " ",
        least: 0,
        is_select: false,
        items,
    })
}
