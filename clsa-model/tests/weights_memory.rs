//! What reading costs: the header of a safetensors file is read once, not for each tensor.

use candle_core::{DType, Device, Tensor};
use clsa_model::weights::{self, Format};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that reading a file of so many empty tensors allocates, over the bytes of the file.
fn allocated_per_byte(tensors: usize) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many.safetensors");
    let empty = Tensor::zeros(0, DType::F32, &Device::Cpu).unwrap();
    let all = (0..tensors).map(|i| (format!("layer1.{i}.weight"), empty.clone())).collect();
    weights::write(&path, &all, Format::Safetensors).unwrap();
    let region = Region::new(ALLOCATOR);
    assert_eq!(weights::read(&path).unwrap().tensors.len(), tensors);
    region.change().bytes_allocated as f64 / std::fs::metadata(&path).unwrap().len() as f64
}

#[test]
fn memory_grows_with_the_number_of_tensors_and_no_faster() {
    let (few, many) = (allocated_per_byte(500), allocated_per_byte(20_000));
    // Read for each tensor, the header would make it forty times as much.
    assert!(many < 4.0 * few, "{few:.0} bytes for each of the file with few tensors, {many:.0} with many");
}
