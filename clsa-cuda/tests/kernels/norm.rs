//! Batch norm, forward and backward, and the sum of gradients.

use super::{Bench, Machine, Parameters, Random, assert_close, assert_same, values};
use clsa_cuda::{Area, Norm, NormGradients, Normalized, Source};

/// A norm as numbers: by group and channel, but the bias by channel.
struct Numbers {
    mean: Vec<f32>,
    scale: Vec<f32>,
    inv_std: Vec<f32>,
    bias: Vec<f32>,
}

impl Numbers {
    fn new<M: Machine>(bench: &Bench<'_, M>, norm: &Norm<M::Gpu>) -> Self {
        let all = bench.get_f32(norm.buffer());
        let len = norm.groups() * norm.channels();
        assert_eq!(all.len(), 3 * len + norm.channels());
        let part = |i: usize| all[i * len..(i + 1) * len].to_vec();
        Self { mean: part(0), scale: part(1), inv_std: part(2), bias: all[3 * len..].to_vec() }
    }
}

/// The place of an element's group and channel.
fn place(area: Area, i: usize) -> usize {
    i / (area.rows * area.channels) * area.channels + i % area.channels
}

pub fn relu(y: f64) -> f64 {
    if y < 0.0 { 0.0 } else { y }
}

/// Mean and biased variance of every group and channel.
fn moments(area: Area, z: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let count = area.rows as f64;
    let mut mean = vec![0.0; area.groups * area.channels];
    z.iter().enumerate().for_each(|(i, &z)| mean[place(area, i)] += f64::from(z) / count);
    let mut variance = vec![0.0; mean.len()];
    for (i, &z) in z.iter().enumerate() {
        let distance = f64::from(z) - mean[place(area, i)];
        variance[place(area, i)] += distance * distance / count;
    }
    (mean, variance)
}

pub fn statistics<M: Machine>(bench: &Bench<'_, M>, area: Area, seed: u64) {
    let mut random = Random::new(seed);
    let z = bench.round(random.activation(area));
    let parameters = Parameters::new(bench, area.channels, &mut random);
    let [weight, bias, running_mean, running_var] = [
        values(&parameters.weight),
        values(&parameters.bias),
        values(&parameters.running_mean),
        values(&parameters.running_var),
    ];
    let norm = bench.ops.statistics(area, &bench.put(&z), parameters.batch_norm()).unwrap();
    let got = Numbers::new(bench, &norm);
    let (mean, variance) = moments(area, &z);
    let inv_std: Vec<f64> = variance.iter().map(|v| 1.0 / (v + 1e-5).sqrt()).collect();
    assert_close(&got.mean, &mean, 1e-6);
    assert_close(&got.inv_std, &inv_std, 1e-5);
    let scale: Vec<f64> = inv_std.iter().enumerate().map(|(i, s)| s * f64::from(weight[i % area.channels])).collect();
    assert_close(&got.scale, &scale, 1e-5);
    assert_same(&got.bias, &bias);

    let unbiased = area.rows as f64 / (area.rows as f64 - 1.0);
    let moved = |before: &[f32], batch: &[f64], factor: f64| -> Vec<f64> {
        let mean = |c: usize| batch.iter().skip(c).step_by(area.channels).sum::<f64>() / area.groups as f64;
        (0..area.channels).map(|c| 0.9 * f64::from(before[c]) + 0.1 * factor * mean(c)).collect()
    };
    assert_close(&values(&parameters.running_mean), &moved(&running_mean, &mean, 1.0), 1e-6);
    assert_close(&values(&parameters.running_var), &moved(&running_var, &variance, unbiased), 1e-5);

    // A second time: the tickets are as they were.
    let again = bench.ops.statistics(area, &bench.put(&z), parameters.batch_norm()).unwrap();
    assert_same(&Numbers::new(bench, &again).mean, &got.mean);
    assert_same(&Numbers::new(bench, &again).inv_std, &got.inv_std);
}

