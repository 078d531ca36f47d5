//! Applies operations to an image, with Pillow's arguments:
//! `cargo run --release -p clsa-augment --example apply -- OP=ARG [OP=ARG ...] IN OUT.png`
//!
//! Exit codes: 0 done, 1 the input cannot be read or the output cannot be written, 2 the request is wrong.

use std::path::Path;
use std::process::ExitCode;

use clsa_augment::{AugmentError, Augmenter, Op, to_rgb};
use image::{ImageFormat, ImageReader};

enum Failure {
    Run(String),
    Request(String),
}

impl From<AugmentError> for Failure {
    fn from(error: AugmentError) -> Self {
        Self::Request(error.to_string())
    }
}

fn run(arguments: &[String]) -> Result<(), Failure> {
    let [ops @ .., input, output] = arguments else {
        return Err(Failure::Request("usage: apply OP=ARG [OP=ARG ...] IN OUT.png".into()));
    };
    let ops = ops.iter().map(|text| text.parse()).collect::<Result<Vec<Op>, _>>()?;
    let output = Path::new(output);
    if output.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("png")) {
        return Err(Failure::Request(format!(
            "the output {} must end in .png, the format that keeps every byte",
            output.display()
        )));
    }
    let image = ImageReader::open(input)
        .and_then(ImageReader::with_guessed_format)
        .map_err(|error| Failure::Run(format!("cannot read {input}: {error}")))?
        .decode()
        .map_err(|error| Failure::Run(format!("cannot decode {input}: {error}")))?;
    let result = Augmenter::new().apply(&to_rgb(&image), &ops)?;
    // Written beside the output and renamed, so that a file under its name is whole.
    let part = output.with_extension(format!("{}.part", std::process::id()));
    result.save_with_format(&part, ImageFormat::Png).and_then(|()| Ok(std::fs::rename(&part, output)?)).map_err(
        |error| {
            let _ = std::fs::remove_file(&part);
            Failure::Run(format!("cannot write {}: {error}", output.display()))
        },
    )
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Run(message)) => {
            eprintln!("{message}");
            ExitCode::from(1)
        }
        Err(Failure::Request(message)) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}
