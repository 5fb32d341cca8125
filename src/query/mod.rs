//! Batch SELECT on DataFusion: binds a plan's relations to what is readable at one LSN, and runs it.
//!
//! One rule: a query reads every relation at the LSN of its read point, and ends.
