//! The program in a folder, what it says, and what it leaves there.

use assert_cmd::Command;
use std::fs;
use std::path::{Path, PathBuf};

/// The exit code, and what is printed on both streams.
pub fn clsa(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("clsa").unwrap().current_dir(folder).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// The error line of a refused request, which must name `what` and leave nothing behind.
pub fn refused(folder: &Path, args: &[&str], what: &str) {
    let before = walk(folder);
    let (code, stdout, stderr) = clsa(folder, args);
    let error = stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}: {stderr}");
    assert!(error.contains(what), "{args:?}: {stderr}");
    assert_eq!(before, walk(folder), "{args:?}");
}

/// All files and folders below a folder.
pub fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}
