//! One block of candidates for all queries: scores, exponentials and the weighted sum, written once for every instruction set.

use half::bf16;

/// Candidates per block: its rows and their packed copy stay in the second-level cache, the exponentials of a group of
/// queries in the first.
pub(crate) const BLOCK: usize = 128;

/// Every tile of candidates, and every tile of components, is a divisor of this.
pub(crate) const TILE: usize = 8;

/// Scores (base-2 logits) beyond this are left to the wider arithmetic: within it no exponential and no sum overflows or loses
/// its precision, so that no running maximum is needed.
pub(crate) const LIMIT: f32 = 32.0 * std::f32::consts::LOG2_E;

/// A tile with a score (base-2 logit) beyond this has its scores formed once more in f64. An f32 below it is within 2.4e-7 of
/// what it stands for, and so is its exponential, relatively; above, the error would double with every power of two. Unit
/// vectors at the paper's temperature stay below 7.3.
const STEEP: f32 = 8.0;

/// Vectors that are multiplied with one number at a time.
///
/// # Safety
/// The caller of any function has checked that the processor has its instructions.
pub(super) trait Factors {
    type Vector: Copy;
    /// What a lane of a factor holds.
    type Unit;
    /// Units in a vector.
    const LANES: usize;
    /// Products that are added up one after the other; such sums are then added. Short runs round less.
    const RUN: usize;
    unsafe fn zero() -> Self::Vector;
    unsafe fn load(from: *const Self::Unit) -> Self::Vector;
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `sum + left * right` for a vector of units and one unit, which need not be aligned.
    unsafe fn multiply_add(sum: Self::Vector, left: Self::Vector, right: *const Self::Unit) -> Self::Vector;
}

/// Vectors of f64, half as many as `Arithmetic` has of f32.
///
/// # Safety
/// As for `Factors`.
pub(super) trait Wide: Factors<Unit = f64> {
    /// The nearest integers.
    unsafe fn round(x: Self::Vector) -> Self::Vector;
    unsafe fn subtract(a: Self::Vector, b: Self::Vector) -> Self::Vector;
}

/// A vector type with the arithmetic that the loops need.
///
/// A unit is 32 bits: one f32, or a pair of bf16 numbers that are multiplied with another pair and added up in f32.
///
/// # Safety
/// As for `Factors`.
pub(super) trait Arithmetic: Factors<Unit = u32> {
    /// For the scores of steep tiles.
    type Wide: Wide;
    /// Whether a unit is a pair of bf16 numbers.
    const PAIRED: bool;
    unsafe fn store(to: *mut u32, value: Self::Vector);
    /// 2 to the power of each value, for values within `LIMIT`.
    unsafe fn exp2(x: Self::Vector) -> Self::Vector;
    /// 2 to the power of `whole + rest`, for integers within `LIMIT` and rests within 1/2.
    unsafe fn exp2_of_sum(whole: Self::Vector, rest: Self::Vector) -> Self::Vector;
    /// The values of two wide vectors, rounded.
    unsafe fn narrow(values: [<Self::Wide as Factors>::Vector; 2]) -> Self::Vector;
    /// Whether any value is above `limit`.
    unsafe fn any_above(x: Self::Vector, limit: f32) -> bool;
    /// The larger of `largest` and the magnitude of `x`.
    unsafe fn max_magnitude(largest: Self::Vector, x: Self::Vector) -> Self::Vector;
    /// `count`, plus one where `x` is above `threshold`.
    unsafe fn count_above(count: Self::Vector, x: Self::Vector, threshold: Self::Vector) -> Self::Vector;
    /// Stores the weights of two neighbouring candidates as units, the second `stride` units after the first or in the
    /// same units, and adds them, as stored, to `sum`.
    unsafe fn store_weights(
        to: *mut u32,
        stride: usize,
        first: Self::Vector,
        second: Self::Vector,
        sum: Self::Vector,
    ) -> Self::Vector;
    unsafe fn prefetch(address: *const u8);
}

