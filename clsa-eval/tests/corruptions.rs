//! The protocol `corruptions`, and the features that it is made of.

mod small;

use candle_core::Device;
use clsa_augment::{Augmenter, CenterCrop, Corruption, Layout, Normalize, Op};
use clsa_data::{Dataset, Limits, Source, Splits};
use clsa_eval::evaluation::{EncoderKind, Evaluation, Figures, Measure};
use clsa_eval::features::{CorruptedImages, Features};
use clsa_eval::metrics::CorruptedAccuracy;
use clsa_eval::protocols::{
    Corruptions, EvalData, Knn, KnnConfig, LogisticClassifier, LogisticRegressionConfig, Protocol, SettingValue,
    Settings, Workbench, WorkbenchConfig, check, corruptions,
};
use clsa_eval::{EvalError, Observer, Silent};
use small::encoder;
use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

fn splits() -> (Arc<dyn Dataset>, Arc<dyn Dataset>) {
    let source: Source = "procedural:classes=3,train=60,test=30,side=16".parse().unwrap();
    let Splits { train, test } = source.open_splits(Limits::default()).unwrap();
    (train, test.unwrap())
}

/// Runs `knn` and `corruptions`.
fn evaluate(cache: &Path, settings: Settings, observer: &dyn Observer) -> Evaluation {
    let (train, test) = splits();
    let (data, transform) = (EvalData::new(train, Some(test)), CenterCrop::new(16, 16));
    check(&[&Knn, &Corruptions], &data, &settings).unwrap();
    let (trained, untrained) = (encoder(7), encoder(0));
    let cache = cache.to_owned();
    let config = WorkbenchConfig { trained: &trained, untrained: Some(&untrained), data, transform, settings, cache };
    let bench = Workbench::new(config, observer).unwrap();
    let mut evaluation = bench.evaluation("encoder.safetensors", "procedural");
    for protocol in [&Knn as &dyn Protocol, &Corruptions] {
        let finished = bench.run(protocol).unwrap();
        evaluation.protocols.extend(finished.results);
    }
    evaluation
}

fn settings() -> Settings {
    Settings::new(3).with("k", SettingValue::Count(5))
}

fn figures(figures: &Figures) -> &CorruptedAccuracy {
    let Figures::CorruptedAccuracy(figures) = figures else { panic!("{:?}", figures.measure()) };
    figures
}

#[derive(Default)]
struct Recorder {
    works: RefCell<Vec<String>>,
    done: RefCell<Vec<(String, u64, u64)>>,
    notes: RefCell<Vec<String>>,
}

impl Observer for Recorder {
    fn begin<'a>(&'a self, work: &str, unit: &'static str) -> Box<dyn Fn(u64, u64) + 'a> {
        let work = format!("{work}, {unit}");
        self.works.borrow_mut().push(work.clone());
        Box::new(move |done, of| self.done.borrow_mut().push((work.clone(), done, of)))
    }

    fn note(&self, text: &str) {
        self.notes.borrow_mut().push(text.to_owned());
    }
}

