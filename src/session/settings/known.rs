//! [`Known`]: a setting as `pg_settings` describes it.
//!
//! One rule: a description is made once, from a line of the table, and never changes.

/// The moment at which a setting may change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SettingContext {
    /// Any session at any time.
    Session,
    /// When a session starts.
    Backend,
    /// With the configuration of the server.
    Reload,
    /// When the server starts.
    Start,
    /// Never.
    Never,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SettingKind {
    Bool,
    Enum,
    Integer,
    Real,
    Text,
}

/// The unit of a setting's number.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Unit {
    Bytes(f64),
    Microseconds(f64),
}

pub struct Known {
    pub name: &'static str,
    /// As `pg_settings` has it.
    pub context_name: &'static str,
    pub context: SettingContext,
    pub kind_name: &'static str,
    pub kind: SettingKind,
    pub unit_name: &'static str,
    pub unit: Option<Unit>,
    /// In the unit, as `pg_settings` has it.
    pub default: &'static str,
    /// As SHOW has it.
    pub default_shown: String,
    pub min: &'static str,
    pub max: &'static str,
    pub values: Vec<&'static str>,
    pub category: &'static str,
    pub description: &'static str,
    /// Not in SHOW ALL and `pg_settings`.
    pub hidden: bool,
    /// Sent to the client when it changes (ParameterStatus).
    pub reported: bool,
}
