//! What a command has left in a folder.

use crate::files::at;
use std::fs;
use std::path::Path;

/// Names and contents of a folder's files, by name and without times; hidden files count. Of `kept` folders, which only help the
/// next time, it is only seen that nothing in them is half written.
pub fn contents(folder: &Path, kept: &[&str]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if kept.contains(&name.as_str()) {
            no_leftovers(&path)?;
        } else if path.is_dir() {
            all.extend(contents(&path, &[])?.into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else {
            let bytes = fs::read(&path).map_err(at(&path))?;
            all.push((name, without_times(bytes)));
        }
    }
    all.sort();
    Ok(all)
}

/// An evaluation without the lines that say how long it took, and the index of a shard without the time when that was written and
/// the checksum over it (`clsa-data/src/shard_index/format.rs`).
fn without_times(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.starts_with(b"CLSAIDX3") && bytes.len() > 28 {
        bytes[16..24].fill(0);
        bytes.truncate(bytes.len() - 4);
        return bytes;
    }
    match String::from_utf8(bytes) {
        Ok(text) if text.starts_with('{') => {
            let lines = text.lines().filter(|line| !line.contains("\"wall_time_s\""));
            lines.flat_map(|line| [line, "\n"]).collect::<String>().into_bytes()
        }
        Ok(text) => text.into_bytes(),
        Err(error) => error.into_bytes(),
    }
}

/// Checks that a folder has no file that is half written.
pub fn no_leftovers(folder: &Path) -> Result<(), String> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    match entries.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("/.clsa-writing-")) {
        Some(left) => Err(format!("{} was left", left.display())),
        None => Ok(()),
    }
}
