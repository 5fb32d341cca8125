//! The decoder of a client's data for COPY FROM STDIN, text or csv, into record batches.
//!
//! One rule: the client's cuts of its data into messages change nothing. Lines are found with their quotes and
//! escapes in mind, checked to be UTF-8, and cut into fields that go straight into column builders. Errors name table,
//! line and column as PostgreSQL does. Not here: messages, constraints, the use of the rows.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};

use crate::error::{SqlError, state};
use crate::sql::statement::{CopyFormat, CopyKind};
use crate::types::{ColumnBuilder, PgType, TextStyle, utf8};

mod marks;

use marks::Marks;

/// Rows at which a batch is handed over.
const ROWS_MAX: usize = 64 << 10;
/// Bytes of values at which a batch is handed over.
const BYTES_MAX: usize = 8 << 20;
/// Rows that a new batch has room for.
const ROWS_FORESEEN: usize = 1 << 10;
/// PostgreSQL's limit for one line.
const LINE_BYTES_MAX: usize = 0x3fff_ffff;

/// A COPY FROM STDIN in progress.
pub(super) struct CopyDecoder {
    table: String,
    format: CopyFormat,
    columns: Vec<CopyColumn>,
    schema: SchemaRef,
    /// Bytes that do not make a whole line yet.
    pending: Vec<u8>,
    scanner: Scanner,
    /// Lines taken so far, those inside quotes included; the current one while a row is decoded.
    line: u64,
    rows: usize,
    header: bool,
    /// `\.` was seen: the rest is ignored.
    ended: bool,
    /// The current field without its escapes and quotes.
    scratch: Vec<u8>,
}

struct CopyColumn {
    name: String,
    builder: ColumnBuilder,
    /// csv: an unquoted NULL string is text.
    not_null: bool,
    /// csv: a quoted NULL string is NULL.
    null_quoted: bool,
}

impl CopyDecoder {
    pub fn new(table: &str, columns: &[(String, PgType)], format: &CopyFormat, style: &TextStyle) -> CopyDecoder {
        let fields: Vec<_> = columns
            .iter()
            .map(|(name, pg_type)| pg_type.field(name, true))
            .collect();
        let columns = columns.iter().map(|(name, pg_type)| CopyColumn {
            builder: ColumnBuilder::new(pg_type, ROWS_FORESEEN).with_time_zone(style.time_zone),
            not_null: format.force_not_null.contains(name),
            null_quoted: format.force_null.contains(name),
            name: name.clone(),
        });
        CopyDecoder {
            table: table.to_string(),
            columns: columns.collect(),
            schema: Arc::new(Schema::new(fields)),
            pending: Vec::new(),
            scanner: Scanner::new(format),
            line: 0,
            rows: 0,
            header: format.header || format.header_match,
            ended: false,
            scratch: Vec::new(),
            format: format.clone(),
        }
    }

