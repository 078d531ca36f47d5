//! Training on a GPU: against the CPU, against the original implementation, and against itself. Where there is no GPU, the
//! tests say so and pass.

mod encoders;
mod feed;
#[cfg(feature = "nccl")]
mod nccl;
mod runs;
mod steps;
mod trajectories;

use candle_core::{DType, Device, Tensor};
use std::sync::OnceLock;

/// The first GPU, opened once: a process has one stream for all its tests.
fn gpu() -> Option<Device> {
    static GPU: OnceLock<Option<Device>> = OnceLock::new();
    let open = || match clsa_cuda::open(0) {
        Ok(device) => Some(device),
        Err(error) => {
            eprintln!("not tested: {error}");
            None
        }
    };
    GPU.get_or_init(open).clone()
}

fn f64s(tensor: &Tensor) -> Vec<f64> {
    let host = tensor.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
    host.flatten_all().unwrap().to_vec1().unwrap()
}

/// The length of the difference over the length of what is expected.
fn difference(got: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let distance: f64 = got.iter().zip(expected).map(|(a, b)| (a - b) * (a - b)).sum();
    let length: f64 = expected.iter().map(|b| b * b).sum();
    assert!(distance.is_finite());
    (distance / length.max(1e-300)).sqrt()
}

/// Smooth numbers of mixed sign, the same everywhere.
fn images(n: usize, side: usize, phase: f64) -> Tensor {
    let value = |i: usize| (i as f64 * 0.37 + phase).sin() + 0.5 * (i as f64 * 0.0113).cos();
    let values: Vec<f64> = (0..n * 3 * side * side).map(value).collect();
    Tensor::from_vec(values, (n, 3, side, side), &Device::Cpu).unwrap()
}

#[test]
fn cudnn_describes_the_gpu() {
    let Some(gpu) = gpu() else { return };
    let description = clsa_cuda::Cuda::of(&gpu).unwrap().device_description().unwrap();
    println!("description {description}");
    assert!(serde_json::from_str::<serde_json::Value>(&description).unwrap().is_object());
}
