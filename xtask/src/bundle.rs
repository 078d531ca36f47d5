//! `cargo xtask bundle-cuda`: everything that proves and measures CUDA on another machine, in one folder.

use crate::cuda::Toolkit;
use crate::files::{at, make_folder, remove_folder, size_of};
use crate::{cargo, code, nvcc, root, show, stub, target};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const HELP: &str = "\
Make target/cuda-bundle: the program and the tests with CUDA, and check.sh, which proves and measures them on a machine
with a GPU, a driver, PyTorch and torchvision. None is needed here; where no CUDA toolkit is found, nvcc, cuDNN and NCCL are
installed from PyPI under target/ (python3 with venv is needed, 2.0 GB). The first build takes about 20 minutes on two cores.

Usage: cargo xtask bundle-cuda [--cifar TAR] [--photos TAR] [--limit MIB]

  --cifar TAR    an archive with train/CLASS/FILE and test/CLASS/FILE, for a run of training
  --photos TAR   an archive of JPEG files, for training from end to end
  --limit MIB    refuse to make a larger bundle, where it is to be sent

Example: cargo xtask bundle-cuda --photos photos.tar && target/cuda-bundle/check.sh --dry-run
";

/// What the bundle holds beside the programs.
const SCRIPTS: [&str; 2] = ["xtask/cuda/check.sh", "xtask/cuda/check.py"];

/// What check.sh writes, into the bundle where it is called there and given no other folder.
const RESULTS: &str = "check.jsonl";

/// The programs: the package, the target, and what the bundle calls them.
const PROGRAMS: [(&str, &str, &str); 4] = [
    ("clsa-train", "clsa", "clsa"),
    ("clsa-train", "gpu", "training_tests"),
    ("clsa-cuda", "gpu", "convolution_tests"),
    ("clsa-cuda", "gpu_kernels", "kernel_tests"),
];

/// Runs the command.
pub fn run(args: &[OsString]) -> Result<u8, String> {
    let (mut data, mut limit) = (Vec::new(), u64::MAX);
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let name = match arg.to_str() {
            Some("--help" | "-h") => {
                show(HELP);
                return Ok(0);
            }
            Some("--cifar") => "cifar",
            Some("--photos") => "imagenet",
            Some("--limit") => {
                let Some(mib) = rest.next().and_then(|mib| mib.to_str()?.parse().ok()) else {
                    tell!("error: --limit needs a number of MiB");
                    return Ok(2);
                };
                limit = mib;
                continue;
            }
            _ => {
                tell!("error: bundle-cuda does not know {}; see --help", arg.to_string_lossy());
                return Ok(2);
            }
        };
        match rest.next().map(PathBuf::from) {
            Some(archive) if archive.is_file() => data.push((name, archive)),
            _ => {
                tell!("error: {} needs the path of an archive", arg.to_string_lossy());
                return Ok(2);
            }
        }
    }
    // The new one is made beside the one that is there, so that that is replaced whole.
    let (bundle, fresh) = (target().join("cuda-bundle"), target().join("cuda-bundle.new"));
    check_before_build(&bundle, &data, limit)?;
    let toolkit = nvcc::toolkit()?;
    let programs = build(&toolkit)?;
    remove_folder(&fresh)?;
    make_folder(&fresh.join("data"))?;
    let toolkit = with_stub(&toolkit, &target().join("cuda-link"))?;
    for (program, name) in &programs {
        starts_without_gpu(&toolkit, program)?;
        pack(program, &fresh.join(format!("{name}.xz")))?;
    }
    for script in SCRIPTS {
        copy(&root().join(script), &fresh)?;
    }
    copy_all(&root().join("benches/peers"), "py", &fresh.join("peers"))?;
    copy_all(&root().join("clsa-train/tests/golden"), "json", &fresh.join("golden"))?;
    for (name, archive) in &data {
        let file = archive.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let suffix = file.split_once(".tar").map_or("", |(_, rest)| rest);
        let to = fresh.join(format!("data/{name}.tar{suffix}"));
        fs::copy(archive, &to).map_err(at(archive))?;
    }
    let size = within(limit, size_of(&fresh)?, "the bundle has")?;
    remove_folder(&bundle)?;
    fs::rename(&fresh, &bundle).map_err(at(&bundle))?;
    show(&format!("{} has {size} MiB; on a machine with a GPU: ./check.sh\n", bundle.display()));
    Ok(0)
}

