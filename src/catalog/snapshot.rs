//! All names at one catalog version, and the step to the next version by a committed change.
//!
//! One rule (C1): [`Snapshot::apply`] is a pure function, and a change that does not fit the snapshot is a broken
//! invariant, not an error: the planner of a DDL checks it first, and the log refuses one planned against an older
//! version. Maps are small (names, not rows), so a version is a copy; definitions are shared by `Arc`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ConsumerGroup, FIRST_USER_OID, FIXED_SCHEMAS, Input, Pinned, Relation, Topic, View, is_system_schema};
use crate::error::{SqlError, state};

/// One catalog change, as the log records it (JSON). Applying a change that does not fit is a broken invariant (C1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    CreateSchema {
        oid: u32,
        name: String,
    },
    DropSchema {
        name: String,
    },
    CreateTopic(Topic),
    /// Replaces the definition with the same OID.
    AlterTopic(Topic),
    CreateView(View),
    /// A relation gets another schema or name.
    Rename {
        oid: u32,
        schema: String,
        name: String,
    },
    /// A column of a view that no view reads; `column` is 1-based.
    RenameViewColumn {
        oid: u32,
        column: u32,
        name: String,
    },
    RenameSchema {
        from: String,
        to: String,
    },
    CreateGroup(ConsumerGroup),
    /// By OID.
    DropGroup {
        oid: u32,
    },
    /// OIDs of topics and views, dependents first.
    Drop {
        oids: Vec<u32>,
    },
    /// `column` is 1-based; 0 is the relation itself. `None` removes the comment.
    Comment {
        oid: u32,
        column: u32,
        text: Option<String>,
    },
}

/// All names at one catalog version. Immutable; cheap to clone by `Arc`.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Number of committed catalog changes (log commits with a `Ddl`).
    pub version: u64,
    /// The next object gets it; a record of several creations uses consecutive ones.
    pub next_oid: u32,
    /// Schema name to OID, the fixed ones included.
    pub schemas: BTreeMap<String, u32>,
    /// By (schema, name).
    pub names: BTreeMap<(String, String), u32>,
    pub relations: BTreeMap<u32, Relation>,
    /// Consumer groups, by (schema, name).
    pub groups: BTreeMap<(String, String), Arc<ConsumerGroup>>,
    /// By (OID, column), column 0 being the relation itself.
    pub comments: BTreeMap<(u32, u32), String>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Snapshot::initial()
    }
}

impl Snapshot {
    /// Version 0: the fixed schemas, and nothing in them.
    pub fn initial() -> Snapshot {
        Snapshot {
            version: 0,
            next_oid: FIRST_USER_OID,
            schemas: FIXED_SCHEMAS
                .iter()
                .map(|(name, oid)| (name.to_string(), *oid))
                .collect(),
            names: BTreeMap::new(),
            relations: BTreeMap::new(),
            groups: BTreeMap::new(),
            comments: BTreeMap::new(),
        }
    }

    /// The next version. All changes of one commit together are one version.
    pub fn apply(&self, changes: &[Change]) -> Snapshot {
        let mut next = self.clone();
        for change in changes {
            next.apply_one(change);
        }
        next.version += 1;
        assert_eq!(
            next.names.len(),
            next.relations.len(),
            "C1: every relation has exactly one name"
        );
        next
    }

