//! Features in two dimensions: principal components and t-SNE.

use crate::EvalError;
use crate::features::Features;
use crate::nearest::nearest;
use bhtsne::{Neighbor, tSNE};
use nalgebra::{DMatrix, SymmetricEigen};

/// Effective number of neighbors of t-SNE (van der Maaten & Hinton 2008), less where there are few images.
const PERPLEXITY: f32 = 30.0;
/// Accuracy of the Barnes-Hut approximation (van der Maaten 2014).
const THETA: f32 = 0.5;
/// Images that t-SNE needs at least.
const FEWEST: usize = 12;

/// The first two principal components.
#[derive(Clone, Debug)]
pub(super) struct Pca {
    /// Coordinates of each image.
    pub points: Vec<[f64; 2]>,
    /// Share of the variance that each of the two explains, percent.
    pub explained: [f64; 2],
}

/// Principal components of L2-normalized features, each turned so that its largest coordinate is positive.
///
/// # Errors
/// All features are the same.
pub(super) fn pca(features: &Features) -> Result<Pca, String> {
    let (n, dim) = (features.len(), features.dim);
    if n < 2 {
        return Err("a map needs at least two images".to_owned());
    }
    let mut rows = DMatrix::from_row_iterator(n, dim, features.values.iter().map(|&value| f64::from(value)));
    for mut row in rows.row_iter_mut() {
        let norm = row.norm();
        if norm > 0.0 {
            row /= norm;
        }
    }
    let mean = rows.row_mean();
    rows.row_iter_mut().for_each(|mut row| row -= &mean);
    // Covariance and Gram matrix have the same eigenvalues but for zeros; the smaller one is decomposed.
    let by_covariance = dim <= n;
    let product = if by_covariance { rows.tr_mul(&rows) } else { &rows * rows.transpose() };
    let total = product.trace();
    if total <= 1e-12 * n as f64 {
        return Err("the encoder gives all images the same features: it has collapsed".to_owned());
    }
    let SymmetricEigen { eigenvectors, eigenvalues } = product.symmetric_eigen();
    let mut order: Vec<usize> = (0..eigenvalues.len()).collect();
    order.sort_by(|&a, &b| eigenvalues[b].total_cmp(&eigenvalues[a]));
    let component = |rank: usize| -> (Vec<f64>, f64) {
        let Some(&at) = order.get(rank) else { return (vec![0.0; n], 0.0) };
        let value = eigenvalues[at].max(0.0);
        let vector = eigenvectors.column(at);
        let scores = if by_covariance { &rows * vector } else { vector * value.sqrt() };
        let largest = scores.iter().fold(0.0, |most: f64, &x| if x.abs() > most.abs() + 1e-9 { x } else { most });
        let sign = if largest < 0.0 { -1.0 } else { 1.0 };
        (scores.iter().map(|x| sign * x).collect(), 100.0 * value / total)
    };
    let ((x, first), (y, second)) = (component(0), component(1));
    let points = x.into_iter().zip(y).map(|(x, y)| [x, y]).collect();
    Ok(Pca { points, explained: [first, second] })
}

/// Barnes-Hut t-SNE of features by cosine, from the principal components of these and possibly further images on.
///
/// It runs on one thread: sums over several would depend on which thread came first.
///
/// # Errors
/// There are too few images, or they did not spread out.
pub(super) fn tsne(features: &Features, start: &Pca) -> Result<Vec<[f64; 2]>, String> {
    let n = features.len();
    if n < FEWEST {
        return Err(format!("t-SNE needs at least {FEWEST} images, and there are {n}"));
    }
    let perplexity = PERPLEXITY.min((n - 1) as f32 / 4.0);
    let k = (3.0 * perplexity) as usize;
    let similar = nearest(features, features, k + 1).map_err(|error: EvalError| error.to_string())?;
    let neighbors: Vec<Vec<Neighbor<f32>>> = similar
        .into_iter()
        .enumerate()
        .map(|(image, similar)| {
            let others = similar.into_iter().filter(|other| other.index as usize != image).take(k);
            let distance = |similarity: f32| (2.0 - 2.0 * similarity).max(0.0).sqrt();
            others.map(|other| Neighbor { index: other.index as usize, distance: distance(other.similarity) }).collect()
        })
        .collect();
    let start = &start.points[..n];
    let spread = (start.iter().map(|p| p[0] * p[0]).sum::<f64>() / n as f64).sqrt();
    let initial: Vec<f32> = start.iter().flatten().map(|x| (1e-4 * x / spread) as f32).collect();
    let images: Vec<usize> = (0..n).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().map_err(|error| error.to_string())?;
    let flat = pool.install(|| {
        let mut tsne: tSNE<f32, usize> = tSNE::new(&images);
        tsne.perplexity(perplexity).initial_embedding(initial).barnes_hut_with_neighbors(THETA, &neighbors);
        tsne.embedding()
    });
    if flat.iter().any(|x| !x.is_finite()) {
        return Err("t-SNE of these features did not converge".to_owned());
    }
    Ok(flat.chunks_exact(2).map(|p| [f64::from(p[0]), f64::from(p[1])]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images in two groups, 5 and 3 values along directions that are at right angles.
    fn groups(n: usize) -> Features {
        let row = |i: usize| {
            let jitter = |j: usize| ((i * 37 + j * 101) % 17) as f32 / 170.0;
            let mut row: Vec<f32> = (0..6).map(jitter).collect();
            row[3 * (i % 2)] += 2.0;
            row
        };
        Features { values: (0..n).flat_map(row).collect(), dim: 6, labels: (0..n as u32).map(|i| i % 2).collect() }
    }

    fn separated(points: &[[f64; 2]]) -> bool {
        let mean = |group: usize| {
            let of: Vec<_> = points.iter().skip(group).step_by(2).collect();
            [0, 1].map(|axis| of.iter().map(|p| p[axis]).sum::<f64>() / of.len() as f64)
        };
        let means = [mean(0), mean(1)];
        let distance = |p: &[f64; 2], to: [f64; 2]| (p[0] - to[0]).hypot(p[1] - to[1]);
        points.iter().enumerate().all(|(i, p)| distance(p, means[i % 2]) < distance(p, means[1 - i % 2]))
    }

    #[test]
    fn both_projections_keep_two_groups_apart_and_repeat_themselves() {
        let features = groups(60);
        let components = pca(&features).unwrap();
        assert!(separated(&components.points));
        assert!(components.explained[0] > 80.0 && components.explained[0] > components.explained[1]);
        let map = tsne(&features, &components).unwrap();
        assert!(separated(&map));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        assert_eq!(pool.install(|| tsne(&features, &components).unwrap()), map);
    }

    #[test]
    fn covariance_and_gram_matrix_give_the_same_components() {
        let wide = groups(60);
        let padded: Vec<f32> = (0..60).flat_map(|i| [wide.row(i), &[0.0; 80]].concat()).collect();
        let padded = Features { values: padded, dim: 86, labels: wide.labels.clone() };
        for (a, b) in pca(&wide).unwrap().points.iter().zip(&pca(&padded).unwrap().points) {
            assert!((a[0] - b[0]).abs() < 1e-9 && (a[1] - b[1]).abs() < 1e-9, "{a:?} {b:?}");
        }
    }

    #[test]
    fn collapsed_features_and_few_images_are_errors() {
        let same = Features { values: vec![1.0; 80], dim: 4, labels: vec![0; 20] };
        assert!(pca(&same).unwrap_err().contains("collapsed"));
        let few = groups(6);
        assert!(tsne(&few, &pca(&few).unwrap()).unwrap_err().contains("at least 12"));
    }
}
