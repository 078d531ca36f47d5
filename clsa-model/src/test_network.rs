//! For tests: networks, among them one of few layers with every operation, images for them, what the portable operations
//! make of these, and the measures of differences.

use crate::backbone::{Architecture, Backbone, BatchNorm, Builder, CandlePass, ConvBn, Convolution, Mode, Ops};
use crate::config::ModelConfig;
use crate::error::Result;
use crate::portable::Portable;
use candle_core::{DType, Device, Tensor};
use candle_nn::Init;

/// The last of a residual network's stages, counted from 0.
pub const LAST_STAGE: usize = 3;

/// A whole network, the same for the same configuration but for its type.
pub fn network(config: &ModelConfig, dtype: DType) -> (Box<dyn Backbone>, Builder) {
    let mut builder = Builder::new(7, dtype, &Device::Cpu);
    (config.build(&mut builder).unwrap(), builder)
}

/// A training pass of the portable operations in a type: the features, and the gradients of all parameters for
/// [`upstream`].
pub fn portable_pass(
    parameters: &Builder,
    dtype: DType,
    groups: usize,
    forward: impl FnOnce(&mut dyn Ops) -> Result<Tensor>,
) -> (Vec<f64>, Vec<Vec<f64>>) {
    let mut portable = Portable { pass: CandlePass::new(Mode::Train, dtype, true), bn_splits: groups };
    let features = forward(&mut portable).unwrap();
    let given = upstream(features.dims()).to_dtype(features.dtype()).unwrap();
    let store = (&features * given).unwrap().sum_all().unwrap().backward().unwrap();
    (f64s(&features), parameters.parameters().iter().map(|p| f64s(store.get(&p.var).unwrap())).collect())
}

/// Stem, pooling, a bottleneck with projection and stride 2, one without: every operation, few layers deep.
pub fn forward(ops: &mut dyn Ops, units: &[ConvBn], images: &Tensor) -> Result<Tensor> {
    let x = ops.image(images)?;
    let x = ops.conv_bn(&x, &units[0], None, true)?;
    let x = ops.max_pool(&x)?;
    let y = ops.conv_bn(&x, &units[1], None, true)?;
    let y = ops.conv_bn(&y, &units[2], None, true)?;
    let identity = ops.conv_bn(&x, &units[3], None, false)?;
    let x = ops.conv_bn(&y, &units[4], Some(&identity), true)?;
    let y = ops.conv_bn(&x, &units[5], None, true)?;
    let y = ops.conv_bn(&y, &units[6], None, true)?;
    let x = ops.conv_bn(&y, &units[7], Some(&x), true)?;
    ops.global_avg_pool(&x)
}

/// The units of [`forward`].
pub fn units(dtype: DType) -> (Vec<ConvBn>, Builder) {
    bottleneck_units([20, 18, 24, 72], dtype)
}

/// As [`units`], with channels that the kernels of GPUs take.
#[cfg(feature = "host-kernels")]
pub fn units_of_eights(dtype: DType) -> (Vec<ConvBn>, Builder) {
    bottleneck_units([24, 16, 32, 72], dtype)
}

/// The units of [`forward`] with these channels: of the stem, and of a bottleneck's three convolutions.
fn bottleneck_units([stem, first, second, third]: [usize; 4], dtype: DType) -> (Vec<ConvBn>, Builder) {
    units_of(
        &[
            (3, stem, 7, 2),
            (stem, first, 1, 1),
            (first, second, 3, 2),
            (stem, third, 1, 2),
            (second, third, 1, 1),
            (third, first, 1, 1),
            (first, second, 3, 1),
            (second, third, 1, 1),
        ],
        dtype,
    )
}

/// A network that reads activations in ways that a residual network does not: one by max pooling and by a convolution, one
/// as input and as residual of the same unit, and features of a unit without residual.
pub fn forward_branched(ops: &mut dyn Ops, units: &[ConvBn], images: &Tensor) -> Result<Tensor> {
    let x = ops.image(images)?;
    let x = ops.conv_bn(&x, &units[0], None, true)?;
    let pooled = ops.max_pool(&x)?;
    let strided = ops.conv_bn(&x, &units[1], None, true)?;
    let x = ops.conv_bn(&pooled, &units[2], Some(&strided), false)?;
    let x = ops.conv_bn(&x, &units[3], Some(&x), true)?;
    let y = ops.conv_bn(&x, &units[4], None, true)?;
    ops.global_avg_pool(&y)
}

/// The units of [`forward_branched`].
pub fn branched_units(dtype: DType) -> (Vec<ConvBn>, Builder) {
    units_of(&[(3, 8, 3, 2), (8, 12, 1, 2), (8, 12, 1, 1), (12, 12, 3, 1), (12, 6, 1, 1)], dtype)
}

