//! A fixed subset of images that a monitor looks at again and again.

use crate::error::{Result, TrainError};
use clsa_augment::CenterCrop;
use clsa_data::{Dataset, Label, OnError};
use clsa_eval::features::unusable;
use clsa_eval::{EvalError, random_subset};
use clsa_run::Config;
use std::sync::Arc;

/// Images per forward pass of a monitor.
pub(crate) const BATCH: usize = 64;

/// The subset, and what becomes of images in it that cannot be read.
pub(crate) struct MonitoredImages {
    pub dataset: Arc<dyn Dataset>,
    /// In ascending order.
    pub indices: Vec<usize>,
    /// Whose they are, for warnings.
    monitor: &'static str,
    on_error: OnError,
    max_bad_fraction: f64,
    /// How most monitors cut them for the encoder.
    transform: CenterCrop,
}

impl MonitoredImages {
    /// Draws up to `samples` images by the run's seed.
    pub fn draw(config: &Config, monitor: &'static str, dataset: Arc<dyn Dataset>, samples: usize) -> Self {
        let mut indices = random_subset(dataset.len(), samples, config.train.seed);
        indices.sort_unstable();
        let (on_error, max_bad_fraction) = (config.data.on_error, config.data.max_bad_fraction);
        Self { dataset, indices, monitor, on_error, max_bad_fraction, transform: config.center_crop() }
    }

    /// What `look` makes of the images, which it is given with how they are cut. Where `data.on_error` is `skip`, those that cannot be
    /// read, or are too long to be resized, are left out from then on, and `warn` is called with a sentence about each.
    ///
    /// # Errors
    /// Those of `look`; of an image that cannot be used only if `data.on_error` is `stop`, or if more of them than
    /// `data.max_bad_fraction` cannot be.
    pub fn look_at<T>(
        &mut self,
        warn: &mut dyn FnMut(&str),
        look: impl Fn(&dyn Dataset, &[usize], &CenterCrop) -> std::result::Result<T, EvalError>,
    ) -> Result<T> {
        match look(&*self.dataset, &self.indices, &self.transform) {
            Err(error) if self.on_error == OnError::Skip && error.is_of_image() => {
                self.leave_out_bad(warn)?;
                Ok(look(&*self.dataset, &self.indices, &self.transform)?)
            }
            result => Ok(result?),
        }
    }

    /// Decodes and transforms the images, and leaves out those that cannot be.
    fn leave_out_bad(&mut self, warn: &mut dyn FnMut(&str)) -> Result<()> {
        let images = self.indices.len();
        let bad = unusable(&*self.dataset, &self.indices, &self.transform, || ())?;
        for (_, reason) in &bad {
            warn(&format!("left out of the {}: {reason}", self.monitor));
        }
        if bad.len() as f64 > self.max_bad_fraction * images as f64 {
            let (monitor, limit) = (self.monitor, 100.0 * self.max_bad_fraction);
            return Err(TrainError::TooManyBad { monitor, bad: bad.len(), images, limit });
        }
        self.indices.retain(|index| bad.iter().all(|(bad, _)| bad != index));
        Ok(())
    }
}

/// Whether every sample looked at has exactly one class.
pub fn has_classes(data: &dyn Dataset) -> bool {
    (0..data.len().min(100)).all(|i| matches!(data.label(i), Label::Class(_)))
}
