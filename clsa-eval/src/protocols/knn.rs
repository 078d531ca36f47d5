//! Weighted k-nearest-neighbor classification of L2-normalized features (Wu et al. 2018, instance discrimination).

use super::data::EvalData;
use super::protocol::{LabelKind, Needs, Outcome, Protocol};
use super::settings::{Setting, SettingKind, SettingValue, Settings};
use super::workbench::Workbench;
use crate::features::{Labeled, check_labeled};
use crate::metrics::{Predictions, rank};
use crate::nearest::nearest;
use crate::{EvalError, Observer};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Settings of [`knn`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KnnConfig {
    /// Neighbors that vote; capped by the number of training images. Default 200.
    pub k: usize,
    /// Temperature T of a vote's weight `exp(similarity / T)`. Default 0.07.
    pub temperature: f64,
}

impl Default for KnnConfig {
    fn default() -> Self {
        Self { k: 200, temperature: 0.07 }
    }
}

/// Settings of k-NN that publications use, by name.
const NAMED: [(&str, KnnConfig); 3] = [
    // Wu et al. 2018, instance discrimination.
    ("instance-discrimination", KnnConfig { k: 200, temperature: 0.07 }),
    // MoCo's notebook for CIFAR-10, and after it SimSiam's and lightly's benchmarks.
    ("moco", KnnConfig { k: 200, temperature: 0.1 }),
    // Caron et al. 2021, DINO.
    ("dino", KnnConfig { k: 20, temperature: 0.07 }),
];

impl KnnConfig {
    /// The settings of a publication: `instance-discrimination` (Wu et al. 2018; k 200, T 0.07), `moco` (its notebook for CIFAR-10;
    /// k 200, T 0.1) or `dino` (Caron et al. 2021; k 20, T 0.07).
    ///
    /// # Examples
    /// ```
    /// use clsa_eval::protocols::KnnConfig;
    ///
    /// assert_eq!(KnnConfig::named("dino"), Some(KnnConfig { k: 20, temperature: 0.07 }));
    /// assert_eq!(KnnConfig::named("unheard-of"), None);
    /// ```
    pub fn named(name: &str) -> Option<Self> {
        NAMED.iter().find(|(known, _)| *known == name).map(|(_, config)| *config)
    }

    /// What can be set of it.
    pub(super) const SETTINGS: [Setting; 3] = [
        Setting {
            name: "knn",
            kind: SettingKind::Text,
            placeholder: "NAME",
            about: "k and temperature of a publication: instance-discrimination (200, 0.07), moco (200, 0.1) or dino (20, 0.07)",
        },
        Setting {
            name: "k",
            kind: SettingKind::Count,
            placeholder: "K",
            about: "neighbors (the run's, else 200, or all training images if there are fewer)",
        },
        Setting {
            name: "temperature",
            kind: SettingKind::Positive,
            placeholder: "T",
            about: "temperature T of the votes (the run's, else 0.07)",
        },
    ];

    /// What settings of [`Knn`] ask for: those that were given, then those of the publication that is named, then defaults.
    pub(super) fn of(settings: &Settings) -> Result<Self, EvalError> {
        let named = settings.text("knn")?.map(|name| {
            let names: Vec<&str> = NAMED.iter().map(|(name, _)| *name).collect();
            Self::named(name).ok_or_else(|| EvalError::setting("knn", name, format!("use {}", names.join(", "))))
        });
        let defaults = Self::default();
        let (given_k, given_t) = (settings.given("k"), settings.given("temperature"));
        let mut config = Self {
            k: settings.count("k")?.map_or(defaults.k, |k| k as usize),
            temperature: settings.number("temperature")?.unwrap_or(defaults.temperature),
        };
        if let Some(named) = named.transpose()? {
            config.k = if given_k.is_some() { config.k } else { named.k };
            config.temperature = if given_t.is_some() { config.temperature } else { named.temperature };
        }
        Ok(config)
    }

    /// Says where fewer neighbors voted than were asked for.
    pub(super) fn note_fewer(&self, k: usize, observer: &dyn Observer) {
        if k < self.k {
            observer.note(&format!("k is {k}, the number of training images, not {}", self.k));
        }
    }
}

/// What [`knn`] gives.
#[derive(Clone, Debug)]
pub struct KnnResult {
    /// Test images whose class got the most votes, percent.
    pub top1: f64,
    /// Test images whose class is among the five with the most votes, percent. A class without any vote is never
    /// among them.
    pub top5: f64,
    /// Neighbors that voted.
    pub k: usize,
    /// The ranked classes of each test image.
    pub predictions: Predictions,
}

/// Classifies each test feature by the votes of its `k` most similar (cosine) training features. Of equally similar
/// features the earlier one is nearer, of classes with equal votes the lower one first, so that the result depends on
/// nothing but the arguments. Training features are read in blocks, test features are held in memory.
///
/// # Errors
/// A split is empty, has features that are not finite or of another length, the training images are all of one class,
/// a test class is not among theirs, or a setting is out of range.
///
/// # Examples
/// ```
/// use clsa_eval::features::Features;
/// use clsa_eval::protocols::{KnnConfig, knn};
///
/// let train = Features { values: vec![1.0, 0.1, 0.9, 0.0, 0.1, 1.0], dim: 2, labels: vec![0, 0, 1] };
/// let test = Features { values: vec![0.7, 0.2, 0.2, 0.6], dim: 2, labels: vec![0, 1] };
/// let result = knn(&train, &test, &KnnConfig { k: 3, temperature: 0.07 })?;
/// assert_eq!((result.top1, result.predictions.ranked[1][0]), (100.0, 1));
/// # Ok::<(), clsa_eval::EvalError>(())
/// ```
pub fn knn<'a>(
    train: impl Into<Labeled<'a>>,
    test: impl Into<Labeled<'a>>,
    config: &KnnConfig,
) -> Result<KnnResult, EvalError> {
    let (train, test) = (train.into(), test.into());
    let classes = check_labeled(train, test)?;
    EvalError::at_least_one("k", config.k as u64)?;
    if !(config.temperature.is_finite() && config.temperature > 0.0) {
        return Err(EvalError::setting("temperature", config.temperature, "use a positive number"));
    }
    let k = config.k.min(train.labels.len());
    let neighbors = nearest(train.rows, test.rows, k)?;
    let ranked: Vec<Vec<u32>> = neighbors
        .into_par_iter()
        .map(|nearest| {
            let most = f64::from(nearest[0].similarity);
            let mut votes = vec![0.0; classes];
            let mut voted = vec![false; classes];
            for neighbor in nearest {
                let class = train.labels[neighbor.index as usize] as usize;
                // Relative to the nearest, so that no temperature overflows.
                votes[class] += ((f64::from(neighbor.similarity) - most) / config.temperature).exp();
                voted[class] = true;
            }
            rank(&votes, |class| voted[class])
        })
        .collect();
    let predictions = Predictions { ranked };
    Ok(KnnResult { top1: predictions.top1(test.labels), top5: predictions.top5(test.labels), k, predictions })
}

