//! The bundle, and its checks with scripts in place of the programs and the peers.

use super::*;
use std::env;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("clsa-xtask-{name}-{}", std::process::id()));
        make_folder(&folder).unwrap();
        Self(folder)
    }

    fn write(&self, file: &str, text: &str) -> PathBuf {
        let path = self.0.join(file);
        make_folder(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Puts other words into check.py.
    fn change(&self, words: &str, others: &str) {
        let script = self.0.join("check.py");
        let text = fs::read_to_string(&script).unwrap();
        assert!(text.contains(words), "{words}");
        fs::write(&script, text.replace(words, others)).unwrap();
    }

    /// check.sh, called from another folder.
    fn command(&self, options: &[&str]) -> Command {
        let caller = self.0.join("caller");
        make_folder(&caller).unwrap();
        let path = format!("{}:{}", self.0.display(), env::var("PATH").unwrap());
        let mut check = Command::new("bash");
        check.args(["../check.sh", "--out", "results"]).args(options).current_dir(caller);
        check.env("PATH", path).env("TMPDIR", &self.0).env_remove("NCCL_DEBUG");
        check
    }

    /// The exit code of check.sh, and what it writes to check.jsonl.
    fn check(&self, options: &[&str]) -> (Option<i32>, String) {
        let code = self.command(options).output().unwrap().status.code();
        (code, self.result(RESULTS))
    }

    /// The checks that `--dry-run` lists, in their order.
    fn listed(&self, options: &[&str]) -> Vec<String> {
        let output = self.command(options).arg("--dry-run").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect()
    }

    /// A file that check.sh writes; nothing where there is none yet.
    fn result(&self, file: &str) -> String {
        fs::read_to_string(self.0.join("caller/results").join(file)).unwrap_or_default()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A bundle with these scripts as its programs and peers; none without Python, which the checks are written in.
fn bundle(name: &str, scripts: &[(&str, &str)]) -> Option<Folder> {
    let python =
        Command::new("python3").args(["-c", "import lzma, sys; sys.exit(sys.version_info < (3, 11))"]).output();
    if !python.is_ok_and(|python| python.status.success()) {
        println!("not tested: python3 of version 3.11 or later, with its module lzma, is missing");
        return None;
    }
    let bundle = Folder::new(name);
    for script in SCRIPTS {
        copy(&root().join(script), &bundle.0).unwrap();
    }
    for (file, text) in scripts {
        let path = bundle.write(file, text);
        pack(&path, &bundle.0.join(format!("{file}.xz"))).unwrap();
    }
    Some(bundle)
}

/// Whether each of the checks has succeeded.
fn succeeded(lines: &str) -> Vec<bool> {
    lines.lines().map(|line| line.contains("\"ok\": true")).collect()
}

/// Waits until something is so, which a loaded machine may take long for.
fn wait_until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
    }
}

const MEASURES: &str = "#!/bin/sh\necho '{\"median_s\": 1.5}'\n";

/// Trains to a k-NN accuracy of 50, and evaluates to that on the CPU and to `ON_GPU` on a GPU.
const TRAINS: &str = r#"#!/bin/sh
command=$1
for argument; do
    case $option in --out) out=$argument ;; --device) device=$argument ;; esac
    option=$argument
done
case $command in
pretrain)
    mkdir "$out"
    echo '{"kind": "step", "loss": 1, "images_per_s": 1}' >"$out/metrics.jsonl"
    echo '{"kind": "knn", "top1": 50}' >>"$out/metrics.jsonl" ;;
eval)
    top1=50
    [ $device = cpu ] || top1=ON_GPU
    echo "{\"protocols\": [{\"results\": [{\"top1\": {\"value\": $top1}}]}]}" >"$out" ;;
esac
"#;

/// Tests of which two pass.
const PASSES: &str = "#!/bin/sh\necho 'test result: ok. 2 passed; 0 failed'\n";

/// Tests that say that they have begun, and then wait for a process of their own, whose number is in a file.
const WAITS: &str = "#!/bin/sh\nsleep 80 &\necho $! >\"$TMPDIR/process\"\necho begun\nwait\n";

/// Whether the process that [`WAITS`] has started is there; one that nobody has asked for its exit code is not.
fn still_waits(bundle: &Folder) -> bool {
    let process = fs::read_to_string(bundle.0.join("process")).unwrap();
    let state = fs::read_to_string(format!("/proc/{}/stat", process.trim()));
    state.is_ok_and(|state| !state.contains(") Z "))
}

