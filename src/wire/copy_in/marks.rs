//! The search for the bytes at which fields may end.
//!
//! One rule: positions come in order, each at most once. Fields are short, so that a call of memchr for each costs more
//! than its look: a block is compared at once, and its marks are remembered as bits.

use wide::u8x16;

/// Positions of two bytes in a line.
pub struct Marks<'a> {
    line: &'a [u8],
    wanted: [u8x16; 2],
    /// Start of the block that is looked at.
    block: usize,
    /// Places in that block that were found and not given yet; the lowest bit is its first.
    found: u32,
    /// Start of the next block.
    next: usize,
}

const BLOCK_BYTES: usize = 16;

impl<'a> Marks<'a> {
    pub fn new(line: &'a [u8], wanted: [u8; 2]) -> Marks<'a> {
        Marks {
            line,
            wanted: wanted.map(u8x16::splat),
            block: 0,
            found: 0,
            next: 0,
        }
    }

    /// Passes over everything before `at`, which is not before the place that was given last.
    pub fn seek(&mut self, at: usize) {
        if at < self.next {
            self.found &= u32::MAX << (at - self.block);
        } else {
            (self.found, self.next) = (0, at);
        }
    }

    /// Looks at blocks until one has a mark, or there is none.
    #[inline(always)]
    fn look(&mut self) {
        while self.found == 0 && self.next < self.line.len() {
            let rest = &self.line[self.next..];
            self.found = match (rest.first_chunk(), self.line.last_chunk()) {
                (Some(block), _) => self.compare(*block),
                // The bytes before the rest have been looked at.
                (None, Some(last)) => self.compare(*last) >> (BLOCK_BYTES - rest.len()),
                (None, None) => {
                    let mut block = [0; BLOCK_BYTES];
                    block[..rest.len()].copy_from_slice(rest);
                    self.compare(block) & !(u32::MAX << rest.len())
                }
            };
            (self.block, self.next) = (self.next, self.next + BLOCK_BYTES);
        }
    }

    /// The places of the wanted bytes, as bits.
    #[inline(always)]
    fn compare(&self, block: [u8; BLOCK_BYTES]) -> u32 {
        let [one, other] = self.wanted.map(|wanted| u8x16::new(block).simd_eq(wanted));
        (one | other).to_bitmask()
    }
}

impl Iterator for Marks<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        self.look();
        if self.found == 0 {
            return None;
        }
        let at = self.block + self.found.trailing_zeros() as usize;
        self.found &= self.found - 1;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_position_is_found_whatever_is_around_it() {
        for length in (0..=40).chain([47, 48, 49, 64, 70]) {
            for step in 1..=length + 1 {
                // 0x80 above a wanted byte, and one beside it, are not it.
                let text: Vec<u8> = (0..length)
                    .map(|at| match at % step {
                        0 => [b',', b'"'][at / step % 2],
                        _ => [b',' | 0x80, b',' + 1, b'"' - 1, 0, 0xff][at % 5],
                    })
                    .collect();
                let expected: Vec<usize> = (0..length).step_by(step).collect();
                assert_eq!(Marks::new(&text, *b",\"").collect::<Vec<_>>(), expected, "{text:?}");
                for from in 0..=length + 2 {
                    let mut marks = Marks::new(&text, *b",\"");
                    let first = marks.next().into_iter().filter(|first| *first >= from);
                    marks.seek(from);
                    let rest: Vec<usize> = first.chain(marks).collect();
                    let expected: Vec<usize> = expected.iter().copied().filter(|at| *at >= from).collect();
                    assert_eq!(rest, expected, "{text:?} from {from}");
                }
            }
        }
    }
}
