//! Some of the samples of a data set.

use clsa_data::{Dataset, Encoded, Label, SampleError};
use image::RgbImage;
use std::sync::Arc;

/// The samples `indices` of a data set, as a data set.
pub struct Subset {
    /// The data set.
    pub dataset: Arc<dyn Dataset>,
    /// Numbers of the samples, at least one.
    pub indices: Vec<u32>,
}

impl Dataset for Subset {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn class_names(&self) -> &[String] {
        self.dataset.class_names()
    }

    fn label(&self, index: usize) -> Label {
        self.dataset.label(self.indices[index] as usize)
    }

    fn image(&self, index: usize) -> Result<RgbImage, SampleError> {
        self.dataset.image(self.indices[index] as usize)
    }

    fn dimensions(&self, index: usize) -> Result<(u32, u32), SampleError> {
        self.dataset.dimensions(self.indices[index] as usize)
    }

    fn name(&self, index: usize) -> String {
        self.dataset.name(self.indices[index] as usize)
    }

    fn encoded(&self, index: usize) -> Result<Option<Encoded>, SampleError> {
        self.dataset.encoded(self.indices[index] as usize)
    }
}
