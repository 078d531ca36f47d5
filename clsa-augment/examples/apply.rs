//! Applies operations to an image, with Pillow's arguments:
//! `cargo run --release -p clsa-augment --example apply -- OP=ARG [OP=ARG ...] IN OUT.png`

use std::error::Error;
use std::process::ExitCode;

use clsa_augment::{Augmenter, Op, to_rgb};

fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [ops @ .., input, output] = arguments else {
        return Err("usage: apply OP=ARG [OP=ARG ...] IN OUT.png".into());
    };
    let ops = ops.iter().map(|text| text.parse()).collect::<Result<Vec<Op>, _>>()?;
    let image = image::ImageReader::open(input)
        .and_then(|reader| reader.with_guessed_format())
        .map_err(|error| format!("cannot read {input}: {error}"))?
        .decode()
        .map_err(|error| format!("cannot decode {input}: {error}"))?;
    let result = Augmenter::new().apply(&to_rgb(&image), &ops)?;
    result.save(output).map_err(|error| format!("cannot write {output}: {error}"))?;
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
