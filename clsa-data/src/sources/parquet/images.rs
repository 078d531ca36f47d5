//! A split of a data set in parquet files, by random access.
//!
//! A row group is read as a whole and kept for the next samples; reading is fast when
//! [`LoaderConfig::shuffle_buffer`](crate::LoaderConfig::shuffle_buffer) is set, so that samples come by row groups.

use image::RgbImage;
use parquet::data_type::ByteArray;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::columns::{Table, guarded, read_images, read_labels, read_lengths};
use super::kept::{KeptGroups, Slot};
use super::labels::{Checked, RowLabels};
use super::schema::{Asked, Columns};
use super::shared_file::SharedFile;
use crate::dataset::{Dataset, Encoded};
use crate::decode::{Limits, decode, dimensions, extension_of};
use crate::error::{DataError, Fault};
use crate::label::{Label, Labels};
use crate::object::Opener;
use crate::pattern;
use crate::printable::{name_of, printable, printable_path};
use crate::remote_error::RemoteError;
use crate::sample_error::SampleError;
use crate::split::Split;

/// Most bytes of row groups that are kept, beside those in use and those that threads are reading.
const CACHE_BYTES: u64 = 512 << 20;

/// A file, and where its images are.
struct ImageFile {
    table: Table,
    /// Number of the column of images.
    column: usize,
    /// Whether a row has a list of them.
    has_lists: bool,
}

/// One row group of a file.
struct Group {
    file: usize,
    group: usize,
}

/// A split of a data set in parquet files.
pub(super) struct ParquetImages {
    files: Vec<ImageFile>,
    groups: Vec<Group>,
    /// For each row group, the number of samples up to its end.
    ends: Vec<usize>,
    labels: Labels,
    notes: Vec<String>,
    classes: Vec<String>,
    kept: KeptGroups,
    limits: Limits,
}

impl ParquetImages {
    pub(super) fn open(opener: &Opener, text: &str, split: Split, limits: Limits) -> Result<Self, DataError> {
        let (pattern, asked) = Asked::parse(text).map_err(|reason| Fault::Pattern.at(text, reason))?;
        let mut this = Self {
            files: Vec::new(),
            groups: Vec::new(),
            ends: Vec::new(),
            labels: Labels::None,
            notes: Vec::new(),
            classes: Vec::new(),
            kept: KeptGroups::new(CACHE_BYTES),
            limits,
        };
        let mut samples = 0;
        let mut labeled = None;
        let mut labels: Option<RowLabels> = None;
        for (at, path) in pattern::files(pattern, "parquet", split, opener)?.into_iter().enumerate() {
            let file = SharedFile { object: opener.open(&path)? };
            let (len, object) = (file.object.len(), file.object.clone());
            let damaged =
                |reason: String| object.failure().map_or_else(|| Fault::Damaged.at(&path, reason), DataError::Remote);
            let reader = guarded(|| SerializedFileReader::new(file.clone()).map_err(|error| error.to_string()))
                .map_err(|reason| damaged(format!("is not a whole parquet file: {reason}")))?;
            let table = Table { file, reader };
            let columns = Columns::of(table.reader.metadata().file_metadata(), &asked)
                .map_err(|reason| Fault::Layout.at(&path, reason))?;
            if *labeled.get_or_insert(columns.label.is_some()) != columns.label.is_some() {
                let first = printable_path(this.files[0].table.file.object.path());
                return Err(Fault::Labels.at(path, format!("is labeled otherwise than {first}")));
            }
            let mut left = len;
            for group in 0..table.reader.num_row_groups() {
                let metadata = table.reader.metadata().row_group(group);
                let rows = usize::try_from(metadata.num_rows()).unwrap_or(0);
                // An image takes a byte at the least, and what is kept of each row is taken as it states.
                left = left.checked_sub(rows as u64).ok_or_else(|| {
                    damaged(format!("row group {group} states {rows} rows, more than there are bytes in the file"))
                })?;
                let images_of_rows = columns
                    .images_of_rows
                    .map(|column| guarded(|| read_lengths(&table, group, column, rows)).map_err(damaged))
                    .transpose()?;
                if let Some(column) = columns.label {
                    let mut more = guarded(|| read_labels(&table, group, column, rows)).map_err(damaged)?;
                    if let Some(of_rows) = &images_of_rows {
                        more = more.for_images(of_rows);
                    }
                    labels = Some(match labels {
                        Some(labels) => labels.with(more),
                        None => more,
                    });
                }
                samples += images_of_rows.map_or(rows, |of_rows| of_rows.iter().sum());
                this.ends.push(samples);
                this.groups.push(Group { file: at, group });
            }
            if at == 0 {
                this.classes = columns.classes;
                this.notes.extend(columns.note.map(|note| printable(&note).into_owned()));
            } else if columns.classes != this.classes {
                let first = printable_path(this.files[0].table.file.object.path());
                let reason = format!("names other classes than {first}; write both with the same");
                return Err(Fault::Labels.at(path, reason));
            }
            let has_lists = columns.images_of_rows.is_some();
            this.files.push(ImageFile { table, column: columns.image, has_lists });
        }
        if samples == 0 {
            return Err(Fault::Empty.at(pattern, "has no rows"));
        }
        let Checked { labels, classes, note } = Checked::of(labels, std::mem::take(&mut this.classes), pattern)?;
        (this.labels, this.classes) = (labels, classes);
        this.notes.extend(note);
        Ok(this)
    }

