//! Kernels as they are defined, in f64 and channels last, without any attempt at speed.

use super::super::{ConvCall, Kernels, Normalized, Source};
use crate::backbone::{BatchNorm, ConvBn};
use crate::error::Result;
use crate::gradients::Gradients;
use crate::kernels::{BatchShape, ConvShape};
use crate::parameters::Parameter;
use candle_core::{DType, Device, Tensor, Var};

pub struct Naive;

/// All of (groups, channels).
pub struct Norm {
    mean: Vec<f64>,
    inv_std: Vec<f64>,
    weight: Vec<f64>,
    bias: Vec<f64>,
    groups: usize,
}

impl Norm {
    /// Place in the statistics of value `i` of `z`, and the value normalized, before weight and bias.
    fn at(&self, shape: BatchShape, z: &[f64], i: usize) -> (usize, f64) {
        let group = i / (z.len() / self.groups);
        let at = group * shape.channels + i % shape.channels;
        (at, (z[i] - self.mean[at]) * self.inv_std[at])
    }
}

impl Normalized<Naive> {
    fn value(&self, i: usize) -> f64 {
        let (at, normed) = self.norm.at(self.shape, &self.z, i);
        let c = at % self.shape.channels;
        let y = normed * self.norm.weight[c] + self.norm.bias[c];
        if self.relu { y.max(0.0) } else { y }
    }
}

impl Source<'_, Naive> {
    fn value(&self, i: usize) -> f64 {
        match self {
            Source::Stored(values) => values[i],
            Source::Normalized(own) => own.value(i),
        }
    }
}

fn f64s(var: &Var) -> Vec<f64> {
    var.flatten_all().unwrap().to_vec1().unwrap()
}

/// Calls `f` with every output pixel, input pixel and tap that belong together.
fn terms(shape: ConvShape, mut f: impl FnMut(usize, usize, usize)) {
    let (rows, columns) = (shape.out_height(), shape.out_width());
    for o in 0..shape.batch * rows * columns {
        let (image, y, x) = (o / (rows * columns), o / columns % rows, o % columns);
        for tap in 0..shape.kernel * shape.kernel {
            let iy = (y * shape.stride + tap / shape.kernel).wrapping_sub(shape.padding);
            let ix = (x * shape.stride + tap % shape.kernel).wrapping_sub(shape.padding);
            if iy < shape.height && ix < shape.width {
                f(o, (image * shape.height + iy) * shape.width + ix, tap);
            }
        }
    }
}

/// Calls `f` with the places of output, input and weight of every product of a convolution.
fn products(shape: ConvShape, mut f: impl FnMut(usize, usize, usize)) {
    let ConvShape { c_in, c_out, kernel, .. } = shape;
    terms(shape, |o, i, tap| {
        for k in 0..c_out {
            for c in 0..c_in {
                f(o * c_out + k, i * c_in + c, (k * c_in + c) * kernel * kernel + tap);
            }
        }
    });
}

fn convolve(call: ConvCall<'_>, x: &[f64]) -> Vec<f64> {
    let w = f64s(&call.unit.conv.weight.var);
    let mut z = vec![0.0; call.shape.output_len()];
    products(call.shape, |o, i, at| z[o] += x[i] * w[at]);
    z
}

fn pooling(shape: BatchShape) -> ConvShape {
    let BatchShape { batch, height, width, .. } = shape;
    ConvShape { batch, height, width, c_in: 1, c_out: 1, kernel: 3, stride: 2, padding: 1 }
}

fn add(parameter: &Parameter, gradient: Vec<f64>, gradients: &mut Gradients) -> Result<()> {
    gradients.add(parameter.index, &Tensor::from_vec(gradient, parameter.var.dims(), &Device::Cpu)?).map(drop)
}

fn update(running: &Var, batch: &[f64], factor: f64) {
    let mut values = f64s(running);
    let channels = values.len();
    let groups = (batch.len() / channels) as f64;
    for (c, value) in values.iter_mut().enumerate() {
        let mean = batch.iter().skip(c).step_by(channels).sum::<f64>() / groups;
        *value = 0.9 * *value + 0.1 * factor * mean;
    }
    running.set(&Tensor::from_vec(values, channels, &Device::Cpu).unwrap()).unwrap();
}

