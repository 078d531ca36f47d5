//! Runs on disk for the tests of the report.

use candle_core::{Device, Tensor};
use clsa_augment::{CenterCrop, Corruption};
use clsa_data::Presence;
use clsa_eval::evaluation::{Chance, EncoderKind, EncoderResult, Evaluation, Figures, ProtocolResult};
use clsa_eval::metrics::{Accuracy, AveragePrecision, CorruptedAccuracy, CorruptionHits, Predictions, SameClassShare};
use clsa_model::{Compute, Encoder, FeatureStage};
use clsa_run::{Config, Position};
use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

/// A class name that would be markup if it were not escaped.
pub const HOSTILE: &str = "<script>alert('x')</script>&\"";

/// The configuration of a run.
fn config(seed: u64) -> Config {
    let overrides = [
        "model.width=0.125".to_owned(),
        "train={epochs=3, batch_size=16}".to_owned(),
        format!("train.seed={seed}"),
        "data.source=procedural:classes=4,train=80,test=40,side=32".to_owned(),
        "eval={resize=32, crop=32}".to_owned(),
        "knn.k=20".to_owned(),
        "views={key={size=32}, weak=[{size=32}], strong=[{size=24, strong=true}]}".to_owned(),
    ];
    Config::load("demo", &overrides).unwrap()
}

/// Writes the configuration of a run.
pub fn configure(folder: &Path, seed: u64) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("config.toml"), config(seed).to_toml()).unwrap();
}

/// Writes 15 steps, two k-NN evaluations and two without labels.
pub fn record(folder: &Path) {
    let mut lines = String::from("{\"kind\":\"knn\",\"step\":0,\"epoch\":0,\"top1\":30.0,\"top5\":100.0}\n");
    for step in 1..=15 {
        let (epoch, contrastive, ddm) = ((step - 1) / 5, 3.0 - 0.05 * f64::from(step), 2.0 - 0.02 * f64::from(step));
        let loss = contrastive + ddm;
        writeln!(
            lines,
            "{{\"kind\":\"step\",\"step\":{step},\"epoch\":{epoch},\"lr\":0.06,\"loss\":{loss},\"contrastive\":\
             {contrastive},\"ddm\":{ddm},\"acc1\":10.0,\"images_per_s\":{},\"data_wait_s\":0.01}}",
            200 + step
        )
        .unwrap();
    }
    lines += "{\"kind\":\"knn\",\"step\":15,\"epoch\":3,\"top1\":55.0,\"top5\":100.0}\n";
    for (step, epoch, rank) in [(0, 0, 8.0), (15, 3, 40.0)] {
        writeln!(
            lines,
            "{{\"kind\":\"label_free\",\"step\":{step},\"epoch\":{epoch},\"images\":1000,\"effective_rank\":{rank:?},\
             \"alignment\":0.5,\"uniformity\":-2.0,\"own_view_retrieval\":{rank:?},\"spread\":0.5}}"
        )
        .unwrap();
    }
    std::fs::write(folder.join("metrics.jsonl"), lines).unwrap();
}

/// Writes the checkpoint of the last step, with the weights of a seed.
pub fn checkpoint(folder: &Path, seed: u64) {
    checkpoint_at(folder, seed, Position { epoch: 3, step: 15, ..Position::default() });
}

/// Writes a checkpoint with the weights of a seed.
pub fn checkpoint_at(folder: &Path, seed: u64, position: Position) {
    let encoder = Encoder::new(&config(seed).model, Compute::default(), seed, &Device::Cpu).unwrap();
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    for (name, tensor) in encoder.state_dict().unwrap() {
        tensors.insert(format!("query.{name}"), tensor.clone());
        tensors.insert(format!("key.{name}"), tensor);
    }
    tensors.insert("bank.rows".into(), Tensor::zeros((16, 128), candle_core::DType::F32, &Device::Cpu).unwrap());
    let metadata = HashMap::from([
        ("format".to_owned(), "clsa-checkpoint-1".to_owned()),
        ("position".to_owned(), serde_json::to_string(&position).unwrap()),
    ]);
    std::fs::create_dir_all(folder.join("checkpoints")).unwrap();
    let file = folder.join(format!("checkpoints/step-{:08}.safetensors", position.step));
    std::fs::write(file, safetensors::serialize(&tensors, Some(metadata)).unwrap()).unwrap();
}

