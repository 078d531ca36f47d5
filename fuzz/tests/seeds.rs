//! A short deterministic run of every parser: every seed, cut at random lengths, and with single bytes altered.

use clsa_fuzz::PARSERS;
use std::path::Path;

/// How many seeds are cut and altered for each parser, together.
const CHANGES: usize = 1500;

#[test]
fn no_parser_panics_or_takes_too_much_memory_for_damaged_seeds() {
    // A linear congruential generator: the same bytes in every run.
    let mut state = 1u64;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % bound.max(1)
    };
    for parser in PARSERS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(parser.name);
        let mut seeds: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        seeds.sort();
        assert!(!seeds.is_empty(), "{} has no seeds", folder.display());
        for seed in &seeds {
            let whole = std::fs::read(seed).unwrap();
            parser.check(&whole);
            for _ in 0..CHANGES / seeds.len() {
                parser.check(&whole[..below(whole.len() + 1)]);
                let mut altered = whole.clone();
                for _ in 0..1 + below(4) {
                    if !altered.is_empty() {
                        let at = below(altered.len());
                        altered[at] = below(256) as u8;
                    }
                }
                parser.check(&altered);
            }
        }
    }
}
