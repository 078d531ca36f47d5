//! An evaluation shown on the error stream.

use crate::progress::Progress;
use crate::streams::say;
use clsa_eval::Observer;

/// Shows progress, notes and warnings.
pub struct Console;

impl Observer for Console {
    fn begin<'a>(&'a self, work: &str, unit: &'static str) -> Box<dyn Fn(u64, u64) + 'a> {
        let progress = Progress::new(work, unit);
        Box::new(move |done, of| progress.at(done, of))
    }

    fn note(&self, text: &str) {
        say!("note: {text}");
    }

    fn warning(&self, text: &str) {
        say!("warning: {text}");
    }
}
