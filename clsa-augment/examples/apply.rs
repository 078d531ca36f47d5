//! Applies operations to an image, with Pillow's arguments:
//! `cargo run --release -p clsa-augment --example apply -- OP=ARG [OP=ARG ...] IN OUT.png`
//!
//! Exit codes: 0 done, 1 the input cannot be read or the output cannot be written, 2 the request was wrong.

use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use clsa_augment::{AugmentError, Augmenter, Op, to_rgb};
use image::{ImageFormat, ImageReader};

const USAGE: &str = "usage: apply OP=ARG [OP=ARG ...] IN OUT.png
operations: autocontrast equalize identity invert posterize=BITS solarize=T solarize_add=V brightness=F color=F contrast=F
  sharpness=F hue=F grayscale hflip rotate=DEG shear_x=F shear_y=F translate_x=PX translate_y=PX gaussian_blur=SIGMA
  cutout=X0,Y0,X1,Y1 crop_resize=X,Y,W,H,OUTW,OUTH
example: apply crop_resize=10,20,200,150,224,224 posterize=4 rotate=-15 in.jpg out.png";

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
        return Err(Failure::Request("an input and an output are needed; see apply --help".into()));
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
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => Failure::Request(format!("there is no file {input}")),
            _ => Failure::Run(format!("cannot read {input}: {error}")),
        })?
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
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
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
