//! A source of images, named by one string `KIND:PATH`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::dataset::{Dataset, Split};
use crate::decode::Limits;
use crate::error::DataError;
use crate::procedural::{Procedural, ProceduralOptions};
use crate::{cifar, flat, idx, imagefolder, voc, wds};

/// Where images come from. Parsed from, and displayed as, one string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `imagefolder:PATH`: `train/CLASS/…` and `val/CLASS/…` or `test/CLASS/…`; a folder with the classes directly in
    /// it is a training split only.
    ImageFolder(PathBuf),
    /// `cifar-bin:PATH`: CIFAR-10 or CIFAR-100 in the binary version, a folder or the distributed tar.gz.
    CifarBin(PathBuf),
    /// `idx:PATH`: a folder with the MNIST family's files, gzipped or not.
    Idx(PathBuf),
    /// `wds:PATTERN`: WebDataset tar shards: a folder, or a pattern with `{split}`, `{000..127}`, `{a,b}`, `*` and `?`.
    Wds(String),
    /// `parquet:PATTERN`: Hugging Face image data sets, named as for `wds`. Needs the feature `parquet`.
    Parquet(String),
    /// `voc2007:PATH`: PASCAL VOC 2007, with several labels for each image.
    Voc2007(PathBuf),
    /// `flat:PATH`: images without labels, searched recursively.
    Flat(PathBuf),
    /// `procedural` or `procedural:KEY=VALUE,…` with the keys `classes`, `train`, `test`, `side` and `seed`.
    Procedural(ProceduralOptions),
}

/// The forms that a source can have, for messages.
const FORMS: &str =
    "imagefolder:PATH, cifar-bin:PATH, idx:PATH, wds:PATTERN, parquet:PATTERN, voc2007:PATH, flat:PATH, procedural";

impl Source {
    /// Opens a split with the default [`Limits`].
    ///
    /// # Errors
    /// [`DataError`] if the source is wrong as a whole or has no such split; the message names the path.
    pub fn open(&self, split: Split) -> Result<Arc<dyn Dataset>, DataError> {
        self.open_with(split, Limits::default())
    }

    /// Opens every split that the source has.
    ///
    /// # Errors
    /// [`DataError`] if the source has no training split, or one that is wrong as a whole. A test split that is wrong is
    /// an error; one that does not exist is not.
    pub fn open_splits(&self, limits: Limits) -> Result<Splits, DataError> {
        let train = self.open_with(Split::Train, limits)?;
        let test = match self.open_with(Split::Test, limits) {
            Ok(test) => Ok(test),
            Err(error @ DataError::NoSplit { .. }) => Err(error.to_string()),
            Err(error) => return Err(error),
        };
        Ok(Splits { train, test })
    }

    /// Opens a split; samples beyond `limits` will be bad samples.
    ///
    /// # Errors
    /// As for [`Source::open`].
    pub fn open_with(&self, split: Split, limits: Limits) -> Result<Arc<dyn Dataset>, DataError> {
        Ok(match self {
            Source::ImageFolder(path) => Arc::new(imagefolder::open(path, split, limits)?),
            Source::CifarBin(path) => Arc::new(cifar::open(path, split)?),
            Source::Idx(path) => Arc::new(idx::open(path, split, limits)?),
            Source::Wds(pattern) => Arc::new(wds::Wds::open(pattern, split, limits)?),
            #[cfg(feature = "parquet")]
            Source::Parquet(pattern) => Arc::new(crate::parquet_images::ParquetImages::open(pattern, split, limits)?),
            #[cfg(not(feature = "parquet"))]
            Source::Parquet(_) => {
                return Err(DataError::FeatureOff { source_text: self.to_string(), feature: "parquet" });
            }
            Source::Voc2007(path) => Arc::new(voc::open(path, split, limits)?),
            Source::Flat(path) => Arc::new(flat::open(path, split, limits)?),
            Source::Procedural(options) => Arc::new(Procedural::new(options, split)),
        })
    }
}

/// The splits that a source has.
pub struct Splits {
    /// The training split.
    pub train: Arc<dyn Dataset>,
    /// The test split; otherwise the reason for which there is none, in one sentence.
    pub test: Result<Arc<dyn Dataset>, String>,
}

impl Splits {
    /// Every split that there is.
    pub fn iter(&self) -> impl Iterator<Item = (Split, &Arc<dyn Dataset>)> {
        let test = self.test.as_ref().ok();
        std::iter::once((Split::Train, &self.train)).chain(test.map(|test| (Split::Test, test)))
    }
}

impl FromStr for Source {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let refuse = |reason: String| DataError::Source { text: text.into(), reason };
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (text, None),
        };
        if kind == "procedural" {
            return ProceduralOptions::parse(rest.unwrap_or("")).map(Source::Procedural).map_err(refuse);
        }
        let with_path: fn(&str) -> Source = match kind {
            "imagefolder" => |path| Source::ImageFolder(path.into()),
            "cifar-bin" => |path| Source::CifarBin(path.into()),
            "idx" => |path| Source::Idx(path.into()),
            "wds" => |pattern| Source::Wds(pattern.into()),
            "parquet" => |pattern| Source::Parquet(pattern.into()),
            "voc2007" => |path| Source::Voc2007(path.into()),
            "flat" => |path| Source::Flat(path.into()),
            _ => return Err(refuse(format!("is no known kind; a source is one of {FORMS}"))),
        };
        match rest {
            Some(path) if !path.is_empty() => Ok(with_path(path)),
            _ => Err(refuse(format!("needs a path: {kind}:PATH"))),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::ImageFolder(path) => write!(f, "imagefolder:{}", path.display()),
            Source::CifarBin(path) => write!(f, "cifar-bin:{}", path.display()),
            Source::Idx(path) => write!(f, "idx:{}", path.display()),
            Source::Wds(pattern) => write!(f, "wds:{pattern}"),
            Source::Parquet(pattern) => write!(f, "parquet:{pattern}"),
            Source::Voc2007(path) => write!(f, "voc2007:{}", path.display()),
            Source::Flat(path) => write!(f, "flat:{}", path.display()),
            Source::Procedural(options) => write!(f, "{options}"),
        }
    }
}
