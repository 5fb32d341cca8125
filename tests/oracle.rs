//! The oracle: random topics, random views of them and of one another, joins, sets, first rows, window functions and grouping sets
//! among them, random inserts; after each commit every view, all of them kept, must equal its own definition run as a batch query
//! (V1). A failure is printed as an `.slt` file, ready to be kept.
//!
//! `ORACLE_SEED` repeats a run, `ORACLE_CASES` makes it longer. View and batch share a planner, so the hand-computed
//! files in `sql-tests/` stand beside this.

use std::fmt::Write;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use tokio_postgres::Client;

use crate::support::{self, Server, bag, same};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Int,
    Big,
    Numeric,
    Float,
    Text,
    Bool,
    Time,
}

/// A relation that a view may read.
#[derive(Clone)]
struct Relation {
    name: String,
    columns: Vec<(String, Kind)>,
    /// A topic with a watermark on `ts`.
    watermark: bool,
    topic: bool,
}

struct View {
    name: String,
    query: String,
}

#[tokio::test]
async fn a_view_equals_its_batch_query_at_every_commit() {
    let seed = support::seed("ORACLE_SEED");
    let cases = support::repeat("ORACLE_CASES", 30);
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    for case in 0..cases {
        let mut program = Program {
            random: support::random(seed + case),
            script: Vec::new(),
        };
        if let Err(failure) = program.run(&client, case).await {
            panic!("ORACLE_SEED={} ORACLE_CASES=1 repeats it\n{failure}", seed + case);
        }
    }
}

struct Program {
    random: StdRng,
    /// Statements that changed something, in order.
    script: Vec<String>,
}

impl Program {
    async fn run(&mut self, client: &Client, case: u64) -> Result<(), String> {
        let mut relations = Vec::new();
        for topic in 0..self.random.random_range(1..=2) {
            let relation = self.topic(format!("t{case}_{topic}"));
            self.does(client, &relation.1).await?;
            relations.push(relation.0);
        }
        let topics = relations.clone();
        let mut views = Vec::new();
        for number in 0..self.random.random_range(1..=4) {
            // Some views are made over rows that are already there.
            if number > 0 && self.random.random_bool(0.3) {
                let insert = self.insert(&topics, number);
                self.does(client, &insert).await?;
            }
            let name = format!("v{case}_{number}");
            let (relation, query) = self.view(&name, &relations);
            self.does(client, &format!("CREATE MATERIALIZED VIEW {name} AS {query}"))
                .await?;
            views.push(View { name, query });
            relations.push(relation);
        }
        self.all_kept(client).await?;
        self.compare(client, &views).await?;
        for step in 0..self.random.random_range(4..10) {
            let mut statement = self.insert(&topics, step);
            if self.random.random_bool(0.2) {
                let more = self.insert(&topics, step);
                statement = format!("BEGIN;\n{statement};\n{more};\nCOMMIT");
            }
            self.does(client, &statement).await?;
            self.compare(client, &views).await?;
        }
        for topic in &topics {
            client
                .simple_query(&format!("DROP TOPIC {} CASCADE", topic.name))
                .await
                .map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    async fn does(&mut self, client: &Client, statement: &str) -> Result<(), String> {
        self.script.push(statement.to_string());
        match client.simple_query(statement).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.slt(&format!("# {}: {error}", support::state(&error)))),
        }
    }

    /// No view of this grammar is recomputed, but those of copies of rows that have several forms: a fault would hide behind it.
    async fn all_kept(&self, client: &Client) -> Result<(), String> {
        let recomputed = "SELECT name, recomputed FROM millstream.materialized_views \
                          WHERE recomputed IS NOT NULL AND recomputed NOT LIKE '%several forms%'";
        match bag(client, recomputed).await {
            Ok(rows) if rows.is_empty() => Ok(()),
            found => Err(self.slt(&format!("# recomputed: {found:?}"))),
        }
    }

