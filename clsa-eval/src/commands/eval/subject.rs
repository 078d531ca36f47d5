//! What is evaluated, after all defaults: the newest checkpoint of a run, or a weight file.

use super::{Args, Protocol};
use crate::{Failure, request};
use anyhow::anyhow;
use candle_core::{DType, Device, Tensor};
use clsa_eval::{EvalError, EvalTransform, Evaluation, KnnConfig, Run, joined_hash};
use clsa_model::{Compute, Encoder, ModelConfig, Stem, weights};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub struct Subject {
    pub weights: PathBuf,
    pub model: ModelConfig,
    /// Seed of the untrained encoder.
    seed: u64,
    pub data: String,
    pub transform: EvalTransform,
    pub knn: KnnConfig,
    pub out: PathBuf,
    /// Where features and interrupted trainings are kept.
    pub cache: PathBuf,
    /// Whether it is a run's newest checkpoint, not a file of weights.
    of_run: bool,
}

/// Images that the picture of a retrieval may hold.
const MOST_PICTURED: usize = 20_000;

impl Subject {
    pub fn of(args: &Args) -> Result<Self, Failure> {
        let subject = match &args.weights {
            Some(file) => Self::of_weights(file, args)?,
            None => Self::of_run(args)?,
        };
        let most = 16_384;
        if subject.transform.resize > most {
            return Err(request(anyhow!("--resize {}: use at most {most} pixels", subject.transform.resize)));
        }
        if subject.transform.crop == 0 || subject.transform.crop > subject.transform.resize {
            let EvalTransform { resize, crop, .. } = subject.transform;
            return Err(request(anyhow!("--crop {crop}: use 1 to {resize} pixels, the resized short side (--resize)")));
        }
        if subject.out.is_dir() {
            return Err(request(anyhow!("--out {}: this is a folder; name a file in it", subject.out.display())));
        }
        let cells = args.queries.saturating_mul(args.neighbours.saturating_add(1));
        if args.protocol.contains(&Protocol::Retrieval) && cells > MOST_PICTURED {
            return Err(request(anyhow!(
                "--queries {} with --neighbours {}: the picture would hold {cells} images; ask for at most {MOST_PICTURED}",
                args.queries,
                args.neighbours
            )));
        }
        let folder = subject.out.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            return Err(request(anyhow!("--out {}: there is no folder {}", subject.out.display(), folder.display())));
        }
        Ok(subject)
    }

    fn of_run(args: &Args) -> Result<Self, Failure> {
        let run = match &args.run {
            Some(folder) => Run::open(folder)?,
            None => Run::newest(Path::new("runs"))?,
        };
        let config = &run.config;
        let transform = EvalTransform {
            resize: args.resize.unwrap_or(config.eval.resize),
            crop: args.crop.unwrap_or(config.eval.crop),
            normalize: config.views.key.normalize,
        };
        let knn = KnnConfig {
            k: args.k.unwrap_or(config.knn.k),
            temperature: args.temperature.unwrap_or(config.knn.temperature),
        };
        let other = args.data.as_ref().filter(|data| **data != config.data.source);
        let name = other.map_or_else(|| "eval.json".to_owned(), |data| format!("eval-{}.json", short_name(data)));
        Ok(Self {
            weights: run.checkpoint()?,
            model: config.model.clone(),
            seed: config.train.seed,
            data: args.data.clone().unwrap_or_else(|| config.data.source.clone()),
            transform,
            knn,
            out: args.out.clone().unwrap_or_else(|| run.folder.join(name)),
            cache: args.cache.clone().unwrap_or(run.folder),
            of_run: true,
        })
    }

    fn of_weights(file: &Path, args: &Args) -> Result<Self, Failure> {
        let tensors = read(file)?;
        let named = |e: clsa_model::ModelError| request(anyhow!("{}: {e}", file.display()));
        let model = weights::infer_config(&tensors).map_err(named)?;
        let (resize, crop) = if model.stem == Stem::Cifar { (32, 32) } else { (256, 224) };
        let transform = EvalTransform::new(args.resize.unwrap_or(resize), args.crop.unwrap_or(crop));
        let defaults = KnnConfig::default();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            weights: file.to_owned(),
            model,
            seed: 0,
            data: args.data.clone().ok_or_else(|| request(anyhow!("--data: name the images to evaluate on")))?,
            transform,
            knn: KnnConfig {
                k: args.k.unwrap_or(defaults.k),
                temperature: args.temperature.unwrap_or(defaults.temperature),
            },
            out: args.out.clone().unwrap_or_else(|| format!("{name}.eval.json").into()),
            cache: args.cache.clone().unwrap_or_else(|| format!("{name}.eval").into()),
            of_run: false,
        })
    }

    /// Whether an earlier evaluation is of other images, or of another file of weights with the same name: it must stay.
    /// (A run's own earlier checkpoint gives way to the later one.)
    pub fn is_of_others(&self, earlier: &Evaluation, now: &Evaluation) -> bool {
        earlier.data_sha256 != now.data_sha256 || (!self.of_run && earlier.encoder_sha256 != now.encoder_sha256)
    }

    /// A file for an evaluation beside the usual one, which is of other images or weights.
    pub fn apart(&self, evaluation: &Evaluation) -> PathBuf {
        let weights = (!self.of_run).then_some(&evaluation.encoder_sha256);
        let hash = joined_hash([Some(&evaluation.data_sha256), weights].into_iter().flatten());
        let name = self.out.file_stem().unwrap_or_default().to_string_lossy();
        self.out.with_file_name(format!("{name}-{}.json", &hash[..8]))
    }

    pub fn trained(&self, device: &Device) -> Result<Encoder, Failure> {
        let encoder = self.untrained(device)?;
        let tensors = read(&self.weights)?;
        if let Some(name) = first_not_finite(&tensors)? {
            return Err(request(anyhow!(
                "{}: {name} holds a value that is infinite or not a number: the weights are damaged or training diverged",
                self.weights.display()
            )));
        }
        encoder.load_backbone(&tensors).map_err(|error| {
            request(anyhow!("{}: {}", self.weights.display(), misfit(&self.model, &tensors, &error.to_string())))
        })?;
        Ok(encoder)
    }

    pub fn untrained(&self, device: &Device) -> Result<Encoder, Failure> {
        Encoder::new(&self.model, Compute::default(), self.seed, device).map_err(|e| Failure::from(EvalError::from(e)))
    }
}

/// The name of the first tensor that holds a value which is infinite or not a number.
fn first_not_finite(tensors: &HashMap<String, Tensor>) -> Result<Option<&String>, Failure> {
    let mut names: Vec<&String> = tensors.keys().filter(|name| tensors[*name].dtype().is_float()).collect();
    names.sort();
    for name in names {
        let sum = tensors[name].to_dtype(DType::F64).and_then(|t| t.abs()?.sum_all()?.to_scalar::<f64>());
        if !sum.map_err(EvalError::from)?.is_finite() {
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

fn read(file: &Path) -> Result<HashMap<String, Tensor>, Failure> {
    Ok(weights::read(file).map_err(request)?.tensors)
}

/// A source as part of a file's name: its kind and the last part of its path.
fn short_name(source: &str) -> String {
    let (kind, path) = source.split_once(':').unwrap_or((source, ""));
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let name = if last.is_empty() { kind.to_owned() } else { format!("{kind}-{last}") };
    name.chars().map(|c| if c.is_alphanumeric() || c == '.' { c } else { '-' }).collect()
}
