//! How long work is shown: a bar on a terminal, plain lines elsewhere; both with a rate and the time left.

use crate::streams::say;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Progress of one piece of work, which several threads may report. Dropped, it takes its bar away.
pub struct Progress {
    what: String,
    unit: &'static str,
    bar: ProgressBar,
    state: Mutex<State>,
}

struct State {
    /// What was done when the work was first reported, and when: work that is resumed begins in the middle.
    first: Option<(u64, Instant)>,
    last_line: Instant,
}

impl Progress {
    /// Begins the work `what`, counted in `unit`, such as `images`.
    pub fn new(what: impl Into<String>, unit: &'static str) -> Self {
        let what = what.into();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_prefix(what.clone());
        let style = format!("{{prefix}} [{{bar:30}}] {{pos}}/{{len}} {unit}, {{per_sec}}, {{eta}} left{{msg}}");
        if let Ok(style) = ProgressStyle::with_template(&style) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { what, unit, bar, state: Mutex::new(State { first: None, last_line: Instant::now() }) }
    }

    /// So much is done, of so much.
    pub fn at(&self, done: u64, of: u64) {
        self.at_with(done, of, "");
    }

    /// As [`Self::at`], with what there is to say of the last of it.
    pub fn at_with(&self, done: u64, of: u64, message: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.first.is_none() {
            // Nothing is known of how long the work before this report took.
            self.bar.set_position(done);
            self.bar.reset_eta();
        }
        let (first, since) = *state.first.get_or_insert_with(|| (done, Instant::now()));
        let message = if message.is_empty() { String::new() } else { format!(", {message}") };
        self.bar.set_length(of);
        self.bar.set_position(done);
        self.bar.set_message(message.clone());
        if self.bar.is_hidden() && (done == of || state.last_line.elapsed() >= LINE_EVERY) {
            state.last_line = Instant::now();
            let pace = pace(done.saturating_sub(first), of.saturating_sub(done), since.elapsed());
            say!("{}: {done}/{of} {}{pace}{message}", self.what, self.unit);
        }
    }

    /// Prints a line above the bar.
    pub fn line(&self, text: &str) {
        if self.bar.is_hidden() { say!("{text}") } else { self.bar.println(text) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The rate of what was done in a time, and the time that the rest takes at this rate; nothing while no rate is known.
fn pace(done: u64, rest: u64, time: Duration) -> String {
    if done == 0 {
        return String::new();
    }
    let rate = done as f64 / time.as_secs_f64().max(1e-3);
    format!(", {rate:.1}/s, {} left", clock(rest as f64 / rate))
}

/// Seconds as `1:02:03` or `2:03`.
fn clock(seconds: f64) -> String {
    let s = seconds.round().max(0.0) as u64;
    let (h, m, s) = (s / 3600, s / 60 % 60, s % 60);
    if h > 0 { format!("{h}:{m:02}:{s:02}") } else { format!("{m}:{s:02}") }
}

#[cfg(test)]
mod tests {
    use super::{clock, pace};
    use std::time::Duration;

    #[test]
    fn the_time_left_has_hours_only_where_there_are_some() {
        assert_eq!((clock(59.6), clock(3723.0), clock(0.2)), ("1:00".into(), "1:02:03".into(), "0:00".into()));
    }

    #[test]
    fn a_rate_is_shown_once_something_was_done_since_the_first_report() {
        assert_eq!(pace(0, 90, Duration::from_secs(12)), "");
        assert_eq!(pace(30, 90, Duration::from_secs(10)), ", 3.0/s, 0:30 left");
    }
}
