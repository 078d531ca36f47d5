//! The voc07 protocol: what its classifier learns from crops.

use clsa_data::Presence;
use clsa_eval::EvalError;
use clsa_eval::features::{Features, TEST_CROPS, TRAIN_CROPS};
use clsa_eval::metrics::AveragePrecision;
use clsa_eval::protocols::{Voc07Config, Voc07Result, voc07};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

const CLASSES: usize = 3;

type Labels = Vec<Arc<[Presence]>>;

/// Images that show class c where bit c of their number is set, and of each so many crops whose features are the bits
/// as ±1 and noise.
fn images(count: usize, crops: usize, seed: u64) -> (Features, Labels) {
    let mut state = seed;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let shown = |image: usize, class: usize| image >> class & 1 == 1;
    let mut values = Vec::new();
    for row in 0..count * crops {
        values.extend((0..CLASSES).map(|class| if shown(row / crops, class) { 1.0 } else { -1.0 } + noise()));
        values.push(1.0 + noise());
    }
    let presence = |image, class| if shown(image, class) { Presence::Present } else { Presence::Absent };
    let labels = (0..count).map(|image| (0..CLASSES).map(|class| presence(image, class)).collect()).collect();
    (Features { values, dim: CLASSES + 1, labels: vec![0; count * crops] }, labels)
}

fn config(lr: &[f64]) -> Voc07Config {
    Voc07Config { epochs: 20, batch_size: 16, lr: lr.to_vec(), ..Voc07Config::default() }
}

fn run(labels: &Labels, config: &Voc07Config, progress: &dyn Fn(u64, u64)) -> Voc07Result {
    let (train, test) = (images(64, TRAIN_CROPS, 1).0, images(40, TEST_CROPS, 2).0);
    voc07(&train, labels, &test, config, progress).unwrap()
}

#[test]
fn classes_that_features_tell_apart_are_ranked_without_a_mistake() {
    let reported = RefCell::new(Vec::new());
    let result =
        run(&images(64, 1, 1).1, &config(&[1e-9, 0.3, 1e9]), &|done, all| reported.borrow_mut().push((done, all)));
    let precision = AveragePrecision::of(&result.scores, &images(40, 1, 2).1, 0);
    assert_eq!((precision.mean.value, precision.mean_11_point.value), (100.0, 100.0));
    assert_eq!(result.lr, 0.3, "chosen on the held-out images: {:?}", result.held_out);
    let reported = reported.into_inner();
    assert_eq!(
        (reported[0], reported[reported.len() - 1]),
        ((1, 80), (80, 80)),
        "three trainings to choose by, and the last"
    );
    assert!(reported.is_sorted());
}

#[test]
fn a_learning_rate_is_judged_by_images_that_its_classifier_has_not_seen() {
    // A feature for each image, which says nothing of the others: of an image that was held out nothing is known.
    let labels = images(64, 1, 1).1;
    let features = |crops: usize| Features {
        values: (0..64 * crops).flat_map(|row| (0..64).map(move |at| f32::from(at == row / crops))).collect(),
        dim: 64,
        labels: vec![0; 64 * crops],
    };
    let (train, test) = (features(TRAIN_CROPS), features(TEST_CROPS));
    let result = voc07(&train, &labels, &test, &config(&[0.1, 0.3]), &|_, _| {}).unwrap();
    let known = AveragePrecision::of(&result.scores, &labels, 0).mean.value;
    assert!(known > 99.0, "{known} on the images that were trained on");
    let scores: Vec<f64> = result.held_out.iter().map(|tried| tried.score).collect();
    assert!(scores.len() == 2 && scores.iter().all(|score| *score < 90.0), "{scores:?}");
}