    /// The row group of a sample, and its number there.
    fn locate(&self, index: usize) -> (usize, usize) {
        let group = self.ends.partition_point(|&end| end <= index);
        (group, index - if group == 0 { 0 } else { self.ends[group - 1] })
    }

    /// The images of a row group, from those that are kept or the file.
    fn images(&self, number: usize) -> Slot {
        self.kept.get(number, || {
            let Group { file, group } = self.groups[number];
            let ImageFile { table, column, .. } = &self.files[file];
            let rows = usize::try_from(table.reader.metadata().row_group(group).num_rows()).unwrap_or(0);
            guarded(|| read_images(table, group, *column, rows))
        })
    }

    /// Why the store of a row group has failed, if it has.
    fn failure(&self, group: usize) -> Option<RemoteError> {
        self.files[self.groups[group].file].table.file.object.failure()
    }

    fn bytes(&self, index: usize) -> Result<(ByteArray, String), SampleError> {
        let (group, row) = self.locate(index);
        let name = self.name(index);
        // They have been read, so that nothing is waited for.
        match self.images(group).wait() {
            Ok(images) => match images.rows.get(row).cloned().flatten() {
                Some(bytes) => Ok((bytes, name)),
                None => Err(SampleError::Decode { name, reason: "the row has no image bytes".into() }),
            },
            Err(reason) => Err(self
                .failure(group)
                .map_or_else(|| SampleError::Decode { name, reason: reason.clone() }, SampleError::Remote)),
        }
    }
}

impl Dataset for ParquetImages {
    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    fn class_names(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> Label {
        self.labels.get(index)
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
        let Group { file, group } = self.groups[group];
        let ImageFile { table, has_lists, .. } = &self.files[file];
        let unit = if *has_lists { "image" } else { "row" };
        format!("{}#group {group}, {unit} {row}", name_of(table.file.object.path()))
    }

    fn encoded(&self, index: usize) -> Result<Option<Encoded>, SampleError> {
        let (bytes, _) = self.bytes(index)?;
        let extension = extension_of(bytes.data()).to_string();
        Ok(Some(Encoded { bytes: bytes.data().to_vec(), extension }))
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn shards(&self) -> Option<Vec<usize>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        Some(self.ends.iter().zip(starts).map(|(end, start)| end - start).collect())
    }
}
