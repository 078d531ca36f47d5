//! What this machine has of CUDA: a driver, a toolkit.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where drivers are that `ldconfig` does not know of.
const DRIVER_FOLDERS: [&str; 3] = ["/usr/local/nvidia/lib64", "/usr/local/nvidia/lib", "/usr/lib/wsl/lib"];

/// Names the compute capability that Candle's kernels are compiled for.
const CAPABILITY: &str = "CUDA_COMPUTE_CAP";

/// That of Ampere, the oldest that is supported: what is compiled for it runs on every later GPU too.
const OLDEST: &str = "80";

/// Whether a program that is linked to the driver's library starts here.
pub fn has_driver() -> bool {
    const LIBRARY: &str = "libcuda.so.1";
    let named = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let mut folders = env::split_paths(&named).chain(DRIVER_FOLDERS.map(PathBuf::from));
    folders.any(|folder| folder.join(LIBRARY).exists()) || is_known_to_the_loader(LIBRARY)
}

/// Whether programs find a library of this name in a folder that `ldconfig` knows.
pub fn is_known_to_the_loader(library: &str) -> bool {
    ["ldconfig", "/sbin/ldconfig"].iter().any(|ldconfig| {
        let known = Command::new(ldconfig).arg("-p").output();
        known.is_ok_and(|known| String::from_utf8_lossy(&known.stdout).contains(library))
    })
}

/// Whether `nvidia-smi`, asked for the compute capability alone, tells it. There may be a driver's library without this tool.
fn tells_capability(nvidia_smi: &mut Command) -> bool {
    nvidia_smi.output().is_ok_and(|answer| {
        let text = String::from_utf8_lossy(&answer.stdout);
        answer.status.success() && text.lines().next().is_some_and(|line| line.trim().parse::<f32>().is_ok())
    })
}

/// A CUDA toolkit: nvcc, with the libraries that Candle and our kernels are linked to.
pub struct Toolkit {
    /// Has `bin/nvcc`.
    pub folder: PathBuf,
    /// Folders of libraries that a program needs when it runs.
    pub libraries: Vec<PathBuf>,
    /// A folder with `lib/libX.so` for the linker, where the toolkit has only `libX.so.N`.
    pub link: Option<PathBuf>,
}

impl Toolkit {
    /// The one that `CUDA_HOME` or `CUDA_PATH` names, or whose `nvcc` is on the PATH; with the cuDNN that `CUDNN_LIB` names.
    pub fn find() -> Option<Self> {
        let named = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os).map(PathBuf::from);
        let path = env::var_os("PATH").unwrap_or_default();
        let found: Vec<PathBuf> = env::split_paths(&path).filter_map(|bin| bin.parent().map(PathBuf::from)).collect();
        let folder = named.chain(found).find(|folder| folder.join("bin/nvcc").exists())?;
        Some(Self::of(folder, env::var_os("CUDNN_LIB").map(PathBuf::from)))
    }

    /// One of this machine, with cuDNN in it or in a folder of its own.
    fn of(folder: PathBuf, cudnn: Option<PathBuf>) -> Self {
        let roots = [Some(folder.clone()), cudnn].into_iter().flatten();
        let libraries = roots.flat_map(|root| ["lib64", "lib"].map(|lib| root.join(lib))).filter(|lib| lib.exists());
        Self { libraries: libraries.collect(), folder, link: None }
    }

    /// Makes a command, `cargo` that is, build with this toolkit.
    pub fn build_with(&self, command: &mut Command) -> Result<(), String> {
        command.env("PATH", before(&[self.folder.join("bin")], "PATH")?);
        command.env("CUDA_HOME", &self.folder).env("CUDA_PATH", &self.folder);
        if let Some(link) = &self.link {
            command.env("CUDNN_LIB", link);
        }
        let nvidia_smi = ["--query-gpu=compute_cap", "--format=csv,noheader"];
        if env::var_os(CAPABILITY).is_none() && !tells_capability(Command::new("nvidia-smi").args(nvidia_smi)) {
            // Candle's build asks the GPU for its capability, and fails where nothing answers.
            command.env(CAPABILITY, OLDEST);
        }
        // A third of the size, and drivers unpack it in no time.
        command.env("NVCC_APPEND_FLAGS", env::var_os("NVCC_APPEND_FLAGS").unwrap_or("--compress-mode=size".into()));
        Ok(())
    }

    /// The same for programs that are to run on other machines, whatever GPU this one has.
    pub fn build_for_others_with(&self, command: &mut Command) -> Result<(), String> {
        self.build_with(command)?;
        if env::var_os(CAPABILITY).is_none() {
            command.env(CAPABILITY, OLDEST);
        }
        Ok(())
    }

    /// Makes a command find the libraries when it runs.
    pub fn run_with(&self, command: &mut Command) -> Result<(), String> {
        let folders: Vec<PathBuf> = self.libraries.iter().cloned().chain(DRIVER_FOLDERS.map(PathBuf::from)).collect();
        command.env("LD_LIBRARY_PATH", before(&folders, "LD_LIBRARY_PATH")?);
        Ok(())
    }
}

