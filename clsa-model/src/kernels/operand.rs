//! The types that products multiply, with everything that depends on them: how operands are packed and products run.

use super::element::Element;
use super::interleave::interleave;
use super::multiply::Words;
use super::outer_product::OuterProduct;
use super::packing::{Panel, WeightPacking};
use super::product::Product;
use super::simd::{dispatch, dispatch_pairs};
use super::span::Span;
use super::window_copy::WindowCopy;
use clsa_cpu::InstructionSet;
use half::bf16;

/// An element of a product's operands.
pub(super) trait Operand: Words {
    /// Runs a product on the instruction set, which must have products of this type.
    fn product<E: Element>(instructions: InstructionSet, product: Product<'_, E, Self>);

    /// As `product`.
    fn outer_product(instructions: InstructionSet, product: OuterProduct<'_, Self>);

    /// Packs a panel of all rows, in runs of `run` rows each, as the right operand of products.
    fn pack(packing: &WeightPacking<'_>, run: usize, panel: Panel, out: &mut [Self]);

    /// Fills the scratch of an operand of an outer product from at most `PER_WORD` windows.
    fn copy_windows<E: Element>(instructions: InstructionSet, windows: &[WindowCopy<'_, E>], out: &mut [Self]);
}

impl Operand for f32 {
    fn product<E: Element>(instructions: InstructionSet, product: Product<'_, E, Self>) {
        dispatch(instructions, product);
    }

    fn outer_product(instructions: InstructionSet, product: OuterProduct<'_, Self>) {
        dispatch(instructions, product);
    }

    fn pack(packing: &WeightPacking<'_>, _run: usize, panel: Panel, out: &mut [Self]) {
        let rows = Span { start: 0, end: packing.direction.rows(packing.shape) };
        packing.pack(rows, panel, out);
    }

    fn copy_windows<E: Element>(instructions: InstructionSet, windows: &[WindowCopy<'_, E>], out: &mut [Self]) {
        for window in windows {
            window.run(instructions, out);
        }
    }
}

impl Operand for bf16 {
    fn product<E: Element>(instructions: InstructionSet, product: Product<'_, E, Self>) {
        dispatch_pairs(instructions, product);
    }

    fn outer_product(instructions: InstructionSet, product: OuterProduct<'_, Self>) {
        dispatch_pairs(instructions, product);
    }

    fn pack(packing: &WeightPacking<'_>, run: usize, panel: Panel, out: &mut [Self]) {
        packing.pack_pairs(run, panel, out);
    }

    fn copy_windows<E: Element>(instructions: InstructionSet, windows: &[WindowCopy<'_, E>], out: &mut [Self]) {
        interleave(instructions, windows, out);
    }
}
