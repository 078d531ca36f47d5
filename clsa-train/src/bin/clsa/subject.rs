//! The encoder that a command uses, after all defaults: the newest checkpoint of a run, or a weight file.

use crate::failure::{Failure, request};
use crate::foreign_head;
use crate::image_preparation;
use crate::model_name::model_name;
use crate::part::Part;
use crate::streams::say;
use crate::weight_path::weight_file;
use candle_core::{Device, Tensor};
use clsa_augment::{CenterCrop, MAX_SIDE};
use clsa_data::Source;
use clsa_model::weights::WeightFile;
use clsa_model::{Compute, Encoder, FeatureStage, ModelConfig, ModelError, Stem, head, weights};
use clsa_run::{Checkpoint, Config, RunFolder};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The options that name an encoder.
#[derive(clap::Args)]
pub struct EncoderArgs {
    /// The run: its folder [default: the newest in ./runs]
    #[arg(long, value_name = "RUN", conflicts_with = "weights")]
    run: Option<PathBuf>,
    /// A weight file: PyTorch (.pth, .pth.tar), safetensors, or a checkpoint; or a folder of timm or transformers
    #[arg(long, value_name = "FILE|FOLDER")]
    weights: Option<PathBuf>,
}

pub struct Subject {
    /// The checkpoint or weight file.
    pub weights: PathBuf,
    pub model: ModelConfig,
    /// Where in the encoders features are taken.
    pub stage: FeatureStage,
    /// How images are cut.
    pub transform: CenterCrop,
    /// Whether somebody says that images are cut so, rather than that being usual for such networks.
    pub is_transform_known: bool,
    /// The seed that an untrained encoder is drawn from.
    seed: u64,
    /// The run, and its configuration; none for a weight file.
    pub run: Option<(RunFolder, Config)>,
}

impl Subject {
    /// What the options name. `stage` and the sides `[resize, crop]` are those that the user asks for.
    pub fn of(args: &EncoderArgs, stage: Option<&str>, [resize, crop]: [Option<u32>; 2]) -> Result<Self, Failure> {
        let mut subject = match (&args.weights, &args.run) {
            (Some(path), _) => Self::of_weights(weight_file(path)?)?,
            (None, Some(folder)) => Self::of_run(RunFolder::open(folder)?)?,
            (None, None) => Self::of_run(RunFolder::newest(Path::new("runs"))?)?,
        };
        if let Some(name) = stage {
            subject.stage = FeatureStage::from(name.to_owned());
        }
        let usual = subject.transform;
        let (resize, crop) = (resize.unwrap_or(usual.resize), crop.unwrap_or(usual.crop));
        if resize > MAX_SIDE {
            return Err(request(format!("--resize {resize}: use at most {MAX_SIDE} pixels")));
        }
        if crop == 0 || crop > resize {
            return Err(request(format!("--crop {crop}: use 1 to {resize} pixels, the resized short side (--resize)")));
        }
        subject.transform = CenterCrop { resize, crop, ..usual };
        if !subject.is_transform_known {
            say!(
                "note: nothing says how images are prepared for {}; they are resized to {resize} and cut to {crop} pixels, with \
                 ImageNet's mean and deviation",
                subject.weights.display()
            );
        }
        Ok(subject)
    }

    /// The newest checkpoint of a run, the features of its backbone, and images as the run cuts them.
    pub fn of_run(run: RunFolder) -> Result<Self, Failure> {
        let config = run.config()?;
        Ok(Self {
            weights: run.newest_checkpoint()?,
            model: config.model.clone(),
            stage: FeatureStage::Backbone,
            transform: config.center_crop(),
            is_transform_known: true,
            seed: config.train.seed,
            run: Some((run, config)),
        })
    }

    /// A weight file, the features of its backbone, and images as the file or its folder says they are cut.
    fn of_weights(weights: PathBuf) -> Result<Self, Failure> {
        let model = weights::infer_config(&weights::read(&weights)?.tensors);
        let model = model.map_err(|error| request(format!("{}: {error}", weights.display())))?;
        let usual = if model.stem == Stem::Cifar { CenterCrop::new(32, 32) } else { CenterCrop::new(256, 224) };
        let trained_as = Checkpoint::config_of(&weights)?;
        let known = match &trained_as {
            Some(config) => Some(config.center_crop()),
            None => image_preparation::stated_beside(&weights)?,
        };
        Ok(Self {
            weights,
            model,
            stage: FeatureStage::Backbone,
            transform: known.unwrap_or(usual),
            is_transform_known: known.is_some(),
            seed: trained_as.map_or(0, |config| config.train.seed),
            run: None,
        })
    }

