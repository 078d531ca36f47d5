//! Coefficients that the scans of a progressive file leave unknown, estimated from the means of the blocks around, as
//! `decompress_smooth_data` of libjpeg-turbo's `jdcoefct.c` estimates them. The idea is that of ITU-T T.81, annex K.8.

use super::block::Block;
use super::frame::Frame;
use super::kept::Kept;
use super::progress::{ESTIMATED, Known, Progress};
use super::tables::NATURAL;

/// Weights of the means of 5 x 5 blocks, or those means.
type Window = [[i32; 5]; 5];

/// A coefficient's index in zigzag order, and the weights of its estimate.
type Estimate = (usize, Window);

/// Weights with rows for columns.
const fn turned(weights: Window) -> Window {
    let mut turned = [[0; 5]; 5];
    let mut at = 0;
    while at < 25 {
        turned[at % 5][at / 5] = weights[at / 5][at % 5];
        at += 1;
    }
    turned
}

const NONE: [i32; 5] = [0; 5];

/// The weights where some coefficient but the first is known.
const FEW: [Estimate; 5] = {
    let slope = [NONE, NONE, [-7, 50, 0, -50, 7], NONE, NONE];
    let curve = [NONE, NONE, [-1, 13, -24, 13, -1], NONE, NONE];
    let twist = [[0, -1, 0, 1, 0], [-1, 10, 0, -10, 1], NONE, [1, -10, 0, 10, -1], [0, 1, 0, -1, 0]];
    [(1, slope), (2, turned(slope)), (3, turned(curve)), (4, twist), (5, curve)]
};

/// The weights where no coefficient but the first is known.
const ALL: [Estimate; 10] = {
    let slope = [[-1, -1, 0, 1, 1], [-3, 13, 0, -13, 3], [-3, 38, 0, -38, 3], [-3, 13, 0, -13, 3], [-1, -1, 0, 1, 1]];
    let curve = [NONE, [0, 2, -5, 2, 0], [1, 7, -14, 7, 1], [0, 2, -5, 2, 0], NONE];
    let twist = [[-1, 0, 0, 0, 1], [0, 9, 0, -9, 0], NONE, [0, -9, 0, 9, 0], [1, 0, 0, 0, -1]];
    let steep = [NONE, [0, 1, 0, -1, 0], [0, 2, 0, -2, 0], [0, 1, 0, -1, 0], NONE];
    let saddle = [NONE, [0, 1, -3, 1, 0], NONE, [0, -1, 3, -1, 0], NONE];
    let edge = [-2, -6, -8, -6, -2];
    let mean = [edge, [-6, 6, 42, 6, -6], [-8, 42, 152, 42, -8], [-6, 6, 42, 6, -6], edge];
    [
        (1, slope),
        (2, turned(slope)),
        (3, turned(curve)),
        (4, twist),
        (5, curve),
        (6, steep),
        (7, saddle),
        (8, turned(saddle)),
        (9, turned(steep)),
        (0, mean),
    ]
};

/// A component's blocks.
struct Component {
    /// Blocks that have samples, side by side and above each other.
    blocks: (usize, usize),
    /// Rows of blocks that libjpeg handles together.
    group: usize,
    known: Known,
    quantizers: Block,
}

/// The estimates of a file.
pub(super) struct Smoothing {
    components: Vec<Component>,
    last_row: usize,
}

impl Smoothing {
    /// `None` if no coefficient that can be estimated is unknown, or if they cannot be estimated. There are quantizers for
    /// each component.
    pub(super) fn new(frame: &Frame, progress: Progress, quantizers: &[Block]) -> Option<Self> {
        let mut known = progress.components;
        let unknown = known.iter().any(|known| known.now[1..ESTIMATED].iter().any(|&bit| bit != 0));
        let means = known.iter().all(|known| known.now[0] >= 0);
        let divides = |table: &Block| NATURAL[..ESTIMATED].iter().all(|&natural| table.0[usize::from(natural)] != 0);
        let divisors = quantizers.iter().all(divides);
        if !unknown || !means || !divisors {
            return None;
        }
        if progress.scans == 1 {
            known.iter_mut().for_each(|known| known.before = [-1; ESTIMATED]);
        }
        let components = frame.components.iter().zip(known).zip(quantizers).map(|((component, known), &quantizers)| {
            let group = frame.group * component.vertical;
            Component { blocks: frame.blocks(component), group, known, quantizers }
        });
        Some(Self { components: components.collect(), last_row: progress.last_row })
    }

    /// A block with what is estimated.
    pub(super) fn block(&self, kept: &Kept, component: usize, row: usize, column: usize) -> Block {
        let mut block = kept.row(component, row)[column];
        let Component { blocks: (across, down), group, known, quantizers } = &self.components[component];
        // Blocks without samples remain what they are.
        if column >= *across || row >= *down {
            return block;
        }
        let rows = rows_around(row, *down, *group);
        let mean =
            |row: usize, column: usize| kept.row(component, row).get(column).map_or(0, |block| block.0[0].into());
        let columns = [0, 1, 2, 3, 4].map(|step| (column + step).saturating_sub(2).min(across - 1));
        let means: Window = rows.map(|row| columns.map(|column| mean(row, column)));
        let bits = if row / group > self.last_row { &known.before[..] } else { &known.now[..ESTIMATED] };
        let estimates = if bits[1..].iter().all(|&bit| bit == -1) { &ALL[..] } else { &FEW[..] };
        let quantizer = |natural: usize| i64::from(quantizers.0[natural] as u16);
        for &(zigzag, ref weights) in estimates {
            let natural = usize::from(NATURAL[zigzag]);
            let bit = if natural == 0 { -1 } else { bits[zigzag] };
            if bit == 0 || natural != 0 && block.0[natural] != 0 {
                continue;
            }
            let products = weights.as_flattened().iter().zip(means.as_flattened()).map(|(weight, mean)| weight * mean);
            let sum = quantizer(0) * i64::from(products.sum::<i32>());
            let divisor = quantizer(natural) << 8;
            let mut size = ((divisor / 2 + sum.abs()) / divisor) as i32;
            // What is known of the coefficient is that its higher bits are 0.
            if bit > 0 {
                size = size.min((1 << bit) - 1);
            }
            block.0[natural] = (if sum < 0 { size.wrapping_neg() } else { size }) as i16;
        }
        block
    }
}

/// The rows of blocks from two above a row to two below it, of which libjpeg repeats those at the edges. Of the last group's
/// rows it counts as if all groups had only so many, so that there may be more rows above than it takes.
fn rows_around(row: usize, down: usize, group: usize) -> [usize; 5] {
    let (index, groups) = (row / group, down.div_ceil(group));
    let rows = if index + 1 < groups { group } else { down - index * group };
    let (at, end) = (index * rows + row % group, groups * rows);
    let above = if at > 0 { row - 1 } else { row };
    let below = if at + 1 < end { row + 1 } else { row };
    [if at > 1 { row - 2 } else { above }, above, row, below, if at + 2 < end { row + 2 } else { below }]
}
