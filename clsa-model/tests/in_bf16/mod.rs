//! Every kernel on bf16 against its definition in f64 on the same numbers, over random shapes, for every instruction set of
//! the machine.
//!
//! What a result may differ by is what storage in bf16 must cost and no more. A number that is stored is rounded once to
//! 8 bits, by at most half a unit in the last of them, 2⁻⁸ of the number. An operand that is normalized while it is read
//! may be rounded so too before it is multiplied, which changes each term of a sum by at most 2⁻⁸ of itself, and so the
//! sum by 2⁻⁸ of the sum of the terms' absolute values. The products of two bf16 are exact in f32; for their sums, and
//! for Winograd's transforms, stands the bound of the tests in f32, relative to the same absolute values.

use crate::reference::{
    EPS, Norm, absolute, convolve, eps_of, largest, means, moments, normalized, shapes, terms, values,
};
use clsa_model::kernels::*;
use half::bf16;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

/// By how much of itself a number changes when it is rounded to bf16.
const ROUNDING: f64 = 1.0 / 256.0;

/// Numbers in -1..1 that are bf16, and the same in f32.
fn rounded(n: usize, seed: u64) -> (Vec<bf16>, Vec<f32>) {
    let short: Vec<bf16> = values(n, seed).into_iter().map(bf16::from_f32).collect();
    let wide = widened(&short);
    (short, wide)
}

fn widened(values: &[bf16]) -> Vec<f32> {
    values.iter().map(|x| x.to_f32()).collect()
}

