//! Which files a pattern names: a folder, or paths with `{split}`, `{a,b}`, `{000..127}`, `*` and `?`.
//!
//! Braces are the ones of the webdataset library, which are those of bash but for `{split}`; none may be within others. They
//! are expanded before any file is looked for: a shard of `{000..127}` that is missing is an error, where `*` would leave it out
//! in silence. Brackets are brackets, and a dot that begins a name has to be written.

mod folder;

use std::path::{Component, Path, PathBuf};

use crate::address::is_address;
use crate::error::{DataError, Fault};
use crate::listing::is_hidden;
use crate::object::Opener;
use crate::printable::printable_path;
use crate::split::{Split, Stated};
use crate::wildcards::with_plain_brackets;
use folder::folder_files;

/// Most files that the braces of one pattern may name: a slip such as `{0..9999999999}` ends in a message, not in a full
/// memory.
const MOST: usize = 1_000_000;

/// Bytes that their names may take together.
const MOST_BYTES: usize = 256 << 20;

/// Digits of the largest number that is counted to.
const MOST_DIGITS: usize = 20;

/// The files of `split` that `pattern` names, in order.
///
/// * A folder: its files with the extension, in it, in its folder `data`, or in folders below. Words in their names, such
///   as `train` and `validation`, state the split ([`Stated`]); without any, all are the training split.
/// * A pattern with `{split}`: that is replaced by the first word of the split that names a file.
/// * Any other pattern names the training split, unless the words in the names state both splits.
///
/// A pattern of addresses is the same, but for a folder, which ends with `/`. That an object is there is only known when it is
/// opened.
pub(crate) fn files(pattern: &str, extension: &str, split: Split, opener: &Opener) -> Result<Vec<PathBuf>, DataError> {
    let no_split = || {
        let way = "name it by a folder with files train* and val* or test*, or with {split} in the pattern";
        DataError::no_split(split, pattern, format!("has no {split} split; {way}"))
    };
    let folder = Path::new(pattern);
    if is_address(pattern) && pattern.ends_with('/') {
        let files = expand(&format!("{pattern}*.{extension}"), opener)?;
        if files.is_empty() {
            return Err(Fault::Layout.at(pattern, format!("has no .{extension} file")));
        }
        return Parted::by_words(files, folder)?.of_folder(split, folder);
    }
    if folder.is_dir() {
        let files = folder_files(folder, extension)?;
        return Parted::by_words(files, folder)?.of_folder(split, folder);
    }
    if pattern.contains("{split}") {
        for word in split.roles().iter().flat_map(|role| role.words()) {
            let files = expand(&pattern.replace("{split}", word), opener)?;
            if opener.may_be_there(&files)? {
                let files = existing(files)?;
                // `{split}*` names `train_val-0.tar` too.
                let parted = Parted::by_words(files.clone(), &common_folder(&files))?;
                let others = if split == Split::Train { parted.test } else { parted.train };
                return match others.first() {
                    None => Ok(files),
                    Some(other) => {
                        let reason = format!("is named as another split than {split}, which `{word}` in {pattern} is");
                        Err(Fault::Layout.at(other, reason))
                    }
                };
            }
        }
        return Err(no_split());
    }
    let files = expand(pattern, opener)?;
    if files.is_empty() {
        return Err(Fault::Missing.at(pattern, "names no file"));
    }
    let files = existing(files)?;
    let root = common_folder(&files);
    let parted = Parted::by_words(files.clone(), &root)?;
    if parted.test.is_empty() || parted.train.is_empty() && parted.unnamed.is_empty() {
        // All are of one split, and the pattern was written to name them.
        return if split == Split::Train { Ok(files) } else { Err(no_split()) };
    }
    parted.of_folder(split, Path::new(pattern))
}

/// Files by the split that their names state.
#[derive(Default)]
struct Parted {
    train: Vec<PathBuf>,
    /// Those for validation, or else those for testing.
    test: Vec<PathBuf>,
    unnamed: Vec<PathBuf>,
}

