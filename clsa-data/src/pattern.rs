//! Which files a pattern names: a folder, or paths with `{split}`, `{a,b}`, `{000..127}`, `*` and `?`.
//!
//! Braces are the ones of the webdataset library, which are those of bash but for `{split}`. They are expanded before any
//! file is looked for: a shard of `{000..127}` that is missing is an error, where `*` would leave it out in silence.

use std::path::{Path, PathBuf};

use crate::error::{DataError, Fault};
use crate::split::Split;

/// Most files that the braces of one pattern may name: a slip such as `{0..9999999999}` ends in a message, not in a full
/// memory.
const MOST: usize = 1_000_000;

/// The files of `split` that `pattern` names, in order.
///
/// * A folder: its files `train*.EXTENSION`, and `val*`, `validation*` or `test*` for the test split, in it or in its
///   folder `data`. Without any of these, all its files are the training split.
/// * A pattern with `{split}`: that is replaced by `train`, or by the first of `val`, `validation` and `test` that names
///   a file.
/// * Any other pattern names the training split.
pub(crate) fn files(pattern: &str, extension: &str, split: Split) -> Result<Vec<PathBuf>, DataError> {
    let no_test = || {
        let way = "name it by a folder with files train* and val* or test*, or with {split} in the pattern";
        DataError::no_split(split, pattern, format!("has no {split} split; {way}"))
    };
    if Path::new(pattern).is_dir() {
        return folder_files(Path::new(pattern), extension, split);
    }
    if pattern.contains("{split}") {
        for name in split.names() {
            let files = expand(&pattern.replace("{split}", name))?;
            if !files.is_empty() {
                return existing(files);
            }
        }
        return Err(no_test());
    }
    if split == Split::Test {
        return Err(no_test());
    }
    let files = expand(pattern)?;
    if files.is_empty() {
        return Err(Fault::Missing.at(pattern, "names no file"));
    }
    existing(files)
}

fn existing(files: Vec<PathBuf>) -> Result<Vec<PathBuf>, DataError> {
    match files.iter().find(|file| !file.is_file()) {
        Some(missing) => Err(Fault::Missing.at(missing, "is not a file that can be read")),
        None => Ok(files),
    }
}

fn folder_files(folder: &Path, extension: &str, split: Split) -> Result<Vec<PathBuf>, DataError> {
    for folder in [folder.to_path_buf(), folder.join("data")] {
        if !folder.is_dir() {
            continue;
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(DataError::read(&folder))? {
            let path = entry.map_err(DataError::read(&folder))?.path();
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if path.extension().is_some_and(|found| found == extension) && !hidden {
                files.push(path);
            }
        }
        files.sort();
        if files.is_empty() {
            continue;
        }
        let starting = |prefix: &str| -> Vec<PathBuf> {
            let named =
                |path: &&PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
            files.iter().filter(named).cloned().collect()
        };
        let of = |split: Split| split.names().iter().map(|name| starting(name)).find(|files| !files.is_empty());
        return match (of(split), of(Split::Train), of(Split::Test)) {
            (Some(files), _, _) => Ok(files),
            (None, None, None) if split == Split::Train => Ok(files),
            _ => Err(DataError::no_split(split, folder, format!("has no .{extension} file of the {split} split"))),
        };
    }
    Err(Fault::Layout.at(folder, format!("has no .{extension} file")))
}

/// All paths that a pattern stands for: braces first, whether the files exist or not, then `*` and `?` by what exists.
fn expand(pattern: &str) -> Result<Vec<PathBuf>, DataError> {
    let mut paths = Vec::new();
    for text in expand_braces(pattern).map_err(|reason| Fault::Pattern.at(pattern, reason))? {
        if !text.contains(['*', '?']) {
            paths.push(PathBuf::from(text));
            continue;
        }
        let found = glob::glob(&text).map_err(|error| Fault::Pattern.at(pattern, error.to_string()))?;
        for path in found {
            let unreadable = |error: glob::GlobError| {
                let path = error.path().to_path_buf();
                DataError::read(&path)(error.into())
            };
            paths.push(path.map_err(unreadable)?);
        }
    }
    Ok(paths)
}

/// Replaces `{a,b}` and `{000..127}` by what they stand for.
///
/// # Errors
/// The reason for which the pattern is wrong.
pub fn expand_braces(pattern: &str) -> Result<Vec<String>, String> {
    let mut done = vec![String::new()];
    let mut rest = pattern;
    while let Some(open) = rest.find('{') {
        let Some(close) = rest[open..].find('}') else {
            return Err("has a `{` without a `}`".into());
        };
        let choices = choices(&rest[open + 1..open + close])?;
        if done.len().saturating_mul(choices.len()) > MOST {
            return Err(format!("names more than {MOST} files"));
        }
        let before = &rest[..open];
        done = done
            .iter()
            .flat_map(|start| choices.iter().map(move |choice| format!("{start}{before}{choice}")))
            .collect();
        rest = &rest[open + close + 1..];
    }
    done.iter_mut().for_each(|text| text.push_str(rest));
    Ok(done)
}

/// What stands between braces: names with commas between, or a range of numbers, padded as its first one.
fn choices(text: &str) -> Result<Vec<String>, String> {
    let Some((first, last)) = text.split_once("..") else {
        return Ok(text.split(',').map(String::from).collect());
    };
    let number = |text: &str| -> Result<u64, String> {
        text.parse().map_err(|_| format!("has a range with `{text}`, which is not a number"))
    };
    let (low, high) = (number(first)?, number(last)?);
    if high < low {
        return Err(format!("has a range that runs backwards: {{{text}}}"));
    }
    if high - low >= MOST as u64 {
        return Err(format!("names more than {MOST} files"));
    }
    Ok((low..=high).map(|value| format!("{value:0width$}", width = first.len())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_stand_for_padded_ranges_and_lists() {
        assert_eq!(expand_braces("a{08..11}.tar").unwrap(), ["a08.tar", "a09.tar", "a10.tar", "a11.tar"]);
        assert_eq!(expand_braces("{x,y}{1..2}").unwrap(), ["x1", "x2", "y1", "y2"]);
        assert_eq!(expand_braces("plain").unwrap(), ["plain"]);
    }

    #[test]
    fn wrong_braces_are_refused_with_a_reason() {
        for (pattern, part) in
            [("a{1..", "without"), ("{2..1}", "backwards"), ("{a..b}", "not a number"), ("{0..99999999}", "more than")]
        {
            assert!(expand_braces(pattern).unwrap_err().contains(part), "{pattern}");
        }
        assert!(expand_braces("{0..999}{0..9999}").unwrap_err().contains("more than"));
    }
}
