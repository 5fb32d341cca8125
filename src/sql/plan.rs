//! Statement to logical plan: name resolution, windows, hidden columns, PostgreSQL output names.
