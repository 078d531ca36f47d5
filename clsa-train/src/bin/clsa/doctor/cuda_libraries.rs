//! The shared libraries that a program with CUDA needs when it starts, and what brings each of them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A shared library of CUDA.
struct Library {
    /// The file.
    name: &'static str,
    /// What to install where it is missing.
    remedy: &'static str,
}

const LIBRARIES: [Library; 7] = [
    Library { name: "libcuda.so.1", remedy: "the NVIDIA driver, 580 or later (apt: nvidia-driver-580)" },
    Library { name: "libcudart.so.13", remedy: "pip: nvidia-cuda-runtime, apt: cuda-cudart-13-0" },
    Library { name: "libcublas.so.13", remedy: "pip: nvidia-cublas, apt: libcublas-13-0" },
    Library { name: "libcurand.so.10", remedy: "pip: nvidia-curand, apt: libcurand-13-0" },
    Library { name: "libnvrtc.so.13", remedy: "pip: nvidia-cuda-nvrtc, apt: cuda-nvrtc-13-0" },
    Library { name: "libnccl.so.2", remedy: "for several GPUs; pip: nvidia-nccl-cu13, apt: libnccl2" },
    Library { name: "libcudnn.so.9", remedy: "pip: nvidia-cudnn-cu13, apt: libcudnn9-cuda-13" },
];

/// A sentence for each library that is not found, with what brings it.
pub fn missing() -> Vec<String> {
    missing_of(&known_to_the_loader(), &folders())
}

/// Those that are neither known to the loader nor in one of the folders.
fn missing_of(known: &str, folders: &[PathBuf]) -> Vec<String> {
    let found = |name: &str| known.contains(name) || folders.iter().any(|folder| folder.join(name).exists());
    let missing = LIBRARIES.iter().filter(|library| !found(library.name));
    missing.map(|library| format!("{} is missing ({})", library.name, library.remedy)).collect()
}

/// Where the loader looks by its environment, and where drivers and toolkits are put.
fn folders() -> Vec<PathBuf> {
    let named = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let toolkits = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os).map(PathBuf::from);
    let usual = ["/usr/local/cuda", "/usr/local/nvidia", "/usr/lib/wsl"].map(PathBuf::from);
    let roots = toolkits.chain(usual).flat_map(|root| [root.join("lib64"), root.join("lib")]);
    env::split_paths(&named).filter(|folder| folder.as_path() != Path::new("")).chain(roots).collect()
}

/// What `ldconfig` lists.
fn known_to_the_loader() -> String {
    let outputs =
        ["ldconfig", "/sbin/ldconfig"].iter().filter_map(|program| Command::new(program).arg("-p").output().ok());
    outputs.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_what_brings_it() {
        let all = missing_of("", &[]);
        assert_eq!(all.len(), LIBRARIES.len());
        for (sentence, library) in all.iter().zip(&LIBRARIES) {
            assert!(sentence.contains(library.name) && sentence.contains(library.remedy), "{sentence}");
        }
        assert!(missing_of(&LIBRARIES.map(|library| library.name).join("\n"), &[]).is_empty());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("libcudnn.so.9"), "").unwrap();
        assert_eq!(missing_of("", &[folder.path().to_owned()]), all[..LIBRARIES.len() - 1]);
    }
}
