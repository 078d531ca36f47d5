//! Signals that end a run after its step.

use crate::failure::Failure;
use crate::streams::say;
use anyhow::Context;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The flag that Ctrl-C, SIGTERM and SIGHUP set; a second signal ends the process at once. A signal that the process was started
/// to ignore, as `nohup` and shells for jobs in the background do, stays ignored.
#[cfg(unix)]
pub fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    let caught: Vec<i32> = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| !is_ignored(signal)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let mut signals = signal_hook::iterator::Signals::new(caught).context("the signal handler could not be set")?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if flag.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
            say!("stopping after this step; once more stops at once, without a checkpoint");
        }
    });
    Ok(stop)
}

/// Elsewhere Ctrl-C ends the process at once; the last checkpoint stays.
#[cfg(not(unix))]
pub fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    Ok(Arc::default())
}

/// Whether this process ignores a signal.
#[cfg(unix)]
#[allow(unsafe_code)] // no safe function asks without setting
fn is_ignored(signal: i32) -> bool {
    // SAFETY: without a new action the call only writes the present one, for which zeros are a valid value before.
    let (failed, action) = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        (libc::sigaction(signal, std::ptr::null(), &mut action), action)
    };
    failed == 0 && action.sa_sigaction == libc::SIG_IGN
}
