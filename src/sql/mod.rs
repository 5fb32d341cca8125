//! Text to typed statement, statement to logical plan. Pure: no I/O, no session, no data.
//!
//! One rule: the meaning of a name is decided here, against one catalog snapshot, and nowhere else.

pub mod cell;
pub mod field;
pub mod statement;
pub mod system_columns;

pub mod parse;

pub mod effects;
pub mod returning;
pub mod with;

pub mod asof;
pub mod shared;
pub mod source;
pub mod window;

pub mod analyze;
pub mod error;
pub mod functions;
pub mod plan;
pub mod rows;
