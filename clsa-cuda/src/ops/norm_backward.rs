//! Batch norm backward, with the ReLU after it.

#![allow(unsafe_code)]

use candle_core::Tensor;

use crate::error::Result;
use crate::gpu::{Buffer, Gpu};
use crate::kernels::{NormBackwardApply, NormBackwardSums, NormPointers, Parts};
use crate::ops::activation::Normalized;
use crate::ops::area::Area;
use crate::ops::{Ops, plan};
use crate::tensor::write;

/// Blocks of `norm_backward_sums` that fit on a multiprocessor, as its declaration has it.
const SUMS_BLOCKS: usize = 3;

/// As in `norm_backward.cu`.
const OPEN: i32 = 0;
const NORMALIZED: i32 = 1;
const STORED: i32 = 2;

/// Where the gradients of a norm's parameters go, (channels) each.
#[derive(Clone, Copy, Debug)]
pub struct NormGradients<'a> {
    /// Of the weight.
    pub weight: &'a Tensor,
    /// Of the bias.
    pub bias: &'a Tensor,
    /// They are written over what is there instead of added to it.
    pub overwrite: bool,
}

/// What the first pass leaves for the second.
struct Coefficients<G: Gpu> {
    /// f32: slope, then constant, (groups, channels) each.
    buffer: G::Buffer,
    slope: u64,
    constant: u64,
}

impl<G: Gpu> Ops<G> {
    /// Backward through ReLU and norm of a unit without residual: from the gradient of its output to that of `own.z`. Where there
    /// is a ReLU, the gradient passes where the normalized value is above zero.
    ///
    /// # Errors
    /// A length is wrong, the norm is of another shape, or memory does not suffice.
    pub fn norm_backward(
        &self,
        area: Area,
        own: Normalized<'_, G>,
        dy: G::Buffer,
        gradients: NormGradients<'_>,
    ) -> Result<G::Buffer> {
        let len = area.checked_len()?;
        let (z, dz) = (self.activation("z", own.z, len)?, self.activation("dy", &dy, len)?);
        let norm = own.norm.pointers_for(self, area)?;
        let mask = if own.relu { NORMALIZED } else { OPEN };
        let sums = NormBackwardSums { z, dy: dz, norm, mask, ..NormBackwardSums::default() };
        let coefficients = self.backward_sums(area, sums, gradients)?;
        self.backward_apply(
            area,
            norm,
            &coefficients,
            NormBackwardApply { z, dy: dz, dz, mask, ..Default::default() },
        )?;
        Ok(dy)
    }

    /// The same for a unit with a residual, whose output was stored as `sum`: where there is a ReLU, the gradient passes where that
    /// is above zero. What is left in `dy` is the residual's gradient.
    ///
    /// # Errors
    /// As for [`Self::norm_backward`].
    pub fn sum_backward(
        &self,
        area: Area,
        own: Normalized<'_, G>,
        sum: &G::Buffer,
        dy: &mut G::Buffer,
        gradients: NormGradients<'_>,
    ) -> Result<G::Buffer> {
        let len = area.checked_len()?;
        let (z, out) = (self.activation("z", own.z, len)?, self.activation("sum", sum, len)?);
        let dy = self.activation("dy", dy, len)?;
        let norm = own.norm.pointers_for(self, area)?;
        let mask = if own.relu { STORED } else { OPEN };
        let sums = NormBackwardSums { z, dy, out, norm, mask, ..NormBackwardSums::default() };
        let coefficients = self.backward_sums(area, sums, gradients)?;
        let to = self.alloc(len)?;
        let apply = NormBackwardApply { z, dy, dz: to.address(), mask: OPEN, ..Default::default() };
        self.backward_apply(area, norm, &coefficients, apply)?;
        Ok(to)
    }

    /// Completes and starts the first pass, whose activations the caller has checked.
    fn backward_sums(
        &self,
        area: Area,
        sums: NormBackwardSums,
        gradients: NormGradients<'_>,
    ) -> Result<Coefficients<G>> {
        let Area { groups, rows, channels } = area;
        let splits = plan::splits(area, SUMS_BLOCKS);
        let parts = self.alloc_f32(splits.parts_len)?;
        let buffer = self.alloc_f32(2 * groups * channels)?;
        let slope = buffer.address();
        let constant = slope + (groups * channels * size_of::<f32>()) as u64;
        let weight_grad = write(&self.gpu, "weight gradient", gradients.weight, channels)?;
        let bias_grad = write(&self.gpu, "bias gradient", gradients.bias, channels)?;
        let tickets = self.tickets(splits.grid[0])?;
        let args = NormBackwardSums {
            parts: Parts { values: parts.address(), tickets: tickets.address() },
            weight_grad,
            bias_grad,
            slope,
            constant,
            rows: rows as i64,
            per_split: splits.per_split as u32,
            reserved: 0,
            channels: channels as i32,
            groups: groups as i32,
            overwrite: i32::from(gradients.overwrite),
            ..sums
        };
        // SAFETY: every operand is as large as the area says, the parts as the plan, and there is a ticket for each tile.
        unsafe { self.launch(splits.grid, &args)? };
        Ok(Coefficients { buffer, slope, constant })
    }

    /// Completes and starts the second pass.
    fn backward_apply(
        &self,
        area: Area,
        norm: NormPointers,
        coefficients: &Coefficients<G>,
        apply: NormBackwardApply,
    ) -> Result<()> {
        debug_assert!(coefficients.buffer.bytes() >= 2 * area.groups * area.channels * size_of::<f32>());
        let args = NormBackwardApply {
            norm,
            slope: coefficients.slope,
            constant: coefficients.constant,
            rows: area.rows as i64,
            channels: area.channels as i32,
            ..apply
        };
        // SAFETY: as in the first pass.
        unsafe { self.launch(plan::pixels(area.groups, area.rows, area.channels), &args) }
    }
}
