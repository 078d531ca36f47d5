//! Logistic regression against scikit-learn (the fixture and the script that made it are in `fixtures`).

use clsa_eval::EvalError;
use clsa_eval::features::Features;
use clsa_eval::protocols::{LogisticRegressionConfig, Tried, logistic_regression};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    dim: usize,
    train: Vec<f32>,
    train_labels: Vec<u32>,
    test: Vec<f32>,
    test_labels: Vec<u32>,
    fits: Vec<Fit>,
}

#[derive(Deserialize)]
struct Fit {
    regularization: f64,
    accuracy: f64,
    predicted: Vec<u32>,
}

fn fixture() -> (Features, Features, Vec<Fit>) {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/logistic_regression.json")).unwrap();
    let train = Features { values: fixture.train, dim: fixture.dim, labels: fixture.train_labels };
    let test = Features { values: fixture.test, dim: fixture.dim, labels: fixture.test_labels };
    (train, test, fixture.fits)
}

fn accuracy(predicted: &[Vec<u32>], labels: &[u32]) -> f64 {
    let right = predicted.iter().zip(labels).filter(|(ranked, label)| ranked[0] == **label).count();
    100.0 * right as f64 / labels.len() as f64
}

#[test]
fn logistic_regression_agrees_with_scikit_learn_at_each_regularization() {
    let (train, test, fits) = fixture();
    for fit in fits {
        let regularization = vec![fit.regularization];
        let config = LogisticRegressionConfig { regularization, ..LogisticRegressionConfig::default() };
        let (classifier, predictions) = logistic_regression(&train, &test, &config, &|_, _| {}).unwrap();
        let ranked = &predictions.ranked;
        let different = ranked.iter().zip(&fit.predicted).filter(|(ranked, class)| ranked[0] != **class).count();
        let ours = accuracy(ranked, &test.labels);
        assert!((ours - fit.accuracy).abs() <= 0.3, "λ {}: {ours} and {}", fit.regularization, fit.accuracy);
        assert!(different <= 2, "λ {}: {different} of {} differ", fit.regularization, test.len());
        assert!(classifier.is_minimum, "λ {}", fit.regularization);
        let stopped = LogisticRegressionConfig { max_iterations: 2, ..config };
        assert!(!logistic_regression(&train, &test, &stopped, &|_, _| {}).unwrap().0.is_minimum);
    }
}

#[test]
fn the_regularization_is_the_best_on_held_out_training_images() {
    let (train, test, fits) = fixture();
    let config = LogisticRegressionConfig::default();
    let (classifier, predictions) = logistic_regression(&train, &test, &config, &|_, _| {}).unwrap();
    let best = classifier.held_out.iter().map(|tried| tried.score).fold(0.0, f64::max);
    assert!(classifier.held_out.contains(&Tried { value: classifier.regularization, score: best }));
    let best = fits.iter().map(|fit| fit.accuracy).fold(0.0, f64::max);
    let ours = accuracy(&predictions.ranked, &test.labels);
    assert!(ours > best - 2.0, "{ours} where the best of the test set is {best}");
}

#[test]
fn test_images_do_not_decide_the_regularization() {
    let (train, test, _) = fixture();
    let config = LogisticRegressionConfig { regularization: vec![1.0, 0.01, 0.001], ..Default::default() };
    let (one, predictions) = logistic_regression(&train, &test, &config, &|_, _| {}).unwrap();
    let wrong = Features { labels: test.labels.iter().map(|c| (c + 1) % 6).collect(), ..test };
    let (other, of_wrong) = logistic_regression(&train, &wrong, &config, &|_, _| {}).unwrap();
    assert_eq!((one.regularization, predictions), (other.regularization, of_wrong));
}

#[test]
fn a_constant_feature_changes_nothing() {
    let (train, test, _) = fixture();
    let widen = |features: &Features| Features {
        values: features.values.chunks(features.dim).flat_map(|row| row.iter().copied().chain([0.1])).collect(),
        dim: features.dim + 1,
        labels: features.labels.clone(),
    };
    let config = LogisticRegressionConfig { regularization: vec![0.01], ..LogisticRegressionConfig::default() };
    let (_, one) = logistic_regression(&train, &test, &config, &|_, _| {}).unwrap();
    let (_, other) = logistic_regression(&widen(&train), &widen(&test), &config, &|_, _| {}).unwrap();
    assert_eq!(one, other);
}

#[test]
fn wrong_settings_are_refused() {
    let (train, test, _) = fixture();
    let refused =
        |config| matches!(logistic_regression(&train, &test, &config, &|_, _| {}), Err(EvalError::Setting { .. }));
    assert!(refused(LogisticRegressionConfig { regularization: Vec::new(), ..Default::default() }));
    assert!(refused(LogisticRegressionConfig { regularization: vec![-1.0], ..Default::default() }));
    assert!(refused(LogisticRegressionConfig { held_out: 1.0, ..Default::default() }));
}