/// Queries, scaled to base-2 logits and laid out for the loops: `[group][unit][query of the group]`.
pub(crate) struct PackedQueries {
    pub dim: usize,
    pub groups: usize,
    /// f32 units: `dim` per query.
    pub units: Vec<u32>,
    /// bf16 pairs: half as many, or empty.
    pub pairs: Vec<u32>,
    /// For steep tiles: `[half of a group][component][query of the half]`.
    wide: Vec<f64>,
    /// The score above which a candidate outranks the positive, for whole groups of the first queries.
    pub thresholds: Vec<f32>,
}

impl PackedQueries {
    /// Packs rows, (queries, dim), times `scale`. Lanes beyond the last query are zero.
    pub fn new(rows: &[f64], scale: f64, thresholds: &[f64], group: usize, dim: usize, with_pairs: bool) -> Self {
        let groups = (rows.len() / dim).div_ceil(group);
        let pair_count = dim.div_ceil(2);
        let mut units = vec![0; groups * dim * group];
        let mut pairs = vec![0; if with_pairs { groups * pair_count * group } else { 0 }];
        let half = group / 2;
        let mut wide = vec![0.0; groups * dim * group];
        for (query, row) in rows.chunks_exact(dim).enumerate() {
            for (k, &x) in row.iter().enumerate() {
                wide[(query / half * dim + k) * half + query % half] = x * scale;
            }
            let (first, lane) = (query / group, query % group);
            for (k, &x) in row.iter().enumerate() {
                units[(first * dim + k) * group + lane] = ((x * scale) as f32).to_bits();
            }
            if with_pairs {
                for (k, pair) in row.chunks(2).enumerate() {
                    let low = bf16::from_f64(pair[0] * scale).to_bits();
                    let high = pair.get(1).map_or(0, |&x| bf16::from_f64(x * scale).to_bits());
                    pairs[(first * pair_count + k) * group + lane] = u32::from(low) | u32::from(high) << 16;
                }
            }
        }
        let mut thresholds: Vec<f32> = thresholds.iter().map(|&t| t as f32).collect();
        thresholds.resize(thresholds.len().next_multiple_of(group), f32::INFINITY);
        Self { dim, groups, units, pairs, wide, thresholds }
    }
}

/// Up to `BLOCK` candidates.
pub(crate) struct Block<'a> {
    /// Row-major units, `stride` per row; rows beyond `count` up to a multiple of `TILE` are there, and zero.
    pub rows: &'a [u32],
    pub stride: usize,
    /// Whether units are pairs of bf16 numbers.
    pub paired: bool,
    pub count: usize,
    /// The candidates after these, to be fetched from memory meanwhile; may be empty.
    pub next: &'a [u32],
}

/// Memory of one thread.
pub(crate) struct Scratch {
    /// The weights of a group: `[candidate][query of the group]`.
    weights: Vec<u32>,
    /// The candidates again, for the weighted sum: `[tile of components][candidate][component of the tile]`.
    columns: Vec<u32>,
    /// The candidates of a steep tile.
    wide: Vec<f64>,
}

impl Scratch {
    pub fn new(group: usize, dim: usize) -> Self {
        Self {
            weights: vec![0; BLOCK * group],
            columns: vec![0; BLOCK * dim.next_multiple_of(TILE)],
            wide: vec![0.0; TILE * dim],
        }
    }
}

/// Sums over the candidates seen so far, for every lane of every group.
pub(crate) struct Sums {
    /// Exponentials.
    pub exponentials: Vec<f64>,
    /// Exponentials as the weighted sum took them, which rounds them to bf16 for pairs.
    pub weights: Vec<f64>,
    /// Candidates above the threshold.
    pub above: Vec<u32>,
    /// Weighted candidates: `[group][component][query of the group]`, components up to a multiple of `TILE`.
    pub weighted: Vec<f32>,
    /// Whether a score was beyond `LIMIT`, or not a number: then nothing else here is valid.
    pub beyond_limit: bool,
}

