//! A split of a data set in parquet files, by random access.
//!
//! A row group is read as a whole and kept for the next samples; reading is fast when
//! [`LoaderConfig::shuffle_buffer`](crate::LoaderConfig::shuffle_buffer) is set, so that samples come by row groups.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use image::RgbImage;
use parquet::data_type::ByteArray;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::columns::{SharedFile, class_names, column, guarded, read_images, read_labels};
use crate::dataset::{Dataset, Encoded};
use crate::decode::{Limits, decode, dimensions};
use crate::error::{DataError, Fault};
use crate::label::Label;
use crate::pattern;
use crate::sample_error::SampleError;
use crate::split::Split;

/// Most bytes of row groups that are kept, beside those in use.
const CACHE_BYTES: u64 = 512 << 20;

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
pub(super) struct ParquetImages {
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
    pub(super) fn open(pattern: &str, split: Split, limits: Limits) -> Result<Self, DataError> {
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
            let damaged = |reason: String| Fault::Damaged.at(&path, reason);
            let len = std::fs::metadata(&path).map_err(DataError::read(&path))?.len();
            let file = SharedFile { path: path.clone(), len };
            let reader = guarded(|| SerializedFileReader::new(file).map_err(|error| error.to_string()))
                .map_err(|reason| damaged(format!("is not a whole parquet file: {reason}")))?;
            let column = |name| column(&reader, name).map_err(|reason| Fault::Layout.at(&path, reason));
            let (image_column, label_column) = (column("image.bytes")?, column("label")?);
            for group in 0..reader.num_row_groups() {
                let metadata = reader.metadata().row_group(group);
                let rows = usize::try_from(metadata.num_rows()).unwrap_or(0);
                let labels = guarded(|| read_labels(&reader, group, label_column, rows)).map_err(damaged)?;
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
            return Err(Fault::Empty.at(pattern, "has no rows"));
        }
        let largest = this.labels.iter().copied().max().unwrap_or(0);
        if let Some(row) = this.labels.iter().position(|&label| !(0..1_000_000).contains(&label)) {
            return Err(Fault::Labels.at(pattern, format!("row {row} has the label {}", this.labels[row])));
        }
        if this.classes.is_empty() {
            this.classes = (0..=largest).map(|class| class.to_string()).collect();
        }
        if largest as usize >= this.classes.len() {
            let names = this.classes.len();
            return Err(Fault::Labels.at(pattern, format!("has the label {largest}, but names for {names} classes")));
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
