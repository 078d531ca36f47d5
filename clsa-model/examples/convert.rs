//! Converts weights: `cargo run --release -p clsa-model --example convert IN OUT safetensors|pth|detectron2`.

use clsa_model::weights;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output, to] = &arguments[..] else {
        return Err("give three arguments: IN OUT safetensors|pth|detectron2".into());
    };
    weights::convert(Path::new(input), Path::new(output), to.parse()?)?;
    Ok(())
}