    /// Takes the next bytes. A batch comes back when enough rows are complete.
    pub fn push(&mut self, data: &[u8]) -> Result<Option<RecordBatch>, SqlError> {
        if self.ended {
            return Ok(None);
        }
        let mut pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            let taken = self.take_lines(data, false)?;
            pending.extend_from_slice(&data[taken..]);
        } else {
            pending.extend_from_slice(data);
            let taken = self.take_lines(&pending, false)?;
            pending.drain(..taken);
        }
        self.pending = pending;
        if self.pending.len() > LINE_BYTES_MAX {
            let line = self.line + 1;
            return Err(
                SqlError::new(state::PROGRAM_LIMIT_EXCEEDED, "a line of COPY data is too long")
                    .detail(format!("A line may have at most {LINE_BYTES_MAX} bytes."))
                    .context(format!("COPY {}, line {line}", self.table)),
            );
        }
        let bytes: usize = self.columns.iter().map(|column| column.builder.bytes()).sum();
        if self.rows >= ROWS_MAX || bytes >= BYTES_MAX {
            return Ok(Some(self.batch()));
        }
        Ok(None)
    }

    /// Bytes of the row that has begun and is not whole yet.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// All data has come: the last line may lack its end. The rows that were not handed over yet.
    pub fn finish(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        if !self.ended {
            let pending = std::mem::take(&mut self.pending);
            self.take_lines(&pending, true)?;
        }
        Ok((self.rows > 0).then(|| self.batch()))
    }

    fn batch(&mut self) -> RecordBatch {
        let columns = self.columns.iter_mut().map(|column| column.builder.finish()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .expect("each row appended one value to each column")
    }

    /// Decodes the whole lines of `text`; with `last` the rest is a line too. Returns the bytes that they take.
    fn take_lines(&mut self, text: &[u8], last: bool) -> Result<usize, SqlError> {
        let mut valid = None;
        let mut start = 0;
        while !self.ended && start < text.len() {
            let found = match self.scanner.end_of_line(&text[start..], last) {
                Ok(found) => found,
                Err(error) => {
                    self.line += self.scanner.newlines + 1;
                    return Err(self.at_line(error, None));
                }
            };
            let Some(found) = found else { break };
            self.line += found.newlines + 1;
            let end = start + found.length;
            // Most data is valid: look at all whole lines at once, and at each alone only to say which one is not. Not
            // before one is whole: a line that comes in a thousand pieces is looked at once.
            let valid = valid.get_or_insert_with(|| {
                let whole = match last {
                    true => text.len(),
                    false => memchr::memrchr2(b'\n', b'\r', text).map_or(0, |at| at + 1),
                };
                std::str::from_utf8(&text[..whole]).ok()
            });
            let line = match *valid {
                Some(text) if end <= text.len() => &text[start..end],
                _ => utf8(&text[start..end]).map_err(|error| self.at_line(error, None))?,
            };
            self.take_line(line)?;
            start += found.length + found.terminator;
        }
        Ok(start)
    }

    fn take_line(&mut self, line: &str) -> Result<(), SqlError> {
        const END: &str = "\\.";
        if line == END {
            self.ended = true;
            return Ok(());
        }
        if self.header {
            self.header = false;
            return if self.format.header_match {
                self.match_header(line)
            } else {
                Ok(())
            };
        }
        if self.format.kind == CopyKind::Csv {
            self.csv_row(line)?
        } else {
            self.text_row(line)?
        }
        self.rows += 1;
        Ok(())
    }

    fn text_row(&mut self, line: &str) -> Result<(), SqlError> {
        let mut fields = TextFields::new(&self.format, line);
        for index in 0..self.columns.len() {
            let Some(TextField { start, end, escaped }) = fields.next() else {
                return Err(self.missing(index, line));
            };
            let field = &line[start..end];
            if field == self.format.null {
                self.columns[index].builder.append_null();
                continue;
            }
            if escaped {
                let mut field = field;
                match end_mark(field.as_bytes()) {
                    None => {}
                    // The row before it is one.
                    Some(at) if start + at + 2 == line.len() => {
                        field = &field[..at];
                        self.ended = true;
                    }
                    Some(_) => {
                        let corrupt = SqlError::new(state::BAD_COPY_FILE_FORMAT, "end-of-copy marker corrupt");
                        return Err(self.at_line(corrupt, None));
                    }
                }
                self.scratch.clear();
                unescape(field.as_bytes(), &mut self.scratch);
                let scratch = std::mem::take(&mut self.scratch);
                let appended = utf8(&scratch)
                    .map_err(|error| self.at_line(error, Some(line)))
                    .and_then(|text| self.append(index, text));
                self.scratch = scratch;
                appended?;
            } else {
                self.append(index, field)?;
            }
        }
        // A topic without columns has empty lines.
        if fields.next().is_some() && !(self.columns.is_empty() && line.is_empty()) {
            return Err(self.extra(line));
        }
        Ok(())
    }

    fn csv_row(&mut self, line: &str) -> Result<(), SqlError> {
        let mut fields = CsvFields::new(&self.format, line);
        let mut scratch = std::mem::take(&mut self.scratch);
        for index in 0..self.columns.len() {
            scratch.clear();
            let Some(field) = fields.next(&mut scratch) else {
                return Err(self.missing(index, line));
            };
            let text = match field.plain {
                Some((start, end)) => &line[start..end],
                None => std::str::from_utf8(&scratch).expect("cut from UTF-8 at ASCII bytes"),
            };
            let column = &self.columns[index];
            let is_null = text == self.format.null
                && if field.quoted {
                    column.null_quoted
                } else {
                    !column.not_null
                };
            if is_null {
                self.columns[index].builder.append_null();
            } else {
                self.append(index, text)?;
            }
        }
        let more = fields.at.is_some();
        self.scratch = scratch;
        if more && !(self.columns.is_empty() && line.is_empty()) {
            return Err(self.extra(line));
        }
        Ok(())
    }

    #[inline]
    fn append(&mut self, index: usize, text: &str) -> Result<(), SqlError> {
        match self.columns[index].builder.append_text(text) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.at_column(error, index, text)),
        }
    }

    /// HEADER MATCH: the first line names the columns.
    fn match_header(&self, line: &str) -> Result<(), SqlError> {
        let mut names: Vec<Option<String>> = Vec::new();
        if self.format.kind == CopyKind::Csv {
            let mut fields = CsvFields::new(&self.format, line);
            let mut scratch = Vec::new();
            while let Some(field) = fields.next(&mut scratch) {
                let text = match field.plain {
                    Some((start, end)) => line[start..end].to_string(),
                    None => String::from_utf8_lossy(&scratch).into_owned(),
                };
                names.push((field.quoted || text != self.format.null).then_some(text));
                scratch.clear();
            }
        } else {
            let mut fields = TextFields::new(&self.format, line);
            while let Some(TextField { start, end, .. }) = fields.next() {
                let field = &line[start..end];
                let mut name = Vec::new();
                unescape(field.as_bytes(), &mut name);
                names.push((field != self.format.null).then(|| String::from_utf8_lossy(&name).into_owned()));
            }
        }
        let refuse = |message: String| self.at_line(SqlError::new(state::BAD_COPY_FILE_FORMAT, message), Some(line));
        if names.len() != self.columns.len() {
            return Err(refuse(format!(
                "wrong number of fields in header line: got {}, expected {}",
                names.len(),
                self.columns.len()
            )));
        }
        for (index, (name, column)) in names.iter().zip(&self.columns).enumerate() {
            let (number, expected) = (index + 1, &column.name);
            match name {
                Some(name) if name == expected => {}
                Some(name) => {
                    return Err(refuse(format!(
                        "column name mismatch in header line field {number}: got \"{name}\", expected \"{expected}\""
                    )));
                }
                None => {
                    return Err(refuse(format!(
                        "column name mismatch in header line field {number}: got null value (\"{}\"), expected \
                         \"{expected}\"",
                        self.format.null
                    )));
                }
            }
        }
        Ok(())
    }

    fn missing(&self, index: usize, line: &str) -> SqlError {
        let name = &self.columns[index].name;
        self.at_line(
            SqlError::new(
                state::BAD_COPY_FILE_FORMAT,
                format!("missing data for column \"{name}\""),
            ),
            Some(line),
        )
    }

    fn extra(&self, line: &str) -> SqlError {
        self.at_line(
            SqlError::new(state::BAD_COPY_FILE_FORMAT, "extra data after last expected column"),
            Some(line),
        )
    }

    /// `COPY t, line 3: "..."`, without the text where it cannot be shown.
    #[cold]
    fn at_line(&self, error: SqlError, text: Option<&str>) -> SqlError {
        let place = format!("COPY {}, line {}", self.table, self.line);
        error.context(match text {
            Some(text) => format!("{place}: \"{}\"", shown(text)),
            None => place,
        })
    }

    #[cold]
    fn at_column(&self, error: SqlError, index: usize, text: &str) -> SqlError {
        let place = format!(
            "COPY {}, line {}, column {}: \"{}\"",
            self.table,
            self.line,
            self.columns[index].name,
            shown(text)
        );
        match error.context.clone() {
            // The type's own context comes first, as it is the inner one.
            Some(inner) => error.context(format!("{inner}\n{place}")),
            None => error.context(place),
        }
    }
}

