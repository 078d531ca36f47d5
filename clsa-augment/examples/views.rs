//! Writes all views of one image as PNG files: `cargo run --release -p clsa-augment --example views -- IN OUT_FOLDER [SEED]`
//!
//! Exit codes: 0 done, 1 the input cannot be read or the output cannot be written, 2 the request was wrong.

use std::ffi::OsString;
use std::io::{ErrorKind, Write, stdout};
use std::path::Path;
use std::process::ExitCode;

use clsa_augment::{Augmenter, SampleId, ViewPlan};
use clsa_data::Limits;

const USAGE: &str = "usage: views IN OUT_FOLDER [SEED]";

enum Failure {
    Run(String),
    Request(String),
}

fn run(arguments: &[OsString]) -> Result<(), Failure> {
    let (input, folder, seed) = match arguments {
        [help] if help == "--help" || help == "-h" => {
            println!("{USAGE}\n\nWrites the eleven views of CLSA-Multi of the image IN to OUT_FOLDER, as PNG files.");
            return Ok(());
        }
        [input, folder] => (Path::new(input), Path::new(folder), 0),
        [input, folder, seed] => {
            let wrong = || Failure::Request(format!("the seed {} must be a whole number from 0 on", seed.display()));
            let seed = seed.to_str().and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
            (Path::new(input), Path::new(folder), seed)
        }
        _ => return Err(Failure::Request(USAGE.to_owned())),
    };
    let file = std::fs::read(input).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::Request(format!("there is no file {}", input.display())),
        _ => Failure::Run(format!("cannot read {}: {error}", input.display())),
    })?;
    let image = clsa_data::decode(&file, &input.to_string_lossy(), &Limits::default())
        .map_err(|error| Failure::Run(error.to_string()))?;
    std::fs::create_dir_all(folder)
        .map_err(|error| Failure::Run(format!("cannot make the folder {}: {error}", folder.display())))?;
    let plan = ViewPlan::multi();
    let id = SampleId { seed, epoch: 0, sample: 0 };
    let failed = |error: clsa_augment::AugmentError| Failure::Run(format!("{}: {error}", input.display()));
    let pictures = Augmenter::new().views(&image, &plan, id).map_err(failed)?;
    for (picture, (id, view)) in pictures.into_iter().zip(id.views(&plan)) {
        let kind = match id.view as usize {
            0 => "key",
            i if i <= plan.weak.len() => "weak",
            _ => "strong",
        };
        let path = folder.join(format!("{:02}-{kind}-{}.png", id.view, view.size));
        picture.save(&path).map_err(|error| Failure::Run(format!("cannot write {}: {error}", path.display())))?;
        let ops = view.draw(image.width(), image.height(), id).map_err(failed)?;
        let ops: Vec<String> = ops.iter().map(ToString::to_string).collect();
        match writeln!(stdout(), "{}: {}", path.display(), ops.join(" ")) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                return Err(Failure::Run(format!("cannot write to the standard output: {error}")));
            }
            _ => {}
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (message, code) = match run(&arguments) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Run(message)) => (message, 1),
        Err(Failure::Request(message)) => (message, 2),
    };
    eprintln!("{message}");
    ExitCode::from(code)
}
