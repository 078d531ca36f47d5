//! Which features `clsa` is built with, beyond its default ones.
//!
//! The rule: those of CUDA if the option `--device` names a GPU, and `nccl` too if several processes are to share the work; `mpi` if a launcher of MPI has started this process; `remote` if an argument names images on another machine, or a
//! configuration does, which an argument names itself or by the folder of its run. A build keeps what it compiled for either set of features,
//! so that going to and fro between them costs nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The feature of a program for GPUs.
pub const CUDA: &str = "cuda";

/// The feature of a program whose processes train together on GPUs.
pub const NCCL: &str = "nccl";

/// Whether several processes are asked for, or a launcher that is not MPI's has started this one as one of several.
pub fn names_ranks(args: &[OsString]) -> bool {
    let asked = args.iter().any(|arg| arg == "--ranks" || arg.to_string_lossy().starts_with("--ranks="));
    asked
        || [["RANK", "WORLD_SIZE"], ["SLURM_STEP_ID", "SLURM_PROCID"]]
            .iter()
            .any(|names| names.iter().all(|name| std::env::var_os(name).is_some()))
}

/// Whether the value of the option `--device` is `cuda` or `cuda:N`.
pub fn names_gpu(args: &[OsString]) -> bool {
    let args: Vec<&str> = args.iter().map(|arg| arg.to_str().unwrap_or_default()).collect();
    let apart = args.windows(2).filter(|pair| pair[0] == "--device").map(|pair| pair[1]);
    let joined = args.iter().filter_map(|arg| arg.strip_prefix("--device="));
    apart.chain(joined).any(|device| device == "cuda" || device.starts_with("cuda:"))
}

/// The feature of a program whose processes train together over MPI.
pub const MPI: &str = "mpi";

/// Whether a launcher of MPI has started this process, alone or as one of several.
pub fn started_by_mpi() -> bool {
    ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"].iter().any(|name| std::env::var_os(name).is_some())
}

/// What is missing here for a program over MPI, as the packages of Debian that have it; none where all is there.
pub fn missing_for_mpi() -> Option<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |name: &str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    if !is_there("mpicc") || !is_there("mpirun") {
        return Some("openmpi-bin and libopenmpi-dev");
    }
    (!has_libclang()).then_some("libclang-dev")
}

/// Whether there is the library by which the bindings of MPI are made, where its loader looks.
fn has_libclang() -> bool {
    let folders =
        ["/usr/lib64", "/usr/lib", "/usr/local/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
    let of_llvm = entries(Path::new("/usr/lib")).map(|folder| folder.join("lib"));
    let named = std::env::var_os("LIBCLANG_PATH").map(PathBuf::from);
    let all = folders.iter().map(PathBuf::from).chain(of_llvm).chain(named);
    let is_libclang = |path: PathBuf| {
        path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.starts_with("libclang.so") || name.starts_with("libclang-")
        })
    };
    all.into_iter().any(|folder| entries(&folder).any(is_libclang))
}

/// What is in a folder, as far as that can be read.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// The feature of a program that reads images on other machines.
pub const REMOTE: &str = "remote";

/// Whether an argument, the configuration or run that it names, or a run in the folder of runs, has a source on another machine. Commands
/// take a run of that folder where they are given none, and the program is not built in turns with and without the feature.
pub fn names_remote(args: &[OsString], runs: &Path) -> bool {
    args.iter().any(|arg| {
        let text = arg.to_string_lossy();
        let value = text.split_once('=').filter(|_| text.starts_with("--")).map_or(&*text, |(_, value)| value);
        has_address(&text) || configuration(Path::new(value)).is_some_and(|file| is_remote(&file))
    }) || entries(runs).any(|run| is_remote(&run.join(CONFIGURATION)))
}

/// A run's configuration.
const CONFIGURATION: &str = "config.toml";

/// The configuration that a path is, or that of the run or checkpoint that it is.
fn configuration(path: &Path) -> Option<PathBuf> {
    let folder = path.parent().filter(|folder| folder.ends_with("checkpoints"));
    if path.is_dir() {
        Some(path.join(CONFIGURATION))
    } else if let Some(run) = folder.and_then(Path::parent) {
        Some(run.join(CONFIGURATION))
    } else {
        path.extension().is_some_and(|extension| extension == "toml").then(|| path.to_path_buf())
    }
}

fn is_remote(configuration: &Path) -> bool {
    std::fs::read_to_string(configuration).is_ok_and(|text| has_address(&text))
}

/// Whether a text has a source whose path is an address.
fn has_address(text: &str) -> bool {
    let is_address = |rest: &str| ["https://", "http://", "s3://"].iter().any(|scheme| rest.starts_with(scheme));
    ["wds:", "parquet:"].iter().any(|kind| text.split(kind).skip(1).any(is_address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_option_for_the_device_asks_for_cuda() {
        let asks = |command: &str| names_gpu(&command.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert!(asks("pretrain --device cuda:0"));
        assert!(asks("pretrain --device cuda --epochs 3"));
        assert!(asks("eval --device=cuda:1"));
        assert!(!asks("pretrain --device cpu"));
        assert!(!asks("pretrain --out runs/cuda:0 --data imagefolder:/data/cuda"));
        assert!(!asks("views --device"));
    }

    #[test]
    fn a_source_on_another_machine_asks_for_remote_in_arguments_and_configurations() {
        let runs = std::env::temp_dir().join(format!("clsa-xtask-{}", std::process::id()));
        let asks = |args: &[&str]| names_remote(&args.iter().map(OsString::from).collect::<Vec<_>>(), &runs);
        assert!(asks(&["data", "info", "wds:s3://bucket/train-{000..127}.tar"]));
        assert!(asks(&["pretrain", "--data", "flat:/a+parquet:https://host/train.parquet"]));
        assert!(asks(&["pretrain", "--set", "data.source=wds:http://localhost/a.tar"]));
        assert!(!asks(&["data", "fetch", "cifar10", "--mirror", "https://host/data"]));
        assert!(!asks(&["data", "info", "wds:/data/s3/train.tar"]));
        let run = runs.join("others/run");
        std::fs::create_dir_all(run.join("checkpoints")).unwrap();
        let (folder, file) = (run.display().to_string(), run.join("config.toml").display().to_string());
        let checkpoint = run.join("checkpoints/step-00000001.safetensors").display().to_string();
        let asked = || {
            [
                asks(&["eval", "--run", &folder]),
                asks(&["pretrain", &format!("--preset={file}"), "--resume", &checkpoint]),
            ]
        };
        std::fs::write(&file, "[data]\nsource = \"wds:s3://bucket/a.tar\"\n").unwrap();
        let found = asked();
        let of_checkpoint = asks(&["pretrain", "--resume", &checkpoint]);
        std::fs::copy(&file, runs.join("others/config.toml")).unwrap();
        let newest = asks(&["eval"]);
        std::fs::write(&file, "[data]\nsource = \"wds:/a.tar\"\n").unwrap();
        std::fs::copy(&file, runs.join("others/config.toml")).unwrap();
        let not = asked();
        std::fs::remove_dir_all(&runs).unwrap();
        assert_eq!((found, of_checkpoint, newest, not), ([true, true], true, true, [false, false]));
    }
}
