//! Linear layers in f32, by the `gemm` crate's matrix products.

use gemm::{Parallelism, gemm};

/// `out = x · weightᵀ + bias` for each row of `x`: `x` is (rows, inputs), `weight` (outputs, inputs), `bias` (outputs),
/// `out` (rows, outputs).
///
/// # Panics
/// The lengths do not fit each other, or there are no inputs or outputs.
pub fn linear(x: &[f32], weight: &[f32], bias: &[f32], out: &mut [f32]) {
    let outputs = bias.len();
    let inputs = weight.len() / outputs;
    assert_eq!(weight.len(), outputs * inputs);
    for row in out.chunks_exact_mut(outputs) {
        row.copy_from_slice(bias);
    }
    product(Matrix::new(x, inputs), Matrix::new(weight, inputs).transposed(), out, true);
}

/// The gradient of `x`, written to `out` (rows, inputs), from `gradient`, that of the output (rows, outputs). Those of
/// weight and bias are added to `weight_gradient` (outputs, inputs) and `bias_gradient` (outputs).
///
/// # Panics
/// The lengths do not fit each other, or there are no inputs or outputs.
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
    assert_eq!(weight.len(), outputs * inputs);
    let given = Matrix::new(gradient, outputs);
    product(given, Matrix::new(weight, inputs), out, false);
    product(given.transposed(), Matrix::new(x, inputs), weight_gradient, true);
    for row in gradient.chunks_exact(outputs) {
        for (sum, g) in bias_gradient.iter_mut().zip(row) {
            *sum += g;
        }
    }
}

/// A matrix with the distances between its rows and columns.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_distance: usize,
    column_distance: usize,
}

impl<'a> Matrix<'a> {
    /// Rows one after the other.
    ///
    /// # Panics
    /// The values are not whole rows.
    fn new(values: &'a [f32], columns: usize) -> Self {
        assert!(values.len().is_multiple_of(columns));
        Self { values, rows: values.len() / columns, columns, row_distance: columns, column_distance: 1 }
    }

    fn transposed(self) -> Self {
        let Self { values, rows, columns, row_distance, column_distance } = self;
        Self { values, rows: columns, columns: rows, row_distance: column_distance, column_distance: row_distance }
    }
}

/// `c = a · b`, added to what is there if `add`; `c` is (rows of `a`, columns of `b`).
fn product(a: Matrix<'_>, b: Matrix<'_>, c: &mut [f32], add: bool) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert!(c.len() == m * n && b.rows == k);
    let threads = Parallelism::Rayon(rayon::current_num_threads());
    let signed = |n: usize| n as isize;
    // SAFETY: the matrices are as long as their rows and columns, and `c` too.
    unsafe {
        gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            signed(n),
            add,
            a.values.as_ptr(),
            signed(a.column_distance),
            signed(a.row_distance),
            b.values.as_ptr(),
            signed(b.column_distance),
            signed(b.row_distance),
            1.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_network::{Sum, are_sums, values};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn linear_and_its_gradients_match_f64(
            (rows, inputs, outputs) in (1..40usize, 1..200usize, 1..150usize), seed in 0..1000usize
        ) {
            let (x, dy) = (values(rows * inputs, seed), values(rows * outputs, seed + 1));
            let (w, b) = (values(outputs * inputs, seed + 2), values(outputs, seed + 3));
            let mut y = vec![f32::NAN; rows * outputs];
            linear(&x, &w, &b, &mut y);
            // What is there is added to for the parameters, and written over for the input.
            let (mut dx, mut dw, mut db) = (vec![f32::NAN; x.len()], vec![0.5; w.len()], vec![-0.25; b.len()]);
            linear_backward(&x, &w, &dy, &mut dx, &mut dw, &mut db);

            let mut wanted: Vec<Sum> = (0..rows * outputs).map(|i| Sum::of(b[i % outputs].into())).collect();
            let (mut wanted_dx, mut wanted_dw) = (vec![Sum::default(); x.len()], vec![Sum::of(0.5); w.len()]);
            let mut wanted_db = vec![Sum::of(-0.25); b.len()];
            for (row, output) in (0..rows * outputs).map(|i| (i / outputs, i % outputs)) {
                let g = f64::from(dy[row * outputs + output]);
                wanted_db[output].add(g);
                for input in 0..inputs {
                    let (x, w) = (f64::from(x[row * inputs + input]), f64::from(w[output * inputs + input]));
                    wanted[row * outputs + output].add(x * w);
                    wanted_dx[row * inputs + input].add(g * w);
                    wanted_dw[output * inputs + input].add(g * x);
                }
            }
            prop_assert!(are_sums(&y, &wanted), "output");
            prop_assert!(are_sums(&dx, &wanted_dx), "input gradient");
            prop_assert!(are_sums(&dw, &wanted_dw), "weight gradient");
            prop_assert!(are_sums(&db, &wanted_db), "bias gradient");
        }
    }
}
