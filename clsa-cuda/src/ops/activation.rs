//! Activations as operations read them.

use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::NormPointers;
use crate::ops::Ops;
use crate::ops::area::Area;
use crate::tensor::unsupported;

/// Batch norm with the statistics of each group, as `(z - mean) · scale + bias`.
#[derive(Debug)]
pub struct Norm<G: Gpu> {
    groups: usize,
    channels: usize,
    /// f32: mean, scale and inv_std (groups, channels) each, then bias (channels).
    buffer: G::Buffer,
}

impl<G: Gpu> Norm<G> {
    pub(super) fn new(ops: &Ops<G>, groups: usize, channels: usize) -> Result<Self> {
        Ok(Self { groups, channels, buffer: ops.alloc_f32((3 * groups + 1) * channels)? })
    }

    /// Groups that have their own statistics.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Channels of a pixel.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// In f32: mean, weight over standard deviation and reciprocal of the standard deviation, (groups, channels) each, then
    /// bias (channels).
    pub fn buffer(&self) -> &G::Buffer {
        &self.buffer
    }

    pub(super) fn pointers(&self, ops: &Ops<G>) -> Result<NormPointers> {
        let len = self.groups * self.channels;
        let first = ops.owned("norm", &self.buffer, 3 * len + self.channels, size_of::<f32>())?;
        let at = |i: usize| first + (i * len * size_of::<f32>()) as u64;
        Ok(NormPointers { mean: at(0), scale: at(1), inv_std: at(2), bias: at(3) })
    }

    /// The same, if the norm is of this area.
    pub(super) fn pointers_for(&self, ops: &Ops<G>, area: Area) -> Result<NormPointers> {
        if (self.groups, self.channels) == (area.groups, area.channels) {
            return self.pointers(ops);
        }
        let norm = format!("{} groups of {} channels", self.groups, self.channels);
        Err(unsupported(format!("a norm of {norm} cannot be applied to {} of {}", area.groups, area.channels)))
    }
}

/// A convolution's output with the norm, and perhaps ReLU, that its readers apply.
pub struct Normalized<'a, G: Gpu> {
    /// The output, (groups, rows, channels).
    pub z: &'a G::Buffer,
    /// Its norm.
    pub norm: &'a Norm<G>,
    /// Whether ReLU follows.
    pub relu: bool,
}

impl<G: Gpu> Clone for Normalized<'_, G> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<G: Gpu> Copy for Normalized<'_, G> {}

/// An activation as it is in memory.
pub enum Source<'a, G: Gpu> {
    /// Its values.
    Stored(&'a G::Buffer),
    /// A convolution's output, to be read through its norm.
    Normalized(Normalized<'a, G>),
}

impl<G: Gpu> Clone for Source<'_, G> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<G: Gpu> Copy for Source<'_, G> {}
