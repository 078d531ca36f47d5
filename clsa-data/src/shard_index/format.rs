//! The form of an index on disk.
//!
//! The eight bytes `CLSAIDX3`; as 64-bit numbers the size of the shard, when it was last written (nanoseconds since 1970), a
//! digest of the class names, the number of samples, the number of labels of each sample, the bytes of all names, five
//! counts of remarks, and the bytes of their examples; for each sample the offset of its image and that of the first header of
//! its files (64 bits each), the size of the image, the end of its name among the names, the number of headers and the
//! digest of its headers and labels (32 bits each), and its labels (32 bits each); the names; the examples, a line each; and
//! the CRC-32 of all that. Numbers are little-endian.

use super::remarks::{Remark, Remarks};
use crate::label::MAX_CLASSES;

const MAGIC: &[u8; 8] = b"CLSAIDX3";
/// The forms before, which said less of the shard that they were made for.
const OLD_MAGICS: [&[u8; 8]; 2] = [b"CLSAIDX1", b"CLSAIDX2"];
const FIELDS: usize = 7 + Remarks::COUNT;
const HEADER: usize = MAGIC.len() + 8 * FIELDS;
/// Bytes of each sample but for its labels.
const SAMPLE: u64 = 32;

/// The samples of a shard, in columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardIndex {
    /// Size of the shard in bytes.
    pub(crate) size: u64,
    /// When the shard was last written, in nanoseconds since 1970; 0 where that is not known.
    pub(crate) modified: u64,
    /// A digest of the class names by which labels became numbers.
    pub(crate) classes: u64,
    /// What in the shard is not used.
    pub(crate) remarks: Remarks,
    /// For each sample, where the first header of its files begins.
    pub(crate) starts: Vec<u64>,
    /// For each sample, the number of headers of its files.
    pub(crate) headers: Vec<u32>,
    /// For each sample, the digest of its headers and labels; 0 until the index is written.
    pub(crate) digests: Vec<u32>,
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
    /// Number of labels of each sample: 0 without labels, 1 for a class, more for the presence of as many classes.
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
    pub(super) fn push(&mut self, name: &str, offset: u64, size: u64, labels: &[i32]) -> Result<(), String> {
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
        let examples: Vec<&str> = self.remarks.all().map(|remark| remark.example.as_str()).to_vec();
        let examples = examples.join("\n");
        let mut bytes = MAGIC.to_vec();
        let sizes =
            [self.size, self.modified, self.classes, self.len() as u64, self.width.into(), self.names.len() as u64];
        let counts = self.remarks.all().map(|remark| remark.count);
        for value in sizes.into_iter().chain(counts).chain([examples.len() as u64]) {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        self.offsets.iter().chain(&self.starts).for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        for column in [&self.sizes, &self.name_ends, &self.headers, &self.digests] {
            column.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        }
        self.labels.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        bytes.extend_from_slice(self.names.as_bytes());
        bytes.extend_from_slice(examples.as_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// Whether these bytes are an index in a form that is no longer read.
    pub(super) fn is_old(bytes: &[u8]) -> bool {
        OLD_MAGICS.iter().any(|magic| bytes.starts_with(*magic))
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
        let [size, modified, classes, count, width, names] = std::array::from_fn(header);
        let (counts, examples): ([u64; Remarks::COUNT], u64) =
            (std::array::from_fn(|remark| header(6 + remark)), header(FIELDS - 1));
        let expected = width
            .checked_mul(4)
            .and_then(|labels| labels.checked_add(SAMPLE))
            .and_then(|sample| sample.checked_mul(count))
            .and_then(|columns| columns.checked_add(names))
            .and_then(|columns| columns.checked_add(examples))
            .and_then(|all| all.checked_add(HEADER as u64));
        if expected != Some(body.len() as u64) {
            return Err(cut());
        }
        // All products below are at most the length of the body, but without samples any number of labels is.
        let (count, width) = (count as usize, u32::try_from(width).map_err(|_| cut())? as usize);
        let (offsets, rest) = body[HEADER..].split_at(8 * count);
        let (starts, rest) = rest.split_at(8 * count);
        let (sizes, rest) = rest.split_at(4 * count);
        let (name_ends, rest) = rest.split_at(4 * count);
        let (headers, rest) = rest.split_at(4 * count);
        let (digests, rest) = rest.split_at(4 * count);
        let (labels, rest) = rest.split_at(4 * width * count);
        let (names, examples) = rest.split_at(names as usize);
        let long_words = |bytes: &[u8]| -> Vec<u64> {
            bytes.chunks_exact(8).map(|word| u64::from_le_bytes(std::array::from_fn(|byte| word[byte]))).collect()
        };
        let words = |bytes: &[u8]| -> Vec<u32> {
            bytes.chunks_exact(4).map(|word| u32::from_le_bytes(std::array::from_fn(|byte| word[byte]))).collect()
        };
        let index = Self {
            size,
            modified,
            classes,
            remarks: remarks(counts, examples).ok_or_else(cut)?,
            offsets: long_words(offsets),
            starts: long_words(starts),
            headers: words(headers),
            digests: words(digests),
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
}

/// The remarks with these counts and these examples, a line each.
fn remarks(counts: [u64; Remarks::COUNT], examples: &[u8]) -> Option<Remarks> {
    let lines: Vec<&str> = str::from_utf8(examples).ok()?.split('\n').collect();
    let lines: [&str; Remarks::COUNT] = lines.try_into().ok()?;
    Some(Remarks::of(std::array::from_fn(|at| Remark { count: counts[at], example: lines[at].into() })))
}
