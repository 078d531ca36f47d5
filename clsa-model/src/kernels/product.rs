//! The register-blocked micro-kernel under every convolution: a product whose left rows are addressed through offsets, so
//! that a convolution needs no im2col.

#![allow(clippy::needless_range_loop, reason = "registers are indexed by counters of loops that the compiler unrolls")]

use super::element::{Element, Lanes, part, write};
use super::multiply::Multiply;
use super::simd::{Kernel, PairKernel, PairSimd, Simd};
use super::span::Span;
use super::tile::{balanced, panel_width, with_tile};
use half::bf16;

/// A run of consecutive elements along the summed dimension: where it starts from a row's base, and its length. A last
/// element that fills no word is multiplied with a word of the right operand whose other half is zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub offset: usize,
    pub len: usize,
}

/// One row of a product: offset of its base in the left operand, offset of its result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub a: usize,
    pub c: usize,
}

/// What is done with a finished row of results.
#[derive(Clone, Copy)]
pub(super) enum Store<C> {
    Write,
    /// Added to what is there.
    Add,
    /// Written, and the moments of what is written gathered: `pivot`, sum and sum of squares of the distance to the
    /// pivot, one array of `stride` elements (a multiple of two vectors) after the other.
    Moments {
        moments: *mut f32,
        stride: usize,
    },
    /// Written as `relu?(result · scale + bias + residual?)`; `scale` and `bias` are padded to whole vectors, `residual`
    /// is laid out as the result or null.
    FoldedNorm {
        scale: *const f32,
        bias: *const f32,
        residual: *const C,
        relu: bool,
    },
}

/// `c[point] = Σ_k a[point, k] · b[k]` for a range of column panels.
///
/// A panel is two vectors wide (the last one vector where that is enough); `b` holds the panels one after the other, zero
/// beyond `columns`, each as rows of words: with operands of bf16, a row of `b` is two of the matrix, interleaved. Sums
/// are f32 and rounded to the type of `c`.
pub(super) struct Product<'a, C, S = f32> {
    /// The left operand, in which points and runs have their offsets.
    pub a: *const S,
    pub points: &'a [Point],
    /// The same for every point.
    pub runs: &'a [Run],
    pub b: *const S,
    /// Summed elements, those that fill up words included.
    pub k: usize,
    pub panels: Span,
    /// Columns of the result.
    pub columns: usize,
    pub c: *mut C,
    pub store: Store<C>,
}

impl<C: Lanes, S> Product<'_, C, S> {
    #[inline(always)]
    pub fn tiles<V: Simd>(self)
    where
        S: Multiply<V>,
    {
        let width = panel_width(V::LANES);
        for panel in self.panels.start..self.panels.end {
            let column = panel * width;
            let left = self.columns - column;
            let vectors = if left > V::LANES { 2 } else { 1 };
            for tile in balanced(self.points.len(), V::ROWS) {
                let first = tile.start == 0;
                let points = &self.points[tile.start..tile.end];
                // SAFETY: the constructor of a `Product` answers for its pointers; `column` is within `columns`.
                unsafe {
                    let b = self.b.add(column * self.k);
                    with_tile!(points.len(), vectors, self.tile::<V>(points, b, column, first),
                        [1 2 3 4 5 6 7 8 9 10 11 12 13 14]);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<V: Simd, const M: usize, const N: usize>(
        &self,
        points: &[Point],
        b: *const S,
        column: usize,
        first: bool,
    ) where
        S: Multiply<V>,
    {
        // SAFETY: every run of every point is within `a`; `b` has `k` rows of `N` vectors; columns beyond `columns` are
        // never written to `c`.
        unsafe {
            let mut acc = [[V::zero(); N]; M];
            // Words are loaded whatever their elements.
            let mut b = b.cast::<f32>();
            for run in self.runs {
                let mut rows = [self.a; M];
                for i in 0..M {
                    rows[i] = self.a.add(points[i].a + run.offset);
                }
                let words = run.len / S::PER_WORD;
                let mut k = 0;
                while k + 4 <= words {
                    for u in 0..4 {
                        let mut right = [V::zero(); N];
                        for j in 0..N {
                            right[j] = V::load(b.add((u * N + j) * V::LANES));
                        }
                        for i in 0..M {
                            let left = S::splat(rows[i].add((k + u) * S::PER_WORD));
                            for j in 0..N {
                                acc[i][j] = S::multiply(left, right[j], acc[i][j]);
                            }
                        }
                    }
                    b = b.add(4 * N * V::LANES);
                    k += 4;
                }
                while k * S::PER_WORD < run.len {
                    let mut right = [V::zero(); N];
                    for j in 0..N {
                        right[j] = V::load(b.add(j * V::LANES));
                    }
                    for i in 0..M {
                        let at = rows[i].add(k * S::PER_WORD);
                        let left = if k < words { S::splat(at) } else { S::splat_one(at) };
                        for j in 0..N {
                            acc[i][j] = S::multiply(left, right[j], acc[i][j]);
                        }
                    }
                    b = b.add(N * V::LANES);
                    k += 1;
                }
            }

            // One vector of columns at a time, by constant indices, so that the accumulators stay in registers.
            let mut left = [V::zero(); M];
            for i in 0..M {
                left[i] = acc[i][0];
            }
            self.finish_column::<V, M>(points, left, column, first);
            if N == 2 {
                let mut right = [V::zero(); M];
                for i in 0..M {
                    right[i] = acc[i][N - 1];
                }
                self.finish_column::<V, M>(points, right, column + V::LANES, first);
            }
        }
    }

    /// Finishes one vector of columns of a tile as the product's `store` says.
    #[inline(always)]
    unsafe fn finish_column<V: Simd, const M: usize>(
        &self,
        points: &[Point],
        mut acc: [V; M],
        column: usize,
        first: bool,
    ) {
        // SAFETY: as for `tile`.
        unsafe {
            let lanes = self.columns - column;
            match self.store {
                Store::Write => {}
                Store::Add => {
                    for i in 0..M {
                        let old: V = part(self.c.add(points[i].c + column), lanes);
                        acc[i] = acc[i].add(old);
                    }
                }
                Store::Moments { moments, stride } => {
                    let pivot = moments.add(column);
                    let sum = pivot.add(stride);
                    let squares = sum.add(stride);
                    if first {
                        let mut total = V::zero();
                        for i in 0..M {
                            total = total.add(acc[i]);
                        }
                        total.mul(V::splat(1.0 / M as f32)).store(pivot);
                        V::zero().store(sum);
                        V::zero().store(squares);
                    }
                    let p = V::load(pivot);
                    let mut s = V::load(sum);
                    let mut q = V::load(squares);
                    for i in 0..M {
                        let distance = C::round(acc[i]).sub(p);
                        s = s.add(distance);
                        q = distance.mul_add(distance, q);
                    }
                    s.store(sum);
                    q.store(squares);
                }
                Store::FoldedNorm { scale, bias, residual, relu } => {
                    let scale = V::load(scale.add(column));
                    let bias = V::load(bias.add(column));
                    for i in 0..M {
                        acc[i] = acc[i].mul_add(scale, bias);
                        if !residual.is_null() {
                            acc[i] = acc[i].add(part(residual.add(points[i].c + column), lanes));
                        }
                        if relu {
                            acc[i] = V::zero().max(acc[i]);
                        }
                    }
                }
            }
            for i in 0..M {
                write(acc[i], self.c.add(points[i].c + column), lanes);
            }
        }
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
    fn run<V: PairSimd>(self) {
        self.tiles::<V>();
    }
}
