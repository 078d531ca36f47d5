//! A configuration of Detectron2 with the backbone: Faster R-CNN with the settings that MoCo's experiments on detection have.

use super::timm::decimal;
use crate::failure::{Failure, request};
use clsa_augment::CenterCrop;
use clsa_model::{Arch, ModelConfig, Stem};

/// Networks that Detectron2 builds, and its depth of each.
const DEPTHS: [(Arch, u32); 6] = [
    (Arch::Resnet18, 18),
    (Arch::Resnet34, 34),
    (Arch::Resnet50, 50),
    (Arch::Resnet101, 101),
    (Arch::Resnet152, 152),
    (Arch::WideResnet50x2, 50),
];

fn depth(arch: Arch) -> Option<u32> {
    DEPTHS.into_iter().find(|row| row.0 == arch).map(|(_, depth)| depth)
}

/// Detectron2's networks of basic blocks have a fixed width, and all of its stems are 7x7.
pub fn check(model: &ModelConfig) -> Result<(), Failure> {
    let name = model.arch.name();
    let refuse = |why: String| Err(request(format!("--to detectron2: {why}; use --to onnx or --to torch")));
    if depth(model.arch).is_none() {
        return refuse(format!("Detectron2 has no {name}"));
    }
    if model.stem == Stem::Cifar {
        return refuse(format!(
            "Detectron2's {name} begins with a 7x7 convolution, and this one with a 3x3 convolution"
        ));
    }
    if model.arch.bottleneck_width().is_none() && model.width != 1.0 {
        return refuse(format!("Detectron2 builds a {name} of width 1 alone, and this one has {}", model.width));
    }
    Ok(())
}

/// The file's name, after those of Detectron2's own. The C4 head has bottlenecks, so that networks of basic blocks have the pyramid.
pub fn config_name(model: &ModelConfig) -> String {
    let neck = if model.arch.bottleneck_width().is_some() { "C4" } else { "FPN" };
    format!("faster_rcnn_R_{}_{neck}.yaml", depth(model.arch).unwrap_or_default())
}

/// The configuration of a model that [`check`] lets pass.
pub fn config(model: &ModelConfig, transform: CenterCrop) -> String {
    let bytes = |values: [f32; 3]| {
        let values = values.map(|value| {
            let value = decimal(value) * 255.0;
            ((value * 1e4).round() / 1e4).to_string()
        });
        format!("[{}]", values.join(", "))
    };
    let (mean, std) = (bytes(transform.normalize.mean), bytes(transform.normalize.std));
    let depth = depth(model.arch).unwrap_or_default();
    let base = model.base_width();
    let (head, channels) = match model.arch.bottleneck_width() {
        Some(width) => (C4, [base, 4 * base, width * base]),
        None => (FPN, [base, base, base]),
    };
    let [stem, res2, inner] = channels;
    format!(
        "# An encoder of CLSA as the backbone of a detector, trained further in all of its layers with synchronized batch norm, as in
# the experiments of MoCo. Data sets and schedule are yours to add.
VERSION: 2
MODEL:
  META_ARCHITECTURE: GeneralizedRCNN
  WEIGHTS: backbone.pkl
  MASK_ON: false
  PIXEL_MEAN: {mean}
  PIXEL_STD: {std}
  RESNETS:
    DEPTH: {depth}
    NORM: SyncBN
    STRIDE_IN_1X1: false
    STEM_OUT_CHANNELS: {stem}
    RES2_OUT_CHANNELS: {res2}
    WIDTH_PER_GROUP: {inner}
{head}INPUT:
  FORMAT: RGB
TEST:
  PRECISE_BN:
    ENABLED: true
"
    )
}

/// What follows the network's own keys, for the head on the fourth stage.
const C4: &str = "    OUT_FEATURES: [res4]
  BACKBONE:
    NAME: build_resnet_backbone
    FREEZE_AT: 0
  RPN:
    PRE_NMS_TOPK_TEST: 6000
    POST_NMS_TOPK_TEST: 1000
  ROI_HEADS:
    NAME: Res5ROIHeads
";

/// The same for a feature pyramid.
const FPN: &str = "    OUT_FEATURES: [res2, res3, res4, res5]
  BACKBONE:
    NAME: build_resnet_fpn_backbone
    FREEZE_AT: 0
  FPN:
    IN_FEATURES: [res2, res3, res4, res5]
    NORM: SyncBN
  ANCHOR_GENERATOR:
    SIZES: [[32], [64], [128], [256], [512]]
    ASPECT_RATIOS: [[0.5, 1.0, 2.0]]
  RPN:
    IN_FEATURES: [p2, p3, p4, p5, p6]
    PRE_NMS_TOPK_TRAIN: 2000
    PRE_NMS_TOPK_TEST: 1000
    POST_NMS_TOPK_TRAIN: 1000
    POST_NMS_TOPK_TEST: 1000
  ROI_HEADS:
    NAME: StandardROIHeads
    IN_FEATURES: [p2, p3, p4, p5]
  ROI_BOX_HEAD:
    NAME: FastRCNNConvFCHead
    NUM_FC: 2
    POOLER_RESOLUTION: 7
";
