//! The difference between an unfinished write and damage, at an invalid frame at the end of the log.
//!
//! One rule: no crash causes the damage that is found here. The log zeroes and syncs a file before it writes to it, and a
//! disk writes a sector whole or not at all: each sector of a group that was cut off is right or zeros. An invalid frame
//! without a missing sector was written whole, and has changed since.
//!
//! A frame may have sectors that are zeros by themselves. If a single bit of it is wrong, the checksum says so:
//! no other bit of 64 KiB makes the same difference, and a cut makes it once in 8,000 times.
//!
//! Not here: the cut and the error (`recovery`).

use super::damage::Damage;
use super::frame::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameHeader, FrameKind};

/// Bytes that a disk writes whole or not at all, at least.
pub const SECTOR_BYTES: usize = 512;
/// In a longer payload an unfinished write may look like one bit that is wrong.
const FLIP_BYTES_MAX: usize = 64 << 10;

/// Whether the frame at `offset` of a file with that salt, found invalid by `damage`, was written as a whole and is
/// damaged. Else it may have been cut off.
pub fn is_damaged(content: &[u8], offset: usize, salt: u64, damage: Damage) -> bool {
    let head = offset..offset + FRAME_HEADER_BYTES;
    match damage {
        Damage::NoFrame => false,
        Damage::FrameHeader => !has_missing_sector(content, head.start, head.end) && !is_blank(content, head.start),
        Damage::Payload => {
            let Some(header) = content.get(offset..).map(|head| FrameHeader::decode(head, salt)) else {
                return false;
            };
            // Its header is whole, as the damage says.
            let Ok((header, _)) = header else { return false };
            let end = head.end + (header.payload_bytes as usize).min(FRAME_BYTES_MAX);
            if !has_missing_sector(content, offset, end) {
                return true;
            }
            content
                .get(head.end..end)
                .is_some_and(|payload| payload.len() <= FLIP_BYTES_MAX && is_flipped(payload, header.payload_crc))
        }
        // All of it was written, and it belongs elsewhere or cannot be read.
        _ => true,
    }
}

/// Whether the frame at `offset` is a seal but for one bit: with it nothing is lost.
pub fn was_seal(content: &[u8], offset: usize, salt: u64) -> bool {
    let Some(head) = content.get(offset..offset + FRAME_HEADER_BYTES) else {
        return false;
    };
    let mut head = head.to_vec();
    (0..head.len() * 8).any(|bit| {
        head[bit / 8] ^= 1 << (bit % 8);
        let mended = FrameHeader::decode(&head, salt);
        head[bit / 8] ^= 1 << (bit % 8);
        mended.is_ok_and(|(header, _)| header.kind == FrameKind::Seal && header.group_offset == offset as u64)
    })
}

/// Whether a sector of these bytes is missing, or has nothing but zeros.
fn has_missing_sector(content: &[u8], start: usize, end: usize) -> bool {
    if end > content.len() {
        return true;
    }
    let first = start - start % SECTOR_BYTES;
    let end = end.next_multiple_of(SECTOR_BYTES).min(content.len());
    content[first..end]
        .chunks(SECTOR_BYTES)
        .any(|sector| sector.iter().all(|byte| *byte == 0))
}

/// Whether the sector at `at` has nothing but one bit, which came to be where nothing was written.
fn is_blank(content: &[u8], at: usize) -> bool {
    let first = at - at % SECTOR_BYTES;
    let sector = &content[first..(first + SECTOR_BYTES).min(content.len())];
    sector.iter().map(|byte| byte.count_ones()).sum::<u32>() <= 1
}

/// Whether bytes whose checksum should be `crc` have one bit that is wrong, or that checksum has.
fn is_flipped(bytes: &[u8], crc: u32) -> bool {
    let difference = crc32c::crc32c(bytes) ^ crc;
    if difference.count_ones() == 1 {
        return true;
    }
    // The effect of one bit does not depend on the others: that of the last bit, then of each before it.
    let mut change: u32 = 1;
    for _ in 0..bytes.len() * 8 {
        // One bit further from the end: the register takes one step of the polynomial (reflected).
        change = (change >> 1) ^ if change & 1 == 1 { 0x82f6_3b78 } else { 0 };
        if change == difference {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn one_wrong_bit_is_seen_by_the_checksum() {
        let mut random = StdRng::seed_from_u64(1);
        for length in [1, 2, 80, 511, 4096, 40_000] {
            let mut bytes: Vec<u8> = (0..length).map(|_| random.random()).collect();
            let crc = crc32c::crc32c(&bytes);
            for bit in [
                0,
                1,
                7,
                length * 8 - 1,
                length * 8 - 8,
                random.random_range(0..length * 8),
            ] {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(is_flipped(&bytes, crc), "bit {bit} of {length} bytes");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            assert!(is_flipped(&bytes, crc ^ 1 << 20));
        }
        // A missing sector makes another difference, but for one time in 130,000 here.
        for _ in 0..200 {
            let mut bytes: Vec<u8> = (0..4096).map(|_| random.random()).collect();
            let crc = crc32c::crc32c(&bytes);
            let sector = random.random_range(0..8) * SECTOR_BYTES;
            bytes[sector..sector + SECTOR_BYTES].fill(0);
            assert!(!is_flipped(&bytes, crc));
        }
    }
}
