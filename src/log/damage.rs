//! [`Damage`]: the fault of bytes from a disk that should have been a header, a frame, a block or a segment's column.
//!
//! One rule: a decoder answers with damage and never panics. Not here: the file and the offset that an error names (`error`).

/// A fault of bytes that should have been something else.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Damage {
    #[error("it is not a write-ahead log file")]
    NotAFile,
    #[error("the file header's checksum does not match")]
    FileHeader,
    #[error("format version {0}")]
    NewerVersion(u32),
    #[error("there is no frame")]
    NoFrame,
    #[error("the frame header's checksum does not match")]
    FrameHeader,
    #[error("the frame belongs to another file")]
    Salt,
    #[error("the payload's checksum does not match")]
    Payload,
    #[error("the frame does not follow the one before it")]
    Chain,
    #[error("the contents do not decode: {0}")]
    Contents(&'static str),
}
