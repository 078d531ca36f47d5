//! From the bytes of image files to normalized views.

use crate::error::Result;
use crate::make_views::MakeViews;
use crate::view_batch::ViewBatch;
use clsa_augment::ViewPlan;
use clsa_data::{DataError, Limits, Sample, Transform};
use rayon::prelude::*;
use serde::Serialize;
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
        let one = |batch: &mut ViewBatch, index: usize| -> Result<()> {
            let (name, bytes) = &self.files[index % self.files.len()];
            let image = clsa_data::decode(bytes, name, &Limits::default())?;
            let slot = views.slots(batch).pop().expect("a batch of one has one slot");
            let sample = Sample { image: &image, index, epoch: 0 };
            Ok(views.apply(&sample, slot).map_err(|reason| DataError::Transform { name: name.clone(), reason })?)
        };
        let all = |images: usize| (0..images).into_par_iter().try_for_each_init(|| views.allocate(1), one);
        all(self.files.len().min(8))?;
        let start = Instant::now();
        all(self.images)?;
        Ok(AugmentRate {
            work: "augment",
            views: self.plan.views().count(),
            threads: rayon::current_num_threads(),
            images_per_s: self.images as f64 / start.elapsed().as_secs_f64(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contact_sheet::png;
    use clsa_augment::View;
    use image::{Rgb, RgbImage};

    #[test]
    fn each_measurement_makes_the_views_of_its_own_plan() {
        let image = png(&RgbImage::from_pixel(40, 40, Rgb([9, 99, 199])));
        let run = |size: u32| {
            let view = View { size, ..View::default() };
            let plan = ViewPlan { key: view.clone(), weak: vec![view], strong: Vec::new() };
            AugmentBench { files: vec![("image.png".to_owned(), image.clone())], plan, images: 2 }.run().unwrap()
        };
        // One thread, for which anything that is kept would be kept for all of them.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        pool.install(|| {
            for size in [16, 32, 8] {
                assert_eq!(run(size).views, 2);
            }
        });
    }
}