/// Writes an `eval.json` of two protocols, of four classes, one with a hostile name.
pub fn evaluate(folder: &Path) {
    let labels: Vec<u32> = (0..40).map(|i| i % 4).collect();
    let result = |encoder: EncoderKind, right: u32| {
        let ranked = (0..40).map(|i| if i < right { vec![i % 4] } else { vec![(i + 1) % 4] }).collect();
        let accuracy = Accuracy::of(&Predictions { ranked }, &labels, 4, 0);
        let details = serde_json::json!({ "k": 20 });
        EncoderResult { encoder, details, figures: Figures::Accuracy(accuracy) }
    };
    let protocol = |name: &str, right| ProtocolResult {
        protocol: name.to_owned(),
        settings: serde_json::json!({ "k": 20, "temperature": 0.07 }),
        results: vec![
            result(EncoderKind::Trained, right),
            result(EncoderKind::Untrained, 15),
            result(EncoderKind::RawPixels, 12),
        ],
        wall_time_s: 1.25,
    };
    let evaluation = Evaluation {
        weights: "checkpoints/step-00000015.safetensors".to_owned(),
        encoder_sha256: "0".repeat(64),
        stage: FeatureStage::Backbone,
        data: "procedural".to_owned(),
        data_sha256: "1".repeat(64),
        classes: vec!["circle".into(), "stripes".into(), HOSTILE.into(), "a class with a rather long name".into()],
        train_samples: 80,
        test_samples: 40,
        transform: CenterCrop::new(32, 32),
        chance: Some(Chance::of(4)),
        protocols: vec![protocol("knn", 25), protocol("linear-features", 31)],
    };
    evaluation.write(&folder.join("eval.json")).unwrap();
}

/// Adds figures on corrupted images to the `eval.json`.
pub fn corrupt(folder: &Path) {
    let path = folder.join("eval.json");
    let mut evaluation = Evaluation::read(&path).unwrap();
    let result = |encoder: EncoderKind, right: usize| {
        // One image less at each severity.
        let hits = |right: usize| (0..40).map(|image| image < right).collect::<Vec<bool>>();
        let by_severity = std::array::from_fn(|severity| hits(right - severity));
        let corrupted =
            Corruption::ALL.map(|corruption| CorruptionHits { corruption, by_severity: by_severity.clone() });
        let figures = Figures::CorruptedAccuracy(CorruptedAccuracy::of(&hits(right + 1), &corrupted, 0));
        EncoderResult { encoder, details: serde_json::json!({ "k": 20 }), figures }
    };
    let classifiers = [("knn k=20 T=0.07", 20), ("linear-features", 30)];
    evaluation.protocols.extend(classifiers.map(|(classifier, right)| ProtocolResult {
        protocol: format!("corruptions {classifier}"),
        settings: serde_json::json!({ "corruption_images": 40 }),
        results: vec![
            result(EncoderKind::Trained, right),
            result(EncoderKind::Untrained, 14),
            result(EncoderKind::RawPixels, 12),
        ],
        wall_time_s: 3.5,
    }));
    evaluation.write(&path).unwrap();
}

