//! Golden plans and tables of names, types and errors.
