//! Times the loss, forward and backward, on random views: one line of JSON.
//!
//!     cargo run --release -p clsa-loss --example bench_loss -- --batch 32 --weak 5 --strong 5 --bank 65536 --dim 128

mod measure;

use std::collections::HashMap;

use candle_core::DType;
use clsa_loss::{ClsaLoss, Implementation};
use measure::Work;

const USAGE: &str =
    "usage: bench_loss [--batch N] [--weak W] [--strong S] [--bank K] [--dim D] [--threads T] [--repeat R]
                  [--precision f32|bf16] [--implementation cpu|portable] [--json]";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut numbers = HashMap::from([
        ("--batch", 32),
        ("--weak", 5),
        ("--strong", 5),
        ("--bank", 65536),
        ("--dim", 128),
        ("--threads", 2),
        ("--repeat", 5),
    ]);
    let (mut precision, mut implementation) = ("f32".to_string(), "cpu".to_string());
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if name == "--json" {
            continue; // It is all that is printed.
        }
        let value = arguments.next().ok_or(USAGE)?;
        match (name.as_str(), numbers.get_mut(name.as_str())) {
            (_, Some(number)) => *number = value.parse().map_err(|_| USAGE)?,
            ("--precision", None) => precision = value,
            ("--implementation", None) => implementation = value,
            _ => return Err(USAGE.into()),
        }
    }
    rayon::ThreadPoolBuilder::new().num_threads(numbers["--threads"]).build_global()?;
    let work = Work {
        batch: numbers["--batch"],
        weak: numbers["--weak"],
        strong: numbers["--strong"],
        bank: numbers["--bank"],
        dim: numbers["--dim"],
        precision: match precision.as_str() {
            "f32" => DType::F32,
            "bf16" => DType::BF16,
            _ => return Err(USAGE.into()),
        },
        loss: ClsaLoss {
            implementation: match implementation.as_str() {
                "cpu" => Implementation::Cpu,
                "portable" => Implementation::Portable,
                _ => return Err(USAGE.into()),
            },
            ..ClsaLoss::default()
        },
    };
    let measured = work.measure(numbers["--repeat"].max(1))?;
    println!(
        "{{\"work\": \"loss\", \"implementation\": \"{implementation}\", \"precision\": \"{precision}\", \
         \"batch\": {}, \"weak\": {}, \"strong\": {}, \"bank\": {}, \"median_s\": {}, \"min_s\": {}, \
         \"gflop_per_s\": {:.1}, \"extra_peak_mb\": {}}}",
        work.batch,
        work.weak,
        work.strong,
        work.bank,
        measured.median(),
        measured.seconds[0],
        work.gflop() / measured.median(),
        measured.extra_peak_mb,
    );
    Ok(())
}
