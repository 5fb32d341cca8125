//! Expressions over one row of a topic: DEFAULT, CHECK, GENERATED, PARTITION BY.
