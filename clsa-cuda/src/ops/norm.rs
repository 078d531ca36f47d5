//! Batch norm forward.

#![allow(unsafe_code)]

use candle_core::Tensor;

use crate::error::Result;
use crate::gpu::{Buffer, Gpu};
use crate::kernels::{Add, AddNormalized, Normalize, Parts, RunningNorm, Statistics};
use crate::ops::activation::{Norm, Normalized, Source};
use crate::ops::area::{Area, check_channels};
use crate::ops::{Ops, plan};
use crate::tensor::{read, unsupported, write};

/// Blocks of `statistics` that fit on a multiprocessor, as its declaration has it.
const STATISTICS_BLOCKS: usize = 4;

/// The parameters and running statistics of a batch norm, (channels) each.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm<'a> {
    /// Factor of the normalized values.
    pub weight: &'a Tensor,
    /// What is added to them.
    pub bias: &'a Tensor,
    /// Running mean.
    pub running_mean: &'a Tensor,
    /// Running variance, unbiased.
    pub running_var: &'a Tensor,
    /// Added to variances (torch: 1e-5).
    pub eps: f64,
    /// Share of a batch in the running statistics (torch: 0.1).
    pub momentum: f64,
}

impl<G: Gpu> Ops<G> {
    /// The norm by the mean and variance of each group of `z`. The running statistics move towards the mean over the groups, the
    /// variance unbiased.
    ///
    /// # Errors
    /// A length is wrong, a group has a single pixel, or memory does not suffice.
    pub fn statistics(&self, area: Area, z: &G::Buffer, bn: BatchNorm<'_>) -> Result<Norm<G>> {
        let z = self.activation("z", z, area.checked_len()?)?;
        if area.rows < 2 {
            return Err(unsupported("the variance of a single value is not defined: use larger batches".to_owned()));
        }
        let norm = Norm::new(self, area.groups, area.channels)?;
        let to = norm.pointers(self)?;
        let splits = plan::splits(area, STATISTICS_BLOCKS);
        let parts = self.alloc_f32(splits.parts_len)?;
        let channels = area.channels;
        let args = Statistics {
            z,
            parts: Parts { values: parts.address(), tickets: 0 },
            weight: read(&self.gpu, "weight", bn.weight, channels)?,
            bias: read(&self.gpu, "bias", bn.bias, channels)?,
            running_mean: write(&self.gpu, "running_mean", bn.running_mean, channels)?,
            running_var: write(&self.gpu, "running_var", bn.running_var, channels)?,
            mean: to.mean,
            scale: to.scale,
            inv_std: to.inv_std,
            norm_bias: to.bias,
            eps: bn.eps,
            momentum: bn.momentum,
            rows: area.rows as i64,
            per_split: splits.per_split as u32,
            reserved: 0,
            channels: channels as i32,
            groups: area.groups as i32,
        };
        let tickets = self.tickets(splits.grid[0])?;
        let args = Statistics { parts: Parts { tickets: tickets.address(), ..args.parts }, ..args };
        // SAFETY: every operand is as large as the area says, the parts as the plan, and there is a ticket for each tile.
        unsafe { self.launch(splits.grid, &args)? };
        Ok(norm)
    }

    /// The norm by the running statistics, with a single group: that of evaluation.
    ///
    /// # Errors
    /// A length is wrong, or memory does not suffice.
    pub fn running_norm(&self, bn: BatchNorm<'_>) -> Result<Norm<G>> {
        let channels = bn.weight.elem_count();
        check_channels(channels)?;
        let norm = Norm::new(self, 1, channels)?;
        let to = norm.pointers(self)?;
        let args = RunningNorm {
            weight: read(&self.gpu, "weight", bn.weight, channels)?,
            bias: read(&self.gpu, "bias", bn.bias, channels)?,
            running_mean: read(&self.gpu, "running_mean", bn.running_mean, channels)?,
            running_var: read(&self.gpu, "running_var", bn.running_var, channels)?,
            mean: to.mean,
            scale: to.scale,
            inv_std: to.inv_std,
            norm_bias: to.bias,
            eps: bn.eps,
            channels: channels as i64,
        };
        // SAFETY: every operand has as many channels.
        unsafe { self.launch(plan::line_of_all(channels)?, &args)? };
        Ok(norm)
    }

    /// `relu?(norm(z) + residual?)`, of the shape of `z`. NaN stays NaN.
    ///
    /// # Errors
    /// A length is wrong, a norm is of another shape, or memory does not suffice.
    pub fn normalize(&self, area: Area, own: Normalized<'_, G>, residual: Option<Source<'_, G>>) -> Result<G::Buffer> {
        let len = area.checked_len()?;
        let out = self.alloc(len)?;
        let args = Normalize {
            z: self.activation("z", own.z, len)?,
            residual: 0,
            out: out.address(),
            norm: own.norm.pointers_for(self, area)?,
            rows: area.rows as i64,
            channels: area.channels as i32,
            relu: i32::from(own.relu),
            ..Normalize::default()
        };
        let grid = plan::pixels(area.groups, area.rows, area.channels);
        match residual {
            None => {
                // SAFETY: every operand is as large as the area says.
                unsafe { self.launch(grid, &args)? }
            }
            Some(Source::Stored(residual)) => {
                let args = Normalize { residual: self.activation("residual", residual, len)?, ..args };
                // SAFETY: as above.
                unsafe { self.launch(grid, &args)? }
            }
            Some(Source::Normalized(residual)) => {
                let args = AddNormalized {
                    z: args.z,
                    residual: self.activation("residual", residual.z, len)?,
                    out: args.out,
                    norm: args.norm,
                    residual_norm: residual.norm.pointers_for(self, area)?,
                    rows: args.rows,
                    channels: args.channels,
                    relu: args.relu,
                    residual_relu: i32::from(residual.relu),
                    reserved: 0,
                };
                // SAFETY: as above.
                unsafe { self.launch(grid, &args)? }
            }
        }
        Ok(out)
    }

    /// Adds `other` to `sum`, activations of `len` elements, a multiple of 8.
    ///
    /// # Errors
    /// A length is wrong.
    pub fn add(&self, len: usize, sum: &mut G::Buffer, other: &G::Buffer) -> Result<()> {
        if !len.is_multiple_of(8) {
            return Err(unsupported(format!("activations have elements in multiples of 8, not {len}")));
        }
        let sum = self.activation("sum", sum, len)?;
        let args = Add { sum, other: self.activation("other", other, len)?, count: (len / 8) as i64 };
        // SAFETY: both have `len` elements.
        unsafe { self.launch(plan::line((len / 8).div_ceil(4)), &args) }
    }
}
