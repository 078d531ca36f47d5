//! What the machines have that bundles are for, and whether a toolkit and what it has built serve there.

use crate::cuda::{Toolkit, is_known_to_the_loader};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The CUDA of nvcc: drivers of CUDA 13.0 refuse the PTX of a later one, and an earlier one links to libraries that are not there.
const CUDA: &str = "13.0";

/// Ubuntu 24.04's.
const GLIBC: &str = "2.39";

/// The newest symbols of Ubuntu 24.04's C++ library.
const GLIBCXX: &str = "3.4.33";

/// The driver's library, those that come with PyTorch, and those of C and C++, but for the loader itself.
const LIBRARIES: [&str; 15] = [
    "libcuda.so.1",
    "libcudart.so.13",
    "libcublas.so.13",
    "libcublasLt.so.13",
    "libcurand.so.10",
    "libnvrtc.so.13",
    "libcudnn.so.9",
    "libnccl.so.2",
    "libstdc++.so.6",
    "libgcc_s.so.1",
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
];

/// Those of [`LIBRARIES`] that the program is linked to and NVIDIA's toolkits do not bring.
const APART: [&str; 2] = ["libcudnn.so.9", "libnccl.so.2"];

/// Refuses a toolkit whose programs would not run there, or not link here; the build takes too long to find it.
pub(super) fn serves(toolkit: &Toolkit) -> Result<(), String> {
    let nvcc = toolkit.folder.join("bin/nvcc");
    let answer = Command::new(&nvcc).arg("--version").output();
    let answer = answer.map_err(|error| format!("{} could not be started: {error}", nvcc.display()))?;
    is_of_the_right_version(&nvcc, &String::from_utf8_lossy(&answer.stdout))?;
    match lacking(&toolkit.libraries, is_known_to_the_loader) {
        Some(library) => Err(format!(
            "{library} is not beside the toolkit {}: install it there, or hide the toolkit, so that one is installed that has it \
             (no CUDA_HOME, no CUDA_PATH, no nvcc on the PATH)",
            toolkit.folder.display()
        )),
        None => Ok(()),
    }
}

/// Whether nvcc is of [`CUDA`], by what it says of itself.
fn is_of_the_right_version(nvcc: &Path, answer: &str) -> Result<(), String> {
    let release = answer.split_once("release ").and_then(|(_, rest)| rest.split(',').next());
    match release {
        Some(CUDA) => Ok(()),
        other => Err(format!(
            "{} is of CUDA {}, and bundles are made with {CUDA}: set CUDA_HOME to a toolkit of {CUDA}, or hide this one, so that \
             one is installed (no CUDA_HOME, no CUDA_PATH, no nvcc on the PATH)",
            nvcc.display(),
            other.unwrap_or("an unknown version")
        )),
    }
}

/// The first of [`APART`] that is neither in one of the folders nor known otherwise.
fn lacking(folders: &[PathBuf], is_known: impl Fn(&str) -> bool) -> Option<&'static str> {
    let is_there = |library: &str| folders.iter().any(|folder| folder.join(library).exists()) || is_known(library);
    APART.into_iter().find(|library| !is_there(library))
}

