//! The matrix product of the f64 pass.

/// `c = keep * c + a · b` for row-major `a` (m, k) and `c` (m, n), on the calling thread; `b` is row-major (k, n), or (n, k) to be
/// transposed. `keep` is 0 or 1.
pub(crate) fn multiply_f64(
    a: &[f64],
    b: &[f64],
    transposed: bool,
    keep: bool,
    c: &mut [f64],
    (m, k, n): (usize, usize, usize),
) {
    assert!(a.len() == m * k && b.len() == k * n && c.len() == m * n);
    let (b_column, b_row) = if transposed { (k as isize, 1) } else { (1, n as isize) };
    // SAFETY: the strides stay within the lengths compared above, and `c` is not `a` or `b`.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            n as isize,
            keep,
            a.as_ptr(),
            1,
            k as isize,
            b.as_ptr(),
            b_column,
            b_row,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
