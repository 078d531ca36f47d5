//! A whole training step, the projection head's matrix products included, gives the same bits for any number of threads.
//! Candle takes that number from the environment once, so that each has a process of its own.

use candle_core::{Device, Tensor};
use clsa_model::{Arch, Backend, Compute, Encoder, Gradients, ModelConfig, Stem};
use sha2::{Digest, Sha256};
use std::process::Command;

fn digest(backend: Backend) -> String {
    let config = ModelConfig { arch: Arch::Resnet10, width: 0.5, stem: Stem::Cifar, ..ModelConfig::default() };
    let encoder =
        Encoder::new(&config, Compute { backend, bn_splits: 2, ..Compute::default() }, 5, &Device::Cpu).unwrap();
    let images: Vec<f32> = (0..24 * 3 * 9 * 8).map(|i| (i * 7919 % 1009) as f32 / 500.0 - 1.0).collect();
    let pass = encoder.forward(&Tensor::from_vec(images, (24, 3, 9, 8), &Device::Cpu).unwrap()).unwrap();
    let embedding = pass.embedding().clone();
    let upstream: Vec<f32> = (0..embedding.elem_count()).map(|i| (i * 104_729 % 997) as f32 / 500.0 - 1.0).collect();
    let upstream = Tensor::from_vec(upstream, embedding.dims(), &Device::Cpu).unwrap();
    let mut gradients = Gradients::new(encoder.parameters().len());
    pass.backward(&upstream, &mut gradients).unwrap();
    let mut hash = Sha256::new();
    let statistics = encoder.running_statistics().iter().map(|statistic| statistic.var.as_tensor());
    for tensor in [&embedding].into_iter().chain(statistics).chain(gradients.iter().map(Option::unwrap)) {
        for value in tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap() {
            hash.update(value.to_bits().to_le_bytes());
        }
    }
    base16ct::lower::encode_string(&hash.finalize())
}

/// Also run by the test below with `RAYON_NUM_THREADS` set.
#[test]
fn a_step_repeats_itself() {
    for backend in [Backend::Cpu, Backend::Portable] {
        let step = digest(backend);
        assert_eq!(step, digest(backend));
        println!("digest of {backend:?}: {step}");
    }
}

#[test]
fn a_step_has_the_same_bits_for_one_two_and_five_threads() {
    let digests = |threads: &str| {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_step_repeats_itself", "--nocapture"])
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .unwrap();
        let text = String::from_utf8(child.stdout).unwrap();
        let digests: Vec<_> =
            text.lines().filter_map(|line| line.split_once("digest of ")).map(|d| d.1.to_owned()).collect();
        assert_eq!(digests.len(), 2, "{text}");
        digests
    };
    let one = digests("1");
    assert_eq!(one, digests("2"));
    assert_eq!(one, digests("5"));
}
