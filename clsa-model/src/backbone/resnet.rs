//! Residual networks (He et al. 2015) with torchvision's structure and parameter names.

use super::resnet_shape::{BlockConv, Branch, ResNetShape};
use super::{Activation, Backbone, Builder, ConvBn, ConvBnConfig, Ops, Stage};
use crate::config::{ModelConfig, Stem};
use crate::error::Result;
use candle_core::Tensor;

/// One residual block: its branch, and where the shape changes a projection.
#[derive(Debug)]
struct ResidualBlock {
    inner: Vec<ConvBn>,
    last: ConvBn,
    downsample: Option<ConvBn>,
}

impl ResidualBlock {
    fn forward(&self, ops: &mut dyn Ops, x: &Activation) -> Result<Activation> {
        let mut y = x.clone();
        for unit in &self.inner {
            y = ops.conv_bn(&y, unit, None, true)?;
        }
        match &self.downsample {
            Some(projection) => {
                let identity = ops.conv_bn(x, projection, None, false)?;
                ops.conv_bn(&y, &self.last, Some(&identity), true)
            }
            None => ops.conv_bn(&y, &self.last, Some(x), true),
        }
    }
}

/// The network: images in, pooled features out.
#[derive(Debug)]
pub(crate) struct ResNet {
    stem: ConvBn,
    max_pool: bool,
    layers: Vec<Vec<ResidualBlock>>,
    stages: Vec<Stage>,
}

impl ResNet {
    pub fn new(shape: ResNetShape, config: &ModelConfig, builder: &mut Builder) -> Result<Self> {
        let base_width = config.base_width();
        let (kernel, stride, max_pool) = match config.stem {
            Stem::Imagenet => (7, 2, true),
            Stem::Cifar => (3, 1, false),
        };
        let conv = BlockConv { c_in: 3, c_out: base_width, kernel, stride };
        let stem = conv_bn(builder, "conv1", "bn1", conv, 1.0)?;
        let last_norm = if config.zero_init_residual { 0.0 } else { 1.0 };
        let mut c_in = base_width;
        let (mut layers, mut stages) = (Vec::new(), Vec::new());
        for (stage, blocks) in shape.blocks.into_iter().enumerate() {
            let name = format!("layer{}", stage + 1);
            let c_out = shape.channels(base_width, stage);
            let mut layer = Vec::new();
            for block in 0..blocks {
                let name = format!("{name}.{block}");
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let mut unit = |i: usize, conv: BlockConv, norm_weight: f64| {
                    conv_bn(builder, &format!("{name}.conv{i}"), &format!("{name}.bn{i}"), conv, norm_weight)
                };
                let Branch { inner, last } = shape.branch(base_width, stage, c_in, stride);
                let number = inner.len() + 1;
                let inner = inner.into_iter().zip(1..).map(|(conv, i)| unit(i, conv, 1.0)).collect::<Result<_>>()?;
                let last = unit(number, last, last_norm)?;
                let downsample = if stride != 1 || c_in != c_out {
                    let conv = BlockConv { c_in, c_out, kernel: 1, stride };
                    let names = [0, 1].map(|part| format!("{name}.downsample.{part}"));
                    Some(conv_bn(builder, &names[0], &names[1], conv, 1.0)?)
                } else {
                    None
                };
                layer.push(ResidualBlock { inner, last, downsample });
                c_in = c_out;
            }
            layers.push(layer);
            stages.push(Stage { name, channels: c_out });
        }
        Ok(Self { stem, max_pool, layers, stages })
    }
}

impl Backbone for ResNet {
    fn stages(&self) -> &[Stage] {
        &self.stages
    }

    fn forward(&self, ops: &mut dyn Ops, images: &Tensor, stage: usize) -> Result<Tensor> {
        let x = ops.image(images)?;
        let mut x = ops.conv_bn(&x, &self.stem, None, true)?;
        if self.max_pool {
            x = ops.max_pool(&x)?;
        }
        for block in self.layers[..=stage].iter().flatten() {
            x = block.forward(ops, &x)?;
        }
        ops.global_avg_pool(&x)
    }
}

fn conv_bn(builder: &mut Builder, conv: &str, norm: &str, shape: BlockConv, norm_weight: f64) -> Result<ConvBn> {
    let BlockConv { c_in, c_out, kernel, stride } = shape;
    ConvBn::new(builder, ConvBnConfig { conv, norm, c_in, c_out, kernel, stride, norm_weight })
}
