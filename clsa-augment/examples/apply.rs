//! Applies operations to an image, with Pillow's arguments:
//! `cargo run --release -p clsa-augment --example apply -- IN OUT.png OP[=ARG] [OP[=ARG] ...]`

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use clsa_augment::{Augmenter, OPS, Op, to_rgb};
use image::ImageFormat;

/// Applies operations to an image, in the order given and with Pillow's arguments.
#[derive(Parser)]
#[command(after_help = operations())]
struct Arguments {
    /// Image to read.
    input: PathBuf,
    /// PNG file to write, which keeps every byte.
    output: PathBuf,
    /// Operations, such as crop_resize=10,20,200,150,224,224 posterize=4 rotate=-15.
    #[arg(required = true)]
    operations: Vec<Op>,
}

fn operations() -> String {
    let lines = OPS.iter().map(|spec| format!("  {:<31} {}", spec.to_string(), spec.needs));
    format!("Operations:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { input, output, operations } = Arguments::parse();
    let image = to_rgb(&image::open(input)?);
    Augmenter::new().apply(&image, &operations)?.save_with_format(output, ImageFormat::Png)?;
    Ok(())
}
