//! Features that protocols share.

use crate::evaluation::EncoderKind;
use crate::features::{FeatureFile, Labeled};

/// Features of center crops of both splits.
#[derive(Debug)]
pub struct FeatureSet {
    /// What made them.
    pub kind: EncoderKind,
    /// Of the training images.
    pub train: FeatureFile,
    /// Of the test images, where there are some.
    pub test: Option<FeatureFile>,
}

/// Features of center crops of both splits, and the class of each image.
#[derive(Clone, Copy)]
pub struct LabeledFeatures<'a> {
    /// What made them.
    pub kind: EncoderKind,
    /// Of the training images.
    pub train: Labeled<'a>,
    /// Of the test images.
    pub test: Labeled<'a>,
}
