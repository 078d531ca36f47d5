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
///
/// # Examples
/// Pixels in 0..=1, a batch in one piece of memory:
/// ```
/// use std::error::Error;
/// use std::sync::Arc;
///
/// use clsa_data::{Loader, LoaderConfig, Sample, Source, Split, Transform};
///
/// struct Pixels {
///     side: usize,
/// }
///
/// impl Transform for Pixels {
///     type Batch = Vec<f32>;
///     type Slot<'a> = &'a mut [f32];
///
///     fn allocate(&self, samples: usize) -> Vec<f32> {
///         vec![0.0; samples * 3 * self.side * self.side]
///     }
///
///     fn slots<'a>(&'a self, batch: &'a mut Vec<f32>) -> Vec<&'a mut [f32]> {
///         batch.chunks_exact_mut(3 * self.side * self.side).collect()
///     }
///
///     fn apply(&self, sample: &Sample<'_>, slot: &mut [f32]) -> Result<(), Box<dyn Error + Send + Sync>> {
///         if sample.image.as_raw().len() != slot.len() {
///             return Err(format!("is not of {0}x{0} pixels", self.side).into());
///         }
///         slot.iter_mut().zip(sample.image.as_raw()).for_each(|(out, &value)| *out = f32::from(value) / 255.0);
///         Ok(())
///     }
/// }
///
/// let train = "procedural:train=64,side=16".parse::<Source>()?.open(Split::Train)?;
/// let config = LoaderConfig { batch_size: 8, ..LoaderConfig::default() };
/// let loader = Loader::new(train, Arc::new(Pixels { side: 16 }), config)?;
/// let first = loader.epoch(0, 0).next().unwrap()?;
/// assert_eq!(first.len(), 8 * 16 * 16 * 3);
/// # Ok::<(), Box<dyn Error>>(())
/// ```
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
