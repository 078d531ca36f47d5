//! Features on disk: written once, named and checked by what they are of, read in blocks.
//!
//! A file is a safetensors file. Its header is read as the crate `safetensors` reads it; it is written here, because the
//! values come one block after the other and may be more than the memory holds, where that crate wants all of them at once.

use super::rows::FeatureRows;
use crate::EvalError;
use base16ct::lower::encode_string as hex;
use clsa_augment::CenterCrop;
use clsa_files::WholeFile;
use safetensors::tensor::{Dtype, Metadata};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Version of the file's form.
const FORMAT: &str = "clsa-features-1";
/// Bytes that are hashed at a time.
const BLOCK: usize = 1 << 20;
/// Room for the header of a file, which lists one tensor.
const MAX_HEADER: u64 = 1 << 16;

/// Feature vectors in a file: a safetensors file with one tensor `features` (rows, dim), and in its metadata a text that
/// says what they are of, and the SHA-256 of the values. Blocks of rows are read when they are asked for, so that a
/// training set need not fit into memory.
///
/// # Examples
/// ```
/// use clsa_eval::features::{FeatureFile, FeatureRows};
///
/// let folder = tempfile::tempdir()?;
/// let panics = |error| panic!("{error}");
/// let open = || {
///     FeatureFile::open_or_make(folder.path(), "three vectors", [3, 2], &panics, |sink| {
///         sink(&[0.0, 0.1, 1.0, 1.1])?;
///         sink(&[2.0, 2.1])
///     })
/// };
/// assert_eq!(open()?.rows(1..3)?.as_ref(), [1.0, 1.1, 2.0, 2.1]);
/// assert!(FeatureFile::open_if_made(folder.path(), "three vectors", [3, 2])?.is_some());
/// assert!(FeatureFile::open_if_made(folder.path(), "others", [3, 2])?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FeatureFile {
    path: PathBuf,
    file: Mutex<File>,
    /// Where the values begin.
    start: u64,
    rows: usize,
    dim: usize,
}

/// What the features of a data set's center crops by an encoder are of: the text that names their [`FeatureFile`], from
/// [`data_hash`](crate::hashes::data_hash) and [`encoder_hash`](crate::hashes::encoder_hash).
pub fn center_crops_key(transform: &CenterCrop, data_sha256: &str, encoder_sha256: &str) -> String {
    // The spelling is that of the files on disk.
    format!("centre crops of {} of data {data_sha256} by {encoder_sha256}", json!(transform))
}

