//! One block of candidates for all queries: scores, exponentials and the weighted sum, written once for every instruction set.
//!
//! For each group of queries two products follow one another, as in an attention kernel: scores (candidates x components) into
//! exponentials, and these (candidates x queries) with the candidates once more into the weighted sum. Between the two, the
//! exponentials of the block wait in the first-level cache and its candidates in the second; no score is stored.

use super::arithmetic::{Arithmetic, Factors, Wide};
use super::block::{Block, LIMIT, LaneSums, PackedQueries, STEEP, Scratch, TILE};
use super::columns::pack_columns;

/// Adds the candidates of `block` to `sums`, `M` candidates or components at a time, whose `M` x 2 vectors of sums stay in
/// registers; `M` divides `TILE` and is even.
///
/// # Safety
/// `check_lengths` has passed with a group of two vectors of `A`, `block.paired` is `A::PAIRED`, and the processor has the
/// instructions of `A`.
#[inline(always)]
pub(super) unsafe fn add_block<A: Arithmetic, const M: usize>(
    queries: &PackedQueries,
    block: &Block,
    scratch: &mut Scratch,
    sums: &mut LaneSums,
) {
    let group = 2 * A::LANES;
    let depth = if A::PAIRED { queries.dim.div_ceil(2) } else { queries.dim };
    let packed = if A::PAIRED { queries.pairs.as_ptr() } else { queries.units.as_ptr() };
    let rows = block.rows.as_ptr();
    let tiles = block.count.div_ceil(M);
    let candidates = tiles * M;
    // Candidates in units of the second product.
    let terms = if A::PAIRED { candidates / 2 } else { candidates };
    let components = queries.dim.next_multiple_of(TILE);
    let weights = scratch.weights.as_mut_ptr();
    let columns = scratch.columns.as_mut_ptr();
    let next = block.next.as_ptr().cast::<u8>();
    let next_bytes = size_of_val(block.next);
    // The next block is fetched in even portions while this one is computed, so that neither waits for the other.
    let prefetched_per_tile = next_bytes.div_ceil(queries.groups * tiles).next_multiple_of(64);
    let mut prefetched = 0;

    // SAFETY: offsets stay below the lengths that `check_lengths` has compared; the caller vouches for the instructions.
    unsafe {
        // Once for all groups.
        pack_columns::<A, M>(rows, block.stride, queries.dim, components, terms, columns);
        for g in 0..queries.groups {
            // Only the queries of one view have thresholds; other groups are spared the comparison.
            let counted = g * group < queries.thresholds.len();
            let mut thresholds = [A::zero(); 2];
            if counted {
                let from = queries.thresholds.as_ptr().add(g * group).cast::<u32>();
                thresholds = [A::load(from), A::load(from.add(A::LANES))];
            }
            let mut exponentials = [A::zero(); 2];
            let mut rounded = [A::zero(); 2];
            let mut above = [A::zero(); 2];
            let mut largest = [A::zero(); 2];
            for tile in 0..tiles {
                let until = (prefetched + prefetched_per_tile).min(next_bytes);
                while prefetched < until {
                    A::prefetch(next.add(prefetched));
                    prefetched += 64;
                }
                // First product: the scores of `M` candidates with all queries of the group.
                let first = tile * M;
                let tile_rows = rows.add(first * block.stride);
                let mut scores = product::<A, M>(packed.add(g * depth * group), tile_rows, 1, block.stride, depth);
                let mut tile_largest = A::zero();
                for [left, right] in scores {
                    tile_largest = A::max_magnitude(A::max_magnitude(tile_largest, left), right);
                }
                // Pairs never are: their factors are rounded more coarsely than f32 rounds any score within the limit.
                let is_steep = !A::PAIRED && A::any_above(tile_largest, STEEP);
                let mut powers = [[A::zero(); 2]; M];
                if is_steep {
                    let queries = queries.wide.as_ptr().add(g * queries.dim * group);
                    Steep { scores, powers } =
                        steep::<A, M>(queries, tile_rows, block.stride, depth, scratch.wide.as_mut_ptr());
                }
                // Exponentials, two candidates at a time: they may share a unit. The sums of a tile are added to those of the
                // block, and these (below) to those in f64: short sums round less.
                for v in 0..2 {
                    let mut tile_exponentials = A::zero();
                    let mut tile_rounded = A::zero();
                    for pair in 0..M / 2 {
                        let mut p = [A::zero(); 2];
                        for (half, p) in p.iter_mut().enumerate() {
                            let m = 2 * pair + half;
                            if first + m >= block.count {
                                // There is no such candidate: its weight stays zero, where 2^0 would count as one.
                                continue;
                            }
                            largest[v] = A::max_magnitude(largest[v], scores[m][v]);
                            if counted {
                                above[v] = A::count_above(above[v], scores[m][v], thresholds[v]);
                            }
                            *p = if is_steep { powers[m][v] } else { A::exp2(scores[m][v]) };
                        }
                        tile_exponentials = A::add(tile_exponentials, A::add(p[0], p[1]));
                        let row = (first + 2 * pair) / if A::PAIRED { 2 } else { 1 };
                        let to = weights.add(row * group + v * A::LANES);
                        tile_rounded = A::store_weights(to, group, p[0], p[1], tile_rounded);
                    }
                    exponentials[v] = A::add(exponentials[v], tile_exponentials);
                    rounded[v] = A::add(rounded[v], tile_rounded);
                }
            }

            // Every group has its own lanes in the sums.
            for (v, lane) in [(0, g * group), (1, g * group + A::LANES)] {
                let mut lanes = [0.0f32; 16];
                let buffer = lanes.as_mut_ptr().cast::<u32>();
                A::store(buffer, exponentials[v]);
                for (l, &x) in lanes[..A::LANES].iter().enumerate() {
                    sums.exponentials[lane + l] += f64::from(x);
                    // The largest magnitude may pass over a NaN; a sum does not.
                    sums.beyond_limit |= !x.is_finite();
                }
                A::store(buffer, rounded[v]);
                for (l, &x) in lanes[..A::LANES].iter().enumerate() {
                    sums.weights[lane + l] += f64::from(x);
                }
                A::store(buffer, largest[v]);
                for &x in &lanes[..A::LANES] {
                    sums.beyond_limit |= x > LIMIT;
                }
                if counted {
                    A::store(buffer, above[v]);
                    for (l, &x) in lanes[..A::LANES].iter().enumerate() {
                        sums.above[lane + l] += x as u32;
                    }
                }
            }
            if sums.beyond_limit {
                // The caller leaves these sums for those of the f64 pass.
                return;
            }

            // Second product: the weighted sum of the candidates, `M` components at a time.
            for tile in 0..components / M {
                let block_sums = product::<A, M>(weights, columns.add(tile * terms * M), M, 1, terms);
                let to = sums.weighted.as_mut_ptr().add((g * components + tile * M) * group).cast::<u32>();
                for (m, vectors) in block_sums.iter().enumerate() {
                    for (v, &vector) in vectors.iter().enumerate() {
                        let to = to.add(m * group + v * A::LANES);
                        A::store(to, A::add(A::load(to), vector));
                    }
                }
            }
        }
    }
}

