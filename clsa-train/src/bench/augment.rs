//! From the bytes of image files to normalized views.

use crate::error::Result;
use crate::make_views::MakeViews;
use crate::view_batch::ViewBatch;
use clsa_augment::ViewPlan;
use clsa_data::{DataError, Limits, Sample, Transform};
use rayon::prelude::*;
use serde::Serialize;
use std::cell::RefCell;
use std::time::Instant;

/// JPEG bytes to normalized views.
pub struct AugmentBench {
    /// Names and bytes of the files.
    pub files: Vec<(String, Vec<u8>)>,
    /// The views.
    pub plan: ViewPlan,
    /// Images to make views of, the files in turn.
    pub images: usize,
}

/// What augmentation takes.
#[derive(Debug, Serialize)]
pub struct AugmentRate {
    work: &'static str,
    views: usize,
    threads: usize,
    images_per_s: f64,
}

impl AugmentBench {
    /// Decodes and augments, on all threads of the pool.
    ///
    /// # Errors
    /// A file is not an image.
    pub fn run(&self) -> Result<AugmentRate> {
        let views = MakeViews::new(self.plan.clone(), 0);
        let one = |index: usize| -> Result<()> {
            thread_local! {
                static BATCH: RefCell<Option<ViewBatch>> = const { RefCell::new(None) };
            }
            let (name, bytes) = &self.files[index % self.files.len()];
            let image = clsa_data::decode(bytes, name, &Limits::default())?;
            BATCH.with_borrow_mut(|batch| {
                let batch = batch.get_or_insert_with(|| views.allocate(1));
                let slot = views.slots(batch).pop().expect("a batch of one has one slot");
                let sample = Sample { image: &image, index, epoch: 0 };
                Ok(views.apply(&sample, slot).map_err(|reason| DataError::Transform { name: name.clone(), reason })?)
            })
        };
        (0..self.files.len().min(8)).into_par_iter().try_for_each(one)?;
        let start = Instant::now();
        (0..self.images).into_par_iter().try_for_each(one)?;
        Ok(AugmentRate {
            work: "augment",
            views: self.plan.views().count(),
            threads: rayon::current_num_threads(),
            images_per_s: self.images as f64 / start.elapsed().as_secs_f64(),
        })
    }
}
