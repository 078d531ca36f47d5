//! Every kernel against its definition in f64, over random shapes, for every instruction set of the machine; and the same
//! bits for any number of threads.

// Channels index several arrays at once.
#![allow(clippy::needless_range_loop)]

mod in_bf16;
mod reference;

use clsa_model::kernels::*;
use half::bf16;
use proptest::prelude::*;
use reference::{
    EPS, Norm, absolute, convolve, difference, eps_of, largest, means, moments, normalized, shapes, terms, values,
};

/// The difference of the mean square and the squared mean, in single precision, would be noise.
#[test]
fn the_variance_of_outputs_far_from_zero_keeps_its_digits() {
    for (kernel, stride, c_out) in [(1, 1, 17), (1, 1, 64), (3, 2, 24)] {
        let (batch, groups) = (4, 2);
        let shape = ConvShape { batch, height: 9, width: 11, c_in: 16, c_out, kernel, stride, padding: kernel / 2 };
        // About 1000 in every output, with a deviation of about 1.
        let x: Vec<f32> = values(shape.input_len(), 5).into_iter().map(|v| 1000.0 + 5.0 * v).collect();
        // Sixteenths in the middle of each kernel: the outputs are means of the input's channels.
        let taps = kernel * kernel;
        let w: Vec<f32> =
            (0..shape.weight_len()).map(|i| if i % taps == taps / 2 { 1.0 / 16.0 } else { 0.0 }).collect();
        let dy = vec![0.0; shape.output_len()];
        let plain: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        let expected = convolve(shape, &plain, &w, &dy);
        for instructions in InstructionSet::available() {
            let mut out = vec![f32::NAN; shape.output_len()];
            let got = Conv { instructions, memory: &MemoryPool::default(), shape, groups }.forward(
                ActivationView::Plain(&x),
                &w,
                &mut out,
            );
            for (group, z) in expected.out.chunks_exact(shape.output_len() / groups).enumerate() {
                for (c, (mean, variance)) in moments(z, c_out).into_iter().enumerate() {
                    assert!((mean - 1000.0).abs() < 2.0 && (0.1..10.0).contains(&variance), "{mean} {variance}");
                    let at = group * c_out + c;
                    assert!(
                        (got.mean()[at] - mean).abs() < 1e-3,
                        "{instructions:?} {shape:?}: {} is not {mean}",
                        got.mean()[at]
                    );
                    let error = (got.variance()[at] - variance).abs() / variance;
                    assert!(error < 1e-3, "{instructions:?} {shape:?}: variance differs by {error:e}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn convolution_and_its_gradients_match_f64((shape, groups) in shapes(), seed in 1..1000u64) {
        let (z, w) = (values(shape.input_len(), seed), values(shape.weight_len(), seed + 1));
        let dy = values(shape.output_len(), seed + 2);
        let n = groups * shape.c_in;
        let (scale, shift) = (values(n, seed + 3), values(n, seed + 4));
        let normed = normalized(shape, groups, &z, &scale, &shift);
        let normed_terms = normalized(shape, groups, &absolute(&z), &absolute(&scale), &absolute(&shift));
        let plain: Vec<f64> = z.iter().map(|&z| f64::from(z)).collect();
        let plain_terms: Vec<f64> = plain.iter().map(|x| x.abs()).collect();
        let (pool, eps) = (MemoryPool::default(), eps_of(shape));
        for instructions in InstructionSet::available() {
            let lazy = ActivationView::Normalized { z: &z, scale: &scale, shift: &shift, relu: true };
            for (source, x, terms) in [(ActivationView::Plain(&z), &plain, &plain_terms), (lazy, &normed, &normed_terms)] {
                let expected = convolve(shape, x, &w, &dy);
                let sizes = convolve(shape, terms, &absolute(&w), &absolute(&dy));
                let mut out = vec![f32::NAN; shape.output_len()];
                let got = Conv { instructions, memory: &pool, shape, groups }.forward(source, &w, &mut out);
                let size = largest(&sizes.out);
                let error = difference(&out, &expected.out, size);
                prop_assert!(error < eps, "{instructions:?} {shape:?}: output differs by {error:e}");

                // As the outputs, relative to what their terms add up to.
                for (group, z) in expected.out.chunks_exact(shape.output_len() / groups).enumerate() {
                    for (c, (mean, variance)) in moments(z, shape.c_out).into_iter().enumerate() {
                        let error = (got.mean()[group * shape.c_out + c] - mean).abs() / size;
                        prop_assert!(error < eps, "{instructions:?} {shape:?}: mean differs by {error:e}");
                        let error = (got.variance()[group * shape.c_out + c] - variance).abs() / (size * size);
                        prop_assert!(error < eps, "{instructions:?} {shape:?}: variance differs by {error:e}");
                    }
                }

                let mut gradient = vec![0.5; shape.weight_len()];
                Conv { instructions, memory: &pool, shape, groups }.backward_weight(source, &dy, &mut gradient);
                let added: Vec<f64> = expected.weight_gradient.iter().map(|g| g + 0.5).collect();
                let error = difference(&gradient, &added, largest(&sizes.weight_gradient) + 0.5);
                prop_assert!(error < eps, "{instructions:?} {shape:?}: weight gradient differs by {error:e}");

                let mut gradient = vec![f32::NAN; shape.input_len()];
                Conv { instructions, memory: &pool, shape, groups: 1 }.backward_data(&dy, &w, &mut gradient, false);
                let size = largest(&sizes.input_gradient);
                let error = difference(&gradient, &expected.input_gradient, size);
                prop_assert!(error < eps, "{instructions:?} {shape:?}: input gradient differs by {error:e}");
                let mut twice = gradient.clone();
                Conv { instructions, memory: &pool, shape, groups: 1 }.backward_data(&dy, &w, &mut twice, true);
                let doubled: Vec<f64> = expected.input_gradient.iter().map(|g| 2.0 * g).collect();
                let error = difference(&twice, &doubled, 2.0 * size);
                prop_assert!(error < eps, "{instructions:?} {shape:?}: added input gradient differs by {error:e}");
            }

            let (scale, bias) = (values(shape.c_out, seed + 5), values(shape.c_out, seed + 6));
            let residual = values(shape.output_len(), seed + 7);
            let mut out = vec![f32::NAN; shape.output_len()];
            let norm = FoldedNorm { scale: &scale, bias: &bias, residual: Some(&residual), relu: true };
            Conv { instructions, memory: &pool, shape, groups: 1 }.forward_folded(ActivationView::Plain(&z), &w, norm, &mut out);
            let convolved = convolve(shape, &plain, &w, &dy).out;
            let expected: Vec<f64> = convolved.iter().zip(&residual).enumerate().map(|(i, (&y, &r))| {
                let c = i % shape.c_out;
                (y * f64::from(scale[c]) + f64::from(bias[c]) + f64::from(r)).max(0.0)
            }).collect();
            let size = largest(&convolve(shape, &plain_terms, &absolute(&w), &absolute(&dy)).out);
            // Factors, biases and residuals are at most 1.
            let error = difference(&out, &expected, size + 2.0);
            prop_assert!(error < eps, "{instructions:?} {shape:?}: folded output differs by {error:e}");
        }
    }

    /// Ranks with a group each compute what one process does.
    #[test]
    fn half_of_a_batch_has_the_same_bits_alone((half, groups) in shapes(), seed in 1..1000u64) {
        let whole = ConvShape { batch: 2 * half.batch, ..half };
        let (x, w) = (values(whole.input_len(), seed), values(whole.weight_len(), seed + 1));
        let dy = values(whole.output_len(), seed + 2);
        let memory = &MemoryPool::default();
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        for instructions in InstructionSet::available() {
            let run = |shape: ConvShape, groups: usize, x: &[f32], dy: &[f32]| {
                let conv = Conv { instructions, memory, shape, groups };
                let (mut out, mut dx) = (vec![f32::NAN; shape.output_len()], vec![f32::NAN; shape.input_len()]);
                let moments = conv.forward(ActivationView::Plain(x), &w, &mut out);
                conv.backward_data(dy, &w, &mut dx, false);
                (out, dx, moments)
            };
            let (out, dx, moments) = run(whole, 2 * groups, &x, &dy);
            let parts = x.chunks_exact(half.input_len()).zip(dy.chunks_exact(half.output_len()));
            for (part, (x, dy)) in parts.enumerate() {
                let (alone_out, alone_dx, alone) = run(half, groups, x, dy);
                let what = format!("{instructions:?} {whole:?} {groups}");
                prop_assert!(out[part * half.output_len()..].starts_with(&alone_out), "{what}");
                prop_assert!(dx[part * half.input_len()..].starts_with(&alone_dx), "{what}");
                let own = part * groups * half.c_out..(part + 1) * groups * half.c_out;
                prop_assert_eq!(bits(&moments.mean()[own.clone()]), bits(alone.mean()), "{}", &what);
                prop_assert_eq!(bits(&moments.variance()[own]), bits(&alone.variance()), "{}", what);
            }
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
        let reference = Norm::new(&wide, groups, channels);
        let (normed, steepest) = (&reference.normed, reference.steepest());
        let with_residual = which == 2;
        let expected: Vec<f64> = (0..n).map(|i| {
            let y = normed[i] * f64::from(weight[i % channels]) + f64::from(bias[i % channels]);
            if with_residual { (y + f64::from(residual[i])).max(0.0) } else if which == 1 { y.max(0.0) } else { y }
        }).collect();
        let terms: Vec<f64> = (0..n).map(|i| {
            let residual = if with_residual { f64::from(residual[i]).abs() } else { 0.0 };
            (normed[i] * f64::from(weight[i % channels])).abs() + f64::from(bias[i % channels]).abs() + residual
        }).collect();
        let pool = MemoryPool::default();
        for instructions in InstructionSet::available() {
            let mut copy = vec![0.0; n];
            let found = Conv { instructions, memory: &pool, shape, groups }.forward(ActivationView::Plain(&z), &identity, &mut copy);
            let affine = Affine::new(&found, &weight, &bias, 1e-5);
            let mut out = vec![f32::NAN; n];
            let source = with_residual.then_some(ActivationView::Plain(&residual));
            BatchNormPass { instructions, channels, z: &z, affine: &affine }.normalize(source, which > 0, &mut out);
            let error = difference(&out, &expected, largest(&terms));
            prop_assert!(error < EPS * steepest, "{instructions:?}: output differs by {error:e}");

            let mask = match which {
                0 => ReluMask::Open,
                1 => ReluMask::Normalized,
                _ => ReluMask::Output(&out),
            };
            let mut gradient = given.clone();
            let sums = BatchNormPass { instructions, channels, z: &z, affine: &affine }.backward_sums(mask, &mut gradient);
            let mut dz = vec![f32::NAN; n];
            if with_residual {
                BatchNormPass { instructions, channels, z: &z, affine: &affine }.backward_apply(&sums, ReluMask::Open, &mut gradient, Some(&mut dz));
            } else {
                BatchNormPass { instructions, channels, z: &z, affine: &affine }.backward_apply(&sums, mask, &mut gradient, None);
                dz.copy_from_slice(&gradient);
            }
            // The mask itself is compared above; here it is taken as the kernel sees it.
            let mut forwarded = vec![0.0; n];
            BatchNormPass { instructions, channels, z: &z, affine: &affine }.normalize(source, which > 0, &mut forwarded);
            let g: Vec<f64> = (0..n)
                .map(|i| if which == 0 || forwarded[i] > 0.0 { f64::from(given[i]) } else { 0.0 })
                .collect();
            let expected = reference.backward(&weight, &g);
            for at in 0..groups * channels {
                let (size, weighted_size) = (expected.sum_terms[at], expected.weighted_terms[at]);
                prop_assert!((sums.gradient[at] - expected.sum[at]).abs() <= EPS * size);
                prop_assert!((sums.weighted[at] - expected.weighted[at]).abs() <= EPS * steepest * (size + weighted_size));
            }
            let error = difference(&dz, &expected.input, largest(&expected.input_terms));
            prop_assert!(error < 2.0 * EPS * steepest, "{instructions:?}: gradient differs by {error:e}");
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
        let (mut expected_gradient, mut sizes) = (vec![0.0f64; x.len()], vec![0.0; x.len()]);
        for (&from, &g) in from.iter().zip(&dy) {
            expected_gradient[from] += f64::from(g);
            sizes[from] += f64::from(g.abs());
        }
        for instructions in InstructionSet::available() {
            let (mut out, mut taps) = (vec![0.0; len], vec![0u8; len]);
            let input = ActivationView::Plain(&x);
            max_pool(instructions, BatchShape { batch, height, width, channels }, input, &mut out, &mut taps);
            prop_assert_eq!(&out, &expected);
            let mut gradient = vec![f32::NAN; x.len()];
            max_pool_backward(instructions, BatchShape { batch, height, width, channels }, &dy, &taps, &mut gradient);
            prop_assert!(difference(&gradient, &expected_gradient, largest(&sizes)) < 1e-6);
        }
        let pixels = height * width;
        let mut mean = vec![0.0; batch * channels];
        global_avg_pool(channels, pixels, &x, &mut mean);
        let of = |x: &[f32]| means(x, channels, pixels);
        prop_assert!(difference(&mean, &of(&x), largest(&of(&absolute(&x)))) < EPS);
        let mut gradient = vec![0.0; x.len()];
        global_avg_pool_backward(channels, pixels, &mean, &mut gradient);
        let expected: Vec<f64> = (0..x.len())
            .map(|i| f64::from(mean[i / (pixels * channels) * channels + i % channels]) / pixels as f64)
            .collect();
        prop_assert!(difference(&gradient, &expected, largest(&expected)) < EPS);
    }
}

fn elements<E: Element>(values: Vec<f32>) -> Vec<E> {
    values.into_iter().map(E::from_f32).collect()
}

#[test]
fn the_same_bits_for_one_two_and_five_threads() {
    let shapes = [(3, 64, 7, 2), (64, 64, 3, 1), (64, 96, 1, 1), (96, 40, 3, 2), (96, 160, 1, 2), (300, 70, 3, 1)];
    for (instructions, (c_in, c_out, kernel, stride)) in
        InstructionSet::available().into_iter().flat_map(|instructions| shapes.map(|s| (instructions, s)))
    {
        let shape = ConvShape { batch: 4, height: 23, width: 19, c_in, c_out, kernel, stride, padding: kernel / 2 };
        same_bits::<f32>(instructions, shape);
        same_bits::<bf16>(instructions, shape);
    }
}

fn same_bits<E: Element>(instructions: InstructionSet, shape: ConvShape) {
    let (x, w) = (elements::<E>(values(shape.input_len(), 1)), values(shape.weight_len(), 2));
    let dy = elements::<E>(values(shape.output_len(), 3));
    let (gamma, beta) = (values(shape.c_out, 4), values(shape.c_out, 5));
    let run = |threads: usize| {
        let workers = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        workers.install(|| {
            let pool = MemoryPool::default();
            let mut z = elements::<E>(vec![0.0; shape.output_len()]);
            let moments =
                Conv { instructions, memory: &pool, shape, groups: 2 }.forward(ActivationView::Plain(&x), &w, &mut z);
            let affine = Affine::new(&moments, &gamma, &beta, 1e-5);
            let mut g = dy.clone();
            let sums = BatchNormPass { instructions, channels: shape.c_out, z: &z, affine: &affine }
                .backward_sums(ReluMask::Normalized, &mut g);
            BatchNormPass { instructions, channels: shape.c_out, z: &z, affine: &affine }.backward_apply(
                &sums,
                ReluMask::Normalized,
                &mut g,
                None,
            );
            let mut dx = elements::<E>(vec![0.0; shape.input_len()]);
            Conv { instructions, memory: &pool, shape, groups: 1 }.backward_data(&g, &w, &mut dx, false);
            let mut dw = vec![0.0; shape.weight_len()];
            Conv { instructions, memory: &pool, shape, groups: 2 }.backward_weight(
                ActivationView::Plain(&x),
                &g,
                &mut dw,
            );
            let bits = |v: Vec<E>| v.into_iter().map(|x| x.to_f32().to_bits()).collect::<Vec<_>>();
            let single = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            (bits(z), single(affine.scale), single(affine.shift), bits(g), bits(dx), single(dw))
        })
    };
    let (one, of) = (run(1), std::any::type_name::<E>());
    assert!(one == run(2), "{instructions:?} {of} {shape:?} with 2 threads");
    assert!(one == run(5), "{instructions:?} {of} {shape:?} with 5 threads");
}

/// Its output would have more pixels than memory has.
#[test]
#[should_panic(expected = "a kernel of 5 does not fit a side of 2 with a padding of 1")]
fn a_pass_refuses_a_kernel_that_is_larger_than_the_padded_image() {
    let shape = ConvShape { batch: 1, height: 2, width: 8, c_in: 1, c_out: 1, kernel: 5, stride: 1, padding: 1 };
    let conv = Conv { instructions: InstructionSet::Scalar, memory: &MemoryPool::default(), shape, groups: 1 };
    conv.forward(ActivationView::Plain(&[0.0; 16]), &[0.0; 25], &mut [0.0; 48]);
}

/// The length of its window would wrap around to one that memory has.
#[test]
#[should_panic(expected = "is not within a kernel of 1")]
fn a_pass_refuses_a_padding_that_is_not_within_the_kernel() {
    let (stride, padding) = ((1 << 62) + 1, 1 << 61);
    let shape = ConvShape { batch: 1, height: 8, width: 8, c_in: 4, c_out: 1, kernel: 1, stride, padding };
    let conv = Conv { instructions: InstructionSet::Scalar, memory: &MemoryPool::default(), shape, groups: 1 };
    conv.forward(ActivationView::Plain(&[0.0; 256]), &[0.0; 4], &mut [0.0; 4]);
}

/// Two neighbors whose products with 3/4 are rounded to the same number, the negative of what is added: only where the
/// sum is fused with the product is anything left, and the second the higher one.
#[test]
fn max_pooling_compares_normalized_values_as_they_are_stored() {
    let (channels, groups, unit) = (21, 2, f32::EPSILON);
    let shape = BatchShape { batch: 2, height: 1, width: 3, channels };
    let z: Vec<f32> = (0..shape.len()).map(|i| 1.5 + (2 + i / channels % 2) as f32 * unit).collect();
    let (scale, shift) = (vec![0.75; groups * channels], vec![-(1.125 + 2.0 * unit); groups * channels]);
    let affine = Affine { scale: scale.clone(), shift: shift.clone(), mean: shift.clone(), inv_std: scale.clone() };
    for instructions in InstructionSet::available() {
        let mut stored = vec![f32::NAN; z.len()];
        BatchNormPass { instructions, channels, z: &z, affine: &affine }.normalize(None, true, &mut stored);
        let pooled = |input: ActivationView<'_, f32>| {
            let len = shape.batch * max_pool_side(shape.height) * max_pool_side(shape.width) * channels;
            let (mut out, mut taps) = (vec![f32::NAN; len], vec![u8::MAX; len]);
            max_pool(instructions, shape, input, &mut out, &mut taps);
            (out, taps)
        };
        let lazy = ActivationView::Normalized { z: &z, scale: &scale, shift: &shift, relu: true };
        assert_eq!(pooled(lazy), pooled(ActivationView::Plain(&stored)), "{instructions:?}");
    }
}

/// A step that went wrong must be visible: no ReLU makes a zero of NaN.
#[test]
fn nan_stays_nan_through_every_relu() {
    for instructions in InstructionSet::available() {
        passes_on_nan::<f32>(instructions);
        passes_on_nan::<bf16>(instructions);
    }
}

fn passes_on_nan<E: Element>(instructions: InstructionSet) {
    let of = std::any::type_name::<E>();
    let pool = MemoryPool::default();
    // Widths that end in part of a vector, direct and Winograd's convolutions.
    for (channels, kernel, side) in [(21, 1, 5), (21, 3, 5), (33, 3, 16)] {
        let shape = ConvShape {
            batch: 1,
            height: side,
            width: side,
            c_in: channels,
            c_out: channels,
            kernel,
            stride: 1,
            padding: kernel / 2,
        };
        let len = shape.input_len();
        let factors = vec![1.0; channels];
        let affine =
            Affine { scale: factors.clone(), shift: factors.clone(), mean: factors.clone(), inv_std: factors.clone() };
        let w = values(shape.weight_len(), 2);
        for channel in [0, channels - 1] {
            // In the middle, so that a kernel of 3 has it inside.
            let at = (side / 2 * side + side / 2) * channels + channel;
            let mut values = values(len, 1);
            values[at] = f32::NAN;
            let z = elements::<E>(values);
            let count = |v: &[E]| v.iter().filter(|x| x.to_f32().is_nan()).count();
            let zeros = || elements::<E>(vec![0.0; len]);
            let lazy = ActivationView::Normalized { z: &z[..], scale: &factors, shift: &factors, relu: true };

            let mut out = zeros();
            BatchNormPass { instructions, channels, z: &z, affine: &affine }.normalize(None, true, &mut out);
            assert!(out[at].to_f32().is_nan() && count(&out) == 1, "{instructions:?} {of}: normalize");
            let zero = zeros();
            BatchNormPass { instructions, channels, z: &zero, affine: &affine }.normalize(Some(lazy), true, &mut out);
            assert!(out[at].to_f32().is_nan() && count(&out) == 1, "{instructions:?} {of}: normalize with a residual");

            // All channels of every pixel that sees it; Winograd's of every tile.
            let least = kernel * kernel * channels;
            let mut out = zeros();
            Conv { instructions, memory: &pool, shape, groups: 1 }.forward(lazy, &w, &mut out);
            assert!(count(&out) >= least, "{instructions:?} {of} {shape:?}: {} of {least} while reading", count(&out));
            let norm = FoldedNorm { scale: &factors, bias: &factors, residual: None, relu: true };
            let mut out = zeros();
            Conv { instructions, memory: &pool, shape, groups: 1 }.forward_folded(
                ActivationView::Plain(&z),
                &w,
                norm,
                &mut out,
            );
            assert!(
                count(&out) >= least,
                "{instructions:?} {of} {shape:?}: {} of {least} with a folded norm",
                count(&out)
            );
            let mut gradient = vec![0.0; shape.weight_len()];
            Conv { instructions, memory: &pool, shape, groups: 1 }.backward_weight(lazy, &zero, &mut gradient);
            assert!(gradient.iter().any(|g| g.is_nan()), "{instructions:?} {of} {shape:?}: weight gradient");

            for source in [ActivationView::Plain(&z[..]), lazy] {
                let pooled = max_pool_side(side).pow(2) * channels;
                let (mut out, mut taps) = (elements::<E>(vec![0.0; pooled]), vec![0; pooled]);
                max_pool(
                    instructions,
                    BatchShape { batch: 1, height: side, width: side, channels },
                    source,
                    &mut out,
                    &mut taps,
                );
                assert!(count(&out) >= 1, "{instructions:?} {of}: max pooling");
            }
        }
    }
}
