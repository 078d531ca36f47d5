//! The figures of an encoder, as rows of a card: those of its run that are of these very weights.

use super::Exported;
use crate::failure::Failure;
use crate::part::Part;
use crate::source_kind::source_kind;
use crate::streams::say;
use clsa_augment::CenterCrop;
use clsa_eval::evaluation::{EncoderKind, Evaluation};
use clsa_eval::hashes::encoder_hash;
use clsa_run::{Checkpoint, Config, DataIdentity, Metrics, RunFolder};

/// A figure of a protocol.
pub struct Row {
    /// With k and temperature, where it has them.
    pub protocol: String,
    /// What was measured.
    pub measure: String,
    /// Percent.
    pub value: f64,
    /// 95 %, percent; none of the monitor.
    pub interval: Option<(f64, f64)>,
    /// The images that it was measured on.
    pub images: String,
}

/// The figures of the run's evaluations and of its k-NN monitor.
pub fn rows(exported: &Exported, run: &RunFolder, config: &Config) -> Result<Vec<Row>, Failure> {
    let mut rows = evaluated(run, &encoder_hash(&exported.encoder)?, &exported.subject.transform);
    if exported.part == Part::Query {
        rows.extend(monitored(run, config, Checkpoint::step_of(&exported.subject.weights)));
    }
    Ok(rows)
}

/// The figures of evaluations of the encoder with this hash; those of images that were cut otherwise say how.
fn evaluated(run: &RunFolder, hash: &str, transform: &CenterCrop) -> Vec<Row> {
    let mut rows = Vec::new();
    for path in run.evaluations() {
        let evaluation = match Evaluation::read(&path) {
            Ok(evaluation) => evaluation,
            Err(error) => {
                say!("warning: {error}; the card has no figures of it");
                continue;
            }
        };
        if evaluation.encoder_sha256 != hash {
            continue;
        }
        let mut source = source_kind(&evaluation.data);
        let CenterCrop { resize, crop, .. } = evaluation.transform;
        if (resize, crop) != (transform.resize, transform.crop) {
            source += &format!(", resized to {resize} and cut to {crop} pixels");
        }
        for protocol in evaluation.protocols {
            // Of many test images, a part is corrupted.
            let corrupted = protocol.settings.get("corruption_images").and_then(serde_json::Value::as_u64);
            let tested = corrupted.unwrap_or(evaluation.test_samples as u64);
            for result in protocol.results.into_iter().filter(|result| result.encoder == EncoderKind::Trained) {
                let Some(main) = result.figures.main() else { continue };
                rows.push(Row {
                    protocol: protocol.protocol.clone(),
                    measure: result.figures.measure().name().to_owned(),
                    value: main.value,
                    interval: Some((main.low, main.high)),
                    images: format!("{tested} of {source}"),
                });
            }
        }
    }
    rows
}

/// The last figure of the monitor, where it is of the checkpoint that was written after `step` steps.
fn monitored(run: &RunFolder, config: &Config, step: Option<u64>) -> Option<Row> {
    let metrics = match Metrics::read(&run.metrics_file()) {
        Ok(metrics) => metrics,
        Err(error) => {
            say!("warning: {error}; the card has no figures of it");
            return None;
        }
    };
    let last = metrics.knn.into_iter().rev().find(|record| Some(record.step) == step)?;
    let knn = &config.knn;
    let images = DataIdentity::read(run).ok().flatten().map_or(usize::MAX, |data| data.images);
    let k = knn.neighbors_among(images);
    Some(Row {
        protocol: format!("knn k={k} T={} during training, on {} features", knn.temperature, knn.stage),
        measure: "Top-1 accuracy".to_owned(),
        value: last.top1,
        interval: None,
        images: format!("up to {} of {}", knn.test_samples, source_kind(&config.data.source)),
    })
}
