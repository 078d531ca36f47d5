//! Features as a file that other programs read: one row for each image, with its name and its label.

mod csv_table;
mod npy;
#[cfg(feature = "parquet")]
mod parquet_table;
mod safetensors_file;
mod sidecars;
mod table;

pub use table::Embeddings;

use crate::EvalError;
use std::path::{Path, PathBuf};
use table::Output;

/// The forms of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbeddingFormat {
    /// NumPy's array (N, D) of f32 (`.npy`, version 1.0). Names and labels are beside it, as for safetensors.
    Npy,
    /// A table (`.parquet`) with the columns `name`, `class` (its number), `label` (its name) and `embedding` (a list of f32).
    Parquet,
    /// A table (`.csv`, RFC 4180) with the columns `name`, `label`, `f0`, `f1` and so on; every value reads back to its bits.
    Csv,
    /// One tensor `features` (N, D) of f32 (`.safetensors`). Names are in `STEM.names.txt` and labels, where there are any, in
    /// `STEM.labels.txt`, a line for each row.
    Safetensors,
}

impl EmbeddingFormat {
    /// Every form.
    pub const ALL: [Self; 4] = [Self::Npy, Self::Parquet, Self::Csv, Self::Safetensors];

    /// How the names of its files end.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Npy => "npy",
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Safetensors => "safetensors",
        }
    }

    /// The text files that are written beside the file at `path`: that of the names, and that of the labels, which is written only
    /// where there are any. None for forms that hold both.
    pub fn side_files(self, path: &Path) -> Vec<PathBuf> {
        match self {
            Self::Npy | Self::Safetensors => vec![sidecars::names(path), sidecars::labels(path)],
            Self::Parquet | Self::Csv => Vec::new(),
        }
    }

    /// The form that a file's name means by its ending.
    pub fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?;
        Self::ALL.into_iter().find(|format| format.extension() == ending)
    }
}

/// Writes the file, which appears whole and takes the place of one that is there, and its [side files]; a file of labels that
/// is there is removed if the images have none. An array never stands beside the names of other images: if this fails, everything is as
/// it was or there is no array. Memory does not depend on the number of images, except for their names. Calls `progress` with the number
/// of rows that are done, and of all.
///
/// [side files]: EmbeddingFormat::side_files
///
/// # Errors
/// There are not as many rows as images, features cannot be read, the folder cannot be written, an array of another form has its names in
/// the same file and they are others, or this build lacks Parquet.
///
/// # Examples
/// ```
/// use clsa_eval::clsa_data::{Source, Split};
/// use clsa_eval::embeddings::{EmbeddingFormat, Embeddings, write};
/// use clsa_eval::features::raw_pixels;
///
/// let source: Source = "procedural:classes=3,train=10,test=5,side=8".parse()?;
/// let images = source.open(Split::Test)?;
/// let features = raw_pixels(images.as_ref(), &[0, 1, 2, 3, 4], 8)?;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("pixels.npy");
/// let embeddings = Embeddings { rows: &features, images: images.as_ref() };
/// write(&embeddings, &path, EmbeddingFormat::Npy, &|_, _| {})?;
/// assert_eq!(std::fs::read_to_string(path.with_extension("names.txt"))?.lines().count(), 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write(
    embeddings: &Embeddings,
    path: &Path,
    format: EmbeddingFormat,
    progress: &dyn Fn(u64, u64),
) -> Result<(), EvalError> {
    let (rows, images) = (embeddings.rows.len(), embeddings.images.len());
    if rows != images {
        return Err(EvalError::Size { what: "the features", got: rows, expected: images });
    }
    let output = Output { path, progress };
    let shares = |other: &EmbeddingFormat| *other != format && !other.side_files(path).is_empty();
    let others = EmbeddingFormat::ALL.into_iter().filter(shares);
    let others: Vec<PathBuf> = others.map(|other| path.with_extension(other.extension())).collect();
    match format {
        EmbeddingFormat::Npy => {
            let array = npy::write(embeddings, &output)?;
            sidecars::write(embeddings, &output, array, &others)
        }
        EmbeddingFormat::Safetensors => {
            let array = safetensors_file::write(embeddings, &output)?;
            sidecars::write(embeddings, &output, array, &others)
        }
        EmbeddingFormat::Csv => csv_table::write(embeddings, &output),
        #[cfg(feature = "parquet")]
        EmbeddingFormat::Parquet => parquet_table::write(embeddings, &output),
        #[cfg(not(feature = "parquet"))]
        EmbeddingFormat::Parquet => Err(EvalError::File {
            path: path.to_owned(),
            reason: "this build has no Parquet; build with the feature `parquet`, or use another form".to_owned(),
        }),
    }
}
