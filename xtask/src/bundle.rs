//! `cargo xtask bundle-cuda`: everything that proves and measures CUDA on another machine, in one folder.

mod elsewhere;
#[cfg(all(test, target_os = "linux"))]
mod tests;

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
It is for all GPUs from compute capability 8.0 on, unless CUDA_COMPUTE_CAP names another for Candle's kernels. Refused are a
toolkit of another CUDA than 13.0 or without cuDNN and NCCL, a cuDNN that cannot plan every convolution of the presets, and
programs that ask for another library than CUDA's and C++'s, or for a newer glibc or C++ library than Ubuntu 24.04's.

Usage: cargo xtask bundle-cuda [--cifar TAR] [--photos TAR] [--limit MIB]

  --cifar TAR    an archive with train/CLASS/FILE and test/CLASS/FILE, for a run of training; the check cifar is skipped without
  --photos TAR   an archive of JPEG files, for training from end to end; the check end_to_end is skipped without
  --limit MIB    refuse to make a bundle that is larger than this, by default 53

Example: cargo xtask bundle-cuda --photos photos.tar && target/cuda-bundle/check.sh --dry-run
";

/// MiB that a bundle may have where `--limit` does not say, so that it can be sent beside the sources where 64 are the most.
const LIMIT: u64 = 53;

/// An archive that a bundle may hold.
struct Archive {
    /// What the bundle calls it.
    name: &'static str,
    /// The option with its path.
    option: &'static str,
    /// The check that check.sh skips without it.
    check: &'static str,
}

/// In the order of the help.
const ARCHIVES: [Archive; 2] = [
    Archive { name: "cifar", option: "--cifar", check: "cifar" },
    Archive { name: "imagenet", option: "--photos", check: "end_to_end" },
];

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

/// The tests that plan the convolutions of the presets, which need no GPU and are run before anything is packed.
const PLANS: (&str, &str) = ("clsa-cuda", "plans");

/// The programs that pack a bundle, each with arguments that only show that it is there, and with what brings it.
const PACKERS: [(&str, &[&str], &str); 3] = [
    ("strip", &["--version"], "Debian's binutils"),
    ("objdump", &["--version"], "Debian's binutils"),
    ("python3", &["-c", "import lzma"], "python3 with its module lzma"),
];

