//! The candidates in parts, and the sums over all parts in a fixed order, so that no bit depends on the number of threads.

use std::ops::Range;

use crate::kernels::BLOCK;
use crate::matrix::Matrix;

/// Most parts that the candidates of one source are divided into.
const PARTS: usize = 32;

/// Fewest candidates in a part: below that, a thread would work less than it costs to wake it.
const PART: usize = 4 * BLOCK;

/// Consecutive candidates of one source.
#[derive(Clone)]
pub(crate) struct Part<'a> {
    pub source: Matrix<'a>,
    pub rows: Range<usize>,
}

/// Candidates in parts that depend on their number alone, and not on that of the threads.
pub(crate) fn parts(source: Matrix, rows: Range<usize>) -> Vec<Part> {
    let size = rows.len().div_ceil(PARTS).next_multiple_of(BLOCK).max(PART);
    rows.clone().step_by(size).map(|start| Part { source, rows: start..(start + size).min(rows.end) }).collect()
}

/// The sums of all parts, of which there is at least one, on all threads; added as a balanced tree, so that few are alive at
/// a time and the order is fixed.
pub(crate) fn reduce<S: Send>(
    parts: &[Part],
    sum: &(impl Fn(&Part) -> S + Sync),
    add: &(impl Fn(S, S) -> S + Sync),
) -> S {
    if let [part] = parts {
        return sum(part);
    }
    let (left, right) = parts.split_at(parts.len().div_ceil(2));
    let (left, right) = rayon::join(|| reduce(left, sum, add), || reduce(right, sum, add));
    add(left, right)
}
