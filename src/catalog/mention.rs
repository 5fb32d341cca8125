//! The text of a view's definition under the names that its relations have by now.
//!
//! One rule: a definition is stored as it was written, with the places where it names relations; only a reader of the text
//! needs other names, as the view itself knows its relations by their identities.

use super::{Relation, Snapshot, View, quote_ident, quote_qualified};

impl View {
    /// As it was written, but for relations that have another name or schema by now.
    pub fn definition_as_written(&self, snapshot: &Snapshot) -> String {
        self.with_names(snapshot, |relation, written| {
            let same = self.names.get(&relation.key()) == Some(&relation.oid());
            match same {
                true => written.to_string(),
                false => quote_qualified(relation.schema(), relation.name()),
            }
        })
    }

    /// With the names that lead to its relations along a search path: their schemas where it does not show them.
    pub fn definition_along(&self, snapshot: &Snapshot, search_path: &[String]) -> String {
        self.with_names(snapshot, |relation, _| snapshot.display_name(relation, search_path))
    }

    fn with_names(&self, snapshot: &Snapshot, name: impl Fn(&Relation, &str) -> String) -> String {
        let mut text = String::with_capacity(self.definition.len());
        let mut copied = 0;
        for mention in &self.mentions {
            let relation = snapshot.relation(mention.oid);
            let relation = relation.expect("C1: what a view depends on is there");
            let written = &self.definition[mention.start..mention.end];
            text += &self.definition[copied..mention.start];
            text += &name(relation, written);
            copied = mention.end;
            let mut named = self.names.iter().filter(|(_, oid)| **oid == mention.oid);
            if mention.is_named_by_itself
                && let Some(((_, before), _)) = named.next()
                && before != relation.name()
            {
                // Its columns may be written with the name that it had.
                text += " AS ";
                text += &quote_ident(before);
            }
        }
        text + &self.definition[copied..]
    }
}