/// A network that applies one unit twice.
pub fn forward_repeated(ops: &mut dyn Ops, units: &[ConvBn], images: &Tensor) -> Result<Tensor> {
    let x = ops.image(images)?;
    let x = ops.conv_bn(&x, &units[0], None, true)?;
    let x = ops.conv_bn(&x, &units[1], None, true)?;
    let x = ops.conv_bn(&x, &units[1], Some(&x), true)?;
    let x = ops.conv_bn(&x, &units[2], None, true)?;
    ops.global_avg_pool(&x)
}

/// The units of [`forward_repeated`].
pub fn repeated_units(dtype: DType) -> (Vec<ConvBn>, Builder) {
    units_of(&[(3, 8, 3, 2), (8, 8, 3, 1), (8, 6, 1, 1)], dtype)
}

/// Units of these input and output channels, kernels and strides.
fn units_of(shapes: &[(usize, usize, usize, usize)], dtype: DType) -> (Vec<ConvBn>, Builder) {
    let mut builder = Builder::new(3, dtype, &Device::Cpu);
    let unit = |(i, &(c_in, c_out, kernel, stride)): (usize, &(usize, usize, usize, usize))| {
        let init = Init::Randn { mean: 0.0, stdev: (2.0 / (c_out * kernel * kernel) as f64).sqrt() };
        let weight = builder.parameter(format!("{i}.weight"), &[c_out, c_in, kernel, kernel], init).unwrap();
        let bn = BatchNorm {
            weight: builder.parameter(format!("{i}.norm"), &[c_out], Init::Uniform { lo: -1.5, up: 1.5 }).unwrap(),
            bias: builder.parameter(format!("{i}.bias"), &[c_out], Init::Uniform { lo: -0.5, up: 0.5 }).unwrap(),
            running_mean: builder.running_statistic(format!("{i}.mean"), c_out, 0.0).unwrap(),
            running_var: builder.running_statistic(format!("{i}.var"), c_out, 1.0).unwrap(),
        };
        ConvBn { conv: Convolution { weight, c_in, c_out, kernel, stride, padding: kernel / 2 }, bn }
    };
    let units = shapes.iter().enumerate().map(unit).collect();
    (units, builder)
}

/// Makes the parameters of `to` equal to those of `from`, in another type.
pub fn copy_parameters(from: &Builder, to: &Builder) {
    for (from, to) in from.parameters().iter().zip(to.parameters()) {
        to.var.set(&from.var.as_detached_tensor().to_dtype(to.var.dtype()).unwrap()).unwrap();
    }
}

/// The same numbers for any place: smooth, of mixed sign, without symmetry.
pub fn images(n: usize, side: usize, dtype: DType) -> Tensor {
    let values: Vec<f64> = (0..n * 3 * side * side)
        .map(|i| (i as f64 * 0.37).sin() + 0.5 * (i as f64 * 0.0113).cos() + 0.3 * ((i * 7919 % 101) as f64 / 101.0))
        .collect();
    Tensor::from_vec(values, (n, 3, side, side), &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

pub fn f64s(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Numbers from -1 to 1, the same for the same seed.
pub fn values(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
}

/// A sum in f64 of terms that f32 computes, and what that may lose.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    value: f64,
    magnitude: f64,
    terms: usize,
}

impl Sum {
    pub fn of(term: f64) -> Self {
        Self { value: term, magnitude: term.abs(), terms: 1 }
    }

    pub fn add(&mut self, term: f64) {
        *self = Self { value: self.value + term, magnitude: self.magnitude + term.abs(), terms: self.terms + 1 };
    }

    /// Whether `got` is the sum but for rounding. Its bound holds for every order of the additions, and in proportion to
    /// the terms, because a sum may happen to be near zero: `n` roundings lose no more than `n · u / (1 - n · u)` of the
    /// terms' magnitudes, with `u` = 2⁻²⁴ (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).
    pub fn is(&self, got: f32) -> bool {
        // One rounding for each addition and one for each term's product.
        let lost = (self.terms + 1) as f64 * 2f64.powi(-24);
        (f64::from(got) - self.value).abs() <= lost / (1.0 - lost) * self.magnitude
    }
}

/// Whether each number is its sum but for rounding.
pub fn are_sums(got: &[f32], expected: &[Sum]) -> bool {
    got.len() == expected.len() && got.iter().zip(expected).all(|(&got, sum)| sum.is(got))
}

/// The length of the difference over the length of what is expected.
pub fn difference(got: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let square = |sum: f64, x: f64| sum + x * x;
    let distance = got.iter().zip(expected).map(|(a, b)| a - b).fold(0.0, square);
    (distance / expected.iter().copied().fold(1e-300, square)).sqrt()
}

/// A gradient for features of these dimensions.
pub fn upstream(dims: &[usize]) -> Tensor {
    let given: Vec<f32> = (0..dims.iter().product()).map(|i: usize| (i as f32 * 1.7).sin()).collect();
    Tensor::from_vec(given, dims, &Device::Cpu).unwrap()
}
