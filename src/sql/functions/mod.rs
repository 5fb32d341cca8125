//! The functions of SQL: PostgreSQL semantics where DataFusion has others.
