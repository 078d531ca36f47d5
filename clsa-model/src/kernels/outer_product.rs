//! The register-blocked micro-kernel under every weight gradient: a sum over pixels of outer products.

#![allow(clippy::needless_range_loop, reason = "registers are indexed by counters of loops that the compiler unrolls")]

use super::multiply::Multiply;
use super::simd::{Kernel, PairKernel, PairSimd, Simd};
use super::tile::{balanced, panel_width, with_tile};
use half::bf16;

/// A grid of pixels in an operand: base, then the steps between its images, rows and columns in words.
#[derive(Clone, Copy)]
pub(super) struct Grid<S> {
    pub base: *const S,
    pub image: usize,
    pub row: usize,
    pub column: usize,
}

/// Some consecutive rows of the result of an [`OuterProduct`], and where their left factors are from a pixel's base, in
/// words.
#[derive(Clone, Copy, Debug)]
pub(super) struct TapRows {
    pub a: usize,
    pub len: usize,
    /// First row of the result.
    pub c: usize,
}

/// `c[i, j] += Σ_pixel a[pixel, i] · b[pixel, j]`, the weight gradient of a convolution. All columns are whole vectors.
/// With operands of bf16, a pixel is one of each of two grids, and a word its two values.
pub(super) struct OuterProduct<'a, S = f32> {
    pub a: Grid<S>,
    pub b: Grid<S>,
    pub images: usize,
    pub rows: usize,
    pub columns: usize,
    pub taps: &'a [TapRows],
    /// Width of `c` in elements, a multiple of the vector.
    pub width: usize,
    /// Distance between rows of `c`.
    pub stride: usize,
    pub c: *mut f32,
    /// Whether to replace `c` rather than add to it.
    pub first: bool,
}

impl<S> OuterProduct<'_, S> {
    #[inline(always)]
    pub fn tiles<V: Simd>(self)
    where
        S: Multiply<V>,
    {
        for start in (0..self.width).step_by(panel_width(V::LANES)) {
            let vectors = if self.width - start > V::LANES { 2 } else { 1 };
            for tap in self.taps {
                for part in balanced(tap.len, V::ROWS) {
                    // SAFETY: the constructor of an `OuterProduct` answers for its pointers.
                    unsafe {
                        let a = self.a.base.add((tap.a + part.start) * S::PER_WORD);
                        let b = self.b.base.add(start * S::PER_WORD);
                        let c = self.c.add((tap.c + part.start) * self.stride + start);
                        with_tile!(part.len(), vectors, self.tile::<V>(a, b, c),
                            [1 2 3 4 5 6 7 8 9 10 11 12 13 14]);
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<V: Simd, const M: usize, const N: usize>(&self, a: *const S, b: *const S, c: *mut f32)
    where
        S: Multiply<V>,
    {
        // SAFETY: both grids are readable at M and N vectors' words from every pixel; `c` is writable at M rows.
        unsafe {
            let mut acc = [[V::zero(); N]; M];
            for row in 0..self.images * self.rows {
                let (image, y) = (row / self.rows, row % self.rows);
                let mut a = a.add((image * self.a.image + y * self.a.row) * S::PER_WORD);
                let mut b = b.add((image * self.b.image + y * self.b.row) * S::PER_WORD);
                for _ in 0..self.columns {
                    let mut right = [V::zero(); N];
                    for j in 0..N {
                        // Words are loaded whatever their elements.
                        right[j] = V::load(b.cast::<f32>().add(j * V::LANES));
                    }
                    for i in 0..M {
                        let left = S::splat(a.add(i * S::PER_WORD));
                        for j in 0..N {
                            acc[i][j] = S::multiply(left, right[j], acc[i][j]);
                        }
                    }
                    a = a.wrapping_add(self.a.column * S::PER_WORD);
                    b = b.wrapping_add(self.b.column * S::PER_WORD);
                }
            }
            for i in 0..M {
                for j in 0..N {
                    let c = c.add(i * self.stride + j * V::LANES);
                    let sum = if self.first { acc[i][j] } else { acc[i][j].add(V::load(c)) };
                    sum.store(c);
                }
            }
        }
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
    fn run<V: PairSimd>(self) {
        self.tiles::<V>();
    }
}