#[test]
fn what_a_check_has_measured_is_kept_where_its_next_command_fails() {
    let scripts = [("clsa", MEASURES), ("peers/torch_loss.py", "import sys\nsys.exit(3)\n")];
    let Some(bundle) = bundle("measured", &scripts) else { return };
    let (code, lines) = bundle.check(&["--only", "loss"]);
    assert_eq!(code, Some(1));
    assert!(lines.contains("\"ok\": false") && lines.contains("\"measured\": [{\"median_s\": 1.5}]"), "{lines}");
}

#[test]
fn a_check_that_is_ended_keeps_its_line_and_its_figures() {
    let waits = "import os, time\nopen(os.environ['TMPDIR'] + '/begun', 'w').close()\ntime.sleep(80)\n";
    let Some(bundle) = bundle("cut-off", &[("clsa", MEASURES), ("peers/torch_loss.py", waits)]) else { return };
    let check = bundle.command(&["--only", "loss,pcie"]).stdout(Stdio::piped()).spawn().unwrap();
    wait_until(|| bundle.0.join("begun").exists());
    // Where it is killed without a warning, this is what there is.
    assert_eq!(bundle.result("measured.jsonl"), "{\"check\": \"loss\", \"measured\": {\"median_s\": 1.5}}\n");
    // Twice, as `timeout` does.
    let signals = format!("kill {0}; kill {0}", check.id());
    assert_eq!(code(Command::new("bash").args(["-c", &signals])), Ok(0));
    let output = check.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143));
    let lines = bundle.result(RESULTS);
    assert_eq!(succeeded(&lines), [false]);
    assert!(lines.contains("\"error\": \"ended while it ran\", \"measured\": [{\"median_s\": 1.5}]"), "{lines}");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.lines().any(|row| row.starts_with("loss ") && row.contains(" FAILED ")), "{printed}");
}

#[test]
fn kernels_that_a_kill_has_cut_off_stop_no_later_call() {
    let Some(bundle) = bundle("kernels", &[("peers/torch_pcie.py", "print('{\"pinned_gb_s\": 1.5}')\n")]) else {
        return;
    };
    bundle.write("caller/results/kernels.json", "{\"resnet18\": [");
    assert_eq!(bundle.check(&["--only", "pcie"]).0, Some(0));
}

#[test]
fn trainings_beside_the_cpu_come_after_all_that_is_measured() {
    let Some(bundle) = bundle("order", &[]) else { return };
    let listed = bundle.listed(&[]);
    assert_eq!(listed[listed.len() - 4..], ["end_to_end", "cifar", "demo", "nccl_tests"]);
}

#[test]
fn the_cpus_accuracy_may_be_told_instead_of_trained() {
    let clsa = TRAINS.replace("pretrain)\n", "pretrain)\n    [ $device != cpu ] || exit 3\n").replace("ON_GPU", "50");
    let Some(bundle) = bundle("told", &[("clsa", &*clsa)]) else { return };
    let (_, lines) = bundle.check(&["--only", "demo", "--cpu-knn", "demo=51.5,cifar=31"]);
    assert_eq!(succeeded(&lines), [true], "{lines}");
    assert!(lines.contains("\"cpu\": {\"knn\": 51.5}"), "{lines}");
    // One that is too far from it, and without the option the training that fails here.
    let (code, lines) = bundle.check(&["--only", "demo", "--cpu-knn", "demo=30"]);
    assert_eq!(code, Some(1), "{lines}");
    let (code, lines) = bundle.check(&["--only", "demo"]);
    assert_eq!(code, Some(1), "{lines}");
    for figures in ["demo", "demo=high", "demo=nan", "loss=0.3"] {
        assert_eq!(bundle.check(&["--only", "demo", "--cpu-knn", figures]).0, Some(2), "{figures}");
    }
}

