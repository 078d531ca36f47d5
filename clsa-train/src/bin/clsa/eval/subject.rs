//! What is evaluated, after all defaults: the newest checkpoint of a run, or a weight file.

use super::Args;
use crate::failure::{Failure, request};
use crate::foreign_head;
use candle_core::{DType, Device, Tensor};
use clsa_augment::CenterCrop;
use clsa_eval::evaluation::Evaluation;
use clsa_eval::hashes::joined_hash;
use clsa_eval::protocols::{SettingValue, Settings};
use clsa_model::{Compute, Encoder, FeatureStage, ModelConfig, ModelError, Stem, head, weights};
use clsa_run::RunFolder;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Pixels that images may be resized to at most.
const MOST_PIXELS: u32 = 16_384;

pub struct Subject {
    pub weights: PathBuf,
    pub model: ModelConfig,
    /// Where in the encoders features are taken.
    pub stage: FeatureStage,
    /// Seed of the untrained encoder.
    seed: u64,
    pub data: String,
    pub transform: CenterCrop,
    pub settings: Settings,
    pub out: PathBuf,
    /// Where features and interrupted trainings are kept.
    pub cache: PathBuf,
    /// Whether it is a run's newest checkpoint, not a file of weights.
    from_run: bool,
}

impl Subject {
    pub fn of(args: &Args) -> Result<Self, Failure> {
        let mut settings = Settings::new(args.seed);
        for (name, value) in args.settings.iter() {
            settings = settings.with(name, value.clone());
        }
        let subject = match &args.weights {
            Some(file) => Self::of_weights(file, args, settings)?,
            None => Self::of_run(args, settings)?,
        };
        let CenterCrop { resize, crop, .. } = subject.transform;
        if resize > MOST_PIXELS {
            return Err(request(format!("--resize {resize}: use at most {MOST_PIXELS} pixels")));
        }
        if crop == 0 || crop > resize {
            return Err(request(format!("--crop {crop}: use 1 to {resize} pixels, the resized short side (--resize)")));
        }
        Ok(subject)
    }

    fn of_run(args: &Args, settings: Settings) -> Result<Self, Failure> {
        let run = match &args.run {
            Some(folder) => RunFolder::open(folder)?,
            None => RunFolder::newest(Path::new("runs"))?,
        };
        let config = run.config()?;
        let settings = settings
            .with_default("k", SettingValue::Count(config.knn.k as u64))
            .with_default("temperature", SettingValue::Number(config.knn.temperature));
        let mut transform = transform(&settings, config.eval.resize, config.eval.crop)?;
        transform.normalize = config.views.key.normalize;
        let own = &config.data.source;
        let other = args.data.as_ref().filter(|data| *data != own);
        let parts = [other.map(|data| short_name(data)), stage_name(args)];
        let name: String = parts.into_iter().flatten().map(|part| format!("-{part}")).collect();
        let out = if name.is_empty() { run.evaluation_file() } else { run.path().join(format!("eval{name}.json")) };
        Ok(Self {
            weights: run.newest_checkpoint()?,
            model: config.model.clone(),
            stage: stage(args),
            seed: config.train.seed,
            data: args.data.clone().unwrap_or_else(|| own.clone()),
            transform,
            settings,
            out: args.out.clone().unwrap_or(out),
            cache: args.cache.clone().unwrap_or_else(|| run.path().to_owned()),
            from_run: true,
        })
    }

