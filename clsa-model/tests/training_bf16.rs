//! A short training in bf16 on the CPU kernels follows the one in f32.

use candle_core::{DType, Device, Tensor, Var};
use clsa_model::{Arch, Backend, Compute, Encoder, Gradients, Mode, ModelConfig, Precision, SgdUpdate, Stage, Stem};

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
/// distance to it at each step, and the encoder.
fn train(precision: Precision, stem: Stem) -> (Vec<f64>, Encoder) {
    let config = ModelConfig { arch: Arch::Resnet10, stem, width: 0.375, dim: 8, ..ModelConfig::default() };
    let compute = Compute { backend: Backend::Cpu, precision, bn_splits: 2 };
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
    let mut losses = Vec::new();
    for _ in 0..STEPS {
        let pass = encoder.forward(&images).unwrap();
        let difference = (pass.embedding() - &corners).unwrap();
        let loss = difference.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap() / IMAGES as f32;
        losses.push(f64::from(loss));
        let mut gradients = Gradients::new(encoder.parameters().len());
        pass.backward(&(difference * (2.0 / IMAGES as f64)).unwrap(), &mut gradients).unwrap();
        for (parameter, velocity) in encoder.parameters().iter().zip(&velocities) {
            update.apply(&parameter.var, velocity, gradients.get(parameter.index).unwrap()).unwrap();
        }
    }
    (losses, encoder)
}

#[test]
fn a_short_training_in_bf16_follows_the_one_in_f32() {
    for stem in [Stem::Cifar, Stem::Imagenet] {
        let (single, f32s) = train(Precision::F32, stem);
        let (short, bf16s) = train(Precision::Bf16, stem);
        println!("{stem:?}\n{single:.3?}\n{short:.3?}");
        assert!(single[STEPS - 1] < 0.3 * single[0], "{single:?}");
        for (step, (a, b)) in single.iter().zip(&short).enumerate() {
            assert!((a - b).abs() < 0.05 * single[0], "{stem:?}, step {step}: {b} in bf16 instead of {a}");
        }
        // Master weights and statistics are f32, with steps that bf16 could not hold.
        let kept = bf16s.parameters().iter().map(|p| &p.var).chain(bf16s.buffers().iter().map(|b| &b.var));
        for var in kept {
            assert_eq!(var.dtype(), DType::F32);
        }
        let fine = bf16s.parameters().iter().any(|p| {
            let values = p.var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            values.iter().any(|&v| half::bf16::from_f32(v).to_f32() != v)
        });
        assert!(fine, "every weight is a bf16");
        // Running means in standard deviations, and running variances.
        let values = |e: &Encoder, i: usize| e.buffers()[i].var.to_vec1::<f32>().unwrap();
        for i in (0..f32s.buffers().len()).step_by(2) {
            let name = &f32s.buffers()[i].name;
            let (means, variances) = (values(&f32s, i), values(&f32s, i + 1));
            let pairs = means.into_iter().zip(values(&bf16s, i)).zip(variances.into_iter().zip(values(&bf16s, i + 1)));
            for ((a, b), (v, w)) in pairs {
                assert!((a - b).abs() < 0.1 * v.sqrt(), "{stem:?}: {name} has {b} instead of {a}, variance {v}");
                assert!((v - w).abs() < 0.1 * v, "{stem:?}: {name} has the variance {w} instead of {v}");
            }
        }
        // Evaluation mode, with folded norms.
        let images = Tensor::from_vec(values(2 * 3 * 40 * 40, 9), (2, 3, 40, 40), &Device::Cpu).unwrap();
        let state = bf16s.state_dict().unwrap();
        f32s.load_state_dict(&state).unwrap();
        for stage in Stage::ALL {
            let features = |e: &Encoder| e.features(&images, stage).unwrap();
            let (a, b) = (features(&f32s), features(&bf16s));
            assert_eq!(b.dtype(), DType::F32);
            let norm = |t: &Tensor| t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
            let error = norm(&(&a - &b).unwrap()) / norm(&a);
            assert!(error < 0.02, "{stem:?} {stage:?}: features differ by {error}");
        }
        let (a, b) = (f32s.embed(&images, Mode::Eval).unwrap(), bf16s.embed(&images, Mode::Eval).unwrap());
        let cosines = (a * b).unwrap().sum(1).unwrap().to_vec1::<f32>().unwrap();
        assert!(cosines.iter().all(|&c| c > 0.999), "{cosines:?}");
    }
}
