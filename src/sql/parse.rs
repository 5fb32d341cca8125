//! Text to statements: PostgreSQL by `sqlparser`, our own DDL and EMIT by a token-level pass in front of it.
