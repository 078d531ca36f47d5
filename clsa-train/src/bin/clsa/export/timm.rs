//! `config.json` of a folder that timm (1.0 or later) and the Hugging Face Hub read.

use crate::failure::{Failure, request};
use clsa_augment::CenterCrop;
use clsa_model::{Arch, ModelConfig, Stem};
use serde_json::json;

/// timm's names of the architectures, and the blocks of the stages where they are not that name's own.
const ARCHITECTURES: [(Arch, &str, Option<[usize; 4]>); 7] = [
    (Arch::Resnet10, "resnet18", Some(Arch::Resnet10.blocks())),
    (Arch::Resnet18, "resnet18", None),
    (Arch::Resnet34, "resnet34", None),
    (Arch::Resnet50, "resnet50", None),
    (Arch::Resnet101, "resnet101", None),
    (Arch::Resnet152, "resnet152", None),
    (Arch::WideResnet50x2, "wide_resnet50_2", None),
];

fn architecture(arch: Arch) -> Option<(&'static str, Option<[usize; 4]>)> {
    ARCHITECTURES.into_iter().find(|row| row.0 == arch).map(|(_, name, blocks)| (name, blocks))
}

/// Refuses, for the target of this name, what timm has not: its ResNets have 64 channels after the stem, whose convolution is 7x7 or three
/// of 3x3.
pub fn check(target: &str, model: &ModelConfig) -> Result<(), Failure> {
    let name = model.arch.name();
    let refuse = |why: String| Err(request(format!("--to {target}: {why}; use --to onnx or --to torch")));
    if architecture(model.arch).is_none() {
        return refuse(format!("timm has no {name}"));
    }
    if model.width != 1.0 {
        return refuse(format!("timm builds a {name} of width 1 alone, and this one has {}", model.width));
    }
    match model.stem {
        Stem::Imagenet => Ok(()),
        Stem::Cifar => refuse(format!(
            "timm's {name} begins with a 7x7 convolution and pooling, and this one with a 3x3 convolution"
        )),
    }
}

/// The configuration of a model that [`check`] lets pass.
pub fn config(model: &ModelConfig, transform: CenterCrop) -> String {
    let CenterCrop { resize, crop, normalize } = transform;
    let (architecture, blocks) = architecture(model.arch).unwrap_or((model.arch.name(), None));
    let side = crop.div_ceil(32);
    let mut config = json!({
        "architecture": architecture,
        "num_classes": 0,
        "num_features": model.feature_dim(),
        "pretrained_cfg": {
            "mean": normalize.mean.map(decimal),
            "std": normalize.std.map(decimal),
            "input_size": [3, crop, crop],
            "fixed_input_size": false,
            "interpolation": "bilinear",
            "crop_pct": crop_fraction(resize, crop),
            "crop_mode": "center",
            "num_classes": 0,
            "pool_size": [side, side],
            "first_conv": "conv1",
            "classifier": "fc",
        },
    });
    if let Some(blocks) = blocks {
        config["model_args"] = json!({ "layers": blocks });
    }
    format!("{config:#}\n")
}

/// The fraction that timm divides `crop` by, and rounds down, to find the side to resize to.
fn crop_fraction(resize: u32, crop: u32) -> f64 {
    let (resize, crop) = (f64::from(resize), f64::from(crop));
    let fraction = crop / resize;
    if (crop / fraction).floor() < resize { fraction.next_down() } else { fraction }
}

/// The number that is written with the same few digits.
pub(super) fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timm_finds_the_side_that_images_are_resized_to() {
        for resize in 1..=1024 {
            for crop in 1..=resize {
                let fraction = crop_fraction(resize, crop);
                assert_eq!((f64::from(crop) / fraction).floor(), f64::from(resize), "{crop} of {resize}");
            }
        }
        assert_eq!(crop_fraction(256, 224), 0.875);
    }

    #[test]
    fn the_side_that_images_are_resized_to_is_read_back_from_the_file() {
        for resize in 1..=256 {
            for crop in 1..=resize {
                let text = config(&ModelConfig::default(), CenterCrop::new(resize, crop));
                let read: serde_json::Value = serde_json::from_str(&text).unwrap();
                let fraction = read["pretrained_cfg"]["crop_pct"].as_f64().unwrap();
                assert_eq!((f64::from(crop) / fraction).floor(), f64::from(resize), "{crop} of {resize}");
            }
        }
    }

    #[test]
    fn every_architecture_has_its_row() {
        for arch in Arch::ALL {
            assert!(architecture(arch).is_some(), "{}", arch.name());
        }
    }
}
