//! The system schemas: `pg_catalog`, `information_schema`, `millstream`, as rows made from values.
