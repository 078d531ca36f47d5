//! What this crate asks of an encoder beyond its weights: the pooled features of its backbone.

use crate::EvalError;
use candle_core::{DType, Tensor};
use clsa_model::{Encoder, Stage};

/// Length of a feature vector.
pub(crate) fn feature_dim(encoder: &Encoder) -> usize {
    encoder.config().feature_dim()
}

/// The features (N, dim) of images (N, 3, side, side) by the last stage of the backbone in evaluation mode, in f32.
pub(crate) fn pooled_features(encoder: &Encoder, images: &Tensor) -> Result<Tensor, EvalError> {
    Ok(encoder.features(images, Stage::Layer4)?.to_dtype(DType::F32)?)
}

/// Whether a parameter is part of the projection head, which no evaluation looks at.
pub(crate) fn is_of_head(parameter: &str) -> bool {
    parameter.starts_with("fc.")
}
