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

use std::collections::BTreeMap;
use std::ffi::OsString;

const HELP: &str = "\
Campaigns of the program against what goes wrong on real machines. Each prints one line, and fails if anything is lost.

Usage: cargo xtask soak CAMPAIGN [OPTIONS]

  fuzz [--parser P] [--seconds S] [--inputs N] [--python FILE]
                                 gives every parser, or one, inputs made by libFuzzer, for 60 s or S each, N at most: no panic, memory
                                 in bounds; what is read of a JPEG is what Pillow makes of it, where python3, or FILE, has Pillow
  kill [--rounds N] [--seed S]   kill -9 while training, evaluating, embedding, packing and indexing, N times each (200); then the same
                                 command again: it must end as if it had never been killed, to the bit
  disk [--rounds N] [--seed S]   a small disk that is full at a random moment while training, evaluating, packing and indexing, N
                                 times each (100), and has room again: the program says so in one sentence, whatever has its name is
                                 whole, and the next attempt ends as if the disk had always had room (Linux; root, or user namespaces)
  threads                        trains with 1 to 64 threads: the same bits from all

Example: cargo xtask soak kill --rounds 50
";

/// Runs a campaign.
pub fn run(args: &[OsString]) -> Result<u8, String> {
    let text: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let text: Vec<&str> = text.iter().map(String::as_str).collect();
    if text.is_empty() || text.iter().any(|arg| matches!(*arg, "-h" | "--help")) {
        crate::show(HELP);
        return Ok(if text.is_empty() { 2 } else { 0 });
    }
    match asked(text[0], &text[1..]) {
        Ok(Campaign::Fuzz { parser, bounds, python }) => fuzz::run(parser, &bounds, python),
        Ok(Campaign::Kill { rounds, seed }) => kill::run(rounds, seed),
        Ok(Campaign::Disk { rounds, seed }) => disk::run(rounds, seed),
        Ok(Campaign::Threads) => threads::run(),
        Err(reason) => {
            tell!("error: soak {reason}; see --help");
            Ok(2)
        }
    }
}

/// A campaign and its options.
enum Campaign<'a> {
    Fuzz { parser: Option<&'a str>, bounds: fuzz::Bounds, python: Option<&'a str> },
    Kill { rounds: u64, seed: u64 },
    Disk { rounds: u64, seed: u64 },
    Threads,
}

/// The campaign that is asked for, or what is wrong with the request.
fn asked<'a>(campaign: &'a str, options: &[&'a str]) -> Result<Campaign<'a>, String> {
    let known: &[&str] = match campaign {
        "fuzz" => &["--parser", "--seconds", "--inputs", "--python"],
        "kill" | "disk" => &["--rounds", "--seed"],
        "threads" => &[],
        _ => return Err(format!("{campaign}: there is no such campaign")),
    };
    let mut values = BTreeMap::new();
    for option in options.chunks(2) {
        match *option {
            [name, value] if known.contains(&name) => _ = values.insert(name, value),
            [name] if known.contains(&name) => return Err(format!("{campaign}: {name} needs a value")),
            _ => return Err(format!("{campaign}: it has no option {}", option[0])),
        }
    }
    let text = |name: &str| values.get(name).copied();
    let number = |name: &str, default: u64| match text(name) {
        None => Ok(default),
        Some(value) => value.parse().map_err(|_| format!("{campaign}: {name} {value} is not a whole number")),
    };
    Ok(match campaign {
        "fuzz" => {
            let bounds =
                fuzz::Bounds { seconds: number("--seconds", 60)?, inputs: number("--inputs", i32::MAX as u64)? };
            Campaign::Fuzz { parser: text("--parser"), bounds, python: text("--python") }
        }
        "kill" => Campaign::Kill { rounds: number("--rounds", 200)?, seed: number("--seed", 1)? },
        "disk" => Campaign::Disk { rounds: number("--rounds", 100)?, seed: number("--seed", 1)? },
        _ => Campaign::Threads,
    })
}

#[cfg(test)]
mod tests {
    use super::{Campaign, asked};

    #[test]
    fn a_campaign_takes_the_options_that_it_has_and_names_what_it_does_not_know() {
        assert!(matches!(asked("kill", &["--seed", "7"]), Ok(Campaign::Kill { rounds: 200, seed: 7 })));
        let refusals: [(&str, &[&str], &str); 5] = [
            ("kill", &["--seconds", "7"], "kill: it has no option --seconds"),
            ("threads", &["7"], "threads: it has no option 7"),
            ("fuzz", &["--parser"], "fuzz: --parser needs a value"),
            ("fuzz", &["--inputs", "many"], "fuzz: --inputs many is not a whole number"),
            ("flood", &[], "flood: there is no such campaign"),
        ];
        for (campaign, options, expected) in refusals {
            assert_eq!(asked(campaign, options).err().as_deref(), Some(expected));
        }
    }
}
