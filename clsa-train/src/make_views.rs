//! From a decoded image to its views in a batch's buffers.

use crate::feed::Feed;
use crate::method::Views;
use crate::view_batch::{Place, Slot, ViewBatch};
use candle_core::Device;
use clsa_augment::{Augmenter, Layout, SampleId, Value, View, ViewPlan};
use clsa_data::{Batch, Sample, Transform};
use std::cell::Cell;
use std::error::Error;

/// Makes the views of a plan: what the loader turns a sample into.
///
/// # Examples
/// The batches of a loop of one's own, for [`Clsa::step`](crate::Clsa::step):
/// ```
/// use clsa_train::MakeViews;
/// use clsa_train::candle_core::Device;
/// use clsa_train::clsa_augment::{View, ViewPlan};
/// use clsa_train::clsa_data::{Loader, LoaderConfig, Source, Split};
/// use std::sync::Arc;
///
/// let view = View { size: 24, ..View::default() };
/// let plan = ViewPlan { key: view.clone(), weak: vec![view], strong: Vec::new() };
/// let make = Arc::new(MakeViews::for_device(plan, 0, &Device::Cpu)?);
/// let images: Source = "procedural:classes=2,train=16,test=4,side=32".parse()?;
/// let config = LoaderConfig { batch_size: 8, ..LoaderConfig::default() };
/// for batch in Loader::new(images.open(Split::Train)?, Arc::clone(&make), config)?.epoch(0, 0) {
///     let views = make.views(batch?, &Device::Cpu)?;
///     assert_eq!(views.key.dims(), [8, 3, 24, 24]);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

    /// The views of a batch that a loader has made with this, on the device that it was made for.
    ///
    /// # Errors
    /// The device fails.
    pub fn views(&self, batch: Batch<ViewBatch>, device: &Device) -> candle_core::Result<Views> {
        let fed = self.feed.begin(&self.plan, batch)?;
        self.feed.views(&self.plan, &fed, device)
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
            static AUGMENTER: Cell<Option<Augmenter>> = const { Cell::new(None) };
        }
        // Taken, not borrowed: this thread may be given another sample while an operation of one's own waits for other threads.
        let mut augmenter = AUGMENTER.take().unwrap_or_default();
        let id = SampleId { seed: self.seed, epoch: sample.epoch, sample: sample.index as u64 };
        for ((id, view), place) in id.views(&self.plan).zip(slot.0) {
            match place {
                Place::Floats(out) => write(&mut augmenter, sample, view, id, out)?,
                #[cfg(feature = "cuda")]
                Place::Bytes(out) => write(&mut augmenter, sample, view, id, out)?,
            }
        }
        AUGMENTER.set(Some(augmenter));
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use clsa_augment::image::RgbImage;
    use clsa_augment::{CustomOp, CustomStrongOp, Op, StrongOp, StrongPolicy};
    use clsa_data::{Loader, LoaderConfig, Source, Split};
    use rayon::prelude::*;
    use std::fmt;
    use std::sync::Arc;
    use std::time::Duration;

    /// Waits for all threads.
    #[derive(Debug)]
    struct Parallel;

    impl fmt::Display for Parallel {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("parallel")
        }
    }

    impl CustomOp for Parallel {
        fn apply(&self, _: &mut RgbImage) {
            (0..32).into_par_iter().for_each(|_| std::thread::sleep(Duration::from_millis(1)));
        }
    }

    impl CustomStrongOp for Parallel {
        fn name(&self) -> &str {
            "parallel"
        }

        fn at_level(&self, _: u32, _: u32, _: &mut dyn rand::Rng) -> Op {
            Op::custom(Self)
        }
    }

    #[test]
    fn an_operation_of_ones_own_may_work_on_all_threads() {
        let pool = vec![StrongOp::custom(Parallel)];
        let strong = StrongPolicy { pool, probability: 1.0, ..StrongPolicy::default() };
        let view = View { size: 8, strong: Some(strong), ..View::default() };
        let plan = ViewPlan { key: view.clone(), weak: vec![view], strong: Vec::new() };
        let images = "procedural:classes=2,train=32,test=4,side=16".parse::<Source>().unwrap();
        let config = LoaderConfig { batch_size: 32, threads: 4, ..LoaderConfig::default() };
        let make = Arc::new(MakeViews::new(plan, 0));
        let loader = Loader::new(images.open(Split::Train).unwrap(), make, config).unwrap();
        for batch in loader.epoch(0, 0) {
            assert_eq!(batch.unwrap().samples.len(), 32);
        }
    }
}
