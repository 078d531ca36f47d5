//! What a sample is turned into: the loader is generic over it.

use image::RgbImage;

/// A decoded sample on its way into a batch.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// The image.
    pub image: &'a RgbImage,
    /// Its number in the data set: with the epoch, what random draws are to be seeded by.
    pub index: usize,
    /// The epoch in which it is read.
    pub epoch: u64,
}

/// Turns samples into their parts of a batch.
///
/// [`Transform::apply`] runs on several threads at once and must depend on nothing but its arguments, so that the
/// content of a batch does not depend on the number of threads.
pub trait Transform: Send + Sync + 'static {
    /// Storage of one batch; reused for later batches, so every slot must be overwritten in full.
    type Batch: Send + 'static;
    /// One sample's part of it.
    type Slot<'a>: Send
    where
        Self: 'a;

    /// Storage for a batch of `samples` samples.
    fn allocate(&self, samples: usize) -> Self::Batch;

    /// The parts of `batch`, one for each sample in order.
    fn slots<'a>(&'a self, batch: &'a mut Self::Batch) -> Vec<Self::Slot<'a>>;

    /// Writes what `sample` is turned into to its part of the batch.
    ///
    /// # Errors
    /// Whatever the transform says; the loader then stops with the name of the sample and this reason.
    fn apply(&self, sample: &Sample<'_>, slot: Self::Slot<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}