impl Sums {
    pub fn new(queries: &PackedQueries, group: usize) -> Self {
        let lanes = queries.groups * group;
        Self {
            exponentials: vec![0.0; lanes],
            weights: vec![0.0; lanes],
            above: vec![0; queries.thresholds.len()],
            weighted: vec![0.0; lanes * queries.dim.next_multiple_of(TILE)],
            beyond_limit: false,
        }
    }

    /// Adds the sums over other candidates.
    pub fn add(mut self, other: Self) -> Self {
        self.exponentials.iter_mut().zip(&other.exponentials).for_each(|(a, b)| *a += b);
        self.weights.iter_mut().zip(&other.weights).for_each(|(a, b)| *a += b);
        self.above.iter_mut().zip(&other.above).for_each(|(a, b)| *a += b);
        self.weighted.iter_mut().zip(&other.weighted).for_each(|(a, b)| *a += b);
        self.beyond_limit |= other.beyond_limit;
        self
    }
}

/// Checks every length that `add_block` relies on.
pub(super) fn check(group: usize, queries: &PackedQueries, block: &Block, scratch: &Scratch, sums: &Sums) {
    let lanes = queries.groups * group;
    let depth = if block.paired { queries.dim.div_ceil(2) } else { queries.dim };
    let packed = if block.paired { &queries.pairs } else { &queries.units };
    let components = queries.dim.next_multiple_of(TILE);
    assert!(block.count > 0 && block.count <= BLOCK && block.stride >= depth);
    assert!(block.rows.len() >= block.count.next_multiple_of(TILE) * block.stride);
    assert_eq!(packed.len(), depth * lanes);
    assert!(queries.thresholds.len() <= lanes && queries.thresholds.len().is_multiple_of(group));
    assert_eq!(scratch.weights.len(), BLOCK * group);
    assert_eq!(scratch.columns.len(), BLOCK * components);
    assert_eq!((queries.wide.len(), scratch.wide.len()), (lanes * queries.dim, TILE * queries.dim));
    assert_eq!((sums.exponentials.len(), sums.weights.len()), (lanes, lanes));
    assert_eq!((sums.above.len(), sums.weighted.len()), (queries.thresholds.len(), lanes * components));
}

