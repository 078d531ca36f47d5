//! `idx:PATH`: a folder with the MNIST family's files, gzipped or not.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::GzDecoder;

use super::spec::{Argument, Spec};
use crate::decode::Limits;
use crate::error::{DataError, Fault};
use crate::planes::Planes;
use crate::printable::{name_of, printable_path};
use crate::split::Split;

pub(super) static SPEC: Spec = Spec {
    name: "idx",
    argument: Argument::Place("PATH"),
    summary: "MNIST and its family",
    details: "a folder with the four files, gzipped or not",
    feature: None,
    open: Some(|path, split, limits| Ok(Arc::new(open(Path::new(path), split, limits)?))),
};

/// Most bytes that a file may have, unpacked; the largest of the family (EMNIST by class) has 548 MB.
const MAX_FILE: u64 = 1 << 30;

/// Opens a split; the classes are the numbers up to the largest label of the training split.
fn open(folder: &Path, split: Split, limits: Limits) -> Result<Planes, DataError> {
    if !folder.is_dir() {
        return Err(Fault::Missing.at(folder, "is not a folder that can be read"));
    }
    let image_file = find(folder, split, "images")?;
    let label_file = find(folder, split, "labels")?;
    let mut images = read(&image_file)?;
    let (shape, pixels) = parse_idx(&images).map_err(|reason| Fault::Damaged.at(&image_file, reason))?;
    let &[count, height, width] = shape.as_slice() else {
        return Err(Fault::Layout.at(image_file, format!("has {} dimensions, not 3", shape.len())));
    };
    if count == 0 || height == 0 || width == 0 {
        return Err(Fault::Empty.at(image_file, "has no pixels"));
    }
    if u64::from(height) * u64::from(width) > limits.max_pixels {
        let most = limits.max_pixels;
        return Err(Fault::Unsupported.at(image_file, format!("has images of {width}x{height}, above {most} pixels")));
    }
    let header = images.len() - pixels.len();
    let labels = read_labels(&label_file)?;
    if labels.len() != count as usize {
        return Err(Fault::Labels.at(label_file, format!("has {} labels for {count} images", labels.len())));
    }
    let train =
        if split == Split::Train { labels.clone() } else { read_labels(&find(folder, Split::Train, "labels")?)? };
    let classes = usize::from(train.iter().copied().max().unwrap_or(0)) + 1;
    if let Some(at) = labels.iter().position(|&label| usize::from(label) >= classes) {
        let label = labels[at];
        return Err(Fault::Labels.at(label_file, format!("label {at} is {label}, a class not trained on")));
    }
    images.drain(..header);
    Ok(Planes {
        classes: (0..classes).map(|class| class.to_string()).collect(),
        labels,
        pixels: images,
        channels: 1,
        width,
        height,
        file: name_of(&image_file),
    })
}

/// The one file of a folder that holds `what` (`images`, `labels`) of `split`.
fn find(folder: &Path, split: Split, what: &str) -> Result<PathBuf, DataError> {
    let splits: &[&str] = if split == Split::Train { &["train"] } else { &["t10k", "test"] };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(DataError::read(folder))? {
        let path = entry.map_err(DataError::read(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem = name.strip_suffix(".gz").unwrap_or(&name);
        let is_named = stem.ends_with("-ubyte") && splits.iter().any(|split| stem.contains(&format!("{split}-{what}")));
        // Some archives unpack to a folder of such a name beside the file, and some systems leave a hidden file there.
        if is_named && !name.starts_with('.') && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    // The same file gzipped and not is one; the unpacked one is read.
    found.dedup_by(|gz, plain| gz.extension().is_some_and(|e| e == "gz") && gz.with_extension("") == *plain);
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(DataError::no_split(
            split,
            folder,
            format!("has no file {}-{what}-idx?-ubyte, gzipped or not", splits[0]),
        )),
        [a, b, ..] => {
            let (a, b) = (printable_path(a), printable_path(b));
            Err(Fault::Layout.at(folder, format!("has more than one file of {split} {what}: {a} and {b}")))
        }
    }
}

/// The bytes of a file, gzipped or not, at most those that its header states.
fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    let broken = |error: io::Error| Fault::Damaged.at(path, format!("cannot be read to its end: {error}"));
    let file = BufReader::new(File::open(path).map_err(DataError::read(path))?);
    let is_packed = path.extension().is_some_and(|extension| extension == "gz");
    let mut reader: Box<dyn Read> = if is_packed { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
    let mut bytes = Vec::new();
    let mut more = |most, bytes: &mut Vec<u8>| (&mut reader).take(most).read_to_end(bytes).map_err(broken);
    more(4, &mut bytes)?;
    let dimensions = bytes.get(3).copied().unwrap_or(0);
    more(4 * u64::from(dimensions), &mut bytes)?;
    let stated =
        shape(&bytes[4.min(bytes.len())..]).into_iter().fold(1u64, |all, size| all.saturating_mul(size.into()));
    if stated > MAX_FILE {
        return Err(Fault::Unsupported.at(path, format!("states {stated} values, above the limit of {MAX_FILE}")));
    }
    // One more shows that the file is longer.
    more(stated + 1, &mut bytes)?;
    Ok(bytes)
}

fn read_labels(path: &Path) -> Result<Vec<u8>, DataError> {
    let bytes = read(path)?;
    let (shape, labels) = parse_idx(&bytes).map_err(|reason| Fault::Damaged.at(path, reason))?;
    if shape.len() != 1 {
        return Err(Fault::Layout.at(path, format!("has {} dimensions, not 1", shape.len())));
    }
    Ok(labels.to_vec())
}

/// Reads an IDX file of bytes: two zero bytes, the type (8 for bytes), the number of dimensions, each of these as a
/// big-endian 32-bit number, then the values. Returns dimensions and values.
///
/// # Errors
/// The reason for which these bytes are no such file.
pub fn parse_idx(bytes: &[u8]) -> Result<(Vec<u32>, &[u8]), String> {
    let [0, 0, kind, dimensions, rest @ ..] = bytes else {
        return Err("does not begin as an IDX file".into());
    };
    if *kind != 8 {
        return Err(format!("holds values of type {kind:#04x}, not of bytes (0x08)"));
    }
    let header = 4 * usize::from(*dimensions);
    if *dimensions == 0 || rest.len() < header {
        return Err("ends within its header".into());
    }
    let (sizes, values) = rest.split_at(header);
    let shape = shape(sizes);
    let expected = shape.iter().try_fold(1u64, |product, &size| product.checked_mul(size.into()));
    if expected != Some(values.len() as u64) {
        return Err(format!("states the dimensions {shape:?} but has {} values", values.len()));
    }
    Ok((shape, values))
}

/// The dimensions in a header.
fn shape(sizes: &[u8]) -> Vec<u32> {
    sizes.chunks_exact(4).map(|size| u32::from_be_bytes([size[0], size[1], size[2], size[3]])).collect()
}