/// Writes the same evaluation of the features of `layer2`, and gives `retrieval` a picture in both.
pub fn evaluate_stage(folder: &Path) {
    let path = folder.join("eval.json");
    for (stage, file) in [(FeatureStage::Backbone, "eval"), (FeatureStage::from("layer2".to_owned()), "eval-layer2")] {
        let picture = format!("{file}.retrieval.png");
        image::RgbImage::from_pixel(30, 20, image::Rgb([90, 120, 200])).save(folder.join(&picture)).unwrap();
        let mut evaluation = Evaluation { stage, ..Evaluation::read(&path).unwrap() };
        evaluation.protocols.retain(|protocol| protocol.protocol != "retrieval");
        evaluation.protocols.push(ProtocolResult {
            protocol: "retrieval".to_owned(),
            settings: serde_json::json!({ "queries": 1, "neighbours": 2 }),
            results: vec![EncoderResult {
                encoder: EncoderKind::Trained,
                details: serde_json::json!({ "picture": picture }),
                figures: Figures::SameClassShare(SameClassShare { neighbors: 2, share: None }),
            }],
            wall_time_s: 0.5,
        });
        evaluation.write(&folder.join(format!("{file}.json"))).unwrap();
    }
}

/// Writes evaluations on two other data sets: `voc07`, and `retrieval` of images without labels with its picture.
pub fn evaluate_elsewhere(folder: &Path) {
    let own = Evaluation::read(&folder.join("eval.json")).unwrap();
    let voc07 = |encoder: EncoderKind, scores: [f64; 6]| {
        let labels =
            [[Presence::Present, Presence::Absent], [Presence::Absent, Presence::Present], [Presence::Present; 2]];
        let figures = Figures::AveragePrecision(AveragePrecision::of(&scores, &labels, 0));
        EncoderResult { encoder, details: serde_json::json!({ "lr": 0.3 }), figures }
    };
    let results = vec![
        voc07(EncoderKind::Trained, [0.9, 0.1, 0.2, 0.8, 0.7, 0.6]),
        voc07(EncoderKind::Untrained, [0.1, 0.2, 0.9, 0.1, 0.2, 0.7]),
        voc07(EncoderKind::Chance, [0.5, 0.4, 0.6, 0.3, 0.4, 0.5]),
    ];
    let voc07 = Evaluation {
        stage: FeatureStage::Backbone,
        data: "voc2007:VOCdevkit".to_owned(),
        data_sha256: "2".repeat(64),
        classes: vec!["aeroplane".into(), "bicycle".into()],
        chance: None,
        protocols: vec![ProtocolResult {
            protocol: "voc07".to_owned(),
            settings: serde_json::json!({ "lr": [0.1, 0.3], "weight_decay": 1e-6 }),
            results,
            wall_time_s: 2.5,
        }],
        ..own.clone()
    };
    voc07.write(&folder.join("eval-voc2007-VOCdevkit.json")).unwrap();
    let picture = "eval-flat-photographs.retrieval.png";
    image::RgbImage::from_pixel(300, 200, image::Rgb([90, 120, 200])).save(folder.join(picture)).unwrap();
    let retrieved = serde_json::json!([{ "query": 77_777, "neighbours": [1, 2] }]);
    let retrieval = Evaluation {
        weights: "checkpoints/step-00000010.safetensors".to_owned(),
        stage: FeatureStage::Backbone,
        data: "flat:photographs".to_owned(),
        data_sha256: "3".repeat(64),
        classes: Vec::new(),
        test_samples: 0,
        chance: None,
        protocols: vec![ProtocolResult {
            protocol: "retrieval".to_owned(),
            settings: serde_json::json!({ "queries": 1, "neighbours": 2 }),
            results: vec![EncoderResult {
                encoder: EncoderKind::Trained,
                details: serde_json::json!({ "retrieved": retrieved, "picture": picture }),
                figures: Figures::SameClassShare(SameClassShare { neighbors: 2, share: None }),
            }],
            wall_time_s: 0.5,
        }],
        ..own
    };
    retrieval.write(&folder.join("eval-flat-photographs.json")).unwrap();
}

/// A run with everything.
pub fn whole(folder: &Path, seed: u64) {
    configure(folder, seed);
    record(folder);
    checkpoint(folder, seed);
    evaluate(folder);
}
