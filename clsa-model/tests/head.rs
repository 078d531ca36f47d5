//! The projection head in kernels, with its own way back, against Candle's graph of it.

use candle_core::{DType, Device, Tensor};
use clsa_model::{Arch, Backend, Compute, Encoder, Gradients, Mode, ModelConfig, Precision, Stem, head};

fn f64s(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The length of the difference over the length of what is expected.
fn difference(got: &[f64], expected: &[f64]) -> f64 {
    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    length(&mut got.iter().zip(expected).map(|(a, b)| a - b)) / length(&mut expected.iter().copied())
}

#[test]
fn the_heads_embeddings_and_gradients_agree_with_candles() {
    let config =
        ModelConfig { arch: Arch::Resnet10, stem: Stem::Cifar, width: 0.25, dim: 24, ..ModelConfig::default() };
    let encoder = |backend, precision| {
        let compute = Compute { backend, precision, bn_splits: 1 };
        Encoder::new(&config, compute, 5, &Device::Cpu).unwrap()
    };
    let kernels = encoder(Backend::Cpu, Precision::F32);
    let candle = encoder(Backend::Portable, Precision::F64);
    candle.copy_from(&kernels).unwrap();
    let pixels: Vec<f32> = (0..6 * 3 * 24 * 24).map(|i| (i as f32 * 0.37).sin() + (i as f32 * 0.011).cos()).collect();
    let images = Tensor::from_vec(pixels, (6, 3, 24, 24), &Device::Cpu).unwrap();
    let given: Vec<f32> = (0..6 * 24).map(|i| (i as f32 * 1.7).sin()).collect();
    let given = Tensor::from_vec(given, (6, 24), &Device::Cpu).unwrap();
    let gradients = |encoder: &Encoder| {
        let mut gradients = Gradients::new(encoder.parameters().len());
        let mut embedding = Vec::new();
        // Two passes, whose gradients add up; what was there before they were cleared is gone.
        for pass in 0..3 {
            if pass == 1 {
                gradients.clear();
                assert!(gradients.iter().all(|g| g.is_none()));
            }
            let pass = encoder.forward(&images).unwrap();
            embedding = f64s(pass.embedding());
            let given = given.to_dtype(pass.embedding().dtype()).unwrap();
            pass.backward(&given, &mut gradients).unwrap();
        }
        (embedding, gradients)
    };
    let ((ours, kernel_gradients), (theirs, candle_gradients)) = (gradients(&kernels), gradients(&candle));
    assert!(difference(&ours, &theirs) < 1e-4);
    for parameter in kernels.parameters().iter().filter(|p| head::owns(&p.name)) {
        let of = |gradients: &Gradients| f64s(gradients.get(parameter.index).unwrap());
        let error = difference(&of(&kernel_gradients), &of(&candle_gradients));
        assert!(error < 1e-4, "the gradient of {} differs by {error:e}", parameter.name);
    }
    for row in ours.chunks_exact(24) {
        assert!((row.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-6);
    }
    // Without a graph the same bits, as keys and queries must compare.
    let keys = f64s(&kernels.embed(&images, Mode::Train).unwrap());
    assert_eq!(keys, ours);
}

#[test]
fn the_head_keeps_what_is_not_a_number() {
    let config =
        ModelConfig { arch: Arch::Resnet10, stem: Stem::Imagenet, width: 0.25, dim: 8, ..ModelConfig::default() };
    for precision in [Precision::F32, Precision::Bf16] {
        let compute = Compute { backend: Backend::Cpu, precision, bn_splits: 1 };
        let encoder = Encoder::new(&config, compute, 5, &Device::Cpu).unwrap();
        let mut pixels: Vec<f32> = (0..2 * 3 * 40 * 40).map(|i| (i as f32 * 0.37).sin()).collect();
        pixels[100] = f32::NAN;
        let images = Tensor::from_vec(pixels, (2, 3, 40, 40), &Device::Cpu).unwrap();
        for mode in [Mode::Eval, Mode::Train] {
            let embedding = f64s(&encoder.embed(&images, mode).unwrap());
            assert!(embedding[..8].iter().all(|x| x.is_nan()), "{precision:?} {mode:?}: {embedding:?}");
        }
        assert!(encoder.forward(&images).unwrap().embedding().to_vec2::<f32>().unwrap()[0][0].is_nan());
    }
}
