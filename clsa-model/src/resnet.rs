//! Residual networks (He et al. 2015) with torchvision's structure and parameter names.

use crate::config::{ModelConfig, Stem};
use crate::error::Result;
use crate::ops::{BatchNorm, Conv, ConvBn, Ops};
use crate::params::{Builder, Init};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

/// A point of the backbone where features can be taken: the output of one of the four stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Output of `layer1`.
    Layer1,
    /// Output of `layer2`.
    Layer2,
    /// Output of `layer3`.
    Layer3,
    /// Output of `layer4`, the backbone's features.
    Layer4,
}

impl Stage {
    /// All stages, first to last.
    pub const ALL: [Self; 4] = [Self::Layer1, Self::Layer2, Self::Layer3, Self::Layer4];
}

/// One residual block: two 3x3 convolutions, or a 1x1, 3x3, 1x1 bottleneck, and where the shape changes a projection.
#[derive(Clone, Debug)]
struct Block {
    units: Vec<ConvBn>,
    downsample: Option<ConvBn>,
}

impl Block {
    fn forward<O: Ops>(&self, ops: &mut O, x: &O::Act) -> Result<O::Act> {
        let (last, inner) = self.units.split_last().expect("a block has two or three units");
        let mut y = x.clone();
        for unit in inner {
            y = ops.conv_bn(&y, unit, None, true)?;
        }
        match &self.downsample {
            Some(projection) => {
                let identity = ops.conv_bn(x, projection, None, false)?;
                ops.conv_bn(&y, last, Some(&identity), true)
            }
            None => ops.conv_bn(&y, last, Some(x), true),
        }
    }
}

/// The backbone: images in, pooled features out.
#[derive(Clone, Debug)]
pub(crate) struct ResNet {
    stem: ConvBn,
    max_pool: bool,
    stages: Vec<Vec<Block>>,
}

impl ResNet {
    pub fn new(config: &ModelConfig, builder: &mut Builder) -> Result<Self> {
        let base = config.base_width();
        let (kernel, stride) = match config.stem {
            Stem::Imagenet => (7, 2),
            Stem::Cifar => (3, 1),
        };
        let stem = conv_bn(builder, ("conv1", "bn1"), [3, base], kernel, stride, 1.0)?;
        let last_norm = if config.zero_init_residual { 0.0 } else { 1.0 };
        let mut c_in = base;
        let mut stages = Vec::new();
        for (stage, &blocks) in config.arch.blocks().iter().enumerate() {
            let width = base << stage;
            let c_out = width * config.arch.expansion();
            let mut layer = Vec::new();
            for block in 0..blocks {
                let name = |part: &str| format!("layer{}.{block}.{part}", stage + 1);
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let mut unit = |i: usize, channels: [usize; 2], kernel, stride, norm| {
                    let names = (name(&format!("conv{i}")), name(&format!("bn{i}")));
                    conv_bn(builder, (&names.0, &names.1), channels, kernel, stride, norm)
                };
                let units = if config.arch.bottleneck() {
                    let inner = width * config.arch.inner_width();
                    vec![
                        unit(1, [c_in, inner], 1, 1, 1.0)?,
                        unit(2, [inner, inner], 3, stride, 1.0)?,
                        unit(3, [inner, c_out], 1, 1, last_norm)?,
                    ]
                } else {
                    vec![unit(1, [c_in, width], 3, stride, 1.0)?, unit(2, [width, c_out], 3, 1, last_norm)?]
                };
                let downsample = if stride != 1 || c_in != c_out {
                    let names = (name("downsample.0"), name("downsample.1"));
                    Some(conv_bn(builder, (&names.0, &names.1), [c_in, c_out], 1, stride, 1.0)?)
                } else {
                    None
                };
                layer.push(Block { units, downsample });
                c_in = c_out;
            }
            stages.push(layer);
        }
        Ok(Self { stem, max_pool: config.stem == Stem::Imagenet, stages })
    }

    /// Images (N, 3, H, W) to the pooled features of a stage (N, C).
    pub fn forward<O: Ops>(&self, ops: &mut O, images: &Tensor, stage: Stage) -> Result<Tensor> {
        let x = ops.image(images)?;
        let mut x = ops.conv_bn(&x, &self.stem, None, true)?;
        if self.max_pool {
            x = ops.max_pool(&x)?;
        }
        for layer in &self.stages[..=stage as usize] {
            for block in layer {
                x = block.forward(ops, &x)?;
            }
        }
        ops.global_avg_pool(&x)
    }
}

/// A convolution with padding kernel/2, initialised by Kaiming normal (fan-out, ReLU) as in torchvision, and its norm.
fn conv_bn(
    builder: &mut Builder,
    (conv_name, bn_name): (&str, &str),
    [c_in, c_out]: [usize; 2],
    kernel: usize,
    stride: usize,
    norm_weight: f64,
) -> Result<ConvBn> {
    let std = (2.0 / (c_out * kernel * kernel) as f64).sqrt();
    let weight = builder.parameter(format!("{conv_name}.weight"), &[c_out, c_in, kernel, kernel], Init::Normal(std))?;
    let conv = Conv { weight, c_in, c_out, kernel, stride, padding: kernel / 2 };
    let bn = BatchNorm {
        weight: builder.parameter(format!("{bn_name}.weight"), &[c_out], Init::Constant(norm_weight))?,
        bias: builder.parameter(format!("{bn_name}.bias"), &[c_out], Init::Constant(0.0))?,
        running_mean: builder.buffer(format!("{bn_name}.running_mean"), c_out, 0.0)?,
        running_var: builder.buffer(format!("{bn_name}.running_var"), c_out, 1.0)?,
    };
    Ok(ConvBn { conv, bn })
}
