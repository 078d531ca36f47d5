//! `--ranks`: a process for each of several GPUs of this machine, all of which end when one does.

use super::process::gpu_count;
use crate::failure::{Failure, request};
use crate::signals;
use anyhow::{Context, anyhow};
use std::ffi::OsString;
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long the others have to end by themselves after one has.
const GRACE: Duration = Duration::from_secs(25);
/// Time between two looks at the processes.
const PAUSE: Duration = Duration::from_millis(50);

/// Starts this program again, with the same arguments but `--ranks`, once for each of the first `ranks` GPUs, and waits for all.
pub fn start_on_gpus(ranks: usize) -> Result<(), Failure> {
    check_gpus(ranks, gpu_count(ranks)?)?;
    let program = std::env::current_exe().context("this program cannot be found again")?;
    let args = without_ranks(std::env::args_os().skip(1));
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).context("no free port")?.port();
    let commands = (0..ranks).map(|rank| {
        let mut command = Command::new(&program);
        let variables = [("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", ranks), ("LOCAL_WORLD_SIZE", ranks)];
        command.args(&args).envs(variables.map(|(name, number)| (name, number.to_string())));
        command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", port.to_string());
        command
    });
    match wait_for_all(start(commands)?, &*signals::count()?, GRACE)? {
        0 => Ok(()),
        // The rank has said why.
        code => std::process::exit(code),
    }
}

/// Refuses more ranks than there are GPUs: NCCL fails where two have one, and does not say why.
fn check_gpus(ranks: usize, gpus: usize) -> Result<(), Failure> {
    if ranks > gpus {
        return Err(request(format!(
            "--ranks {ranks}: each rank has a GPU of its own; GPUs that are seen here: {gpus}"
        )));
    }
    Ok(())
}

/// The arguments without `--ranks N` and `--ranks=N`.
fn without_ranks(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut args = args;
    while let Some(arg) = args.next() {
        if arg == "--ranks" {
            args.next();
        } else if !arg.to_string_lossy().starts_with("--ranks=") {
            kept.push(arg);
        }
    }
    kept
}

/// Starts the processes. Each is apart from this one's terminal, so that a signal of it comes to each once, by this process; and is asked to
/// end where this process is killed.
fn start(commands: impl Iterator<Item = Command>) -> Result<Vec<Child>, Failure> {
    let mut started: Vec<Child> = Vec::new();
    for mut command in commands {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        signals::end_with_this_process(&mut command);
        match command.spawn() {
            Ok(child) => started.push(child),
            Err(error) => {
                started.iter_mut().for_each(end_at_once);
                return Err(anyhow!(error).context("a rank cannot be started").into());
            }
        }
    }
    Ok(started)
}

/// Waits until all have ended. Once one has, the others have `grace` to end too; the first, which has its run to finish, only where one has
/// failed. Every signal is passed on. Gives the exit code of the first
/// that has failed, or 0.
fn wait_for_all(mut running: Vec<Child>, signals: &AtomicUsize, grace: Duration) -> Result<i32, Failure> {
    let mut ended: Vec<Option<ExitStatus>> = vec![None; running.len()];
    let (mut first, mut until, mut passed_on) = (None::<(usize, ExitStatus)>, None::<Instant>, 0);
    loop {
        for (rank, (ended, child)) in
            ended.iter_mut().zip(&mut running).enumerate().filter(|(_, (ended, _))| ended.is_none())
        {
            *ended = child.try_wait().context("a rank cannot be waited for")?;
            if let Some(status) = ended {
                first = first.or(Some((rank, *status)).filter(|_| !status.success()));
                until = until.or(Some(Instant::now() + grace));
            }
        }
        if ended.iter().all(Option::is_some) {
            break;
        }
        let remaining = running.iter_mut().zip(&ended).enumerate().filter(|(_, (_, ended))| ended.is_none());
        let is_late = until.is_some_and(|until| Instant::now() > until);
        let is_to_be_passed_on = signals.load(Ordering::Relaxed) > passed_on;
        passed_on += usize::from(is_to_be_passed_on);
        for (rank, (child, _)) in remaining {
            if is_late && (rank > 0 || first.is_some()) {
                end_at_once(child);
            } else if is_to_be_passed_on {
                signals::terminate(child);
            }
        }
        std::thread::sleep(PAUSE);
    }
    let Some((rank, status)) = first else { return Ok(0) };
    status.code().ok_or_else(|| anyhow!("rank {rank} was ended ({status}), and with it all others").into())
}