/// `M` results for each lane of a group: `Σ_k left[k][lane] * right[k * k_stride + m * m_stride]`.
#[inline(always)]
unsafe fn product<F: Factors, const M: usize>(
    left: *const F::Unit,
    right: *const F::Unit,
    k_stride: usize,
    m_stride: usize,
    length: usize,
) -> [[F::Vector; 2]; M] {
    // SAFETY: the caller gives pointers to as many units as the strides and the length reach.
    unsafe {
        let mut done = length.min(F::RUN);
        let mut total = run::<F, M>(left, right, k_stride, m_stride, done);
        while done < length {
            let next = (length - done).min(F::RUN);
            let (left, right) = (left.add(done * 2 * F::LANES), right.add(done * k_stride));
            let sums = run::<F, M>(left, right, k_stride, m_stride, next);
            for (total, sum) in total.iter_mut().zip(sums) {
                *total = [F::add(total[0], sum[0]), F::add(total[1], sum[1])];
            }
            done += next;
        }
        total
    }
}

/// The same for one run, added up in order.
#[inline(always)]
unsafe fn run<F: Factors, const M: usize>(
    mut left: *const F::Unit,
    mut right: *const F::Unit,
    k_stride: usize,
    m_stride: usize,
    length: usize,
) -> [[F::Vector; 2]; M] {
    // SAFETY: as above.
    unsafe {
        let mut sums = [[F::zero(); 2]; M];
        for _ in 0..length {
            let a = [F::load(left), F::load(left.add(F::LANES))];
            for (m, sum) in sums.iter_mut().enumerate() {
                let unit = right.add(m * m_stride);
                sum[0] = F::multiply_add(sum[0], a[0], unit);
                sum[1] = F::multiply_add(sum[1], a[1], unit);
            }
            left = left.add(2 * F::LANES);
            right = right.add(k_stride);
        }
        sums
    }
}

/// A tile whose scores were formed in f64.
struct Steep<V, const M: usize> {
    /// The scores, rounded.
    scores: [[V; 2]; M],
    /// 2 to the power of the scores as they were before rounding.
    powers: [[V; 2]; M],
}

/// Forms the scores of a tile in f64: of `M` rows of `dim` components with the queries of a group.
#[inline(always)]
unsafe fn steep<A: Arithmetic, const M: usize>(
    queries: *const f64,
    rows: *const u32,
    stride: usize,
    dim: usize,
    wide_rows: *mut f64,
) -> Steep<A::Vector, M> {
    // SAFETY: reads `dim` components of `M` rows of f32 and of a group of queries, writes `M * dim` numbers.
    unsafe {
        for m in 0..M {
            for k in 0..dim {
                *wide_rows.add(m * dim + k) = f64::from(f32::from_bits(*rows.add(m * stride + k)));
            }
        }
        let (mut scores, mut powers) = ([[A::zero(); 2]; M], [[A::zero(); 2]; M]);
        for half in 0..2 {
            let queries = queries.add(half * dim * A::LANES);
            let wide = product::<A::Wide, M>(queries, wide_rows, 1, dim, dim);
            for (m, [low, high]) in wide.into_iter().enumerate() {
                let whole = [A::Wide::round(low), A::Wide::round(high)];
                // An integer and a rest within 1/2 lose nothing of the power when they become f32; their sum would.
                let rest = [A::Wide::subtract(low, whole[0]), A::Wide::subtract(high, whole[1])];
                scores[m][half] = A::narrow([low, high]);
                powers[m][half] = A::exp2_of_sum(A::narrow(whole), A::narrow(rest));
            }
        }
        Steep { scores, powers }
    }
}