impl FeatureFile {
    /// The features of `of` in `folder`, from the file that is named by the hash of that text. Where there is none it is
    /// made: `make` gives all `rows` vectors of `dim` values, in order and in pieces of any size, to the function it is
    /// called with, and the file then appears whole. A file that is damaged is reported to `warn` and made anew.
    ///
    /// # Errors
    /// Those of `make`, or the folder cannot be written.
    pub fn open_or_make(
        folder: &Path,
        of: &str,
        [rows, dim]: [usize; 2],
        warn: &dyn Fn(EvalError),
        make: impl FnOnce(&mut dyn FnMut(&[f32]) -> Result<(), EvalError>) -> Result<(), EvalError>,
    ) -> Result<Self, EvalError> {
        match Self::open_if_made(folder, of, [rows, dim]) {
            Ok(Some(file)) => return Ok(file),
            Ok(None) => {}
            Err(error) => warn(error),
        }
        let path = path(folder, of);
        let failed = |source| EvalError::Io { path: path.clone(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let mut writer = Writer::new(&path, of, [rows, dim]).map_err(failed)?;
        make(&mut |values| writer.push(values).map_err(failed))?;
        if writer.values != rows * dim {
            return Err(EvalError::Size { what: "the features", got: writer.values, expected: rows * dim });
        }
        let start = writer.start;
        let file = writer.finish().and_then(|()| File::open(&path)).map_err(failed)?;
        Ok(Self { path, file: Mutex::new(file), start, rows, dim })
    }

    /// The features of `of` in `folder`, where they were made before.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn open_if_made(folder: &Path, of: &str, shape: [usize; 2]) -> Result<Option<Self>, EvalError> {
        let path = path(folder, of);
        if path.exists() { Self::open(&path, of, shape).map(Some) } else { Ok(None) }
    }

    /// Opens a file and checks that it is whole.
    fn open(path: &Path, of: &str, [rows, dim]: [usize; 2]) -> Result<Self, EvalError> {
        let damaged =
            |what: String| EvalError::File { path: path.to_owned(), reason: format!("these features {what}") };
        let unreadable = |e: io::Error| damaged(format!("cannot be read ({e})"));
        let mut file = File::open(path).map_err(unreadable)?;
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(unreadable)?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER {
            return Err(damaged("are damaged".to_owned()));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(unreadable)?;
        let header: Metadata = serde_json::from_slice(&header).map_err(|_| damaged("are damaged".to_owned()))?;
        let Some(sha256) = hash_of_values(&header, of, [rows, dim]) else {
            return Err(damaged("are of something else, or damaged".to_owned()));
        };
        let start = 8 + length;
        let size = file.metadata().map_err(unreadable)?.len();
        if size != start + 4 * (rows * dim) as u64 {
            return Err(damaged("are cut short or too long".to_owned()));
        }
        let mut hash = Sha256::new();
        let mut reader = BufReader::with_capacity(BLOCK, &file);
        loop {
            let block = reader.fill_buf().map_err(unreadable)?;
            if block.is_empty() {
                break;
            }
            hash.update(block);
            let read = block.len();
            reader.consume(read);
        }
        if hex(&hash.finalize()) != sha256 {
            return Err(damaged("are damaged".to_owned()));
        }
        Ok(Self { path: path.to_owned(), file: Mutex::new(file), start, rows, dim })
    }
}

impl FeatureRows for FeatureFile {
    fn len(&self) -> usize {
        self.rows
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn rows(&self, range: Range<usize>) -> Result<Cow<'_, [f32]>, EvalError> {
        let mut values = vec![0f32; range.len() * self.dim];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let read = file
            .seek(SeekFrom::Start(self.start + 4 * (range.start * self.dim) as u64))
            .and_then(|_| file.read_exact(bytemuck::cast_slice_mut(&mut values)));
        read.map_err(|source| EvalError::Io { path: self.path.clone(), source })?;
        if cfg!(target_endian = "big") {
            values.iter_mut().for_each(|value| *value = f32::from_bits(value.to_bits().swap_bytes()));
        }
        Ok(Cow::Owned(values))
    }
}

fn path(folder: &Path, of: &str) -> PathBuf {
    folder.join(format!("{}.safetensors", &hex(&Sha256::digest(of))[..16]))
}

/// A file on its way: header with a hash that is not known yet, then the values.
struct Writer<'a> {
    file: WholeFile,
    of: &'a str,
    shape: [usize; 2],
    /// Where the values begin.
    start: u64,
    hash: Sha256,
    values: usize,
}

impl<'a> Writer<'a> {
    fn new(path: &Path, of: &'a str, shape: [usize; 2]) -> io::Result<Self> {
        let mut file = WholeFile::create(path)?;
        let header = header_bytes(of, shape, &"0".repeat(64));
        file.write_all(&header)?;
        Ok(Self { file, of, shape, start: header.len() as u64, hash: Sha256::new(), values: 0 })
    }

    fn push(&mut self, values: &[f32]) -> io::Result<()> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.hash.update(&bytes);
        self.values += values.len();
        self.file.write_all(&bytes)
    }

    fn finish(mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header_bytes(self.of, self.shape, &hex(&self.hash.finalize())))?;
        self.file.commit()
    }
}

/// The hash that a header gives for the values, if these are one tensor of this shape of what `of` says.
fn hash_of_values<'a>(header: &'a Metadata, of: &str, [rows, dim]: [usize; 2]) -> Option<&'a str> {
    let texts = header.metadata().as_ref()?;
    let features = header.info("features")?;
    let is_asked_for = texts.get("format").is_some_and(|format| format == FORMAT)
        && texts.get("of").is_some_and(|named| named == of)
        && header.tensors().len() == 1
        && features.dtype == Dtype::F32
        && features.shape == [rows, dim]
        && features.data_offsets == (0, 4 * rows * dim);
    texts.get("sha256").map(String::as_str).filter(|_| is_asked_for)
}

fn header(of: &str, [rows, dim]: [usize; 2], sha256: &str) -> Value {
    json!({
        "__metadata__": { "format": FORMAT, "of": of, "sha256": sha256 },
        "features": { "dtype": "F32", "shape": [rows, dim], "data_offsets": [0, 4 * rows * dim] },
    })
}

/// The header as safetensors has it: its length, then JSON, filled up to whole words.
fn header_bytes(of: &str, shape: [usize; 2], sha256: &str) -> Vec<u8> {
    let mut json = header(of, shape, sha256).to_string();
    json += &" ".repeat(json.len().next_multiple_of(8) - json.len());
    [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat()
}
