//! The label-free monitor: whether embeddings of images stay apart and those of an image's views together.

use crate::error::Result;
use crate::monitored_images::{BATCH, MonitoredImages};
use candle_core::{DType, Tensor};
use clsa_augment::{Augmenter, Layout, View, ViewId};
use clsa_data::Dataset;
use clsa_eval::EvalError;
use clsa_eval::metrics::label_free;
use clsa_model::{Encoder, Mode};
use clsa_run::{Config, LabelFree};
use rayon::prelude::*;
use std::sync::Arc;

type EvalResult<T> = std::result::Result<T, EvalError>;

/// Images at most: own-view retrieval gets harder with each.
const IMAGES: usize = 1000;

/// A fixed subset of images with two fixed views of each, the key view and the first weak view of training.
pub struct LabelFreeMonitor {
    images: MonitoredImages,
    views: TwoViews,
}

/// Two views, of which each image has one pair.
struct TwoViews {
    views: [View; 2],
    seed: u64,
}

impl LabelFreeMonitor {
    /// Draws the subset, of up to 1000 images, and its views by the run's seed.
    pub fn new(config: &Config, images: Arc<dyn Dataset>) -> Self {
        let weak = config.views.weak.first().unwrap_or(&config.views.key);
        Self {
            images: MonitoredImages::draw(config, "label-free monitor", images, IMAGES),
            views: TwoViews { views: [config.views.key.clone(), weak.clone()], seed: config.train.seed },
        }
    }

    /// The figures of an encoder in evaluation mode. Where `data.on_error` is `skip`, images that cannot be read are left out from
    /// then on, and `warn` is called with a sentence about each.
    ///
    /// # Errors
    /// An image cannot be read and `data.on_error` is `stop`, or more of them than `data.max_bad_fraction`; or an embedding is not
    /// finite.
    pub fn evaluate(&mut self, encoder: &Encoder, warn: &mut dyn FnMut(&str)) -> Result<LabelFree> {
        let views = &self.views;
        self.images.look_at(warn, |dataset, indices, _| {
            let first = views.embeddings(encoder, dataset, indices, 0)?;
            let second = views.embeddings(encoder, dataset, indices, 1)?;
            label_free(&first, &second, encoder.embedding_dim())
        })
    }
}

impl TwoViews {
    /// The embeddings of one view of each image, one row after the other.
    fn embeddings(
        &self,
        encoder: &Encoder,
        dataset: &dyn Dataset,
        indices: &[usize],
        number: u32,
    ) -> EvalResult<Vec<f32>> {
        let view = &self.views[number as usize];
        let side = view.size as usize;
        let mut rows = Vec::new();
        for batch in indices.chunks(BATCH) {
            let mut pixels = vec![0f32; batch.len() * view.values()];
            let chunks = pixels.par_chunks_mut(view.values()).zip(batch);
            chunks.try_for_each_init(Augmenter::new, |augmenter, (out, &sample)| -> EvalResult<()> {
                let image = dataset.image(sample)?;
                let id = ViewId { seed: self.seed, epoch: 0, sample: sample as u64, view: number };
                let written = augmenter.write(&image, view, id, Layout::ChannelsLast, out);
                written.map_err(|source| EvalError::Transform { sample: dataset.name(sample), source })
            })?;
            let images = Tensor::from_vec(pixels, (batch.len(), side, side, 3), encoder.device())?;
            let embeddings = encoder.embed(&images.permute((0, 3, 1, 2))?, Mode::Eval)?;
            rows.extend(embeddings.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(rows)
    }
}
