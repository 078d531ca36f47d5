//! What products multiply: words of 32 bits, each an f32 or a pair of bf16.

use super::element::Element;
use super::interleave::interleave;
use super::micro::{OuterProduct, Product};
use super::packing::{Packing, pack_pairs};
use super::shape::ConvShape;
use super::simd::{Isa, Kernel, PairKernel, Pairs, Simd, dispatch, dispatch_pairs};
use super::source::Fill;
use half::bf16;

/// An element of a product's operands. Pairs are neighbours along the summed dimension.
pub(super) trait Operand: Element {
    /// Elements of a word.
    const PER_WORD: usize;

    /// Runs a product on the instruction set, which must have products of this type.
    fn product<E: Element>(isa: Isa, product: Product<'_, E, Self>);

    /// As `product`.
    fn outer_product(isa: Isa, product: OuterProduct<'_, Self>);

    /// Packs a panel of all rows, in runs of `run` rows each, as the right operand of products.
    fn pack(
        packing: Packing,
        isa: Isa,
        weight: &[f32],
        shape: ConvShape,
        taps: &[(usize, usize)],
        run: usize,
        columns: (usize, usize, usize),
        out: &mut [Self],
    );

    /// Fills the scratch of an operand of an outer product from at most `PER_WORD` windows.
    fn fill<E: Element>(isa: Isa, windows: &[Fill<'_, E, Self>], out: &mut [Self]);

    /// A number of elements with the last word filled up.
    fn whole_words(n: usize) -> usize {
        n.next_multiple_of(Self::PER_WORD)
    }

    /// Distance between pixels in scratch.
    fn pixel_distance(channels: usize) -> usize {
        apart(channels, 64 / size_of::<Self>())
    }

    /// As `pixel_distance`, in words, where every channel has one.
    fn word_distance(channels: usize) -> usize {
        apart(channels, 16)
    }
}

/// Pixels whose distance is a multiple of a cache's way would all fall into the same sets.
fn apart(channels: usize, line: usize) -> usize {
    if channels.is_multiple_of(8 * line) { channels + line } else { channels }
}

/// The arithmetic of an operand on a vector type.
pub(super) trait Multiply<V: Simd>: Operand {
    /// The word at `p` in every lane.
    unsafe fn splat(p: *const Self) -> V;
    /// The first element at `p` and zeros in every lane.
    unsafe fn splat_one(p: *const Self) -> V;
    /// `sum` and the product, or the two products, of each lane.
    unsafe fn multiply(left: V, right: V, sum: V) -> V;
}

impl Operand for f32 {
    const PER_WORD: usize = 1;

    fn product<E: Element>(isa: Isa, product: Product<'_, E, Self>) {
        dispatch(isa, product);
    }

    fn outer_product(isa: Isa, product: OuterProduct<'_, Self>) {
        dispatch(isa, product);
    }

    fn pack(
        packing: Packing,
        isa: Isa,
        weight: &[f32],
        shape: ConvShape,
        taps: &[(usize, usize)],
        _run: usize,
        columns: (usize, usize, usize),
        out: &mut [Self],
    ) {
        packing.pack(isa, weight, shape, taps, (0, packing.rows(shape)), columns, out);
    }

    fn fill<E: Element>(isa: Isa, windows: &[Fill<'_, E, Self>], out: &mut [Self]) {
        for window in windows {
            Fill { ..*window }.to(isa, out);
        }
    }
}

impl<V: Simd> Multiply<V> for f32 {
    #[inline(always)]
    unsafe fn splat(p: *const Self) -> V {
        // SAFETY: the caller gives a readable element.
        unsafe { V::splat(*p) }
    }
    #[inline(always)]
    unsafe fn splat_one(p: *const Self) -> V {
        // SAFETY: as above.
        unsafe { V::splat(*p) }
    }
    #[inline(always)]
    unsafe fn multiply(left: V, right: V, sum: V) -> V {
        // SAFETY: the caller's, as for every function of `Simd`.
        unsafe { left.mul_add(right, sum) }
    }
}

impl Operand for bf16 {
    const PER_WORD: usize = 2;

    fn product<E: Element>(isa: Isa, product: Product<'_, E, Self>) {
        dispatch_pairs(isa, product);
    }

    fn outer_product(isa: Isa, product: OuterProduct<'_, Self>) {
        dispatch_pairs(isa, product);
    }

    fn pack(
        packing: Packing,
        isa: Isa,
        weight: &[f32],
        shape: ConvShape,
        taps: &[(usize, usize)],
        run: usize,
        columns: (usize, usize, usize),
        out: &mut [Self],
    ) {
        pack_pairs(packing, isa, weight, shape, taps, run, columns, out);
    }

    fn fill<E: Element>(isa: Isa, windows: &[Fill<'_, E, Self>], out: &mut [Self]) {
        interleave(isa, windows, out);
    }
}

impl<V: Pairs> Multiply<V> for bf16 {
    #[inline(always)]
    unsafe fn splat(p: *const Self) -> V {
        // SAFETY: the caller gives two readable elements; a run may start at an odd one.
        unsafe { V::splat(f32::from_bits(p.cast::<u32>().read_unaligned())) }
    }
    #[inline(always)]
    unsafe fn splat_one(p: *const Self) -> V {
        // SAFETY: the caller gives a readable element.
        unsafe { V::splat(f32::from_bits(u32::from((*p).to_bits()))) }
    }
    #[inline(always)]
    unsafe fn multiply(left: V, right: V, sum: V) -> V {
        // SAFETY: the caller's, as for every function of `Simd`.
        unsafe { sum.dot(left, right) }
    }
}

impl<E: Element> Kernel for Product<'_, E, f32> {
    #[inline(always)]
    fn run<V: Simd>(self) {
        self.tiles::<V>();
    }
}

impl<E: Element> PairKernel for Product<'_, E, bf16> {
    #[inline(always)]
    fn run<V: Pairs>(self) {
        self.tiles::<V>();
    }
}

impl Kernel for OuterProduct<'_, f32> {
    #[inline(always)]
    fn run<V: Simd>(self) {
        self.tiles::<V>();
    }
}

impl PairKernel for OuterProduct<'_, bf16> {
    #[inline(always)]
    fn run<V: Pairs>(self) {
        self.tiles::<V>();
    }
}
