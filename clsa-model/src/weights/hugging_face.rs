//! Folders as Hugging Face's libraries keep models in, and the names that `transformers` gives to the tensors of a ResNet.

use crate::error::ModelError;
use std::path::{Path, PathBuf};

/// The weights of a folder, the first that is there being taken.
const FILES: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// The weight file in a folder of timm or `transformers`, such as a clone of a repository of Hugging Face's hub.
///
/// # Errors
/// It has none.
pub fn file_in_folder(folder: &Path) -> Result<PathBuf, ModelError> {
    FILES.map(|file| folder.join(file)).into_iter().find(|file| file.is_file()).ok_or_else(|| ModelError::WeightFile {
        path: folder.display().to_string(),
        reason: format!("this folder has no weights ({}): name a file", FILES.join(" or ")),
    })
}

/// torchvision's name of a tensor of `transformers`' `ResNetModel`, with what stands before it; none where it is no such name.
pub(super) fn torchvision_name(name: &str) -> Option<String> {
    if let Some((prefix, part)) = split_at(name, "embedder.embedder.") {
        return Some(match unit(part)? {
            ("convolution", rest) => format!("{prefix}conv1.{rest}"),
            (_, rest) => format!("{prefix}bn1.{rest}"),
        });
    }
    let (prefix, part) = split_at(name, "encoder.stages.")?;
    let (stage, part) = part.split_once(".layers.")?;
    let stage = stage.parse::<usize>().ok()?.checked_add(1)?;
    let (block, part) = part.split_once('.')?;
    let block = block.parse::<usize>().ok()?;
    let place = format!("{prefix}layer{stage}.{block}");
    if let Some(part) = part.strip_prefix("shortcut.") {
        return Some(match unit(part)? {
            ("convolution", rest) => format!("{place}.downsample.0.{rest}"),
            (_, rest) => format!("{place}.downsample.1.{rest}"),
        });
    }
    let (number, part) = part.strip_prefix("layer.")?.split_once('.')?;
    let number = number.parse::<usize>().ok()?.checked_add(1)?;
    Some(match unit(part)? {
        ("convolution", rest) => format!("{place}.conv{number}.{rest}"),
        (_, rest) => format!("{place}.bn{number}.{rest}"),
    })
}

/// What stands before a part that begins a name or follows a dot, and behind it.
fn split_at<'a>(name: &'a str, part: &str) -> Option<(&'a str, &'a str)> {
    let (prefix, rest) = name.split_once(part)?;
    (prefix.is_empty() || prefix.ends_with('.')).then_some((prefix, rest))
}

/// A convolution or the norm behind it, and the tensor's own name.
fn unit(part: &str) -> Option<(&str, &str)> {
    let (unit, rest) = part.split_once('.')?;
    matches!(unit, "convolution" | "normalization").then_some((unit, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_transformers_are_those_of_torchvision() {
        for (name, torchvision) in [
            ("resnet.embedder.embedder.convolution.weight", Some("resnet.conv1.weight")),
            ("embedder.embedder.normalization.running_var", Some("bn1.running_var")),
            ("resnet.encoder.stages.2.layers.5.layer.1.convolution.weight", Some("resnet.layer3.5.conv2.weight")),
            ("encoder.stages.0.layers.0.layer.2.normalization.bias", Some("layer1.0.bn3.bias")),
            ("encoder.stages.3.layers.0.shortcut.convolution.weight", Some("layer4.0.downsample.0.weight")),
            ("encoder.stages.3.layers.0.shortcut.normalization.weight", Some("layer4.0.downsample.1.weight")),
            ("classifier.1.weight", None),
            ("layer1.0.conv1.weight", None),
            ("encoder.stages.18446744073709551615.layers.0.layer.0.convolution.weight", None),
            ("encoder.stages.0.layers.0.layer.0.attention.weight", None),
            ("myencoder.stages.0.layers.0.layer.0.convolution.weight", None),
        ] {
            assert_eq!(torchvision_name(name).as_deref(), torchvision, "{name}");
        }
    }
}
