//! Applies operations to an image, with Pillow's arguments:
//! `cargo run --release -p clsa-augment --example apply -- OP[=ARG] [OP[=ARG] ...] IN OUT.png`

use std::error::Error;
use std::ffi::OsString;
use std::path::Path;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use clsa_augment::{Augmenter, Op};
use clsa_data::Limits;
use image::ImageFormat;

/// Applies operations to an image, in the order given and with Pillow's arguments.
///
/// The image is decoded to the bytes that Pillow gives, and the PNG file keeps every byte.
#[derive(Parser)]
#[command(after_help = operations(), override_usage = "apply <OPERATION>... <INPUT> <OUTPUT>")]
struct Arguments {
    /// Operations, such as crop_resize=10,20,200,150,224,224 posterize=4 rotate=-15; then the image to read and the PNG file to write
    #[arg(required = true, num_args = 3..)]
    arguments: Vec<OsString>,
}

fn operations() -> String {
    let lines = clsa_augment::OPS.iter().map(|spec| format!("  {:<31} {}", spec.to_string(), spec.needs));
    format!("Operations:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { arguments } = Arguments::parse();
    let (operations, files) = arguments.split_at(arguments.len() - 2);
    let (input, output) = (Path::new(&files[0]), &files[1]);
    let operation = |text: &OsString| {
        let text = text.to_string_lossy();
        text.parse().unwrap_or_else(|error| Arguments::command().error(ErrorKind::InvalidValue, error).exit())
    };
    let operations: Vec<Op> = operations.iter().map(operation).collect();
    let image = clsa_data::decode_file(input, &Limits::default())?;
    Augmenter::new().apply(&image, &operations)?.save_with_format(output, ImageFormat::Png)?;
    Ok(())
}
