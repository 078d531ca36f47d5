//! Accuracy of frozen features of corrupted test images.

use super::data::EvalData;
use super::feature_set::LabeledFeatures;
use super::knn::{Knn, KnnConfig, knn};
use super::protocol::{LabelKind, Needs, Outcome, Protocol, Variant};
use super::settings::{Setting, SettingKind, Settings};
use super::workbench::Workbench;
use crate::evaluation::{EncoderKind, EncoderResult, Figures};
use crate::features::{CorruptedImages, FeatureRows, Features, Labeled, batch_of_side, picked};
use crate::logistic_regression::{LogisticClassifier, LogisticRegressionConfig, check_held_out, note_end};
use crate::metrics::{CorruptedAccuracy, CorruptionHits};
use crate::{EvalError, random_subset};
use clsa_augment::Corruption;
use serde_json::json;

/// Test images that are corrupted unless a number is given.
const IMAGES: usize = 2000;
const SEVERITIES: usize = Corruption::SEVERITIES.len();

/// What [`corruptions`] gives.
#[derive(Clone, Debug)]
pub struct CorruptionsResult {
    /// By the votes of [`knn`].
    pub knn: CorruptedAccuracy,
    /// By the linear classifier.
    pub linear: CorruptedAccuracy,
    /// Neighbors that voted.
    pub k: usize,
}

/// Classifies features of test images as they are (`clean`) and under every corruption, by nearest neighbors among clean training
/// features and by a linear classifier that was fitted to these. `corrupted` gives the features under a corruption: of each
/// image of `clean` one for each severity, in this order. The intervals depend on `seed`.
///
/// # Errors
/// Those of `corrupted`, of [`knn`] and of [`LogisticClassifier::predict`], or `corrupted` gives another number of features.
///
/// # Examples
/// ```
/// use clsa_eval::clsa_augment::Corruption;
/// use clsa_eval::features::Features;
/// use clsa_eval::protocols::{KnnConfig, LogisticClassifier, LogisticRegressionConfig, corruptions};
///
/// let train = Features { values: vec![1.0, 0.1, 0.9, 0.0, 0.1, 1.0, 0.0, 0.8], dim: 2, labels: vec![0, 0, 1, 1] };
/// let linear = LogisticClassifier::fit(&train, &LogisticRegressionConfig::default(), &|_, _| {})?;
/// let clean = Features { values: vec![0.7, 0.2, 0.2, 0.6], dim: 2, labels: vec![0, 1] };
/// // Fog moves the first image's feature to the second's at severities 4 and 5.
/// let corrupted = |corruption| {
///     let first = if corruption == Corruption::Fog { [0.2, 0.6] } else { [0.7, 0.2] };
///     Ok([[0.7, 0.2], [0.7, 0.2], [0.7, 0.2], first, first, [0.2, 0.6], [0.2, 0.6], [0.2, 0.6], [0.2, 0.6], [0.2, 0.6]].concat())
/// };
/// let config = KnnConfig { k: 2, temperature: 0.07 };
/// let result = corruptions((&train).into(), &linear, &clean, &corrupted, &config, 0)?;
/// assert_eq!((result.knn.clean.value, result.linear.clean.value), (100.0, 100.0));
/// let fog = result.knn.by_corruption.iter().find(|of| of.corruption == Corruption::Fog).unwrap();
/// assert_eq!(fog.by_severity, [100.0, 100.0, 100.0, 50.0, 50.0]);
/// # Ok::<(), clsa_eval::EvalError>(())
/// ```
pub fn corruptions(
    train: Labeled,
    linear: &LogisticClassifier,
    clean: &Features,
    corrupted: &dyn Fn(Corruption) -> Result<Vec<f32>, EvalError>,
    config: &KnnConfig,
    seed: u64,
) -> Result<CorruptionsResult, EvalError> {
    let nearest = knn(train, clean, config)?;
    let clean_hits = [nearest.predictions.hits(1, &clean.labels), linear.predict(clean)?.hits(1, &clean.labels)];
    let repeated: Vec<u32> = clean.labels.iter().flat_map(|label| [*label; SEVERITIES]).collect();
    let mut by_corruption: [Vec<CorruptionHits>; 2] = Default::default();
    for corruption in Corruption::ALL {
        let (values, expected) = (corrupted(corruption)?, repeated.len() * clean.dim);
        if values.len() != expected {
            return Err(EvalError::Size { what: "the features of corrupted images", got: values.len(), expected });
        }
        let features = Features { values, dim: clean.dim, labels: repeated.clone() };
        let predictions = [knn(train, &features, config)?.predictions, linear.predict(&features)?];
        for (of, predictions) in by_corruption.iter_mut().zip(predictions) {
            let hits = predictions.hits(1, &repeated);
            let at = |severity| hits.iter().skip(severity).step_by(SEVERITIES).copied().collect();
            of.push(CorruptionHits { corruption, by_severity: std::array::from_fn(at) });
        }
    }
    let [knn, linear] = std::array::from_fn(|at| CorruptedAccuracy::of(&clean_hits[at], &by_corruption[at], seed));
    Ok(CorruptionsResult { knn, linear, k: nearest.k })
}

/// The protocol `corruptions`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Corruptions;

/// The images that are corrupted.
struct Drawn {
    /// Among the test images, ascending.
    indices: Vec<usize>,
    labels: Vec<u32>,
}