impl Parted {
    /// Parts files by the words in their paths below `root`.
    fn by_words(files: Vec<PathBuf>, root: &Path) -> Result<Self, DataError> {
        let mut parted = Self::default();
        let mut test_role = None;
        for file in files {
            let below = file.strip_prefix(root).unwrap_or(&file).with_extension("");
            match Stated::by(&below.to_string_lossy()) {
                Stated::Nothing => parted.unnamed.push(file),
                Stated::Both => {
                    let reason = "has a name of more than one split; rename it, or name the files of each split by \
                                  {split} in a pattern";
                    return Err(Fault::Layout.at(file, reason));
                }
                Stated::One { role, .. } if role.split() == Split::Train => parted.train.push(file),
                Stated::One { role, .. } => {
                    if test_role.is_none_or(|known| role < known) {
                        test_role = Some(role);
                        parted.test.clear();
                    }
                    if test_role == Some(role) {
                        parted.test.push(file);
                    }
                }
            }
        }
        Ok(parted)
    }

    /// The files of a split where both splits are in one place, named `at` in messages.
    fn of_folder(self, split: Split, at: &Path) -> Result<Vec<PathBuf>, DataError> {
        if let (Some(unnamed), Some(named)) = (self.unnamed.first(), self.train.first().or(self.test.first())) {
            let reason = format!(
                "is of no split by its name, but {} beside it is; name the training files train* and the test files val* \
                 or test*, or use a pattern with {{split}}",
                printable_path(named)
            );
            return Err(Fault::Layout.at(unnamed, reason));
        }
        match (split, self.train.is_empty(), self.test.is_empty()) {
            (Split::Train, true, true) => Ok(self.unnamed),
            (Split::Train, false, _) => Ok(self.train),
            (Split::Test, _, false) => Ok(self.test),
            (Split::Train, true, false) => {
                let named = printable_path(&self.test[0]);
                let reason =
                    format!("has only files of the test split, such as {named}; a pattern names them for training");
                Err(DataError::no_split(split, at, reason))
            }
            (Split::Test, _, true) => Err(DataError::no_split(split, at, "has no file of the test split")),
        }
    }
}

/// The deepest folder that all these files are in.
fn common_folder(files: &[PathBuf]) -> PathBuf {
    let mut common = files.first().and_then(|file| file.parent()).unwrap_or(Path::new("")).to_path_buf();
    for file in files {
        while !file.starts_with(&common) && common.pop() {}
    }
    common
}

fn existing(files: Vec<PathBuf>) -> Result<Vec<PathBuf>, DataError> {
    match files.iter().find(|file| !is_address(file) && !file.is_file()) {
        Some(missing) => Err(Fault::Missing.at(missing, "is not a file that can be read")),
        None => Ok(files),
    }
}

/// All paths that a pattern stands for: braces first, whether the files exist or not, then `*` and `?` by what exists.
fn expand(pattern: &str, opener: &Opener) -> Result<Vec<PathBuf>, DataError> {
    let mut paths = Vec::new();
    for text in expand_braces(pattern, MOST).map_err(|reason| Fault::Pattern.at(pattern, reason))? {
        if !text.contains(['*', '?']) {
            paths.push(PathBuf::from(text));
            continue;
        }
        if is_address(&text) {
            paths.extend(opener.list(&text)?);
            continue;
        }
        let wrong = |error: glob::PatternError| Fault::Pattern.at(pattern, error.to_string());
        let hidden = HiddenNames::of(&text).map_err(wrong)?;
        for path in glob::glob(&with_plain_brackets(&text)).map_err(wrong)? {
            let unreadable = |error: glob::GlobError| {
                let path = error.path().to_path_buf();
                DataError::read(&path)(error.into())
            };
            let path = path.map_err(unreadable)?;
            if hidden.allow(&path) {
                paths.push(path);
            }
        }
    }
    Ok(paths)
}

/// The hidden names that a pattern asks for. The option of the crate `glob` for this names no hidden file at all, and panics at a
/// name that is not UTF-8.
struct HiddenNames(Vec<glob::Pattern>);