#[test]
fn a_training_that_diverges_is_said_to_have_done_so_in_its_epoch() {
    let ((train, labels), test) = (images(64, TRAIN_CROPS, 1), images(40, TEST_CROPS, 2).0);
    let reported = Cell::new(0);
    let error = voc07(&train, &labels, &test, &config(&[1e38]), &|done, _| reported.set(done)).unwrap_err();
    // The epochs that were reported are those before it.
    assert!(matches!(error, EvalError::Diverged { epoch, .. } if epoch == reported.get() && epoch < 19), "{error}");
}

#[test]
fn a_training_whose_last_update_diverges_is_said_to_have_done_so() {
    let ((train, labels), test) = (images(64, TRAIN_CROPS, 1), images(40, TEST_CROPS, 2).0);
    let config = Voc07Config { epochs: 1, batch_size: 64, ..config(&[1e39]) };
    let error = voc07(&train, &labels, &test, &config, &|_, _| {}).unwrap_err();
    assert!(matches!(error, EvalError::Diverged { epoch: 0, .. }), "{error}");
}

#[test]
fn a_learning_rate_is_not_chosen_by_images_without_any_class() {
    let ((train, labels), test) = (images(64, TRAIN_CROPS, 1), images(40, TEST_CROPS, 2).0);
    let difficult = |label: &Arc<[Presence]>| label.iter().map(|_| Presence::Difficult).collect();
    let labels: Labels = labels.iter().map(difficult).collect();
    let error = voc07(&train, &labels, &test, &config(&[0.03, 0.3]), &|_, _| {}).unwrap_err().to_string();
    assert!(error.contains("too few training images to choose by; give a single value"), "{error}");
}

#[test]
fn an_image_with_difficult_objects_alone_teaches_its_class_nothing() {
    let mut labels = images(64, 1, 1).1;
    let result = |labels: &Labels| run(labels, &config(&[0.3]), &|_, _| {}).scores;
    let plain = result(&labels);
    // The first half of the images says the opposite of what it shows of class 0.
    let says = |labels: &mut Labels, presence: &dyn Fn(usize) -> Presence| {
        for (image, label) in labels.iter_mut().enumerate().take(32) {
            let mut all = label.to_vec();
            all[0] = presence(image);
            *label = all.into();
        }
    };
    says(&mut labels, &|image| if image & 1 == 1 { Presence::Absent } else { Presence::Present });
    let misled = result(&labels);
    says(&mut labels, &|_| Presence::Difficult);
    let taught_less = result(&labels);
    let test = images(40, 1, 2).1;
    let precision = |scores: &[f64]| AveragePrecision::of(scores, &test, 0).per_class[0].area;
    assert_eq!((precision(&plain), precision(&taught_less)), (100.0, 100.0));
    assert!(precision(&misled) < 95.0, "{}", precision(&misled));
    // Nor that the class is absent: where it is present the classifier is as sure as before.
    let sure = |scores: &[f64]| scores.chunks_exact(CLASSES).skip(1).step_by(2).map(|s| s[0]).sum::<f64>() / 20.0;
    assert!(sure(&taught_less) > 0.9 * sure(&plain), "{} and {}", sure(&taught_less), sure(&plain));
    let other = |scores: &[f64]| scores.chunks_exact(CLASSES).flat_map(|s| s[1..].to_vec()).collect::<Vec<_>>();
    assert_eq!(other(&plain), other(&taught_less), "the other classes learn the same");
}

#[test]
fn test_crops_that_are_no_whole_images_or_of_another_length_are_refused() {
    let (train, labels) = images(16, TRAIN_CROPS, 1);
    let refused = |test: Features, what: &str| {
        let error = voc07(&train, &labels, &test, &config(&[0.3]), &|_, _| {}).unwrap_err();
        assert!(matches!(error, EvalError::Size { what: named, .. } if named == what), "{error}");
    };
    let (mut test, _) = images(2, TEST_CROPS, 2);
    refused(Features { dim: 2, labels: vec![0; 20], ..test.clone() }, "a test feature");
    test.values.truncate(7 * test.dim);
    test.labels.truncate(7);
    refused(test, "the features of the test crops");
}