/// The gradient of `z` from the gated gradient of the norm's result.
fn through_norm(bn: &BatchNorm, own: &Normalized<Naive>, g: &[f64], gradients: &mut Gradients) -> Result<Vec<f64>> {
    let channels = own.shape.channels;
    let (mut sum, mut weighted) = (vec![0.0; own.norm.mean.len()], vec![0.0; own.norm.mean.len()]);
    for (i, g) in g.iter().enumerate() {
        let (at, normed) = own.norm.at(own.shape, &own.z, i);
        sum[at] += g;
        weighted[at] += g * normed;
    }
    let over_groups = |sums: &[f64]| (0..channels).map(|c| sums.iter().skip(c).step_by(channels).sum()).collect();
    add(&bn.weight, over_groups(&weighted), gradients)?;
    add(&bn.bias, over_groups(&sum), gradients)?;
    let count = (own.z.len() / own.norm.mean.len()) as f64;
    let dz = g.iter().enumerate().map(|(i, g)| {
        let (at, normed) = own.norm.at(own.shape, &own.z, i);
        let scale = own.norm.weight[at % channels] * own.norm.inv_std[at];
        scale * (g - (sum[at] + normed * weighted[at]) / count)
    });
    Ok(dz.collect())
}

impl Kernels for Naive {
    const BACKEND: &'static str = "naive";

    type Memory = Vec<f64>;
    /// Places in the input.
    type Choices = Vec<usize>;
    type Norm = Norm;

    fn image(&self, images: &Tensor) -> Result<Vec<f64>> {
        Ok(images.to_dtype(DType::F64)?.permute((0, 2, 3, 1))?.flatten_all()?.to_vec1()?)
    }

    // Asks for the values, as kernels do that cannot read through a norm.
    fn conv_forward(&self, call: ConvCall<'_>, x: Source<'_, Self>) -> Result<(Vec<f64>, Norm)> {
        let ConvBn { bn, .. } = call.unit;
        let z = match x {
            Source::Stored(values) => convolve(call, values),
            Source::Normalized(_) => convolve(call, &x.values(self)?),
        };
        let n = call.groups * call.shape.c_out;
        let count = (z.len() / n) as f64;
        let place = |i: usize| i / (z.len() / call.groups) * call.shape.c_out + i % call.shape.c_out;
        let (mut mean, mut variance) = (vec![0.0; n], vec![0.0; n]);
        z.iter().enumerate().for_each(|(i, z)| mean[place(i)] += z / count);
        z.iter().enumerate().for_each(|(i, z)| variance[place(i)] += (z - mean[place(i)]).powi(2) / count);
        update(&bn.running_mean.var, &mean, 1.0);
        update(&bn.running_var.var, &variance, count / (count - 1.0));
        let inv_std = variance.iter().map(|v| 1.0 / (v + BatchNorm::EPS).sqrt()).collect();
        let (weight, bias) = (f64s(&bn.weight.var), f64s(&bn.bias.var));
        Ok((z, Norm { mean, inv_std, weight, bias, groups: call.groups }))
    }

    fn conv_eval(&self, call: ConvCall<'_>, x: &Vec<f64>, residual: Option<&Vec<f64>>, relu: bool) -> Result<Vec<f64>> {
        let bn = &call.unit.bn;
        let [weight, bias, mean, variance] =
            [&bn.weight.var, &bn.bias.var, &bn.running_mean.var, &bn.running_var.var].map(f64s);
        let y = convolve(call, x).into_iter().enumerate().map(|(i, z)| {
            let c = i % call.shape.c_out;
            let normed = (z - mean[c]) / (variance[c] + BatchNorm::EPS).sqrt();
            let y = normed * weight[c] + bias[c] + residual.map_or(0.0, |r| r[i]);
            if relu { y.max(0.0) } else { y }
        });
        Ok(y.collect())
    }

