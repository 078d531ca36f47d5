//! What the loops read and write: packed queries, a block of candidates, scratch memory and the sums; and the check of all
//! their lengths.

use half::bf16;

/// Candidates per block: its rows and their packed copy stay in the second-level cache, the exponentials of a group of
/// queries in the first.
pub(crate) const BLOCK: usize = 128;

/// Every tile of candidates, and every tile of components, is a divisor of this.
pub(crate) const TILE: usize = 8;

/// Scores (base-2 logits) beyond this are left to the pass in f64: up to it no exponential and no sum overflows or loses
/// its precision, so that no running maximum is needed.
pub(crate) const LIMIT: f32 = 32.0 * std::f32::consts::LOG2_E;

/// A tile with a score (base-2 logit) beyond this is *steep*: its scores are formed once more in f64. Below it an f32 is within
/// 2.4e-7 of the exact score, and so is its exponential, relatively; above it, that error would double with every power of
/// two. Unit vectors at the paper's temperature stay below 7.3.
pub(super) const STEEP: f32 = 8.0;

/// Queries, scaled to base-2 logits and laid out for the loops: `[group][unit][query of the group]`.
pub(crate) struct PackedQueries {
    /// Components of a query.
    pub dim: usize,
    /// Groups of queries; the last one may be partly empty.
    pub groups: usize,
    /// f32 units: `dim` per query.
    pub units: Vec<u32>,
    /// bf16 pairs: half as many, or empty.
    pub pairs: Vec<u32>,
    /// For steep tiles: `[half of a group][component][query of the half]`.
    pub(super) wide: Vec<f64>,
    /// The score above which a candidate outranks the positive, for whole groups of the first queries.
    pub thresholds: Vec<f32>,
}

impl PackedQueries {
    /// Packs rows, (queries, dim), times `scale`, `group` queries to a group. Lanes beyond the last query are zero.
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
    /// The number of candidates, at least one.
    pub count: usize,
    /// The candidates after these, to be fetched from memory meanwhile; may be empty.
    pub next: &'a [u32],
}

/// Memory of one thread, for one block at a time.
pub(crate) struct Scratch {
    /// The weights of a group: `[candidate][query of the group]`.
    pub(super) weights: Vec<u32>,
    /// The candidates again, for the weighted sum: `[tile of components][candidate][component of the tile]`.
    pub(super) columns: Vec<u32>,
    /// The candidates of a steep tile, in f64.
    pub(super) wide: Vec<f64>,
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
pub(crate) struct LaneSums {
    /// The sum of the exponentials.
    pub exponentials: Vec<f64>,
    /// The sum of the weights: the exponentials as the weighted sum takes them, which for pairs are rounded to bf16.
    pub weights: Vec<f64>,
    /// The number of candidates above the threshold, for the groups that have thresholds.
    pub above: Vec<u32>,
    /// The sum of the weighted candidates: `[group][component][query of the group]`, components up to a multiple of `TILE`.
    pub weighted: Vec<f32>,
    /// Whether a score was beyond `LIMIT` or NaN: then nothing else here is valid.
    pub beyond_limit: bool,
}

impl LaneSums {
    /// The sums over no candidates.
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

    /// The `dim` components of a query's weighted sum, for groups of `group` queries.
    pub fn weighted_components(&self, query: usize, group: usize, dim: usize) -> impl Iterator<Item = f32> {
        let first = query / group * dim.next_multiple_of(TILE) * group + query % group;
        self.weighted[first..].iter().step_by(group).take(dim).copied()
    }
}

/// Checks every length that the loops rely on.
///
/// # Panics
/// If a length is another one.
pub(super) fn check_lengths(group: usize, queries: &PackedQueries, block: &Block, scratch: &Scratch, sums: &LaneSums) {
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
