//! The content of an `eval.json`.

use super::{EncoderKind, Figures};
use crate::EvalError;
use clsa_augment::CenterCrop;
use clsa_model::FeatureStage;
use clsa_run::Checkpoint;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The content of an `eval.json`.
///
/// # Examples
/// ```
/// use clsa_eval::evaluation::{Chance, EncoderKind, EncoderResult, Evaluation, Figures, ProtocolResult};
/// use clsa_eval::clsa_augment::CenterCrop;
/// use clsa_eval::metrics::{Accuracy, Predictions};
///
/// let predictions = Predictions { ranked: vec![vec![0, 1], vec![1, 0], vec![0, 1]] };
/// let figures = Figures::Accuracy(Accuracy::of(&predictions, &[0, 1, 1], 2, 0));
/// let result = EncoderResult { encoder: EncoderKind::Trained, details: serde_json::json!({ "k": 5 }), figures };
/// let evaluation = Evaluation {
///     weights: "encoder.safetensors".into(),
///     encoder_sha256: "0".repeat(64),
///     stage: Default::default(),
///     data: "imagefolder:cats".into(),
///     data_sha256: "1".repeat(64),
///     classes: vec!["cat".into(), "dog".into()],
///     train_samples: 10,
///     test_samples: 3,
///     transform: CenterCrop::new(256, 224),
///     chance: Some(Chance::of(2)),
///     protocols: vec![ProtocolResult {
///         protocol: "knn".into(),
///         settings: serde_json::json!({ "k": 5, "temperature": 0.07 }),
///         results: vec![result],
///         wall_time_s: 0.5,
///     }],
/// };
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("eval.json");
/// evaluation.write(&path)?;
/// assert_eq!(Evaluation::read(&path)?, evaluation);
/// assert!(evaluation.table().contains("66.7"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The weight file or checkpoint.
    pub weights: String,
    /// [`encoder_hash`](crate::hashes::encoder_hash) of the trained encoder.
    pub encoder_sha256: String,
    /// Where in the encoders features are taken.
    #[serde(default, skip_serializing_if = "is_backbone")]
    pub stage: FeatureStage,
    /// The data set, as it was named.
    pub data: String,
    /// Hash of its content, by which another evaluation is seen to be of the same images:
    /// [`joined_hash`](crate::hashes::joined_hash) of its splits.
    pub data_sha256: String,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Training images.
    pub train_samples: usize,
    /// Test images.
    pub test_samples: usize,
    /// How test images were cut and normalized.
    pub transform: CenterCrop,
    /// Accuracy of guessing, percent; none where an image has not one class.
    pub chance: Option<Chance>,
    /// One entry for each protocol.
    pub protocols: Vec<ProtocolResult>,
}

/// Left out where features are taken as in most evaluations.
fn is_backbone(stage: &FeatureStage) -> bool {
    *stage == FeatureStage::Backbone
}

/// Expected accuracy of naming classes at random, percent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chance {
    /// `100 / classes`.
    pub top1: f64,
    /// `100 · min(5, classes) / classes`.
    pub top5: f64,
}

impl Chance {
    /// For a number of classes, at least 1.
    pub fn of(classes: usize) -> Self {
        let n = classes as f64;
        Self { top1: 100.0 / n, top5: 100.0 * n.min(5.0) / n }
    }
}

/// The figures of one protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProtocolResult {
    /// [`Protocol::name`](crate::protocols::Protocol::name), and after a space the variant where there are several: `finetune`
    /// says with which labels, as in `finetune 10%`, and `corruptions` by which classifier.
    pub protocol: String,
    /// The settings that were given or defaults.
    pub settings: serde_json::Value,
    /// Figures of the trained encoder and what it is compared with.
    pub results: Vec<EncoderResult>,
    /// Seconds that the protocol took, without extracting features that it shares with others. Variants of one run have the same.
    pub wall_time_s: f64,
}

impl ProtocolResult {
    /// The protocol's name without the variant.
    pub fn name(&self) -> &str {
        self.protocol.split_once(' ').map_or(&*self.protocol, |(name, _)| name)
    }

