//! Image files in folders, with the labels that their source gives them.

use std::sync::Arc;

use image::RgbImage;

use crate::dataset::{Dataset, Encoded};
use crate::label::{Label, Presence};
use crate::listing::Listing;
use crate::sample_error::SampleError;

/// Labels of the files of a listing, in its order.
pub(crate) enum Labels {
    None,
    Class(Vec<u32>),
    Multi(Vec<Arc<[Presence]>>),
}

/// One split of a source of image files.
pub(crate) struct ImageFiles {
    pub listing: Listing,
    pub classes: Vec<String>,
    pub labels: Labels,
    pub notes: Vec<String>,
}

impl Dataset for ImageFiles {
    fn len(&self) -> usize {
        self.listing.len()
    }

    fn class_names(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> Label {
        match &self.labels {
            Labels::None => Label::None,
            Labels::Class(labels) => Label::Class(labels[index]),
            Labels::Multi(labels) => Label::Multi(labels[index].clone()),
        }
    }

    fn image(&self, index: usize) -> Result<RgbImage, SampleError> {
        self.listing.image(index)
    }

    fn dimensions(&self, index: usize) -> Result<(u32, u32), SampleError> {
        self.listing.dimensions(index)
    }

    fn name(&self, index: usize) -> String {
        self.listing.name(index)
    }

    fn encoded(&self, index: usize) -> Result<Option<Encoded>, SampleError> {
        self.listing.encoded(index).map(Some)
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }
}