    async fn compare(&self, client: &Client, views: &[View]) -> Result<(), String> {
        for view in views {
            let select = format!("SELECT * FROM {}", view.name);
            let kept = bag(client, &select).await;
            let batch = bag(client, &view.query).await;
            let equal = match (&kept, &batch) {
                (Ok(kept), Ok(batch)) => same(kept, batch),
                (kept, batch) => kept == batch,
            };
            if equal {
                continue;
            }
            let letters = batch.as_ref().ok().and_then(|rows| rows.first()).map_or(1, Vec::len);
            let mut end = format!(
                "# batch: {}\nquery {} rowsort\n{select}\n----\n",
                view.query,
                "?".repeat(letters)
            );
            match batch {
                Ok(rows) => rows
                    .iter()
                    .for_each(|row| writeln!(end, "{}", row.join(" ")).expect("a String grows")),
                Err(state) => end = format!("# batch: {}\nstatement error ({state})\n{select}\n", view.query),
            }
            writeln!(end, "\n# the view answered {kept:?}").expect("a String grows");
            return Err(self.slt(&end));
        }
        Ok(())
    }

    /// The statements so far, as a file for `sql-tests/`.
    fn slt(&self, end: &str) -> String {
        let mut file = "# A view that the oracle found to differ from its batch query.\n\n".to_string();
        let statements = self.script.iter().flat_map(|script| script.split(";\n"));
        for statement in statements {
            writeln!(file, "statement ok\n{statement}\n").expect("a String grows");
        }
        file + end
    }

    fn topic(&mut self, name: String) -> (Relation, String) {
        let watermark = self.random.random_bool(0.7);
        let mut columns: Vec<(String, Kind)> = vec![("k".into(), Kind::Int), ("ts".into(), Kind::Time)];
        for (column, kind) in [
            ("g", Kind::Text),
            ("v", Kind::Int),
            ("w", Kind::Big),
            ("n", Kind::Numeric),
            ("d", Kind::Float),
            ("ok", Kind::Bool),
        ] {
            if self.random.random_bool(0.7) {
                columns.push((column.into(), kind));
            }
        }
        let sql_type = |kind: Kind| match kind {
            Kind::Int => "INT",
            Kind::Big => "BIGINT",
            Kind::Numeric => "NUMERIC(10,2)",
            Kind::Float => "DOUBLE PRECISION",
            Kind::Text => "TEXT",
            Kind::Bool => "BOOLEAN",
            Kind::Time => "TIMESTAMP",
        };
        let mut items: Vec<String> = columns
            .iter()
            .map(|(name, kind)| format!("{name} {}", sql_type(*kind)))
            .collect();
        if watermark {
            let delay = self.random.random_range(0..8);
            items.push(format!("WATERMARK FOR ts AS ts - INTERVAL '{delay} seconds'"));
        }
        let partitions = self.random.random_range(1..=3);
        let create = format!(
            "CREATE TOPIC {name} ({}) PARTITION BY (k) WITH (partitions = {partitions})",
            items.join(", ")
        );
        (
            Relation {
                name,
                columns,
                watermark,
                topic: true,
            },
            create,
        )
    }

    fn insert(&mut self, topics: &[Relation], step: i32) -> String {
        let topic = topics.choose(&mut self.random).expect("a topic").clone();
        let rows = (0..self.random.random_range(1..=5)).map(|_| {
            let cells = topic
                .columns
                .iter()
                .map(|(_, kind)| self.literal(*kind, step))
                .collect::<Vec<_>>();
            format!("({})", cells.join(", "))
        });
        format!(
            "INSERT INTO {} VALUES {}",
            topic.name,
            rows.collect::<Vec<_>>().join(", ")
        )
    }

    fn literal(&mut self, kind: Kind, step: i32) -> String {
        if self.random.random_bool(0.12) {
            return "NULL".into();
        }
        let random = &mut self.random;
        match kind {
            Kind::Int => random.random_range(-3..6).to_string(),
            Kind::Big => random
                .random_range(-1_000_000_000_000_i64..1_000_000_000_000)
                .to_string(),
            Kind::Numeric => format!("{}.{:02}", random.random_range(-50..50), random.random_range(0..100)),
            Kind::Float => format!("{:.3}", random.random_range(-5.0..5.0)),
            Kind::Text => format!("'{}'", ["", "a", "b", "c", "ä"].choose(random).expect("one of five")),
            Kind::Bool => random.random_bool(0.5).to_string(),
            Kind::Time => {
                // Event time goes on by about 7 s a step, with disorder of up to 30 s.
                let second = (step * 7 + random.random_range(-30..10)).rem_euclid(3600);
                let fraction = if random.random_bool(0.3) { ".5" } else { "" };
                format!(
                    "'2024-01-01 {:02}:{:02}:{:02}{fraction}'",
                    1 + second / 3600,
                    second / 60 % 60,
                    second % 60
                )
            }
        }
    }

