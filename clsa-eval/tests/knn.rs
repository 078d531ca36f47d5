//! k-NN against the definition written out.

use clsa_eval::features::{Features, Labeled};
use clsa_eval::protocols::{KnnConfig, LogisticClassifier, LogisticRegressionConfig, knn, same_class_share};
use clsa_eval::{EvalError, nearest};
use proptest::prelude::*;

fn features(rows: &[(&[f32], u32)]) -> Features {
    Features {
        values: rows.iter().flat_map(|(row, _)| row.iter().copied()).collect(),
        dim: rows[0].0.len(),
        labels: rows.iter().map(|(_, label)| *label).collect(),
    }
}

/// How far single precision may move a cosine of up to twenty dimensions.
const ROUNDING: f64 = 2e-6;

/// Cosine and class of all training features by the definition, nearest first; no blocks, no threshold.
fn by_definition(train: &Features, query: &[f32]) -> Vec<(f64, u32)> {
    let unit = |row: &[f32]| {
        let norm = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        row.iter().map(|x| f64::from(*x) / norm).collect::<Vec<_>>()
    };
    let query = unit(query);
    let cosine = |row: &[f32]| unit(row).iter().zip(&query).map(|(a, b)| a * b).sum();
    let mut all: Vec<(f64, u32)> = (0..train.len()).map(|i| (cosine(train.row(i)), train.labels[i])).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    all
}

/// The votes of each class if every similarity were moved by `moved`, and with it the border of the k nearest.
fn votes(neighbors: &[(f64, u32)], classes: usize, k: usize, temperature: f64, moved: f64) -> Vec<f64> {
    let border = neighbors[k - 1].0 - 2.0 * moved;
    let mut votes = vec![0.0; classes];
    for (similarity, class) in neighbors.iter().take_while(|(similarity, _)| *similarity >= border) {
        votes[*class as usize] += ((similarity + moved) / temperature).exp();
    }
    votes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn knn_equals_its_definition_for_any_sizes(
        seed in 0u64..1000, train in 8usize..6000, test in 1usize..30, k in 1usize..250, dim in 2usize..20
    ) {
        let mut state = seed;
        let mut random = |n: usize| -> Vec<f32> {
            (0..n).map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 40) as f32 / (1 << 23) as f32 - 1.0
            }).collect()
        };
        let train = Features { values: random(train * dim), dim, labels: (0..train as u32).map(|i| i % 7).collect() };
        let test = Features { values: random(test * dim), dim, labels: (0..test as u32).map(|i| i % 7).collect() };
        let k = k.min(train.len());
        let result = knn(&train, &test, &KnnConfig { k, temperature: 0.07 }).unwrap();
        for (row, ranked) in result.predictions.ranked.iter().enumerate() {
            let neighbors = by_definition(&train, test.row(row));
            let most = votes(&neighbors, 7, k, 0.07, ROUNDING);
            let least = votes(&neighbors, 7, k, 0.07, -ROUNDING);
            let voted = least.iter().filter(|votes| **votes > 0.0).count();
            prop_assert!(ranked.len() >= voted.min(5), "row {row}: {ranked:?} of {voted} classes with votes");
            for (place, &named) in ranked.iter().enumerate() {
                // Only where rounding could have decided may a class that comes later be ahead by the definition.
                let (before, most) = (&ranked[..=place], most[named as usize]);
                let ahead = least.iter().enumerate().find(|&(class, votes)| !before.contains(&(class as u32)) && *votes > most);
                prop_assert!(ahead.is_none(), "row {row}: class {named} is at place {place}, but {ahead:?} is ahead of {most}");
            }
        }
    }
}

#[test]
fn a_close_neighbor_outvotes_two_distant_ones() {
    let train = features(&[(&[1.0, 0.0], 0), (&[0.0, 1.0], 1), (&[0.1, 1.0], 1)]);
    let test = features(&[(&[2.0, 0.1], 0)]);
    let result = knn(&train, &test, &KnnConfig { k: 3, temperature: 0.07 }).unwrap();
    assert_eq!(result.predictions.ranked, [[0, 1]]);
    let result = knn(&train, &test, &KnnConfig { k: 3, temperature: 100.0 }).unwrap();
    assert_eq!(result.predictions.ranked, [[1, 0]], "at a high temperature every vote counts alike");
}

/// Rows in many directions, the last of which is the first once more.
fn around(count: usize, dim: usize) -> Vec<f32> {
    let mut values: Vec<f32> = (0..count * dim).map(|i| ((i * i) as f32 * 0.37 + i as f32).sin()).collect();
    values.copy_within(..dim, (count - 1) * dim);
    values
}