/// Refuses what can be seen before the build, which takes long.
fn check_before_build(bundle: &Path, data: &[(&str, PathBuf)], limit: u64) -> Result<(), String> {
    let inside = fs::read_dir(bundle).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut places = std::iter::once(bundle.to_owned()).chain(inside).map(|folder| folder.join(RESULTS));
    if let Some(results) = places.find(|results| results.exists()) {
        return Err(format!("{} has results, which a new bundle would remove; move them away", results.display()));
    }
    let mut size = 0;
    for (_, archive) in data {
        size += fs::metadata(archive).map_err(at(archive))?.len();
    }
    within(limit, size, "the archives alone have").map(drop)
}

/// The MiB that so many bytes take, unless these are more than the limit.
fn within(limit: u64, bytes: u64, what: &str) -> Result<u64, String> {
    let size = bytes.div_ceil(1 << 20);
    if size > limit {
        return Err(format!("{what} {size} MiB, more than {limit} (--limit); give it smaller archives"));
    }
    Ok(size)
}

/// Builds the program and the tests with CUDA; gives the stripped files and their names in the bundle.
fn build(toolkit: &Toolkit) -> Result<Vec<(PathBuf, &'static str)>, String> {
    // In a folder of its own: another toolkit or capability makes all of Candle's kernels anew. In one command: cargo would
    // give other features to the dependencies of each package alone, and make the kernels anew for each.
    let folder = target().join("cuda-build");
    let mut command = cargo();
    command.args(["test", "--no-run", "--release", "--locked", "--package", "clsa-train", "--package", "clsa-cuda"]);
    command.args(["--features", "clsa-train/nccl,clsa-cuda/nccl", "--test", "gpu", "--test", "gpu_kernels"]);
    command.args(["--message-format", "json-render-diagnostics"]);
    command.arg("--target-dir").arg(&folder).stdout(Stdio::piped()).stderr(Stdio::inherit());
    toolkit.build_with(&mut command)?;
    let output = command.output().map_err(|error| format!("cargo could not be started: {error}"))?;
    if !output.status.success() {
        return Err("the program did not build with CUDA".to_owned());
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut programs = Vec::new();
    for (package, target, name) in PROGRAMS {
        let built = executable(&messages, package, target);
        let built = built.ok_or_else(|| format!("cargo does not say where it built {target} of {package}"))?;
        let stripped = folder.join(format!("{name}.stripped"));
        if code(Command::new("strip").arg("-o").args([&stripped, &built]))? != 0 {
            return Err(format!("{} could not be stripped", built.display()));
        }
        programs.push((stripped, name));
    }
    Ok(programs)
}

/// The executable of a target of a package, by cargo's messages, one a line.
fn executable(messages: &str, package: &str, target: &str) -> Option<PathBuf> {
    let (package, target) = (format!("/{package}#"), format!("\"name\":\"{target}\""));
    let mut lines = messages.lines().filter(|line| line.contains(&package) && line.contains(&target));
    lines.find_map(|line| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        rest.split_once('"').map(|(path, _)| path.into())
    })
}

/// The toolkit with the stand-in for the driver among its libraries, which is made in the folder where the toolkit has none: one of this
/// machine has at most a `libcuda.so` for the linker.
fn with_stub(toolkit: &Toolkit, folder: &Path) -> Result<Toolkit, String> {
    let link = toolkit.link.as_deref().unwrap_or(folder);
    stub::make(link)?;
    let libraries = toolkit.libraries.iter().cloned().chain([link.join("stub")]).collect();
    Ok(Toolkit { folder: toolkit.folder.clone(), libraries, link: None })
}

