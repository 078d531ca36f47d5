//! Writes all views of one image as PNG files: `cargo run --release -p clsa-augment --example views -- IN OUT_FOLDER [SEED]`

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use clsa_augment::{Augmenter, ViewId, ViewPlan, decode_rgb};

fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let (input, folder, seed) = match arguments {
        [input, folder] => (input, Path::new(folder), 0),
        [input, folder, seed] => (input, Path::new(folder), seed.parse()?),
        _ => return Err("usage: views IN OUT_FOLDER [SEED]".into()),
    };
    let file = std::fs::read(input).map_err(|error| format!("cannot read {input}: {error}"))?;
    let image = decode_rgb(&file).map_err(|error| format!("cannot decode {input}: {error}"))?;
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
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
