//! `parquet:PATTERN`: Hugging Face image data sets, with a column `image` of bytes and path and a column `label`.
//!
//! A row group is read as a whole and kept for the next samples; reading is fast when
//! [`crate::LoaderConfig::shuffle_buffer`] is set, so that samples come by row groups.

use std::collections::VecDeque;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use image::RgbImage;
use parquet::column::reader::ColumnReader;
use parquet::data_type::ByteArray;
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};

use crate::dataset::{Dataset, Encoded, Label, Split};
use crate::decode::{Limits, decode, dimensions};
use crate::error::{DataError, SampleError};
use crate::pattern;

/// Most bytes of row groups that are kept, beside those in use.
const CACHE_BYTES: u64 = 512 << 20;

/// A file that several threads read at once: it is opened anew for each read, because the handles that `File` gives
/// for one share its position.
struct SharedFile {
    path: PathBuf,
    len: u64,
}

impl Length for SharedFile {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for SharedFile {
    type T = <File as ChunkReader>::T;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        File::open(&self.path)?.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        File::open(&self.path)?.get_bytes(start, length)
    }
}

/// One row group of a file.
struct Group {
    file: usize,
    group: usize,
    /// Size of its images in bytes, unpacked.
    bytes: u64,
}

/// Images of a row group; `None` where the row has none. An error is a reason.
type Images = Arc<OnceLock<Result<Vec<Option<ByteArray>>, String>>>;

/// A split of a data set in parquet files.
pub(crate) struct ParquetImages {
    files: Vec<(PathBuf, SerializedFileReader<SharedFile>)>,
    groups: Vec<Group>,
    /// For each row group, the number of samples up to its end.
    ends: Vec<usize>,
    labels: Vec<i64>,
    classes: Vec<String>,
    cache: Mutex<VecDeque<(usize, Images)>>,
    limits: Limits,
}

impl ParquetImages {
    pub(crate) fn open(pattern: &str, split: Split, limits: Limits) -> Result<Self, DataError> {
        let mut this = Self {
            files: Vec::new(),
            groups: Vec::new(),
            ends: Vec::new(),
            labels: Vec::new(),
            classes: Vec::new(),
            cache: Mutex::default(),
            limits,
        };
        let mut samples = 0;
        for (at, path) in pattern::files(pattern, "parquet", split)?.into_iter().enumerate() {
            let refuse = |reason: String| DataError::refused(&path, reason);
            let len = std::fs::metadata(&path).map_err(DataError::io(&path))?.len();
            let file = SharedFile { path: path.clone(), len };
            let reader = guarded(|| SerializedFileReader::new(file).map_err(|error| error.to_string()))
                .map_err(|reason| refuse(format!("is not a whole parquet file: {reason}")))?;
            let image_column = column(&reader, "image.bytes").map_err(refuse)?;
            let label_column = column(&reader, "label").map_err(refuse)?;
            for group in 0..reader.num_row_groups() {
                let metadata = reader.metadata().row_group(group);
                let rows = usize::try_from(metadata.num_rows()).unwrap_or(0);
                let labels = guarded(|| read_labels(&reader, group, label_column, rows)).map_err(refuse)?;
                this.labels.extend(labels);
                samples += rows;
                this.ends.push(samples);
                let bytes = u64::try_from(metadata.column(image_column).uncompressed_size()).unwrap_or(0);
                this.groups.push(Group { file: at, group, bytes });
            }
            if at == 0 {
                this.classes = class_names(&reader);
            }
            this.files.push((path, reader));
        }
        if samples == 0 {
            return Err(DataError::refused(pattern, "has no rows"));
        }
        let largest = this.labels.iter().copied().max().unwrap_or(0);
        if let Some(row) = this.labels.iter().position(|&label| !(0..1_000_000).contains(&label)) {
            return Err(DataError::refused(pattern, format!("row {row} has the label {}", this.labels[row])));
        }
        if this.classes.is_empty() {
            this.classes = (0..=largest).map(|class| class.to_string()).collect();
        }
        if largest as usize >= this.classes.len() {
            let names = this.classes.len();
            return Err(DataError::refused(pattern, format!("has the label {largest}, but names for {names} classes")));
        }
        Ok(this)
    }

    /// The row group of a sample, and its number there.
    fn locate(&self, index: usize) -> (usize, usize) {
        let group = self.ends.partition_point(|&end| end <= index);
        (group, index - if group == 0 { 0 } else { self.ends[group - 1] })
    }

    /// The images of a row group, from the cache or the file.
    fn images(&self, group: usize) -> Images {
        let images = {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            match cache.iter().find(|(cached, _)| *cached == group) {
                Some((_, images)) => images.clone(),
                None => {
                    let images = Images::default();
                    cache.push_back((group, images.clone()));
                    while cache.len() > 1
                        && cache.iter().map(|(cached, _)| self.groups[*cached].bytes).sum::<u64>() > CACHE_BYTES
                    {
                        cache.pop_front();
                    }
                    images
                }
            }
        };
        let Group { file, group, .. } = self.groups[group];
        // Whoever comes first reads, outside the lock of the cache; others who want the same row group wait.
        images.get_or_init(|| {
            let reader = &self.files[file].1;
            let rows = usize::try_from(reader.metadata().row_group(group).num_rows()).unwrap_or(0);
            guarded(|| read_images(reader, group, column(reader, "image.bytes")?, rows))
        });
        images
    }