    fn view(&mut self, name: &str, relations: &[Relation]) -> (Relation, String) {
        let (from, columns, windowed, closes) = self.source(relations);
        let filter = if self.random.random_bool(0.4) {
            format!(" WHERE {}", self.condition(&columns))
        } else {
            "".into()
        };
        let (columns, query) = if windowed || self.random.random_bool(0.7) {
            self.aggregate(&from, &columns, &filter, windowed)
        } else {
            self.projection(&from, &columns, &filter)
        };
        let emit = if closes && self.random.random_bool(0.4) {
            " EMIT ON WINDOW CLOSE"
        } else {
            ""
        };
        (
            Relation {
                name: name.into(),
                columns,
                watermark: false,
                topic: false,
            },
            format!("{query}{emit}"),
        )
    }

    /// A FROM item, its columns, whether it is windowed, whether its windows can close.
    fn source(&mut self, relations: &[Relation]) -> (String, Vec<(String, Kind)>, bool, bool) {
        if self.random.random_bool(0.4) {
            let left = relations.choose(&mut self.random).expect("a relation").clone();
            let right = relations.choose(&mut self.random).expect("a relation").clone();
            let timed =
                (left.watermark && right.watermark && self.random.random_bool(0.4)).then(|| self.timed(&left, &right));
            if let Some((query, columns)) = timed {
                return (format!("({query}) AS j"), columns, false, false);
            }
            let (query, columns) = match self.random.random_range(0..9) {
                0 | 1 => self.join(&left, &right),
                2 | 3 => self.matched(&left, &right),
                4 | 5 => self.first(&left),
                6 | 7 => self.over(&left),
                _ => self.set(&left, &right),
            };
            return (format!("({query}) AS j"), columns, false, false);
        }
        let relation = relations.choose(&mut self.random).expect("a relation").clone();
        let mut columns = relation.columns.clone();
        if !relation.topic || self.random.random_bool(0.35) {
            let topics: Vec<&Relation> = relations.iter().filter(|other| other.topic).collect();
            if self.random.random_bool(0.25) {
                // The columns that all topics have.
                let (left, right) = (topics[0], topics[topics.len() - 1]);
                let shared = vec![("k".to_string(), Kind::Int), ("ts".to_string(), Kind::Time)];
                let from = format!(
                    "(SELECT k, ts FROM {} UNION ALL SELECT k + 1, ts FROM {}) AS u",
                    left.name, right.name
                );
                return (from, shared, false, false);
            }
            return (relation.name.clone(), columns, false, false);
        }
        let input = match self.random.random_range(0..4) {
            0 => format!("(SELECT * FROM {} WHERE {})", relation.name, self.condition(&columns)),
            _ => relation.name.clone(),
        };
        let size = *[5, 10, 20, 60].choose(&mut self.random).expect("one of four");
        let lateness = match self.random.random_bool(0.25) {
            true => format!(
                ", allowed_lateness => INTERVAL '{} seconds'",
                self.random.random_range(1..10)
            ),
            false => String::new(),
        };
        let window = match self.random.random_range(0..6) {
            0 | 1 => format!("HOP({input}, ts, INTERVAL '5 seconds', INTERVAL '{size} seconds'{lateness})"),
            2 => format!("CUMULATE({input}, ts, INTERVAL '5 seconds', INTERVAL '{size} seconds'{lateness})"),
            3 => {
                let keys = columns.iter().map(|(column, _)| column.as_str());
                let key = keys.collect::<Vec<_>>().choose(&mut self.random).copied();
                let by = match key.filter(|_| self.random.random_bool(0.6)) {
                    Some(key) => format!(" PARTITION BY {key}"),
                    None => String::new(),
                };
                let gap = self.random.random_range(1..8);
                format!("SESSION({input}{by}, ts, INTERVAL '{gap} seconds'{lateness})")
            }
            _ => format!("TUMBLE({input}, ts, INTERVAL '{size} seconds'{lateness})"),
        };
        columns.push(("window_start".into(), Kind::Time));
        columns.push(("window_end".into(), Kind::Time));
        (window, columns, true, relation.watermark)
    }

