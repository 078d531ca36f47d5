//! The hash of an encoder.

use crate::EvalError;
use candle_core::DType;
use clsa_model::weights::is_batch_count;
use clsa_model::{Encoder, FeatureStage, head};
use sha2::{Digest, Sha256};

/// SHA-256 over names, shapes and values of the parameters and running statistics that the encoder's features depend on, as 64
/// hexadecimal digits: those of the backbone, and where the features are the embedding those of the head too. A stage before the
/// last is a part of the hash by its name.
///
/// # Errors
/// A tensor operation fails.
///
/// # Examples
/// ```
/// use clsa_eval::candle_core::Device;
/// use clsa_eval::clsa_model::{Arch, Compute, Encoder, ModelConfig, Stem};
/// use clsa_eval::hashes::encoder_hash;
///
/// let model = ModelConfig { arch: Arch::Resnet10, width: 0.125, stem: Stem::Cifar, ..ModelConfig::default() };
/// let encoder = |seed| Encoder::new(&model, Compute::default(), seed, &Device::Cpu);
/// assert_eq!(encoder_hash(&encoder(0)?)?, encoder_hash(&encoder(0)?)?);
/// assert_ne!(encoder_hash(&encoder(0)?)?, encoder_hash(&encoder(1)?)?);
/// # Ok::<(), clsa_eval::EvalError>(())
/// ```
pub fn encoder_hash(encoder: &Encoder) -> Result<String, EvalError> {
    let mut tensors: Vec<_> = encoder.state_dict()?.into_iter().collect();
    let with_head = *encoder.feature_stage() == FeatureStage::Embedding;
    let counts = |name: &str| (with_head || !head::owns(name)) && !is_batch_count(name);
    tensors.retain(|(name, _)| counts(name));
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let mut hash = Sha256::new();
    if let FeatureStage::Stage(name) = encoder.feature_stage() {
        hash.update(name);
    }
    for (name, tensor) in tensors {
        hash.update(format!("{name}{:?}", tensor.dims()));
        let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        values.iter().for_each(|value| hash.update(value.to_le_bytes()));
    }
    Ok(base16ct::lower::encode_string(&hash.finalize()))
}