    /// The images: those that are named, or those of the run.
    pub fn source(&self, named: Option<&str>) -> Result<Source, Failure> {
        let source = match (named, &self.run) {
            (Some(source), _) => source,
            (None, Some((_, config))) => config.data.source.as_str(),
            (None, None) => {
                return Err(request("--weights: add --data with the images, such as imagefolder:/data/imagenet"));
            }
        };
        source.parse().map_err(|error| request(format!("--data: {error}")))
    }

    /// Where features are kept: the run, or a folder in the current one that is named after the weights.
    pub fn cache(&self) -> PathBuf {
        match &self.run {
            Some((run, _)) => run.path().to_owned(),
            None => format!("{}.eval", self.file_name()).into(),
        }
    }

    /// The name of the weight file, without its folder.
    pub fn file_name(&self) -> String {
        self.weights.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The encoder with its weights.
    pub fn trained(&self, device: &Device) -> Result<Encoder, Failure> {
        Ok(self.loaded(Part::Query, device)?.0)
    }

    /// One of the encoders that the file has, with its weights, and what else the file holds.
    pub fn loaded(&self, part: Part, device: &Device) -> Result<(Encoder, WeightFile), Failure> {
        let encoder = self.untrained(device)?;
        let file = weights::read(&self.weights)?;
        let tensors = part.tensors(&file, &self.weights)?;
        if let Some(name) = weights::first_not_finite(tensors)? {
            return Err(request(format!(
                "{}: {name} holds a value that is infinite or not a number: the weights are damaged or training diverged",
                self.weights.display()
            )));
        }
        let loaded = match self.stage {
            FeatureStage::Embedding if !tensors.keys().any(|name| head::owns(name)) => {
                let named = self.weights.display();
                return Err(request(format!(
                    "--stage embedding: {named} has no projection head; use backbone or a stage"
                )));
            }
            FeatureStage::Embedding => encoder.load_state_dict(tensors),
            FeatureStage::Backbone | FeatureStage::Stage(_) => encoder.load_backbone(tensors),
        };
        loaded.map_err(|error| {
            request(format!("{}: {}", self.weights.display(), misfit(&self.model, tensors, &error.to_string())))
        })?;
        foreign_head::note(&self.weights, &file);
        if let Some(why) = encoder.without_kernels() {
            say!("note: {why}");
        }
        Ok((encoder, file))
    }

    /// An encoder of the same shape with the random weights that the seed of the training gives, or seed 0.
    pub fn untrained(&self, device: &Device) -> Result<Encoder, Failure> {
        let mut encoder = Encoder::new(&self.model, Compute::default(), self.seed, device)?;
        encoder.set_feature_stage(self.stage.clone()).map_err(|error| match error {
            ModelError::Config { value, expected, .. } => request(format!("--stage {value}: {expected}")),
            error => error.into(),
        })?;
        Ok(encoder)
    }
}

/// Why weights do not fit a model: they are of another one, or the first of the differences.
fn misfit(model: &ModelConfig, tensors: &HashMap<String, Tensor>, differences: &str) -> String {
    // Widths that give as many channels are one network.
    let network = |model: &ModelConfig| (model.arch, model.base_width(), model.stem);
    match weights::infer_config(tensors) {
        Ok(found) if network(&found) != network(model) => {
            let (found, configured) = (model_name(&found), model_name(model));
            format!("these are weights of {found}, not of {configured} as config.toml says; name another run")
        }
        _ => {
            let (first, others) = differences.split_once("; ").unwrap_or((differences, ""));
            let others = others.split("; ").filter(|other| !other.is_empty()).count();
            format!("{first}{}", if others > 0 { format!(" and {others} more differences") } else { String::new() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clsa_model::Arch;

    #[test]
    fn weights_are_of_another_width_only_where_they_have_other_channels() {
        let model = |width| ModelConfig { arch: Arch::Resnet10, width, ..ModelConfig::default() };
        let tensors = Encoder::new(&model(0.1), Compute::default(), 0, &Device::Cpu).unwrap().state_dict().unwrap();
        let why = |width| misfit(&model(width), &tensors, "bn1.bias is missing");
        assert_eq!(why(0.1), "bn1.bias is missing");
        let other = "these are weights of resnet10 of width 0.09375, not of resnet10 of width 0.11 as config.toml says";
        assert!(why(0.11).starts_with(other), "{}", why(0.11));
    }
}
