//! Writes all views of one image as PNG files: `cargo run --release -p clsa-augment --example views -- IN OUT_FOLDER [SEED]`
//!
//! Exit codes: 0 done, 1 the input cannot be read or the output cannot be written, 2 the request was wrong.

use std::error::Error;
use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use clsa_augment::{Augmenter, ViewId, ViewPlan};
use clsa_data::Limits;

enum Failure {
    Run(String),
    Request(String),
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Run(error.to_string())
    }
}

fn run(arguments: &[String]) -> Result<(), Failure> {
    let (input, folder, seed) = match arguments {
        [input, folder] => (input, Path::new(folder), 0),
        [input, folder, seed] => {
            let wrong = |_| Failure::Request(format!("the seed {seed} must be a whole number from 0 on"));
            (input, Path::new(folder), seed.parse().map_err(wrong)?)
        }
        _ => return Err(Failure::Request("usage: views IN OUT_FOLDER [SEED]".to_owned())),
    };
    let file = std::fs::read(input).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::Request(format!("there is no file {input}")),
        _ => Failure::Run(format!("cannot read {input}: {error}")),
    })?;
    let image = clsa_data::decode(&file, input, &Limits::default())?;
    std::fs::create_dir_all(folder)?;
    let plan = ViewPlan::multi();
    let mut augmenter = Augmenter::new();
    for (index, view) in plan.views().enumerate() {
        let id = ViewId { seed, epoch: 0, sample: 0, view: index as u32 };
        let kind = match index {
            0 => "key",
            i if i <= plan.weak.len() => "weak",
            _ => "strong",
        };
        let path = folder.join(format!("{index:02}-{kind}-{}.png", view.size));
        augmenter.image(&image, view, id)?.save(&path)?;
        let ops: Vec<String> = view.draw(image.width(), image.height(), id)?.iter().map(ToString::to_string).collect();
        println!("{}: {}", path.display(), ops.join(" "));
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (message, code) = match run(&arguments) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Run(message)) => (message, 1),
        Err(Failure::Request(message)) => (message, 2),
    };
    eprintln!("{message}");
    ExitCode::from(code)
}