    fn apply_one(&mut self, change: &Change) {
        match change {
            Change::CreateSchema { oid, name } => {
                self.take_oid(*oid);
                let previous = self.schemas.insert(name.clone(), *oid);
                assert!(previous.is_none(), "C1: schema {name:?} is created twice");
            }
            Change::DropSchema { name } => {
                assert!(!super::is_fixed_schema(name), "C1: schema {name:?} is fixed");
                assert!(
                    self.relations_in(name).next().is_none(),
                    "C1: schema {name:?} is dropped with relations in it"
                );
                assert!(
                    self.groups_in(name).next().is_none(),
                    "C1: schema {name:?} is dropped with consumer groups in it"
                );
                let oid = self.schemas.remove(name);
                assert!(oid.is_some(), "C1: schema {name:?} to drop is there");
                self.forget_comments(oid.expect("asserted above"));
            }
            Change::CreateTopic(topic) => {
                self.take_oid(topic.oid);
                assert!(topic.partitions > 0, "C1: topic {:?} has no partition", topic.name);
                let mut topic = topic.clone();
                topic.number_columns();
                self.insert(Relation::Topic(Arc::new(topic)));
            }
            Change::AlterTopic(topic) => {
                let Some(Relation::Topic(old)) = self.relations.remove(&topic.oid) else {
                    panic!("C1: topic {} to alter is there", topic.oid);
                };
                assert!(
                    topic.schema_id >= old.schema_id,
                    "C1: a topic's schema id never goes back"
                );
                self.names.remove(&(old.schema.clone(), old.name.clone()));
                self.move_comments(&old, topic);
                self.insert(Relation::Topic(Arc::new(topic.clone())));
            }
            Change::CreateView(view) => {
                self.take_oid(view.oid);
                for oid in &view.depends_on {
                    assert!(
                        *oid < FIRST_USER_OID || self.relations.contains_key(oid),
                        "C1: relation {oid} that view {:?} depends on is there",
                        view.name
                    );
                }
                let mut view = view.clone();
                if view.inputs.is_empty() {
                    // A record from before they were kept: no topic could be altered then.
                    view.inputs = self.inputs_of(&view);
                }
                let named = view.depends_on.iter().filter_map(|oid| self.relations.get(oid));
                view.names = named.map(|relation| (relation.key(), relation.oid())).collect();
                self.insert(Relation::View(Arc::new(view)));
            }
            Change::Rename { oid, schema, name } => {
                let relation = self.take(*oid);
                self.insert(relation.at(schema, name));
            }
            Change::RenameViewColumn { oid, column, name } => {
                let Relation::View(mut view) = self.take(*oid) else {
                    panic!("C1: view {oid} to alter is there");
                };
                Arc::make_mut(&mut view).columns[*column as usize - 1]
                    .name
                    .clone_from(name);
                self.insert(Relation::View(view));
            }
            Change::RenameSchema { from, to } => {
                assert!(!super::is_fixed_schema(from), "C1: schema {from:?} is fixed");
                let oid = self.schemas.remove(from);
                let oid = oid.unwrap_or_else(|| panic!("C1: schema {from:?} to rename is there"));
                let previous = self.schemas.insert(to.clone(), oid);
                assert!(previous.is_none(), "C1: schema {to:?} is free");
                let inside: Vec<u32> = self.relations_in(from).map(Relation::oid).collect();
                for oid in inside {
                    let relation = self.take(oid);
                    let name = relation.name().to_string();
                    self.insert(relation.at(to, &name));
                }
                let inside: Vec<Arc<ConsumerGroup>> = self.groups_in(from).cloned().collect();
                for group in inside {
                    self.groups.remove(&(from.clone(), group.name.clone()));
                    let schema = to.clone();
                    let group = ConsumerGroup {
                        schema: schema.clone(),
                        ..Arc::unwrap_or_clone(group)
                    };
                    self.groups.insert((schema, group.name.clone()), Arc::new(group));
                }
            }
            Change::CreateGroup(group) => {
                self.take_oid(group.oid);
                assert!(
                    self.topic(group.topic).is_some() && self.schemas.contains_key(&group.schema),
                    "C1: topic and schema of consumer group {:?} are there",
                    group.name
                );
                let key = (group.schema.clone(), group.name.clone());
                let previous = self.groups.insert(key, Arc::new(group.clone()));
                assert!(
                    previous.is_none(),
                    "C1: consumer group {:?} is created twice",
                    group.name
                );
            }
            Change::DropGroup { oid } => {
                let before = self.groups.len();
                self.groups.retain(|_, group| group.oid != *oid);
                assert!(self.groups.len() < before, "C1: consumer group {oid} to drop is there");
            }
            Change::Drop { oids } => self.remove(oids),
            Change::Comment { oid, column, text } => {
                let columns = match self.relations.get(oid) {
                    Some(relation) => relation.columns().len(),
                    None if self.schemas.values().any(|schema| schema == oid) => 0,
                    None => panic!("C1: object {oid} to comment on is there"),
                };
                assert!(*column as usize <= columns, "C1: column {column} of {oid} is there");
                match text {
                    Some(text) => self.comments.insert((*oid, *column), text.clone()),
                    None => self.comments.remove(&(*oid, *column)),
                };
            }
        }
    }

