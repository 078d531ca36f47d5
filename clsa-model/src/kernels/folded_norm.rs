//! Batch norm in evaluation mode, folded into a factor and a sum per channel of a convolution's output.

/// What follows a convolution in evaluation mode: `relu?(conv · scale + bias + residual?)`.
#[derive(Clone, Copy)]
pub struct FoldedNorm<'a, E> {
    /// Multiplies each channel; (channels).
    pub scale: &'a [f32],
    /// Added to each channel then; (channels).
    pub bias: &'a [f32],
    /// Added to the output, of its shape (batch, height, width, channels).
    pub residual: Option<&'a [E]>,
    /// Whether ReLU follows.
    pub relu: bool,
}
