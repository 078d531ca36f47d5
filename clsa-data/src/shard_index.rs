//! Where the samples of a WebDataset shard lie, and the index file that says so.
//!
//! The index of `NAME.tar` is `NAME.tar.idx`: the eight bytes `CLSAIDX1`; the size of the shard, the number of samples,
//! the number of labels of each sample, and the bytes of all names, as 64-bit numbers; for each sample the offset of its
//! image (64 bits), its size and the end of its name among the names (32 bits each), and its labels (32 bits each); the
//! names; and the CRC-32 of all that. Numbers are little-endian.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use crate::dataset::Split;
use crate::error::DataError;
use crate::listing::is_image;
use crate::pattern;
use crate::progress::Progress;

const MAGIC: &[u8; 8] = b"CLSAIDX1";
const HEADER: usize = 40;
const BLOCK: u64 = 512;
/// Most bytes of a file with labels.
const MAX_LABEL: u64 = 1 << 20;

/// What a shard's samples are labelled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Labelling {
    /// Not at all.
    None,
    /// With one class each.
    Class,
    /// With -1, 0 or 1 for each of so many classes, as VOC does.
    Multi(u32),
}

/// The samples of a shard, in columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardIndex {
    /// Size of the shard in bytes.
    pub(crate) size: u64,
    /// For each sample, where its image begins in the shard.
    pub(crate) offsets: Vec<u64>,
    /// For each sample, the size of its image in bytes.
    pub(crate) sizes: Vec<u32>,
    /// For each sample, the end of its name in `names`.
    pub(crate) name_ends: Vec<u32>,
    /// Names of the images in the shard, one after the other.
    pub(crate) names: String,
    /// Labels of each sample: none, one class, or for each class -1, 0 or 1.
    pub(crate) labels: Vec<i32>,
    /// Number of labels of each sample.
    pub(crate) width: u32,
}

impl ShardIndex {
    pub(crate) fn len(&self) -> usize {
        self.offsets.len()
    }

