//! Bytes as text and back, as PostgreSQL writes and reads them: `encode`, `decode` (hex, base64, escape), and `chr`.
//!
//! One rule: text that is no hex, base64 or escape is 22023 or 22P02 in PostgreSQL's words, naming the character.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, StringBuilder};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::{fail, over_columns, undefined_function};
use crate::error::{SqlError, state};
use crate::stop;
use crate::types::{read_escape, read_hex, write_hex};

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Characters of a line of base64.
const LINE: usize = 76;
/// Bytes between two looks at whether to go on.
const CHUNK: usize = 1 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum EncodingFunction {
    Encode,
    Decode,
    Chr,
}

/// One function per name.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    [
        EncodingFunction::Encode,
        EncodingFunction::Decode,
        EncodingFunction::Chr,
    ]
    .into_iter()
    .map(|function| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::from(Encodings { function, signature }))
    })
    .collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Encodings {
    function: EncodingFunction,
    signature: Signature,
}

impl ScalarUDFImpl for Encodings {
    fn name(&self) -> &str {
        match self.function {
            EncodingFunction::Encode => "encode",
            EncodingFunction::Decode => "decode",
            EncodingFunction::Chr => "chr",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        use DataType::{Binary, Int16, Int32, Int64, Null, Utf8};
        match (self.function, arguments) {
            // A quoted string is read as bytea.
            (EncodingFunction::Encode, [Binary | Utf8 | Null, Utf8 | Null]) => Ok(vec![Binary, Utf8]),
            (EncodingFunction::Decode, [Utf8 | Null, Utf8 | Null]) => Ok(vec![Utf8, Utf8]),
            (EncodingFunction::Chr, [Int16 | Int32 | Int64 | Null]) => Ok(vec![Int64]),
            _ => Err(fail(undefined_function(self.name(), arguments))),
        }
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(match self.function {
            EncodingFunction::Encode | EncodingFunction::Chr => DataType::Utf8,
            EncodingFunction::Decode => DataType::Binary,
        })
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over_columns(&args, |columns, rows| self.evaluate(columns, rows))
    }
}

impl Encodings {
    fn evaluate(&self, columns: &[ArrayRef], rows: usize) -> Result<ArrayRef, SqlError> {
        let is_null = |row| columns.iter().any(|column| column.is_null(row));
        match self.function {
            EncodingFunction::Encode => {
                let (bytes, names) = (columns[0].as_binary::<i32>(), columns[1].as_string::<i32>());
                let mut made = StringBuilder::with_capacity(rows, bytes.values().len() * 2);
                for row in 0..rows {
                    match is_null(row) {
                        true => made.append_null(),
                        false => made.append_value(Encoding::named(names.value(row))?.encode(bytes.value(row))?),
                    }
                }
                Ok(Arc::new(made.finish()))
            }
            EncodingFunction::Decode => {
                let (texts, names) = (columns[0].as_string::<i32>(), columns[1].as_string::<i32>());
                let mut made = BinaryBuilder::with_capacity(rows, texts.values().len());
                for row in 0..rows {
                    match is_null(row) {
                        true => made.append_null(),
                        false => made.append_value(Encoding::named(names.value(row))?.decode(texts.value(row))?),
                    }
                }
                Ok(Arc::new(made.finish()))
            }
            EncodingFunction::Chr => {
                let numbers = columns[0].as_primitive::<Int64Type>();
                let mut made = StringBuilder::with_capacity(rows, rows);
                let mut letter = [0; 4];
                for row in 0..rows {
                    match is_null(row) {
                        true => made.append_null(),
                        false => made.append_value(character(numbers.value(row))?.encode_utf8(&mut letter)),
                    }
                }
                Ok(Arc::new(made.finish()))
            }
        }
    }
}

/// The character of a number.
fn character(number: i64) -> Result<char, SqlError> {
    let refused = |message: String| Err(SqlError::new(state::PROGRAM_LIMIT_EXCEEDED, message));
    match number {
        0 => refused("null character not permitted".to_string()),
        _ if i32::try_from(number).is_err() => Err(crate::sql::error::out_of_range("integer")),
        ..0 => Err(invalid("character number must be positive".to_string())),
        0x11_0000.. => refused(format!("requested character too large for encoding: {number}")),
        _ => match char::from_u32(number as u32) {
            Some(character) => Ok(character),
            None => refused(format!("requested character not valid for encoding: {number}")),
        },
    }
}

fn invalid(message: String) -> SqlError {
    SqlError::new(state::INVALID_PARAMETER_VALUE, message)
}

#[derive(Clone, Copy, Debug)]
enum Encoding {
    Hex,
    Base64,
    Escape,
}

impl Encoding {
    fn named(name: &str) -> Result<Encoding, SqlError> {
        match name.to_ascii_lowercase().as_str() {
            "hex" => Ok(Encoding::Hex),
            "base64" => Ok(Encoding::Base64),
            "escape" => Ok(Encoding::Escape),
            _ => Err(invalid(format!("unrecognized encoding: \"{name}\""))),
        }
    }

