//! What an encoder can be exported for, and the files that this takes.

use super::{Exported, detectron2, timm};
use crate::failure::Failure;
use anyhow::Context;
use clap::ValueEnum;
use clsa_model::ModelConfig;
use clsa_model::weights::{self, Format};
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
    pub fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Timm => "timm",
            Self::Hf => "hf",
            Self::Torch => "torch",
            Self::Onnx => "onnx",
            Self::Detectron2 => "detectron2",
        }
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
            Self::Timm | Self::Hf => timm::check(self, model),
            Self::Detectron2 => detectron2::check(model),
            Self::Safetensors | Self::Torch | Self::Onnx => Ok(()),
        }
    }

    /// Writes all files but the card into a folder.
    pub fn write(self, exported: &Exported, folder: &Path) -> Result<(), Failure> {
        let path = folder.join(self.weights());
        let write = |name: &str, text: String| {
            clsa_files::write_whole(&folder.join(name), text.as_bytes()).with_context(|| name.to_owned())
        };
        let model = &exported.subject.model;
        match self {
            Self::Safetensors => weights::write(&path, &exported.tensors, Format::Safetensors)?,
            Self::Torch => weights::write(&path, &exported.tensors, Format::Pth)?,
            Self::Timm | Self::Hf => {
                weights::write(&path, &exported.backbone(), Format::Safetensors)?;
                write("config.json", timm::config(model, exported.subject.transform))?;
            }
            Self::Onnx => weights::write_onnx(&path, &exported.encoder)?,
            Self::Detectron2 => {
                weights::write(&path, &exported.tensors, Format::Detectron2)?;
                let name = detectron2::config_name(model);
                write(&name, detectron2::config(model, exported.subject.transform))?;
            }
        }
        Ok(())
    }
}