impl HiddenNames {
    fn of(pattern: &str) -> Result<Self, glob::PatternError> {
        let parts = pattern.split(std::path::is_separator).filter(|part| part.starts_with('.'));
        parts.map(|part| glob::Pattern::new(&with_plain_brackets(part))).collect::<Result<_, _>>().map(Self)
    }

    /// Whether no name in a path is hidden but those that were asked for.
    fn allow(&self, path: &Path) -> bool {
        path.components().all(|part| match part {
            Component::Normal(name) if is_hidden(name) => self.0.iter().any(|asked| asked.matches_path(name.as_ref())),
            _ => true,
        })
    }
}

/// Replaces `{a,b}` and `{000..127}` by what they stand for.
///
/// # Errors
/// The reason for which the pattern is wrong, such as that it names more than `most` files.
pub fn expand_braces(pattern: &str, most: usize) -> Result<Vec<String>, String> {
    let mut done = vec![String::new()];
    let mut rest = pattern;
    while let Some(open) = rest.find('{') {
        let Some(close) = rest[open..].find('}') else {
            return Err("has a `{` without a `}`".into());
        };
        let within = &rest[open + 1..open + close];
        if within.contains('{') {
            return Err("has braces within braces, which are not read; name the files without".into());
        }
        let choices = choices(within, most)?;
        let count = done.len().saturating_mul(choices.len());
        if count > most {
            return Err(format!("names more than {most} files"));
        }
        // No name is longer than the pattern.
        if count.saturating_mul(pattern.len()) > MOST_BYTES {
            return Err(format!("is too long to name {count} files"));
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
fn choices(text: &str, most: usize) -> Result<Vec<String>, String> {
    // Paths that lead upwards, as in `{../a,../b}`, are no range.
    let is_range = |(first, _): &(&str, &str)| !text.contains(',') || first.parse::<u64>().is_ok();
    let Some((first, last)) = text.split_once("..").filter(is_range) else {
        return Ok(text.split(',').map(String::from).collect());
    };
    let number = |text: &str| -> Result<u64, String> {
        if text.len() > MOST_DIGITS {
            return Err(format!("has a range with a number of more than {MOST_DIGITS} digits"));
        }
        text.parse().map_err(|_| format!("has a range with `{text}`, which is not a number"))
    };
    let (low, high) = (number(first)?, number(last)?);
    if high < low {
        return Err(format!("has a range that runs backwards: {{{text}}}"));
    }
    if high - low >= most as u64 {
        return Err(format!("names more than {most} files"));
    }
    Ok((low..=high).map(|value| format!("{value:0width$}", width = first.len())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_stand_for_padded_ranges_and_lists() {
        assert_eq!(expand_braces("a{08..11}.tar", 4).unwrap(), ["a08.tar", "a09.tar", "a10.tar", "a11.tar"]);
        assert_eq!(expand_braces("{x,y}{1..2}", 4).unwrap(), ["x1", "x2", "y1", "y2"]);
        assert_eq!(expand_braces("{../a,../b}.tar", 2).unwrap(), ["../a.tar", "../b.tar"]);
        assert_eq!(expand_braces("plain", 1).unwrap(), ["plain"]);
    }

    #[test]
    fn wrong_braces_are_refused_with_a_reason() {
        for (pattern, part) in [
            ("a{1..", "without"),
            (&format!("{{{}..1}}", "0".repeat(70_000)), "digits"),
            ("{2..1}", "backwards"),
            ("{a..b}", "not a number"),
            ("{0..2,5}", "not a number"),
            ("{val-0,train-{000..009}}.tar", "braces within braces"),
            ("{0..1000}", "more than"),
        ] {
            assert!(expand_braces(pattern, 1000).unwrap_err().contains(part), "{pattern}");
        }
        let long = format!("{}{{1..1000000}}", "x".repeat(300));
        assert!(expand_braces(&long, MOST).unwrap_err().contains("too long"));
        assert!(expand_braces("{0..99}{0..10}", 1000).unwrap_err().contains("more than"));
    }
}