#[test]
fn checks_whose_data_the_bundle_lacks_are_skipped_and_no_failure() {
    let Some(bundle) = bundle("no-data", &[]) else { return };
    let checks = ARCHIVES.map(|archive| archive.check).join(",");
    let (code, lines) = bundle.check(&["--only", &checks]);
    assert_eq!((code, succeeded(&lines)), (Some(0), vec![false, false]), "{lines}");
    for Archive { check, option, .. } in ARCHIVES {
        let line = format!(
            "{{\"check\": \"{check}\", \"ok\": null, \"skipped\": \"no data (the bundle was made without {option})\""
        );
        assert!(lines.contains(&line), "{lines}");
    }
    let output = bundle.command(&["--dry-run"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("\ncifar: skipped: no data"));
}

#[test]
fn bundle_cuda_says_which_checks_have_no_data() {
    let photos = ("imagenet", PathBuf::from("photos.tar"));
    assert_eq!(skipped_without(std::slice::from_ref(&photos)), ["without --cifar, check.sh skips the check cifar"]);
    assert_eq!(skipped_without(&[]).len(), ARCHIVES.len());
    assert!(skipped_without(&[photos, ("cifar", PathBuf::from("cifar.tar"))]).is_empty());
}

#[test]
fn torch_compile_comes_last_where_the_seconds_leave_its_limit() {
    let scripts = [("clsa", MEASURES), ("peers/torch_step.py", "print('{\"median_s\": 3}')\n")];
    let Some(bundle) = bundle("compiled-last", &scripts) else { return };
    let usual = bundle.listed(&[]).join(",");
    let (code, lines) = bundle.check(&["--skip", &usual, "--seconds", "100"]);
    assert_eq!((code, lines.matches("s are left\"").count()), (Some(0), 2), "{lines}");
    let (_, lines) = bundle.check(&["--skip", &usual, "--seconds", "1000"]);
    // After those of the first call.
    assert_eq!(succeeded(&lines), [false, false, true, true], "{lines}");
}

#[test]
fn a_missed_target_is_told_and_is_no_failure() {
    let clsa = "#!/bin/sh\necho '{\"median_s\": 1.5, \"extra_peak_gpu_mb\": 1}'\n";
    let peer = "import sys\nonce = '--once' in sys.argv\n\
        print('{\"median_s\": %s, \"extra_peak_mb\": 10}' % (1.5 if once else 3))\n";
    let Some(bundle) = bundle("targets", &[("clsa", clsa), ("peers/torch_loss.py", peer)]) else { return };
    let (code, lines) = bundle.check(&["--only", "loss"]);
    assert_eq!(code, Some(0), "{lines}");
    assert!(lines.contains("\"ratio\": 0.5, \"once_ratio\": 1.0, \"memory_ratio\": 0.1}"), "{lines}");
    let missed = "\"targets\": {\"ratio\": 0.3, \"memory_ratio\": 0.05}, \
        \"missed\": [\"ratio 0.5, at most 0.3\", \"memory_ratio 0.1, at most 0.05\"]";
    assert!(lines.contains(missed), "{lines}");
}

#[test]
fn a_test_that_needs_several_gpus_is_not_counted_where_there_is_one() {
    let tests = "#!/bin/sh\necho 'not tested on two GPUs: this machine has one GPU'\necho 'test result: ok. 3 passed; 0 failed'\n";
    let Some(bundle) = bundle("one-gpu", &[("training_tests", tests)]) else { return };
    let (_, lines) = bundle.check(&["--only", "nccl_tests"]);
    assert!(lines.contains("\"ok\": true, \"detail\": {\"passed\": 2, \"not_tested\": 1}"), "{lines}");
}

#[test]
fn the_line_of_the_training_tests_has_the_description_of_the_gpu() {
    let tests = r#"#!/bin/sh
printf 'test cudnn_describes_the_gpu ... description {\n "warpSize": 32\n}\nok\n\ntest result: ok. 2 passed; 0 failed\n'
"#;
    let Some(bundle) = bundle("description", &[("training_tests", tests)]) else { return };
    let (_, lines) = bundle.check(&["--only", "training_tests"]);
    assert!(lines.contains("\"description\": {\"warpSize\": 32}"), "{lines}");
}

#[test]
fn versions_that_can_be_told_are_told_without_pytorch_and_the_drivers_tool() {
    let scripts = [
        ("torch.py", "raise ImportError('no PyTorch here')\n"),
        ("nvidia-smi", "#!/bin/sh\nexit 9\n"),
        ("clsa", "#!/bin/sh\necho clsa 0.1.0\n"),
    ];
    let Some(bundle) = bundle("versions", &scripts) else { return };
    let (code, lines) = bundle.check(&["--only", "versions"]);
    assert_eq!(code, Some(0), "{lines}");
    for told in ["\"clsa\": \"clsa 0.1.0\"", "no PyTorch here", "exit code 9"] {
        assert!(lines.contains(told), "{lines}");
    }
}

#[test]
fn tests_that_found_no_gpu_or_were_none_are_no_success() {
    // libtest keeps back what a test that passes has printed, unless it is asked for it.
    let no_gpu = "#!/bin/sh\n\
        case \"$*\" in *--nocapture*) echo 'not tested: no device' ;; esac\n\
        echo 'test result: ok. 1 passed; 0 failed'\n";
    let none = "#!/bin/sh\necho 'test result: ok. 0 passed; 0 failed'\n";
    let runs_the_rest = "#!/bin/sh\nshift 6\nexec \"$@\"\n";
    let scripts = [
        ("kernel_tests", no_gpu),
        ("convolution_tests", none),
        ("training_tests", PASSES),
        ("compute-sanitizer", runs_the_rest),
    ];
    let Some(bundle) = bundle("untested", &scripts) else { return };
    let (_, lines) = bundle.check(&["--only", "kernel_tests,sanitizer,convolution_tests,training_tests"]);
    assert_eq!(succeeded(&lines), [false, false, false, true], "{lines}");
}

#[test]
fn races_are_looked_for_also_where_bad_accesses_were_found() {
    let finds_bad_accesses = "#!/bin/sh\n[ $2 != memcheck ] || exit 9\nshift 6\nexec \"$@\"\n";
    let scripts = [("kernel_tests", PASSES), ("compute-sanitizer", finds_bad_accesses)];
    let Some(bundle) = bundle("sanitizer", &scripts) else { return };
    let (code, lines) = bundle.check(&["--only", "sanitizer"]);
    assert_eq!(code, Some(1));
    assert!(lines.contains("memcheck: exit code 9"), "{lines}");
    assert!(lines.contains("\"measured\": [{\"tool\": \"racecheck\", \"passed\": 2, \"not_tested\": 0}]"), "{lines}");
}

#[test]
fn a_test_that_made_others_fail_is_told_from_them() {
    let tests = r#"#!/bin/sh
case "$*" in
*"--exact b"*) echo "test result: ok. 1 passed; 0 failed" ;;
*--exact*) echo "test result: FAILED. 0 passed; 1 failed"; exit 101 ;;
*) printf 'failures:\n\nfailures:\n    a\n    b\n\ntest result: FAILED. 1 passed; 2 failed\n'; exit 101 ;;
esac
"#;
    let Some(bundle) = bundle("alone", &[("kernel_tests", tests)]) else { return };
    let (_, lines) = bundle.check(&["--only", "kernel_tests"]);
    assert!(lines.contains("2 of 3 failed, 0 found no GPU: ['a', 'b']; in processes of their own: ['a']"), "{lines}");
}

