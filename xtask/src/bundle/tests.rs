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
    assert!(lines.contains("\"measured\": [{\"tool\": \"racecheck\", \"passed\": 2}]"), "{lines}");
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
        let clsa = r#"#!/bin/sh
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
        let clsa = clsa.replace("ON_GPU", on_gpu);
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
    // The third training fails, and its checkpoint is one that is not converted.
    let clsa = r#"#!/bin/sh
case $1 in
reproduce)
    mkdir -p "$6/checkpoints"
    echo "$2" >"$6/checkpoints/step-1.safetensors"
    echo '{"kind": "step", "images_per_s": 1}' >"$6/metrics.jsonl"
    [ "$2" != naive-cifar10 ] || { echo "no memory is left"; exit 1; }
    echo "epoch 200: 1.0, published 1.0" ;;
convert)
    [ ! -e "$3" ] && [ "$(cat "$2")" != naive-cifar10 ] && cp "$2" "$3" ;;
esac
"#;
    let Some(bundle) = bundle("long", &[("clsa", clsa)]) else { return };
    bundle.change("50_000", "0");
    let (_, lines) = bundle.check(&["--long", "moco-cifar10,clsa-cifar10,naive-cifar10"]);
    assert_eq!(succeeded(&lines), [true, true, false], "{lines}");
    assert!(lines.contains("no memory is left"), "{lines}");
    for recipe in ["moco-cifar10", "clsa-cifar10"] {
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
fn a_program_for_a_newer_glibc_is_told_from_one_for_that_of_the_other_machine() {
    let listed = |version: &str| {
        format!("DF *UND* 0 (GLIBC_2.2.5) memcpy\nDF *UND* 0 ({version}) f\nDF *UND* 0 (GLIBC_PRIVATE) g\n")
    };
    assert_eq!(newer_glibc(&listed("GLIBC_2.41")), Some((2, 41)));
    for version in ["GLIBC_2.39", "GLIBC_2.9", "GLIBCXX_3.4.32"] {
        assert_eq!(newer_glibc(&listed(version)), None, "{version}");
    }
}

#[test]
fn a_toolkit_of_the_machine_has_the_stand_in_for_the_driver_too() {
    let folder = Folder::new("stub");
    for made in ["stub/libcuda.so.1", "lib/libcuda.so"] {
        folder.write(made, "");
    }
    let toolkit = Toolkit { folder: "/cuda".into(), libraries: vec!["/cuda/lib64".into()], link: None };
    let with_stub = with_stub(&toolkit, &folder.0).unwrap();
    assert_eq!(with_stub.libraries, [PathBuf::from("/cuda/lib64"), folder.0.join("stub")]);
}