    pub(crate) fn name(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.name_ends[index - 1] as usize };
        &self.names[start..self.name_ends[index] as usize]
    }

    pub(crate) fn labels(&self, index: usize) -> &[i32] {
        let width = self.width as usize;
        &self.labels[index * width..(index + 1) * width]
    }

    /// Adds a sample; an error is a reason.
    fn push(&mut self, name: &str, offset: u64, size: u64, labels: &[i32]) -> Result<(), String> {
        let too_large = |_| format!("{name} or the names of all samples have more than 4 GiB");
        if self.offsets.is_empty() {
            self.width = labels.len() as u32;
        } else if labels.len() != self.width as usize {
            return Err(format!("{name} has {} labels, the samples before it {}", labels.len(), self.width));
        }
        self.offsets.push(offset);
        self.sizes.push(u32::try_from(size).map_err(too_large)?);
        self.names.push_str(name);
        self.name_ends.push(u32::try_from(self.names.len()).map_err(too_large)?);
        self.labels.extend_from_slice(labels);
        Ok(())
    }

    /// The form of the index file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for value in [self.size, self.len() as u64, self.width.into(), self.names.len() as u64] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        self.offsets.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        self.sizes.iter().chain(&self.name_ends).for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        self.labels.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        bytes.extend_from_slice(self.names.as_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// Reads the form of the index file.
    ///
    /// # Errors
    /// The reason for which these bytes are no index.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        if !bytes.starts_with(MAGIC) {
            return Err("does not begin as an index of a shard".into());
        }
        let cut = || "is cut short or altered".to_string();
        let Some((body, checksum)) = bytes.split_last_chunk::<4>() else { return Err(cut()) };
        if body.len() < HEADER || crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
            return Err(cut());
        }
        let header = |field: usize| {
            let at = MAGIC.len() + 8 * field;
            u64::from_le_bytes(std::array::from_fn(|byte| body[at + byte]))
        };
        let (size, count, width, names) = (header(0), header(1), header(2), header(3));
        let expected = width
            .checked_mul(4)
            .and_then(|labels| labels.checked_add(16))
            .and_then(|sample| sample.checked_mul(count))
            .and_then(|columns| columns.checked_add(names))
            .and_then(|all| all.checked_add(HEADER as u64));
        if expected != Some(body.len() as u64) {
            return Err(cut());
        }
        // All products below are at most the length of the body.
        let (count, width) = (count as usize, width as usize);
        let (offsets, rest) = body[HEADER..].split_at(8 * count);
        let (sizes, rest) = rest.split_at(4 * count);
        let (name_ends, rest) = rest.split_at(4 * count);
        let (labels, names) = rest.split_at(4 * width * count);
        let words = |bytes: &[u8]| -> Vec<u32> {
            bytes.chunks_exact(4).map(|word| u32::from_le_bytes(std::array::from_fn(|byte| word[byte]))).collect()
        };
        let index = Self {
            size,
            offsets: offsets
                .chunks_exact(8)
                .map(|word| u64::from_le_bytes(std::array::from_fn(|byte| word[byte])))
                .collect(),
            sizes: words(sizes),
            name_ends: words(name_ends),
            names: String::from_utf8(names.to_vec()).map_err(|_| "has names that are not UTF-8".to_string())?,
            labels: words(labels).into_iter().map(|word| word as i32).collect(),
            width: width as u32,
        };
        let names_fit = index.name_ends.is_sorted()
            && index.name_ends.iter().all(|&end| index.names.is_char_boundary(end as usize))
            && index.name_ends.last().is_none_or(|&end| end as usize == index.names.len());
        let images_fit = index
            .offsets
            .iter()
            .zip(&index.sizes)
            .all(|(&offset, &bytes)| offset.checked_add(bytes.into()).is_some_and(|end| end <= size));
        let classes_fit = width != 1 || index.labels.iter().all(|&label| (0..MAX_CLASSES).contains(&label.into()));
        if names_fit && images_fit && classes_fit { Ok(index) } else { Err(cut()) }
    }

    /// What the samples are labelled with.
    pub(crate) fn labelling(&self) -> Labelling {
        match self.width {
            0 => Labelling::None,
            1 => Labelling::Class,
            classes => Labelling::Multi(classes),
        }
    }
}

/// Path of the index of a shard.
pub(crate) fn index_path(shard: &Path) -> PathBuf {
    let mut name = shard.as_os_str().to_owned();
    name.push(".idx");
    name.into()
}

/// The index of a shard: its index file, or else from all headers of the shard.
pub(crate) fn open_index(shard: &Path, classes: &[String]) -> Result<ShardIndex, DataError> {
    let path = index_path(shard);
    if !path.is_file() {
        return scan(shard, classes);
    }
    let bytes = std::fs::read(&path).map_err(DataError::io(&path))?;
    let index = ShardIndex::from_bytes(&bytes).map_err(|reason| DataError::refused(&path, reason))?;
    let size = std::fs::metadata(shard).map_err(DataError::io(shard))?.len();
    if size != index.size {
        let expected = index.size;
        return Err(DataError::refused(
            shard,
            format!("has {size} bytes, but its index was made for {expected}; if the shard is whole, delete the index"),
        ));
    }
    Ok(index)
}

/// Writes the index of a shard beside it, for shards that other tools made. `classes` are the names that `.cls` files
/// may hold instead of numbers.
///
/// # Errors
/// [`DataError`] if the shard is not whole or the index cannot be written.
pub fn write_index(shard: &Path, classes: &[String]) -> Result<(), DataError> {
    let index = scan(shard, classes)?;
    write_whole(&index_path(shard), &index.to_bytes())
}

/// What was indexed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct IndexReport {
    /// Shards whose index was written.
    pub shards: usize,
    /// Samples in them.
    pub samples: usize,
}

