//! The views of a batch: the buffers that they are made in, and their order.

use crate::method::Views;
use candle_core::Tensor;
use clsa_augment::ViewPlan;

/// One buffer for each view, key first, then weak, then strong: (N, H, W, 3).
#[derive(Debug)]
pub struct ViewBatch {
    pub(crate) buffers: Vec<Pixels>,
}

/// The pixels of a view of all samples.
#[derive(Debug)]
pub(crate) enum Pixels {
    /// Normalized.
    Floats(Vec<f32>),
    /// As they are, in memory that a GPU copies from.
    #[cfg(feature = "cuda")]
    Bytes(clsa_cuda::PinnedBytes),
}

/// The places of a sample's views, in order.
pub struct Slot<'a>(pub(crate) Vec<Place<'a>>);

/// The place of one view of a sample.
pub(crate) enum Place<'a> {
    Floats(&'a mut [f32]),
    #[cfg(feature = "cuda")]
    Bytes(&'a mut [u8]),
}

impl Pixels {
    /// The places of so many values, one for each sample.
    pub(crate) fn places(&mut self, values: usize) -> std::vec::IntoIter<Place<'_>> {
        let places: Vec<Place<'_>> = match self {
            Self::Floats(all) => all.chunks_exact_mut(values).map(Place::Floats).collect(),
            #[cfg(feature = "cuda")]
            Self::Bytes(all) => all.chunks_exact_mut(values).map(Place::Bytes).collect(),
        };
        places.into_iter()
    }
}

/// The views of a batch by their place in the plan, key first, from one tensor for each.
pub(crate) fn sorted(plan: &ViewPlan, mut tensors: Vec<Tensor>) -> Views {
    let strong = tensors.split_off(1 + plan.weak.len());
    let weak = tensors.split_off(1);
    Views { key: tensors.remove(0), weak, strong, bytes: Vec::new() }
}