#[test]
fn both_classifiers_of_every_encoder_have_every_corruption_and_severity() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::default();
    let evaluation = evaluate(folder.path(), settings(), &recorder);
    let names: Vec<&str> = evaluation.protocols.iter().map(|protocol| protocol.protocol.as_str()).collect();
    assert_eq!(names, ["knn k=5 T=0.07", "corruptions knn k=5 T=0.07", "corruptions linear-features"]);
    for protocol in &evaluation.protocols[1..] {
        assert_eq!(protocol.name(), "corruptions");
        assert_eq!((&protocol.settings["corruption_images"], &protocol.settings["seed"]), (&30.into(), &3.into()));
        let kinds: Vec<EncoderKind> = protocol.results.iter().map(|result| result.encoder).collect();
        assert_eq!(kinds, [EncoderKind::Trained, EncoderKind::Untrained, EncoderKind::RawPixels]);
        for result in &protocol.results {
            assert_eq!(result.figures.measure(), Measure::CorruptedAccuracy);
            let figures = figures(&result.figures);
            let of: Vec<Corruption> = figures.by_corruption.iter().map(|of| of.corruption).collect();
            assert_eq!(of, Corruption::ALL);
            let all: Vec<f64> = figures.by_corruption.iter().flat_map(|of| of.by_severity).collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            assert!((figures.corrupted.value - mean).abs() < 1e-9, "{} and {mean}", figures.corrupted.value);
            assert!(figures.corrupted.low < mean && mean < figures.corrupted.high, "{:?}", figures.corrupted);
        }
    }
    assert_eq!(evaluation.protocols[1].results[0].details["k"], 5);
    assert!(evaluation.protocols[2].results[0].details["regularization"].is_number());
    // All test images are used, so that the clean accuracy is that of the protocol knn.
    for (clean, corrupted) in evaluation.protocols[0].results.iter().zip(&evaluation.protocols[1].results) {
        assert_eq!(clean.figures.main(), corrupted.figures.second());
    }
    let done = recorder.done.borrow();
    let last = |work: &str| done.iter().rfind(|(known, ..)| known == work).map(|(_, done, of)| (*done, *of));
    for kind in EncoderKind::ALL.iter().filter(|kind| **kind != EncoderKind::Chance) {
        let images = (30 * 5 * Corruption::ALL.len()) as u64;
        assert_eq!(last(&format!("corruptions, {kind}, images")), Some((images, images)));
        assert!(last(&format!("corruptions, {kind}, classifier, fits")).is_some());
    }

    let path = folder.path().join("eval.json");
    evaluation.write(&path).unwrap();
    let read = Evaluation::read(&path).unwrap();
    assert_eq!((read.table(), read.corruption_table()), (evaluation.table(), evaluation.corruption_table()));
}

#[test]
fn the_figures_depend_on_the_seed_and_not_on_threads() {
    let folder = tempfile::tempdir().unwrap();
    let evaluate = |threads: usize, seed: u64| {
        let settings = Settings::new(seed).with("k", SettingValue::Count(5));
        let settings = settings.with("corruption-images", SettingValue::Count(20));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut evaluation = pool.install(|| evaluate(folder.path(), settings, &Silent));
        evaluation.protocols.iter_mut().for_each(|protocol| protocol.wall_time_s = 0.0);
        evaluation
    };
    let one = evaluate(1, 3);
    assert_eq!(one.protocols[1].settings["corruption_images"], 20);
    assert_eq!(one, evaluate(3, 3));
    let by_corruption =
        |evaluation: &Evaluation| figures(&evaluation.protocols[1].results[2].figures).by_corruption.clone();
    assert_ne!(by_corruption(&one), by_corruption(&evaluate(1, 4)));
}

#[test]
fn figures_by_votes_of_two_temperatures_stay_beside_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let few = settings().with("corruption-images", SettingValue::Count(3));
    let earlier = evaluate(folder.path(), few.clone(), &Silent);
    let mut later = evaluate(folder.path(), few.with("temperature", SettingValue::Number(0.1)), &Silent);
    later.keep_other_protocols(earlier);
    let names: Vec<&str> = later.protocols.iter().map(|protocol| protocol.protocol.as_str()).collect();
    let of_later = ["knn k=5 T=0.1", "corruptions knn k=5 T=0.1", "corruptions linear-features"];
    assert_eq!(names, [&of_later[..], &["knn k=5 T=0.07", "corruptions knn k=5 T=0.07"]].concat());
}

