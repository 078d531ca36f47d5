//! Progress of long work: a bar on a terminal, a line now and then elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Between two lines where there is no terminal.
const PAUSE: Duration = Duration::from_secs(10);

/// Progress of one piece of work.
pub struct Progress {
    what: String,
    unit: &'static str,
    bar: ProgressBar,
    start: Instant,
    /// What was done when it was first told, and when: a training that goes on begins in the middle.
    first: Cell<Option<(u64, Instant)>>,
    told: Cell<Instant>,
}

impl Progress {
    pub fn new(what: &str, unit: &'static str) -> Self {
        let style = format!("{{msg:<24}} [{{bar:30}}] {{pos}}/{{len}} {unit}, {{per_sec}}, {{eta}} left");
        let style = ProgressStyle::with_template(&style).expect("a valid template").progress_chars("=> ");
        let bar = ProgressBar::new(0).with_message(what.to_owned()).with_style(style);
        let now = Instant::now();
        Self { what: what.to_owned(), unit, bar, start: now, first: Cell::new(None), told: Cell::new(now) }
    }

    /// So much is done, of so much.
    pub fn at(&self, done: u64, all: u64) {
        let (before, since) = match self.first.get() {
            Some((first, at)) if done > first => (first, at),
            Some(_) => (0, self.start),
            None => {
                self.first.set(Some((done, Instant::now())));
                self.bar.set_position(done);
                self.bar.reset_eta();
                (0, self.start)
            }
        };
        self.bar.set_length(all);
        self.bar.set_position(done);
        if self.bar.is_hidden() && (done == all || self.told.get().elapsed() > PAUSE) {
            self.told.set(Instant::now());
            let rate = (done - before) as f64 / since.elapsed().as_secs_f64().max(1e-3);
            let left = all.saturating_sub(done) as f64 / rate.max(1e-9);
            eprintln!("{}: {done}/{all} {}, {rate:.1}/s, {left:.0} s left", self.what, self.unit);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
