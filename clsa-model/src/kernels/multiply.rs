//! What products multiply: words of 32 bits, each an f32 or a pair of bf16, and their arithmetic on vectors.

use super::element::Element;
use super::simd::{PairSimd, Simd};
use half::bf16;

/// An element of a product's operands. Two that share a word are neighbors along the summed dimension.
pub(super) trait Words: Element {
    /// Elements of a word.
    const PER_WORD: usize;

    /// A number of elements with the last word filled up.
    fn whole_words(n: usize) -> usize {
        n.next_multiple_of(Self::PER_WORD)
    }

    /// Distance between pixels in scratch, in elements.
    fn pixel_distance(channels: usize) -> usize {
        spread_over_sets(channels, 64 / size_of::<Self>())
    }

    /// As `pixel_distance`, in words, where every channel has one.
    fn word_distance(channels: usize) -> usize {
        spread_over_sets(channels, 16)
    }
}

/// Pixels whose distance is a multiple of a cache's way would all fall into the same sets: then there is a line between
/// them.
fn spread_over_sets(channels: usize, line: usize) -> usize {
    if channels.is_multiple_of(8 * line) { channels + line } else { channels }
}

impl Words for f32 {
    const PER_WORD: usize = 1;
}

impl Words for bf16 {
    const PER_WORD: usize = 2;
}

/// The arithmetic of an operand on a vector type.
pub(super) trait Multiply<V: Simd>: Words {
    /// The word at `p` in every lane.
    unsafe fn splat(p: *const Self) -> V;
    /// The first element at `p` and zeros in every lane.
    unsafe fn splat_one(p: *const Self) -> V;
    /// `sum` and the product, or the two products, of each lane.
    unsafe fn multiply(left: V, right: V, sum: V) -> V;
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

impl<V: PairSimd> Multiply<V> for bf16 {
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
