//! Prints the features of a ResNet at each stage:
//! `cargo run --release -p clsa-model --example features [WEIGHTS [OUT.safetensors]]`.
//!
//! WEIGHTS is any file that `clsa_model::weights` reads; without it a ResNet-18 starts at random. OUT gets the features.

use candle_core::{Device, Tensor};
use clsa_model::{Arch, Compute, Encoder, ModelConfig, weights};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().map(|path| weights::read(Path::new(&path))).transpose()?;
    let config = match &file {
        Some(file) => weights::infer_config(&file.tensors)?,
        None => ModelConfig { arch: Arch::Resnet18, ..ModelConfig::default() },
    };
    let encoder = Encoder::new(&config, Compute::default(), 0, &Device::Cpu)?;
    if let Some(file) = file {
        encoder.load_backbone(&file.tensors)?;
    }
    println!("{} of width {}", config.arch.name(), config.width);

    // Two images of 96 by 80 pixels in the range that normalized photographs have.
    let shape = (2, 3, 80, 96);
    let pixels: Vec<f32> = (0..2 * 3 * 80 * 96).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
    let images = Tensor::from_vec(pixels, shape, &Device::Cpu)?;
    for (i, stage) in encoder.stages().iter().enumerate() {
        let features = encoder.features_at(&images, i)?;
        let first = features.flatten_all()?.narrow(0, 0, 4)?.to_vec1::<f32>()?;
        println!("{} {:?}: {first:.4?} ...", stage.name, features.dims());
    }
    if let Some(out) = arguments.next() {
        encoder.features(&images)?.save_safetensors("features", out)?;
    }
    Ok(())
}