#[test]
fn what_tests_have_printed_is_kept_where_the_checks_are_ended_and_nothing_goes_on() {
    let Some(bundle) = bundle("ended", &[("kernel_tests", WAITS)]) else { return };
    let mut check = bundle.command(&["--only", "kernel_tests"]).stdout(Stdio::null()).spawn().unwrap();
    wait_until(|| bundle.result("tests.log").contains("begun"));
    assert_eq!(code(Command::new("bash").args(["-c", "kill $0", &check.id().to_string()])), Ok(0));
    assert_eq!(check.wait().unwrap().code(), Some(143));
    wait_until(|| !still_waits(&bundle));
    assert!(bundle.result("tests.log").contains("begun"));
}

#[test]
fn a_check_that_has_no_time_left_ends_with_all_that_it_has_started() {
    let Some(bundle) = bundle("late", &[("kernel_tests", WAITS)]) else { return };
    bundle.change("@check(90)\ndef kernel_tests", "@check(5)\ndef kernel_tests");
    let (_, lines) = bundle.check(&["--only", "kernel_tests"]);
    assert!(lines.contains("not done in 5 s: begun"), "{lines}");
    wait_until(|| !still_waits(&bundle));
}

#[test]
fn an_encoder_that_the_gpu_evaluates_otherwise_is_no_success() {
    for (on_gpu, succeeds) in [("51", false), ("50.25", true)] {
        let clsa = TRAINS.replace("ON_GPU", on_gpu);
        let Some(bundle) = bundle(&format!("evaluated-{on_gpu}"), &[("clsa", &*clsa)]) else { return };
        let (_, lines) = bundle.check(&["--only", "demo"]);
        assert_eq!(succeeded(&lines), [succeeds], "{lines}");
        assert!(lines.contains(on_gpu), "{lines}");
    }
}

