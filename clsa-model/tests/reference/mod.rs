//! What the kernels' tests share: random shapes and numbers, and convolution and moments by their definition in f64.

use clsa_model::kernels::ConvShape;
use proptest::prelude::*;

/// What a sum in f32 may lose, of its terms' absolute values.
pub const EPS: f64 = 2e-6;

/// What a convolution may differ by: Winograd's transforms cost a digit.
pub fn eps_of(shape: ConvShape) -> f64 {
    if shape.by_winograd() { 10.0 * EPS } else { EPS }
}

/// Numbers in -1..1 from a seed.
pub fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// The largest absolute value.
pub fn largest(values: &[f64]) -> f64 {
    values.iter().fold(1e-30, |m, x| m.max(x.abs()))
}

/// The largest difference, relative to the largest of the sums of the terms' absolute values, `size`: the sums themselves
/// may happen to be near zero, all of them where there are few.
pub fn difference(got: &[f32], expected: &[f64], size: f64) -> f64 {
    assert_eq!(got.len(), expected.len());
    // `max` of a number and NaN is the number, which would hide the NaN.
    got.iter()
        .zip(expected)
        .map(|(a, b)| (f64::from(*a) - b).abs())
        .fold(0.0, |m, d| if d.is_nan() { f64::INFINITY } else { m.max(d) })
        / size
}

pub fn shapes() -> impl Strategy<Value = (ConvShape, usize)> {
    let channels = || prop_oneof![1..20usize, Just(16), Just(32), Just(64), 33..70usize, Just(128), Just(130)];
    let sides = (prop_oneof![Just(1usize), 2..9usize, 9..20usize], prop_oneof![Just(1usize), 2..9usize, 9..20usize]);
    let kernel = prop_oneof![3 => Just(1usize), 4 => Just(3usize), 1 => Just(7usize)];
    ((1..4usize, 1..3usize), sides, channels(), channels(), kernel, 1..3usize).prop_map(
        |((images, groups), (height, width), c_in, c_out, kernel, stride)| {
            let few = |c: usize| if kernel == 7 { c.min(20) } else { c };
            let shape = ConvShape {
                batch: images * groups,
                height,
                width,
                c_in: few(c_in),
                c_out: few(c_out),
                kernel,
                stride,
                padding: kernel / 2,
            };
            (shape, groups)
        },
    )
}

/// Calls `f(output element's pixel, input element's pixel, tap)` for every term of a convolution.
pub fn terms(s: ConvShape, mut f: impl FnMut(usize, usize, usize)) {
    let (rows, columns) = (s.out_height(), s.out_width());
    for n in 0..s.batch {
        for (y, x) in (0..rows * columns).map(|i| (i / columns, i % columns)) {
            for tap in 0..s.kernel * s.kernel {
                let (iy, ix) = (y * s.stride + tap / s.kernel, x * s.stride + tap % s.kernel);
                if iy >= s.padding && ix >= s.padding && iy - s.padding < s.height && ix - s.padding < s.width {
                    let input = (n * s.height + iy - s.padding) * s.width + ix - s.padding;
                    f((n * rows + y) * columns + x, input, tap);
                }
            }
        }
    }
}

/// What a convolution sees of an input `z` that batch norm and ReLU are applied to while it is read.
pub fn normalized(shape: ConvShape, groups: usize, z: &[f32], scale: &[f32], shift: &[f32]) -> Vec<f64> {
    let per_group = shape.input_len() / groups;
    let of = |(i, &z): (usize, &f32)| {
        let c = i / per_group * shape.c_in + i % shape.c_in;
        (f64::from(z) * f64::from(scale[c]) + f64::from(shift[c])).max(0.0)
    };
    z.iter().enumerate().map(of).collect()
}

/// The absolute values. A convolution of them is the sum of the absolute values of its terms, which rounding is relative to.
pub fn absolute(values: &[f32]) -> Vec<f32> {
    values.iter().map(|x| x.abs()).collect()
}

pub struct Convolved {
    pub out: Vec<f64>,
    pub input_gradient: Vec<f64>,
    pub weight_gradient: Vec<f64>,
}

