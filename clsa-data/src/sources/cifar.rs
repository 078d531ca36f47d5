//! `cifar-bin:PATH`: CIFAR-10 and CIFAR-100 in their binary version, as a folder or as the tar.gz that is distributed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use flate2::read::GzDecoder;

use super::spec::{Argument, Spec};
use crate::error::{DataError, Fault};
use crate::planes::Planes;
use crate::printable::name_of;
use crate::split::Split;
use crate::text::decode_text;

pub(super) static SPEC: Spec = Spec {
    name: "cifar-bin",
    argument: Argument::Place("PATH"),
    summary: "CIFAR-10 or CIFAR-100 in the binary version",
    details: "the folder or the tar.gz",
    feature: None,
    open: Some(|path, split, _| Ok(Arc::new(open(Path::new(path), split)?))),
};

const SIDE: u32 = 32;
const PIXELS: usize = (SIDE * SIDE) as usize;
/// The largest file that belongs to either data set has 153,700,000 bytes.
const MAX_FILE: u64 = 200_000_000;

/// How one of the two data sets is stored.
struct Form {
    train: &'static [&'static str],
    test: &'static [&'static str],
    names: &'static str,
    classes: usize,
    /// Bytes before the pixels; the last of them is the label (CIFAR-100 has the coarse label before it).
    label_bytes: usize,
}

impl Form {
    fn files(&self, split: Split) -> &'static [&'static str] {
        match split {
            Split::Train => self.train,
            Split::Test => self.test,
        }
    }
}

const CIFAR_10: Form = Form {
    train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
    test: &["test_batch.bin"],
    names: "batches.meta.txt",
    classes: 10,
    label_bytes: 1,
};

const CIFAR_100: Form =
    Form { train: &["train.bin"], test: &["test.bin"], names: "fine_label_names.txt", classes: 100, label_bytes: 2 };

/// Opens one split.
fn open(path: &Path, split: Split) -> Result<Planes, DataError> {
    let mut files = if path.is_dir() { read_folder(path, split)? } else { read_archive(path, split)? };
    let has_one = |form: &Form| form.files(split).iter().any(|name| files.contains_key(*name));
    let forms: Vec<Form> = [CIFAR_10, CIFAR_100].into_iter().filter(has_one).collect();
    let form = match forms.as_slice() {
        [form] => form,
        [] => {
            let reason = format!(
                "has none of the {split} files of CIFAR-10 (data_batch_1.bin …) or CIFAR-100 (train.bin, test.bin)"
            );
            return Err(DataError::no_split(split, path, reason));
        }
        [_, ..] => return Err(Fault::Layout.at(path, "has files of both CIFAR-10 and CIFAR-100; keep those of one")),
    };
    let record = form.label_bytes + 3 * PIXELS;
    let (mut labels, mut pixels) = (Vec::new(), Vec::new());
    for &name in form.files(split) {
        let Some(bytes) = files.remove(name) else {
            return Err(Fault::Layout.at(path, format!("lacks the file {name}")));
        };
        if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
            let reason = format!("{name} has {} bytes, not a multiple of the {record} of a record", bytes.len());
            return Err(Fault::Damaged.at(path, reason));
        }
        for (index, record) in bytes.chunks_exact(record).enumerate() {
            let label = record[form.label_bytes - 1];
            if usize::from(label) >= form.classes {
                let last = form.classes - 1;
                let reason = format!("record {index} of {name} has label {label}, above the last class {last}");
                return Err(Fault::Labels.at(path, reason));
            }
            labels.push(label);
            pixels.extend_from_slice(&record[form.label_bytes..]);
        }
    }
    let classes = match files.remove(form.names) {
        Some(text) => class_names(path, form, &text)?,
        None => (0..form.classes).map(|class| class.to_string()).collect(),
    };
    let file = name_of(path);
    Ok(Planes { classes, labels, pixels, channels: 3, width: SIDE, height: SIDE, file })
}

fn class_names(path: &Path, form: &Form, text: &[u8]) -> Result<Vec<String>, DataError> {
    let text = decode_text(text).map_err(|reason| Fault::Unsupported.at(path, format!("{} {reason}", form.names)))?;
    let names: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect();
    if names.len() != form.classes {
        let reason = format!("{} names {} classes, not {}", form.names, names.len(), form.classes);
        return Err(Fault::Labels.at(path, reason));
    }
    Ok(names)
}

/// Whether a file is needed for a split of either data set.
fn is_wanted(name: &str, split: Split) -> bool {
    [CIFAR_10, CIFAR_100].iter().any(|form| form.names == name || form.files(split).contains(&name))
}

fn read_limited(reader: impl Read, path: &Path) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    reader.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(DataError::read(path))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Fault::Unsupported.at(path, "is larger than any file of CIFAR"));
    }
    Ok(bytes)
}

/// Files of `split` in a folder, or in the folder below it that the archive unpacks to.
fn read_folder(path: &Path, split: Split) -> Result<HashMap<String, Vec<u8>>, DataError> {
    let mut files = HashMap::new();
    let unpacked = ["cifar-10-batches-bin", "cifar-100-binary"];
    if unpacked.iter().all(|name| path.join(name).is_dir()) {
        return Err(Fault::Layout.at(path, format!("has both {}; name one of them", unpacked.join(" and "))));
    }
    for folder in unpacked.map(|name| path.join(name)).into_iter().chain([path.to_path_buf()]) {
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            entries => entries.map_err(DataError::read(&folder))?,
        };
        for entry in entries {
            let entry = entry.map_err(DataError::read(&folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_wanted(&name, split) {
                let file = File::open(entry.path()).map_err(DataError::read(&entry.path()))?;
                files.insert(name, read_limited(file, &entry.path())?);
            }
        }
        if !files.is_empty() {
            break;
        }
    }
    Ok(files)
}

/// Files of `split` in a tar archive, gzipped or not.
fn read_archive(path: &Path, split: Split) -> Result<HashMap<String, Vec<u8>>, DataError> {
    let open = || File::open(path).map(BufReader::new).map_err(DataError::read(path));
    let mut magic = [0; 2];
    open()?.read_exact(&mut magic).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => Fault::Damaged.at(path, "is empty"),
        _ => DataError::read(path)(error),
    })?;
    let reader: Box<dyn Read> =
        if magic == [0x1f, 0x8b] { Box::new(GzDecoder::new(open()?)) } else { Box::new(open()?) };
    let mut files = HashMap::new();
    let broken = |error: std::io::Error| Fault::Damaged.at(path, format!("is not a whole tar archive: {error}"));
    // Names as they stand in the headers: those that are wanted are short, and long ones need not be read.
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries().map_err(broken)?.raw(true) {
        let entry = entry.map_err(broken)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path().map_err(broken)?.file_name().map(|name| name.to_string_lossy().into_owned());
        if let Some(name) = name.filter(|name| is_wanted(name, split)) {
            let size = entry.size();
            let bytes = read_limited(entry, path)?;
            if bytes.len() as u64 != size {
                return Err(Fault::Damaged.at(path, format!("ends in the middle of {name}")));
            }
            files.insert(name, bytes);
        }
    }
    // The checksum of gzip stands behind the end of the archive.
    std::io::copy(&mut archive.into_inner().take(MAX_FILE), &mut std::io::sink()).map_err(broken)?;
    Ok(files)
}
