//! How the views of a batch come to the encoders: on the CPU as tensors of what the loader wrote, on a GPU as bytes that are
//! copied while it still works on the batch before.

use crate::image_bytes::ImageBytes;
use crate::method::Views;
use crate::view_batch::{Pixels, ViewBatch, sorted};
use candle_core::{Device, Tensor};
use clsa_augment::ViewPlan;
use clsa_data::Batch;

/// The way to a device.
#[derive(Clone)]
pub(crate) enum Feed {
    /// Numbers, made into tensors when they are needed.
    Host,
    /// Bytes, copied ahead.
    #[cfg(feature = "cuda")]
    Gpu(gpu::Gpu),
}

/// A batch whose views are on their way.
pub(crate) struct Fed {
    /// Dropped before the memory that they copy from, since they wait for the copy then.
    #[cfg(feature = "cuda")]
    uploads: Vec<clsa_cuda::Upload>,
    /// What the loader made; its memory is not to be written again before the views were used.
    pub batch: Batch<ViewBatch>,
}

impl Feed {
    #[cfg(feature = "cuda")]
    pub fn new(plan: &ViewPlan, device: &Device) -> candle_core::Result<Self> {
        if device.is_cuda() { gpu::Gpu::new(plan, device).map(Self::Gpu) } else { Ok(Self::Host) }
    }

    #[cfg(not(feature = "cuda"))]
    pub fn new(_: &ViewPlan, _: &Device) -> candle_core::Result<Self> {
        Ok(Self::Host)
    }

    /// Whether a batch is begun while the one before is worked on.
    pub fn is_ahead(&self) -> bool {
        !matches!(self, Self::Host)
    }

    /// Memory for so many values of a view.
    pub fn allocate(&self, values: usize) -> Pixels {
        match self {
            Self::Host => Pixels::Floats(vec![0.0; values]),
            #[cfg(feature = "cuda")]
            Self::Gpu(gpu) => gpu.allocate(values),
        }
    }

    /// Begins to bring a batch to the device.
    pub fn begin(&self, plan: &ViewPlan, batch: Batch<ViewBatch>) -> candle_core::Result<Fed> {
        #[cfg(feature = "cuda")]
        {
            let uploads = match self {
                Self::Host => Vec::new(),
                Self::Gpu(gpu) => gpu.upload(plan, &batch)?,
            };
            Ok(Fed { uploads, batch })
        }
        #[cfg(not(feature = "cuda"))]
        {
            let _ = plan;
            Ok(Fed { batch })
        }
    }

    /// The views of a batch, channels-last in memory, on the device.
    pub fn views(&self, plan: &ViewPlan, fed: &Fed, device: &Device) -> candle_core::Result<Views> {
        let samples = fed.batch.samples.len();
        let tensors: candle_core::Result<Vec<Tensor>> = match self {
            Self::Host => {
                let sides = plan.views().map(|view| view.size as usize);
                fed.batch
                    .buffers
                    .iter()
                    .zip(sides)
                    .map(|(pixels, side)| host_tensor(pixels, samples, side, device))
                    .collect()
            }
            #[cfg(feature = "cuda")]
            Self::Gpu(gpu) => gpu.views(&fed.uploads),
        };
        Ok(sorted(plan, tensors?))
    }

    /// The first so many views as bytes, where they come as such.
    pub fn bytes(&self, fed: &Fed, views: usize) -> candle_core::Result<Vec<ImageBytes>> {
        match self {
            Self::Host => {
                let _ = (fed, views);
                Ok(Vec::new())
            }
            #[cfg(feature = "cuda")]
            Self::Gpu(gpu) => gpu.bytes(fed.uploads.iter().take(views)),
        }
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_ahead() { "Gpu" } else { "Host" })
    }
}

fn host_tensor(pixels: &Pixels, samples: usize, side: usize, device: &Device) -> candle_core::Result<Tensor> {
    match pixels {
        Pixels::Floats(values) => {
            let values = &values[..samples * side * side * 3];
            Tensor::from_slice(values, (samples, side, side, 3), device)?.permute((0, 3, 1, 2))
        }
        #[cfg(feature = "cuda")]
        Pixels::Bytes(_) => candle_core::bail!("a batch was made for a GPU"),
    }
}

#[cfg(feature = "cuda")]
mod gpu {
    use super::{ImageBytes, Pixels, Tensor, ViewBatch, ViewPlan};
    use candle_core::{Device, Error};
    use clsa_cuda::{Feeder, Upload};
    use clsa_data::Batch;

    /// The way to a GPU.
    #[derive(Clone)]
    pub(crate) struct Gpu {
        feeder: Feeder,
        /// For each view what its bytes stand for: (3, 256).
        tables: Vec<Tensor>,
    }

    impl Gpu {
        pub fn new(plan: &ViewPlan, device: &Device) -> candle_core::Result<Self> {
            let table = |view: &clsa_augment::View| {
                let values: Vec<f32> = view.normalize.tables().concat();
                Tensor::from_vec(values, (3, 256), device)
            };
            let tables = plan.views().map(table).collect::<candle_core::Result<_>>()?;
            Ok(Self { feeder: Feeder::new(device).map_err(Error::wrap)?, tables })
        }

        /// Page-locked memory; where there is no more of it, the batch is made of numbers, and the run ends with a sentence.
        pub fn allocate(&self, bytes: usize) -> Pixels {
            match self.feeder.allocate(bytes) {
                Ok(pinned) => Pixels::Bytes(pinned),
                Err(_) => Pixels::Floats(vec![0.0; bytes]),
            }
        }

        pub fn upload(&self, plan: &ViewPlan, batch: &Batch<ViewBatch>) -> candle_core::Result<Vec<Upload>> {
            let sides = plan.views().map(|view| view.size as usize);
            let upload = |(pixels, side): (&Pixels, usize)| match pixels {
                Pixels::Bytes(bytes) => self.feeder.upload(bytes, batch.samples.len(), side).map_err(Error::wrap),
                Pixels::Floats(values) => {
                    // The batch was made where no error could be returned; the driver says again what it has said then.
                    let reason = self.feeder.allocate(values.len()).err();
                    let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
                    candle_core::bail!(
                        "no page-locked memory for the views{reason}; use a smaller data.prefetch or train.batch_size"
                    )
                }
            };
            batch.buffers.iter().zip(sides).map(upload).collect()
        }

        pub fn views(&self, uploads: &[Upload]) -> candle_core::Result<Vec<Tensor>> {
            uploads
                .iter()
                .zip(&self.tables)
                .map(|(upload, table)| upload.to_tensor(table).map_err(Error::wrap))
                .collect()
        }

        pub fn bytes<'a>(&self, uploads: impl Iterator<Item = &'a Upload>) -> candle_core::Result<Vec<ImageBytes>> {
            let bytes = |(upload, tables): (&Upload, &Tensor)| {
                Ok(ImageBytes { pixels: upload.to_bytes().map_err(Error::wrap)?, tables: tables.clone() })
            };
            uploads.zip(&self.tables).map(bytes).collect()
        }
    }
}