/// A value as a CONTEXT line shows it.
fn shown(text: &str) -> String {
    const BYTES: usize = 100;
    if text.len() <= BYTES {
        return text.to_string();
    }
    format!("{}...", &text[..text.floor_char_boundary(BYTES)])
}

/// The end of lines, as the first one had it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LineEnd {
    Unknown,
    Newline,
    Return,
    ReturnNewline,
}

struct FoundLine {
    /// Bytes without the terminator.
    length: usize,
    terminator: usize,
    /// Line ends inside quotes.
    newlines: u64,
}

/// Finds the end of a line, and remembers the part that it has searched.
struct Scanner {
    csv: bool,
    quote: u8,
    escape: u8,
    end: LineEnd,
    /// Bytes of the current line that were looked at.
    at: usize,
    in_quotes: bool,
    newlines: u64,
}

impl Scanner {
    fn new(format: &CopyFormat) -> Scanner {
        Scanner {
            csv: format.kind == CopyKind::Csv,
            quote: format.quote,
            escape: format.escape,
            end: LineEnd::Unknown,
            at: 0,
            in_quotes: false,
            newlines: 0,
        }
    }

    /// `text` starts where the line starts. `None`: more is needed, unless this is the `last` of it.
    fn end_of_line(&mut self, text: &[u8], last: bool) -> Result<Option<FoundLine>, SqlError> {
        while let Some(offset) = self.next_special(&text[self.at..]) {
            let at = self.at + offset;
            let byte = text[at];
            if self.csv {
                if self.in_quotes {
                    if byte == self.escape && self.escape != self.quote {
                        // The escaped byte may be cut off; then look at the escape again.
                        if at + 1 == text.len() {
                            self.at = at;
                            break;
                        }
                        let escapes = text[at + 1] == self.quote || text[at + 1] == self.escape;
                        self.at = at + 1 + usize::from(escapes);
                        continue;
                    }
                    if byte == self.quote {
                        self.in_quotes = false;
                    } else if byte == if self.end == LineEnd::Newline { b'\n' } else { b'\r' } {
                        self.newlines += 1;
                    }
                    self.at = at + 1;
                    continue;
                }
                if byte == self.quote {
                    self.in_quotes = true;
                    self.at = at + 1;
                    continue;
                }
                if !matches!(byte, b'\n' | b'\r') {
                    self.at = at + 1;
                    continue;
                }
            } else if byte == b'\\' {
                if at + 1 == text.len() {
                    self.at = at;
                    break;
                }
                self.at = at + 2;
                continue;
            }
            // A line end outside quotes and escapes.
            let terminator = if byte == b'\n' {
                match self.end {
                    LineEnd::Unknown => self.end = LineEnd::Newline,
                    LineEnd::Newline => {}
                    LineEnd::Return | LineEnd::ReturnNewline => return Err(self.stray("newline", "\\n")),
                }
                1
            } else {
                if at + 1 == text.len() && !last && self.end != LineEnd::Return {
                    self.at = at;
                    return Ok(None);
                }
                let newline_follows = text.get(at + 1) == Some(&b'\n');
                match self.end {
                    LineEnd::Unknown => {
                        self.end = if newline_follows {
                            LineEnd::ReturnNewline
                        } else {
                            LineEnd::Return
                        };
                    }
                    LineEnd::Return => {}
                    LineEnd::ReturnNewline if newline_follows => {}
                    LineEnd::Newline | LineEnd::ReturnNewline => return Err(self.stray("carriage return", "\\r")),
                }
                if self.end == LineEnd::ReturnNewline { 2 } else { 1 }
            };
            return Ok(Some(self.found(at, terminator)));
        }
        if !last {
            self.at = self.at.max(self.safe(text));
            return Ok(None);
        }
        if self.in_quotes {
            return Err(SqlError::new(
                state::BAD_COPY_FILE_FORMAT,
                "unterminated CSV quoted field",
            ));
        }
        Ok((!text.is_empty()).then(|| self.found(text.len(), 0)))
    }

