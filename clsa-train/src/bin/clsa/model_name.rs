//! What a model is called in messages.

use clsa_model::{ModelConfig, Stem};

/// The architecture, and what differs from torchvision's network of this name.
pub fn model_name(model: &ModelConfig) -> String {
    let width = if model.width == 1.0 { String::new() } else { format!(" of width {}", model.width) };
    let stem = match model.stem {
        Stem::Imagenet => "",
        Stem::Cifar => " with a 3x3 stem",
    };
    format!("{}{width}{stem}", model.arch.name())
}