/// The value of a variable that lists folders, with these before the others.
fn before(folders: &[PathBuf], variable: &str) -> Result<OsString, String> {
    let value = env::var_os(variable).unwrap_or_default();
    let others: Vec<PathBuf> = env::split_paths(&value).filter(|folder| folder.as_path() != Path::new("")).collect();
    env::join_paths(folders.iter().chain(&others)).map_err(|error| format!("{variable}: {error}"))
}

/// Names of the form `libX.so.N` in a folder, each with its `libX.so`.
pub fn versioned_libraries(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| {
        let name = entry.file_name();
        let (stem, version) = name.to_str()?.split_once(".so.")?;
        let numbered = version.starts_with(|c: char| c.is_ascii_digit());
        (stem.starts_with("lib") && numbered).then(|| (entry.path(), format!("{stem}.so")))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn a_program_finds_the_libraries_of_a_cudnn_that_is_apart_from_its_toolkit() {
        let root = env::temp_dir().join(format!("clsa-xtask-toolkit-{}", std::process::id()));
        let folders = ["cuda/lib64", "cudnn/lib"].map(|folder| root.join(folder));
        for folder in &folders {
            std::fs::create_dir_all(folder).unwrap();
        }
        let toolkit = Toolkit::of(root.join("cuda"), Some(root.join("cudnn")));
        std::fs::remove_dir_all(&root).unwrap();
        let mut command = Command::new("clsa");
        toolkit.run_with(&mut command).unwrap();
        let (_, path) = command.get_envs().find(|(name, _)| *name == "LD_LIBRARY_PATH").unwrap();
        assert!(env::split_paths(path.unwrap()).collect::<Vec<_>>().starts_with(&folders), "{path:?}");
    }

    #[test]
    fn a_driver_whose_tool_does_not_tell_the_capability_is_as_none() {
        let tells = |program: &str, answer: &str| tells_capability(Command::new(program).arg(answer));
        assert!(tells("echo", "9.0"));
        // Of an old driver, of one that does not run, and without the tool.
        assert!(!tells("echo", "[N/A]"));
        assert!(!tells("false", "9.0"));
        assert!(!tells("clsa-no-such-program", "9.0"));
    }

    #[test]
    fn what_is_for_other_machines_is_built_for_the_oldest_gpu_unless_another_is_named() {
        let toolkit = Toolkit { folder: "/cuda".into(), libraries: Vec::new(), link: None };
        let mut command = Command::new("cargo");
        toolkit.build_for_others_with(&mut command).unwrap();
        let set = command.get_envs().find(|(name, _)| *name == CAPABILITY).and_then(|(_, value)| value);
        assert_eq!(set, env::var_os(CAPABILITY).is_none().then_some(OsStr::new("80")));
    }
}
