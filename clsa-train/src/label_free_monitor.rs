//! The label-free monitor: whether embeddings of held-out images stay apart and those of an image's views together.

use crate::error::Result;
use crate::monitor::{leave_out_bad, subset};
use candle_core::{DType, Tensor};
use clsa_augment::{Augmenter, Layout, View, ViewId};
use clsa_data::{Dataset, OnError};
use clsa_eval::EvalError;
use clsa_eval::metrics::label_free;
use clsa_model::{Encoder, Mode};
use clsa_run::{Config, LabelFree};
use rayon::prelude::*;
use std::sync::Arc;

type EvalResult<T> = std::result::Result<T, EvalError>;

/// Images at most: own-view retrieval gets harder with each.
const IMAGES: usize = 1000;
/// Images per forward pass.
const BATCH: usize = 64;

/// A fixed subset of images with two fixed views of each, the key view and the first weak view of training.
pub struct LabelFreeMonitor {
    images: Arc<dyn Dataset>,
    indices: Vec<usize>,
    views: [View; 2],
    seed: u64,
    on_error: OnError,
    max_bad_fraction: f64,
}

impl LabelFreeMonitor {
    /// Draws the subset, of up to 1000 images, and its views by the run's seed.
    pub fn new(config: &Config, images: Arc<dyn Dataset>) -> Self {
        let seed = config.train.seed;
        let weak = config.views.weak.first().unwrap_or(&config.views.key);
        Self {
            indices: subset(images.as_ref(), IMAGES, seed),
            views: [config.views.key.clone(), weak.clone()],
            images,
            seed,
            on_error: config.data.on_error,
            max_bad_fraction: config.data.max_bad_fraction,
        }
    }

    /// The figures of an encoder in evaluation mode. Where `data.on_error` is `skip`, images that cannot be read are left out from
    /// then on, and `warn` is called with a sentence about each.
    ///
    /// # Errors
    /// An image cannot be read and `data.on_error` is `stop`, or more of them than `data.max_bad_fraction`; or an embedding is not
    /// finite.
    pub fn evaluate(&mut self, encoder: &Encoder, warn: &mut dyn FnMut(&str)) -> Result<LabelFree> {
        match self.figures(encoder) {
            Err(EvalError::Sample(_)) if self.on_error == OnError::Skip => {
                leave_out_bad("label-free monitor", &*self.images, &mut self.indices, self.max_bad_fraction, warn)?;
                Ok(self.figures(encoder)?)
            }
            result => Ok(result?),
        }
    }

    fn figures(&self, encoder: &Encoder) -> EvalResult<LabelFree> {
        let first = self.embeddings(encoder, 0)?;
        let second = self.embeddings(encoder, 1)?;
        label_free(&first, &second, encoder.embedding_dim())
    }

    /// The embeddings of one view of each image, one row after the other.
    fn embeddings(&self, encoder: &Encoder, number: u32) -> EvalResult<Vec<f32>> {
        let view = &self.views[number as usize];
        let side = view.size as usize;
        let mut rows = Vec::new();
        for batch in self.indices.chunks(BATCH) {
            let mut pixels = vec![0f32; batch.len() * view.values()];
            let chunks = pixels.par_chunks_mut(view.values()).zip(batch);
            chunks.try_for_each_init(Augmenter::new, |augmenter, (out, &sample)| -> EvalResult<()> {
                let image = self.images.image(sample)?;
                let id = ViewId { seed: self.seed, epoch: 0, sample: sample as u64, view: number };
                let written = augmenter.write(&image, view, id, Layout::ChannelsLast, out);
                written.map_err(|source| EvalError::Transform { sample: self.images.name(sample), source })
            })?;
            let images = Tensor::from_vec(pixels, (batch.len(), side, side, 3), encoder.device())?;
            let embeddings = encoder.embed(&images.permute((0, 3, 1, 2))?, Mode::Eval)?;
            rows.extend(embeddings.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(rows)
    }
}
