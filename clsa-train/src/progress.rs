//! How long work is shown: a bar on a terminal, plain lines elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::{Duration, Instant};

/// Time between lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Progress of a known number of items.
pub struct Progress {
    bar: ProgressBar,
    what: String,
    total: u64,
    start: Instant,
    first: u64,
    last_line: Instant,
}

impl Progress {
    /// Starts at `first` of `total` items named `what`, such as `steps`.
    pub fn new(what: &str, first: u64, total: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let template = "{wide_bar} {pos}/{len} {msg} ETA {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_position(first);
        bar.reset_eta();
        let now = Instant::now();
        Self { bar, what: what.to_owned(), total, start: now, first, last_line: now }
    }

    /// Moves to `done` items; `message` is what there is to say of the last one.
    pub fn update(&mut self, done: u64, message: &str) {
        self.bar.set_message(message.to_owned());
        self.bar.set_position(done);
        if self.bar.is_hidden() && (self.last_line.elapsed() >= LINE_EVERY || done == self.total) {
            self.last_line = Instant::now();
            let left = self.start.elapsed().as_secs_f64() / (done - self.first).max(1) as f64
                * (self.total.saturating_sub(done)) as f64;
            eprintln!("{} {done}/{} {message} {} left", self.what, self.total, clock(left));
        }
    }

    /// Prints a line above the bar.
    pub fn line(&self, text: &str) {
        if self.bar.is_hidden() { eprintln!("{text}") } else { self.bar.println(text) }
    }

    /// Takes the bar away.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

/// Seconds as `1:02:03` or `2:03`.
pub fn clock(seconds: f64) -> String {
    let s = seconds.round().max(0.0) as u64;
    let (h, m, s) = (s / 3600, s / 60 % 60, s % 60);
    if h > 0 { format!("{h}:{m:02}:{s:02}") } else { format!("{m}:{s:02}") }
}
