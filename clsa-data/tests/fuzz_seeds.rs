//! A short deterministic run of the fuzz targets: every file of the seed corpus, cut at many lengths, and with single
//! bytes altered. `FUZZ_TIMES=100` makes it a hundred times as long.

#[path = "../fuzz/src/targets.rs"]
mod targets;

use std::path::Path;

/// Runs a target over its seeds; returns how many there are.
fn run(name: &str, target: fn(&[u8]), changes: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut seeds: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{} has no seeds", folder.display());
    let times = std::env::var("FUZZ_TIMES").map_or(1, |times| times.parse().expect("FUZZ_TIMES is a number"));
    // A linear congruential generator: the same bytes in every run.
    let mut state = 1u64;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % bound.max(1)
    };
    for seed in seeds {
        let whole = std::fs::read(&seed).unwrap();
        target(&whole);
        for _ in 0..changes * times {
            target(&whole[..below(whole.len() + 1)]);
            let mut altered = whole.clone();
            for _ in 0..1 + below(4) {
                if !altered.is_empty() {
                    let at = below(altered.len());
                    altered[at] = below(256) as u8;
                }
            }
            target(&altered);
        }
    }
}

#[test]
fn annotations_never_panic() {
    run("annotation", targets::annotation, 300);
}

#[test]
fn braces_never_panic() {
    run("braces", targets::braces, 60);
}

#[test]
fn idx_files_never_panic() {
    run("idx", targets::idx, 300);
}

#[test]
fn images_never_panic() {
    run("image", targets::image, 60);
}

#[test]
fn indexes_never_panic() {
    run("index", targets::index, 300);
}

#[test]
fn shards_never_panic() {
    run("shard", targets::shard, 200);
}

#[test]
fn sources_never_panic() {
    run("source", targets::source, 300);
}
