//! The matrix products of the f64 pass, on the calling thread.

/// `scores = rows · candidatesᵀ` for (R, dim) and (C, dim): (R, C).
///
/// # Panics
/// If a length does not fit the others.
pub(crate) fn scores(rows: &[f64], candidates: &[f64], dim: usize, scores: &mut [f64]) {
    multiply(rows, candidates, true, dim, scores, false);
}

/// `sums += weights · candidates` for (R, C) and (C, dim): (R, dim).
///
/// # Panics
/// If a length does not fit the others.
pub(crate) fn add_weighted(weights: &[f64], candidates: &[f64], dim: usize, sums: &mut [f64]) {
    multiply(weights, candidates, false, candidates.len() / dim, sums, true);
}

/// `product = left · right`, added to what is there if `keep`, for row-major `left` (m, depth) and `product` (m, n). `right` is
/// row-major (depth, n), or (n, depth) if `transposed`.
fn multiply(left: &[f64], right: &[f64], transposed: bool, depth: usize, product: &mut [f64], keep: bool) {
    let (m, n) = (left.len() / depth, right.len() / depth);
    assert!(left.len() == m * depth && right.len() == depth * n && product.len() == m * n);
    let (column_stride, row_stride) = if transposed { (depth as isize, 1) } else { (1, n as isize) };
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
            right.as_ptr(),
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