    /// OIDs are given in order and never again.
    fn take_oid(&mut self, oid: u32) {
        assert!(
            oid >= self.next_oid,
            "C1: OID {oid} is not used before (next is {})",
            self.next_oid
        );
        self.next_oid = oid.checked_add(1).expect("fewer than 2^32 objects are ever created");
    }

    fn insert(&mut self, relation: Relation) {
        let (schema, name, oid) = (relation.schema(), relation.name(), relation.oid());
        assert!(
            self.schemas.contains_key(schema),
            "C1: schema {schema:?} of {name:?} is there"
        );
        let key = (schema.to_string(), name.to_string());
        let previous = self.names.insert(key, oid);
        assert!(previous.is_none(), "C1: {schema:?}.{name:?} is free");
        let previous = self.relations.insert(oid, relation);
        assert!(previous.is_none(), "C1: OID {oid} is free");
    }

    /// Takes a relation and its name out.
    fn take(&mut self, oid: u32) -> Relation {
        let relation = self.relations.remove(&oid);
        let relation = relation.unwrap_or_else(|| panic!("C1: relation {oid} is there"));
        let named = self.names.remove(&relation.key());
        assert_eq!(named, Some(oid), "C1: the name of {oid} leads to it");
        relation
    }

    fn remove(&mut self, oids: &[u32]) {
        for oid in oids {
            self.take(*oid);
            self.forget_comments(*oid);
            let dependent = self
                .relations
                .values()
                .find(|relation| relation.depends_on().contains(oid));
            assert!(
                dependent.is_none(),
                "C1: relation {oid} is dropped before {:?}, which depends on it",
                dependent.map(Relation::name)
            );
            assert!(
                self.groups.values().all(|group| group.topic != *oid),
                "C1: topic {oid} is dropped with its consumer groups"
            );
        }
    }

    /// The topics among these relations, and those that views among them read.
    pub fn topics_under(&self, relations: &[u32]) -> BTreeSet<u32> {
        let mut topics = BTreeSet::new();
        let (mut seen, mut reached) = (BTreeSet::new(), relations.to_vec());
        while let Some(oid) = reached.pop() {
            match self.relations.get(&oid) {
                Some(Relation::Topic(_)) => drop(topics.insert(oid)),
                Some(Relation::View(view)) if seen.insert(oid) => reached.extend(&view.depends_on),
                _ => {}
            }
        }
        topics
    }

    /// The topics that a view reads, as they are; every column of those that it names may be used.
    fn inputs_of(&self, view: &View) -> BTreeMap<u32, Input> {
        let mut inputs = BTreeMap::new();
        let mut reached: Vec<(u32, bool)> = view.depends_on.iter().map(|oid| (*oid, true)).collect();
        while let Some((oid, is_direct)) = reached.pop() {
            match self.relations.get(&oid) {
                Some(Relation::Topic(topic)) if is_direct || !inputs.contains_key(&oid) => {
                    let used = topic.columns.iter().filter(|_| is_direct).map(|column| column.id);
                    let input = Input {
                        schema_id: topic.schema_id,
                        columns: topic.columns.clone(),
                        used: used.collect(),
                        since_us: None,
                    };
                    inputs.insert(oid, input);
                }
                // Views that are expanded in place are read through.
                Some(Relation::View(through)) if view.materialized && !through.is_maintained() => {
                    reached.extend(through.depends_on.iter().map(|oid| (*oid, false)));
                }
                _ => {}
            }
        }
        inputs
    }

    /// Comments go with their columns.
    fn move_comments(&mut self, old: &Topic, new: &Topic) {
        let moved = std::mem::take(&mut self.comments)
            .into_iter()
            .filter_map(|((oid, column), text)| {
                if oid != new.oid || column == 0 {
                    return Some(((oid, column), text));
                }
                let id = old.columns.get(column as usize - 1)?.id;
                let position = new.columns.iter().position(|column| column.id == id)?;
                let number = u32::try_from(position + 1).expect("a topic has fewer columns");
                Some(((oid, number), text))
            });
        self.comments = moved.collect();
    }

