//! Rewrites of what clients say into what the planner understands: regclass casts, `OPERATOR(pg_catalog.~)`, and such.
