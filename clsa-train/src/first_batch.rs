//! The views of the first batch as a picture: what the encoders are about to see.

use crate::contact_sheet::{contact_sheet, png};
use crate::error::Result;
use clsa_augment::{Augmenter, SampleId, ViewPlan};
use clsa_data::Dataset;
use clsa_eval::EvalError;
use clsa_run::{EventImage, MetricsWriter};

/// Images shown.
const ROWS: usize = 8;
/// Side of a picture, pixels.
const SIDE: u32 = 96;

/// Records the views of the first samples of a batch: a row for each sample, with the image and then its key, weak and strong views, as the
/// batch has them.
pub(crate) fn record_views(
    metrics: &mut MetricsWriter,
    dataset: &dyn Dataset,
    plan: &ViewPlan,
    seed: u64,
    samples: &[usize],
) -> Result<()> {
    let mut augmenter = Augmenter::new();
    let mut pictures = Vec::new();
    for &sample in samples.iter().take(ROWS) {
        let image = dataset.image(sample)?;
        let id = SampleId { seed, epoch: 0, sample: sample as u64 };
        let views = augmenter.views(&image, plan, id);
        let views = views.map_err(|source| EvalError::Transform { sample: dataset.name(sample), source })?;
        pictures.push(image);
        pictures.extend(views);
    }
    let sheet = contact_sheet(&pictures, 1 + plan.len() as u32, SIDE);
    let encoded = png(&sheet);
    let picture = EventImage { width: sheet.width(), height: sheet.height(), encoded: &encoded };
    Ok(metrics.picture("first batch: image, key, weak and strong views", 0, &picture)?)
}