/// What cargo has built.
struct Built {
    /// The stripped programs and their names in the bundle.
    programs: Vec<(PathBuf, &'static str)>,
    /// [`PLANS`].
    plans: PathBuf,
}

/// What was asked for.
struct Request {
    /// Archives and what the bundle calls them.
    data: Vec<(&'static str, PathBuf)>,
    /// MiB.
    limit: u64,
}

/// Runs the command.
pub fn run(args: &[OsString]) -> Result<u8, String> {
    let Request { data, limit } = match requested(args) {
        Ok(request) => request,
        Err(code) => return Ok(code),
    };
    // The new one is made beside the one that is there, so that that is replaced whole.
    let (bundle, fresh) = (target().join("cuda-bundle"), target().join("cuda-bundle.new"));
    check_before_build(&bundle, &data, limit)?;
    can_pack(&PACKERS)?;
    let toolkit = nvcc::toolkit()?;
    elsewhere::serves(&toolkit)?;
    let Built { programs, plans } = build(&toolkit)?;
    remove_folder(&fresh)?;
    make_folder(&fresh.join("data"))?;
    let link = toolkit.link.clone().unwrap_or_else(|| target().join("cuda-link"));
    stub::make(&link)?;
    let toolkit = with_stub(&toolkit, &link);
    plans_every_convolution(&toolkit, &plans)?;
    for (program, name) in &programs {
        elsewhere::starts(program)?;
        starts_without_gpu(&toolkit, program)?;
        pack(program, &fresh.join(format!("{name}.xz")))?;
    }
    for script in SCRIPTS {
        copy(&root().join(script), &fresh)?;
    }
    fs::write(fresh.join("commit"), commit()).map_err(at(&fresh))?;
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
    for what in skipped_without(&data) {
        tell!("warning: {what}");
    }
    Ok(0)
}

/// What the options ask for; the exit code where that is no bundle.
fn requested(args: &[OsString]) -> Result<Request, u8> {
    let mut request = Request { data: Vec::new(), limit: LIMIT };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let name = match arg.to_str() {
            Some("--help" | "-h") => {
                show(HELP);
                return Err(0);
            }
            Some("--limit") => {
                let Some(mib) = rest.next().and_then(|mib| mib.to_str()?.parse().ok()) else {
                    tell!("error: --limit needs a number of MiB");
                    return Err(2);
                };
                request.limit = mib;
                continue;
            }
            option => match ARCHIVES.iter().find(|archive| option == Some(archive.option)) {
                Some(archive) => archive.name,
                None => {
                    tell!("error: bundle-cuda does not know {}; see --help", arg.to_string_lossy());
                    return Err(2);
                }
            },
        };
        match rest.next().map(PathBuf::from) {
            Some(archive) if archive.is_file() => request.data.push((name, archive)),
            _ => {
                tell!("error: {} needs the path of an archive", arg.to_string_lossy());
                return Err(2);
            }
        }
    }
    Ok(request)
}

/// What check.sh will not do for want of data, a sentence for each archive that is not there.
fn skipped_without(data: &[(&str, PathBuf)]) -> Vec<String> {
    let absent = ARCHIVES.iter().filter(|archive| data.iter().all(|(name, _)| *name != archive.name));
    absent.map(|archive| format!("without {}, check.sh skips the check {}", archive.option, archive.check)).collect()
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

/// Whether these programs start.
fn can_pack(packers: &[(&str, &[&str], &str)]) -> Result<(), String> {
    let starts = |program: &str, args: &[&str]| {
        Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
    };
    match packers.iter().find(|(program, args, _)| !starts(program, args)) {
        Some((program, _, package)) => {
            Err(format!("{program}, which packs the bundle, does not start; install {package}"))
        }
        None => Ok(()),
    }
}

/// The MiB that so many bytes take, unless these are more than the limit.
fn within(limit: u64, bytes: u64, what: &str) -> Result<u64, String> {
    let size = bytes.div_ceil(1 << 20);
    if size > limit {
        return Err(format!(
            "{what} {size} MiB, more than {limit} (--limit); give it smaller archives or a higher limit"
        ));
    }
    Ok(size)
}

/// Builds the program and the tests with CUDA.
fn build(toolkit: &Toolkit) -> Result<Built, String> {
    // In a folder of its own: another toolkit or capability makes all of Candle's kernels anew. In one command: cargo would
    // give other features to the dependencies of each package alone, and make the kernels anew for each.
    let folder = target().join("cuda-build");
    let mut command = cargo();
    command.args(["test", "--no-run", "--release", "--locked", "--package", "clsa-train", "--package", "clsa-cuda"]);
    command.args(["--features", "clsa-train/nccl,clsa-cuda/nccl"]);
    command.args(["--test", "gpu", "--test", "gpu_kernels", "--test", PLANS.1]);
    command.args(["--message-format", "json-render-diagnostics"]);
    command.arg("--target-dir").arg(&folder).stdout(Stdio::piped()).stderr(Stdio::inherit());
    toolkit.build_for_others_with(&mut command)?;
    let output = command.output().map_err(|error| format!("cargo could not be started: {error}"))?;
    if !output.status.success() {
        return Err("the program did not build with CUDA".to_owned());
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let found = |package: &str, target: &str| {
        let built = executable(&messages, package, target);
        built.ok_or_else(|| format!("cargo does not say where it built {target} of {package}"))
    };
    let mut programs = Vec::new();
    for (package, target, name) in PROGRAMS {
        let built = found(package, target)?;
        let stripped = folder.join(format!("{name}.stripped"));
        if code(Command::new("strip").arg("-o").args([&stripped, &built]))? != 0 {
            return Err(format!("{} could not be stripped", built.display()));
        }
        programs.push((stripped, name));
    }
    Ok(Built { programs, plans: found(PLANS.0, PLANS.1)? })
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

/// The toolkit with the stand-in for the driver, which is in this folder, among its libraries.
fn with_stub(toolkit: &Toolkit, link: &Path) -> Toolkit {
    let libraries = toolkit.libraries.iter().cloned().chain([link.join("stub")]).collect();
    Toolkit { folder: toolkit.folder.clone(), libraries, link: None }
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

/// Whether the [`PLANS`] are found; the tests say on the error stream which are not.
fn plans_every_convolution(with_stub: &Toolkit, tests: &Path) -> Result<(), String> {
    let mut run = Command::new(tests);
    with_stub.run_with(&mut run)?;
    match code(run.stdout(std::io::stderr()))? {
        0 => Ok(()),
        _ => Err("cuDNN does not plan every convolution of the presets; its tests say above why".to_owned()),
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

/// The commit that is built, and whether there are changes since, in git's words; nothing where git does not say.
fn commit() -> Vec<u8> {
    let mut describe = Command::new("git");
    describe.args(["describe", "--always", "--dirty", "--abbrev=40"]).current_dir(root());
    describe.output().map_or_else(|_| Vec::new(), |output| output.stdout)
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