pub fn convolve(s: ConvShape, x: &[f64], w: &[f32], dy: &[f32]) -> Convolved {
    let taps = s.kernel * s.kernel;
    let mut out = vec![0.0; s.output_len()];
    let mut input_gradient = vec![0.0; s.input_len()];
    let mut weight_gradient = vec![0.0; s.weight_len()];
    terms(s, |o, i, tap| {
        for co in 0..s.c_out {
            let g = f64::from(dy[o * s.c_out + co]);
            for ci in 0..s.c_in {
                let weight = (co * s.c_in + ci) * taps + tap;
                out[o * s.c_out + co] += x[i * s.c_in + ci] * f64::from(w[weight]);
                input_gradient[i * s.c_in + ci] += g * f64::from(w[weight]);
                weight_gradient[weight] += g * x[i * s.c_in + ci];
            }
        }
    });
    Convolved { out, input_gradient, weight_gradient }
}

/// Batch norm of a group's pixels in f64: (mean, variance) per channel.
pub fn moments(z: &[f64], channels: usize) -> Vec<(f64, f64)> {
    let n = (z.len() / channels) as f64;
    (0..channels)
        .map(|c| {
            let of = || z.iter().skip(c).step_by(channels);
            let mean = of().sum::<f64>() / n;
            (mean, of().map(|x| (x - mean).powi(2)).sum::<f64>() / n)
        })
        .collect()
}

/// Batch norm of each group's pixels in f64, before weight and bias.
pub struct Norm {
    channels: usize,
    pub normed: Vec<f64>,
    /// Per group and channel.
    pub inv_std: Vec<f64>,
}

/// What comes back through a [`Norm`] and its weight. Of each sum also what its terms add up to without their signs.
pub struct NormGradients {
    /// Per group and channel, as `weighted`.
    pub sum: Vec<f64>,
    pub sum_terms: Vec<f64>,
    /// Of the gradient times the normalized value.
    pub weighted: Vec<f64>,
    pub weighted_terms: Vec<f64>,
    pub input: Vec<f64>,
    pub input_terms: Vec<f64>,
}

impl Norm {
    pub fn new(z: &[f64], groups: usize, channels: usize) -> Self {
        let (mut normed, mut inv_std) = (Vec::with_capacity(z.len()), Vec::new());
        for z in z.chunks_exact(z.len() / groups) {
            let of: Vec<_> =
                moments(z, channels).into_iter().map(|(mean, var)| (mean, 1.0 / (var + 1e-5).sqrt())).collect();
            normed.extend(z.iter().enumerate().map(|(i, z)| (z - of[i % channels].0) * of[i % channels].1));
            inv_std.extend(of.iter().map(|of| of.1));
        }
        Self { channels, normed, inv_std }
    }

    /// By how much f32 may lose more than elsewhere: two values that nearly coincide make a standard deviation near zero.
    pub fn steepest(&self) -> f64 {
        self.inv_std.iter().fold(1.0, |m, &s| m.max(s))
    }

    pub fn backward(&self, weight: &[f32], g: &[f64]) -> NormGradients {
        let Self { channels, normed, inv_std } = self;
        let per_group = g.len() * channels / inv_std.len();
        let pixels = (per_group / channels) as f64;
        let at = |i: usize| i / per_group * channels + i % channels;
        let sums = |of: &dyn Fn(usize) -> f64| {
            let mut sums = vec![0.0; inv_std.len()];
            (0..g.len()).for_each(|i| sums[at(i)] += of(i));
            sums
        };
        let (sum, sum_terms) = (sums(&|i| g[i]), sums(&|i| g[i].abs()));
        let (weighted, weighted_terms) = (sums(&|i| g[i] * normed[i]), sums(&|i| (g[i] * normed[i]).abs()));
        let factor = |i: usize| f64::from(weight[i % channels]) * inv_std[at(i)];
        let input = |i| factor(i) * (g[i] - (sum[at(i)] + normed[i] * weighted[at(i)]) / pixels);
        let terms =
            |i| factor(i).abs() * (g[i].abs() + (sum_terms[at(i)] + normed[i].abs() * weighted_terms[at(i)]) / pixels);
        let (input, input_terms) = ((0..g.len()).map(input).collect(), (0..g.len()).map(terms).collect());
        NormGradients { sum, sum_terms, weighted, weighted_terms, input, input_terms }
    }
}

/// The mean over each image's pixels, per channel.
pub fn means(x: &[f32], channels: usize, pixels: usize) -> Vec<f64> {
    let of = |i: usize| {
        let image = i / channels * pixels;
        (image..image + pixels).map(|pixel| f64::from(x[pixel * channels + i % channels])).sum::<f64>() / pixels as f64
    };
    (0..x.len() / pixels).map(of).collect()
}