    fn normalize(&self, own: &Normalized<Self>, residual: Option<Source<'_, Self>>) -> Result<Vec<f64>> {
        let Some(residual) = residual else { return Ok((0..own.z.len()).map(|i| own.value(i)).collect()) };
        let y = (0..own.z.len()).map(|i| {
            let (at, normed) = own.norm.at(own.shape, &own.z, i);
            let c = at % own.shape.channels;
            let y = normed * own.norm.weight[c] + own.norm.bias[c] + residual.value(i);
            if own.relu { y.max(0.0) } else { y }
        });
        Ok(y.collect())
    }

    fn max_pool(&self, input: BatchShape, x: Source<'_, Self>) -> Result<(Vec<f64>, Vec<usize>)> {
        let n = pooling(input).output_len() * input.channels;
        let (mut out, mut places) = (vec![f64::NEG_INFINITY; n], vec![0; n]);
        terms(pooling(input), |o, i, _| {
            for c in 0..input.channels {
                let (to, from) = (o * input.channels + c, i * input.channels + c);
                if x.value(from) > out[to] {
                    (out[to], places[to]) = (x.value(from), from);
                }
            }
        });
        Ok((out, places))
    }

    fn max_pool_backward(&self, input: BatchShape, places: &Vec<usize>, dy: &Vec<f64>) -> Result<Vec<f64>> {
        let mut dx = vec![0.0; input.len()];
        places.iter().zip(dy).for_each(|(&place, g)| dx[place] += g);
        Ok(dx)
    }

    fn global_avg_pool(&self, input: BatchShape, x: &Vec<f64>) -> Result<Tensor> {
        let pixels = input.height * input.width;
        let mut mean = vec![0.0; input.batch * input.channels];
        for (i, x) in x.iter().enumerate() {
            mean[i / (pixels * input.channels) * input.channels + i % input.channels] += x / pixels as f64;
        }
        Ok(Tensor::from_vec(mean, (input.batch, input.channels), &Device::Cpu)?)
    }

    fn global_avg_pool_backward(&self, input: BatchShape, features: &Tensor) -> Result<Vec<f64>> {
        let pixels = input.height * input.width;
        let gradient = features.flatten_all()?.to_vec1::<f64>()?;
        let place = |i: usize| i / (pixels * input.channels) * input.channels + i % input.channels;
        Ok((0..input.len()).map(|i| gradient[place(i)] / pixels as f64).collect())
    }

    fn norm_backward(
        &self,
        bn: &BatchNorm,
        own: &Normalized<Self>,
        mut dy: Vec<f64>,
        gradients: &mut Gradients,
    ) -> Result<Vec<f64>> {
        if own.relu {
            dy.iter_mut().enumerate().filter(|(i, _)| own.value(*i) <= 0.0).for_each(|(_, g)| *g = 0.0);
        }
        through_norm(bn, own, &dy, gradients)
    }

    fn sum_backward(
        &self,
        bn: &BatchNorm,
        own: &Normalized<Self>,
        sum: &Vec<f64>,
        dy: &mut Vec<f64>,
        gradients: &mut Gradients,
    ) -> Result<Vec<f64>> {
        if own.relu {
            dy.iter_mut().zip(sum).filter(|(_, y)| **y <= 0.0).for_each(|(g, _)| *g = 0.0);
        }
        through_norm(bn, own, dy, gradients)
    }

    fn add(&self, sum: &mut Vec<f64>, gradient: &Vec<f64>) -> Result<()> {
        sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
        Ok(())
    }

    fn conv_backward_weight(
        &self,
        call: ConvCall<'_>,
        x: Source<'_, Self>,
        dz: &Vec<f64>,
        gradients: &mut Gradients,
    ) -> Result<()> {
        let mut gradient = vec![0.0; call.shape.weight_len()];
        products(call.shape, |o, i, at| gradient[at] += dz[o] * x.value(i));
        add(&call.unit.conv.weight, gradient, gradients)
    }

    fn conv_backward_data(&self, call: ConvCall<'_>, dz: &Vec<f64>, dx: Option<Vec<f64>>) -> Result<Vec<f64>> {
        let w = f64s(&call.unit.conv.weight.var);
        let mut dx = dx.unwrap_or_else(|| vec![0.0; call.shape.input_len()]);
        products(call.shape, |o, i, at| dx[i] += dz[o] * w[at]);
        Ok(dx)
    }
}
