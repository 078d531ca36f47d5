//! Lengths in the encoding DELTA_BINARY_PACKED, as far as they say how much memory they ask for.

use super::page_header::{varint, zigzag};

/// What a run of lengths comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lengths {
    /// Their sum.
    pub sum: u64,
    /// The first byte behind them.
    pub end: usize,
}

impl Lengths {
    /// Reads the lengths at the beginning of `bytes`, which are at most `most`; none where that is not so, or one is negative.
    pub(super) fn read(bytes: &[u8], most: u64) -> Option<Self> {
        let mut rest = bytes;
        let (block, miniblocks, count) = (varint(&mut rest).ok()?, varint(&mut rest).ok()?, varint(&mut rest).ok()?);
        let mut value = zigzag(&mut rest).ok()? as i32;
        let miniblocks = usize::try_from(miniblocks).ok().filter(|&miniblocks| miniblocks > 0)?;
        let size = usize::try_from(block).ok()? / miniblocks;
        if size == 0 || !size.is_multiple_of(32) || count > most {
            return None;
        }
        let (mut sum, mut left) = (0u64, count);
        let mut add = |value: i32, left: &mut u64| {
            sum = sum.checked_add(u64::try_from(value).ok()?)?;
            *left -= 1;
            Some(())
        };
        if left > 0 {
            add(value, &mut left)?;
        }
        while left > 0 {
            let least = zigzag(&mut rest).ok()? as i32;
            for &width in rest.split_off(..miniblocks)? {
                if left == 0 {
                    break;
                }
                let width = usize::from(width).min(64);
                let packed = rest.split_off(..size.checked_mul(width)? / 8)?;
                for at in 0..size {
                    if left == 0 {
                        break;
                    }
                    value = value.wrapping_add(least).wrapping_add(bits(packed, at * width, width) as i32);
                    add(value, &mut left)?;
                }
            }
        }
        Some(Self { sum, end: bytes.len() - rest.len() })
    }
}

/// The number in so many bits, the least significant first.
fn bits(bytes: &[u8], start: usize, width: usize) -> u64 {
    (0..width).fold(0, |number, bit| {
        let at = start + bit;
        number | u64::from(bytes[at / 8] >> (at % 8) & 1) << bit
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_summed_and_end_where_their_last_miniblock_does() {
        // Of the format's documentation: 1 to 5 with a step of 1, and 7, 5, 3, 1, 2, 3, 4, 5.
        let header = |count: u8, first: u8, least: u8, width: u8| vec![128, 1, 4, count, first, least, width, 0, 0, 0];
        assert_eq!(Lengths::read(&header(5, 2, 2, 0), 5), Some(Lengths { sum: 15, end: 10 }));
        let mut bytes = header(8, 14, 3, 2);
        // The deltas -2, -2, -2, 1, 1, 1, 1 above -2.
        bytes.extend([0b1100_0000, 0b0011_1111, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(Lengths::read(&bytes, 8), Some(Lengths { sum: 30, end: 18 }));
        assert_eq!(Lengths::read(&bytes, 7), None, "more than there may be");
        for cut in 0..18 {
            assert_eq!(Lengths::read(&bytes[..cut], 8), None, "{cut}");
        }
        assert_eq!(Lengths::read(&header(2, 1, 0, 0), 5), None, "-1 is no length");
        assert_eq!(Lengths::read(&[128, 1, 0, 5, 2, 2, 0, 0, 0, 0], 5), None, "no miniblocks");
    }
}
