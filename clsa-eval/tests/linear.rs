//! The linear protocol: what it learns, and that it can be interrupted.

mod small;
mod state;

use clsa_augment::CenterCrop;
use clsa_data::{Dataset, Source, Split};
use clsa_eval::EvalError;
use clsa_eval::features::extract;
use clsa_eval::protocols::{LinearConfig, LinearResult, TrainTest, linear};
use small::encoder;
use state::state;
use std::path::Path;
use std::sync::Arc;

const CLASSES: usize = 3;

fn data(split: Split) -> Arc<dyn Dataset> {
    let source: Source = "procedural:classes=3,train=96,test=60,side=16".parse().unwrap();
    source.open(split).unwrap()
}

fn run(config: &LinearConfig, state: Option<&Path>, stop_after: u64) -> Result<LinearResult, EvalError> {
    // Also of those that choose a learning rate, which see fewer images but as many batches.
    let batches_per_epoch = 96u64.div_ceil(config.batch_size.max(1) as u64);
    let interrupt = |done: u64, of: u64| {
        assert!(done <= of && of.is_multiple_of(config.epochs * batches_per_epoch), "{done} of {of}");
        assert!((done - 1) / batches_per_epoch < stop_after, "interrupted");
    };
    let (train, test) = (data(Split::Train), data(Split::Test));
    let images = TrainTest { train, test, transform: CenterCrop::new(16, 16) };
    linear(&encoder(0), &images, config, state, &interrupt)
}

fn config() -> LinearConfig {
    LinearConfig { epochs: 6, batch_size: 32, lr: vec![1.0], ..LinearConfig::default() }
}

/// Largest eigenvalue of the mean of `x xᵀ` over the features of the training images, each with a 1 for the bias.
fn largest_curvature() -> f64 {
    let train = data(Split::Train);
    let indices: Vec<usize> = (0..train.len()).collect();
    let features = extract(&encoder(0), train.as_ref(), &indices, &CenterCrop::new(16, 16), 32, &|_, _| {}).unwrap();
    let rows: Vec<Vec<f64>> =
        (0..features.len()).map(|i| features.row(i).iter().map(|&x| f64::from(x)).chain([1.0]).collect()).collect();
    let mut direction = vec![1.0; features.dim + 1];
    let mut value = 0.0;
    for _ in 0..50 {
        let mut product = vec![0.0; direction.len()];
        for row in &rows {
            let along: f64 = row.iter().zip(&direction).map(|(x, d)| x * d).sum();
            product.iter_mut().zip(row).for_each(|(p, x)| *p += along * x / rows.len() as f64);
        }
        value = product.iter().map(|p| p * p).sum::<f64>().sqrt();
        direction = product.iter().map(|p| p / value).collect();
    }
    value
}

/// The protocol takes features as they are, so the learning rates that it can use depend on their scale. Near its start
/// the objective curves by at most `λ / classes`, λ the largest curvature of the features (`1 / classes` is that of the
/// softmax where all classes are equally likely), and SGD with momentum m on whole epochs is stable up to
/// `2 (1 + m) / curvature`. The features of an encoder that was never trained are large, since its batch norm's running
/// statistics normalize nothing: here the limit is 1.7, far below the paper's 10, which suits the small features of a
/// trained ResNet-50.
fn stable_lr() -> f64 {
    2.0 * (1.0 + LinearConfig::default().momentum) / (largest_curvature() / CLASSES as f64)
}

/// Each epoch is one batch. Batches of 32 of these 96 images have another share of the classes each, which moves the
/// classifier along the mean of all features: at learning rate 1 it takes more than 12 epochs of cosine to settle.
#[test]
fn linear_fits_the_training_images_better_than_a_guess_up_to_the_learning_rate_where_sgd_is_stable() {
    let train_loss = |lr: f64| {
        let config = LinearConfig { epochs: 30, batch_size: 96, lr: vec![lr], ..config() };
        let result = run(&config, None, config.epochs).unwrap();
        assert_eq!((result.predictions.ranked.len(), result.labels.len()), (60, 60));
        result.train_loss.unwrap()
    };
    let guess = (CLASSES as f64).ln();
    let (stable, unstable) = (train_loss(0.6 * stable_lr()), train_loss(2.0 * stable_lr()));
    assert!(stable < guess - 0.01 && unstable > guess, "{stable} and {unstable} where a guess has {guess}");
}

