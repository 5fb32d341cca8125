//! One client's conversation: settings, transaction, prepared statements, cursors; what each statement does.
//!
//! One rule: a session never sees a commit of its own go missing, nor half of anybody's.
