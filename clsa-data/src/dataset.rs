//! What a data set is: samples by number, each an image with a label and a name.

use image::RgbImage;

use crate::label::Label;
use crate::sample_error::SampleError;

/// An image file as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The bytes of the file.
    pub bytes: Vec<u8>,
    /// The extension that names its format, in lower case and without the dot.
    pub extension: String,
}

/// Images with labels, by number. Every method may be called from several threads at once.
///
/// [`Source::open`](crate::Source::open) returns one; a program with images of its own implements the trait, and
/// everything that takes a data set, the [`Loader`](crate::Loader) first of all, takes that one too.
///
/// # Examples
/// ```
/// use clsa_data::{Dataset, Label, SampleError};
/// use image::{Rgb, RgbImage};
///
/// /// 256 images of one color each.
/// struct Grays;
///
/// impl Dataset for Grays {
///     fn len(&self) -> usize {
///         256
///     }
///
///     fn class_names(&self) -> &[String] {
///         &[]
///     }
///
///     fn label(&self, _index: usize) -> Label {
///         Label::None
///     }
///
///     fn image(&self, index: usize) -> Result<RgbImage, SampleError> {
///         Ok(RgbImage::from_pixel(32, 32, Rgb([index as u8; 3])))
///     }
///
///     fn dimensions(&self, _index: usize) -> Result<(u32, u32), SampleError> {
///         Ok((32, 32))
///     }
///
///     fn name(&self, index: usize) -> String {
///         format!("gray {index}")
///     }
/// }
///
/// assert_eq!(Grays.image(7)?.get_pixel(0, 0).0, [7; 3]);
/// # Ok::<(), SampleError>(())
/// ```
#[allow(clippy::len_without_is_empty, reason = "a source without samples is refused when it is opened")]
pub trait Dataset: Send + Sync {
    /// Number of samples, at least 1.
    fn len(&self) -> usize;

    /// Names of the classes; empty where the samples have no labels.
    fn class_names(&self) -> &[String];

    /// Label of sample `index`.
    ///
    /// # Panics
    /// If `index` is not below [`Dataset::len`]; so may every other method that takes an index.
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

    /// The name of sample `index`: a path with `/` between its parts, or a number.
    fn name(&self, index: usize) -> String;

    /// The image file of sample `index` as it is stored; `None` where the source stores bare pixels, which is the
    /// default.
    ///
    /// # Errors
    /// As for [`Dataset::image`], but for what only decoding shows.
    fn encoded(&self, index: usize) -> Result<Option<Encoded>, SampleError> {
        let _ = index;
        Ok(None)
    }

    /// What a user should know of the data set as a whole and nothing else shows, such as labels that are not used; a
    /// sentence each. None by default.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Number of samples of each shard, in order, where samples close in number lie close on disk; `None` by default.
    /// The loader can then shuffle with a buffer ([`crate::LoaderConfig::shuffle_buffer`]) and still read in sequence.
    fn shards(&self) -> Option<Vec<usize>> {
        None
    }
}
