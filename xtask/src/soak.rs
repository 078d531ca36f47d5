//! `cargo xtask soak …`: campaigns of the program against what goes wrong on real machines. Each is bounded, prints one line, and
//! fails if anything is lost.

mod chance;
mod disk;
mod folder;
mod fuzz;
mod kill;
mod small_disk;
mod subject;
mod threads;

use std::ffi::OsString;

const HELP: &str = "\
Campaigns of the program against what goes wrong on real machines. Each prints one line, and fails if anything is lost.

Usage: cargo xtask soak CAMPAIGN [OPTIONS]

  fuzz [--parser P] [--seconds S] [--inputs N] [--python FILE]
                                 gives every parser, or one, inputs made by libFuzzer, for 60 s or S each, N at most: no panic, memory
                                 in bounds; what is read of a JPEG is what Pillow makes of it, where python3, or FILE, has Pillow
  kill [--rounds N] [--seed S]   kill -9 while training, evaluating, packing and indexing, N times each (200); then the same command
                                 again: it must end as if it had never been killed, to the bit
  disk [--rounds N] [--seed S]   a small disk that is full at a random moment while training, evaluating, packing and indexing, N
                                 times each (100), and has room again: the program says so in one sentence, whatever has its name is
                                 whole, and the next attempt ends as if the disk had always had room (Linux; root, or user namespaces)
  threads                        trains with 1 to 64 threads: the same bits from all

Example: cargo xtask soak kill --rounds 50
";

/// Runs a campaign.
pub fn run(args: &[OsString]) -> Result<u8, String> {
    let text: Vec<&str> = args.iter().map(|arg| arg.to_str().unwrap_or_default()).collect();
    let Some((&campaign, options)) = text.split_first() else {
        crate::show(HELP);
        return Ok(2);
    };
    let number = |name: &str, default: u64| match options.iter().position(|&option| option == name) {
        None => Ok(default),
        Some(at) => {
            let value = options.get(at + 1).copied().unwrap_or_default();
            value.parse().map_err(|_| format!("{name} {value}: use a whole number"))
        }
    };
    let text = |name: &str| {
        options.iter().position(|&option| option == name).map(|at| options.get(at + 1).copied().unwrap_or_default())
    };
    match campaign {
        "fuzz" => {
            let bounds =
                fuzz::Bounds { seconds: number("--seconds", 60)?, inputs: number("--inputs", i32::MAX as u64)? };
            fuzz::run(text("--parser"), &bounds, text("--python"))
        }
        "kill" => kill::run(number("--rounds", 200)?, number("--seed", 1)?),
        "disk" => disk::run(number("--rounds", 100)?, number("--seed", 1)?),
        "threads" => threads::run(),
        _ => {
            crate::show(HELP);
            Ok(if matches!(campaign, "-h" | "--help") { 0 } else { 2 })
        }
    }
}
