//! `cargo xtask bundle-cuda`: everything that proves and measures CUDA on another machine, in one folder.

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
Programs that ask for a newer glibc than 2.39 are refused, and so is a cuDNN that cannot plan every convolution of the presets.

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

/// The tests that plan the convolutions of the presets, which need no GPU and are run before anything is packed.
const PLANS: (&str, &str) = ("clsa-cuda", "plans");

/// The glibc of the machines that bundles are for: that of Ubuntu 24.04.
const GLIBC: (u32, u32) = (2, 39);

/// What cargo has built.
struct Built {
    /// The stripped programs and their names in the bundle.
    programs: Vec<(PathBuf, &'static str)>,
    /// [`PLANS`].
    plans: PathBuf,
}

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
    let Built { programs, plans } = build(&toolkit)?;
    remove_folder(&fresh)?;
    make_folder(&fresh.join("data"))?;
    let toolkit = with_stub(&toolkit, &target().join("cuda-link"))?;
    plans_every_convolution(&toolkit, &plans)?;
    for (program, name) in &programs {
        starts_without_gpu(&toolkit, program)?;
        asks_for_no_newer_glibc(program)?;
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
    toolkit.build_with(&mut command)?;
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

/// Whether the [`PLANS`] are found; the tests say on the error stream which are not.
fn plans_every_convolution(with_stub: &Toolkit, tests: &Path) -> Result<(), String> {
    let mut run = Command::new(tests);
    with_stub.run_with(&mut run)?;
    match code(run.stdout(std::io::stderr()))? {
        0 => Ok(()),
        _ => Err("cuDNN does not plan every convolution of the presets; its tests say above why".to_owned()),
    }
}

/// Whether a program starts with the glibc of the machines that bundles are for.
fn asks_for_no_newer_glibc(program: &Path) -> Result<(), String> {
    let output = Command::new("objdump").arg("-T").arg(program).output();
    let output = output.map_err(|error| format!("objdump (Debian's binutils) could not be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("objdump could not read {}", program.display()));
    }
    match newer_glibc(&String::from_utf8_lossy(&output.stdout)) {
        Some((major, minor)) => Err(format!(
            "{} asks for glibc {major}.{minor}, newer than {}.{}; make the bundle on an older system",
            program.display(),
            GLIBC.0,
            GLIBC.1
        )),
        None => Ok(()),
    }
}

/// The newest glibc that dynamic symbols ask for, as objdump lists them, where it is newer than [`GLIBC`].
fn newer_glibc(symbols: &str) -> Option<(u32, u32)> {
    let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let version = rest.split(|c: char| !(c.is_ascii_digit() || c == '.')).next()?;
        let (major, rest) = version.split_once('.')?;
        Some((major.parse().ok()?, rest.split('.').next()?.parse().ok()?))
    });
    versions.max().filter(|newest| *newest > GLIBC)
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
