//! A CUDA toolkit from PyPI, for machines that have none: nvcc, its headers, and the libraries to link to.

use crate::cuda::{Toolkit, versioned_libraries};
use crate::files::{at, make_folder};
use crate::symlink::symlink;
use crate::{code, stub, target};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// nvcc, and the headers and libraries that Candle and our kernels are compiled against. 13.0 is the oldest CUDA 13, so that
/// every driver of CUDA 13 takes what it writes; the cuDNN and the NCCL are PyTorch's.
const PACKAGES: [&str; 10] = [
    "nvidia-cuda-nvcc==13.0.*",
    "nvidia-nvvm==13.0.*",
    "nvidia-cuda-crt==13.0.*",
    "nvidia-cuda-cccl==13.0.*",
    "nvidia-cuda-runtime==13.0.*",
    "nvidia-curand==10.4.0.*",
    "nvidia-cublas==13.0.*",
    "nvidia-cuda-nvrtc==13.0.*",
    "nvidia-cudnn-cu13==9.19.0.56",
    "nvidia-nccl-cu13==2.28.9",
];

/// Written when pip is done: an installation that was interrupted may have nvcc and lack the rest.
const DONE: &str = "installed";

/// The toolkit of this machine, or one that is installed under target/.
pub fn toolkit() -> Result<Toolkit, String> {
    present()?.map_or_else(install, Ok)
}

/// The toolkit of this machine, or the one that is under target/ already.
pub fn present() -> Result<Option<Toolkit>, String> {
    if let Some(toolkit) = Toolkit::find() {
        return Ok(Some(toolkit));
    }
    let venv = target().join("cuda");
    let is_done = fs::read_to_string(venv.join(DONE)).is_ok_and(|packages| packages == PACKAGES.join("\n"));
    is_done.then(|| installed(&venv)).transpose()
}

fn install() -> Result<Toolkit, String> {
    let venv = target().join("cuda");
    let pip = venv.join("bin/pip");
    if !pip.exists() {
        tell!("no CUDA toolkit found; installing nvcc and libraries from PyPI into {} (2.0 GB)", venv.display());
        if code(Command::new("python3").args(["-m", "venv"]).arg(&venv))? != 0 {
            return Err("python3 -m venv failed; install python3 with venv, or a CUDA toolkit".to_owned());
        }
    }
    if code(Command::new(&pip).args(["install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES))? != 0 {
        return Err("pip could not install nvcc's packages; check the network, or install a CUDA toolkit".to_owned());
    }
    let toolkit = installed(&venv)?;
    let done = venv.join(DONE);
    fs::write(&done, PACKAGES.join("\n")).map_err(at(&done))?;
    Ok(toolkit)
}

/// The toolkit in a virtual environment, with names for the linker, which pip's packages lack.
fn installed(venv: &Path) -> Result<Toolkit, String> {
    let pythons = fs::read_dir(venv.join("lib")).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut packages = pythons.map(|python| python.join("site-packages/nvidia"));
    let packages = packages.find(|packages| packages.join("cu13/bin/nvcc").exists());
    let packages = packages.ok_or_else(|| format!("nvcc is not in {} after its installation", venv.display()))?;
    let libraries: Vec<PathBuf> = ["cu13/lib", "cudnn/lib", "nccl/lib"].map(|lib| packages.join(lib)).into();
    let link = target().join("cuda-link");
    let names = link.join("lib");
    make_folder(&names)?;
    for (library, name) in libraries.iter().flat_map(|folder| versioned_libraries(folder)) {
        let name = names.join(name);
        // A build beside this one may be linking by it.
        if fs::read_link(&name).is_ok_and(|to| to == library) {
            continue;
        }
        let _ = fs::remove_file(&name);
        symlink(&library, &name).map_err(at(&name))?;
    }
    stub::make(&link)?;
    Ok(Toolkit { folder: packages.join("cu13"), libraries, link: Some(link) })
}