/// Writes the index of every shard that the pattern of a source `wds:PATTERN` names, in all its splits, whether it has
/// one already or not. `progress` counts shards, from any thread.
///
/// # Errors
/// [`DataError`] if the pattern names no shards, one is not whole, or an index cannot be written.
pub fn write_indexes(pattern: &str, progress: &(dyn Fn(Progress) + Sync)) -> Result<IndexReport, DataError> {
    let mut shards = pattern::files(pattern, "tar", Split::Train)?;
    match pattern::files(pattern, "tar", Split::Test) {
        Ok(test) => shards.extend(test),
        Err(DataError::NoSplit { .. }) => {}
        Err(error) => return Err(error),
    }
    let classes = class_names(&shards)?;
    let done = AtomicU64::new(0);
    let samples = shards.par_iter().map(|shard| {
        let index = scan(shard, &classes)?;
        write_whole(&index_path(shard), &index.to_bytes())?;
        progress(Progress { done: done.fetch_add(1, Ordering::Relaxed) + 1, total: shards.len() as u64 });
        Ok(index.len())
    });
    let samples = samples.collect::<Result<Vec<usize>, DataError>>()?.into_iter().sum();
    Ok(IndexReport { shards: shards.len(), samples })
}

/// Name of the file beside the shards that names the classes, one per line.
pub(crate) const CLASSES_FILE: &str = "classes.txt";

/// The names of the classes beside the first shard; empty without that file.
pub(crate) fn class_names(shards: &[PathBuf]) -> Result<Vec<String>, DataError> {
    match shards.first().map(|shard| shard.with_file_name(CLASSES_FILE)) {
        Some(path) if path.is_file() => {
            let text = std::fs::read_to_string(&path).map_err(DataError::io(&path))?;
            Ok(text.lines().map(String::from).collect())
        }
        _ => Ok(Vec::new()),
    }
}

/// The name of a file or folder until it is whole.
pub(crate) fn part_path(path: &Path) -> PathBuf {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    part.into()
}

/// Writes a file that appears whole or not at all.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    let part = part_path(path);
    let mut file = File::create(&part).map_err(DataError::io(&part))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(DataError::io(&part))?;
    std::fs::rename(&part, path).map_err(DataError::io(path))
}

/// Files of one sample, as they are met in a shard.
#[derive(Default)]
struct Pending {
    key: String,
    image: Option<(String, u64, u64)>,
    class: Option<Vec<i32>>,
}

impl Pending {
    fn finish(self, index: &mut ShardIndex) -> Result<(), String> {
        match self.image {
            // Files without an image are no sample.
            None => Ok(()),
            Some((name, offset, size)) => index.push(&name, offset, size, &self.class.unwrap_or_default()),
        }
    }
}

/// Reads all headers of a shard, and its labels, in sequence.
pub(crate) fn scan(shard: &Path, classes: &[String]) -> Result<ShardIndex, DataError> {
    let file = File::open(shard).map_err(DataError::io(shard))?;
    let size = file.metadata().map_err(DataError::io(shard))?.len();
    scan_reader(BufReader::new(file), size, classes).map_err(|reason| DataError::refused(shard, reason))
}