    /// A column of each relation, of one kind.
    fn alike(&mut self, left: &Relation, right: &Relation) -> Option<(String, String)> {
        let pairs = left.columns.iter().flat_map(|(own, kind)| {
            let others = right.columns.iter().filter(move |(_, other)| other == kind);
            others.map(move |(other, _)| (own.clone(), other.clone()))
        });
        pairs.collect::<Vec<_>>().choose(&mut self.random).cloned()
    }

    /// A further condition on pairs of rows `x` and `y`, often none.
    fn beside(&mut self, left: &Relation, right: &Relation) -> String {
        let compared = self.alike(left, right).filter(|_| self.random.random_bool(0.4));
        let operator = *["<", ">=", "<>", "IS DISTINCT FROM"]
            .choose(&mut self.random)
            .expect("one of four");
        compared.map_or_else(String::new, |(own, other)| format!(" AND x.{own} {operator} y.{other}"))
    }

    /// All columns of two relations.
    fn join(&mut self, left: &Relation, right: &Relation) -> (String, Vec<(String, Kind)>) {
        let sides = [("x", "l", left), ("y", "r", right)];
        let all = sides.iter().flat_map(|(side, prefix, relation)| {
            relation
                .columns
                .iter()
                .enumerate()
                .map(move |(number, (column, kind))| {
                    let name = format!("{prefix}{number}");
                    (format!("{side}.{column} AS {name}"), (name, *kind))
                })
        });
        let (items, columns): (Vec<String>, Vec<(String, Kind)>) = all.unzip();
        let kind = *["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]
            .choose(&mut self.random)
            .expect("one of four");
        if self.random.random_bool(0.25)
            && let Some(on) = self.asof(left, right)
        {
            let query = format!("SELECT {} FROM {} AS x {on}", items.join(", "), left.name);
            return (query, columns);
        }
        let on = match self.alike(left, right) {
            Some((own, other)) => format!(
                "{kind} {} AS y ON x.{own} = y.{other}{}",
                right.name,
                self.beside(left, right)
            ),
            None => format!("CROSS JOIN {} AS y", right.name),
        };
        (
            format!("SELECT {} FROM {} AS x {on}", items.join(", "), left.name),
            columns,
        )
    }

    /// Rows of two topics by time, without those that come late: a join by an interval or by windows.
    fn timed(&mut self, left: &Relation, right: &Relation) -> (String, Vec<(String, Kind)>) {
        let kind = *["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]
            .choose(&mut self.random)
            .expect("one of four");
        let columns = vec![
            ("l0".to_string(), Kind::Int),
            ("l1".to_string(), Kind::Time),
            ("r0".to_string(), Kind::Int),
            ("r1".to_string(), Kind::Time),
        ];
        let items = "x.k AS l0, x.ts AS l1, y.k AS r0, y.ts AS r1";
        let keyed = if self.random.random_bool(0.6) {
            " AND x.k = y.k"
        } else {
            ""
        };
        let query = match self.random.random_bool(0.5) {
            true => {
                let (back, ahead) = (self.random.random_range(0..6), self.random.random_range(0..9));
                let side = |relation: &Relation| {
                    format!("(SELECT * FROM {} WHERE (ts < _watermark) IS NOT TRUE)", relation.name)
                };
                format!(
                    "SELECT {items} FROM {} AS x {kind} {} AS y \
                     ON y.ts BETWEEN x.ts - INTERVAL '{back} seconds' AND x.ts + INTERVAL '{ahead} seconds'{keyed}",
                    side(left),
                    side(right)
                )
            }
            false => {
                let side = |relation: &Relation| format!("TUMBLE({}, ts, INTERVAL '10 seconds')", relation.name);
                format!(
                    "SELECT {items} FROM {} AS x {kind} {} AS y ON x.window_end = y.window_end{keyed}",
                    side(left),
                    side(right)
                )
            }
        };
        (query, columns)
    }

    /// `ASOF JOIN ... ON ...`
    fn asof(&mut self, left: &Relation, right: &Relation) -> Option<String> {
        let (own, other) = self.alike(left, right)?;
        let mut on = match self.alike(left, right).filter(|_| self.random.random_bool(0.7)) {
            Some((own, other)) => format!("x.{own} = y.{other} AND "),
            None => String::new(),
        };
        let operator = *["<", "<=", ">", ">="].choose(&mut self.random).expect("one of four");
        write!(on, "x.{own} {operator} y.{other}").expect("a string takes all");
        let kind = *["ASOF JOIN", "ASOF LEFT JOIN"]
            .choose(&mut self.random)
            .expect("one of two");
        Some(format!("{kind} {} AS y ON {on}", right.name))
    }

    /// The rows of a relation by whether others match them.
    fn matched(&mut self, left: &Relation, right: &Relation) -> (String, Vec<(String, Kind)>) {
        let mut columns = left.columns.clone();
        let Some((own, other)) = self.alike(left, right) else {
            return (format!("SELECT * FROM {}", left.name), columns);
        };
        let beside = self.beside(left, right);
        let all = format!("FROM {} AS x", left.name);
        let equal = format!("FROM {} AS y WHERE x.{own} = y.{other}{beside}", right.name);
        let values = format!(
            "SELECT y.{other} FROM {} AS y WHERE y.{other} IS NOT NULL{beside}",
            right.name
        );
        let with_nulls = format!("SELECT y.{other} FROM {} AS y WHERE true{beside}", right.name);
        let query = match self.random.random_range(0..8) {
            0 => format!("SELECT * {all} WHERE EXISTS (SELECT 1 {equal})"),
            1 => format!("SELECT * {all} WHERE NOT EXISTS (SELECT 1 {equal})"),
            2 => format!("SELECT * {all} WHERE x.{own} IN ({with_nulls})"),
            3 => format!("SELECT * {all} WHERE x.{own} NOT IN ({values})"),
            4 => format!("SELECT * {all} WHERE x.{own} NOT IN ({with_nulls})"),
            5 => format!("SELECT * {all} WHERE x.{own} IS NULL OR x.{own} IN ({values})"),
            6 => {
                columns.push(("m".into(), Kind::Bool));
                format!("SELECT *, EXISTS (SELECT 1 {equal}) AS m {all}")
            }
            _ => {
                columns.push(("m".into(), Kind::Big));
                format!("SELECT *, (SELECT count(*) {equal}) AS m {all}")
            }
        };
        (query, columns)
    }

    /// One or two columns of both relations.
    fn set(&mut self, left: &Relation, right: &Relation) -> (String, Vec<(String, Kind)>) {
        let mut picked: Vec<(String, String)> = Vec::new();
        for _ in 0..self.random.random_range(1..=2) {
            picked.extend(self.alike(left, right));
        }
        if picked.is_empty() {
            return (format!("SELECT DISTINCT * FROM {}", left.name), left.columns.clone());
        }
        let kind_of = |name: &str| left.columns.iter().find(|(own, _)| own == name).expect("its column").1;
        let columns = (0..picked.len())
            .map(|at| (format!("s{at}"), kind_of(&picked[at].0)))
            .collect();
        let own: Vec<String> = picked
            .iter()
            .enumerate()
            .map(|(at, (own, _))| format!("{own} AS s{at}"))
            .collect();
        let others: Vec<&str> = picked.iter().map(|(_, other)| other.as_str()).collect();
        let operators = [
            "UNION",
            "UNION ALL",
            "INTERSECT",
            "INTERSECT ALL",
            "EXCEPT",
            "EXCEPT ALL",
        ];
        let operator = *operators.choose(&mut self.random).expect("one of six");
        let query = format!(
            "SELECT {} FROM {} {operator} SELECT {} FROM {}",
            own.join(", "),
            left.name,
            others.join(", "),
            right.name
        );
        (query, columns)
    }

    /// All columns, each one way or the other: rows that this order leaves alike are the same.
    fn whole_order(&mut self, columns: &[(String, Kind)]) -> String {
        let mut names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        names.shuffle(&mut self.random);
        let items = names.into_iter().map(|name| {
            let ways = ["", " DESC", " NULLS FIRST", " DESC NULLS LAST"];
            format!("{name}{}", ways.choose(&mut self.random).expect("one of four"))
        });
        items.collect::<Vec<String>>().join(", ")
    }

    /// The first rows of a relation, or of its parts.
    fn first(&mut self, relation: &Relation) -> (String, Vec<(String, Kind)>) {
        let mut columns = relation.columns.clone();
        let (name, order) = (&relation.name, self.whole_order(&columns));
        let some = columns.choose(&mut self.random).expect("a column").0.clone();
        let other = columns.choose(&mut self.random).expect("a column").0.clone();
        let (rows, skip) = (self.random.random_range(0..6), self.random.random_range(0..3));
        let query = match self.random.random_range(0..6) {
            0 => format!("SELECT * FROM {name} ORDER BY {order} LIMIT {rows} OFFSET {skip}"),
            5 => format!("SELECT * FROM {name} ORDER BY {order} OFFSET {skip}"),
            1 => format!("SELECT * FROM {name} ORDER BY {order} OFFSET {skip} FETCH NEXT {rows} ROWS ONLY"),
            2 => {
                let others: Vec<_> = columns.iter().filter(|(column, _)| *column != some).cloned().collect();
                let order = [some.clone(), self.whole_order(&others)];
                let order = order.into_iter().filter(|part| !part.is_empty());
                let order = order.collect::<Vec<String>>().join(", ");
                format!("SELECT DISTINCT ON ({some}) * FROM {name} ORDER BY {order}")
            }
            // Ties come whole.
            3 => format!("SELECT * FROM {name} ORDER BY {some} FETCH FIRST {rows} ROWS WITH TIES"),
            _ => {
                let (call, order) = match self.random.random_range(0..3) {
                    0 => ("row_number()", &order),
                    1 => ("rank()", &other),
                    _ => ("dense_rank()", &other),
                };
                columns.push(("place".into(), Kind::Big));
                format!(
                    "SELECT * FROM (SELECT *, {call} OVER (PARTITION BY {some} ORDER BY {order}) AS place FROM {name}) \
                     AS p WHERE place <= {rows}"
                )
            }
        };
        (query, columns)
    }

    /// A relation with a window function.
    fn over(&mut self, relation: &Relation) -> (String, Vec<(String, Kind)>) {
        let mut columns = relation.columns.clone();
        let order = self.whole_order(&columns);
        let exact: Vec<_> = columns
            .iter()
            .filter(|(_, kind)| *kind != Kind::Float)
            .cloned()
            .collect();
        let (column, kind) = exact
            .choose(&mut self.random)
            .cloned()
            .unwrap_or(("0".into(), Kind::Int));
        let rows = self.random.random_range(1..4);
        let (call, result) = match self.random.random_range(0..8) {
            0 => ("row_number()".to_string(), Kind::Big),
            1 => ("dense_rank()".to_string(), Kind::Big),
            2 => (format!("lag({column}, {rows})"), kind),
            3 => (format!("lead({column})"), kind),
            4 => (format!("first_value({column})"), kind),
            5 => (format!("ntile({rows})"), Kind::Int),
            // A window takes neither DISTINCT nor an order within the call.
            _ => loop {
                let call = self.call(&column, kind);
                if !["DISTINCT", "WITHIN GROUP", "ORDER BY"]
                    .iter()
                    .any(|words| call.0.contains(words))
                {
                    break call;
                }
            },
        };
        let by = match self.random.random_bool(0.6) {
            true => format!(
                "PARTITION BY {} ",
                columns.choose(&mut self.random).expect("a column").0
            ),
            false => String::new(),
        };
        let frame = match self.random.random_range(0..6) {
            0 => format!(" ROWS BETWEEN {rows} PRECEDING AND 1 FOLLOWING"),
            1 => format!(" ROWS BETWEEN CURRENT ROW AND {rows} FOLLOWING"),
            2 => " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE CURRENT ROW".to_string(),
            3 => " GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING".to_string(),
            _ => String::new(),
        };
        let query = format!(
            "SELECT *, {call} OVER ({by}ORDER BY {order}{frame}) AS place FROM {}",
            relation.name
        );
        columns.push(("place".into(), result));
        (query, columns)
    }

    fn projection(&mut self, from: &str, columns: &[(String, Kind)], filter: &str) -> (Vec<(String, Kind)>, String) {
        let mut items = Vec::new();
        let mut output = Vec::new();
        for (number, (column, kind)) in columns.iter().enumerate() {
            let name = format!("c{number}");
            let expression = match (kind, self.random.random_range(0..4)) {
                (Kind::Int, 0) => format!("{column} * 2 + 1"),
                (Kind::Int, 1) => format!("coalesce({column}, 0)"),
                (Kind::Int, 2) => format!("CASE WHEN {column} > 1 THEN {column} ELSE -1 END"),
                (Kind::Text, 0) => format!("upper({column} || 'x')"),
                (Kind::Bool, 0) => format!("NOT {column}"),
                (Kind::Numeric, 0) => format!("-{column}"),
                _ => column.clone(),
            };
            items.push(format!("{expression} AS {name}"));
            output.push((name, *kind));
        }
        (output, format!("SELECT {} FROM {from}{filter}", items.join(", ")))
    }

    fn aggregate(
        &mut self,
        from: &str,
        columns: &[(String, Kind)],
        filter: &str,
        windowed: bool,
    ) -> (Vec<(String, Kind)>, String) {
        let mut keys: Vec<(String, Kind)> = Vec::new();
        if windowed {
            keys.push(("window_start".into(), Kind::Time));
            // Of these, the end alone says when they close.
            let ends_differ = from.starts_with("CUMULATE") || from.starts_with("SESSION");
            if ends_differ || self.random.random_bool(0.5) {
                keys.push(("window_end".into(), Kind::Time));
            }
        }
        let others: Vec<_> = columns
            .iter()
            .filter(|(name, _)| !name.starts_with("window_"))
            .collect();
        for _ in 0..self.random.random_range(0..=2) {
            let key = (*others.choose(&mut self.random).expect("a column")).clone();
            if key.1 != Kind::Float && key.1 != Kind::Time && !keys.contains(&key) {
                keys.push(key);
            }
        }
        let mut items: Vec<String> = Vec::new();
        let mut output = Vec::new();
        for (name, kind) in &keys {
            let out = format!("k{}", output.len());
            items.push(format!("{name} AS {out}"));
            output.push((out, *kind));
        }
        for _ in 0..self.random.random_range(1..=4) {
            let (column, kind) = (*others.choose(&mut self.random).expect("a column")).clone();
            let (call, result) = self.call(&column, kind);
            let only = if self.random.random_bool(0.2) {
                format!(" FILTER (WHERE {})", self.condition(columns))
            } else {
                String::new()
            };
            let out = format!("a{}", output.len());
            items.push(format!("{call}{only} AS {out}"));
            output.push((out, result));
        }
        let group = self.grouping(&keys);
        let having = match self.random.random_range(0..6) {
            0 => " HAVING count(*) > 1",
            1 => " HAVING count(*) < 4",
            2 => " HAVING max(k) >= 2",
            _ => "",
        };
        let has_k = columns.iter().any(|(name, kind)| name == "k" && *kind == Kind::Int);
        let having = if having.contains("(k)") && !has_k { "" } else { having };
        (
            output,
            format!("SELECT {} FROM {from}{filter}{group}{having}", items.join(", ")),
        )
    }

    /// GROUP BY keys, or sets of those that are no bounds of windows.
    fn grouping(&mut self, keys: &[(String, Kind)]) -> String {
        let names = keys.iter().map(|(name, _)| name.as_str());
        let (bounds, others): (Vec<&str>, Vec<&str>) = names.partition(|name| name.starts_with("window_"));
        let all = [bounds.as_slice(), others.as_slice()].concat();
        if all.is_empty() {
            return String::new();
        }
        if others.is_empty() || self.random.random_bool(0.7) {
            return format!(" GROUP BY {}", all.join(", "));
        }
        let sets = match self.random.random_range(0..3) {
            0 => format!("ROLLUP ({})", others.join(", ")),
            1 => format!("CUBE ({})", others.join(", ")),
            _ => format!("GROUPING SETS (({}), (), ({}))", others.join(", "), others[0]),
        };
        let parts: Vec<String> = bounds.iter().map(|name| name.to_string()).chain([sets]).collect();
        format!(" GROUP BY {}", parts.join(", "))
    }

    fn call(&mut self, column: &str, kind: Kind) -> (String, Kind) {
        let pick = self.random.random_range(0..10);
        let text = || {
            (
                format!("string_agg({column}::text, ',' ORDER BY {column}::text)"),
                Kind::Text,
            )
        };
        match (kind, pick) {
            // The last digits of floats may differ.
            (Kind::Float, 5..=7 | 9) => (format!("sum({column})"), Kind::Float),
            (_, 5) => (format!("count(DISTINCT {column})"), Kind::Big),
            (Kind::Int, 6) => (format!("sum(DISTINCT {column})"), Kind::Big),
            (Kind::Big | Kind::Numeric, 6) => (format!("sum(DISTINCT {column})"), Kind::Numeric),
            (Kind::Int | Kind::Big, 7) => (format!("bit_xor({column})"), kind),
            (Kind::Int | Kind::Big | Kind::Numeric, 8) => (format!("var_pop({column})"), Kind::Numeric),
            (Kind::Text | Kind::Bool, 6) => (format!("string_agg(DISTINCT {column}::text, ',')"), Kind::Text),
            (_, 6 | 7) => (format!("mode() WITHIN GROUP (ORDER BY {column})"), kind),
            (_, 8) => (
                format!("percentile_disc(0.4) WITHIN GROUP (ORDER BY {column} DESC)"),
                kind,
            ),
            (_, 9) => text(),
            (_, 0) => ("count(*)".into(), Kind::Big),
            (_, 1) => (format!("count({column})"), Kind::Big),
            (Kind::Bool, 2) => (format!("bool_and({column})"), Kind::Bool),
            (Kind::Bool, _) => (format!("bool_or({column})"), Kind::Bool),
            (_, 2) => (format!("min({column})"), kind),
            (Kind::Text | Kind::Time, _) | (_, 3) => (format!("max({column})"), kind),
            // sum and avg of numbers: PostgreSQL's result types.
            (Kind::Int, _) if self.random.random_bool(0.5) => (format!("sum({column})"), Kind::Big),
            (Kind::Float, _) => (format!("sum({column})"), Kind::Float),
            (Kind::Big, _) => (format!("sum({column})"), Kind::Numeric),
            (_, _) if self.random.random_bool(0.5) => (format!("avg({column})"), Kind::Numeric),
            _ => (format!("sum({column})"), Kind::Numeric),
        }
    }

    fn condition(&mut self, columns: &[(String, Kind)]) -> String {
        let (column, kind) = columns.choose(&mut self.random).expect("a column").clone();
        let number = self.random.random_range(-2..4);
        match kind {
            Kind::Int | Kind::Big | Kind::Numeric | Kind::Float => match self.random.random_range(0..4) {
                0 => format!("{column} > {number}"),
                1 => format!("{column} <= {number}"),
                2 => format!("{column} IS NOT NULL"),
                _ => format!("{column} IN (0, 1, {number})"),
            },
            Kind::Text => format!("{column} >= 'b'"),
            Kind::Bool => column,
            Kind::Time => format!(
                "{column} >= TIMESTAMP '2024-01-01 01:00:{:02}'",
                self.random.random_range(0..59)
            ),
        }
    }
}
