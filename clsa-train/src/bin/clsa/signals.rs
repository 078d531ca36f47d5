//! Signals that end a run after its step.

use crate::failure::Failure;
use crate::streams::say;
use std::ops::Deref;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A signal so soon after the first is the same once more: a terminal that closes sends one and so does its shell, and a manager of
/// processes one to each, which their parent passes on.
const SAME_WITHIN: Duration = Duration::from_secs(1);

/// Whether a signal has come while something trained.
static IS_TO_STOP: AtomicBool = AtomicBool::new(false);
/// Whether something trains, and ends by itself after a signal.
static TRAINS: AtomicBool = AtomicBool::new(false);

/// The flag that Ctrl-C, SIGTERM and SIGHUP set, for as long as this is kept; a second signal, a second later or more, ends the process at
/// once, and so does any afterwards. A signal that the process was started to ignore, as `nohup` and shells for jobs in the background do, stays
/// ignored. There is one flag, for all runs of this process.
pub struct StopFlag;

impl StopFlag {
    /// Hears signals from now on.
    pub fn new() -> Result<Self, Failure> {
        static IS_HEARD: Mutex<bool> = Mutex::new(false);

        let mut is_heard = IS_HEARD.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_heard {
            let mut first: Option<Instant> = None;
            on_signal(move || {
                if first.is_some_and(|first| first.elapsed() < SAME_WITHIN) {
                    return;
                }
                if !TRAINS.load(Ordering::SeqCst) || IS_TO_STOP.swap(true, Ordering::SeqCst) {
                    std::process::exit(130);
                }
                first = Some(Instant::now());
                // On another thread, which may wait for ever where nobody reads: the next signal is heard nevertheless.
                let tell = || say!("stopping after this step; once more stops at once, without a checkpoint");
                let _ = std::thread::Builder::new().spawn(tell);
            })?;
            *is_heard = true;
        }
        TRAINS.store(true, Ordering::SeqCst);
        Ok(Self)
    }
}

impl Deref for StopFlag {
    type Target = AtomicBool;

    fn deref(&self) -> &AtomicBool {
        &IS_TO_STOP
    }
}

impl Drop for StopFlag {
    fn drop(&mut self) {
        TRAINS.store(false, Ordering::SeqCst);
    }
}

/// Whether this process was asked to stop while something trained: nothing else is begun then.
pub fn was_asked_to_stop() -> bool {
    IS_TO_STOP.load(Ordering::SeqCst)
}

/// How many of these signals have come so far.
pub fn count() -> Result<Arc<AtomicUsize>, Failure> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    on_signal(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    })?;
    Ok(count)
}

/// Calls `heard`, on a thread of its own, with every signal that is not ignored.
#[cfg(unix)]
fn on_signal(mut heard: impl FnMut() + Send + 'static) -> Result<(), Failure> {
    use anyhow::Context;
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    let caught: Vec<i32> = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| !is_ignored(signal)).collect();
    let mut signals = signal_hook::iterator::Signals::new(caught).context("the signal handler could not be set")?;
    std::thread::spawn(move || signals.forever().for_each(|_| heard()));
    Ok(())
}

/// Elsewhere Ctrl-C ends the process at once; the last checkpoint stays.
#[cfg(not(unix))]
fn on_signal(_: impl FnMut() + Send + 'static) -> Result<(), Failure> {
    Ok(())
}

/// Sends SIGTERM to a process that this one has started and not waited for.
#[cfg(unix)]
#[allow(unsafe_code)] // the standard library only kills
pub fn terminate(child: &mut Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // SAFETY: the call takes two numbers; the process keeps its number until it was waited for.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }
}

/// Elsewhere there is no way to ask.
#[cfg(not(unix))]
pub fn terminate(child: &mut Child) {
    // One that has ended meanwhile is no failure.
    let _ = child.kill();
}

/// Has the process that a command will start asked to end, with SIGTERM, as soon as the thread that starts it is gone, however that went.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)] // the standard library has nothing for it
pub fn end_with_this_process(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    let parent = std::process::id();
    let before_it_runs = move || {
        // SAFETY: both calls take and give numbers, and are allowed between fork and exec.
        let (failed, now) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM), libc::getppid()) };
        if failed != 0 {
            return Err(std::io::Error::last_os_error());
        }
        // One that was gone before the call will not be missed any more.
        if i64::from(now) == i64::from(parent) { Ok(()) } else { Err(std::io::ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: what runs between fork and exec makes two system calls, and neither allocates nor takes a lock.
    unsafe { command.pre_exec(before_it_runs) };
}

/// Elsewhere such processes go on until they miss each other.
#[cfg(not(target_os = "linux"))]
pub fn end_with_this_process(_: &mut Command) {}

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
