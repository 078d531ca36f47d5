//! From a data set to batches of normalized views, by the loader that training uses.

use crate::error::Result;
use crate::make_views::MakeViews;
use clsa_augment::ViewPlan;
use clsa_data::{Dataset, Loader, LoaderConfig};
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

/// Images of a data set to normalized views in batches, by the loader that training uses.
pub struct LoaderBench {
    /// The images.
    pub dataset: Arc<dyn Dataset>,
    /// The views.
    pub plan: ViewPlan,
    /// Threads that read, decode and make views.
    pub threads: usize,
    /// Images of a batch.
    pub batch: usize,
    /// Images to load, in as many epochs as that takes.
    pub images: usize,
}

/// What the loader takes.
#[derive(Debug, Serialize)]
pub struct LoaderRate {
    work: &'static str,
    views: usize,
    threads: usize,
    batch: usize,
    images: usize,
    images_per_s: f64,
}

impl LoaderBench {
    /// Loads the batches; the consumer does nothing with them.
    ///
    /// # Errors
    /// A setting is out of range, or the loader stops at bad images.
    pub fn run(self) -> Result<LoaderRate> {
        let config = LoaderConfig { batch_size: self.batch, threads: self.threads, ..LoaderConfig::default() };
        let views = self.plan.views().count();
        let transform = Arc::new(MakeViews::new(self.plan, 0));
        let loader = Loader::new(self.dataset, transform, config)?;
        let start = Instant::now();
        let mut images = 0;
        for batch in (0..).flat_map(|epoch| loader.epoch(epoch, 0)) {
            images += batch?.samples.len();
            if images >= self.images {
                break;
            }
        }
        let images_per_s = images as f64 / start.elapsed().as_secs_f64();
        Ok(LoaderRate { work: "loader", views, threads: self.threads, batch: self.batch, images, images_per_s })
    }
}
