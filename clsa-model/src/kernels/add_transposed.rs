//! Adds a weight gradient as kernels compute it to torch's weight layout (c_out, c_in, kernel, kernel), by squares
//! transposed in registers.

#![allow(clippy::needless_range_loop, reason = "registers are indexed by counters of loops that the compiler unrolls")]

use super::element::{part, write};
use super::shape::ConvShape;
use super::simd::{Kernel, MOST_LANES, Simd, dispatch, lanes};
use clsa_cpu::InstructionSet;
use rayon::prelude::*;

/// Adds (kernel, kernel, c_in, padded) to (c_out, c_in, kernel, kernel); `padded` is `c_out` or more, whole vectors.
pub(super) fn add_transposed(
    instructions: InstructionSet,
    direct: &[f32],
    shape: ConvShape,
    padded: usize,
    out: &mut [f32],
) {
    let (vector, row_len) = (lanes(instructions), shape.weight_len() / shape.c_out);
    assert!(direct.len() >= row_len * padded && padded >= shape.c_out && padded.is_multiple_of(vector));
    out.par_chunks_mut(vector * row_len).enumerate().for_each(|(block, out)| {
        let kernel = AddTransposed {
            partial: direct[block * vector..].as_ptr(),
            parts: 1,
            part: 0,
            stride: padded,
            taps: shape.kernel * shape.kernel,
            channels: shape.c_in,
            columns: out.len() / row_len,
            row_len,
            out: out.as_mut_ptr(),
        };
        dispatch(instructions, kernel);
    });
}

/// Adds parts of a block of a weight's gradient, each (taps, channels, `stride`) with output channels innermost and padded
/// to whole vectors, to the weight's gradient itself.
pub(super) struct AddTransposed {
    pub partial: *const f32,
    pub parts: usize,
    /// Distance between parts.
    pub part: usize,
    pub stride: usize,
    pub taps: usize,
    pub channels: usize,
    /// Output channels.
    pub columns: usize,
    /// Length of a row of the weight's gradient: (c_in, kernel, kernel), all that leads to an output channel.
    pub row_len: usize,
    /// Where the block begins in the weight's gradient.
    pub out: *mut f32,
}

impl Kernel for AddTransposed {
    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self { partial, parts, part: distance, stride, taps, channels, columns, row_len, out } = self;
        for column in (0..columns).step_by(V::LANES) {
            for start in (0..channels * taps).step_by(V::LANES) {
                let left = channels * taps - start;
                // SAFETY: who makes an `AddTransposed` answers for its pointers; the block's rows and columns are as given.
                unsafe {
                    let mut square = [V::zero(); MOST_LANES];
                    let (mut channel, mut tap) = (start / taps, start % taps);
                    for l in 0..V::LANES.min(left) {
                        let from = partial.add((tap * channels + channel) * stride + column);
                        square[l] = V::load(from);
                        for p in 1..parts {
                            square[l] = square[l].add(V::load(from.add(p * distance)));
                        }
                        tap += 1;
                        if tap == taps {
                            (channel, tap) = (channel + 1, 0);
                        }
                    }
                    V::transpose(&mut square);
                    for l in 0..V::LANES.min(columns - column) {
                        let to = out.add((column + l) * row_len + start);
                        let sum: V = square[l].add(part(to, left));
                        write(sum, to, left);
                    }
                }
            }
        }
    }
}