/// Whether the program links: all its libraries and symbols are found, with the stand-in for the driver.
fn starts_without_gpu(with_stub: &Toolkit, program: &Path) -> Result<(), String> {
    let mut ldd = Command::new("ldd");
    ldd.arg("-r").arg(program);
    with_stub.run_with(&mut ldd)?;
    let output = ldd.output().map_err(|error| format!("ldd could not be started: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    match text.lines().find(|line| line.contains("not found") || line.contains("undefined symbol")) {
        Some(missing) => Err(format!("{}: {}", program.display(), missing.trim())),
        None => Ok(()),
    }
}

/// Compresses a file as xz does, by Python, which the other machine unpacks it with.
fn pack(from: &Path, to: &Path) -> Result<(), String> {
    const SCRIPT: &str = "import lzma, shutil, sys\n\
        with open(sys.argv[1], 'rb') as a, lzma.open(sys.argv[2], 'wb', preset=6) as b: shutil.copyfileobj(a, b)";
    match code(Command::new("python3").args(["-c", SCRIPT]).args([from, to]))? {
        0 => Ok(()),
        _ => Err(format!("{} could not be packed", from.display())),
    }
}

fn copy_all(from: &Path, extension: &str, to: &Path) -> Result<(), String> {
    make_folder(to)?;
    let entries = fs::read_dir(from).map_err(at(from))?;
    let files =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.extension() == Some(OsStr::new(extension)));
    files.into_iter().try_for_each(|file| copy(&file, to))
}

fn copy(file: &Path, folder: &Path) -> Result<(), String> {
    let to = folder.join(file.file_name().unwrap_or_default());
    fs::copy(file, to).map(drop).map_err(at(file))
}

/// The checks themselves, with scripts in place of the programs and the peers.
#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::env;
    use std::os::unix::fs::PermissionsExt;

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

        /// The exit code of check.sh, called from another folder, and what it writes to check.jsonl.
        fn check(&self, options: &[&str]) -> (Option<i32>, String) {
            let caller = self.0.join("caller");
            make_folder(&caller).unwrap();
            let path = format!("{}:{}", self.0.display(), env::var("PATH").unwrap());
            let mut check = Command::new("bash");
            check.args(["../check.sh", "--out", "results"]).args(options).current_dir(&caller).env("PATH", path);
            let code = check.output().unwrap().status.code();
            (code, fs::read_to_string(caller.join("results").join(RESULTS)).unwrap_or_default())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// A bundle with these scripts as its programs and peers; none without Python, which the checks are written in.
    fn bundle(name: &str, scripts: &[(&str, &str)]) -> Option<Folder> {
        let python = Command::new("python3").arg("--version").output();
        if !python.is_ok_and(|python| python.status.success()) {
            println!("not tested: python3 is missing");
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

    const MEASURES: &str = "#!/bin/sh\necho '{\"median_s\": 1.5}'\n";

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
        let some = "#!/bin/sh\necho 'test result: ok. 2 passed; 0 failed'\n";
        let runs_the_rest = "#!/bin/sh\nshift 4\nexec \"$@\"\n";
        let scripts = [
            ("kernel_tests", no_gpu),
            ("convolution_tests", none),
            ("training_tests", some),
            ("compute-sanitizer", runs_the_rest),
        ];
        let Some(bundle) = bundle("untested", &scripts) else { return };
        let (_, lines) = bundle.check(&["--only", "kernel_tests,sanitizer,convolution_tests,training_tests"]);
        assert_eq!(succeeded(&lines), [false, false, false, true], "{lines}");
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
        let script = bundle.0.join("check.py");
        let text = fs::read_to_string(&script).unwrap();
        fs::write(&script, text.replace("50_000", "0")).unwrap();
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
    fn a_toolkit_of_the_machine_has_the_stand_in_for_the_driver_too() {
        let folder = Folder::new("stub");
        for made in ["stub/libcuda.so.1", "lib/libcuda.so"] {
            folder.write(made, "");
        }
        let toolkit = Toolkit { folder: "/cuda".into(), libraries: vec!["/cuda/lib64".into()], link: None };
        let with_stub = with_stub(&toolkit, &folder.0).unwrap();
        assert_eq!(with_stub.libraries, [PathBuf::from("/cuda/lib64"), folder.0.join("stub")]);
    }
}