    fn found(&mut self, length: usize, terminator: usize) -> FoundLine {
        self.at = 0;
        FoundLine {
            length,
            terminator,
            newlines: std::mem::take(&mut self.newlines),
        }
    }

    /// The length of `text` that needs no second look: to its end, or to an escape whose other half has not come.
    fn safe(&self, text: &[u8]) -> usize {
        let is_open = match text.last() {
            Some(byte) if self.csv => self.in_quotes && *byte == self.escape && self.escape != self.quote,
            Some(byte) => *byte == b'\\',
            None => false,
        };
        if is_open && self.at < text.len() {
            self.at
        } else {
            text.len()
        }
    }

    /// Offset of the next byte that may matter.
    fn next_special(&self, text: &[u8]) -> Option<usize> {
        if !self.csv {
            memchr::memchr3(b'\n', b'\r', b'\\', text)
        } else if self.escape == self.quote {
            memchr::memchr3(b'\n', b'\r', self.quote, text)
        } else {
            text.iter().position(|byte| {
                *byte == b'\n' || *byte == b'\r' || *byte == self.quote || (self.in_quotes && *byte == self.escape)
            })
        }
    }

    fn stray(&self, what: &str, escape: &str) -> SqlError {
        if self.csv {
            SqlError::new(state::BAD_COPY_FILE_FORMAT, format!("unquoted {what} found in data"))
                .hint(format!("Use quoted CSV field to represent {what}."))
        } else {
            SqlError::new(state::BAD_COPY_FILE_FORMAT, format!("literal {what} found in data"))
                .hint(format!("Use \"{escape}\" to represent {what}."))
        }
    }
}