fn end_at_once(child: &mut Child) {
    // One that has ended meanwhile is no failure.
    let _ = child.kill();
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shells(scripts: &[&str]) -> Vec<Child> {
        let commands = scripts.iter().map(|script| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        });
        start(commands).unwrap_or_else(|failure| panic!("{}", failure.sentence()))
    }

    /// How long those that remain have, where one is to stay behind.
    const SHORT: Duration = Duration::from_millis(300);
    /// The same where all are to end, however busy the machine is.
    const LONG: Duration = Duration::from_secs(60);

    fn waited(children: Vec<Child>, signals: &AtomicUsize, grace: Duration) -> (Result<i32, String>, Duration) {
        let begin = Instant::now();
        let result = wait_for_all(children, signals, grace);
        (result.map_err(|failure| failure.sentence()), begin.elapsed())
    }

    #[test]
    fn all_end_when_one_has_failed() {
        for (script, expected) in [
            ("exit 1", Ok(1)),
            ("exit 2", Ok(2)),
            ("kill -KILL $$", Err("rank 1 was ended (signal: 9 (SIGKILL)), and with it all others".to_owned())),
        ] {
            let (result, took) = waited(shells(&["sleep 60", script, "sleep 60"]), &AtomicUsize::new(0), SHORT);
            assert_eq!(result, expected);
            assert!(took < Duration::from_secs(20), "{took:?}");
        }
    }

    #[test]
    fn ranks_that_end_well_are_waited_for_and_one_that_stays_behind_is_not() {
        assert_eq!(waited(shells(&["true", "sleep 0.1"]), &AtomicUsize::new(0), LONG).0, Ok(0));
        let (result, took) = waited(shells(&["true", "sleep 60"]), &AtomicUsize::new(0), SHORT);
        assert_eq!(result, Err("rank 1 was ended (signal: 9 (SIGKILL)), and with it all others".to_owned()));
        assert!(took < Duration::from_secs(20), "{took:?}");
    }

    #[test]
    fn the_first_rank_may_take_its_time_when_the_others_have_ended_well() {
        assert_eq!(waited(shells(&["sleep 1", "true"]), &AtomicUsize::new(0), SHORT).0, Ok(0));
    }

    #[test]
    fn a_signal_reaches_the_first_rank_long_after_the_others_have_ended_well() {
        let folder = tempfile::tempdir().unwrap();
        let ready = folder.path().join("ready");
        // Ends by itself after a while, so that a signal that is lost fails the test.
        let script = format!(
            "trap 'exit 0' TERM; touch {}; i=0; while [ $i -lt 1000 ]; do sleep 0.01; i=$((i + 1)); done; exit 1",
            ready.display()
        );
        let children = shells(&[&script, "true"]);
        while !ready.exists() {
            std::thread::sleep(PAUSE);
        }
        let signals = AtomicUsize::new(0);
        let (result, _) = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_secs(1));
                signals.fetch_add(1, Ordering::Relaxed);
            });
            waited(children, &signals, SHORT)
        });
        assert_eq!(result, Ok(0));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn ranks_end_when_nobody_waits_for_them_any_more() {
        // To the processes the end of the thread that has started them is the same as that of its process.
        let started = std::thread::spawn(|| shells(&["exec sleep 60", "exec sleep 60"])).join().unwrap();
        let begin = Instant::now();
        for mut child in started {
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(libc::SIGTERM));
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    }

    #[test]
    fn every_signal_comes_to_each_rank_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: String| folder.path().join(name);
        let script = |rank: usize| {
            let (ready, heard) = (file(format!("ready{rank}")), file(format!("heard{rank}")));
            format!(
                "trap 'echo x >> {}; sleep 0.2; exit 0' TERM; touch {}; while true; do sleep 0.01; done",
                heard.display(),
                ready.display()
            )
        };
        let scripts = [script(0), script(1)];
        let children = shells(&[&scripts[0], &scripts[1]]);
        while !(file("ready0".into()).exists() && file("ready1".into()).exists()) {
            std::thread::sleep(PAUSE);
        }
        assert_eq!(waited(children, &AtomicUsize::new(1), LONG).0, Ok(0));
        for rank in 0..2 {
            assert_eq!(std::fs::read_to_string(file(format!("heard{rank}"))).unwrap(), "x\n");
        }
    }

    #[test]
    fn more_ranks_than_gpus_are_a_wrong_request() {
        assert!(check_gpus(2, 2).is_ok());
        let failure = check_gpus(2, 1).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        assert_eq!(failure.sentence(), "--ranks 2: each rank has a GPU of its own; GPUs that are seen here: 1");
    }

    #[test]
    fn the_processes_are_not_asked_to_start_others() {
        let args = ["pretrain", "--ranks", "8", "--device", "cuda", "--ranks=2", "--seed", "3"].map(OsString::from);
        assert_eq!(
            without_ranks(args.into_iter()),
            ["pretrain", "--device", "cuda", "--seed", "3"].map(OsString::from)
        );
    }
}