fn doubles(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

fn nan(n: usize) -> Vec<bf16> {
    vec![bf16::NAN; n]
}

/// Fails where an element differs by more than its own rounding (`stored`), that of what was read (`read`, the sum of the
/// absolute terms) and `lost` in f32 allow for.
fn compare(
    what: &dyn std::fmt::Debug,
    got: &[f32],
    expected: &[f64],
    stored: bool,
    read: Option<&[f64]>,
    lost: f64,
) -> TestCaseResult {
    prop_assert_eq!(got.len(), expected.len());
    for (i, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let mut allowed = lost;
        if stored {
            allowed += ROUNDING * expected.abs();
        }
        if let Some(terms) = read {
            allowed += ROUNDING * terms[i];
        }
        let error = (f64::from(got) - expected).abs();
        prop_assert!(
            error <= allowed,
            "{what:?}: element {i} is {got}, not {expected}: off by {error:e} > {allowed:e}"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn convolution_and_its_gradients_match_f64((shape, groups) in shapes(), seed in 1..1000u64) {
        let (z, z_wide) = rounded(shape.input_len(), seed);
        let (_, w) = rounded(shape.weight_len(), seed + 1);
        let (dy, dy_wide) = rounded(shape.output_len(), seed + 2);
        let n = groups * shape.c_in;
        let (scale, shift) = (values(n, seed + 3), values(n, seed + 4));
        let normed = normalized(shape, groups, &z_wide, &scale, &shift);
        let plain = doubles(&z_wide);
        let of_absolute = |x: &[f64]| convolve(shape, x, &absolute(&w), &absolute(&dy_wide));
        // The normalized values are not negative.
        let read = of_absolute(&normed);
        let normed_terms = normalized(shape, groups, &absolute(&z_wide), &absolute(&scale), &absolute(&shift));
        let sizes = [of_absolute(&doubles(&absolute(&z_wide))), of_absolute(&normed_terms)];
        let exact = [convolve(shape, &plain, &w, &dy_wide), convolve(shape, &normed, &w, &dy_wide)];
        let (pool, eps) = (MemoryPool::default(), eps_of(shape));
        for instructions in InstructionSet::available() {
            let lazy = ActivationView::Normalized { z: &z, scale: &scale, shift: &shift, relu: true };
            let sources = [(ActivationView::Plain(&z[..]), None), (lazy, Some(&read))];
            for (((source, read), expected), sizes) in sources.into_iter().zip(&exact).zip(&sizes) {
                let what = |part: &'static str| (part, read.is_some(), instructions, shape);
                let mut out = nan(shape.output_len());
                let got = Conv { instructions, memory: &pool, shape, groups }.forward(source, &w, &mut out);
                let out = widened(&out);
                let size = largest(&sizes.out);
                compare(&what("output"), &out, &expected.out, true, read.map(|t| &t.out[..]), eps * size)?;

                // The moments are those of what is stored.
                let stored = doubles(&out);
                for (group, z) in stored.chunks_exact(shape.output_len() / groups).enumerate() {
                    for (c, (mean, variance)) in moments(z, shape.c_out).into_iter().enumerate() {
                        let at = group * shape.c_out + c;
                        let error = (got.mean()[at] - mean).abs() / size;
                        prop_assert!(error < EPS, "{instructions:?} {shape:?}: mean differs by {error:e}");
                        let error = (got.variance()[at] - variance).abs() / (size * size);
                        prop_assert!(error < EPS, "{instructions:?} {shape:?}: variance differs by {error:e}");
                    }
                }

                let mut gradient = vec![0.5f32; shape.weight_len()];
                Conv { instructions, memory: &pool, shape, groups }.backward_weight(source, &dy, &mut gradient);
                let added: Vec<f64> = expected.weight_gradient.iter().map(|g| g + 0.5).collect();
                let read = read.map(|t| &t.weight_gradient[..]);
                let lost = eps * (largest(&sizes.weight_gradient) + 0.5);
                compare(&what("weight gradient"), &gradient, &added, false, read, lost)?;
            }

            let expected = &exact[0].input_gradient;
            let lost = eps * largest(&sizes[0].input_gradient);
            let mut gradient = nan(shape.input_len());
            Conv { instructions, memory: &pool, shape, groups: 1 }.backward_data(&dy, &w, &mut gradient, false);
            compare(&("input gradient", instructions, shape), &widened(&gradient), expected, true, None, lost)?;
            let (mut sum, before) = rounded(shape.input_len(), seed + 5);
            Conv { instructions, memory: &pool, shape, groups: 1 }.backward_data(&dy, &w, &mut sum, true);
            let added: Vec<f64> = expected.iter().zip(&before).map(|(g, &b)| g + f64::from(b)).collect();
            compare(&("added input gradient", instructions, shape), &widened(&sum), &added, true, None, lost + eps)?;

            let (scale, bias) = (values(shape.c_out, seed + 6), values(shape.c_out, seed + 7));
            let (residual, residual_wide) = rounded(shape.output_len(), seed + 8);
            let mut out = nan(shape.output_len());
            let norm = FoldedNorm { scale: &scale, bias: &bias, residual: Some(&residual), relu: true };
            Conv { instructions, memory: &pool, shape, groups: 1 }.forward_folded(ActivationView::Plain(&z), &w, norm, &mut out);
            let folded: Vec<f64> = exact[0].out.iter().zip(&residual_wide).enumerate().map(|(i, (&y, &r))| {
                let c = i % shape.c_out;
                (y * f64::from(scale[c]) + f64::from(bias[c]) + f64::from(r)).max(0.0)
            }).collect();
            // Factors, biases and residuals are at most 1.
            let lost = eps * (largest(&sizes[0].out) + 2.0);
            compare(&("folded output", instructions, shape), &widened(&out), &folded, true, None, lost)?;
        }
    }

    #[test]
    fn batch_norm_and_its_gradients_match_f64(
        (pixels, groups, channels) in (2..200usize, 1..4usize, 1..150usize), which in 0..4usize, seed in 1..1000u64
    ) {
        let n = pixels * groups * channels;
        let (z, z_wide) = rounded(n, seed);
        let (residual, residual_wide) = rounded(n, seed + 1);
        let (given, given_wide) = rounded(n, seed + 2);
        let (weight, bias) = (values(channels, seed + 3), values(channels, seed + 4));
        let (own_scale, own_shift) = (values(groups * channels, seed + 5), values(groups * channels, seed + 6));
        // Moments come from a convolution; this one leaves z as it is.
        let identity: Vec<f32> =
            (0..channels * channels).map(|i| if i / channels == i % channels { 1.0 } else { 0.0 }).collect();
        let shape = ConvShape {
            batch: groups, height: pixels, width: 1, c_in: channels, c_out: channels, kernel: 1, stride: 1, padding: 0,
        };
        let wide = doubles(&z_wide);
        let reference = Norm::new(&wide, groups, channels);
        let (normed, steepest) = (&reference.normed, reference.steepest());
        // Without ReLU, with it, and with a residual as it is stored or normalized while it is read.
        let relu = which > 0;
        let added = |i: usize| match which {
            2 => f64::from(residual_wide[i]),
            3 => {
                let c = i / (pixels * channels) * channels + i % channels;
                f64::from(residual_wide[i]) * f64::from(own_scale[c]) + f64::from(own_shift[c])
            }
            _ => 0.0,
        };
        let expected: Vec<f64> = (0..n).map(|i| {
            let y = normed[i] * f64::from(weight[i % channels]) + f64::from(bias[i % channels]) + added(i);
            if relu { y.max(0.0) } else { y }
        }).collect();
        let terms: Vec<f64> = (0..n).map(|i| {
            let (weight, bias) = (f64::from(weight[i % channels]), f64::from(bias[i % channels]));
            // A residual, its scale and its shift are at most 1.
            (normed[i] * weight).abs() + bias.abs() + if which >= 2 { 2.0 } else { 0.0 }
        }).collect();
        let pool = MemoryPool::default();
        for instructions in InstructionSet::available() {
            let mut copy = nan(n);
            let found = Conv { instructions, memory: &pool, shape, groups }.forward(ActivationView::Plain(&z), &identity, &mut copy);
            prop_assert_eq!(&copy, &z);
            let affine = Affine::new(&found, &weight, &bias, 1e-5);
            let mut out = nan(n);
            let source = match which {
                2 => Some(ActivationView::Plain(&residual[..])),
                3 => Some(ActivationView::Normalized { z: &residual[..], scale: &own_scale, shift: &own_shift, relu: false }),
                _ => None,
            };
            BatchNormPass { instructions, channels, z: &z, affine: &affine }.normalize(source, relu, &mut out);
            compare(&("output", instructions, which), &widened(&out), &expected, true, None, EPS * steepest * largest(&terms))?;

            let mask = match which {
                0 => ReluMask::Open,
                1 => ReluMask::Normalized,
                _ => ReluMask::Output(&out),
            };
            let mut gradient = given.clone();
            let sums = BatchNormPass { instructions, channels, z: &z, affine: &affine }.backward_sums(mask, &mut gradient);
            // The mask itself is compared above; here it is taken as the kernel sees it.
            let masked = |i: usize| if !relu || out[i].to_f32() > 0.0 { given_wide[i] } else { 0.0 };
            let mut dz = nan(n);
            if which >= 2 {
                for i in 0..n {
                    prop_assert_eq!(gradient[i].to_f32(), masked(i));
                }
                BatchNormPass { instructions, channels, z: &z, affine: &affine }.backward_apply(&sums, ReluMask::Open, &mut gradient, Some(&mut dz));
            } else {
                BatchNormPass { instructions, channels, z: &z, affine: &affine }.backward_apply(&sums, mask, &mut gradient, None);
                dz.copy_from_slice(&gradient);
            }
            let g: Vec<f64> = (0..n).map(|i| f64::from(masked(i))).collect();
            let expected = reference.backward(&weight, &g);
            for at in 0..groups * channels {
                let (size, weighted_size) = (expected.sum_terms[at], expected.weighted_terms[at]);
                prop_assert!((sums.gradient[at] - expected.sum[at]).abs() <= EPS * size);
                prop_assert!((sums.weighted[at] - expected.weighted[at]).abs() <= EPS * steepest * (size + weighted_size));
            }
            let lost = 2.0 * EPS * steepest * largest(&expected.input_terms);
            compare(&("gradient", instructions, which), &widened(&dz), &expected.input, true, None, lost)?;
        }
    }

    #[test]
    fn pooling_and_its_gradient_match_their_definition(
        (images, height, width, channels) in (1..3usize, 1..12usize, 1..12usize, 1..40usize),
        groups in 1..3usize, seed in 1..1000u64
    ) {
        let batch = images * groups;
        let (x, x_wide) = rounded(batch * height * width * channels, seed);
        let (scale, shift) = (values(groups * channels, seed + 1), values(groups * channels, seed + 2));
        let shape = ConvShape {
            batch, height, width, c_in: 1, c_out: 1, kernel: 3, stride: 2, padding: 1,
        };
        let len = batch * shape.out_height() * shape.out_width() * channels;
        let (dy, dy_wide) = rounded(len, seed + 3);
        for (instructions, lazy) in InstructionSet::available().into_iter().flat_map(|instructions| [(instructions, false), (instructions, true)]) {
            let seen: Vec<f64> = x_wide.iter().enumerate().map(|(i, &x)| {
                let c = i / (x_wide.len() / groups) * channels + i % channels;
                let normed = (f64::from(x) * f64::from(scale[c]) + f64::from(shift[c])).max(0.0);
                if lazy { normed } else { f64::from(x) }
            }).collect();
            let source = if lazy {
                ActivationView::Normalized { z: &x[..], scale: &scale, shift: &shift, relu: true }
            } else {
                ActivationView::Plain(&x[..])
            };
            let mut expected = vec![f64::NEG_INFINITY; len];
            terms(shape, |o, i, _| {
                for c in 0..channels {
                    expected[o * channels + c] = expected[o * channels + c].max(seen[i * channels + c]);
                }
            });
            let (mut out, mut taps) = (nan(len), vec![0u8; len]);
            max_pool(instructions, BatchShape { batch, height, width, channels }, source, &mut out, &mut taps);
            let out = widened(&out);
            compare(&("output", instructions, lazy), &out, &expected, lazy, None, if lazy { 2.0 * EPS } else { 0.0 })?;
            // The place that was taken holds the value; the gradient goes there.
            let (mut expected_gradient, mut sizes) = (vec![0.0f64; x.len()], vec![0.0; x.len()]);
            let mut taken = vec![0; len];
            let mut wrong = None;
            terms(shape, |o, i, tap| {
                for c in 0..channels {
                    let at = o * channels + c;
                    if usize::from(taps[at]) == tap {
                        expected_gradient[i * channels + c] += f64::from(dy_wide[at]);
                        sizes[i * channels + c] += f64::from(dy_wide[at].abs());
                        taken[at] += 1;
                        let rounded = f64::from(bf16::from_f64(seen[i * channels + c]).to_f32());
                        if (rounded - f64::from(out[at])).abs() > 2.0 * ROUNDING * rounded.abs() + EPS {
                            wrong = Some((at, rounded, out[at]));
                        }
                    }
                }
            });
            prop_assert!(wrong.is_none() && taken.iter().all(|&n| n == 1), "{instructions:?}: {wrong:?}");
            let mut gradient = nan(x.len());
            max_pool_backward(instructions, BatchShape { batch, height, width, channels }, &dy, &taps, &mut gradient);
            compare(&("gradient", instructions, lazy), &widened(&gradient), &expected_gradient, true, None, 1e-6 * largest(&sizes))?;
        }
        let pixels = height * width;
        let mut mean = vec![0.0; batch * channels];
        global_avg_pool(channels, pixels, &x, &mut mean);
        let of = |x: &[f32]| means(x, channels, pixels);
        compare(&"mean", &mean, &of(&x_wide), false, None, EPS * largest(&of(&absolute(&x_wide))))?;
        let mut gradient = nan(x.len());
        global_avg_pool_backward(channels, pixels, &mean, &mut gradient);
        let expected: Vec<f64> = (0..x.len())
            .map(|i| f64::from(mean[i / (pixels * channels) * channels + i % channels]) / pixels as f64)
            .collect();
        compare(&"mean's gradient", &widened(&gradient), &expected, true, None, 1e-6 * largest(&expected))?;
    }
}

/// Every f32 that is halfway between two bf16, the next ones on either side, and the ends of the range.
#[test]
fn stores_round_to_the_nearest_even_on_every_instruction_set() {
    let mut wide = vec![0.0f32, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, f32::NAN, 1e-20, 3.4e38];
    for upper in (0x0080..0x7f80u32).step_by(7) {
        let halfway = upper << 16 | 0x8000;
        wide.extend([halfway - 1, halfway, halfway + 1].map(f32::from_bits));
        wide.extend([halfway - 1, halfway, halfway + 1].map(|bits| -f32::from_bits(bits)));
    }
    // 0 · 1 + shift, one channel for each number: what is stored is the shift.
    let n = wide.len();
    let affine = Affine { scale: vec![1.0; n], shift: wide.clone(), mean: vec![0.0; n], inv_std: vec![1.0; n] };
    let zero = vec![bf16::ZERO; n];
    for instructions in InstructionSet::available() {
        let mut out = vec![bf16::ONE; n];
        BatchNormPass { instructions, channels: n, z: &zero, affine: &affine }.normalize(None, false, &mut out);
        for (&wide, &out) in wide.iter().zip(&out) {
            let expected = bf16::from_f32(wide);
            assert!(
                out == expected || (out.is_nan() && expected.is_nan()),
                "{instructions:?}: {wide:e} is stored as {out:e} instead of {expected:e}"
            );
        }
    }
}
