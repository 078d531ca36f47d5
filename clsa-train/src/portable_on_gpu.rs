//! What to say where a GPU computes in Candle's operations, though nobody has asked for that.

use clsa_model::{Encoder, EngineKind};

/// Why an encoder on a GPU is computed without the GPU's kernels, in words; none where it is computed with them, or elsewhere.
pub fn portable_on_gpu(encoder: &Encoder) -> Option<&'static str> {
    (encoder.device().is_cuda() && encoder.engine() == EngineKind::Portable).then_some(
        "the GPU's kernels need channels in multiples of 8, and convolutions of at most 21 x 21: this network is computed in Candle's \
         operations, many times slower",
    )
}