    fn bytes(&self, index: usize) -> Result<(ByteArray, String), SampleError> {
        let (group, row) = self.locate(index);
        let name = self.name(index);
        let images = self.images(group);
        let bytes = match images.get() {
            Some(Ok(images)) => images.get(row).cloned().flatten().ok_or("the row has no image bytes".to_string()),
            Some(Err(reason)) => Err(reason.clone()),
            None => Err("its row group was not read".into()),
        };
        match bytes {
            Ok(bytes) => Ok((bytes, name)),
            Err(reason) => Err(SampleError::Decode { name, reason }),
        }
    }
}

/// Runs a part of the parquet reader; a panic inside it, which some damaged files cause, becomes a reason.
fn guarded<R>(work: impl FnOnce() -> Result<R, String>) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("is damaged: the reader panicked".into()))
}

/// The column of a file with this path; an error is a reason.
fn column(reader: &SerializedFileReader<SharedFile>, path: &str) -> Result<usize, String> {
    let schema = reader.metadata().file_metadata().schema_descr();
    schema.columns().iter().position(|column| column.path().string() == path).ok_or_else(|| {
        let has: Vec<String> = schema.columns().iter().map(|column| column.path().string()).collect();
        format!("has no column `{path}`, only {}", has.join(", "))
    })
}

fn column_reader(
    reader: &SerializedFileReader<SharedFile>,
    group: usize,
    column: usize,
) -> Result<ColumnReader, String> {
    reader
        .get_row_group(group)
        .and_then(|group| group.get_column_reader(column))
        .map_err(|error| format!("row group {group} cannot be read: {error}"))
}

/// Values of a column with nulls put back where the definition levels say so.
fn spread<V: Clone>(values: Vec<V>, levels: &[i16], full: i16) -> Vec<Option<V>> {
    if full == 0 {
        return values.into_iter().map(Some).collect();
    }
    let mut values = values.into_iter();
    levels.iter().map(|&level| if level == full { values.next() } else { None }).collect()
}

fn read_images(
    reader: &SerializedFileReader<SharedFile>,
    group: usize,
    column: usize,
    rows: usize,
) -> Result<Vec<Option<ByteArray>>, String> {
    let full = reader.metadata().file_metadata().schema_descr().column(column).max_def_level();
    let ColumnReader::ByteArrayColumnReader(mut typed) = column_reader(reader, group, column)? else {
        return Err("column `image.bytes` does not hold bytes".into());
    };
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    while typed
        .read_records(rows, Some(&mut levels), None, &mut values)
        .map_err(|error| format!("row group {group} cannot be read: {error}"))?
        .0
        > 0
    {}
    Ok(spread(values, &levels, full))
}

fn read_labels(
    reader: &SerializedFileReader<SharedFile>,
    group: usize,
    column: usize,
    rows: usize,
) -> Result<Vec<i64>, String> {
    let full = reader.metadata().file_metadata().schema_descr().column(column).max_def_level();
    let failed = |error| format!("row group {group} cannot be read: {error}");
    let (mut values, mut levels) = (Vec::<i64>::new(), Vec::new());
    match column_reader(reader, group, column)? {
        ColumnReader::Int64ColumnReader(mut typed) => {
            while typed.read_records(rows, Some(&mut levels), None, &mut values).map_err(failed)?.0 > 0 {}
        }
        ColumnReader::Int32ColumnReader(mut typed) => {
            let mut narrow = Vec::new();
            while typed.read_records(rows, Some(&mut levels), None, &mut narrow).map_err(failed)?.0 > 0 {}
            values.extend(narrow.into_iter().map(i64::from));
        }
        _ => return Err("column `label` does not hold whole numbers".into()),
    }
    let labels: Option<Vec<i64>> = spread(values, &levels, full).into_iter().collect();
    labels.filter(|labels| labels.len() == rows).ok_or(format!("row group {group} has rows without a label"))
}

/// Names of the classes from the metadata that the `datasets` library writes; empty without it.
fn class_names(reader: &SerializedFileReader<SharedFile>) -> Vec<String> {
    let metadata = reader.metadata().file_metadata().key_value_metadata();
    let text = metadata.and_then(|pairs| pairs.iter().find(|pair| pair.key == "huggingface")?.value.clone());
    text.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok())
        .and_then(|value| value.pointer("/info/features/label/names")?.as_array().cloned())
        .map(|names| names.iter().filter_map(|name| Some(name.as_str()?.to_string())).collect())
        .unwrap_or_default()
}

/// The extension that the first bytes of an image file ask for.
fn extension(bytes: &[u8]) -> &'static str {
    let format = image::guess_format(bytes).ok();
    format.and_then(|format| format.extensions_str().first().copied()).unwrap_or("jpg")
}

impl Dataset for ParquetImages {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn class_names(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> Label {
        Label::Class(self.labels[index] as u32)
    }

    fn image(&self, index: usize) -> Result<RgbImage, SampleError> {
        let (bytes, name) = self.bytes(index)?;
        decode(bytes.data(), &name, &self.limits)
    }

    fn dimensions(&self, index: usize) -> Result<(u32, u32), SampleError> {
        let (bytes, name) = self.bytes(index)?;
        dimensions(bytes.data(), &name, &self.limits)
    }

    fn name(&self, index: usize) -> String {
        let (group, row) = self.locate(index);
        let Group { file, group, .. } = self.groups[group];
        format!("{}#group {group}, row {row}", self.files[file].0.display())
    }

    fn encoded(&self, index: usize) -> Result<Option<Encoded>, SampleError> {
        let (bytes, _) = self.bytes(index)?;
        let extension = extension(bytes.data()).to_string();
        Ok(Some(Encoded { bytes: bytes.data().to_vec(), extension }))
    }

    fn shards(&self) -> Option<Vec<usize>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        Some(self.ends.iter().zip(starts).map(|(end, start)| end - start).collect())
    }
}
