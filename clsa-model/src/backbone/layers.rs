//! The layers of convolutional backbones: a convolution and the batch norm after it.

use super::builder::Builder;
use crate::error::{ModelError, Result};
use crate::kernels::ConvShape;
use crate::parameters::{Parameter, RunningStatistic};
use candle_core::{DType, Var};
use candle_nn::Init;

/// A convolution without bias, its weight `(c_out, c_in, kernel, kernel)`.
#[derive(Clone, Debug)]
pub(crate) struct Convolution {
    pub weight: Parameter,
    pub c_in: usize,
    pub c_out: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
}

impl Convolution {
    /// Its shape on a batch of images of `height` x `width`.
    pub fn shape(&self, batch: usize, height: usize, width: usize) -> ConvShape {
        let Self { c_in, c_out, kernel, stride, padding, .. } = *self;
        ConvShape { batch, height, width, c_in, c_out, kernel, stride, padding }
    }

    /// Checks the channels of an activation (N, C, H, W).
    pub fn check_input(&self, dims: [usize; 4]) -> Result<()> {
        if dims[1] == self.c_in {
            return Ok(());
        }
        Err(ModelError::shape("the activation", &dims, format!("(N, {}, H, W)", self.c_in)))
    }
}

/// Batch norm over the channels, eps 1e-5, running statistics with momentum 0.1 (torch's BatchNorm2d).
#[derive(Clone, Debug)]
pub(crate) struct BatchNorm {
    pub weight: Parameter,
    pub bias: Parameter,
    pub running_mean: RunningStatistic,
    pub running_var: RunningStatistic,
}

impl BatchNorm {
    pub const EPS: f64 = 1e-5;
    pub const MOMENTUM: f64 = 0.1;

    /// Makes the parameters of a norm over `channels`, whose weight starts at `weight`.
    pub fn new(builder: &mut Builder, name: &str, channels: usize, weight: f64) -> Result<Self> {
        Ok(Self {
            weight: builder.parameter(format!("{name}.weight"), &[channels], Init::Const(weight))?,
            bias: builder.parameter(format!("{name}.bias"), &[channels], Init::Const(0.0))?,
            running_mean: builder.running_statistic(format!("{name}.running_mean"), channels, 0.0)?,
            running_var: builder.running_statistic(format!("{name}.running_var"), channels, 1.0)?,
        })
    }

    /// The norm with its running statistics as a factor and a sum, (channels) each.
    pub fn folded(&self) -> Result<(Vec<f64>, Vec<f64>)> {
        let values = |var: &Var| var.as_detached_tensor().flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>();
        let (weight, bias) = (values(&self.weight.var)?, values(&self.bias.var)?);
        let (mean, variance) = (values(&self.running_mean.var)?, values(&self.running_var.var)?);
        let scale: Vec<f64> = weight.iter().zip(&variance).map(|(w, v)| w / (v + Self::EPS).sqrt()).collect();
        let shift = bias.iter().zip(&mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
        Ok((scale, shift))
    }

    /// Values per channel in each of `groups` groups of a batch (N, C, H, W), whose statistics are taken in training.
    pub fn values_per_group(groups: usize, [n, c, h, w]: [usize; 4]) -> Result<usize> {
        check_groups(groups, n)?;
        let count = n / groups * h * w;
        if count < 2 {
            let expected = "more than one value per channel in training";
            return Err(ModelError::shape("a batch norm group", &[n / groups, c, h, w], expected));
        }
        Ok(count)
    }
}

/// Checks that a residual (N, C, H, W) has the shape of the output that it is added to.
pub(crate) fn check_residual(residual: [usize; 4], output: [usize; 4]) -> Result<()> {
    if residual == output {
        return Ok(());
    }
    Err(ModelError::shape("the residual", &residual, "the shape of the convolution's output"))
}

/// Checks that a batch of `n` images falls into `groups` equal groups.
pub(crate) fn check_groups(groups: usize, n: usize) -> Result<()> {
    if groups > 0 && n.is_multiple_of(groups) {
        return Ok(());
    }
    Err(ModelError::config("bn_splits", groups, format!("use a divisor of the batch, which has {n} images")))
}

/// The unit of a ResNet: a convolution without bias and its batch norm; in the pass a residual and ReLU may follow.
#[derive(Clone, Debug)]
pub struct ConvBn {
    pub(crate) conv: Convolution,
    pub(crate) bn: BatchNorm,
}

/// What a [`ConvBn`] is built from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvBnConfig<'a> {
    /// Name of the convolution, such as `layer1.0.conv1`: its parameter is `NAME.weight`.
    pub conv: &'a str,
    /// Name of the norm, such as `layer1.0.bn1`, with `weight`, `bias`, `running_mean` and `running_var`.
    pub norm: &'a str,
    /// Channels of the input.
    pub c_in: usize,
    /// Channels of the output.
    pub c_out: usize,
    /// Side of the kernel, odd. The padding is half of it, rounded down.
    pub kernel: usize,
    /// Distance between the inputs of neighboring outputs, at least 1.
    pub stride: usize,
    /// Where the norm's weight starts.
    pub norm_weight: f64,
}

impl ConvBn {
    /// Makes the parameters: the convolution's by Kaiming normal (fan-out, ReLU) as in torchvision, the norm's constant.
    ///
    /// # Errors
    /// The kernel is even, the stride 0 or there are no channels; or a tensor operation fails.
    pub fn new(builder: &mut Builder, config: ConvBnConfig<'_>) -> Result<Self> {
        let ConvBnConfig { conv, norm, c_in, c_out, kernel, stride, norm_weight } = config;
        let valid = |field, value: usize, valid: bool, expected: &str| {
            if valid { Ok(()) } else { Err(ModelError::config(field, value, expected)) }
        };
        valid("kernel", kernel, !kernel.is_multiple_of(2), "use an odd side")?;
        valid("stride", stride, stride > 0, "use at least 1")?;
        valid("c_in", c_in, c_in > 0, "use at least one channel")?;
        valid("c_out", c_out, c_out > 0, "use at least one channel")?;
        let init = Init::Randn { mean: 0.0, stdev: (2.0 / (c_out * kernel * kernel) as f64).sqrt() };
        let weight = builder.parameter(format!("{conv}.weight"), &[c_out, c_in, kernel, kernel], init)?;
        let bn = BatchNorm::new(builder, norm, c_out, norm_weight)?;
        Ok(Self { conv: Convolution { weight, c_in, c_out, kernel, stride, padding: kernel / 2 }, bn })
    }
}