/// Makes the index of a shard of `size` bytes from its headers. `classes` are the names that `.cls` files may hold.
///
/// # Errors
/// The reason for which the shard is refused.
pub fn scan_reader<R: Read + std::io::Seek>(reader: R, size: u64, classes: &[String]) -> Result<ShardIndex, String> {
    let broken = |error: std::io::Error| format!("is not a whole tar archive: {error}");
    let mut archive = tar::Archive::new(reader);
    let mut index = ShardIndex { size, ..ShardIndex::default() };
    let mut pending = Pending::default();
    let mut end = 0;
    for entry in archive.entries_with_seek().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.to_string_lossy().into_owned();
        let (offset, bytes) = (entry.raw_file_position(), entry.size());
        end = offset.saturating_add(bytes.div_ceil(BLOCK).saturating_mul(BLOCK));
        if end > size {
            return Err(format!("is cut short: {path} should end at byte {end}, the file ends at {size}"));
        }
        if !entry.header().entry_type().is_file() {
            continue;
        }
        // The key ends at the first dot of the file name.
        let name_start = path.rfind('/').map_or(0, |at| at + 1);
        let Some(dot) = path[name_start..].find('.').filter(|&dot| dot > 0) else { continue };
        let (key, extension) = (&path[..name_start + dot], path[name_start + dot + 1..].to_ascii_lowercase());
        if key != pending.key {
            std::mem::take(&mut pending).finish(&mut index)?;
            pending.key = key.into();
        }
        if extension == "cls" || extension == "json" {
            let mut text = String::new();
            let read = (&mut entry).take(MAX_LABEL).read_to_string(&mut text);
            read.map_err(|error| format!("{path} cannot be read: {error}"))?;
            let labels =
                if extension == "cls" { parse_cls(&text, classes).map(Some) } else { parse_json(&text, classes) };
            if let Some(labels) = labels.map_err(|reason| format!("{path} {reason}"))? {
                pending.class = Some(labels);
            }
        } else if !extension.contains('.') && is_image(&path[name_start..]) && pending.image.is_none() {
            pending.image = Some((path.clone(), offset, bytes));
        }
    }
    pending.finish(&mut index)?;
    if size < end.saturating_add(BLOCK) {
        return Err("is cut short: the blocks that end a tar archive are missing".into());
    }
    if index.len() == 0 {
        return Err("has no sample with an image".into());
    }
    Ok(index)
}

/// Most classes that numbers in a shard may stand for.
const MAX_CLASSES: i64 = 1_000_000;

fn class_number(number: i64) -> Result<i32, String> {
    if (0..MAX_CLASSES).contains(&number) {
        Ok(number as i32)
    } else {
        Err(format!("has the class {number}, which is not in 0..{MAX_CLASSES}"))
    }
}

/// A `.cls` file: a number, or one of the names of the classes. An error is a reason.
pub(crate) fn parse_cls(text: &str, classes: &[String]) -> Result<Vec<i32>, String> {
    let text = text.trim();
    if let Ok(number) = text.parse() {
        return Ok(vec![class_number(number)?]);
    }
    match classes.iter().position(|class| class == text) {
        Some(class) => Ok(vec![class as i32]),
        None => Err(format!("has `{}`, neither a number nor a known class", text.chars().take(40).collect::<String>())),
    }
}

/// A `.json` file: `label`, `cls` or `class` with a number or the name of a class, or `labels` with -1, 0 and 1 for each class;
/// `None` without any of these. An error is a reason.
pub(crate) fn parse_json(text: &str, classes: &[String]) -> Result<Option<Vec<i32>>, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
    let label = ["label", "cls", "class"].iter().find_map(|key| value.get(key).filter(|value| !value.is_null()));
    if let Some(label) = label {
        return match (label.as_i64(), label.as_str()) {
            (Some(number), _) => Ok(Some(vec![class_number(number)?])),
            (None, Some(name)) => parse_cls(name, classes).map(Some),
            (None, None) => Err(format!("has the label {label}, neither a whole number nor the name of a class")),
        };
    }
    let Some(labels) = value.get("labels").and_then(|labels| labels.as_array()) else { return Ok(None) };
    let labels: Option<Vec<i32>> =
        labels.iter().map(|label| label.as_i64().filter(|label| (-1..=1).contains(label)).map(|l| l as i32)).collect();
    match labels {
        Some(labels) if labels.len() >= 2 => Ok(Some(labels)),
        _ => Err("has `labels` that are not -1, 0 or 1 for each of two classes or more".into()),
    }
}