    fn of_weights(file: &Path, args: &Args, settings: Settings) -> Result<Self, Failure> {
        let tensors = weights::read(file)?.tensors;
        let model = weights::infer_config(&tensors);
        let model = model.map_err(|error| request(format!("{}: {error}", file.display())))?;
        let (resize, crop) = if model.stem == Stem::Cifar { (32, 32) } else { (256, 224) };
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            weights: file.to_owned(),
            model,
            stage: stage(args),
            seed: 0,
            data: args.data.clone().ok_or_else(|| request("--data: name the images to evaluate on"))?,
            transform: transform(&settings, resize, crop)?,
            settings,
            out: args.out.clone().unwrap_or_else(|| match stage_name(args) {
                Some(stage) => format!("{name}.{stage}.eval.json").into(),
                None => format!("{name}.eval.json").into(),
            }),
            cache: args.cache.clone().unwrap_or_else(|| format!("{name}.eval").into()),
            from_run: false,
        })
    }

    /// Whether the existing file belongs to other images or weights and must not be overwritten. (A run's own earlier
    /// checkpoint gives way to the later one.)
    pub fn would_replace_unrelated(&self, earlier: &Evaluation, now: &Evaluation) -> bool {
        earlier.data_sha256 != now.data_sha256 || (!self.from_run && earlier.encoder_sha256 != now.encoder_sha256)
    }

    /// A file for an evaluation beside the usual one, which is of other images or weights.
    pub fn sibling_path(&self, evaluation: &Evaluation) -> PathBuf {
        let weights = (!self.from_run).then_some(&evaluation.encoder_sha256);
        let hash = joined_hash([Some(&evaluation.data_sha256), weights].into_iter().flatten());
        let name = self.out.file_stem().unwrap_or_default().to_string_lossy();
        self.out.with_file_name(format!("{name}-{}.json", &hash[..8]))
    }

    pub fn trained(&self, device: &Device) -> Result<Encoder, Failure> {
        let encoder = self.untrained(device)?;
        let file = weights::read(&self.weights)?;
        if let Some(name) = first_not_finite(&file.tensors)? {
            return Err(request(format!(
                "{}: {name} holds a value that is infinite or not a number: the weights are damaged or training diverged",
                self.weights.display()
            )));
        }
        let loaded = match self.stage {
            FeatureStage::Embedding if !file.tensors.keys().any(|name| head::owns(name)) => {
                let named = self.weights.display();
                return Err(request(format!(
                    "--stage embedding: {named} has no projection head; use backbone or a stage"
                )));
            }
            FeatureStage::Embedding => encoder.load_state_dict(&file.tensors),
            FeatureStage::Backbone | FeatureStage::Stage(_) => encoder.load_backbone(&file.tensors),
        };
        loaded.map_err(|error| {
            request(format!("{}: {}", self.weights.display(), misfit(&self.model, &file.tensors, &error.to_string())))
        })?;
        foreign_head::note(&self.weights, &file);
        Ok(encoder)
    }

    pub fn untrained(&self, device: &Device) -> Result<Encoder, Failure> {
        let mut encoder = Encoder::new(&self.model, Compute::default(), self.seed, device)?;
        encoder.set_feature_stage(self.stage.clone()).map_err(|error| match error {
            ModelError::Config { value, expected, .. } => request(format!("--stage {value}: {expected}")),
            error => error.into(),
        })?;
        Ok(encoder)
    }
}

/// Where features are taken.
fn stage(args: &Args) -> FeatureStage {
    args.stage.clone().map_or(FeatureStage::Backbone, FeatureStage::from)
}

/// The stage as a part of a file's name; none for the backbone's last.
fn stage_name(args: &Args) -> Option<String> {
    let stage = stage(args);
    (stage != FeatureStage::Backbone).then(|| short_name(&stage.to_string()))
}

/// The name of the first tensor that holds a value which is infinite or not a number.
fn first_not_finite(tensors: &HashMap<String, Tensor>) -> Result<Option<&String>, Failure> {
    let mut names: Vec<&String> = tensors.keys().filter(|name| tensors[*name].dtype().is_float()).collect();
    names.sort();
    for name in names {
        let sum = tensors[name].to_dtype(DType::F64)?.abs()?.sum_all()?.to_scalar::<f64>()?;
        if !sum.is_finite() {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Why weights do not fit a model: they are of another one, or the first of the differences.
fn misfit(model: &ModelConfig, tensors: &HashMap<String, Tensor>, differences: &str) -> String {
    let name = |model: &ModelConfig| {
        let stem = if model.stem == Stem::Cifar { "3x3" } else { "7x7" };
        format!("a {} x {} with a {stem} stem", model.arch.name(), model.width)
    };
    match weights::infer_config(tensors).map(|found| name(&found)) {
        Ok(found) if found != name(model) => {
            format!("these are weights of {found}, not of {} as config.toml says; name another run", name(model))
        }
        _ => {
            let (first, others) = differences.split_once("; ").unwrap_or((differences, ""));
            let others = others.split("; ").filter(|other| !other.is_empty()).count();
            format!("{first}{}", if others > 0 { format!(" and {others} more differences") } else { String::new() })
        }
    }
}

/// How test images are cut, with the run's values or the usual ones where none are given.
fn transform(settings: &Settings, resize: u32, crop: u32) -> Result<CenterCrop, Failure> {
    let pixels = |name, default| -> Result<u32, Failure> {
        let given = settings.count(name)?;
        Ok(given.map_or(default, |pixels| u32::try_from(pixels).unwrap_or(u32::MAX)))
    };
    Ok(CenterCrop::new(pixels("resize", resize)?, pixels("crop", crop)?))
}

/// A source as part of a file's name: its kind and the last part of its path.
fn short_name(source: &str) -> String {
    let (kind, path) = source.split_once(':').unwrap_or((source, ""));
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let name = if last.is_empty() { kind.to_owned() } else { format!("{kind}-{last}") };
    name.chars().map(|c| if c.is_alphanumeric() || c == '.' { c } else { '-' }).collect()
}
