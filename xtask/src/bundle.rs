//! `cargo xtask bundle-cuda`: everything that proves and measures CUDA on another machine, in one folder.

use crate::cuda::Toolkit;
use crate::files::{at, make_folder, remove_folder, size_of};
use crate::{cargo, code, nvcc, root, show, target};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const HELP: &str = "\
Make target/cuda-bundle: the program and the tests with CUDA, and check.sh, which proves and measures them on a machine
with a GPU, a driver and PyTorch. Neither is needed here; where no CUDA toolkit is found, nvcc, cuDNN and NCCL are installed
from PyPI under target/ (python3 with venv is needed, 2.0 GB). The first build takes about 20 minutes on two cores.

Usage: cargo xtask bundle-cuda [--cifar TAR] [--photos TAR] [--limit MIB]

  --cifar TAR    an archive with train/CLASS/FILE and test/CLASS/FILE, for a run of training
  --photos TAR   an archive of JPEG files, for training from end to end
  --limit MIB    refuse to make a larger bundle, where it is to be sent

Example: cargo xtask bundle-cuda --photos photos.tar && target/cuda-bundle/check.sh --dry-run
";

/// What the bundle holds beside the programs.
const SCRIPTS: [&str; 2] = ["xtask/cuda/check.sh", "xtask/cuda/check.py"];

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
    let toolkit = nvcc::toolkit()?;
    let programs = build(&toolkit)?;
    // Beside the bundle that is there, so that it is replaced whole.
    let (bundle, fresh) = (target().join("cuda-bundle"), target().join("cuda-bundle.new"));
    remove_folder(&fresh)?;
    make_folder(&fresh.join("data"))?;
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
    let size = size_of(&fresh)?.div_ceil(1 << 20);
    if size > limit {
        return Err(format!("the bundle has {size} MiB, more than {limit} (--limit); give it smaller archives"));
    }
    remove_folder(&bundle)?;
    fs::rename(&fresh, &bundle).map_err(at(&bundle))?;
    show(&format!("{} has {size} MiB; on a machine with a GPU: ./check.sh\n", bundle.display()));
    Ok(0)
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

/// Whether the program links: all its libraries and symbols are found, with the stand-in for the driver where there is none.
fn starts_without_gpu(toolkit: &Toolkit, program: &Path) -> Result<(), String> {
    let mut stub = Toolkit { folder: toolkit.folder.clone(), libraries: toolkit.libraries.clone(), link: None };
    stub.libraries.extend(toolkit.link.iter().map(|link| link.join("stub")));
    let mut ldd = Command::new("ldd");
    ldd.arg("-r").arg(program);
    stub.run_with(&mut ldd)?;
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