#[test]
fn the_tables_show_both_classifiers_with_clean_accuracy_chance_and_every_corruption() {
    let folder = tempfile::tempdir().unwrap();
    let evaluation = evaluate(folder.path(), settings(), &Silent);
    let table = evaluation.table();
    let (accuracies, corrupted) = table.split_once("\n\n").unwrap();
    assert!(accuracies.contains("knn") && !accuracies.contains("corruptions"), "{table}");
    let by_knn = "corruptions knn k=5 T=0.07";
    for words in ["corrupted %", "clean %", by_knn, "corruptions linear-features trained", "chance"] {
        assert!(corrupted.contains(words), "{words}: {table}");
    }
    // Every figure stands under its heading, however long the names are.
    let ends = |line: &str| line.trim_end().chars().count();
    let mut lines = corrupted.lines();
    let heading = ends(lines.next().unwrap());
    assert!(lines.all(|line| ends(line) == heading), "{table}");

    let by_corruption = evaluation.corruption_table();
    for name in [by_knn, "corruptions linear-features"] {
        let title = format!("{name}, top-1 % by severity of trained, and mean");
        assert!(by_corruption.contains(&title), "{title}: {by_corruption}");
    }
    for corruption in Corruption::ALL {
        let row = by_corruption.lines().find(|line| line.starts_with(corruption.name())).unwrap();
        assert_eq!(row.split_whitespace().count(), 1 + 5 + 3, "{row}");
    }
    let only_knn = Evaluation { protocols: evaluation.protocols[..1].to_vec(), ..evaluation };
    assert_eq!(only_knn.corruption_table(), "");
    assert!(!only_knn.table().contains("corrupted"));
}

#[test]
fn an_image_is_corrupted_as_the_encoder_would_be_shown_it_by_its_own_seed() {
    let (_, test) = splits();
    let (dataset, corruption) = (test.as_ref(), Corruption::ImpulseNoise);
    let pixels = |indices: &[usize], seed| {
        let mut values = Vec::new();
        let images = CorruptedImages { dataset, indices, corruption, seed };
        let mut sink = |rows: &[f32]| -> Result<(), EvalError> {
            values.extend_from_slice(rows);
            Ok(())
        };
        images.pixels_into(8, &mut sink).unwrap();
        values
    };
    let both = pixels(&[4, 0], 9);
    assert_eq!(both, [pixels(&[4], 9), pixels(&[0], 9)].concat());
    assert_ne!(pixels(&[4], 9), pixels(&[4], 10));
    // Not the same values are replaced in two images.
    let replaced = |index: usize| {
        let picture =
            Augmenter::new().apply(&dataset.image(index).unwrap(), &[resize(&dataset.image(index).unwrap(), 8)]);
        let mut clean = vec![0.0; 3 * 8 * 8];
        let (picture, normalize) = (picture.unwrap(), Normalize::IMAGENET);
        Augmenter::new().apply_into(&picture, &[], &normalize, Layout::ChannelsFirst, &mut clean).unwrap();
        let strongest = pixels(&[index], 9)[4 * clean.len()..].to_vec();
        clean.iter().zip(&strongest).map(|(a, b)| a != b).collect::<Vec<_>>()
    };
    let (first, second) = (replaced(0), replaced(4));
    let count = |replaced: &[bool]| replaced.iter().filter(|replaced| **replaced).count();
    // 7 % of 192 values.
    assert!((5..30).contains(&count(&first)) && (5..30).contains(&count(&second)));
    assert_ne!(first, second);

    // Features are those of the cut and corrupted picture.
    let (encoder, transform) = (encoder(7), CenterCrop::new(20, 16));
    let mut features = Vec::new();
    let images = CorruptedImages { dataset, indices: &[4, 0], corruption: Corruption::Contrast, seed: 9 };
    images
        .features_into(&encoder, &transform, 4, &mut |rows| {
            features.extend_from_slice(rows);
            Ok(())
        })
        .unwrap();
    let cut = transform.image(&mut Augmenter::new(), &dataset.image(0).unwrap()).unwrap();
    let corrupted = Corruption::Contrast.apply(&cut, 3, 0).unwrap();
    let mut values = vec![0.0; transform.values()];
    let mut augmenter = Augmenter::new();
    augmenter.apply_into(&corrupted, &[], &transform.normalize, Layout::ChannelsFirst, &mut values).unwrap();
    let batch = candle_core::Tensor::from_vec(values, (1, 3, 16, 16), &Device::Cpu).unwrap();
    let wanted = encoder.features(&batch).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (dim, row) = (encoder.feature_dim(), 5 + 2);
    for (got, wanted) in features[row * dim..(row + 1) * dim].iter().zip(&wanted) {
        assert!((got - wanted).abs() < 1e-4 * wanted.abs().max(1.0), "{got} and {wanted}");
    }
}