#[test]
fn a_compiled_peer_is_compared_with_what_ran_beside_it() {
    let scripts = [("clsa", MEASURES), ("peers/torch_step.py", "print('{\"median_s\": 3}')\n")];
    let Some(bundle) = bundle("compiled", &scripts) else { return };
    let (code, lines) = bundle.check(&["--only", "step_resnet18_compiled,step_resnet50_compiled"]);
    assert_eq!(code, Some(0), "{lines}");
    assert_eq!(lines.matches("\"ratio\": 0.5}").count(), 2, "{lines}");
}

#[test]
fn nccl_is_asked_for_the_reasons_of_its_errors() {
    let tests = "#!/bin/sh\necho \"asked for $NCCL_DEBUG\"\necho 'test result: ok. 1 passed; 0 failed'\n";
    let Some(bundle) = bundle("nccl", &[("training_tests", tests)]) else { return };
    let (code, lines) = bundle.check(&["--only", "nccl_tests"]);
    assert_eq!(code, Some(0), "{lines}");
    assert!(bundle.result("tests.log").contains("asked for WARN"));
}

#[test]
fn versions_name_the_commit_of_the_bundle() {
    let scripts = [
        ("torch.py", "__version__ = '2.11'\nclass version:\n    cuda = '13.0'\n"),
        ("nvidia-smi", "#!/bin/sh\necho a card\n"),
        ("clsa", "#!/bin/sh\necho clsa 0.1.0\n"),
    ];
    let Some(bundle) = bundle("commit", &scripts) else { return };
    bundle.write("commit", "0123abc-dirty\n");
    let (code, lines) = bundle.check(&["--only", "versions"]);
    assert_eq!(code, Some(0), "{lines}");
    assert!(lines.contains("\"commit\": \"0123abc-dirty\""), "{lines}");
}

#[test]
fn the_table_has_all_ratios_and_the_time_of_each_kind_of_kernel() {
    let ours = r#"{"median_s": 1.5, "peak_gpu_mb": 3, "kernels": [{"kind": "sgd", "count": 1, "ms": 0.5}]}"#;
    let clsa = format!("#!/bin/sh\necho '{ours}'\n");
    let scripts = [("clsa", &*clsa), ("peers/torch_step.py", "print('{\"median_s\": 3, \"peak_gpu_mb\": 4}')\n")];
    let Some(bundle) = bundle("table", &scripts) else { return };
    let output = bundle.command(&["--only", "step_resnet18"]).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let rows: Vec<Vec<&str>> = printed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(rows.contains(&vec!["step_resnet18", "sgd", "0.500", "ms"]), "{printed}");
    assert!(printed.contains("ratio 0.5, tuned_ratio 0.5, memory_ratio 0.75"), "{printed}");
}

#[test]
fn work_on_the_gpu_is_done_by_processes_of_their_own_on_one_gpu() {
    let peer = [("peers/torch_pcie.py", "print('{\"pinned_gb_s\": 1.5}')\n")];
    let Some(bundle) = bundle("pcie", &peer) else { return };
    // Tests and peers would not follow it.
    assert_eq!(bundle.check(&["--only", "pcie", "--device", "cuda:1"]), (Some(2), String::new()));
    let (code, lines) = bundle.check(&["--only", "pcie"]);
    assert_eq!(code, Some(0), "{lines}");
    assert!(lines.contains("\"detail\": {\"pinned_gb_s\": 1.5}"), "{lines}");
}

#[test]
fn a_relative_folder_for_the_results_is_that_of_the_caller() {
    let Some(bundle) = bundle("results", &[]) else { return };
    let (_, lines) = bundle.check(&["--only", "pcie"]);
    assert_eq!(succeeded(&lines), [false]);
    // Lines of a second call come after those of the first.
    let (_, lines) = bundle.check(&["--only", "pcie"]);
    assert_eq!(succeeded(&lines), [false, false]);
    assert!(!bundle.0.join("results").exists());
}

