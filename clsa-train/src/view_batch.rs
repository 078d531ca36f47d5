//! From a decoded image to its views in a batch's buffers, and from the buffers to tensors.

use crate::method::Views;
use candle_core::{Device, Tensor};
use clsa_augment::{Augmenter, Layout, SampleId, ViewPlan};
use clsa_data::{Sample, Transform};
use std::cell::RefCell;
use std::error::Error;

/// Makes the views of a plan: what the loader turns a sample into.
#[derive(Clone, Debug)]
pub struct MakeViews {
    /// The views.
    pub plan: ViewPlan,
    /// The run's seed.
    pub seed: u64,
}

/// One buffer for each view, key first, then weak, then strong: (N, H, W, 3) in f32, normalized.
#[derive(Debug)]
pub struct ViewBatch {
    buffers: Vec<Vec<f32>>,
}

impl Transform for MakeViews {
    type Batch = ViewBatch;
    type Slot<'a> = Vec<&'a mut [f32]>;

    fn allocate(&self, samples: usize) -> ViewBatch {
        ViewBatch { buffers: self.plan.views().map(|view| vec![0.0; samples * floats(view.size)]).collect() }
    }

    fn slots<'a>(&'a self, batch: &'a mut ViewBatch) -> Vec<Self::Slot<'a>> {
        let mut parts: Vec<_> = (batch.buffers.iter_mut().zip(self.plan.views()))
            .map(|(buffer, view)| buffer.chunks_exact_mut(floats(view.size)))
            .collect();
        let samples = parts.first().map_or(0, ExactSizeIterator::len);
        (0..samples).map(|_| parts.iter_mut().filter_map(Iterator::next).collect()).collect()
    }

    fn apply(&self, sample: &Sample<'_>, mut slot: Self::Slot<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        thread_local! {
            static AUGMENTER: RefCell<Augmenter> = RefCell::new(Augmenter::new());
        }
        AUGMENTER.with_borrow_mut(|augmenter| {
            let id = SampleId { seed: self.seed, epoch: sample.epoch, sample: sample.index as u64 };
            Ok(augmenter.write_views(sample.image, &self.plan, id, Layout::ChannelsLast, &mut slot)?)
        })
    }
}

impl ViewBatch {
    /// The views of the first `samples` samples, channels-last in memory, on a device.
    ///
    /// # Errors
    /// The device has no room.
    pub fn to_tensors(&self, plan: &ViewPlan, samples: usize, device: &Device) -> candle_core::Result<Views> {
        let tensor = |(buffer, side): (&Vec<f32>, u32)| {
            let (side, values) = (side as usize, &buffer[..samples * floats(side)]);
            Tensor::from_slice(values, (samples, side, side, 3), device)?.permute((0, 3, 1, 2))
        };
        let sides = plan.views().map(|view| view.size);
        let mut views = self.buffers.iter().zip(sides).map(tensor).collect::<candle_core::Result<Vec<_>>>()?;
        let strong = views.split_off(1 + plan.weak.len());
        let weak = views.split_off(1);
        Ok(Views { key: views.remove(0), weak, strong })
    }
}

fn floats(side: impl TryInto<usize>) -> usize {
    let side = side.try_into().unwrap_or(0);
    side * side * 3
}
