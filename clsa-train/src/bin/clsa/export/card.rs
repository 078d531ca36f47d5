//! `README.md` of an export: what the encoder is, and how it is used.

use super::target::Target;
use super::{Exported, figures, loading, training};
use crate::failure::Failure;
use crate::model_name::model_name;
use crate::part::Part;
use anyhow::Context;
use clsa_model::Stem;
use clsa_run::file_sha256;
use std::path::Path;

/// The name of the card.
pub const NAME: &str = "README.md";

/// What the Hugging Face Hub reads of a card.
fn front_matter(exported: &Exported) -> String {
    let method: &[&str] = match exported.subject.run {
        Some(_) => &["self-supervised-learning", "contrastive-learning", "clsa"],
        None => &[],
    };
    let tags: String =
        ["image-feature-extraction", "timm"].iter().chain(method).map(|tag| format!("- {tag}\n")).collect();
    format!("---\nlibrary_name: timm\npipeline_tag: image-feature-extraction\ntags:\n{tags}---\n\n")
}

/// The card of an export whose other files are in `folder`.
pub fn card(exported: &Exported, target: Target, folder: &Path) -> Result<String, Failure> {
    let mut card = match target {
        Target::Timm | Target::Hf => front_matter(exported),
        Target::Safetensors | Target::Torch | Target::Onnx | Target::Detectron2 => String::new(),
    };
    card += &introduction(exported, target);
    if let Some((run, config)) = &exported.subject.run {
        card += &format!("\n## Training\n\n{}", table(&training::rows(run, config, &exported.subject.weights)));
        card += &figures_section(&figures::rows(exported, run, config)?);
    }
    card += &images_section(exported, target);
    let code = loading::features(exported, target);
    card += &format!("\n## Use\n\n{}\n\n```python\n{code}```\n", use_of(target));
    let weights = target.weights();
    let path = folder.join(weights);
    let hash = file_sha256(&path).with_context(|| path.display().to_string())?;
    card += &format!("\n## Weights\n\nSHA-256 of `{weights}`: `{hash}`\n");
    Ok(card)
}

fn introduction(exported: &Exported, target: Target) -> String {
    let model = &exported.subject.model;
    let name = model_name(model);
    let stem = match model.stem {
        Stem::Imagenet => "7x7 convolution of stride 2, then 3x3 max pooling of stride 2",
        Stem::Cifar => "3x3 convolution of stride 1, no pooling",
    };
    let encoder = match exported.part {
        Part::Query => "query encoder, which was trained by gradients",
        Part::Key => "key encoder, the moving average of the trained one",
    };
    let head: Vec<String> =
        exported.head().iter().map(|(name, tensor)| format!("`{name}` {:?}", tensor.dims())).collect();
    let head = match (head.is_empty(), target.holds_head()) {
        (true, _) => "none".to_owned(),
        (false, true) => head.join(", "),
        (false, false) => "left out".to_owned(),
    };
    let encoder = exported.of_two.then(|| ("encoder", encoder.to_owned()));
    let origin = match &exported.subject.run {
        Some(_) => "pretrained without labels by the program of *Contrastive Learning with Stronger Augmentations* \
             (CLSA, [arXiv 2104.07713](https://arxiv.org/abs/2104.07713))"
            .to_owned(),
        None => format!("from the file `{}`", exported.subject.file_name()),
    };
    let mut rows = vec![
        ("architecture", model.arch.name().to_owned()),
        ("width", format!("{}, {} channels after the stem", model.width, model.base_width())),
        ("stem", stem.to_owned()),
        ("features", format!("{}, the mean of the last stage over the positions", model.feature_dim())),
        ("head", head),
        ("numbers", "f32".to_owned()),
    ];
    rows.extend(encoder);
    format!(
        "# {name}\n\nAn image encoder, {origin}, written by `clsa export --to {}` of version {}.\n\n{}",
        target.name(),
        env!("CARGO_PKG_VERSION"),
        table(&rows)
    )
}

fn table(rows: &[(&str, String)]) -> String {
    let rows: String = rows.iter().map(|(name, value)| format!("| {name} | {value} |\n")).collect();
    format!("| | |\n|---|---|\n{rows}")
}

fn figures_section(rows: &[figures::Row]) -> String {
    if rows.is_empty() {
        return "\n## Figures\n\nThese weights were not evaluated before they were exported.\n".to_owned();
    }
    let rows: String = rows
        .iter()
        .map(|row| {
            let interval = row.interval.map_or_else(String::new, |(low, high)| format!("{low:.1} to {high:.1}"));
            let figures::Row { protocol, measure, value, images, .. } = row;
            format!("| {protocol} | {measure} | {value:.1} | {interval} | {images} |\n")
        })
        .collect();
    format!(
        "\n## Figures\n\n| protocol | figure | % | 95 % over test images | test images |\n|---|---|---|---|---|\n{rows}"
    )
}

fn images_section(exported: &Exported, target: Target) -> String {
    let transform = exported.subject.transform;
    let (resize, crop) = (transform.resize, transform.crop);
    let (mean, std) = (transform.normalize.mean, transform.normalize.std);
    let guessed = if exported.subject.is_transform_known {
        ""
    } else {
        "The file does not say how its images were prepared; this is what is usual for such networks.\n"
    };
    let text = format!(
        "\n## Images\n\n{guessed}RGB; the shorter side is resized to {resize} pixels (bilinear with antialiasing, as Pillow does it), a \
         square of {crop} pixels is cut\nfrom the middle, values are brought to [0, 1], {mean:?} is subtracted and the result divided by \
         {std:?}.\n"
    );
    match target {
        Target::Detectron2 => text + "Detectron2 resizes in its own way and normalizes as the configuration says.\n",
        Target::Safetensors | Target::Timm | Target::Hf | Target::Torch | Target::Onnx => {
            format!("{text}\n```python\n{}```\n", loading::images(transform))
        }
    }
}

/// What is said before the code that uses the weights.
fn use_of(target: Target) -> &'static str {
    match target {
        Target::Safetensors | Target::Torch => "With torchvision, in this folder:",
        Target::Timm => {
            "With timm 1.0 or later, in this folder (elsewhere with its path after `local-dir:`). \
             `timm.data.create_transform(**timm.data.resolve_model_data_config(model))` prepares images as above."
        }
        Target::Hf => {
            "With timm 1.0 or later, in this folder. `hf upload USER/NAME .` brings it to the Hugging Face Hub, where its name is \
             `hf-hub:USER/NAME` in place of `local-dir:.`. \
             `timm.data.create_transform(**timm.data.resolve_model_data_config(model))` prepares images as above."
        }
        Target::Onnx => {
            "With onnxruntime, in this folder. The graph has operator set 17; batch, height and width may be any."
        }
        Target::Detectron2 => {
            "With Detectron2, in this folder. The names are those of Detectron2's ResNets; the configuration is one of Faster R-CNN, \
             to which data sets and a schedule are to be added."
        }
    }
}
