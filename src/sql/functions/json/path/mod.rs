//! Functions and operators that take a path: `jsonb_path_query`, `@?`, `@@` and their kind.
//!
//! One rule: a path is read once for all rows that have the same. Not here: `.datetime()`.

mod item;
mod lexer;
mod method;
mod parser;
mod reader;
mod run;
mod step;
mod tree;
mod truth;
mod written;

use std::rc::Rc;

use arrow::array::ArrayRef;

use self::item::JsonItem;
use self::run::{PathFailure, PathRun, SINGLETON_REQUIRED};
use self::tree::Path;
use super::{JsonCall, JsonReturns, JsonSpec, Takes, invalid, spec};
use crate::error::SqlError;
use crate::types::json::read;

const PATH: &[Takes] = &[Takes::Text, Takes::Text, Takes::Text, Takes::Bool];
const OPERATOR: &[Takes] = &[Takes::Text, Takes::Text];

pub(super) const SPECS: &[JsonSpec] = &[
    spec("jsonpath_in", &[Takes::Text], JsonReturns::Text, read_path),
    spec("jsonb_path_exists", PATH, JsonReturns::Bool, exists).optional(2),
    spec("jsonb_path_exists_tz", PATH, JsonReturns::Bool, exists).optional(2),
    spec("jsonb_path_exists_opr", OPERATOR, JsonReturns::Bool, exists),
    spec("jsonb_path_match", PATH, JsonReturns::Bool, matches).optional(2),
    spec("jsonb_path_match_tz", PATH, JsonReturns::Bool, matches).optional(2),
    spec("jsonb_path_match_opr", OPERATOR, JsonReturns::Bool, matches),
    spec("jsonb_path_query", PATH, JsonReturns::Jsonbs, query).optional(2),
    spec("jsonb_path_query_tz", PATH, JsonReturns::Jsonbs, query).optional(2),
    spec("jsonb_path_query_array", PATH, JsonReturns::Jsonb, query_array).optional(2),
    spec("jsonb_path_query_array_tz", PATH, JsonReturns::Jsonb, query_array).optional(2),
    spec("jsonb_path_query_first", PATH, JsonReturns::Jsonb, query_first).optional(2),
    spec("jsonb_path_query_first_tz", PATH, JsonReturns::Jsonb, query_first).optional(2),
];

/// A path's text as its output function writes it; the error of a text that is no path.
pub fn normal_path(text: &str) -> Result<String, SqlError> {
    Path::parse(text).map(|path| path.text())
}

fn read_path(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    call.make_texts(|row, out| {
        out.push_str(&normal_path(call.text(0, row))?);
        Ok(true)
    })
}

/// The path and the variables of the row before, which mostly are those of the next.
#[derive(Default)]
struct KnownRow {
    path: Option<(String, Path)>,
    variables: Option<(String, Rc<JsonItem>)>,
}

impl KnownRow {
    /// Runs a row's path over its document; `None` if a member is missing, and that is to be silent.
    fn run<T>(
        &mut self,
        call: &JsonCall,
        row: usize,
        work: impl FnOnce(&PathRun) -> Result<T, PathFailure>,
    ) -> Result<Option<T>, SqlError> {
        let text = call.text(1, row);
        if self.path.as_ref().is_none_or(|(known, _)| known != text) {
            self.path = Some((text.to_string(), Path::parse(text)?));
        }
        if call.columns.len() > 2 {
            let text = call.text(2, row);
            if self.variables.as_ref().is_none_or(|(known, _)| known != text) {
                let variables = JsonItem::of_value(read(text)?);
                if !matches!(*variables, JsonItem::Object(_)) {
                    return Err(invalid("\"vars\" argument is not an object")
                        .detail("Jsonpath parameters should be encoded as key-value pairs of \"vars\" object."));
                }
                self.variables = Some((text.to_string(), variables));
            }
        }
        let document = JsonItem::of_value(read(call.text(0, row))?);
        let (_, path) = self.path.as_ref().expect("it was just read");
        let variables = self.variables.as_ref().map(|(_, variables)| variables);
        match work(&PathRun::new(path, &document, variables)) {
            Ok(made) => Ok(Some(made)),
            Err(PathFailure::Missing(_)) if is_silent(call, row) => Ok(None),
            Err(PathFailure::Missing(error) | PathFailure::Fatal(error)) => Err(error),
        }
    }
}

/// Operators are.
fn is_silent(call: &JsonCall, row: usize) -> bool {
    call.name.ends_with("_opr") || call.flag(3, row, false)
}

fn exists(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    let mut known = KnownRow::default();
    call.make_bools(|row| known.run(call, row, |run| run.any()))
}

fn matches(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    let mut known = KnownRow::default();
    call.make_bools(|row| {
        let Some(found) = known.run(call, row, |run| run.all(is_silent(call, row)))? else {
            return Ok(None);
        };
        match found.as_slice() {
            [only] if matches!(**only, JsonItem::Null) => return Ok(None),
            [only] => {
                if let JsonItem::Bool(truth) = **only {
                    return Ok(Some(truth));
                }
            }
            _ => {}
        }
        match is_silent(call, row) {
            true => Ok(None),
            false => Err(SqlError::new(SINGLETON_REQUIRED, "single boolean result is expected")),
        }
    })
}

fn query(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    let mut known = KnownRow::default();
    let mut text = String::new();
    call.make_rows(|row, rows| {
        for item in known
            .run(call, row, |run| run.all(is_silent(call, row)))?
            .unwrap_or_default()
        {
            text.clear();
            item.write(&mut text);
            rows.push(Some(&text))?;
        }
        Ok(())
    })
}

fn query_array(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    let mut known = KnownRow::default();
    call.make_texts(|row, out| {
        out.push('[');
        for item in known
            .run(call, row, |run| run.all(is_silent(call, row)))?
            .unwrap_or_default()
        {
            if out.len() > 1 {
                out.push_str(", ");
            }
            item.write(out);
            call.check_length(out)?;
        }
        out.push(']');
        Ok(true)
    })
}

fn query_first(call: &JsonCall) -> Result<ArrayRef, SqlError> {
    let mut known = KnownRow::default();
    call.make_texts(|row, out| {
        let found = known
            .run(call, row, |run| run.all(is_silent(call, row)))?
            .unwrap_or_default();
        match found.first() {
            Some(first) => first.write(out),
            None => return Ok(false),
        }
        Ok(true)
    })
}
