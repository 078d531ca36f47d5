//! Linear layers in f32, by the `gemm` crate's matrix products.

use gemm::{Parallelism, gemm};

/// `out = x · weightᵀ + bias` for each row of `x`; `weight` is (outputs, inputs), `bias` (outputs).
pub fn linear(x: &[f32], weight: &[f32], bias: &[f32], out: &mut [f32]) {
    let outputs = bias.len();
    let inputs = weight.len() / outputs;
    let rows = x.len() / inputs;
    for row in out.chunks_exact_mut(outputs) {
        row.copy_from_slice(bias);
    }
    product([rows, outputs, inputs], (x, [inputs, 1]), (weight, [1, inputs]), out, true);
}

/// The gradient of `x` from that of the output, written to `out`; those of weight and bias are added to theirs.
pub fn linear_backward(
    x: &[f32],
    weight: &[f32],
    gradient: &[f32],
    out: &mut [f32],
    weight_gradient: &mut [f32],
    bias_gradient: &mut [f32],
) {
    let outputs = bias_gradient.len();
    let inputs = weight.len() / outputs;
    let rows = x.len() / inputs;
    product([rows, inputs, outputs], (gradient, [outputs, 1]), (weight, [inputs, 1]), out, false);
    product([outputs, inputs, rows], (gradient, [1, outputs]), (x, [inputs, 1]), weight_gradient, true);
    for row in gradient.chunks_exact(outputs) {
        for (sum, g) in bias_gradient.iter_mut().zip(row) {
            *sum += g;
        }
    }
}

/// `c = a · b`, added to what is there if `add`, for (rows, columns) `c` of `m` x `n` and `a`, `b` with the given distances
/// between rows and columns.
fn product(
    [m, n, k]: [usize; 3],
    (a, [a_row, a_column]): (&[f32], [usize; 2]),
    (b, [b_row, b_column]): (&[f32], [usize; 2]),
    c: &mut [f32],
    add: bool,
) {
    assert!(c.len() == m * n && a.len() == m * k && b.len() == k * n);
    let threads = Parallelism::Rayon(rayon::current_num_threads());
    let signed = |n: usize| n as isize;
    // SAFETY: the lengths are checked above; each operand is dense, with rows or columns one after the other.
    unsafe {
        gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            signed(n),
            add,
            a.as_ptr(),
            signed(a_column),
            signed(a_row),
            b.as_ptr(),
            signed(b_column),
            signed(b_row),
            1.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
}
