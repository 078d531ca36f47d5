//! The tape's kernels on the CPU, with activations channels last in memory.
//!
//! Activations and their gradients are stored in f32 or bf16; parameters, statistics and parameter gradients are f32. Every
//! kernel reads a convolution's output through its norm, so that a normalized activation is never stored for one.

use crate::backbone::{BatchNorm, ConvBn};
use crate::error::Result;
use crate::gradients::Gradients;
use crate::kernels::{
    ActivationView, Affine, BatchNormPass, BatchNormSums, BatchShape, Conv, Element, FoldedNorm, InstructionSet,
    Memory, MemoryPool, ReluMask, global_avg_pool, global_avg_pool_backward, max_pool, max_pool_backward,
    max_pool_side,
};
use crate::storage::{read_f32, write_f32};
use crate::tape::{ConvCall, Kernels, Normalized, Source};
use candle_core::{DType, Device, Tensor, Var};
use std::marker::PhantomData;

/// CPU kernels on activations of type `E`. Clones share the memory.
#[derive(Clone)]
pub(crate) struct CpuKernels<E> {
    instructions: InstructionSet,
    memory: MemoryPool,
    element: PhantomData<fn() -> E>,
}

impl<E: Element> CpuKernels<E> {
    pub fn new(instructions: InstructionSet) -> Self {
        Self { instructions, memory: MemoryPool::default(), element: PhantomData }
    }

    fn conv(&self, call: ConvCall<'_>) -> Conv<'_> {
        Conv { instructions: self.instructions, memory: &self.memory, shape: call.shape, groups: call.groups }
    }

    fn norm<'a>(&self, own: &'a Normalized<Self>) -> BatchNormPass<'a, E> {
        BatchNormPass { instructions: self.instructions, channels: own.shape.channels, z: &own.z, affine: &own.norm }
    }
}