    /// The catalog as the definition of `view` sees it: the relations that it names under the names that they had, topics
    /// with the columns that they had. `None` if that is the catalog as it is.
    pub fn seen_by(&self, view: &View) -> Option<Snapshot> {
        let mut seen: Option<Snapshot> = None;
        for (oid, input) in &view.inputs {
            let Some(topic) = self.topic(*oid) else { continue };
            let pinned = match view.materialized {
                true => Some(Pinned {
                    since_us: Some(input.since_us.unwrap_or(i64::MIN)),
                }),
                // Through a materialized view it is seen as from there.
                false => topic.pinned,
            };
            if topic.schema_id == input.schema_id && topic.pinned == pinned {
                continue;
            }
            let mut topic = Topic::clone(topic);
            if let Some(watermark) = &mut topic.watermark {
                let id = topic.columns.iter().find(|column| column.name == watermark.column);
                let id = id.expect("C1: a topic's watermark column is one of its columns").id;
                let column = input.columns.iter().find(|column| column.id == id);
                watermark.column = column.expect("C1: a watermark column is never dropped").name.clone();
            }
            topic.columns.clone_from(&input.columns);
            topic.schema_id = input.schema_id;
            topic.pinned = pinned.or(Some(Pinned { since_us: None }));
            let seen = seen.get_or_insert_with(|| self.clone());
            seen.relations.insert(*oid, Relation::Topic(Arc::new(topic)));
        }
        if !self.leads_where_it_led(view) {
            let seen = seen.get_or_insert_with(|| self.clone());
            for (key, oid) in &view.names {
                for shadow in view.shadows(key) {
                    seen.names.remove(&shadow);
                }
                seen.names.insert(key.clone(), *oid);
                if let Some(relation) = seen.relations.get(oid).filter(|relation| relation.key() != *key) {
                    let relation = relation.clone().at(&key.0, &key.1);
                    seen.relations.insert(*oid, relation);
                }
            }
        }
        seen
    }

    /// Whether the names in a view's definition still lead to what they led to when the view was made.
    fn leads_where_it_led(&self, view: &View) -> bool {
        view.names.iter().all(|(key, oid)| {
            let mut shadows = view.shadows(key);
            self.names.get(key) == Some(oid) && !shadows.any(|shadow| self.names.contains_key(&shadow))
        })
    }

    fn forget_comments(&mut self, oid: u32) {
        self.comments.retain(|(on, _), _| *on != oid);
    }

    /// The user relation that a name stands for: in `schema`, or else in the first schema of `search_path` that has
    /// it. System relations are looked up by `system::lookup`.
    pub fn resolve(&self, schema: Option<&str>, name: &str, search_path: &[String]) -> Option<&Relation> {
        match schema {
            Some(schema) => self.find(schema, name),
            None => search_path.iter().find_map(|schema| self.find(schema, name)),
        }
    }

    /// The relation of exactly this schema and name.
    pub fn find(&self, schema: &str, name: &str) -> Option<&Relation> {
        let oid = self.names.get(&(schema.to_string(), name.to_string()))?;
        let relation = self.relations.get(oid);
        assert!(
            relation.is_some(),
            "C1: the name {schema:?}.{name:?} leads to a relation"
        );
        relation
    }

    pub fn relation(&self, oid: u32) -> Option<&Relation> {
        self.relations.get(&oid)
    }

    pub fn topic(&self, oid: u32) -> Option<&Arc<Topic>> {
        match self.relations.get(&oid) {
            Some(Relation::Topic(topic)) => Some(topic),
            _ => None,
        }
    }

