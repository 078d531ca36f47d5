//! The matrix products of the f64 pass, on the calling thread.

/// The right factor of a product, (depth, n).
enum Right<'a> {
    /// Row-major.
    Rows(&'a [f64]),
    /// Column-major: the transpose of row-major (n, depth).
    Columns(&'a [f64]),
}

/// `scores = rows · candidatesᵀ` for (R, dim) and (C, dim): (R, C).
///
/// # Panics
/// If a length does not fit the others.
pub(crate) fn scores(rows: &[f64], candidates: &[f64], dim: usize, scores: &mut [f64]) {
    multiply(rows, Right::Columns(candidates), dim, scores, false);
}

/// `sums += weights · candidates` for (R, C) and (C, dim): (R, dim).
///
/// # Panics
/// If a length does not fit the others.
pub(crate) fn add_weighted(weights: &[f64], candidates: &[f64], dim: usize, sums: &mut [f64]) {
    multiply(weights, Right::Rows(candidates), candidates.len() / dim, sums, true);
}

/// `product = left · right`, added to what is there if `keep`, for row-major `left` (m, depth) and `product` (m, n).
fn multiply(left: &[f64], right: Right, depth: usize, product: &mut [f64], keep: bool) {
    let values = match right {
        Right::Rows(values) | Right::Columns(values) => values,
    };
    let (m, n) = (left.len() / depth, values.len() / depth);
    assert!(left.len() == m * depth && values.len() == depth * n && product.len() == m * n);
    let (column_stride, row_stride) = match right {
        Right::Rows(_) => (1, n as isize),
        Right::Columns(_) => (depth as isize, 1),
    };
    // SAFETY: the strides stay within the lengths compared above, and `product` is neither `left` nor `right`.
    unsafe {
        gemm::gemm(
            m,
            n,
            depth,
            product.as_mut_ptr(),
            1,
            n as isize,
            keep,
            left.as_ptr(),
            1,
            depth as isize,
            values.as_ptr(),
            column_stride,
            row_stride,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