/// Whether a program starts there, by the libraries and versions that it asks for.
pub(super) fn starts(program: &Path) -> Result<(), String> {
    let output = Command::new("objdump").args(["-p", "-T"]).arg(program).output();
    let output = output.map_err(|error| format!("objdump (Debian's binutils) could not be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("objdump could not read {}", program.display()));
    }
    match missing(&String::from_utf8_lossy(&output.stdout)) {
        Some(what) => Err(format!("{} asks for {what}", program.display())),
        None => Ok(()),
    }
}

/// The first that is asked for and not there, and what to do, by objdump's list of a program's headers and dynamic symbols.
fn missing(listed: &str) -> Option<String> {
    let mut needed = listed.lines().filter_map(|line| line.trim().strip_prefix("NEEDED")).map(str::trim);
    let is_there = |library: &str| LIBRARIES.contains(&library) || library.starts_with("ld-linux");
    if let Some(library) = needed.find(|library| !is_there(library)) {
        return Some(format!("{library}, which is not on the machines that bundles are for; build it without"));
    }
    [("glibc", "GLIBC_", GLIBC), ("the C++ library's symbols", "GLIBCXX_", GLIBCXX)].into_iter().find_map(
        |(what, prefix, newest)| {
            let newer = newer(listed, prefix, newest)?;
            Some(format!("{what} {newer}, newer than {newest}; make the bundle on an older system"))
        },
    )
}

/// The newest version with this prefix that is asked for, where it is newer than the one that is there.
fn newer<'a>(listed: &'a str, prefix: &str, there: &str) -> Option<&'a str> {
    let numbers = |version: &str| -> Vec<u32> { version.split('.').map_while(|number| number.parse().ok()).collect() };
    let versions =
        listed.split(prefix).skip(1).filter_map(|rest| rest.split(|c: char| !(c.is_ascii_digit() || c == '.')).next());
    versions.max_by_key(|version| numbers(version)).filter(|newest| numbers(newest) > numbers(there))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toolkit_of_another_cuda_is_refused() {
        let says = |release: &str| {
            let answer = format!("nvcc: NVIDIA (R) Cuda compiler driver\nCuda compilation tools, {release}\n");
            is_of_the_right_version(Path::new("/cuda/bin/nvcc"), &answer)
        };
        assert_eq!(says("release 13.0, V13.0.88"), Ok(()));
        for (release, version) in
            [("release 12.4, V12.4.131", "12.4"), ("release 13.1, V13.1.9", "13.1"), ("", "an unknown")]
        {
            let error = says(release).unwrap_err();
            assert!(error.starts_with(&format!("/cuda/bin/nvcc is of CUDA {version}")), "{error}");
        }
    }

    #[test]
    fn a_toolkit_without_cudnn_or_nccl_is_refused() {
        assert_eq!(lacking(&[], |_| true), None);
        assert_eq!(lacking(&[], |library| library != "libnccl.so.2"), Some("libnccl.so.2"));
        let folder = std::env::temp_dir().join(format!("clsa-xtask-apart-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("libnccl.so.2"), "").unwrap();
        let without_cudnn = lacking(std::slice::from_ref(&folder), |_| false);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(without_cudnn, Some("libcudnn.so.9"));
    }

    #[test]
    fn a_program_that_needs_a_library_of_another_cuda_or_an_unknown_one_is_refused() {
        let needs = |library: &str| {
            missing(&format!("Dynamic Section:\n  NEEDED               libc.so.6\n  NEEDED               {library}\n"))
        };
        for library in ["libcublas.so.13", "libstdc++.so.6", "ld-linux-x86-64.so.2"] {
            assert_eq!(needs(library), None);
        }
        for library in ["libcublas.so.12", "libssl.so.3"] {
            assert!(needs(library).unwrap().starts_with(library));
        }
    }

    #[test]
    fn a_program_for_a_newer_system_is_told_from_one_for_that_of_the_other_machine() {
        let asks = |version: &str| {
            missing(&format!(
                "  0x09691a75 0x00 05 GLIBC_2.2.5\nDF *UND* 0 (GLIBCXX_3.4) f\nDF *UND* 0 ({version}) g\nDF *UND* 0 (GLIBC_PRIVATE) h\n"
            ))
        };
        assert!(asks("GLIBC_2.41").unwrap().starts_with("glibc 2.41, newer than 2.39"));
        assert!(asks("GLIBCXX_3.4.34").unwrap().starts_with("the C++ library's symbols 3.4.34, newer than 3.4.33"));
        for version in ["GLIBC_2.39", "GLIBC_2.9", "GLIBCXX_3.4.33", "GLIBCXX_3.4.9"] {
            assert_eq!(asks(version), None, "{version}");
        }
    }
}