    pub fn view(&self, oid: u32) -> Option<&Arc<View>> {
        match self.relations.get(&oid) {
            Some(Relation::View(view)) => Some(view),
            _ => None,
        }
    }

    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.relations.values().filter_map(|relation| match relation {
            Relation::Topic(topic) => Some(topic),
            Relation::View(_) => None,
        })
    }

    pub fn views(&self) -> impl Iterator<Item = &Arc<View>> {
        self.relations.values().filter_map(|relation| match relation {
            Relation::View(view) => Some(view),
            Relation::Topic(_) => None,
        })
    }

    /// By name, in order.
    pub fn relations_in(&self, schema: &str) -> impl Iterator<Item = &Relation> {
        self.names
            .range((schema.to_string(), String::new())..)
            .take_while(move |((of, _), _)| of == schema)
            .map(|(_, oid)| &self.relations[oid])
    }

    /// Consumer groups by name, in order.
    pub fn groups_in(&self, schema: &str) -> impl Iterator<Item = &Arc<ConsumerGroup>> {
        self.groups.values().filter(move |group| group.schema == schema)
    }

    /// The consumer group that a name stands for, as [`Snapshot::resolve`] finds relations.
    pub fn resolve_group(
        &self,
        schema: Option<&str>,
        name: &str,
        search_path: &[String],
    ) -> Option<&Arc<ConsumerGroup>> {
        let find = |schema: &str| self.groups.get(&(schema.to_string(), name.to_string()));
        match schema {
            Some(schema) => find(schema),
            None => search_path.iter().find_map(|schema| find(schema)),
        }
    }

    /// OIDs of all views that depend on `oid`, directly or not, each before those that it depends on; without `oid`.
    pub fn dependents(&self, oid: u32) -> Vec<u32> {
        self.dependents_of(&[oid])
    }

    /// As [`Snapshot::dependents`], for several objects; none of `oids` is in the answer.
    pub fn dependents_of(&self, oids: &[u32]) -> Vec<u32> {
        let mut order = self.drop_order(oids);
        order.retain(|oid| !oids.contains(oid));
        order
    }

    /// `oids` and all that depends on them, dependents first: the argument of [`Change::Drop`].
    pub fn drop_order(&self, oids: &[u32]) -> Vec<u32> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for oid in oids {
            self.visit_dependents(*oid, &mut seen, &mut order);
        }
        order
    }

    /// Depth first, pushing an object after all of its dependents. Views can be stacked as deep as a user likes, so
    /// the stack is a vector.
    fn visit_dependents(&self, from: u32, seen: &mut BTreeSet<u32>, order: &mut Vec<u32>) {
        let mut stack = vec![(from, false)];
        while let Some((oid, done)) = stack.pop() {
            if done {
                order.push(oid);
            } else if seen.insert(oid) {
                stack.push((oid, true));
                let direct = self.views().filter(|view| view.depends_on.contains(&oid));
                stack.extend(direct.map(|view| (view.oid, false)));
            }
        }
    }

    /// The schema of a new object: `schema` if given, else the first of `search_path` that exists. 3F000 if there is
    /// none, 42501 if it belongs to the system.
    pub fn create_schema(&self, schema: Option<&str>, search_path: &[String]) -> Result<String, SqlError> {
        let found = match schema {
            Some(schema) if !self.schemas.contains_key(schema) => {
                return Err(SqlError::new(
                    state::INVALID_SCHEMA_NAME,
                    format!("schema \"{schema}\" does not exist"),
                ));
            }
            Some(schema) => schema,
            None => search_path
                .iter()
                .find(|schema| self.schemas.contains_key(*schema))
                .ok_or_else(|| SqlError::new(state::INVALID_SCHEMA_NAME, "no schema has been selected to create in"))?,
        };
        if is_system_schema(found) {
            return Err(SqlError::new(
                state::INSUFFICIENT_PRIVILEGE,
                format!("permission denied for schema {found}"),
            )
            .detail("The system schemas cannot be changed."));
        }
        Ok(found.to_string())
    }

    /// The name of a relation as a message shows it: alone if `search_path` finds it, else with its schema.
    pub fn display_name(&self, relation: &Relation, search_path: &[String]) -> String {
        let seen = self.resolve(None, relation.name(), search_path);
        if seen.is_some_and(|found| found.oid() == relation.oid()) {
            super::quote_ident(relation.name())
        } else {
            super::quote_qualified(relation.schema(), relation.name())
        }
    }
}