/// Adds the candidates of `block` to `sums`, `M` candidates or components at a time; `M` divides `TILE` and is even.
///
/// # Safety
/// `check` has passed with a group of two vectors of `A`, `block.paired` is `A::PAIRED`, and the processor has the instructions of `A`.
#[inline(always)]
pub(super) unsafe fn add_block<A: Arithmetic, const M: usize>(
    queries: &PackedQueries,
    block: &Block,
    scratch: &mut Scratch,
    sums: &mut Sums,
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
    let prefetched_per_tile = next_bytes.div_ceil(queries.groups * tiles).next_multiple_of(64);
    let mut prefetched = 0;

    // SAFETY: offsets stay below the lengths that `check` has compared; the caller vouches for the instructions.
    unsafe {
        pack_columns::<A, M>(rows, block.stride, queries.dim, components, terms, columns);
        for g in 0..queries.groups {
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
                let first = tile * M;
                let tile_rows = rows.add(first * block.stride);
                let mut scores = product::<A, M>(packed.add(g * depth * group), tile_rows, 1, block.stride, depth);
                let mut tile_largest = A::zero();
                for [left, right] in scores {
                    tile_largest = A::max_magnitude(A::max_magnitude(tile_largest, left), right);
                }
                let is_steep = !A::PAIRED && A::any_above(tile_largest, STEEP);
                let mut powers = [[A::zero(); 2]; M];
                if is_steep {
                    let queries = queries.wide.as_ptr().add(g * queries.dim * group);
                    (scores, powers) =
                        steep::<A, M>(queries, tile_rows, block.stride, depth, scratch.wide.as_mut_ptr());
                }
                for v in 0..2 {
                    let mut tile_exponentials = A::zero();
                    let mut tile_rounded = A::zero();
                    for pair in 0..M / 2 {
                        let mut p = [A::zero(); 2];
                        for (half, p) in p.iter_mut().enumerate() {
                            let m = 2 * pair + half;
                            if first + m >= block.count {
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

            for (v, lane) in [(0, g * group), (1, g * group + A::LANES)] {
                let mut lanes = [0.0f32; 16];
                let buffer = lanes.as_mut_ptr().cast::<u32>();
                A::store(buffer, exponentials[v]);
                for (l, &x) in lanes[..A::LANES].iter().enumerate() {
                    sums.exponentials[lane + l] += f64::from(x);
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
                return;
            }

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

/// The same, added up in order.
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

/// Scores of a tile, formed in f64 and then rounded, and 2 to the power of them as they were before.
#[inline(always)]
#[allow(clippy::type_complexity)]
unsafe fn steep<A: Arithmetic, const M: usize>(
    queries: *const f64,
    rows: *const u32,
    stride: usize,
    dim: usize,
    wide_rows: *mut f64,
) -> ([[A::Vector; 2]; M], [[A::Vector; 2]; M]) {
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
                let rest = [A::Wide::subtract(low, whole[0]), A::Wide::subtract(high, whole[1])];
                scores[m][half] = A::narrow([low, high]);
                powers[m][half] = A::exp2_of_sum(A::narrow(whole), A::narrow(rest));
            }
        }
        (scores, powers)
    }
}

/// Copies the candidates to `[tile of M components][term][component]`, a term being a candidate or a pair of them; zero
/// beyond the last component.
#[inline(always)]
unsafe fn pack_columns<A: Arithmetic, const M: usize>(
    rows: *const u32,
    stride: usize,
    dim: usize,
    components: usize,
    terms: usize,
    columns: *mut u32,
) {
    // SAFETY: reads `dim` components of `terms` (pairs of) rows, writes `components * terms` units.
    unsafe {
        for tile in 0..components / M {
            let first = tile * M;
            let to = columns.add(tile * terms * M);
            // Components of this tile that exist; the others stay zero.
            let width = dim.saturating_sub(first).min(M);
            if width < M {
                to.write_bytes(0, terms * M);
            }
            if width == 0 {
                // Beyond the rows, where no pointer into them may lead.
                continue;
            }
            for term in 0..terms {
                let to = to.add(term * M);
                if A::PAIRED {
                    let low = rows.add(2 * term * stride).cast::<u16>().add(first);
                    let high = rows.add((2 * term + 1) * stride).cast::<u16>().add(first);
                    if width == M {
                        // Of known length, so that the compiler takes whole vectors.
                        interleave::<M>(low, high, to);
                    } else {
                        for m in 0..width {
                            interleave::<1>(low.add(m), high.add(m), to.add(m));
                        }
                    }
                } else {
                    let from = rows.add(term * stride + first);
                    if width == M {
                        from.copy_to_nonoverlapping(to, M);
                    } else {
                        from.copy_to_nonoverlapping(to, width);
                    }
                }
            }
        }
    }
}

/// Writes `N` pairs of 16-bit numbers.
#[inline(always)]
unsafe fn interleave<const N: usize>(low: *const u16, high: *const u16, to: *mut u32) {
    // SAFETY: the caller gives pointers to `N` numbers.
    unsafe {
        let (low, high) = (low.cast::<[u16; N]>().read_unaligned(), high.cast::<[u16; N]>().read_unaligned());
        let mut pairs = [0; N];
        for m in 0..N {
            pairs[m] = u32::from(low[m]) | u32::from(high[m]) << 16;
        }
        to.cast::<[u32; N]>().write_unaligned(pairs);
    }
}