impl Drawn {
    fn of(bench: &Workbench<'_>) -> Result<Self, EvalError> {
        let labels = &bench.data().labels()?.test;
        let count = bench.settings().count("corruption-images")?.map_or(IMAGES, |images| images as usize);
        let mut indices = random_subset(labels.len(), count, bench.settings().seed());
        indices.sort_unstable();
        let labels = indices.iter().map(|&index| labels[index]).collect();
        Ok(Self { indices, labels })
    }

    /// Their features as they are.
    fn clean(&self, test: &dyn FeatureRows) -> Result<Features, EvalError> {
        Ok(Features { values: picked(test, &self.indices)?, dim: test.dim(), labels: self.labels.clone() })
    }
}

impl Corruptions {
    /// The figures of one encoder, or of pixels.
    fn evaluate(
        bench: &Workbench<'_>,
        set: &LabeledFeatures,
        drawn: &Drawn,
        config: &KnnConfig,
        linear: &LogisticClassifier,
    ) -> Result<CorruptionsResult, EvalError> {
        let seed = bench.settings().seed();
        let dataset = bench.data().test()?.as_ref();
        let clean = drawn.clean(set.test.rows)?;
        let encoder = bench.encoders().iter().find(|compared| compared.kind == set.kind);
        let progress = bench.observer().begin(&format!("corruptions, {}", set.kind), "images");
        let of_one = (drawn.indices.len() * SEVERITIES) as u64;
        let corrupted = |corruption: Corruption| {
            let images = CorruptedImages { dataset, indices: &drawn.indices, corruption, seed };
            let before = Corruption::ALL.iter().position(|known| *known == corruption).unwrap_or(0) as u64 * of_one;
            let mut values = Vec::with_capacity(of_one as usize * clean.dim);
            let mut sink = |rows: &[f32]| {
                values.extend_from_slice(rows);
                progress(before + (values.len() / clean.dim) as u64, Corruption::ALL.len() as u64 * of_one);
                Ok(())
            };
            match encoder {
                Some(compared) => images.features_into(
                    compared.encoder,
                    bench.transform(),
                    batch_of_side(bench.transform().crop),
                    &mut sink,
                )?,
                None => images.pixels_into(bench.raw_side(), &mut sink)?,
            }
            Ok(values)
        };
        corruptions(set.train, linear, &clean, &corrupted, config, seed)
    }
}

impl Protocol for Corruptions {
    fn name(&self) -> &str {
        "corruptions"
    }

    fn about(&self) -> &str {
        "accuracy on test images under common corruptions (Hendrycks and Dietterich 2019: noise, blur, weather, digital; \
         five severities each) by nearest neighbors among clean training features, as `knn`, and by a linear classifier fitted \
         to them, as `linear-features`"
    }

    fn needs(&self) -> Needs {
        Needs { features: true, labels: LabelKind::OneClass, test_images: true }
    }

    fn settings(&self) -> &[Setting] {
        const SETTINGS: [Setting; 4] = {
            let [knn, k, temperature] = KnnConfig::SETTINGS;
            let images = Setting {
                name: "corruption-images",
                kind: SettingKind::Count,
                placeholder: "IMAGES",
                about: "test images that are corrupted, drawn by the seed (2000, or all where there are fewer)",
            };
            [images, knn, k, temperature]
        };
        &SETTINGS
    }

    fn check_settings(&self, settings: &Settings) -> Result<(), EvalError> {
        KnnConfig::of(settings).map(|_| ())
    }

    fn check_data(&self, data: &EvalData, settings: &Settings) -> Result<(), EvalError> {
        Knn.check_data(data, settings)?;
        check_held_out(&data.labels()?.train, settings.seed())
    }

    fn run(&self, bench: &Workbench<'_>) -> Result<Outcome, EvalError> {
        let config = KnnConfig::of(bench.settings())?;
        let linear = LogisticRegressionConfig { seed: bench.settings().seed(), ..LogisticRegressionConfig::default() };
        let drawn = Drawn::of(bench)?;
        let (mut k, mut results) = (config.k, [Vec::new(), Vec::new()]);
        for set in bench.labeled_features()? {
            let fits = bench.observer().begin(&format!("corruptions, {}, classifier", set.kind), "fits");
            let classifier = LogisticClassifier::fit(set.train, &linear, &fits)?;
            drop(fits);
            let found = Self::evaluate(bench, &set, &drawn, &config, &classifier)?;
            if set.kind == EncoderKind::Trained {
                config.note_fewer(found.k, bench.observer());
                // As for `knn`, the figure is that of the neighbors that there are.
                k = found.k;
            }
            let LogisticClassifier { regularization, held_out, is_minimum, .. } = classifier;
            note_end(is_minimum, &format!("corruptions, {}", set.kind), bench.observer());
            let details = [
                json!({ "k": found.k }),
                json!({ "regularization": regularization, "held_out": held_out, "is_minimum": is_minimum }),
            ];
            for ((results, figures), details) in results.iter_mut().zip([found.knn, found.linear]).zip(details) {
                let figures = Figures::CorruptedAccuracy(figures);
                results.push(EncoderResult { encoder: set.kind, details, figures });
            }
        }
        let [by_knn, by_linear] = results;
        let (mut settings, mut further) = (json!(config), json!(linear));
        for settings in [&mut settings, &mut further] {
            settings["corruption_images"] = json!(drawn.indices.len());
            settings["seed"] = json!(bench.settings().seed());
        }
        let further = Variant { name: "linear-features".to_owned(), settings: further, results: by_linear };
        let variant = Some(format!("knn k={k} T={}", config.temperature));
        Ok(Outcome { variant, settings, results: by_knn, further: vec![further], ..Outcome::default() })
    }
}
