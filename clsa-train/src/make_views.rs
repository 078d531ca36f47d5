//! From a decoded image to its views in a batch's buffers.

use crate::feed::Feed;
use crate::view_batch::{Place, Slot, ViewBatch};
use candle_core::Device;
use clsa_augment::{Augmenter, Layout, SampleId, Value, View, ViewPlan};
use clsa_data::{Sample, Transform};
use std::cell::RefCell;
use std::error::Error;

/// Makes the views of a plan: what the loader turns a sample into.
#[derive(Clone, Debug)]
pub struct MakeViews {
    plan: ViewPlan,
    seed: u64,
    feed: Feed,
}

impl MakeViews {
    /// Views of a plan, drawn by the run's seed, for encoders on the CPU.
    pub fn new(plan: ViewPlan, seed: u64) -> Self {
        Self { plan, seed, feed: Feed::Host }
    }

    /// The same for encoders on a device. A GPU is given bytes, and normalizes them to the numbers that the CPU is given.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn for_device(plan: ViewPlan, seed: u64, device: &Device) -> candle_core::Result<Self> {
        let feed = Feed::new(&plan, device)?;
        Ok(Self { plan, seed, feed })
    }

    pub(crate) fn plan(&self) -> &ViewPlan {
        &self.plan
    }

    pub(crate) fn feed(&self) -> &Feed {
        &self.feed
    }
}

impl Transform for MakeViews {
    type Batch = ViewBatch;
    type Slot<'a> = Slot<'a>;

    fn allocate(&self, samples: usize) -> ViewBatch {
        ViewBatch { buffers: self.plan.views().map(|view| self.feed.allocate(samples * view.values())).collect() }
    }

    fn slots<'a>(&'a self, batch: &'a mut ViewBatch) -> Vec<Slot<'a>> {
        let mut parts: Vec<_> = (batch.buffers.iter_mut().zip(self.plan.views()))
            .map(|(pixels, view)| pixels.places(view.values()))
            .collect();
        let samples = parts.first().map_or(0, |places| places.len());
        (0..samples).map(|_| Slot(parts.iter_mut().filter_map(Iterator::next).collect())).collect()
    }

    fn apply(&self, sample: &Sample<'_>, slot: Slot<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        thread_local! {
            static AUGMENTER: RefCell<Augmenter> = RefCell::new(Augmenter::new());
        }
        AUGMENTER.with_borrow_mut(|augmenter| {
            let id = SampleId { seed: self.seed, epoch: sample.epoch, sample: sample.index as u64 };
            for ((id, view), place) in id.views(&self.plan).zip(slot.0) {
                match place {
                    Place::Floats(out) => write(augmenter, sample, view, id, out)?,
                    #[cfg(feature = "cuda")]
                    Place::Bytes(out) => write(augmenter, sample, view, id, out)?,
                }
            }
            Ok(())
        })
    }
}

fn write<V: Value>(
    augmenter: &mut Augmenter,
    sample: &Sample<'_>,
    view: &View,
    id: clsa_augment::ViewId,
    out: &mut [V],
) -> Result<(), clsa_augment::AugmentError> {
    augmenter.write(sample.image, view, id, Layout::ChannelsLast, out)
}
