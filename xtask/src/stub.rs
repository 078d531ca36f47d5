//! A stand-in for the driver's library, `libcuda.so.1`, which no package holds: programs are linked to it, and start with it
//! on a machine without a GPU, where it says that there is none.

use crate::files::{at, make_folder};
use crate::symlink::symlink;
use crate::{cargo, code, root};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes `stub/libcuda.so.1` and `lib/libcuda.so` in a folder, unless they are there and have the functions that the workspace's version
/// of the crate cudarc knows.
pub fn make(folder: &Path) -> Result<(), String> {
    let lock = root().join("Cargo.lock");
    let text = fs::read_to_string(&lock).map_err(at(&lock))?;
    let heading = heading(&text).ok_or_else(|| format!("{} does not name the crate cudarc", lock.display()))?;
    if is_made(folder, &heading) {
        return Ok(());
    }
    let [library, source] = ["libcuda.so.1", "cuda.c"].map(|file| folder.join("stub").join(file));
    make_folder(&folder.join("stub"))?;
    make_folder(&folder.join("lib"))?;
    // Under other names first: a build beside this one may be linking. The source, which tells what the library has, comes last.
    let [new_library, new_source] = ["new.so", "new.c"].map(|file| folder.join("stub").join(file));
    fs::write(&new_source, format!("{heading}\n{}", c_source(&functions()?))).map_err(at(&new_source))?;
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o"]).args([&new_library, &new_source]);
    if code(&mut compile)? != 0 {
        return Err("the stand-in for the driver did not compile; a C compiler (cc) is needed".to_owned());
    }
    fs::rename(&new_library, &library).map_err(at(&library))?;
    let name = folder.join("lib/libcuda.so");
    let _ = fs::remove_file(&name);
    symlink(&library, &name).map_err(at(&name))?;
    fs::rename(&new_source, &source).map_err(at(&source))
}

/// The first line of the stand-in's source: the version of cudarc, as Cargo.lock has it.
fn heading(lock: &str) -> Option<String> {
    let (_, rest) = lock.split_once("\nname = \"cudarc\"\nversion = \"")?;
    rest.split_once('"').map(|(version, _)| format!("// cudarc {version}"))
}

/// Whether the stand-in is there, made from a source with this first line.
fn is_made(folder: &Path, heading: &str) -> bool {
    let source = fs::read_to_string(folder.join("stub/cuda.c"));
    source.is_ok_and(|source| source.lines().next() == Some(heading))
        && ["stub/libcuda.so.1", "lib/libcuda.so"].iter().all(|made| folder.join(made).exists())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stand_in_is_made_anew_where_it_has_the_functions_of_another_cudarc() {
        let lock = |version: &str| format!("[[package]]\nname = \"cudarc\"\nversion = \"{version}\"\nsource = \"x\"\n");
        let heading = |version: &str| heading(&lock(version)).unwrap();
        let folder = std::env::temp_dir().join(format!("clsa-xtask-stand-in-{}", std::process::id()));
        for (file, text) in
            [("stub/cuda.c", format!("{}\nint f;\n", heading("0.19.10"))), ("lib/libcuda.so", String::new())]
        {
            make_folder(folder.join(file).parent().unwrap()).unwrap();
            fs::write(folder.join(file), text).unwrap();
        }
        let without_library = is_made(&folder, &heading("0.19.10"));
        fs::write(folder.join("stub/libcuda.so.1"), "").unwrap();
        let made = ["0.19.10", "0.19.1", "0.20.0"].map(|version| is_made(&folder, &heading(version)));
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!((without_library, made), (false, [true, false, false]));
    }

    #[test]
    fn the_lock_of_the_workspace_names_the_cudarc_whose_functions_the_stand_in_has() {
        assert!(heading(&fs::read_to_string(root().join("Cargo.lock")).unwrap()).is_some());
    }
}
