//! How images are prepared for the weights in a file, as far as files of timm and transformers beside them say it.

use crate::failure::{Failure, request};
use anyhow::Context;
use clsa_augment::{CenterCrop, Normalize};
use serde::Deserialize;
use serde_json::Value;
use std::io::ErrorKind;
use std::path::Path;

/// What timm says of images. It resizes to `input_size / crop_pct`, rounded down.
#[derive(Deserialize)]
struct TimmImages {
    /// Channels, height, width.
    input_size: [u32; 3],
    #[serde(default = "usual_crop_pct")]
    crop_pct: f64,
    mean: [f32; 3],
    std: [f32; 3],
}

fn usual_crop_pct() -> f64 {
    0.875
}

/// What transformers says of images where it resizes and cuts as timm does, as for its ResNets.
#[derive(Deserialize)]
struct Preprocessor {
    size: Size,
    crop_pct: f64,
    image_mean: [f32; 3],
    image_std: [f32; 3],
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Size {
    Side(u32),
    Named { shortest_edge: u32 },
}

/// The transform that the folder of a weight file states; none where no file there does. The kind of interpolation is not heeded: it is
/// bilinear.
pub fn stated_beside(weights: &Path) -> Result<Option<CenterCrop>, Failure> {
    let folder = clsa_files::folder_of(weights);
    let file = folder.join("config.json");
    if let Some(images) = json(&file)?.and_then(timm_images) {
        let TimmImages { input_size: [_, side, _], crop_pct, mean, std } = read(&file, images)?;
        return checked(&file, side, crop_pct, Normalize { mean, std }).map(Some);
    }
    let file = folder.join("preprocessor_config.json");
    // Others of its processors, which have no such fraction, prepare images in other ways.
    let Some(images) = json(&file)?.filter(|images| images["crop_pct"].is_number()) else { return Ok(None) };
    let Preprocessor { size, crop_pct, image_mean: mean, image_std: std } = read(&file, images)?;
    let (Size::Side(side) | Size::Named { shortest_edge: side }) = size;
    checked(&file, side, crop_pct, Normalize { mean, std }).map(Some)
}

/// What timm's `config.json` says of images: older versions have it at the root.
fn timm_images(mut config: Value) -> Option<Value> {
    match config.get_mut("pretrained_cfg") {
        Some(images) => images.is_object().then(|| images.take()),
        None => (config["architecture"].is_string() && config["input_size"].is_array()).then_some(config),
    }
}

/// What a file holds; none where there is none, or it is no JSON and so of neither library.
fn json(file: &Path) -> Result<Option<Value>, Failure> {
    match std::fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        bytes => Ok(serde_json::from_slice(&bytes.with_context(|| file.display().to_string())?).ok()),
    }
}

fn read<T: for<'de> Deserialize<'de>>(file: &Path, images: Value) -> Result<T, Failure> {
    serde_json::from_value(images).map_err(|error| {
        let named = file.display();
        request(format!(
            "{named}: how images are prepared cannot be read ({error}); move the weights to another folder"
        ))
    })
}

fn checked(file: &Path, side: u32, crop_pct: f64, normalize: Normalize) -> Result<CenterCrop, Failure> {
    // Of no number it is 0, which is refused.
    let resize = (f64::from(side) / crop_pct) as u32;
    let transform = CenterCrop { resize, crop: side, normalize };
    match transform.validate() {
        Ok(()) => Ok(transform),
        Err(error) => Err(request(format!("{}: images cannot be prepared so: {error}", file.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated(name: &str, json: &str) -> Result<Option<CenterCrop>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), json).unwrap();
        stated_beside(&folder.path().join("model.safetensors")).map_err(|failure| failure.sentence())
    }

    /// As timm writes it.
    const IMAGES: &str = r#""mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]"#;
    const HALVES: Normalize = Normalize { mean: [0.5; 3], std: [0.25; 3] };

    #[test]
    fn files_of_timm_and_transformers_state_sides_and_normalization() {
        let timm = |more: &str| {
            let json = format!(r#"{{"architecture": "resnet50", "pretrained_cfg": {{{IMAGES}, {more}}}}}"#);
            stated("config.json", &json)
        };
        let cut = |resize, crop| Ok(Some(CenterCrop { resize, crop, normalize: HALVES }));
        assert_eq!(timm(r#""input_size": [3, 224, 224]"#), cut(256, 224));
        assert_eq!(timm(r#""input_size": [3, 224, 224], "crop_pct": 0.95"#), cut(235, 224));
        let earlier = format!(r#"{{"architecture": "resnet50", {IMAGES}, "input_size": [3, 224, 224]}}"#);
        assert_eq!(stated("config.json", &earlier), cut(256, 224));
        let transformers = |size: &str| {
            let images = r#""image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25], "crop_pct": 0.875"#;
            stated("preprocessor_config.json", &format!(r#"{{{images}, "size": {size}, "resample": 3}}"#))
        };
        assert_eq!(transformers("224"), cut(256, 224));
        assert_eq!(transformers(r#"{"shortest_edge": 224}"#), cut(256, 224));
    }

    #[test]
    fn a_folder_that_states_nothing_is_told_from_one_that_states_what_cannot_be() {
        for json in [r#"{"architectures": ["ResNetModel"]}"#, "[1]", "// none", r#"{"pretrained_cfg": "a"}"#] {
            assert_eq!(stated("config.json", json), Ok(None), "{json}");
        }
        let clip = r#"{"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "image_mean": [0.5, 0.5, 0.5]}"#;
        assert_eq!(stated("preprocessor_config.json", clip), Ok(None));
        let wrong = stated("config.json", r#"{"pretrained_cfg": {"input_size": [3, 224, 224], "crop_pct": 0}}"#);
        assert!(
            wrong.unwrap_err().contains("config.json: how images are prepared cannot be read (missing field `mean`")
        );
        for (side, crop_pct) in [(224, "0"), (224, "2"), (0, "0.875")] {
            let json = format!(
                r#"{{"pretrained_cfg": {{"input_size": [3, {side}, {side}], "crop_pct": {crop_pct}, {IMAGES}}}}}"#
            );
            let why = stated("config.json", &json).unwrap_err();
            assert!(why.contains("config.json: images cannot be prepared so: "), "{why}");
        }
    }
}
