//! Every kernel against its definition in f64, over random shapes, for every instruction set of the machine; and the same
//! bits for any number of threads.

// Channels index several arrays at once.
#![allow(clippy::needless_range_loop)]

use clsa_model::kernels::*;
use proptest::prelude::*;

const EPS: f64 = 1e-5;

/// What a convolution may differ by: Winograd's transforms cost a digit.
fn eps_of(shape: ConvShape) -> f64 {
    if shape.kernel == 3 && shape.stride == 1 { 1e-4 } else { EPS }
}

/// Numbers in -1..1 from a seed.
fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// The largest difference over the largest value.
fn difference(got: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let scale = expected.iter().fold(1e-30f64, |m, x| m.max(x.abs()));
    got.iter().zip(expected).fold(0.0f64, |m, (a, b)| m.max((f64::from(*a) - b).abs())) / scale
}

fn shapes() -> impl Strategy<Value = (ConvShape, usize)> {
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
fn terms(s: ConvShape, mut f: impl FnMut(usize, usize, usize)) {
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

struct Convolved {
    out: Vec<f64>,
    input_gradient: Vec<f64>,
    weight_gradient: Vec<f64>,
}

fn convolve(s: ConvShape, x: &[f64], w: &[f32], dy: &[f32]) -> Convolved {
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
fn moments(z: &[f64], channels: usize) -> Vec<(f64, f64)> {
    let n = (z.len() / channels) as f64;
    (0..channels)
        .map(|c| {
            let of = || z.iter().skip(c).step_by(channels);
            let mean = of().sum::<f64>() / n;
            (mean, of().map(|x| (x - mean).powi(2)).sum::<f64>() / n)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn convolution_and_its_gradients_match_f64((shape, groups) in shapes(), seed in 1..1000u64) {
        let (z, w) = (values(shape.input_len(), seed), values(shape.weight_len(), seed + 1));
        let dy = values(shape.output_len(), seed + 2);
        let n = groups * shape.c_in;
        let (scale, shift) = (values(n, seed + 3), values(n, seed + 4));
        let per_group = shape.input_len() / groups;
        let normed: Vec<f64> = z.iter().enumerate().map(|(i, &z)| {
            let c = i / per_group * shape.c_in + i % shape.c_in;
            (f64::from(z) * f64::from(scale[c]) + f64::from(shift[c])).max(0.0)
        }).collect();
        let plain: Vec<f64> = z.iter().map(|&z| f64::from(z)).collect();
        let (pool, eps) = (Pool::default(), eps_of(shape));
        for isa in Isa::available() {
            let lazy = Source::Norm { z: &z, scale: &scale, shift: &shift, relu: true };
            for (source, x) in [(Source::Plain(&z), &plain), (lazy, &normed)] {
                let expected = convolve(shape, x, &w, &dy);
                let mut out = vec![f32::NAN; shape.output_len()];
                let got = forward(isa, &pool, shape, groups, source, &w, &mut out);
                let error = difference(&out, &expected.out);
                prop_assert!(error < eps, "{isa:?} {shape:?}: output differs by {error:e}");

                // Relative to the largest output, as the outputs themselves.
                let scale = expected.out.iter().fold(1e-30f64, |m, x| m.max(x.abs()));
                for (group, z) in expected.out.chunks_exact(shape.output_len() / groups).enumerate() {
                    for (c, (mean, variance)) in moments(z, shape.c_out).into_iter().enumerate() {
                        let error = (got.mean()[group * shape.c_out + c] - mean).abs() / scale;
                        prop_assert!(error < eps, "{isa:?} {shape:?}: mean differs by {error:e}");
                        let error = (got.variance()[group * shape.c_out + c] - variance).abs() / (scale * scale);
                        prop_assert!(error < eps, "{isa:?} {shape:?}: variance differs by {error:e}");
                    }
                }

                let mut gradient = vec![0.5; shape.weight_len()];
                backward_weight(isa, &pool, shape, groups, source, &dy, &mut gradient);
                let added: Vec<f64> = expected.weight_gradient.iter().map(|g| g + 0.5).collect();
                let error = difference(&gradient, &added);
                prop_assert!(error < eps, "{isa:?} {shape:?}: weight gradient differs by {error:e}");

                let mut gradient = vec![f32::NAN; shape.input_len()];
                backward_data(isa, &pool, shape, &dy, &w, &mut gradient, false);
                let error = difference(&gradient, &expected.input_gradient);
                prop_assert!(error < eps, "{isa:?} {shape:?}: input gradient differs by {error:e}");
                let mut twice = gradient.clone();
                backward_data(isa, &pool, shape, &dy, &w, &mut twice, true);
                let doubled: Vec<f64> = expected.input_gradient.iter().map(|g| 2.0 * g).collect();
                let error = difference(&twice, &doubled);
                prop_assert!(error < eps, "{isa:?} {shape:?}: added input gradient differs by {error:e}");
            }

            let (scale, bias) = (values(shape.c_out, seed + 5), values(shape.c_out, seed + 6));
            let residual = values(shape.output_len(), seed + 7);
            let mut out = vec![f32::NAN; shape.output_len()];
            let finish = Finish { scale: &scale, bias: &bias, residual: Some(&residual), relu: true };
            forward_finished(isa, &pool, shape, Source::Plain(&z), &w, finish, &mut out);
            let convolved = convolve(shape, &plain, &w, &dy).out;
            let expected: Vec<f64> = convolved.iter().zip(&residual).enumerate().map(|(i, (&y, &r))| {
                let c = i % shape.c_out;
                (y * f64::from(scale[c]) + f64::from(bias[c]) + f64::from(r)).max(0.0)
            }).collect();
            let error = difference(&out, &expected);
            prop_assert!(error < eps, "{isa:?} {shape:?}: finished output differs by {error:e}");
        }
    }

    #[test]
    fn batch_norm_and_its_gradients_match_f64(
        (pixels, groups, channels) in (2..200usize, 1..4usize, 1..150usize), which in 0..3usize, seed in 1..1000u64
    ) {
        let n = pixels * groups * channels;
        let (z, residual, given) = (values(n, seed), values(n, seed + 1), values(n, seed + 2));
        let (weight, bias) = (values(channels, seed + 3), values(channels, seed + 4));
        // Moments come from a convolution; this one leaves z as it is.
        let identity: Vec<f32> =
            (0..channels * channels).map(|i| if i / channels == i % channels { 1.0 } else { 0.0 }).collect();
        let shape = ConvShape {
            batch: groups, height: pixels, width: 1, c_in: channels, c_out: channels, kernel: 1, stride: 1, padding: 0,
        };
        let wide: Vec<f64> = z.iter().map(|&z| f64::from(z)).collect();
        let mut normed = vec![0.0; n];
        let mut inv_std = vec![0.0; groups * channels];
        for (group, z) in wide.chunks_exact(pixels * channels).enumerate() {
            for (c, (mean, variance)) in moments(z, channels).into_iter().enumerate() {
                inv_std[group * channels + c] = 1.0 / (variance + 1e-5).sqrt();
                for i in (0..pixels).map(|p| p * channels + c) {
                    normed[group * pixels * channels + i] = (z[i] - mean) * inv_std[group * channels + c];
                }
            }
        }
        let with_residual = which == 2;
        let expected: Vec<f64> = (0..n).map(|i| {
            let y = normed[i] * f64::from(weight[i % channels]) + f64::from(bias[i % channels]);
            if with_residual { (y + f64::from(residual[i])).max(0.0) } else if which == 1 { y.max(0.0) } else { y }
        }).collect();
        let pool = Pool::default();
        for isa in Isa::available() {
            let mut copy = vec![0.0; n];
            let found = forward(isa, &pool, shape, groups, Source::Plain(&z), &identity, &mut copy);
            let affine = Affine::new(&found, &weight, &bias, 1e-5);
            let mut out = vec![f32::NAN; n];
            let source = with_residual.then_some(Source::Plain(&residual));
            normalize(isa, channels, &z, &affine, source, which > 0, &mut out);
            let error = difference(&out, &expected);
            // Two values that nearly coincide make a standard deviation near zero: what is lost there is lost in f32.
            let largest = inv_std.iter().fold(1.0f64, |m, &s| m.max(s));
            prop_assert!(error < EPS * largest, "{isa:?}: output differs by {error:e}");

            let gate = match which {
                0 => Gate::Open,
                1 => Gate::Normalized,
                _ => Gate::Output(&out),
            };
            let mut gradient = given.clone();
            let sums = backward_sums(isa, channels, &z, &affine, gate, &mut gradient);
            let mut dz = vec![f32::NAN; n];
            if with_residual {
                backward_apply(isa, channels, &z, &affine, &sums, Gate::Open, &mut gradient, Some(&mut dz));
            } else {
                backward_apply(isa, channels, &z, &affine, &sums, gate, &mut gradient, None);
                dz.copy_from_slice(&gradient);
            }
            // The gate itself is compared above; here it is taken as the kernel sees it.
            let mut forwarded = vec![0.0; n];
            normalize(isa, channels, &z, &affine, source, which > 0, &mut forwarded);
            let g: Vec<f64> = (0..n)
                .map(|i| if which == 0 || forwarded[i] > 0.0 { f64::from(given[i]) } else { 0.0 })
                .collect();
            let mut expected = vec![0.0; n];
            for group in 0..groups {
                for c in 0..channels {
                    let places = || (0..pixels).map(|p| (group * pixels + p) * channels + c);
                    let sum: f64 = places().map(|i| g[i]).sum();
                    let weighted: f64 = places().map(|i| g[i] * normed[i]).sum();
                    let at = group * channels + c;
                    prop_assert!((sums.gradient[at] - sum).abs() < 10.0 * EPS * (1.0 + sum.abs()));
                    prop_assert!((sums.weighted[at] - weighted).abs() < 10.0 * EPS * largest * (1.0 + weighted.abs()));
                    for i in places() {
                        let rest = g[i] - (sum + normed[i] * weighted) / pixels as f64;
                        expected[i] = f64::from(weight[c]) * inv_std[at] * rest;
                    }
                }
            }
            let error = difference(&dz, &expected);
            prop_assert!(error < 2.0 * EPS * largest, "{isa:?}: gradient differs by {error:e}");
        }
    }

    #[test]
    fn pooling_and_its_gradient_match_their_definition(
        (batch, height, width, channels) in (1..4usize, 1..12usize, 1..12usize, 1..40usize), seed in 1..1000u64
    ) {
        let x = values(batch * height * width * channels, seed);
        let shape = ConvShape {
            batch, height, width, c_in: 1, c_out: 1, kernel: 3, stride: 2, padding: 1,
        };
        let len = batch * shape.out_height() * shape.out_width() * channels;
        let dy = values(len, seed + 1);
        let mut expected = vec![f32::NEG_INFINITY; len];
        let mut from = vec![0; len];
        terms(shape, |o, i, _| {
            for c in 0..channels {
                if x[i * channels + c] > expected[o * channels + c] {
                    expected[o * channels + c] = x[i * channels + c];
                    from[o * channels + c] = i * channels + c;
                }
            }
        });
        let mut expected_gradient = vec![0.0f64; x.len()];
        for (&from, &g) in from.iter().zip(&dy) {
            expected_gradient[from] += f64::from(g);
        }
        for isa in Isa::available() {
            let (mut out, mut taps) = (vec![0.0; len], vec![0u8; len]);
            max_pool(isa, (batch, height, width, channels), 1, Source::Plain(&x), &mut out, &mut taps);
            prop_assert_eq!(&out, &expected);
            let mut gradient = vec![f32::NAN; x.len()];
            max_pool_backward(isa, (batch, height, width, channels), &dy, &taps, &mut gradient);
            prop_assert!(difference(&gradient, &expected_gradient) < 1e-6);
        }
        let pixels = height * width;
        let mut mean = vec![0.0; batch * channels];
        global_avg_pool(channels, pixels, &x, &mut mean);
        let expected: Vec<f64> = (0..batch * channels).map(|i| {
            let (n, c) = (i / channels, i % channels);
            (0..pixels).map(|p| f64::from(x[(n * pixels + p) * channels + c])).sum::<f64>() / pixels as f64
        }).collect();
        prop_assert!(difference(&mean, &expected) < EPS);
        let mut gradient = vec![0.0; x.len()];
        global_avg_pool_backward(channels, pixels, &mean, &mut gradient);
        let expected: Vec<f64> = (0..x.len())
            .map(|i| f64::from(mean[i / (pixels * channels) * channels + i % channels]) / pixels as f64)
            .collect();
        prop_assert!(difference(&gradient, &expected) < EPS);
    }
}

#[test]
fn the_same_bits_for_one_two_and_five_threads() {
    let shapes = [(3, 64, 7, 2), (64, 64, 3, 1), (64, 96, 1, 1), (96, 40, 3, 2), (96, 160, 1, 2), (300, 70, 3, 1)];
    for (isa, (c_in, c_out, kernel, stride)) in Isa::available().into_iter().flat_map(|isa| shapes.map(|s| (isa, s))) {
        let shape = ConvShape { batch: 4, height: 23, width: 19, c_in, c_out, kernel, stride, padding: kernel / 2 };
        let (x, w) = (values(shape.input_len(), 1), values(shape.weight_len(), 2));
        let dy = values(shape.output_len(), 3);
        let (gamma, beta) = (values(c_out, 4), values(c_out, 5));
        let run = |threads: usize| {
            let workers = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            workers.install(|| {
                let pool = Pool::default();
                let mut z = vec![0.0; shape.output_len()];
                let moments = forward(isa, &pool, shape, 2, Source::Plain(&x), &w, &mut z);
                let affine = Affine::new(&moments, &gamma, &beta, 1e-5);
                let mut g = dy.clone();
                let sums = backward_sums(isa, c_out, &z, &affine, Gate::Normalized, &mut g);
                backward_apply(isa, c_out, &z, &affine, &sums, Gate::Normalized, &mut g, None);
                let mut dx = vec![0.0; shape.input_len()];
                backward_data(isa, &pool, shape, &g, &w, &mut dx, false);
                let mut dw = vec![0.0; shape.weight_len()];
                backward_weight(isa, &pool, shape, 2, Source::Plain(&x), &g, &mut dw);
                let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<_>>();
                (bits(z), bits(affine.scale), bits(affine.shift), bits(g), bits(dx), bits(dw))
            })
        };
        let one = run(1);
        assert!(one == run(2), "{isa:?} {shape:?} with 2 threads");
        assert!(one == run(5), "{isa:?} {shape:?} with 5 threads");
    }
}

/// Run by the test below with `CLSA_KERNELS` set.
#[test]
fn the_chosen_set_is_one_of_this_machine() {
    let chosen = Isa::chosen();
    println!("chosen: {chosen:?}");
    assert!(chosen.is_err() || Isa::available().contains(&chosen.unwrap()));
}

#[test]
fn clsa_kernels_forces_a_lower_set() {
    let chosen = |value: &str| {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_chosen_set_is_one_of_this_machine", "--nocapture"])
            .env("CLSA_KERNELS", value)
            .output()
            .unwrap();
        let text = String::from_utf8(child.stdout).unwrap();
        text.split_once("chosen: ").unwrap().1.lines().next().unwrap().to_owned()
    };
    let best = *Isa::available().last().unwrap();
    for (value, most) in [("avx512", Isa::Avx512), ("avx2", Isa::Avx2), ("scalar", Isa::Scalar)] {
        assert_eq!(chosen(value), format!("Ok({:?})", best.min(most)));
    }
    assert_eq!(chosen("neon"), "Err(\"neon\")");
}