#[test]
fn of_equally_near_rows_the_earlier_one_votes_in_whatever_blocks_they_are() {
    for (count, dim) in [(5, 3), (500, 128), (4096, 16), (4097, 128), (4100, 37)] {
        let values = around(count, dim);
        let query = Features { values: values[..dim].to_vec(), dim, labels: vec![0] };
        for (first, last) in [(0, 1), (1, 0)] {
            let mut labels = vec![2; count];
            (labels[0], labels[count - 1]) = (first, last);
            let train = Features { values: values.clone(), dim, labels };
            let result = knn(&train, &query, &KnnConfig { k: 1, temperature: 0.07 }).unwrap();
            assert_eq!(result.predictions.ranked, [[first]], "{count} rows of {dim}");
        }
    }
}

#[test]
fn of_classes_with_equal_votes_the_lower_one_is_named() {
    let test = features(&[(&[1.0, 1.0], 0)]);
    for classes in [[0, 1], [1, 0]] {
        let train = features(&[(&[1.0, 0.0], classes[0]), (&[0.0, 1.0], classes[1])]);
        let result = knn(&train, &test, &KnnConfig { k: 2, temperature: 0.07 }).unwrap();
        assert_eq!(result.predictions.ranked, [[0, 1]]);
    }
}

#[test]
fn k_is_capped_by_the_training_set() {
    let train = features(&[(&[1.0, 0.0], 0), (&[0.0, 1.0], 1)]);
    let result = knn(&train, &train, &KnnConfig::default()).unwrap();
    assert_eq!((result.k, result.top1), (2, 100.0));
}

#[test]
fn a_class_without_votes_is_not_among_the_five() {
    let train = features(&[(&[1.0, 0.0], 0), (&[0.0, 1.0], 1)]);
    let test = features(&[(&[1.0, 0.0], 1)]);
    let result = knn(&train, &test, &KnnConfig { k: 1, ..KnnConfig::default() }).unwrap();
    assert_eq!((result.top1, result.top5), (0.0, 0.0));
}

#[test]
fn wrong_inputs_are_refused() {
    let two = features(&[(&[1.0, 0.0], 0), (&[0.0, 1.0], 1)]);
    let one = features(&[(&[1.0, 0.0], 0), (&[0.0, 1.0], 0)]);
    let other = features(&[(&[1.0, 0.0], 2)]);
    let nan = features(&[(&[1.0, f32::NAN], 0), (&[0.0, 1.0], 1)]);
    let wide = features(&[(&[1.0, 0.0, 0.0], 0)]);
    let short = Features { values: vec![1.0, 0.0, 0.0], dim: 2, labels: vec![0, 1] };
    let long = Features { values: vec![1.0, 0.0, 0.0, 1.0, 0.0], dim: 2, labels: vec![0, 1] };
    let config = KnnConfig::default();
    for wrong in [&short, &long] {
        for (train, test) in [(wrong, &two), (&two, wrong)] {
            let error = knn(train, test, &config).unwrap_err();
            assert!(matches!(error, EvalError::Size { what: "the feature buffer", expected: 4, .. }), "{error}");
        }
        assert!(LogisticClassifier::fit(wrong, &LogisticRegressionConfig::default(), &|_, _| {}).is_err());
    }
    let none = Features { values: Vec::new(), dim: 0, labels: vec![0, 1] };
    assert!(matches!(nearest(&none, &none, 1), Err(EvalError::Empty("training"))));
    assert!(matches!(nearest(&two, &two, 0), Err(EvalError::Setting { key: "k", .. })));
    assert_eq!(nearest(&two, &two, usize::MAX).unwrap()[1].len(), 2);
    let shares = same_class_share(Labeled::from(&two), Labeled::from(&two), 0, 0);
    assert!(matches!(shares, Err(EvalError::Setting { key: "neighbors", .. })));
    assert!(matches!(knn(&one, &two, &config), Err(EvalError::OneClass)));
    assert!(matches!(knn(&two, &other, &config), Err(EvalError::UnknownClass { class: 2, .. })));
    assert!(matches!(knn(&nan, &two, &config), Err(EvalError::NotFinite { row: 0, .. })));
    assert!(matches!(knn(&two, &wide, &config), Err(EvalError::Size { .. })));
    assert!(matches!(knn(&two, &two, &KnnConfig { k: 0, ..config }), Err(EvalError::Setting { .. })));
    assert!(matches!(knn(&two, &two, &KnnConfig { temperature: 0.0, ..config }), Err(EvalError::Setting { .. })));
}