#[test]
fn each_of_several_trainings_keeps_its_figures_and_weights() {
    // The third training fails, and its checkpoint is one that is not converted; the last ends before its last epoch.
    let clsa = r#"#!/bin/sh
case $1 in
reproduce)
    mkdir -p "$6/checkpoints"
    echo "$2" >"$6/checkpoints/step-1.safetensors"
    echo '{"kind": "step", "images_per_s": 1}' >"$6/metrics.jsonl"
    printf '[train]\nepochs = 200\n' >"$6/config.toml"
    [ "$2" != naive-cifar10 ] || { echo "no memory is left"; exit 1; }
    [ "$2" != moco-symmetric-cifar10 ] || { echo "epoch 1: 1.0, published 1.0"; exit 1; }
    echo "epoch 200: 1.0, published 1.0" ;;
convert)
    [ ! -e "$3" ] && [ "$(cat "$2")" != naive-cifar10 ] && cp "$2" "$3" ;;
esac
"#;
    let Some(bundle) = bundle("long", &[("clsa", clsa)]) else { return };
    bundle.change("50_000", "0");
    let (_, lines) = bundle.check(&["--long", "moco-cifar10,clsa-cifar10,naive-cifar10,moco-symmetric-cifar10"]);
    assert_eq!(succeeded(&lines), [true, true, false, false], "{lines}");
    assert!(lines.contains("no memory is left"), "{lines}");
    assert!(lines.contains("did not come to its end: epoch 1: 1.0, published 1.0"), "{lines}");
    for recipe in ["moco-cifar10", "clsa-cifar10", "moco-symmetric-cifar10"] {
        let weights = bundle.0.join(format!("caller/results/{recipe}-0/{recipe}.safetensors.0"));
        assert_eq!(fs::read_to_string(weights).unwrap().trim(), recipe);
    }
}

#[test]
fn archives_beyond_the_limit_and_results_in_the_bundle_are_refused_before_the_build() {
    let folder = Folder::new("before");
    let archives = [("cifar", folder.write("archive", &"x".repeat((1 << 20) + 1)))];
    assert_eq!(check_before_build(&folder.0, &archives, 2), Ok(()));
    let refused = check_before_build(&folder.0, &archives, 1).unwrap_err();
    assert!(refused.contains("2 MiB, more than 1"), "{refused}");
    for results in ["results/check.jsonl", "check.jsonl"] {
        folder.write(results, "");
        let refused = check_before_build(&folder.0, &archives, 2).unwrap_err();
        assert!(refused.contains(&format!("/{results} has results")), "{refused}");
    }
}

#[test]
fn tests_of_plans_that_fail_are_told_in_a_sentence() {
    let toolkit = Toolkit { folder: "/cuda".into(), libraries: Vec::new(), link: None };
    assert_eq!(plans_every_convolution(&toolkit, Path::new("true")), Ok(()));
    let error = plans_every_convolution(&toolkit, Path::new("false")).unwrap_err();
    assert!(error.starts_with("cuDNN does not plan every convolution of the presets"), "{error}");
}

#[test]
fn a_toolkit_of_the_machine_has_the_stand_in_for_the_driver_too() {
    let toolkit = Toolkit { folder: "/cuda".into(), libraries: vec!["/cuda/lib64".into()], link: None };
    let with_stub = with_stub(&toolkit, Path::new("/link"));
    assert_eq!(with_stub.libraries, ["/cuda/lib64", "/link/stub"].map(PathBuf::from));
}

#[test]
fn a_bundle_has_a_limit_without_the_option_too() {
    assert_eq!(requested(&[]).unwrap().limit, LIMIT);
    assert!(HELP.contains(&format!("by default {LIMIT}\n")));
    assert_eq!(requested(&["--limit", "7"].map(OsString::from)).unwrap().limit, 7);
}

#[test]
fn what_packs_the_bundle_is_asked_for_before_the_build() {
    assert_eq!(can_pack(&[("true", &[], "coreutils")]), Ok(()));
    for program in ["false", "clsa-no-such-program"] {
        let error = can_pack(&[("true", &[], "coreutils"), (program, &[], "such a package")]).unwrap_err();
        assert_eq!(error, format!("{program}, which packs the bundle, does not start; install such a package"));
    }
}
