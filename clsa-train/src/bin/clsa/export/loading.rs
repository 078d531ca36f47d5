//! The lines of Python in a card: those that prepare images, and those that load the encoder and compute features.

use super::Exported;
use super::detectron2::config_name;
use super::target::Target;
use clsa_augment::CenterCrop;
use clsa_model::{Arch, ModelConfig, Stem};

/// Makes `images` of a photograph.
pub fn images(transform: CenterCrop) -> String {
    let CenterCrop { resize, crop, normalize } = transform;
    format!(
        "from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

transform = Compose([
    Resize({resize}, interpolation=InterpolationMode.BILINEAR),
    CenterCrop({crop}),
    ToTensor(),
    Normalize(mean={:?}, std={:?}),
])
images = transform(Image.open(\"photo.jpg\").convert(\"RGB\"))[None]  # (1, 3, {crop}, {crop})
",
        normalize.mean, normalize.std,
    )
}

/// Makes `features` of `images`, in the folder of the export; for Detectron2, a model.
pub fn features(exported: &Exported, target: Target) -> String {
    let model = &exported.subject.model;
    let size = model.feature_dim();
    let weights = target.weights();
    match target {
        Target::Safetensors => {
            let load = format!("load_file(\"{weights}\")");
            torchvision(exported, "from safetensors.torch import load_file\n", &load)
        }
        Target::Torch => torchvision(exported, "", &format!("torch.load(\"{weights}\", weights_only=True)")),
        Target::Timm | Target::Hf => format!(
            "import timm
import torch

model = timm.create_model(\"local-dir:.\", pretrained=True, num_classes=0).eval()
with torch.no_grad():
    features = model(images)  # (N, {size})
"
        ),
        Target::Onnx => format!(
            "import onnxruntime

session = onnxruntime.InferenceSession(\"{weights}\", providers=[\"CPUExecutionProvider\"])
(features,) = session.run([\"features\"], {{\"images\": images.numpy()}})  # (N, {size})
"
        ),
        Target::Detectron2 => format!(
            "from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.modeling import build_model

cfg = get_cfg()
cfg.merge_from_file(\"{}\")
model = build_model(cfg)
DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
",
            config_name(model)
        ),
    }
}

/// torchvision's module with the weights that `state` gives.
fn torchvision(exported: &Exported, import: &str, state: &str) -> String {
    let model = &exported.subject.model;
    let (imports, module) = module(model);
    let load = match &exported.head()[..] {
        [] => format!("model.load_state_dict({state})"),
        _ => format!(
            "missing, unexpected = model.load_state_dict({state}, strict=False)
# What is left out is the head.
assert not missing and all(name.startswith(\"fc.\") for name in unexpected)"
        ),
    };
    let size = model.feature_dim();
    format!(
        "import torch
{import}{imports}
{module}model.fc = torch.nn.Identity()
{load}
model.eval()
with torch.no_grad():
    features = model(images)  # (N, {size})
"
    )
}

/// What is imported of torchvision, and `model`, a module of the network's shape.
fn module(model: &ModelConfig) -> (String, String) {
    let name = model.arch.name();
    if model.width == 1.0 && model.stem == Stem::Imagenet && model.arch != Arch::Resnet10 {
        let import = format!("from torchvision.models import {name}\n");
        return (import, format!("model = {name}(weights=None)\n"));
    }
    let base = model.base_width();
    let blocks = model.arch.blocks();
    let (block, inner) = match model.arch.bottleneck_width() {
        None => ("BasicBlock", String::new()),
        Some(1) => ("Bottleneck", String::new()),
        Some(width) => ("Bottleneck", format!(", width_per_group={}", 64 * width)),
    };
    let import = format!("from torchvision.models.resnet import {block}, ResNet\n");
    let mut code = String::new();
    let class = if model.width == 1.0 {
        "ResNet"
    } else {
        code += &format!(
            "
class Backbone(ResNet):  # {base} channels where torchvision's has 64
    def _make_layer(self, block, planes, *args, **kwargs):
        if planes == 64:
            self.inplanes = {base}
        return super()._make_layer(block, planes * {base} // 64, *args, **kwargs)


"
        );
        "Backbone"
    };
    code += &format!("model = {class}({block}, {blocks:?}{inner})\n");
    match model.stem {
        Stem::Imagenet if model.width == 1.0 => {}
        Stem::Imagenet => {
            code += &format!("model.conv1 = torch.nn.Conv2d(3, {base}, 7, stride=2, padding=3, bias=False)\n");
        }
        Stem::Cifar => {
            code += &format!("model.conv1 = torch.nn.Conv2d(3, {base}, 3, padding=1, bias=False)\n");
            code += "model.maxpool = torch.nn.Identity()\n";
        }
    }
    if model.width != 1.0 {
        code += &format!("model.bn1 = torch.nn.BatchNorm2d({base})\n");
    }
    (import, code)
}