    fn encode(self, bytes: &[u8]) -> Result<String, SqlError> {
        let mut text = Vec::with_capacity(bytes.len() * 2);
        // Three bytes are four characters of base64: no chunk but the last ends within them.
        for (at, chunk) in bytes.chunks(CHUNK / 3 * 3).enumerate() {
            stop::check()?;
            match self {
                Encoding::Hex => write_hex(chunk, &mut text),
                Encoding::Base64 => {
                    let before = at * (CHUNK / 3);
                    for (group, three) in chunk.chunks(3).enumerate() {
                        let at = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
                        let bits = at(0) << 16 | at(1) << 8 | at(2);
                        for place in 0..4 {
                            let letter = BASE64[(bits >> (18 - 6 * place) & 63) as usize];
                            text.push(if place <= three.len() { letter } else { b'=' });
                        }
                        if three.len() == 3 && ((before + group + 1) * 4).is_multiple_of(LINE) {
                            text.push(b'\n');
                        }
                    }
                }
                Encoding::Escape => {
                    for byte in chunk {
                        match byte {
                            0 | 0x80.. => {
                                text.push(b'\\');
                                text.extend([6, 3, 0].map(|shift| b'0' + (byte >> shift & 7)));
                            }
                            b'\\' => text.extend(b"\\\\"),
                            byte => text.push(*byte),
                        }
                    }
                }
            }
        }
        Ok(String::from_utf8(text).expect("encodings write ASCII"))
    }

    fn decode(self, text: &str) -> Result<Vec<u8>, SqlError> {
        match self {
            Encoding::Hex => {
                let mut bytes = Vec::with_capacity(text.len() / 2);
                read_hex(text, &mut bytes).map(|()| bytes)
            }
            Encoding::Base64 => decode_base64(text),
            Encoding::Escape => {
                let mut bytes = Vec::with_capacity(text.len());
                read_escape(text.as_bytes(), &mut bytes).map(|()| bytes)
            }
        }
    }
}

/// Characters that may stand between encoded ones.
fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\n' | '\t' | '\r')
}

/// Characters with their places, with a look now and then at whether to go on.
fn characters(text: &str) -> impl Iterator<Item = Result<char, SqlError>> {
    text.chars().enumerate().map(|(at, character)| match at % CHUNK {
        0 => stop::check().map(|()| character),
        _ => Ok(character),
    })
}

fn decode_base64(text: &str) -> Result<Vec<u8>, SqlError> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held, mut last) = (0u32, 0, None);
    for character in characters(text) {
        let character = character?;
        if is_blank(character) {
            continue;
        }
        let value = match character {
            'A'..='Z' => character as u32 - 'A' as u32,
            'a'..='z' => character as u32 - 'a' as u32 + 26,
            '0'..='9' => character as u32 - '0' as u32 + 52,
            '+' => 62,
            '/' => 63,
            '=' => {
                // The number of bytes in the last group.
                if last.is_none() {
                    last = match held {
                        2 => Some(1),
                        3 => Some(2),
                        _ => return Err(invalid("unexpected \"=\" while decoding base64 sequence".to_string())),
                    };
                }
                0
            }
            other => {
                let message = format!("invalid symbol \"{other}\" found while decoding base64 sequence");
                return Err(invalid(message));
            }
        };
        bits = bits << 6 | value;
        held += 1;
        if held == 4 {
            let group = [(bits >> 16) as u8, (bits >> 8) as u8, bits as u8];
            bytes.extend(&group[..last.unwrap_or(3)]);
            (bits, held) = (0, 0);
        }
    }
    if held == 0 {
        return Ok(bytes);
    }
    Err(invalid("invalid base64 end sequence".to_string())
        .hint("Input data is missing padding, is truncated, or is otherwise corrupted."))
}