#[test]
fn an_interrupted_linear_evaluation_ends_with_the_same_classifier() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole.safetensors"), folder.path().join("parts.safetensors"));
    let uninterrupted = run(&config(), Some(&whole), 6).unwrap();
    let interrupted = std::panic::catch_unwind(|| run(&config(), Some(&parts), 3));
    assert!(interrupted.is_err());
    assert!(state(&whole) != state(&parts));
    let resumed = run(&config(), Some(&parts), 6).unwrap();
    assert_eq!(resumed.predictions, uninterrupted.predictions);
    assert!(state(&whole) == state(&parts));
    // Once more, and nothing is left to train: the loss and the time are those of before.
    let again = run(&config(), Some(&parts), 6).unwrap();
    assert_eq!(again.train_loss.map(f64::to_bits), uninterrupted.train_loss.map(f64::to_bits));
    assert_eq!((uninterrupted.seconds_before_resume, again.predictions), (0.0, uninterrupted.predictions));
    assert!(again.seconds_before_resume >= resumed.seconds_before_resume && resumed.seconds_before_resume > 0.0);
}

#[test]
fn of_several_learning_rates_the_best_on_held_out_images_is_taken_and_the_choice_can_be_interrupted() {
    let config = LinearConfig { epochs: 8, lr: vec![1e-9, 0.3, 1e12], ..config() };
    let folder = tempfile::tempdir().unwrap();
    let whole = run(&config, Some(&folder.path().join("whole.safetensors")), 16).unwrap();
    let tried: Vec<f64> = whole.held_out.iter().map(|tried| tried.value).collect();
    assert_eq!(tried, config.lr);
    let best = whole.held_out.iter().map(|tried| tried.score).fold(0.0, f64::max);
    let chosen = whole.held_out.iter().find(|tried| tried.value == whole.lr).unwrap();
    assert_eq!(chosen.score, best);
    assert_ne!(whole.held_out[2].score, best, "the choice says nothing: {:?}", whole.held_out);
    // What was chosen is then trained on all images, as if it had been the only one.
    let alone = run(&LinearConfig { lr: vec![whole.lr], ..config.clone() }, None, 8).unwrap();
    assert_eq!(alone.predictions, whole.predictions);
    let parts = folder.path().join("parts.safetensors");
    for stop_after in [3, 11] {
        assert!(std::panic::catch_unwind(|| run(&config, Some(&parts), stop_after)).is_err());
    }
    let resumed = run(&config, Some(&parts), 16).unwrap();
    assert_eq!((resumed.predictions, resumed.held_out), (whole.predictions, whole.held_out));
}

#[test]
fn a_training_whose_last_update_diverges_has_no_figure() {
    let once = LinearConfig { epochs: 1, batch_size: 96, ..config() };
    let error = run(&LinearConfig { lr: vec![1e39], ..once.clone() }, None, 1).unwrap_err();
    assert!(matches!(error, EvalError::Diverged { epoch: 0, .. }), "{error}");
    let chosen = run(&LinearConfig { lr: vec![1e39, 0.1], ..once }, None, 2).unwrap();
    assert_eq!((chosen.lr, chosen.held_out[0].score), (0.1, 0.0));
}

#[test]
fn a_state_that_a_killed_process_has_left_half_written_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let left = folder.path().join(".clsa-writing-a1B2c3");
    std::fs::write(&left, b"half").unwrap();
    let once = LinearConfig { epochs: 1, ..config() };
    run(&once, Some(&folder.path().join("state.safetensors")), 1).unwrap();
    assert!(!left.exists());
}

#[test]
fn a_damaged_state_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.safetensors");
    std::fs::write(&state, b"nonsense").unwrap();
    let error = run(&config(), Some(&state), 6).unwrap_err();
    assert!(error.to_string().contains("state.safetensors"), "{error}");
}

#[test]
fn settings_out_of_range_are_refused() {
    for config in [
        LinearConfig { epochs: 0, ..config() },
        LinearConfig { batch_size: 0, ..config() },
        LinearConfig { lr: vec![f64::NAN], ..config() },
    ] {
        assert!(matches!(run(&config, None, 6), Err(EvalError::Setting { .. })));
    }
}
