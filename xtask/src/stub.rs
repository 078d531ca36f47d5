//! A stand-in for the driver's library, `libcuda.so.1`, which no package holds: programs are linked to it, and start with it
//! on a machine without a GPU, where it says that there is none.

use crate::files::{at, make_folder};
use crate::symlink::symlink;
use crate::{cargo, code};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes `stub/libcuda.so.1` and `lib/libcuda.so` in a folder, unless they are there.
pub fn make(folder: &Path) -> Result<(), String> {
    let library = folder.join("stub/libcuda.so.1");
    let name = folder.join("lib/libcuda.so");
    if library.exists() && name.exists() {
        return Ok(());
    }
    let source = folder.join("stub/cuda.c");
    make_folder(&folder.join("stub"))?;
    make_folder(&folder.join("lib"))?;
    fs::write(&source, c_source(&functions()?)).map_err(at(&source))?;
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o"]).args([&library, &source]);
    if code(&mut compile)? != 0 {
        return Err("the stand-in for the driver did not compile; a C compiler (cc) is needed".to_owned());
    }
    let _ = fs::remove_file(&name);
    symlink(&library, &name).map_err(at(&name))
}

/// Every function answers 100, `CUDA_ERROR_NO_DEVICE`, but for the two that say what that means.
fn c_source(functions: &BTreeSet<String>) -> String {
    let mut source = String::from(
        "int cuGetErrorName(int e, const char **text) { *text = \"CUDA_ERROR_NO_DEVICE\"; return 0; }\n\
         int cuGetErrorString(int e, const char **text) { *text = \"no CUDA-capable device is detected (the driver is a \
         stand-in)\"; return 0; }\n",
    );
    for function in functions {
        source.push_str(&format!("int {function}(void) {{ return 100; }}\n"));
    }
    source
}

/// The driver's functions that the crate cudarc knows, also without the version at their end; cuDNN asks for those.
fn functions() -> Result<BTreeSet<String>, String> {
    let bindings = cudarc()?.join("src/driver/sys/mod.rs");
    let text = fs::read_to_string(&bindings).map_err(at(&bindings))?;
    let mut names = BTreeSet::new();
    for name in text.split("pub unsafe fn cu").skip(1).filter_map(|rest| rest.split_once('(')) {
        let name = format!("cu{}", name.0);
        if let Some((plain, version)) = name.rsplit_once("_v")
            && version.bytes().all(|c| c.is_ascii_digit())
        {
            names.insert(plain.to_owned());
        }
        names.insert(name);
    }
    names.retain(|name| name != "cuGetErrorName" && name != "cuGetErrorString");
    Ok(names)
}

/// The folder of the crate cudarc's sources, by what cargo says of the workspace.
fn cudarc() -> Result<PathBuf, String> {
    let output = cargo().args(["metadata", "--format-version", "1", "--features", "cuda"]).output();
    let metadata = output.map_err(|error| format!("cargo could not be started: {error}"))?.stdout;
    let metadata = String::from_utf8_lossy(&metadata);
    let manifests = metadata.split("\"manifest_path\":\"").skip(1).filter_map(|rest| rest.split_once('"'));
    let mut folders = manifests.filter_map(|(path, _)| path.strip_suffix("/Cargo.toml"));
    let folder = folders.find(|folder| folder.rsplit('/').next().is_some_and(|name| name.starts_with("cudarc-")));
    Ok(folder.ok_or("cargo metadata does not name the crate cudarc")?.into())
}
