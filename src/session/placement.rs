//! ALTER ... RENAME TO, SET SCHEMA, OWNER TO: the name, the schema and the owner of a relation or schema.
//!
//! One rule: what reads a relation goes on with it under its new name, as definitions know relations by their identities.

use super::Session;
use super::outcome::Outcome;
use crate::catalog::system::BUILTIN_ROLE;
use crate::catalog::{Change, Relation, Snapshot, View, is_fixed_schema};
use crate::error::{SqlError, state};
use crate::sql::statement::{Alter, Alteration, ObjectKind, RoleName};
use crate::sql::system_columns::is_system_column;

impl Session {
    pub(super) async fn alter(&mut self, alter: &Alter) -> Result<Outcome, SqlError> {
        self.transaction();
        let catalog = self.catalog();
        let done = Outcome::Command(format!("ALTER {}", alter.kind.word().to_uppercase()));
        let relation = match self.resolve(&catalog, &alter.name) {
            Err(error) if alter.if_exists => {
                self.skipping(
                    format!("relation \"{}\" does not exist, skipping", alter.name.name),
                    error.state,
                );
                return Ok(done);
            }
            found => found?,
        };
        let of_kind = match &relation {
            Relation::Topic(_) => matches!(alter.kind, ObjectKind::Topic | ObjectKind::Table),
            Relation::View(view) if view.materialized => alter.kind == ObjectKind::MaterializedView,
            Relation::View(_) => alter.kind == ObjectKind::View,
        };
        // ALTER TABLE is for the names and owners of all relations.
        let is_placement = alter.actions.iter().all(|action| {
            matches!(
                action,
                Alteration::RenameTo(_)
                    | Alteration::SetSchema(_)
                    | Alteration::OwnerTo(_)
                    | Alteration::RenameColumn { .. }
            )
        });
        if !(of_kind || is_placement && alter.kind == ObjectKind::Table) {
            let kind = match alter.kind {
                ObjectKind::Table => "topic",
                kind => kind.word(),
            };
            return Err(SqlError::new(
                state::WRONG_OBJECT_TYPE,
                format!("\"{}\" is not a {kind}", alter.name.name),
            ));
        }
        match (alter.actions.as_slice(), relation) {
            ([Alteration::RenameTo(name)], relation) => self.rename_relation(&catalog, &relation, name)?,
            ([Alteration::SetSchema(schema)], relation) => self.move_relation(&catalog, &relation, schema)?,
            (actions, Relation::Topic(topic)) => self.alter_topic(alter.kind, &topic, actions).await?,
            (actions, Relation::View(view)) => {
                for action in actions {
                    match action {
                        Alteration::OwnerTo(role) => self.give(role)?,
                        Alteration::RenameColumn { from, to, position } => {
                            self.rename_view_column(&catalog, &view, from, to)
                                .map_err(|error| match error.state {
                                    state::DUPLICATE_COLUMN => error.position(*position),
                                    _ => error,
                                })?;
                        }
                        _ => unreachable!("the other actions are of topics"),
                    }
                }
            }
        }
        Ok(done)
    }

    pub(super) fn alter_schema(&mut self, name: &str, action: &Alteration) -> Result<Outcome, SqlError> {
        self.transaction();
        let catalog = self.catalog();
        let done = Outcome::Command("ALTER SCHEMA".to_string());
        if !catalog.schemas.contains_key(name) {
            let message = format!("schema \"{name}\" does not exist");
            return Err(SqlError::new(state::INVALID_SCHEMA_NAME, message));
        }
        let to = match action {
            Alteration::RenameTo(to) => to,
            Alteration::OwnerTo(role) => {
                self.give(role)?;
                return Ok(done);
            }
            _ => unreachable!("schemas have no other action"),
        };
        if catalog.schemas.contains_key(to) {
            let message = format!("schema \"{to}\" already exists");
            return Err(SqlError::new(state::DUPLICATE_SCHEMA, message));
        }
        super::ddl::check_schema_name(to)?;
        if is_fixed_schema(name) {
            return Err(SqlError::unsupported(
                format!("schema \"{name}\" cannot be renamed"),
                "Create a schema of the new name, and move relations into it by ALTER ... SET SCHEMA.",
            ));
        }
        let change = Change::RenameSchema {
            from: name.to_string(),
            to: to.clone(),
        };
        self.transaction().change(vec![change], Vec::new())?;
        Ok(done)
    }

    fn rename_relation(&mut self, catalog: &Snapshot, relation: &Relation, name: &str) -> Result<(), SqlError> {
        let key = (relation.schema().to_string(), name.to_string());
        if catalog.names.contains_key(&key) {
            let message = format!("relation \"{name}\" already exists");
            return Err(SqlError::new(state::DUPLICATE_TABLE, message));
        }
        self.put_at(relation, key.0, key.1)
    }

    fn move_relation(&mut self, catalog: &Snapshot, relation: &Relation, schema: &str) -> Result<(), SqlError> {
        let schema = catalog.create_schema(Some(schema), &[])?;
        if schema == relation.schema() {
            return Ok(());
        }
        let key = (schema, relation.name().to_string());
        if catalog.names.contains_key(&key) {
            let message = format!("relation \"{}\" already exists in schema \"{}\"", key.1, key.0);
            return Err(SqlError::new(state::DUPLICATE_TABLE, message));
        }
        self.put_at(relation, key.0, key.1)
    }

    fn put_at(&mut self, relation: &Relation, schema: String, name: String) -> Result<(), SqlError> {
        let oid = relation.oid();
        let transaction = self.transaction();
        transaction.change(vec![Change::Rename { oid, schema, name }], Vec::new())?;
        transaction.renamed.push(oid);
        Ok(())
    }

    fn rename_view_column(&mut self, catalog: &Snapshot, view: &View, from: &str, to: &str) -> Result<(), SqlError> {
        let Some(index) = view.columns.iter().position(|column| column.name == from) else {
            let message = format!("column \"{from}\" does not exist");
            return Err(SqlError::new(state::UNDEFINED_COLUMN, message));
        };
        if view.materialized && is_system_column(to) {
            let message = format!("column name \"{to}\" conflicts with a system column name");
            return Err(SqlError::new(state::DUPLICATE_COLUMN, message));
        }
        if view.columns.iter().any(|column| column.name == to) {
            let message = format!("column \"{to}\" of relation \"{}\" already exists", view.name);
            return Err(SqlError::new(state::DUPLICATE_COLUMN, message));
        }
        if !catalog.dependents(view.oid).is_empty() {
            return Err(SqlError::unsupported(
                format!(
                    "a column of view \"{}\" cannot be renamed while other views read it",
                    view.name
                ),
                "Drop these views first, or create a view over it that has the new name.",
            ));
        }
        let change = Change::RenameViewColumn {
            oid: view.oid,
            column: u32::try_from(index + 1).expect("a view has fewer columns"),
            name: to.to_string(),
        };
        self.transaction().change(vec![change], Vec::new())
    }

    /// OWNER TO: everything belongs to one role, and goes on to.
    pub(super) fn give(&mut self, role: &RoleName) -> Result<(), SqlError> {
        let name = match role {
            RoleName::Session => self.user.to_string(),
            RoleName::Named(name) => name.clone(),
        };
        if name != BUILTIN_ROLE && *name != *self.user {
            let message = format!("role \"{name}\" does not exist");
            return Err(SqlError::new(state::UNDEFINED_OBJECT, message));
        }
        if name != BUILTIN_ROLE {
            self.notice(format!(
                "everything belongs to role \"{BUILTIN_ROLE}\", whoever is connected"
            ));
        }
        Ok(())
    }
}
