//! Grids: how many blocks share the work, and how.

use crate::error::Result;
use crate::kernels::{LINES, PART, THREADS, TILE};
use crate::ops::area::Area;
use crate::tensor::unsupported;

/// Multiprocessors that there are work for: those of an H100. A constant, so that sums have equal bits on every GPU.
const MULTIPROCESSORS: usize = 132;
/// Pixels that a split has at least, so that it is worth joining.
const LEAST_PER_SPLIT: usize = 256;
/// Blocks that kernels without sums have where the work suffices: some six rounds on every multiprocessor, so that none idles
/// for long at the end.
const WANTED_BLOCKS: usize = MULTIPROCESSORS * 4 * 6;
/// Pixels of such a block at least and at most. It reads the channels' numbers once for all of them.
const PER_BLOCK: std::ops::RangeInclusive<usize> = 128..=512;
/// The most blocks that a grid has in its second direction.
const MOST_BLOCKS: usize = 65535;

/// The splits of a group's pixels, for kernels that sum over them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Splits {
    pub grid: [u32; 3],
    /// Pixels of a split; the last has what is left.
    pub per_split: usize,
    /// Floats of all splits' sums.
    pub parts_len: usize,
}

/// Splits such that `blocks` of them fit on each multiprocessor together and all run at once.
pub(super) fn splits(area: Area, blocks: usize) -> Splits {
    let Area { groups, rows, channels } = area;
    let tiles = channels.div_ceil(TILE);
    let wanted = (MULTIPROCESSORS * blocks / (tiles * groups)).clamp(1, rows.div_ceil(LEAST_PER_SPLIT));
    let per_split = rows.div_ceil(wanted).next_multiple_of(LINES);
    let splits = rows.div_ceil(per_split);
    Splits { grid: [tiles as u32, splits as u32, groups as u32], per_split, parts_len: tiles * groups * splits * PART }
}

/// (tiles of channels, blocks of pixels, groups)
pub(super) fn pixels(groups: usize, rows: usize, channels: usize) -> [u32; 3] {
    let tiles = channels.div_ceil(TILE);
    let per_block = (rows * tiles * groups).div_ceil(WANTED_BLOCKS).clamp(*PER_BLOCK.start(), *PER_BLOCK.end());
    let blocks = rows.div_ceil(per_block.next_multiple_of(2 * LINES)).min(MOST_BLOCKS);
    [tiles as u32, blocks as u32, groups as u32]
}

/// Blocks that share `work` pieces, a piece for each thread at a time; the threads take further pieces in turn.
pub(super) fn line(work: usize) -> [u32; 3] {
    [work.div_ceil(THREADS).clamp(1, 1 << 20) as u32, 1, 1]
}

/// Blocks for `work` pieces, one for each thread.
pub(super) fn line_of_all(work: usize) -> Result<[u32; 3]> {
    match u32::try_from(work.div_ceil(THREADS)) {
        Ok(blocks) if blocks < 1 << 31 => Ok([blocks.max(1), 1, 1]),
        _ => Err(unsupported(format!("{work} pieces of work are too many for one kernel"))),
    }
}