/// The protocol `knn`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Knn;

impl Protocol for Knn {
    fn name(&self) -> &str {
        "knn"
    }

    fn about(&self) -> &str {
        "votes `exp(similarity / T)` of the k nearest training features by cosine (Wu et al. 2018)"
    }

    fn needs(&self) -> Needs {
        Needs { features: true, labels: LabelKind::OneClass, test_images: true }
    }

    fn settings(&self) -> &[Setting] {
        &KnnConfig::SETTINGS
    }

    fn check_settings(&self, settings: &Settings) -> Result<(), EvalError> {
        KnnConfig::of(settings).map(|_| ())
    }

    fn check_data(&self, data: &EvalData, settings: &Settings) -> Result<(), EvalError> {
        let images = data.train().len();
        match settings.given("k") {
            Some(SettingValue::Count(k)) if *k > images as u64 => {
                let expected = format!("there are only {images} training images; use at most as many");
                Err(EvalError::setting("k", k, expected))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn run(&self, bench: &Workbench<'_>) -> Result<Outcome, EvalError> {
        let config = KnnConfig::of(bench.settings())?;
        let mut outcome = Outcome { settings: json!(config), ..Outcome::default() };
        for set in bench.labeled_features()? {
            let result = knn(set.train, set.test, &config)?;
            if outcome.results.is_empty() {
                config.note_fewer(result.k, bench.observer());
                // Where there are fewer images than neighbors, the figure is that of the smaller k.
                outcome.variant = Some(format!("k={} T={}", result.k, config.temperature));
            }
            let details = json!({ "k": result.k });
            outcome.results.push(bench.accuracy(set.kind, details, &result.predictions, set.test.labels));
        }
        Ok(outcome)
    }
}