fn resize(image: &image::RgbImage, side: u32) -> Op {
    let crop = clsa_augment::Crop { x: 0, y: 0, width: image.width(), height: image.height() };
    Op::CropResize { crop, width: side, height: side }
}

/// Two classes on two axes.
fn train() -> Features {
    Features { values: vec![1.0, 0.1, 0.9, 0.0, 0.1, 1.0, 0.0, 0.8], dim: 2, labels: vec![0, 0, 1, 1] }
}

#[test]
fn features_that_are_too_few_are_an_error_and_those_that_diverged_too() {
    let (train, config) = (train(), KnnConfig { k: 2, temperature: 0.07 });
    let linear = LogisticClassifier::fit(&train, &LogisticRegressionConfig::default(), &|_, _| {}).unwrap();
    let clean = Features { values: vec![0.7, 0.2], dim: 2, labels: vec![0] };
    let run = |corrupted: Vec<f32>| {
        let corrupted = |_| Ok(corrupted.clone());
        corruptions((&train).into(), &linear, &clean, &corrupted, &config, 0)
    };
    let message = run(vec![0.7; 8]).unwrap_err().to_string();
    assert_eq!(message, "the features of corrupted images has 8 values where 10 are expected");
    assert!(matches!(run(vec![f32::NAN; 10]), Err(EvalError::NotFinite { split: "test", .. })));
    assert_eq!(run([0.7, 0.2].repeat(5)).unwrap().linear.corrupted.value, 100.0);
}

#[test]
fn a_classifier_names_the_same_classes_whenever_it_is_asked_and_refuses_other_features() {
    let train = train();
    let classifier = LogisticClassifier::fit(&train, &LogisticRegressionConfig::default(), &|_, _| {}).unwrap();
    let one = Features { values: vec![0.7, 0.2], dim: 2, labels: vec![0] };
    let two = Features { values: vec![0.7, 0.2, 0.1, 0.3], dim: 2, labels: vec![0, 1] };
    assert_eq!(classifier.predict(&one).unwrap().ranked, [[0, 1]]);
    assert_eq!(classifier.predict(&two).unwrap().ranked, [[0, 1], [1, 0]]);
    let longer = Features { values: vec![0.7, 0.2, 0.1], dim: 3, labels: vec![0] };
    assert!(matches!(classifier.predict(&longer), Err(EvalError::Size { got: 3, expected: 2, .. })));
    let none = Features { values: vec![], dim: 2, labels: vec![] };
    assert!(matches!(classifier.predict(&none), Err(EvalError::Empty("test"))));
}

#[test]
fn more_neighbors_than_training_images_are_refused_where_asked_for_and_noted_by_default() {
    let (train, test) = splits();
    let data = EvalData::new(train, Some(test));
    let asked = Settings::new(0).with("k", SettingValue::Count(61));
    let error = check(&[&Corruptions], &data, &asked).unwrap_err();
    assert!(error.is_request() && error.to_string().contains("60 training images"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::default();
    let settings = Settings::new(0).with("corruption-images", SettingValue::Count(3));
    let evaluation = evaluate(folder.path(), settings, &recorder);
    assert_eq!(evaluation.protocols[1].results[0].details["k"], 60);
    assert_eq!(evaluation.protocols[1].protocol, "corruptions knn k=60 T=0.07");
    assert!(recorder.notes.borrow().iter().all(|note| note == "k is 60, the number of training images, not 200"));
    assert!(!recorder.notes.borrow().is_empty());
}
