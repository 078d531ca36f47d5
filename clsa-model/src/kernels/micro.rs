//! The two register-blocked micro-kernels under every convolution: [`Product`], whose left rows are addressed through
//! offsets (so that a convolution needs no im2col), and [`OuterProduct`], which sums over pixels.

use super::element::{Lanes, part, write};
use super::operand::Multiply;
use super::simd::Simd;
use std::ops::Range;

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

/// What becomes of a finished row of results.
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
    Finish {
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
    pub a: *const S,
    pub points: &'a [Point],
    pub runs: &'a [Run],
    pub b: *const S,
    /// Summed elements, those that fill up words included.
    pub k: usize,
    pub panels: Range<usize>,
    pub columns: usize,
    pub c: *mut C,
    pub store: Store<C>,
}

/// Columns of a panel.
pub(super) fn panel_width(lanes: usize) -> usize {
    2 * lanes
}

/// `n` items in balanced parts of at most `most`.
#[inline(always)]
pub(super) fn balanced(n: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = n.div_ceil(most);
    (0..parts).map(move |i| n * i / parts..n * (i + 1) / parts)
}

/// Calls the method with the constants ROWS and VECTORS that the run-time values name.
macro_rules! with_tile {
    ($rows:expr, $vectors:expr, $self:ident.$f:ident::<$V:ident> $args:tt, [$($m:literal)*]) => {
        match ($rows, $vectors) {
            $(($m, 1) => $self.$f::<$V, $m, 1> $args,
              ($m, _) => $self.$f::<$V, $m, 2> $args,)*
            _ => {}
        }
    };
}

impl<C: Lanes, S> Product<'_, C, S> {
    #[inline(always)]
    pub fn tiles<V: Simd>(self)
    where
        S: Multiply<V>,
    {
        let width = panel_width(V::LANES);
        for panel in self.panels.clone() {
            let column = panel * width;
            let left = self.columns - column;
            let vectors = if left > V::LANES { 2 } else { 1 };
            for tile in balanced(self.points.len(), V::ROWS) {
                let first = tile.start == 0;
                let points = &self.points[tile];
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

    /// Does to one vector of columns of a tile what the product's `store` says.
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
                Store::Finish { scale, bias, residual, relu } => {
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
pub(super) struct Tap {
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
    pub taps: &'a [Tap],
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
