//! Standard output, which a command is for, and the error stream, which tells how it goes.

use crate::failure::Failure;
use anyhow::Context;
use std::fmt::Arguments;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// Prints a line to standard output, and fails with one sentence where it cannot be written.
macro_rules! put {
    ($($text:tt)*) => { $crate::streams::put_line(format_args!($($text)*)) };
}

/// Prints a line to the error stream. Where that is full or has no reader any more, the work goes on.
macro_rules! say {
    ($($text:tt)*) => { $crate::streams::say_line(format_args!($($text)*)) };
}

pub(crate) use {put, say};

/// See [`put!`].
pub fn put_line(text: Arguments<'_>) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_fmt(text).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    Ok(written.context("standard output cannot be written")?)
}

/// Whether [`say!`] prints nothing.
static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// From now on [`say!`] prints nothing, because another process says the same.
pub fn be_quiet() {
    IS_QUIET.store(true, Ordering::Relaxed);
}

/// See [`say!`].
pub fn say_line(text: Arguments<'_>) {
    if !IS_QUIET.load(Ordering::Relaxed) {
        say_always(text);
    }
}

/// As [`say!`], also where another process says the rest.
pub fn say_always(text: Arguments<'_>) {
    let mut line = text.to_string();
    line.push('\n');
    let _ = std::io::stderr().write_all(line.as_bytes());
}
