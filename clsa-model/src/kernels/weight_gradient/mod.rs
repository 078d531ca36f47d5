//! The gradient of a convolution's weight by the direct sum: for every tap, a sum over the output's pixels of outer
//! products.
//!
//! Tasks own parts of the result (blocks of input channels times blocks of output channels), and where the result is
//! small also a part of the pixels; parts of pixels are added up in their order.

mod blocks;
mod context;

use super::activation_view::ActivationView;
use super::add_transposed::AddTransposed;
use super::conv::Conv;
use super::element::Element;
use super::memory::Shared;
use super::operand::Operand;
use super::simd::{dispatch, lanes};
use super::span::share;
use blocks::{Blocks, pixel_chunks};
use context::SharedContext;
use rayon::prelude::*;
use std::marker::PhantomData;

/// As [`Conv::backward_weight`], with products of operands of type `S`. The lengths have been checked.
pub(super) fn direct<E: Element, S: Operand>(
    conv: &Conv<'_>,
    input: ActivationView<'_, E>,
    gradient: &[E],
    out: &mut [f32],
) {
    let flat = conv.shape.as_column_of_pixels(conv.groups);
    let images_per_group = if flat == conv.shape { conv.images_per_group() } else { 1 };
    let chunks = pixel_chunks(flat, images_per_group, S::PER_WORD);
    // As many chunks are multiplied at a time as a word has elements.
    let chunks: Vec<_> = chunks.chunks(S::PER_WORD).collect();
    let blocks = Blocks::new(flat, lanes(conv.instructions), chunks.len());
    let Blocks { parts, .. } = blocks;

    // Each block is whole in memory, one after the other, part after part.
    let taps = flat.kernel * flat.kernel;
    let part_len = taps * flat.c_in * blocks.padded;
    let mut partial = conv.memory.take::<f32>(parts * part_len);
    let result = Shared::new(&mut partial);
    let out = Shared::new(out);
    let add = |block: usize| {
        let channels = blocks.channels(block);
        let kernel = AddTransposed {
            // SAFETY: inside `partial`, all of which has been computed for this block.
            partial: unsafe { result.get().add(taps * blocks.offset(channels)) },
            parts,
            part: part_len,
            stride: channels.outputs.len(),
            taps,
            channels: channels.inputs.len(),
            columns: channels.outputs.end.min(flat.c_out) - channels.outputs.start,
            row_len: taps * flat.c_in,
            // SAFETY: inside the gradient; no other block has these channels.
            out: unsafe { out.get().add((channels.outputs.start * flat.c_in + channels.inputs.start) * taps) },
        };
        dispatch(conv.instructions, kernel);
    };
    let context = SharedContext::<E, S> {
        instructions: conv.instructions,
        shape: flat,
        images_per_group,
        input,
        gradient,
        operand: PhantomData,
    };
    (0..parts * blocks.len()).into_par_iter().with_max_len(1).for_each(|task| {
        let (part, block) = (task / blocks.len(), task % blocks.len());
        let channels = blocks.channels(block);
        // SAFETY: inside `partial`; no other task has this part and this block.
        let c = unsafe { result.get().add(part * part_len + taps * blocks.offset(channels)) };
        let own = share(chunks.len(), part, parts);
        context.run(&chunks[own.start..own.end], channels, c);
        if parts == 1 {
            add(block);
        }
    });
    if parts > 1 {
        (0..blocks.len()).into_par_iter().for_each(add);
    }
}
