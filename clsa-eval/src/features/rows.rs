//! Feature vectors and where they are read from.

use super::labels::check_classes;
use crate::EvalError;
use std::borrow::Cow;
use std::ops::Range;

/// Feature vectors of labeled images, in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// The vectors, one after the other: `labels.len() x dim`.
    pub values: Vec<f32>,
    /// Length of a vector.
    pub dim: usize,
    /// Class of each image.
    pub labels: Vec<u32>,
}

impl Features {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The vector of an image.
    ///
    /// # Panics
    /// If `index` is not below [`Features::len`].
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.dim..(index + 1) * self.dim]
    }

    /// Checks that there is a vector for each label.
    fn check_size(&self) -> Result<(), EvalError> {
        let (got, expected) = (self.values.len(), self.len() * self.dim);
        if got == expected { Ok(()) } else { Err(EvalError::Size { what: "the feature buffer", got, expected }) }
    }

    /// Checks what every protocol needs: samples, whole rows, finite values.
    pub(crate) fn check(&self, split: &'static str) -> Result<(), EvalError> {
        if self.is_empty() || self.dim == 0 {
            return Err(EvalError::Empty(split));
        }
        self.check_size()?;
        match self.values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(EvalError::NotFinite { split, row: at / self.dim }),
            None => Ok(()),
        }
    }
}

/// How many features there are, and how they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureShape {
    /// Number of vectors.
    pub rows: usize,
    /// Length of a vector.
    pub dim: usize,
    /// Vectors that are made together, at least 1: what was interrupted goes on after a multiple of these.
    pub block: usize,
}

/// Feature vectors that are read in blocks: in memory ([`Features`]) or on disk ([`super::FeatureFile`]).
#[allow(clippy::len_without_is_empty, reason = "rows of a data set, which has at least one")]
pub trait FeatureRows: Sync {
    /// Number of vectors.
    fn len(&self) -> usize;

    /// Length of a vector.
    fn dim(&self) -> usize;

    /// Some of the vectors, one after the other; `range` is within `0..len()`.
    ///
    /// # Errors
    /// A file cannot be read, or there are not as many values as the vectors have.
    fn rows(&self, range: Range<usize>) -> Result<Cow<'_, [f32]>, EvalError>;
}

impl FeatureRows for Features {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn rows(&self, range: Range<usize>) -> Result<Cow<'_, [f32]>, EvalError> {
        self.check_size()?;
        Ok(Cow::Borrowed(&self.values[range.start * self.dim..range.end * self.dim]))
    }
}

/// Feature vectors and the class of each.
#[derive(Clone, Copy)]
pub struct Labeled<'a> {
    /// The vectors.
    pub rows: &'a dyn FeatureRows,
    /// As many classes as there are vectors.
    pub labels: &'a [u32],
}

impl<'a> From<&'a Features> for Labeled<'a> {
    fn from(features: &'a Features) -> Self {
        Self { rows: features, labels: &features.labels }
    }
}

/// The rows `indices`, one after the other.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn picked(features: &dyn FeatureRows, indices: &[usize]) -> Result<Vec<f32>, EvalError> {
    let mut values = Vec::with_capacity(indices.len() * features.dim());
    for &index in indices {
        values.extend_from_slice(&features.rows(index..index + 1)?);
    }
    Ok(values)
}

/// Up to `count` rows from `start` on.
///
/// # Errors
/// One of them is not of finite numbers, or a file cannot be read.
pub(crate) fn finite_rows(
    split: &'static str,
    features: &dyn FeatureRows,
    start: usize,
    count: usize,
) -> Result<Vec<f32>, EvalError> {
    let rows = features.rows(start..(start + count).min(features.len()))?.into_owned();
    match rows.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(EvalError::NotFinite { split, row: start + at / features.dim() }),
        None => Ok(rows),
    }
}

/// Checks that features of two splits can be learned from and tested on, but for their values; gives the number of
/// classes.
pub(crate) fn check_labeled(train: Labeled, test: Labeled) -> Result<usize, EvalError> {
    check_comparable(train, test)?;
    check_classes(train.labels, test.labels)
}

/// Checks that features of two splits are there, are labeled and are of one length, whatever their classes.
pub(crate) fn check_comparable(train: Labeled, test: Labeled) -> Result<(), EvalError> {
    check_sizes("training", train)?;
    check_sizes("test", test)?;
    if train.rows.dim() != test.rows.dim() {
        let (got, expected) = (test.rows.dim(), train.rows.dim());
        return Err(EvalError::Size { what: "a test feature", got, expected });
    }
    Ok(())
}

/// Checks that features can be learned from, but for their values; gives the number of classes.
pub(crate) fn check_training_rows(train: Labeled) -> Result<usize, EvalError> {
    check_sizes("training", train)?;
    check_classes(train.labels, &[])
}

fn check_sizes(split: &'static str, part: Labeled) -> Result<(), EvalError> {
    if part.labels.is_empty() || part.rows.dim() == 0 {
        return Err(EvalError::Empty(split));
    }
    if part.rows.len() != part.labels.len() {
        let (got, expected) = (part.rows.len(), part.labels.len());
        return Err(EvalError::Size { what: "the features", got, expected });
    }
    Ok(())
}
