//! Prints the features of a ResNet at each stage:
//! `cargo run --release -p clsa-model --example features [WEIGHTS [OUT.safetensors]]`.
//!
//! WEIGHTS is any file that `clsa_model::weights` reads; without it a ResNet-18 starts at random. OUT gets the features.

use candle_core::{Device, Tensor};
use clsa_model::{Arch, Compute, Encoder, ModelConfig, Stage, weights};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let encoder = match arguments.next() {
        Some(path) => {
            let file = weights::read(Path::new(&path))?;
            let encoder = Encoder::new(&weights::infer_config(&file.tensors)?, Compute::default(), 0, &Device::Cpu)?;
            encoder.load_backbone(&file.tensors)?;
            encoder
        }
        None => {
            let config = ModelConfig { arch: Arch::Resnet18, ..ModelConfig::default() };
            Encoder::new(&config, Compute::default(), 0, &Device::Cpu)?
        }
    };
    println!("{} of width {}", encoder.config().arch.name(), encoder.config().width);

    // Two images of 96 by 80 pixels in the range that normalised photographs have.
    let shape = (2, 3, 80, 96);
    let pixels: Vec<f32> = (0..2 * 3 * 80 * 96).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
    let images = Tensor::from_vec(pixels, shape, &Device::Cpu)?;
    for stage in Stage::ALL {
        let features = encoder.features(&images, stage)?;
        let first = features.flatten_all()?.narrow(0, 0, 4)?.to_vec1::<f32>()?;
        println!("{stage:?} {:?}: {first:.4?} ...", features.dims());
    }
    if let Some(out) = arguments.next() {
        encoder.features(&images, Stage::Layer4)?.save_safetensors("features", out)?;
    }
    Ok(())
}
