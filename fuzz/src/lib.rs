//! Fuzzing of every parser of the workspace: each takes any bytes, and reads or refuses them, without a panic and in bounded memory.
//!
//! `cargo xtask soak fuzz` runs the fuzz target with libFuzzer, guided by coverage, for one parser after another; the test `seeds` is a
//! short run over the seeds in `corpus`, which `make_corpus.py` made.

mod data;
mod eval;
mod file;
mod model;
mod pillow;
mod run;

use cap::Cap;
use std::alloc::System;
use std::sync::LazyLock;

/// Counts what a parser allocates, and refuses what is beyond its bound, which ends the process.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// A parser: anything that reads bytes of others.
#[derive(Clone, Copy, Debug)]
pub struct Parser {
    /// What it is called; its seeds are in `corpus/NAME`.
    pub name: &'static str,
    /// MiB that it may allocate for an input of up to a megabyte.
    memory_mib: usize,
    /// Reads the bytes; panics where what it accepts does not hold together.
    read: fn(&[u8]),
}

/// Every parser.
pub const PARSERS: [Parser; 18] = [
    Parser { name: "annotation", memory_mib: 64, read: data::annotation },
    Parser { name: "checkpoint", memory_mib: 16, read: run::checkpoint },
    Parser { name: "cifar", memory_mib: 16, read: data::cifar },
    Parser { name: "config", memory_mib: 16, read: run::config },
    Parser { name: "evaluation", memory_mib: 16, read: eval::evaluation },
    Parser { name: "features", memory_mib: 16, read: eval::features },
    Parser { name: "idx", memory_mib: 16, read: data::idx },
    Parser { name: "image", memory_mib: 64, read: data::image },
    Parser { name: "index", memory_mib: 16, read: data::index },
    Parser { name: "jpeg", memory_mib: 32, read: data::jpeg },
    Parser { name: "list", memory_mib: 64, read: data::list },
    Parser { name: "metrics", memory_mib: 16, read: run::metrics },
    Parser { name: "parquet", memory_mib: 64, read: data::parquet },
    Parser { name: "pattern", memory_mib: 16, read: data::pattern },
    Parser { name: "pickle", memory_mib: 128, read: model::pickle },
    Parser { name: "tar", memory_mib: 16, read: data::tar },
    Parser { name: "weights", memory_mib: 128, read: model::weights },
    Parser { name: "zip", memory_mib: 128, read: model::zip },
];

impl Parser {
    /// Reads the bytes.
    ///
    /// # Panics
    /// The parser does, or what it accepts does not hold together. Ends the process where it takes more memory than it may.
    pub fn check(&self, data: &[u8]) {
        ALLOCATOR.set_limit(ALLOCATOR.allocated() + (self.memory_mib << 20)).expect("the limit is above what is used");
        (self.read)(data);
        ALLOCATOR.set_limit(usize::MAX).expect("there is no limit");
    }
}

/// The parser that the variable `CLSA_FUZZ_PARSER` names.
///
/// # Panics
/// It names none.
pub fn named_parser() -> Parser {
    static NAMED: LazyLock<Parser> = LazyLock::new(|| {
        let name = std::env::var("CLSA_FUZZ_PARSER").unwrap_or_default();
        *PARSERS.iter().find(|parser| parser.name == name).expect("CLSA_FUZZ_PARSER names a parser")
    });
    *NAMED
}

/// Ends the process at a panic, so that libFuzzer sees it, but for those in decoders of others, which become errors.
pub fn abort_on_panics() {
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !clsa_data::is_guarded() {
            // What the panic itself takes does not count.
            let _ = ALLOCATOR.set_limit(usize::MAX);
            abort(panic);
        }
    }));
}