fn view<E: Element>(source: Source<'_, CpuKernels<E>>) -> ActivationView<'_, E> {
    match source {
        Source::Stored(values) => ActivationView::Plain(values),
        Source::Normalized(Normalized { z, norm, relu, .. }) => {
            ActivationView::Normalized { z, scale: &norm.scale, shift: &norm.shift, relu: *relu }
        }
    }
}

impl<E: Element> Kernels for CpuKernels<E> {
    const BACKEND: &'static str = "cpu";

    type Memory = Memory<E>;
    type Choices = Memory<u8>;
    type Norm = Affine;

    fn image(&self, images: &Tensor) -> Result<Memory<E>> {
        let last = images.to_dtype(DType::F32)?.permute((0, 2, 3, 1))?.contiguous()?;
        let mut values = self.memory.take(images.elem_count());
        read_f32(&last, |from| values.iter_mut().zip(from).for_each(|(to, &from)| *to = E::from_f32(from)))?;
        Ok(values)
    }

    fn conv_forward(&self, call: ConvCall<'_>, x: Source<'_, Self>) -> Result<(Memory<E>, Affine)> {
        let ConvBn { conv, bn } = call.unit;
        let mut z = self.memory.take(call.shape.output_len());
        let moments = read_f32(&conv.weight.var, |w| self.conv(call).forward(view(x), w, &mut z))?;
        let unbiased = moments.count() as f64 / (moments.count() - 1) as f64;
        update_running_statistic(&bn.running_mean.var, moments.mean(), 1.0)?;
        update_running_statistic(&bn.running_var.var, &moments.variance(), unbiased)?;
        let affine =
            read_f32(&bn.weight.var, |w| read_f32(&bn.bias.var, |b| Affine::new(&moments, w, b, BatchNorm::EPS)))??;
        Ok((z, affine))
    }

    fn conv_eval(
        &self,
        call: ConvCall<'_>,
        x: &Memory<E>,
        residual: Option<&Memory<E>>,
        relu: bool,
    ) -> Result<Memory<E>> {
        let (scale, bias) = call.unit.bn.folded()?;
        let [scale, bias] = [scale, bias].map(|values| values.iter().map(|&x| x as f32).collect::<Vec<_>>());
        let mut out = self.memory.take(call.shape.output_len());
        let norm = FoldedNorm { scale: &scale, bias: &bias, residual: residual.map(|r| &**r), relu };
        let weight = &call.unit.conv.weight.var;
        read_f32(weight, |w| self.conv(call).forward_folded(ActivationView::Plain(x), w, norm, &mut out))?;
        Ok(out)
    }

    fn normalize(&self, own: &Normalized<Self>, residual: Option<Source<'_, Self>>) -> Result<Memory<E>> {
        let mut out = self.memory.take(own.z.len());
        self.norm(own).normalize(residual.map(view), own.relu, &mut out);
        Ok(out)
    }

    fn max_pool(&self, input: BatchShape, x: Source<'_, Self>) -> Result<(Memory<E>, Memory<u8>)> {
        let len = input.batch * max_pool_side(input.height) * max_pool_side(input.width) * input.channels;
        let (mut out, mut taps) = (self.memory.take(len), self.memory.take(len));
        max_pool(self.instructions, input, view(x), &mut out, &mut taps);
        Ok((out, taps))
    }

    fn max_pool_backward(&self, input: BatchShape, taps: &Memory<u8>, dy: &Memory<E>) -> Result<Memory<E>> {
        let mut dx = self.memory.take(input.len());
        max_pool_backward(self.instructions, input, dy, taps, &mut dx);
        Ok(dx)
    }

    fn global_avg_pool(&self, input: BatchShape, x: &Memory<E>) -> Result<Tensor> {
        let mut out = vec![0.0; input.batch * input.channels];
        global_avg_pool(input.channels, input.height * input.width, x, &mut out);
        Ok(Tensor::from_vec(out, (input.batch, input.channels), &Device::Cpu)?)
    }

    fn global_avg_pool_backward(&self, input: BatchShape, features: &Tensor) -> Result<Memory<E>> {
        let mut dx = self.memory.take(input.len());
        read_f32(&features.contiguous()?, |features| {
            global_avg_pool_backward(input.channels, input.height * input.width, features, &mut dx);
        })?;
        Ok(dx)
    }

    fn norm_backward(
        &self,
        bn: &BatchNorm,
        own: &Normalized<Self>,
        mut dy: Memory<E>,
        gradients: &mut Gradients,
    ) -> Result<Memory<E>> {
        let mask = if own.relu { ReluMask::Normalized } else { ReluMask::Open };
        let norm = self.norm(own);
        let sums = norm.backward_sums(mask, &mut dy);
        add_parameter_gradients(bn, &sums, gradients)?;
        norm.backward_apply(&sums, mask, &mut dy, None);
        Ok(dy)
    }

    fn sum_backward(
        &self,
        bn: &BatchNorm,
        own: &Normalized<Self>,
        sum: &Memory<E>,
        dy: &mut Memory<E>,
        gradients: &mut Gradients,
    ) -> Result<Memory<E>> {
        let mask = if own.relu { ReluMask::Output(sum) } else { ReluMask::Open };
        let norm = self.norm(own);
        // What the mask stops is gone from `dy` after this.
        let sums = norm.backward_sums(mask, dy);
        add_parameter_gradients(bn, &sums, gradients)?;
        let mut dz = self.memory.take(dy.len());
        norm.backward_apply(&sums, ReluMask::Open, dy, Some(&mut dz));
        Ok(dz)
    }

    fn add(&self, sum: &mut Memory<E>, gradient: &Memory<E>) -> Result<()> {
        for (sum, g) in sum.iter_mut().zip(gradient.iter()) {
            *sum = E::from_f32(sum.to_f32() + g.to_f32());
        }
        Ok(())
    }

    fn conv_backward_weight(
        &self,
        call: ConvCall<'_>,
        x: Source<'_, Self>,
        dz: &Memory<E>,
        gradients: &mut Gradients,
    ) -> Result<()> {
        gradients.accumulate_f32(&call.unit.conv.weight, |sum| self.conv(call).backward_weight(view(x), dz, sum))
    }

    fn conv_backward_data(&self, call: ConvCall<'_>, dz: &Memory<E>, dx: Option<Memory<E>>) -> Result<Memory<E>> {
        let add = dx.is_some();
        let mut dx = dx.unwrap_or_else(|| self.memory.take(call.shape.input_len()));
        read_f32(&call.unit.conv.weight.var, |w| self.conv(call).backward_data(dz, w, &mut dx, add))?;
        Ok(dx)
    }
}

/// Adds the gradients of a norm's weight and bias, summed over the groups.
fn add_parameter_gradients(bn: &BatchNorm, sums: &BatchNormSums, gradients: &mut Gradients) -> Result<()> {
    let over_groups = |sums: &[f64], out: &mut [f32]| {
        for group in sums.chunks_exact(out.len()) {
            for (out, sum) in out.iter_mut().zip(group) {
                *out += *sum as f32;
            }
        }
    };
    gradients.accumulate_f32(&bn.weight, |g| over_groups(&sums.weighted, g))?;
    gradients.accumulate_f32(&bn.bias, |g| over_groups(&sums.gradient, g))
}

/// Moves a running statistic towards the mean over groups of that of the batch, times `factor`.
fn update_running_statistic(running: &Var, batch: &[f64], factor: f64) -> Result<()> {
    write_f32(running, |running| {
        let channels = running.len();
        let groups = (batch.len() / channels) as f64;
        for (c, running) in running.iter_mut().enumerate() {
            let sum: f64 = batch.iter().skip(c).step_by(channels).sum();
            let kept = f64::from(*running) * (1.0 - BatchNorm::MOMENTUM);
            *running = (kept + sum / groups * factor * BatchNorm::MOMENTUM) as f32;
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests;