    /// Whether images were cut by sides that its settings name, as for `voc07`, and not by [`Evaluation::transform`].
    fn has_own_sides(&self) -> bool {
        self.settings.get("crop").is_some()
    }
}

/// One row of a protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderResult {
    /// What the figures are of.
    pub encoder: EncoderKind,
    /// What the protocol chose or found beside the figures.
    pub details: serde_json::Value,
    /// The figures.
    #[serde(flatten)]
    pub figures: Figures,
}

impl Evaluation {
    /// Reads an `eval.json`.
    ///
    /// # Errors
    /// The file cannot be read or is not one.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let wrong = |reason: String| EvalError::File { path: path.to_owned(), reason };
        let text = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
        serde_json::from_slice(&text).map_err(|e| wrong(format!("this is not an eval.json ({e}); remove it")))
    }

    /// Takes over from an earlier evaluation of the same encoder, data and transform the protocols that this one has
    /// not. The sides of the transform count only for protocols that cut images by them, and where this evaluation has none of
    /// these, it takes over the transform too.
    pub fn keep_other_protocols(&mut self, earlier: Self) {
        let same = self.encoder_sha256 == earlier.encoder_sha256
            && self.data_sha256 == earlier.data_sha256
            && self.transform.normalize == earlier.transform.normalize
            && (self.train_samples, self.test_samples) == (earlier.train_samples, earlier.test_samples);
        if !same {
            return;
        }
        if self.protocols.iter().all(ProtocolResult::has_own_sides) {
            self.transform = earlier.transform;
        }
        let same_sides = self.transform == earlier.transform;
        let own: Vec<String> = self.protocols.iter().map(|p| p.protocol.clone()).collect();
        let kept = |p: &ProtocolResult| !own.contains(&p.protocol) && (same_sides || p.has_own_sides());
        self.protocols.extend(earlier.protocols.into_iter().filter(kept));
    }

    /// Training step of the checkpoint that was evaluated; none for other weights.
    pub fn step(&self) -> Option<u64> {
        Checkpoint::step_of(Path::new(&self.weights))
    }

    /// Writes the file, which appears whole.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), EvalError> {
        let mut text = serde_json::to_string_pretty(self).expect("an evaluation has only string keys");
        text.push('\n');
        clsa_files::write_whole(path, text.as_bytes()).map_err(|source| EvalError::Io { path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn evaluation(side: u32, protocols: &[&str]) -> Evaluation {
        let protocol = |name: &&str| ProtocolResult {
            protocol: (*name).to_owned(),
            settings: if *name == "voc07" { json!({ "resize": 343, "crop": 300 }) } else { json!({}) },
            results: Vec::new(),
            wall_time_s: 0.0,
        };
        Evaluation {
            weights: "encoder.safetensors".to_owned(),
            encoder_sha256: "0".to_owned(),
            stage: FeatureStage::Backbone,
            data: "voc2007:VOCdevkit".to_owned(),
            data_sha256: "1".to_owned(),
            classes: Vec::new(),
            train_samples: 2,
            test_samples: 1,
            transform: CenterCrop::new(side, side),
            chance: None,
            protocols: protocols.iter().map(protocol).collect(),
        }
    }

    #[test]
    fn protocols_with_sides_of_their_own_and_others_do_not_drop_each_other() {
        let names = |(now, earlier): (Evaluation, Evaluation)| {
            let mut all = now;
            all.keep_other_protocols(earlier);
            let names = all.protocols.into_iter().map(|protocol| protocol.protocol).collect::<Vec<_>>();
            (names.join(" "), all.transform.crop)
        };
        let (knn, voc07) = (|side| evaluation(side, &["knn"]), |side| evaluation(side, &["voc07"]));
        assert_eq!(names((voc07(224), knn(16))), ("voc07 knn".to_owned(), 16));
        assert_eq!(names((knn(16), voc07(224))), ("knn voc07".to_owned(), 16));
        let retrieval = evaluation(224, &["retrieval", "voc07"]);
        assert_eq!(names((knn(16), retrieval)), ("knn voc07".to_owned(), 16), "retrieval was of other sides");
    }
}
