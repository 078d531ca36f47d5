//! Figures of embeddings that need no labels.

use crate::EvalError;
use clsa_run::LabelFree;
use nalgebra::DMatrix;
use rayon::prelude::*;

/// Added to each share of the singular values (Garrido et al. 2023, equation 1).
const RANK_ME_EPS: f64 = 1e-7;

/// The figures of two views of each image, given as rows of `dim` components that are of unit length; row `i` of both is of image
/// `i`.
///
/// # Errors
/// There are no images, the two are of different length, `dim` does not divide them, or a value is not finite.
///
/// # Examples
/// ```
/// use clsa_eval::metrics::label_free;
///
/// // Two images whose views agree, at right angles.
/// let figures = label_free(&[1.0, 0.0, 0.0, 1.0], &[1.0, 0.0, 0.0, 1.0], 2)?;
/// assert_eq!((figures.alignment, figures.own_view_retrieval), (0.0, 100.0));
/// assert!((figures.effective_rank - 2.0).abs() < 1e-5);
/// assert!((figures.uniformity - -4.0).abs() < 1e-9, "their squared distance is 2");
/// # Ok::<(), clsa_eval::EvalError>(())
/// ```
pub fn label_free(first: &[f32], second: &[f32], dim: usize) -> Result<LabelFree, EvalError> {
    if first.is_empty() || dim == 0 {
        return Err(EvalError::Empty("label-free"));
    }
    if second.len() != first.len() {
        return Err(EvalError::Size { what: "the array of second views", got: second.len(), expected: first.len() });
    }
    if !first.len().is_multiple_of(dim) {
        return Err(EvalError::Size { what: "the last row", got: first.len() % dim, expected: dim });
    }
    if let Some(row) = first.iter().chain(second).position(|value| !value.is_finite()) {
        return Err(EvalError::NotFinite { split: "monitored", row: row % first.len() / dim });
    }
    let images = first.len() / dim;
    let rows = |values: &[f32]| DMatrix::from_row_iterator(images, dim, values.iter().map(|&value| f64::from(value)));
    let (a, b) = (rows(first), rows(second));
    Ok(LabelFree {
        images,
        effective_rank: effective_rank(&a),
        alignment: (&a - &b).row_iter().map(|row| row.norm_squared()).sum::<f64>() / images as f64,
        uniformity: uniformity(first, dim),
        own_view_retrieval: own_view_retrieval(first, second, dim),
        spread: spread(&a),
    })
}

