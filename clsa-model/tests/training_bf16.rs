//! A short training in bf16 on the CPU kernels follows the one in f32.

use candle_core::{DType, Device, Tensor, Var};
use clsa_model::{Arch, Backend, Compute, Encoder, Gradients, Mode, ModelConfig, Precision, SgdUpdate, Stem};

const STEPS: usize = 30;
const IMAGES: usize = 16;
const SIDE: usize = 32;

/// Numbers between -1 and 1 from a seed.
fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Every image shows one of four patterns with noise, and is to be embedded at its pattern's corner. Returns the mean
/// distance to it at each step, the running statistics after the first, and the encoder.
fn train(backend: Backend, precision: Precision, stem: Stem, steps: usize) -> (Vec<f64>, Vec<Vec<f32>>, Encoder) {
    let config = ModelConfig { arch: Arch::Resnet10, stem, width: 0.375, dim: 8, ..ModelConfig::default() };
    let compute = Compute { backend, precision, bn_splits: 2 };
    let encoder = Encoder::new(&config, compute, 1, &Device::Cpu).unwrap();
    let (patterns, noise) = (values(4 * 3 * SIDE * SIDE, 2), values(IMAGES * 3 * SIDE * SIDE, 3));
    let len = 3 * SIDE * SIDE;
    let pixels: Vec<f32> = (0..IMAGES * len).map(|i| patterns[i / len % 4 * len + i % len] + 0.5 * noise[i]).collect();
    let images = Tensor::from_vec(pixels, (IMAGES, 3, SIDE, SIDE), &Device::Cpu).unwrap();
    let corners: Vec<f32> = (0..IMAGES * 8).map(|i| if i % 8 == i / 8 % 4 { 1.0 } else { 0.0 }).collect();
    let corners = Tensor::from_vec(corners, (IMAGES, 8), &Device::Cpu).unwrap();
    let zeros = |p: &clsa_model::Parameter| Var::zeros(p.var.shape(), DType::F32, &Device::Cpu).unwrap();
    let velocities: Vec<Var> = encoder.parameters().iter().map(zeros).collect();
    let update = SgdUpdate { lr: 0.02, momentum: 0.9, weight_decay: 1e-4 };
    let (mut losses, mut first) = (Vec::new(), Vec::new());
    for step in 0..steps {
        let pass = encoder.forward(&images).unwrap();
        if step == 0 {
            first = encoder.running_statistics().iter().map(|s| s.var.to_vec1().unwrap()).collect();
        }
        let difference = (pass.embedding() - &corners).unwrap();
        let loss = difference.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap() / IMAGES as f32;
        losses.push(f64::from(loss));
        let mut gradients = Gradients::new(encoder.parameters().len());
        pass.backward(&(difference * (2.0 / IMAGES as f64)).unwrap(), &mut gradients).unwrap();
        for (parameter, velocity) in encoder.parameters().iter().zip(&velocities) {
            update.apply(&parameter.var, velocity, gradients.get(parameter.index).unwrap()).unwrap();
        }
    }
    (losses, first, encoder)
}

/// Root mean square differences of the first step's statistics: means, in standard deviations, and variances, relative.
/// Running statistics (mean and variance in turn) keep a tenth of the batch's, beside a mean of 0 and a variance of 1.
fn loss(exact: &[Vec<f32>], other: &[Vec<f32>]) -> (f64, f64) {
    let (mut means, mut variances, mut n) = (0.0, 0.0, 0.0);
    for (exact, other) in exact.chunks_exact(2).zip(other.chunks_exact(2)) {
        for ((a, b), (v, w)) in exact[0].iter().zip(&other[0]).zip(exact[1].iter().zip(&other[1])) {
            let batch = f64::from(v - 0.9);
            means += f64::from(a - b).powi(2) / (0.1 * batch);
            variances += (f64::from(v - w) / batch).powi(2);
            n += 1.0;
        }
    }
    ((means / n).sqrt(), (variances / n).sqrt())
}

#[test]
fn a_short_training_in_bf16_follows_the_one_in_f32() {
    for stem in [Stem::Cifar, Stem::Imagenet] {
        let (single, first, f32s) = train(Backend::Cpu, Precision::F32, stem, STEPS);
        let (short, first_bf16, bf16s) = train(Backend::Cpu, Precision::Bf16, stem, STEPS);
        println!("{stem:?}\n{single:.3?}\n{short:.3?}");
        assert!(single[STEPS - 1] < 0.3 * single[0], "{single:?}");
        for (step, (a, b)) in single.iter().zip(&short).enumerate() {
            assert!((a - b).abs() < 0.05 * single[0], "{stem:?}, step {step}: {b} in bf16 instead of {a}");
        }
        // Master weights and statistics are f32, with steps that bf16 could not hold.
        let kept = bf16s.parameters().iter().map(|p| &p.var).chain(bf16s.running_statistics().iter().map(|s| &s.var));
        for var in kept {
            assert_eq!(var.dtype(), DType::F32);
        }
        let fine = bf16s.parameters().iter().any(|p| {
            let values = p.var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            values.iter().any(|&v| half::bf16::from_f32(v).to_f32() != v)
        });
        assert!(fine, "every weight is a bf16");
        // All trainings begin with the same weights. A channel of few pixels may differ by several percent; over all of
        // them, the kernels' statistics lose no more than the portable operations', which round weights and operands too.
        let (_, portable, _) = train(Backend::Portable, Precision::Bf16, stem, 1);
        let ((mean, variance), (most_mean, most_variance)) = (loss(&first, &first_bf16), loss(&first, &portable));
        println!("means {mean:.5} portable {most_mean:.5}, variances {variance:.5} portable {most_variance:.5}");
        assert!(mean < 1.25 * most_mean, "{stem:?}: means lose {mean}, with portable operations {most_mean}");
        assert!(variance < 1.25 * most_variance, "{stem:?}: variances lose {variance}, portable {most_variance}");
        // Evaluation mode, with folded norms.
        let images = Tensor::from_vec(values(2 * 3 * 40 * 40, 9), (2, 3, 40, 40), &Device::Cpu).unwrap();
        let state = bf16s.state_dict().unwrap();
        f32s.load_state_dict(&state).unwrap();
        for stage in 0..4 {
            let features = |e: &Encoder| e.features_at(&images, stage).unwrap();
            let (a, b) = (features(&f32s), features(&bf16s));
            assert_eq!(b.dtype(), DType::F32);
            let norm = |t: &Tensor| t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
            let error = norm(&(&a - &b).unwrap()) / norm(&a);
            assert!(error < 0.02, "{stem:?}, stage {stage}: features differ by {error}");
        }
        let (a, b) = (f32s.embed(&images, Mode::Eval).unwrap(), bf16s.embed(&images, Mode::Eval).unwrap());
        let cosines = (a * b).unwrap().sum(1).unwrap().to_vec1::<f32>().unwrap();
        assert!(cosines.iter().all(|&c| c > 0.999), "{cosines:?}");
    }
}
