//! Every operation on a GPU against the plain loops that the host's kernels are held to. Without a GPU, nothing is tested.

mod kernels;

use candle_core::{DType, Device, Tensor};
use clsa_cuda::{Area, ConvShape, Cuda, CudaBuffer, Element, GpuError, Images};
use kernels::norm::{Backward, Residual};
use kernels::softmax::Sizes;
use kernels::{Bench, Machine, foreign, layout, norm, pool, softmax, update};

struct OnGpu {
    device: Device,
    cuda: Cuda,
}

impl Machine for OnGpu {
    type Gpu = Cuda;

    fn gpu(&self) -> &Cuda {
        &self.cuda
    }

    fn device(&self) -> Device {
        self.device.clone()
    }

    fn upload(&self, bytes: &[u8]) -> CudaBuffer {
        self.cuda.upload(bytes).unwrap()
    }

    fn download(&self, buffer: &CudaBuffer) -> Vec<u8> {
        self.cuda.download(buffer).unwrap()
    }
}

/// The first GPU, if there is one.
#[allow(unsafe_code)]
fn gpu() -> Option<OnGpu> {
    let device = match Device::new_cuda_with_stream(0) {
        Ok(device) => device,
        Err(error) => {
            println!("not tested: {}", error.to_string().lines().next().unwrap_or_default());
            return None;
        }
    };
    // SAFETY: one stream, no tensors.
    unsafe { device.as_cuda_device().unwrap().disable_event_tracking() };
    let cuda = Cuda::new(&device).unwrap();
    Some(OnGpu { device, cuda })
}

const ELEMENTS: [Element; 2] = [Element::F32, Element::Bf16];

/// Sizes of real networks as well as odd ones: every split of the pixels, full and partial tiles of channels.
const AREAS: [Area; 5] = [
    Area { groups: 1, rows: 2, channels: 8 },
    Area { groups: 3, rows: 1001, channels: 72 },
    Area { groups: 1, rows: 40_000, channels: 64 },
    Area { groups: 2, rows: 3 * 49, channels: 2048 },
    Area { groups: 8, rows: 784, channels: 256 },
];

#[test]
fn norms_on_a_gpu_are_those_of_plain_loops() {
    let Some(gpu) = gpu() else { return };
    for (seed, (element, area)) in ELEMENTS.into_iter().flat_map(|e| AREAS.map(|a| (e, a))).enumerate() {
        let (bench, seed) = (Bench::new(&gpu, element), seed as u64);
        norm::statistics(&bench, area, seed);
        norm::running_norm(&bench, area.channels, seed);
        let residuals = [Residual::None, Residual::Stored, Residual::Normalized { relu: seed % 2 == 0 }];
        for (residual, relu) in residuals.into_iter().zip([true, true, false]) {
            norm::normalize(&bench, area, residual, relu, seed);
        }
        for (relu, residual) in [(true, true), (true, false), (false, true), (false, false)] {
            norm::backward(&bench, area, Backward { relu, residual, overwrite: seed % 2 == 0 }, seed);
        }
        norm::add(&bench, area.len(), seed);
    }
}

#[test]
fn pooling_on_a_gpu_is_that_of_plain_loops() {
    let Some(gpu) = gpu() else { return };
    for element in ELEMENTS {
        let bench = Bench::new(&gpu, element);
        for (batch, height, width, channels) in [(1, 1, 1, 8), (6, 7, 9, 72), (12, 56, 56, 64)] {
            let images = Images { batch, height, width, channels };
            pool::max_pool(&bench, images, None, 1);
            if batch > 1 {
                pool::max_pool(&bench, images, Some(3), 2);
            }
            pool::global_avg_pool(&bench, images, 3);
        }
    }
}

#[test]
fn layouts_and_convolutions_on_a_gpu_are_those_of_plain_loops() {
    let Some(gpu) = gpu() else { return };
    for element in ELEMENTS {
        let bench = Bench::new(&gpu, element);
        for (channels, permuted) in [(3, false), (3, true), (8, false)] {
            layout::image(&bench, Images { batch: 5, height: 33, width: 47, channels }, permuted, 1);
        }
        layout::bytes(&bench, 300_001, 2);
        for shape in [([64, 3, 7], 8), ([9, 300, 3], 304), ([130, 520, 1], 520)] {
            layout::weight(&bench, shape, 3);
        }
        for (kernel, stride) in [(1, 1), (1, 2), (3, 1), (3, 2)] {
            let shape =
                ConvShape { batch: 4, height: 14, width: 15, c_in: 16, c_out: 24, kernel, stride, padding: kernel / 2 };
            layout::convolution(&bench, shape, 4);
        }
    }
}

#[test]
fn updates_and_softmax_on_a_gpu_are_those_of_plain_loops() {
    let Some(gpu) = gpu() else { return };
    let bench = Bench::new(&gpu, Element::F32);
    update::sgd(&bench, &[1, 64, 2048, 16_385, 300_000], 1);
    update::moving_average(&bench, &[1, 64, 2048, 16_385, 300_000], 2);
    softmax::softmax(&bench, Sizes { rows: 64, counted: 32, dim: 128 }, &[64, 1001, 8192], 3);
}

#[test]
fn tensors_of_another_stream_or_of_the_host_are_refused() {
    let (Some(gpu), Some(other)) = (gpu(), gpu()) else { return };
    let ops = Bench::new(&gpu, Element::F32).ops;
    let packed = |device: &Device| {
        let weight = Tensor::zeros((8, 8, 1, 1), DType::F32, device).unwrap();
        ops.pack_weight(&weight, 8).map(drop)
    };
    packed(&gpu.device).unwrap();
    for device in [&other.device, &Device::Cpu] {
        assert!(matches!(packed(device), Err(GpuError::Unsupported { .. })), "{device:?}");
    }
}

#[test]
fn buffers_of_another_stream_are_refused() {
    let (Some(gpu), Some(other)) = (gpu(), gpu()) else { return };
    foreign::buffers(&Bench::new(&gpu, Element::F32), &Bench::new(&other, Element::F32));
    let elsewhere = other.cuda.upload(&[0; 8]).unwrap();
    assert!(matches!(gpu.cuda.download(&elsewhere), Err(GpuError::Unsupported { .. })));
}