pub fn running_norm<M: Machine>(bench: &Bench<'_, M>, channels: usize, seed: u64) {
    let parameters = Parameters::new(bench, channels, &mut Random::new(seed));
    let got = Numbers::new(bench, &bench.ops.running_norm(parameters.batch_norm()).unwrap());
    assert_same(&got.mean, &values(&parameters.running_mean));
    assert_same(&got.bias, &values(&parameters.bias));
    let inv_std: Vec<f64> =
        values(&parameters.running_var).iter().map(|&v| 1.0 / (f64::from(v) + 1e-5).sqrt()).collect();
    assert_close(&got.inv_std, &inv_std, 1e-6);
    let scale: Vec<f64> = inv_std.iter().zip(values(&parameters.weight)).map(|(s, w)| s * f64::from(w)).collect();
    assert_close(&got.scale, &scale, 1e-6);
}

#[derive(Clone, Copy, Debug)]
pub enum Residual {
    None,
    Stored,
    Normalized { relu: bool },
}

pub fn normalize<M: Machine>(bench: &Bench<'_, M>, area: Area, residual: Residual, relu_after: bool, seed: u64) {
    let mut random = Random::new(seed);
    let mut z = bench.round(random.activation(area));
    let more = bench.round(random.activation(area));
    let parameters = [(); 2].map(|()| Parameters::new(bench, area.channels, &mut random));
    let norm = bench.ops.statistics(area, &bench.put(&z), parameters[0].batch_norm()).unwrap();
    let residual_norm = bench.ops.statistics(area, &bench.put(&more), parameters[1].batch_norm()).unwrap();
    z[seed as usize % area.len()] = f32::NAN;
    let (z_memory, more_memory) = (bench.put(&z), bench.put(&more));
    let own = Normalized { z: &z_memory, norm: &norm, relu: relu_after };
    let source = match residual {
        Residual::None => None,
        Residual::Stored => Some(Source::Stored(&more_memory)),
        Residual::Normalized { relu } => {
            Some(Source::Normalized(Normalized { z: &more_memory, norm: &residual_norm, relu }))
        }
    };
    let got = bench.get(&bench.ops.normalize(area, own, source).unwrap());
    let (numbers, residual_numbers) = (Numbers::new(bench, &norm), Numbers::new(bench, &residual_norm));
    let of = |n: &Numbers, i: usize, z: f32| {
        let p = place(area, i);
        (f64::from(z) - f64::from(n.mean[p])) * f64::from(n.scale[p]) + f64::from(n.bias[i % area.channels])
    };
    let want: Vec<f64> = (0..area.len())
        .map(|i| {
            let added = match residual {
                Residual::None => 0.0,
                Residual::Stored => f64::from(more[i]),
                Residual::Normalized { relu: false } => of(&residual_numbers, i, more[i]),
                Residual::Normalized { relu: true } => relu(of(&residual_numbers, i, more[i])),
            };
            let y = of(&numbers, i, z[i]) + added;
            if relu_after { relu(y) } else { y }
        })
        .collect();
    assert!(got[seed as usize % area.len()].is_nan());
    assert_close(&got, &want, bench.precision());
}

#[derive(Clone, Copy, Debug)]
pub struct Backward {
    pub relu: bool,
    /// Whether the unit has a residual, so that its output is stored.
    pub residual: bool,
    pub overwrite: bool,
}

