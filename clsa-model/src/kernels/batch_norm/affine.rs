//! Batch norm of a training pass as two numbers per group and channel.

use crate::kernels::moments::Moments;

/// Batch norm over the groups of a batch, as `z · scale + shift`, with what its backward pass needs.
#[derive(Clone, Debug)]
pub struct Affine {
    /// Weight over standard deviation; (groups, channels).
    pub scale: Vec<f32>,
    /// Bias minus scaled mean; (groups, channels).
    pub shift: Vec<f32>,
    /// Mean over a group's images and pixels; (groups, channels).
    pub mean: Vec<f32>,
    /// Reciprocal of the standard deviation, `1 / sqrt(variance + eps)`; (groups, channels).
    pub inv_std: Vec<f32>,
}

impl Affine {
    /// From the moments of a batch, and the norm's weight and bias (channels); `eps` is added to the variance (torch:
    /// 1e-5).
    ///
    /// # Panics
    /// `bias` is shorter than `weight`, or `weight` is empty and the moments are not.
    pub fn new(moments: &Moments, weight: &[f32], bias: &[f32], eps: f64) -> Self {
        let channels = weight.len();
        let inv_std: Vec<f64> = moments.variance().iter().map(|v| 1.0 / (v + eps).sqrt()).collect();
        let scale = |i: usize| f64::from(weight[i % channels]) * inv_std[i];
        let n = inv_std.len();
        Self {
            scale: (0..n).map(|i| scale(i) as f32).collect(),
            shift: (0..n).map(|i| (f64::from(bias[i % channels]) - moments.mean()[i] * scale(i)) as f32).collect(),
            mean: moments.mean().iter().map(|&m| m as f32).collect(),
            inv_std: inv_std.iter().map(|&s| s as f32).collect(),
        }
    }

    pub(super) fn groups(&self, channels: usize) -> usize {
        self.scale.len() / channels
    }
}
