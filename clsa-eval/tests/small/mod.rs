//! An encoder that is small enough for tests.

use candle_core::Device;
use clsa_model::{Arch, Compute, Encoder, ModelConfig, Stem};

/// A ResNet-10 of an eighth of the width, with the weights of a seed.
pub fn encoder(seed: u64) -> Encoder {
    let model = ModelConfig { arch: Arch::Resnet10, width: 0.125, stem: Stem::Cifar, ..ModelConfig::default() };
    Encoder::new(&model, Compute::default(), seed, &Device::Cpu).unwrap()
}