pub fn backward<M: Machine>(bench: &Bench<'_, M>, area: Area, case: Backward, seed: u64) {
    let Backward { relu, residual, overwrite } = case;
    let mut random = Random::new(seed);
    let z = bench.round(random.activation(area));
    let mut g = bench.round(random.numbers(area.len()));
    let out = bench.round((0..area.len()).map(|_| random.between(-1.0, 1.0).max(0.0)).collect());
    let parameters = Parameters::new(bench, area.channels, &mut random);
    let (weight_before, bias_before) = if overwrite {
        (vec![f32::NAN; area.channels], vec![f32::NAN; area.channels])
    } else {
        (random.numbers(area.channels), random.numbers(area.channels))
    };
    let weight = bench.tensor(&weight_before, &[area.channels]);
    let bias = bench.tensor(&bias_before, &[area.channels]);
    let z_memory = bench.put(&z);
    let norm = bench.ops.statistics(area, &z_memory, parameters.batch_norm()).unwrap();
    let own = Normalized { z: &z_memory, norm: &norm, relu };
    let gradients = NormGradients { weight: &weight, bias: &bias, overwrite };
    let mut dy = bench.put(&g);
    let dz = if residual {
        let dz = bench.ops.sum_backward(area, own, &bench.put(&out), &mut dy, gradients).unwrap();
        let masked: Vec<f32> = g.iter().zip(&out).map(|(&g, &y)| if relu && y <= 0.0 { 0.0 } else { g }).collect();
        assert_same(&bench.get(&dy), &masked);
        dz
    } else {
        bench.ops.norm_backward(area, own, dy, gradients).unwrap()
    };

    let n = Numbers::new(bench, &norm);
    if relu {
        for (i, g) in g.iter_mut().enumerate() {
            let p = place(area, i);
            // The very expression of the kernels, so that both sides agree on what is above zero.
            let passes = if residual {
                out[i] > 0.0
            } else {
                (z[i] - n.mean[p]).mul_add(n.scale[p], n.bias[i % area.channels]) > 0.0
            };
            *g = if passes { *g } else { 0.0 };
        }
    }
    let normalized =
        |i: usize| (f64::from(z[i]) - f64::from(n.mean[place(area, i)])) * f64::from(n.inv_std[place(area, i)]);
    let len = area.groups * area.channels;
    let (mut sum, mut weighted) = (vec![0.0; len], vec![0.0; len]);
    for (i, &g) in g.iter().enumerate() {
        sum[place(area, i)] += f64::from(g);
        weighted[place(area, i)] += f64::from(g) * normalized(i);
    }
    let over_groups = |sums: &[f64], before: &[f32]| -> Vec<f64> {
        let first = |c: usize| if overwrite { 0.0 } else { f64::from(before[c]) };
        (0..area.channels).map(|c| first(c) + sums.iter().skip(c).step_by(area.channels).sum::<f64>()).collect()
    };
    let sums_tolerance = 1e-5 * (area.rows as f64).sqrt().max(1.0);
    assert_close(&values(&weight), &over_groups(&weighted, &weight_before), sums_tolerance);
    assert_close(&values(&bias), &over_groups(&sum, &bias_before), sums_tolerance);
    let count = area.rows as f64;
    let want: Vec<f64> = (0..area.len())
        .map(|i| {
            let p = place(area, i);
            f64::from(n.scale[p]) * (f64::from(g[i]) - sum[p] / count - normalized(i) * weighted[p] / count)
        })
        .collect();
    // Where a variance is small, so are the digits that are left of `z`.
    let largest = n.scale.iter().fold(1.0f32, |a, b| a.max(b.abs()));
    assert_close(&bench.get(&dz), &want, bench.precision() * f64::from(largest));
}

pub fn add<M: Machine>(bench: &Bench<'_, M>, len: usize, seed: u64) {
    let mut random = Random::new(seed);
    let (a, b) = (bench.round(random.numbers(len)), bench.round(random.numbers(len)));
    let mut sum = bench.put(&a);
    bench.ops.add(len, &mut sum, &bench.put(&b)).unwrap();
    let want: Vec<f32> = a.iter().zip(&b).map(|(a, b)| bench.rounded(a + b)).collect();
    assert_same(&bench.get(&sum), &want);
}

/// Max pooling compares normalized values as they are stored: by the very expression of the kernels.
pub fn stored_values<M: Machine>(
    bench: &Bench<'_, M>,
    area: Area,
    z: &[f32],
    norm: &Norm<M::Gpu>,
    relu: bool,
) -> Vec<f32> {
    let n = Numbers::new(bench, norm);
    let of = |(i, &z): (usize, &f32)| {
        let p = place(area, i);
        let y = (z - n.mean[p]).mul_add(n.scale[p], n.bias[i % area.channels]);
        bench.rounded(if relu && y < 0.0 { 0.0 } else { y })
    };
    z.iter().enumerate().map(of).collect()
}
