//! What an interrupted training keeps.

use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use std::path::Path;

/// The tensors of a state's file but for the seconds that it took.
pub fn state(path: &Path) -> BTreeMap<String, Vec<f64>> {
    let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let flat = |t: Tensor| t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
    tensors.into_iter().filter(|(name, _)| name != "seconds").map(|(name, t)| (name, flat(t))).collect()
}
