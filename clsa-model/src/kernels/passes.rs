//! The passes of a convolution: each by the algorithm that is the fastest for its shape.

use super::activation_view::ActivationView;
use super::algorithm::Algorithm;
use super::conv::Conv;
use super::element::Element;
use super::folded_norm::FoldedNorm;
use super::moments::Moments;
use super::simd::lanes;
use super::tile::panel_width;
use super::{direct, weight_gradient, winograd};
use half::bf16;

// The passes on bf16 are compiled only for `E::BF16`, a constant: f32 has no use for them.
impl Conv<'_> {
    /// Convolution of a training pass: writes it to `out` and returns the moments of `out` for each of the groups.
    ///
    /// `input` is (batch, height, width, c_in), `weight` (c_out, c_in, kernel, kernel), `out` (batch, out_height,
    /// out_width, c_out).
    ///
    /// # Panics
    /// The kernel is larger than the padded image, the padding not within the kernel, a length is not that of the shape, the
    /// scale and shift of `input` are shorter than (groups, c_in), the groups do not divide the batch, or the CPU lacks the
    /// instruction set.
    pub fn forward<E: Element>(&self, input: ActivationView<'_, E>, weight: &[f32], out: &mut [E]) -> Moments {
        self.check_groups();
        self.check_lengths(input.stored().len(), weight.len(), out.len());
        match Algorithm::of::<E>(self) {
            Algorithm::Winograd => winograd::forward(self, input, weight, out),
            Algorithm::DirectPairs if E::BF16 => direct::forward::<E, bf16>(self, input, weight, out),
            Algorithm::Direct | Algorithm::DirectPairs => direct::forward::<E, f32>(self, input, weight, out),
        }
    }

    /// Convolution of an evaluation pass: writes `relu?(conv(input) · scale + bias + residual?)` to `out`. The groups have
    /// no meaning here.
    ///
    /// `input` is (batch, height, width, c_in), `weight` (c_out, c_in, kernel, kernel), `out` and the residual (batch,
    /// out_height, out_width, c_out), the norm's scale and bias (c_out).
    ///
    /// # Panics
    /// The kernel is larger than the padded image, the padding not within the kernel, a length is not that of the shape, or the
    /// CPU lacks the instruction set.
    pub fn forward_folded<E: Element>(
        &self,
        input: ActivationView<'_, E>,
        weight: &[f32],
        norm: FoldedNorm<'_, E>,
        out: &mut [E],
    ) {
        self.check_lengths(input.stored().len(), weight.len(), out.len());
        let c_out = self.shape.c_out;
        let pad = |values: &[f32]| {
            let mut padded = self.memory.zeros(c_out.next_multiple_of(panel_width(lanes(self.instructions))));
            padded[..c_out].copy_from_slice(values);
            padded
        };
        let (scale, bias) = (pad(norm.scale), pad(norm.bias));
        let norm = FoldedNorm { scale: &scale, bias: &bias, ..norm };
        assert!(norm.residual.is_none_or(|r| r.len() == out.len()));
        match Algorithm::of::<E>(self) {
            Algorithm::Winograd => winograd::forward_folded(self, input, weight, norm, out),
            Algorithm::DirectPairs if E::BF16 => direct::forward_folded::<E, bf16>(self, input, weight, norm, out),
            Algorithm::Direct | Algorithm::DirectPairs => {
                direct::forward_folded::<E, f32>(self, input, weight, norm, out);
            }
        }
    }

    /// The gradient of the input (batch, height, width, c_in) from that of the output: written to `out`, or added to it
    /// with `add`. The groups have no meaning here.
    ///
    /// `gradient` is (batch, out_height, out_width, c_out), `weight` (c_out, c_in, kernel, kernel), `out` (batch, height,
    /// width, c_in).
    ///
    /// # Panics
    /// The kernel is larger than the padded image, the padding not within the kernel, a length is not that of the shape, or the
    /// CPU lacks the instruction set.
    pub fn backward_data<E: Element>(&self, gradient: &[E], weight: &[f32], out: &mut [E], add: bool) {
        self.check_lengths(out.len(), weight.len(), gradient.len());
        match Algorithm::of::<E>(self) {
            Algorithm::Winograd => winograd::backward_data(self, gradient, weight, out, add),
            Algorithm::DirectPairs if E::BF16 => direct::backward_data::<E, bf16>(self, gradient, weight, out, add),
            Algorithm::Direct | Algorithm::DirectPairs => {
                direct::backward_data::<E, f32>(self, gradient, weight, out, add);
            }
        }
    }

    /// Adds the gradient of the weight to `out`, from the input and the gradient of the output.
    ///
    /// `input` is (batch, height, width, c_in), `gradient` (batch, out_height, out_width, c_out), `out` (c_out, c_in,
    /// kernel, kernel).
    ///
    /// # Panics
    /// The kernel is larger than the padded image, the padding not within the kernel, a length is not that of the shape, the
    /// scale and shift of `input` are shorter than (groups, c_in), the groups do not divide the batch, or the CPU lacks the
    /// instruction set.
    pub fn backward_weight<E: Element>(&self, input: ActivationView<'_, E>, gradient: &[E], out: &mut [f32]) {
        self.check_groups();
        self.check_lengths(input.stored().len(), out.len(), gradient.len());
        match Algorithm::of::<E>(self) {
            Algorithm::Winograd => winograd::backward_weight(self, input, gradient, out),
            Algorithm::DirectPairs if E::BF16 => weight_gradient::direct::<E, bf16>(self, input, gradient, out),
            Algorithm::Direct | Algorithm::DirectPairs => {
                weight_gradient::direct::<E, f32>(self, input, gradient, out);
            }
        }
    }
}
