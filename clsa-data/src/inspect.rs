//! What is in a source.

use rayon::iter::Either;
use rayon::prelude::*;

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::label::{Label, Presence};
use crate::printable::printable;
use crate::sample_error::SampleError;
use crate::source::Splits;
use crate::split::Split;

/// What is in a source, as [`inspect`] finds it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct SourceInfo {
    /// The splits that it has.
    pub splits: Vec<SplitInfo>,
    /// Why it has no test split, where it has none.
    pub no_test: Option<String>,
}

/// What is in a split.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct SplitInfo {
    /// The split.
    pub split: Split,
    /// Number of samples.
    pub samples: usize,
    /// The classes in order; empty where samples have no labels.
    pub classes: Vec<ClassInfo>,
    /// Sizes of the images; `None` if no header that was looked at could be read.
    pub sizes: Option<SizeInfo>,
    /// Samples whose headers were looked at, spread evenly over the split.
    pub headers_read: usize,
    /// Of these, the ones that could not be read.
    pub headers_bad: usize,
    /// Why the first of them could not.
    pub bad_example: Option<String>,
    /// What else a user should know: [`Dataset::notes`].
    pub notes: Vec<String>,
}

/// How often a class occurs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct ClassInfo {
    /// Name of the class, with what a terminal would obey escaped.
    pub name: String,
    /// Samples of it (with several labels per sample: that show it and are not difficult).
    pub samples: usize,
    /// Samples that show only difficult objects of it.
    pub difficult: usize,
}

/// Sizes of images as width and height in pixels.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct SizeInfo {
    /// The image with the fewest pixels.
    pub smallest: (u32, u32),
    /// The image with the median number of pixels.
    pub median: (u32, u32),
    /// The image with the most pixels.
    pub largest: (u32, u32),
    /// The least short side of an image.
    pub least_short_side: u32,
}

/// Looks at a source: splits, counts per class, and the sizes of up to `most_headers` images per split.
///
/// # Errors
/// [`DataError::Remote`] if a store on another machine fails. Headers that cannot be read are no error, but are counted.
///
/// # Panics
/// If a label is a class that [`Dataset::class_names`] does not name.
///
/// # Examples
/// ```
/// use clsa_data::{Limits, Source, inspect::inspect};
///
/// let source: Source = "procedural:classes=2,train=20,test=4,side=48".parse()?;
/// let info = inspect(&source.open_splits(Limits::default())?, 1000)?;
/// let train = &info.splits[0];
/// assert_eq!((train.samples, train.classes[1].samples), (20, 10));
/// assert_eq!(train.sizes.as_ref().unwrap().median, (48, 48));
/// # Ok::<(), clsa_data::DataError>(())
/// ```
pub fn inspect(splits: &Splits, most_headers: usize) -> Result<SourceInfo, DataError> {
    let described = splits.iter().map(|(split, dataset)| inspect_split(&**dataset, split, most_headers));
    Ok(SourceInfo {
        splits: described.collect::<Result<_, _>>()?,
        no_test: splits.test.as_ref().err().map(ToString::to_string),
    })
}

fn inspect_split(dataset: &dyn Dataset, split: Split, most_headers: usize) -> Result<SplitInfo, DataError> {
    let samples = dataset.len();
    let mut classes: Vec<ClassInfo> = dataset
        .class_names()
        .iter()
        .map(|name| ClassInfo { name: printable(name).into_owned(), samples: 0, difficult: 0 })
        .collect();
    for index in 0..samples {
        match dataset.label(index) {
            Label::None => {}
            Label::Class(class) => classes[class as usize].samples += 1,
            Label::Multi(presence) => {
                for (class, presence) in classes.iter_mut().zip(presence.iter()) {
                    class.samples += usize::from(*presence == Presence::Present);
                    class.difficult += usize::from(*presence == Presence::Difficult);
                }
            }
        }
    }
    let headers_read = samples.min(most_headers);
    let at = |header: usize| (header as u128 * samples as u128 / headers_read as u128) as usize;
    let (mut sizes, bad): (Vec<(u32, u32)>, Vec<SampleError>) =
        (0..headers_read).into_par_iter().partition_map(|header| match dataset.dimensions(at(header)) {
            Ok(size) => Either::Left(size),
            Err(error) => Either::Right(error),
        });
    if let Some(SampleError::Remote(error)) = bad.iter().find(|error| error.is_of_store()) {
        return Err(error.clone().into());
    }
    sizes.sort_by_key(|&(width, height)| (u64::from(width) * u64::from(height), width));
    let least_short_side = sizes.iter().map(|&(width, height)| width.min(height)).min();
    let sizes = least_short_side.map(|least_short_side| SizeInfo {
        smallest: sizes[0],
        median: sizes[sizes.len() / 2],
        largest: sizes[sizes.len() - 1],
        least_short_side,
    });
    Ok(SplitInfo {
        split,
        samples,
        classes,
        sizes,
        headers_read,
        headers_bad: bad.len(),
        bad_example: bad.first().map(ToString::to_string),
        notes: dataset.notes(),
    })
}
