//! Applies operations to an image, with Pillow's arguments:
//! `cargo run --release -p clsa-augment --example apply -- OP=ARG [OP=ARG ...] IN OUT.png`
//!
//! Exit codes: 0 done, 1 the input cannot be read or the output cannot be written, 2 the request was wrong.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use clsa_augment::{AugmentError, Augmenter, Op};
use clsa_data::Limits;
use image::ImageFormat;

const USAGE: &str = "Applies operations to an image, in the order given and with Pillow's arguments.

usage: apply OP[=ARG] [OP[=ARG] ...] IN OUT.png

operations:
  autocontrast equalize identity invert grayscale hflip
  posterize=BITS      keeps 1 to 8 bits             solarize=T         inverts values from T upwards
  solarize_add=V      adds V, solarizes at 128      brightness=F       0 is black, 1 the image itself
  color=F             0 is grey, 1 the image        contrast=F         0 is flat, 1 the image
  sharpness=F         0 is smooth, 1 the image      hue=F              turns the hue by -0.5 to 0.5 of the circle
  rotate=DEG          counterclockwise              gaussian_blur=SIGMA
  shear_x=F shear_y=F                               translate_x=PX translate_y=PX
  cutout=X0,Y0,X1,Y1  a grey rectangle              crop_resize=X,Y,W,H,OUTW,OUTH

exit codes: 0 done, 1 the input cannot be read or the output not written, 2 the request was wrong

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

fn run(arguments: &[OsString]) -> Result<(), Failure> {
    let [ops @ .., input, output] = arguments else {
        return Err(Failure::Request("an input and an output are needed; see apply --help".into()));
    };
    if ops.is_empty() {
        return Err(Failure::Request(
            "an operation is needed before the input and the output; see apply --help".into(),
        ));
    }
    let ops = ops
        .iter()
        .map(|text| {
            let text = text.to_string_lossy();
            text.parse().map_err(|error| match error {
                // A name without an argument may be a file too many.
                AugmentError::UnknownOperation { .. } if !text.contains('=') => Failure::Request(format!(
                    "{error}; if it is a file, only the last two arguments may be: the input and the output"
                )),
                error => error.into(),
            })
        })
        .collect::<Result<Vec<Op>, _>>()?;
    let (input, output) = (Path::new(input), Path::new(output));
    if output.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("png")) {
        return Err(Failure::Request(format!(
            "the output {} must end in .png, the format that keeps every byte",
            output.display()
        )));
    }
    let file = std::fs::read(input).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::Request(format!("there is no file {}", input.display())),
        _ => Failure::Run(format!("cannot read {}: {error}", input.display())),
    })?;
    let image = clsa_data::decode(&file, &input.display().to_string(), &Limits::default())
        .map_err(|error| Failure::Run(error.to_string()))?;
    let result = Augmenter::new().apply(&image, &ops)?;
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
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
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
