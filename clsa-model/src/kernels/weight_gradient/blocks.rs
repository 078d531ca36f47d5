//! How the weight gradient is cut: the pixels into chunks, the result into blocks of channels. By the shape alone.

use crate::kernels::algorithm::TASKS;
use crate::kernels::shape::ConvShape;
use crate::kernels::span::{Span, share};

/// Elements of all parts of a result, where it is not itself larger.
const PARTIAL: usize = 1 << 20;
/// Pixels of a chunk, over which sums stay in registers.
const PIXELS: usize = 192;

/// Some output pixels: some images of a group, or some rows of an image.
#[derive(Clone, Copy, Debug)]
pub struct PixelChunk {
    /// First image.
    pub image: usize,
    pub images: usize,
    /// Output rows.
    pub rows: Span,
}

/// Cuts the output pixels into chunks, a multiple of `together` for each image or group where that can be. As many are
/// multiplied at a time; they should be alike.
pub fn pixel_chunks(shape: ConvShape, images_per_group: usize, together: usize) -> Vec<PixelChunk> {
    let (rows, columns) = (shape.out_height(), shape.out_width());
    let mut chunks = Vec::new();
    let most_rows = (PIXELS / columns).max(1);
    if most_rows < rows {
        let parts = rows.div_ceil(most_rows).next_multiple_of(together).min(rows);
        for image in 0..shape.batch {
            chunks.extend((0..parts).map(|part| PixelChunk { image, images: 1, rows: share(rows, part, parts) }));
        }
    } else {
        let most = (PIXELS / (rows * columns)).max(1);
        let parts = images_per_group.div_ceil(most).next_multiple_of(together).min(images_per_group);
        for group in 0..shape.batch / images_per_group {
            chunks.extend((0..parts).map(|part| {
                let images = share(images_per_group, part, parts);
                let image = group * images_per_group + images.start;
                PixelChunk { image, images: images.len(), rows: Span { start: 0, end: rows } }
            }));
        }
    }
    chunks
}

/// A block of the result: some input channels times some output channels.
#[derive(Clone, Copy, Debug)]
pub struct ChannelBlock {
    pub inputs: Span,
    /// The last ones may be beyond the channels that there are.
    pub outputs: Span,
}

/// The blocks that the result is cut into, and the parts that the pixels are cut into.
pub struct Blocks {
    /// Channels, the outputs padded to whole vectors.
    c_in: usize,
    pub padded: usize,
    /// Channels of a block, and how many blocks of them there are.
    in_block: usize,
    out_block: usize,
    in_blocks: usize,
    out_blocks: usize,
    pub parts: usize,
}

impl Blocks {
    /// Parts of the pixels share no reading, blocks of channels do; but parts multiply the result's memory.
    pub fn new(shape: ConvShape, lanes: usize, chunks: usize) -> Self {
        let ConvShape { c_in, c_out, kernel, .. } = shape;
        let padded = c_out.next_multiple_of(lanes);
        let mut in_block = if kernel == 1 { 256 } else { 128 }.min(c_in);
        let mut out_block = 256.min(padded);
        let blocks = |i: usize, o: usize| c_in.div_ceil(i) * padded.div_ceil(o);
        let parts_of = |blocks: usize| TASKS.div_ceil(blocks).min(chunks);
        let fits = |blocks: usize| parts_of(blocks) * kernel * kernel * c_in * padded <= PARTIAL;
        while blocks(in_block, out_block) < TASKS && in_block > 64 && !fits(blocks(in_block, out_block)) {
            in_block = (in_block / 2).next_multiple_of(16);
        }
        while blocks(in_block, out_block) < TASKS && out_block > 128 && !fits(blocks(in_block, out_block)) {
            out_block = (out_block / 2).next_multiple_of(16);
        }
        let (in_blocks, out_blocks) = (c_in.div_ceil(in_block), padded.div_ceil(out_block));
        let parts = parts_of(in_blocks * out_blocks);
        Self { c_in, padded, in_block, out_block, in_blocks, out_blocks, parts }
    }

    pub fn len(&self) -> usize {
        self.in_blocks * self.out_blocks
    }

    /// The channels of a block.
    pub fn channels(&self, block: usize) -> ChannelBlock {
        let (i, o) = (block / self.out_blocks * self.in_block, block % self.out_blocks * self.out_block);
        ChannelBlock {
            inputs: Span { start: i, end: (i + self.in_block).min(self.c_in) },
            outputs: Span { start: o, end: (o + self.out_block).min(self.padded) },
        }
    }

    /// Elements of the blocks before one, for each tap.
    pub fn offset(&self, block: ChannelBlock) -> usize {
        block.inputs.start * self.padded + block.inputs.len() * block.outputs.start
    }
}
