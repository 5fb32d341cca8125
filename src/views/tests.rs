//! Views over a history held in memory: what the driver and its pipelines promise, on values.