/// RankMe: the exponential of the entropy of the singular values' shares.
fn effective_rank(rows: &DMatrix<f64>) -> f64 {
    // Either product has the squares of the singular values; the smaller one is decomposed.
    let product = if rows.ncols() <= rows.nrows() { rows.tr_mul(rows) } else { rows * rows.transpose() };
    let singular: Vec<f64> = product.symmetric_eigenvalues().iter().map(|value| value.max(0.0).sqrt()).collect();
    let sum: f64 = singular.iter().sum();
    let shares = singular.iter().map(|value| value / sum.max(f64::MIN_POSITIVE) + RANK_ME_EPS);
    (-shares.map(|share| share * share.ln()).sum::<f64>()).exp()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn uniformity(values: &[f32], dim: usize) -> f64 {
    let rows: Vec<&[f32]> = values.chunks_exact(dim).collect();
    if rows.len() < 2 {
        return 0.0;
    }
    // The sums of the rows are added in their order, whatever the threads.
    let sums: Vec<f64> = (0..rows.len())
        .into_par_iter()
        .map(|i| {
            let squared = |j: usize| dot(rows[i], rows[i]) + dot(rows[j], rows[j]) - 2.0 * dot(rows[i], rows[j]);
            (0..i).map(|j| (-2.0 * squared(j).max(0.0)).exp()).sum()
        })
        .collect();
    let pairs = rows.len() * (rows.len() - 1) / 2;
    (sums.iter().sum::<f64>() / pairs as f64).ln()
}

fn own_view_retrieval(first: &[f32], second: &[f32], dim: usize) -> f64 {
    let candidates: Vec<&[f32]> = second.chunks_exact(dim).collect();
    let found = first
        .par_chunks_exact(dim)
        .enumerate()
        .filter(|(own, query)| {
            let similarity = dot(query, candidates[*own]);
            // Another that is as near counts against it, so that views which are all alike find nothing.
            !(0..candidates.len()).any(|other| other != *own && dot(query, candidates[other]) >= similarity)
        })
        .count();
    100.0 * found as f64 / candidates.len() as f64
}

fn spread(rows: &DMatrix<f64>) -> f64 {
    let deviations = rows.column_iter().map(|column| column.variance().sqrt());
    deviations.sum::<f64>() / rows.ncols() as f64 * (rows.ncols() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_distr::StandardNormal;
    use rand_xoshiro::Xoshiro256PlusPlus;

    /// Rows in random directions, each with `noise` added.
    fn views(images: usize, dim: usize, noise: f32, seed: u64) -> (Vec<f32>, Vec<f32>) {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut normal = || rng.sample::<f32, _>(StandardNormal);
        let base: Vec<f32> = (0..images * dim).map(|_| normal()).collect();
        let mut view = || unit(base.iter().map(|x| x + noise * normal()).collect(), dim);
        (view(), view())
    }

    fn unit(mut values: Vec<f32>, dim: usize) -> Vec<f32> {
        for row in values.chunks_exact_mut(dim) {
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.iter_mut().for_each(|x| *x /= length);
        }
        values
    }

    #[test]
    fn embeddings_that_are_all_the_same_have_rank_one_and_no_spread_and_find_nothing() {
        let same = unit([0.3, -0.4, 0.5].repeat(200), 3);
        let figures = label_free(&same, &same, 3).unwrap();
        assert!((figures.effective_rank - 1.0).abs() < 1e-4, "{figures:?}");
        assert!(figures.spread < 1e-6 && figures.own_view_retrieval == 0.0 && figures.is_collapsed(), "{figures:?}");
        assert!(figures.uniformity.abs() < 1e-6);
    }

    #[test]
    fn evenly_spread_embeddings_have_full_rank_and_a_spread_of_one() {
        let (first, second) = views(2000, 16, 0.1, 1);
        let figures = label_free(&first, &second, 16).unwrap();
        assert!(figures.effective_rank > 15.9 && (figures.spread - 1.0).abs() < 0.01, "{figures:?}");
        assert!(figures.own_view_retrieval > 99.0 && !figures.is_collapsed());
        // Far views of an image are worse by every figure that looks at pairs.
        let (first, second) = views(2000, 16, 2.0, 1);
        let far = label_free(&first, &second, 16).unwrap();
        assert!(far.alignment > figures.alignment && far.own_view_retrieval < figures.own_view_retrieval);
    }

    #[test]
    fn figures_of_four_images_are_those_of_the_formulas() {
        let first = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
        let second = [0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
        let figures = label_free(&first, &second, 2).unwrap();
        // Of four images one has views that differ, at the squared distance 2, and none has its own view alone.
        assert_eq!((figures.alignment, figures.own_view_retrieval), (0.5, 0.0));
        // The singular values are √3 and 1.
        let share = 3f64.sqrt() / (3f64.sqrt() + 1.0);
        let entropy = -share * share.ln() - (1.0 - share) * (1.0 - share).ln();
        assert!((figures.effective_rank - entropy.exp()).abs() < 1e-4, "{figures:?}");
        // Three of six pairs are equal, three at the squared distance 2.
        assert!((figures.uniformity - (0.5 + 0.5 * (-4f64).exp()).ln()).abs() < 1e-9, "{figures:?}");
        assert!((figures.spread - 0.375f64.sqrt()).abs() < 1e-9, "{figures:?}");
    }

    #[test]
    fn what_cannot_be_judged_is_refused() {
        assert!(matches!(label_free(&[], &[], 2), Err(EvalError::Empty(_))));
        assert!(matches!(label_free(&[1.0, 0.0], &[1.0], 2), Err(EvalError::Size { got: 1, expected: 2, .. })));
        let error = label_free(&[0.0; 5], &[0.0; 5], 3).unwrap_err();
        assert_eq!(error.to_string(), "the last row has 2 values where 3 are expected");
        let error = label_free(&[1.0, 0.0, 0.0, f32::NAN], &[1.0, 0.0, 0.0, 1.0], 2).unwrap_err();
        assert!(matches!(error, EvalError::NotFinite { row: 1, .. }), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn figures_are_in_their_ranges_and_do_not_depend_on_a_rotation_of_the_images(
            images in 2..60usize, dim in 1..20usize, noise in 0f32..3.0, seed in 0..1000u64
        ) {
            let (first, second) = views(images, dim, noise, seed);
            let figures = label_free(&first, &second, dim).unwrap();
            prop_assert!((0.99..=dim.min(images) as f64 + 0.01).contains(&figures.effective_rank), "{:?}", figures);
            prop_assert!((0.0..=4.001).contains(&figures.alignment) && figures.uniformity <= 1e-9);
            prop_assert!((0.0..=100.0).contains(&figures.own_view_retrieval));
            let turned = |values: &[f32]| [&values[dim..], &values[..dim]].concat();
            let other = label_free(&turned(&first), &turned(&second), dim).unwrap();
            prop_assert_eq!(other.own_view_retrieval, figures.own_view_retrieval);
            prop_assert!((other.effective_rank - figures.effective_rank).abs() < 1e-6);
            prop_assert!((other.uniformity - figures.uniformity).abs() < 1e-9);
        }
    }
}
