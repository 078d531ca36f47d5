//! Which CUDA features a build can have here.

use std::env;
use std::path::PathBuf;

/// `cuda`, with `cudnn` where its header is found; nothing where there is no toolkit.
pub fn features() -> Option<&'static str> {
    let toolkit = toolkit()?;
    let includes = [toolkit.join("include/cudnn.h"), PathBuf::from("/usr/include/cudnn.h")];
    Some(if includes.iter().any(|header| header.exists()) { "cuda,cudnn" } else { "cuda" })
}

/// The folder of the CUDA toolkit: `CUDA_HOME`, `CUDA_PATH`, or where `nvcc` is on the PATH.
pub fn toolkit() -> Option<PathBuf> {
    let named = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os).map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let found: Vec<PathBuf> = env::split_paths(&path).filter_map(|bin| bin.parent().map(PathBuf::from)).collect();
    named.chain(found).find(|folder| folder.join("bin/nvcc").exists())
}