/// A field of a line in text format.
struct TextField {
    start: usize,
    end: usize,
    /// There is a backslash in it.
    escaped: bool,
}

/// The fields of a line in text format, as ranges; escapes still in them.
struct TextFields<'a> {
    bytes: &'a [u8],
    /// Delimiters and backslashes.
    marks: Marks<'a>,
    /// The start of the next field; `None` after the last.
    at: Option<usize>,
}

impl<'a> TextFields<'a> {
    fn new(format: &CopyFormat, line: &'a str) -> TextFields<'a> {
        let bytes = line.as_bytes();
        TextFields {
            bytes,
            marks: Marks::new(bytes, [format.delimiter, b'\\']),
            at: Some(0),
        }
    }

    #[inline]
    fn next(&mut self) -> Option<TextField> {
        let start = self.at?;
        let mut escaped = false;
        self.at = None;
        while let Some(at) = self.marks.next() {
            if self.bytes[at] != b'\\' {
                self.at = Some(at + 1);
                break;
            }
            // An escaped delimiter is data.
            escaped = true;
            self.marks.seek(at + 2);
        }
        let end = self.at.map_or(self.bytes.len(), |next| next - 1);
        Some(TextField { start, end, escaped })
    }
}

struct CsvField {
    /// The field's range in the line, if it needs no change; else it is in the scratch buffer.
    plain: Option<(usize, usize)>,
    quoted: bool,
}

/// The fields of a line in csv format.
struct CsvFields<'a> {
    bytes: &'a [u8],
    /// Delimiters and quotes.
    marks: Marks<'a>,
    /// The start of the next field; `None` after the last.
    at: Option<usize>,
    quote: u8,
    escape: u8,
}

