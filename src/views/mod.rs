//! Incremental maintenance: a logical plan compiled to a dataflow of operators over weighted deltas.
//!
//! One rule: a view at LSN N equals its defining SELECT run as a batch at N (V1).
