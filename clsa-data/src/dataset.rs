//! What a data set is: samples by number, each an image with a label and a name.

use std::sync::Arc;

use image::RgbImage;

use crate::error::SampleError;

/// A part of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// The samples to train on.
    Train,
    /// The samples to test on: `test` or `val`, whichever the source has.
    Test,
}

impl Split {
    /// Both splits.
    pub const ALL: [Split; 2] = [Split::Train, Split::Test];

    /// The names that folders and shards of this split may have, in the order in which they are looked for.
    pub(crate) fn names(self) -> &'static [&'static str] {
        match self {
            Split::Train => &["train"],
            Split::Test => &["val", "validation", "test"],
        }
    }
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Split::Train => "train",
            Split::Test => "test",
        })
    }
}

/// Whether a class is in a picture (VOC classification: -1, 0 and 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// No object of the class: a negative.
    Absent,
    /// Only objects marked difficult: neither a positive nor a negative.
    Difficult,
    /// At least one object that is not marked difficult: a positive.
    Present,
}

/// What is known of a sample.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Label {
    /// Nothing.
    None,
    /// One class, an index into [`Dataset::class_names`].
    Class(u32),
    /// For each class of [`Dataset::class_names`], whether it is in the picture.
    Multi(Arc<[Presence]>),
}

impl Label {
    /// The class, where there is exactly one.
    pub fn class(&self) -> Option<u32> {
        match self {
            Label::Class(class) => Some(*class),
            Label::None | Label::Multi(_) => None,
        }
    }
}

/// An image file as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The bytes of the file.
    pub bytes: Vec<u8>,
    /// The extension that names its format, in lower case and without the dot.
    pub extension: String,
}

/// Images with labels, by number. Every method may be called from several threads at once.
#[allow(clippy::len_without_is_empty, reason = "a source without samples is refused when it is opened")]
pub trait Dataset: Send + Sync {
    /// Number of samples, at least 1.
    fn len(&self) -> usize;

    /// Names of the classes; empty where the samples have no labels.
    fn class_names(&self) -> &[String];

    /// Label of sample `index`, which is below [`Dataset::len`].
    fn label(&self, index: usize) -> Label;

    /// Reads and decodes sample `index`.
    ///
    /// # Errors
    /// A [`SampleError`] that names the sample, if its bytes cannot be read, decoded, or are beyond the limits.
    fn image(&self, index: usize) -> Result<RgbImage, SampleError>;

    /// Width and height of sample `index` in pixels, from its header where the format has one.
    ///
    /// # Errors
    /// As for [`Dataset::image`].
    fn dimensions(&self, index: usize) -> Result<(u32, u32), SampleError>;

    /// The name under which messages speak of sample `index`: a path below the source, or a number.
    fn name(&self, index: usize) -> String;

    /// The image file of sample `index` as it is stored; `None` where the source stores bare pixels.
    ///
    /// # Errors
    /// As for [`Dataset::image`], but for what only decoding shows.
    fn encoded(&self, index: usize) -> Result<Option<Encoded>, SampleError> {
        let _ = index;
        Ok(None)
    }

    /// Number of samples of each shard, in order, where samples close in number lie close on disk.
    /// The loader can then shuffle with a buffer ([`crate::LoaderConfig::shuffle_buffer`]) and still read in sequence.
    fn shards(&self) -> Option<Vec<usize>> {
        None
    }
}
