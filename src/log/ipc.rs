//! Arrow IPC from a disk, checked before Arrow's readers trust it.
//!
//! One rule: a good checksum does not make bytes valid. Arrow's readers panic on impossible lengths, types and schemas, and
//! allocate the size that a compressed buffer claims; here both are damage like any other.
//!
//! Not here: the meaning of the columns (`encode`, `encoding`, `segment`).

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::root_as_message;

use crate::panics;

use super::damage::Damage;

/// Most bytes that one compressed byte can become: a block of Zstandard has 4 bytes at least and 128 KiB at most, and
/// LZ4 stays far below.
const EXPANSION_MAX: i64 = 32 << 10;
/// Continuation marker and metadata length.
const PREFIX_BYTES: usize = 8;
/// Bytes before a compressed buffer: its size without compression.
const SIZE_BYTES: usize = 8;

const MALFORMED: Damage = Damage::Contents("Arrow data is malformed");

/// Runs a reader of Arrow's: its panic is damage.
pub fn contained<T>(read: impl FnOnce() -> Result<T, Damage>) -> Result<T, Damage> {
    panics::catch(read).unwrap_or(Err(MALFORMED))
}

/// The one batch of a stream.
pub fn read_stream(mut bytes: Buffer) -> Result<RecordBatch, Damage> {
    let mut rest = bytes.as_slice();
    while let Some(message) = check_message(rest)? {
        rest = message.rest;
    }
    contained(|| {
        let batch = StreamDecoder::new().decode(&mut bytes).ok().flatten();
        batch.ok_or(Damage::Contents("an Arrow stream is unreadable"))
    })
}

/// A message's metadata, and the bytes after the message.
pub struct IpcMessage<'a> {
    pub metadata: &'a [u8],
    rest: &'a [u8],
}

/// Looks at the message that `bytes` begin with. `None` at the end of a stream.
pub fn check_message(bytes: &[u8]) -> Result<Option<IpcMessage<'_>>, Damage> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]) as usize;
    if length == 0 {
        return Ok(None);
    }
    let (metadata, rest) = rest.split_at_checked(length).ok_or(MALFORMED)?;
    let message = root_as_message(metadata).map_err(|_| MALFORMED)?;
    let body = usize::try_from(message.bodyLength()).map_err(|_| MALFORMED)?;
    let (body, after) = rest.split_at_checked(body).ok_or(MALFORMED)?;
    let dictionary = message.header_as_dictionary_batch().and_then(|header| header.data());
    let batch = message.header_as_record_batch().or(dictionary);
    if let Some(batch) = batch.filter(|batch| batch.compression().is_some()) {
        for buffer in batch.buffers().into_iter().flatten() {
            let (start, bytes) = (usize::try_from(buffer.offset()), usize::try_from(buffer.length()));
            let (start, bytes) = (start.map_err(|_| MALFORMED)?, bytes.map_err(|_| MALFORMED)?);
            let compressed = body.get(start..).and_then(|body| body.get(..bytes)).ok_or(MALFORMED)?;
            let size = compressed
                .first_chunk::<SIZE_BYTES>()
                .map_or(0, |size| i64::from_le_bytes(*size));
            if size / EXPANSION_MAX > buffer.length() {
                return Err(Damage::Contents(
                    "a compressed buffer says that it is larger than it can be",
                ));
            }
        }
    }
    Ok(Some(IpcMessage { metadata, rest: after }))
}
