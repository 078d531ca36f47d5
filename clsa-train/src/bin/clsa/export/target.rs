//! What an encoder can be exported for, and the files that this takes.

use super::{Exported, detectron2, timm};
use crate::failure::Failure;
use anyhow::Context;
use clap::ValueEnum;
use clsa_model::weights::{self, Format};
use clsa_model::{ModelConfig, ModelError};
use std::path::Path;

/// What an encoder can be exported for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// model.safetensors by torchvision's names, backbone and head
    Safetensors,
    /// A folder for timm.create_model("local-dir:DIR", pretrained=True)
    Timm,
    /// The same folder, for the Hugging Face Hub
    Hf,
    /// model.pth for torch.load and torchvision's ResNet
    Torch,
    /// model.onnx, images to pooled features, for onnxruntime and other runtimes
    Onnx,
    /// backbone.pkl and a configuration of Faster R-CNN
    Detectron2,
}

impl Target {
    /// Its name on the command line.
    pub fn name(self) -> String {
        let value = self.to_possible_value().expect("no target is left out of the command line");
        value.get_name().to_owned()
    }

    /// What uses the result.
    pub fn reader(self) -> &'static str {
        match self {
            Self::Safetensors => "readers of safetensors",
            Self::Timm => "timm",
            Self::Hf => "timm and the Hugging Face Hub",
            Self::Torch => "PyTorch",
            Self::Onnx => "runtimes of ONNX",
            Self::Detectron2 => "Detectron2",
        }
    }

    /// Name of the file that holds the weights.
    pub fn weights(self) -> &'static str {
        match self {
            Self::Safetensors | Self::Timm | Self::Hf => "model.safetensors",
            Self::Torch => "model.pth",
            Self::Onnx => "model.onnx",
            Self::Detectron2 => "backbone.pkl",
        }
    }

    /// Whether the file of weights holds a projection head, where there is one.
    pub fn holds_head(self) -> bool {
        match self {
            Self::Safetensors | Self::Torch => true,
            Self::Timm | Self::Hf | Self::Onnx | Self::Detectron2 => false,
        }
    }

    /// Refuses what the target cannot express, and names what can.
    pub fn check(self, model: &ModelConfig) -> Result<(), Failure> {
        match self {
            Self::Timm | Self::Hf => timm::check(&self.name(), model),
            Self::Detectron2 => detectron2::check(model),
            Self::Safetensors | Self::Torch | Self::Onnx => Ok(()),
        }
    }

    /// Writes all files but the card to where they are until the folder is whole. Errors name them in `folder`, their place.
    pub fn write(self, exported: &Exported, unfinished: &Path, folder: &Path) -> Result<(), Failure> {
        let path = unfinished.join(self.weights());
        let named = |error: ModelError| match error {
            ModelError::Write { source, .. } => ModelError::Write { path: placed(folder, self.weights()), source },
            ModelError::WeightFile { reason, .. } => {
                ModelError::WeightFile { path: placed(folder, self.weights()), reason }
            }
            error => error,
        };
        let write = |name: &str, text: String| {
            let written = clsa_files::write_whole(&unfinished.join(name), text.as_bytes());
            written.with_context(|| placed(folder, name))
        };
        let Exported { subject, encoder, tensors, .. } = exported;
        match self {
            Self::Safetensors => weights::write(&path, tensors, Format::Safetensors).map_err(named)?,
            Self::Torch => weights::write(&path, tensors, Format::Pth).map_err(named)?,
            Self::Timm | Self::Hf => {
                weights::write(&path, &exported.backbone(), Format::Safetensors).map_err(named)?;
                write("config.json", timm::config(&subject.model, subject.transform))?;
            }
            Self::Onnx => weights::write_onnx(&path, encoder).map_err(named)?,
            Self::Detectron2 => {
                weights::write(&path, tensors, Format::Detectron2).map_err(named)?;
                let name = detectron2::config_name(&subject.model);
                write(&name, detectron2::config(&subject.model, subject.transform))?;
            }
        }
        Ok(())
    }
}

/// A file of a folder, as messages name it.
fn placed(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}
