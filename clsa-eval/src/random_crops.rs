//! Training images of supervised protocols: random crops and flips, in batches.

use candle_core::{Device, Tensor};
use clsa_augment::{Augmenter, CenterCrop, Layout, View, ViewId};
use clsa_data::{Batch, DataError, Dataset, Loader, LoaderConfig, Sample, Transform};
use std::cell::RefCell;
use std::sync::Arc;

/// Random crops (torchvision's `RandomResizedCrop`) and flips, in the layout (N, side, side, 3).
pub(crate) struct RandomCrops {
    view: View,
    seed: u64,
}

/// A loader of random crops of the test crop's size, each of an area in `scale` of its image, on as many threads as compute.
pub(crate) fn random_crops(
    dataset: Arc<dyn Dataset>,
    transform: &CenterCrop,
    scale: (f64, f64),
    config: LoaderConfig,
) -> Result<Loader<RandomCrops>, DataError> {
    // The loader has threads of its own, by default one for each core, however few may compute.
    let config = LoaderConfig { threads: rayon::current_num_threads(), ..config };
    let view = View { normalize: transform.normalize, ..View::crop_and_flip(transform.crop, scale) };
    let seed = config.seed;
    Loader::new(dataset, Arc::new(RandomCrops { view, seed }), config)
}

/// The images of a batch, (N, 3, side, side), channels last in memory.
pub(crate) fn images(batch: &Batch<Vec<f32>>, side: u32, device: &Device) -> candle_core::Result<Tensor> {
    let side = side as usize;
    Tensor::from_slice(batch.as_slice(), (batch.samples.len(), side, side, 3), device)?.permute((0, 3, 1, 2))
}

impl Transform for RandomCrops {
    type Batch = Vec<f32>;
    type Slot<'a> = &'a mut [f32];

    fn allocate(&self, samples: usize) -> Vec<f32> {
        vec![0.0; samples * self.view.values()]
    }

    fn slots<'a>(&'a self, batch: &'a mut Vec<f32>) -> Vec<&'a mut [f32]> {
        batch.chunks_exact_mut(self.view.values()).collect()
    }

    fn apply(&self, sample: &Sample<'_>, out: &mut [f32]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        thread_local!(static AUGMENTER: RefCell<Augmenter> = RefCell::new(Augmenter::new()));
        let id = ViewId { seed: self.seed, epoch: sample.epoch, sample: sample.index as u64, view: 0 };
        AUGMENTER.with_borrow_mut(|augmenter| {
            augmenter.write(sample.image, &self.view, id, Layout::ChannelsLast, out).map_err(Into::into)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clsa_data::{Source, Split};

    #[test]
    fn each_epoch_has_a_crop_of_its_own_of_each_image() {
        let source: Source = "procedural:classes=2,train=20,test=4,side=16".parse().unwrap();
        let data = source.open(Split::Train).unwrap();
        let (transform, scale) = (CenterCrop::new(10, 8), (0.2, 0.9));
        let config = LoaderConfig { batch_size: 4, seed: 5, ..LoaderConfig::default() };
        let loader = random_crops(data.clone(), &transform, scale, config).unwrap();
        let view = View { normalize: transform.normalize, ..View::crop_and_flip(8, scale) };
        for epoch in 0..2 {
            let batch = loader.epoch(epoch, 0).next().unwrap().unwrap();
            for (&sample, pixels) in batch.samples.iter().zip(batch.chunks_exact(view.values())) {
                let id = ViewId { seed: 5, epoch, sample: sample as u64, view: 0 };
                let (image, mut expected) = (data.image(sample).unwrap(), vec![0f32; view.values()]);
                Augmenter::new().write(&image, &view, id, Layout::ChannelsLast, &mut expected).unwrap();
                assert!(pixels == expected, "epoch {epoch}, sample {sample}");
            }
        }
    }
}