impl<'a> CsvFields<'a> {
    fn new(format: &CopyFormat, line: &'a str) -> CsvFields<'a> {
        let bytes = line.as_bytes();
        CsvFields {
            bytes,
            marks: Marks::new(bytes, [format.delimiter, format.quote]),
            at: Some(0),
            quote: format.quote,
            escape: format.escape,
        }
    }

    /// `scratch` is empty.
    #[inline]
    fn next(&mut self, scratch: &mut Vec<u8>) -> Option<CsvField> {
        let start = self.at?;
        let mut from = start;
        let mut quoted = false;
        self.at = None;
        while let Some(at) = self.marks.next() {
            if self.bytes[at] != self.quote {
                self.at = Some(at + 1);
                break;
            }
            scratch.extend_from_slice(&self.bytes[from..at]);
            quoted = true;
            from = self.unquote(at + 1, scratch);
            self.marks.seek(from);
        }
        let end = self.at.map_or(self.bytes.len(), |next| next - 1);
        if !quoted {
            return Some(CsvField {
                plain: Some((start, end)),
                quoted,
            });
        }
        scratch.extend_from_slice(&self.bytes[from..end]);
        Some(CsvField { plain: None, quoted })
    }

    /// Takes the text inside quotes, to the quote that is not escaped; the scanner has seen that there is one. Returns
    /// the place behind it.
    fn unquote(&self, mut from: usize, scratch: &mut Vec<u8>) -> usize {
        let (bytes, quote, escape) = (self.bytes, self.quote, self.escape);
        while let Some(offset) = memchr::memchr2(quote, escape, &bytes[from..]) {
            let at = from + offset;
            scratch.extend_from_slice(&bytes[from..at]);
            let next = bytes.get(at + 1);
            if bytes[at] == escape && next.is_some_and(|next| *next == quote || *next == escape) {
                scratch.push(bytes[at + 1]);
                from = at + 2;
            } else if bytes[at] == quote {
                return at + 1;
            } else {
                scratch.push(escape);
                from = at + 1;
            }
        }
        from
    }
}

/// The place of `\.` in a field, unless the backslash is escaped.
fn end_mark(field: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(offset) = memchr::memchr(b'\\', &field[at..]) {
        at += offset;
        if field.get(at + 1) == Some(&b'.') {
            return Some(at);
        }
        at += 2;
        if at > field.len() {
            return None;
        }
    }
    None
}

/// Text format's backslash sequences.
fn unescape(field: &[u8], out: &mut Vec<u8>) {
    let octal = |byte: Option<&u8>| byte.filter(|byte| matches!(byte, b'0'..=b'7')).map(|byte| byte - b'0');
    let hex = |byte: Option<&u8>| {
        byte.and_then(|byte| char::from(*byte).to_digit(16))
            .map(|digit| digit as u8)
    };
    let mut at = 0;
    while let Some(offset) = memchr::memchr(b'\\', &field[at..]) {
        out.extend_from_slice(&field[at..at + offset]);
        at += offset + 1;
        let Some(byte) = field.get(at) else {
            // A backslash before nothing is nothing.
            return;
        };
        at += 1;
        match byte {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            b'0'..=b'7' => {
                let mut value = byte - b'0';
                for _ in 0..2 {
                    let Some(digit) = octal(field.get(at)) else { break };
                    value = (value << 3) | digit;
                    at += 1;
                }
                out.push(value);
            }
            b'x' if hex(field.get(at)).is_some() => {
                let mut value = 0;
                for _ in 0..2 {
                    let Some(digit) = hex(field.get(at)) else { break };
                    value = (value << 4) | digit;
                    at += 1;
                }
                out.push(value);
            }
            other => out.push(*other),
        }
    }
    out.extend_from_slice(&field[at..]);
}

#[cfg(test)]
mod tests;
