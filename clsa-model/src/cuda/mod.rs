//! The tape's kernels on a GPU, with activations channels last in its memory.
//!
//! Activations and their gradients are stored in f32 or bf16; parameters, statistics and parameter gradients are f32. Batch norm,
//! pooling and the sum at a block's end read a convolution's output through its norm; for convolutions, which are cuDNN's, the
//! normalized values are made, and made again for the weight's gradient.

use crate::backbone::{BatchNorm, ConvBn};
use crate::error::Result;
use crate::gradients::Gradients;
use crate::kernels::{BatchShape, ConvShape};
use crate::parameters::Parameter;
use crate::tape::{ConvCall, Kernels, Normalized, Source};
use candle_core::{DType, Device, Tensor};
use clsa_cuda::{Area, Buffer, Gpu, Images, MOST_PLACES, Norm, NormGradients, Ops};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether the kernels can compute a network with these parameters: they read and write channels in eights, but for the three
/// of an image, and turn weights of so many places.
pub(crate) fn can_compute(parameters: &[Parameter]) -> bool {
    parameters.iter().all(|parameter| match parameter.var.dims() {
        [c_out, c_in, height, width] => {
            c_out.is_multiple_of(8) && (c_in.is_multiple_of(8) || *c_in == 3) && height * width <= MOST_PLACES
        }
        _ => true,
    })
}

/// Kernels of a GPU on activations of one type. Clones share the packed weights.
pub(crate) struct CudaKernels<G: Gpu> {
    ops: Ops<G>,
    /// Where the features are made.
    device: Device,
    /// The convolutions' weights in the activations' type and layout, by the parameter's index, since the last forward pass
    /// began: its backward pass needs them again.
    packed: Arc<Mutex<HashMap<usize, Arc<G::Buffer>>>>,
}

impl<G: Gpu> Clone for CudaKernels<G> {
    fn clone(&self) -> Self {
        Self { ops: self.ops.clone(), device: self.device.clone(), packed: Arc::clone(&self.packed) }
    }
}

impl<G: Gpu> CudaKernels<G> {
    pub fn new(ops: Ops<G>, device: &Device) -> Self {
        Self { ops, device: device.clone(), packed: Arc::default() }
    }

    /// Kernels for a forward pass, which reads the parameters as they are now.
    pub fn for_pass(&self) -> Self {
        self.packed().clear();
        self.clone()
    }

    fn packed(&self) -> MutexGuard<'_, HashMap<usize, Arc<G::Buffer>>> {
        self.packed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn weight(&self, call: ConvCall<'_>) -> Result<Arc<G::Buffer>> {
        let parameter = &call.unit.conv.weight;
        if let Some(packed) = self.packed().get(&parameter.index) {
            return Ok(Arc::clone(packed));
        }
        let packed = Arc::new(self.ops.pack_weight(&parameter.var, padded(call.shape.c_in))?);
        self.packed().insert(parameter.index, Arc::clone(&packed));
        Ok(packed)
    }
}

/// Channels in memory: images have 8, five of them zero, also after pooling.
fn padded(channels: usize) -> usize {
    channels.next_multiple_of(8)
}

fn on_gpu(shape: ConvShape) -> clsa_cuda::ConvShape {
    let ConvShape { batch, height, width, c_in, c_out, kernel, stride, padding } = shape;
    clsa_cuda::ConvShape { batch, height, width, c_in: padded(c_in), c_out, kernel, stride, padding }
}

fn area(shape: BatchShape, groups: usize) -> Area {
    Area { groups, rows: shape.batch / groups * shape.height * shape.width, channels: shape.channels }
}

fn images(shape: BatchShape) -> Images {
    let BatchShape { batch, height, width, channels } = shape;
    Images { batch, height, width, channels: padded(channels) }
}

fn tensors(bn: &BatchNorm) -> clsa_cuda::BatchNorm<'_> {
    clsa_cuda::BatchNorm {
        weight: &bn.weight.var,
        bias: &bn.bias.var,
        running_mean: &bn.running_mean.var,
        running_var: &bn.running_var.var,
        eps: BatchNorm::EPS,
        momentum: BatchNorm::MOMENTUM,
    }
}

fn normalized<G: Gpu>(own: &Normalized<CudaKernels<G>>) -> clsa_cuda::Normalized<'_, G> {
    clsa_cuda::Normalized { z: &own.z, norm: &own.norm, relu: own.relu }
}

fn source<G: Gpu>(source: Source<'_, CudaKernels<G>>) -> clsa_cuda::Source<'_, G> {
    match source {
        Source::Stored(values) => clsa_cuda::Source::Stored(values),
        Source::Normalized(own) => clsa_cuda::Source::Normalized(normalized(own)),
    }
}

impl<G: Gpu> Kernels for CudaKernels<G> {
    const BACKEND: &'static str = "cuda";

    type Memory = G::Buffer;
    type Choices = G::Buffer;
    type Norm = Norm<G>;

    fn image(&self, images: &Tensor) -> Result<G::Buffer> {
        Ok(self.ops.image(&images.to_dtype(DType::F32)?)?)
    }

    fn conv_forward(&self, call: ConvCall<'_>, x: Source<'_, Self>) -> Result<(G::Buffer, Norm<G>)> {
        let ConvBn { bn, .. } = call.unit;
        let z = self.ops.convolve_forward(on_gpu(call.shape), &*x.values(self)?, self.weight(call)?.as_ref())?;
        let area = area(call.shape.output_batch(), call.groups);
        let norm = self.ops.statistics(area, &z, tensors(bn))?;
        Ok((z, norm))
    }

    fn conv_eval(
        &self,
        call: ConvCall<'_>,
        x: &G::Buffer,
        residual: Option<&G::Buffer>,
        relu: bool,
    ) -> Result<G::Buffer> {
        let ConvBn { bn, .. } = call.unit;
        let z = self.ops.convolve_forward(on_gpu(call.shape), x, self.weight(call)?.as_ref())?;
        let norm = self.ops.running_norm(tensors(bn))?;
        let own = clsa_cuda::Normalized { z: &z, norm: &norm, relu };
        Ok(self.ops.normalize(area(call.shape.output_batch(), 1), own, residual.map(clsa_cuda::Source::Stored))?)
    }

    fn normalize(&self, own: &Normalized<Self>, residual: Option<Source<'_, Self>>) -> Result<G::Buffer> {
        let area = area(own.shape, own.norm.groups());
        Ok(self.ops.normalize(area, normalized(own), residual.map(source))?)
    }

    fn max_pool(&self, input: BatchShape, x: Source<'_, Self>) -> Result<(G::Buffer, G::Buffer)> {
        let pooled = self.ops.max_pool(images(input), source(x))?;
        Ok((pooled.out, pooled.taps))
    }

    fn max_pool_backward(&self, input: BatchShape, taps: &G::Buffer, dy: &G::Buffer) -> Result<G::Buffer> {
        Ok(self.ops.max_pool_backward(images(input), taps, dy)?)
    }

    fn global_avg_pool(&self, input: BatchShape, x: &G::Buffer) -> Result<Tensor> {
        let features = Tensor::zeros((input.batch, padded(input.channels)), DType::F32, &self.device)?;
        self.ops.global_avg_pool(images(input), x, &features)?;
        Ok(features.narrow(1, 0, input.channels)?.contiguous()?)
    }

    fn global_avg_pool_backward(&self, input: BatchShape, features: &Tensor) -> Result<G::Buffer> {
        let features = features.pad_with_zeros(1, 0, padded(input.channels) - input.channels)?;
        Ok(self.ops.global_avg_pool_backward(images(input), &features.contiguous()?)?)
    }

    fn norm_backward(
        &self,
        bn: &BatchNorm,
        own: &Normalized<Self>,
        dy: G::Buffer,
        gradients: &mut Gradients,
    ) -> Result<G::Buffer> {
        let area = area(own.shape, own.norm.groups());
        gradients.accumulate_on_device([&bn.weight, &bn.bias], |[weight, bias], overwrite| {
            Ok(self.ops.norm_backward(area, normalized(own), dy, NormGradients { weight, bias, overwrite })?)
        })
    }

    fn sum_backward(
        &self,
        bn: &BatchNorm,
        own: &Normalized<Self>,
        sum: &G::Buffer,
        dy: &mut G::Buffer,
        gradients: &mut Gradients,
    ) -> Result<G::Buffer> {
        let area = area(own.shape, own.norm.groups());
        gradients.accumulate_on_device([&bn.weight, &bn.bias], |[weight, bias], overwrite| {
            Ok(self.ops.sum_backward(area, normalized(own), sum, dy, NormGradients { weight, bias, overwrite })?)
        })
    }

    fn add(&self, sum: &mut G::Buffer, gradient: &G::Buffer) -> Result<()> {
        Ok(self.ops.add(sum.bytes() / self.ops.element().size(), sum, gradient)?)
    }

    fn conv_backward_weight(
        &self,
        call: ConvCall<'_>,
        x: Source<'_, Self>,
        dz: &G::Buffer,
        gradients: &mut Gradients,
    ) -> Result<()> {
        let dw = self.ops.convolve_weight(on_gpu(call.shape), &*x.values(self)?, dz)?;
        gradients.accumulate_on_device([&call.unit.conv.weight], |[sum], overwrite| {
            Ok(self.ops.add_weight_gradient(&dw, padded(call.shape.c_in), sum, overwrite)?)
        })
    }

    fn conv_backward_data(&self, call: ConvCall<'_>, dz: &G::Buffer, dx: Option<G::Buffer>) -> Result<G::Buffer> {
        Ok(self.ops.convolve_data(on_gpu(call.shape), dz, self.weight(call)?.as_ref(), dx)?)
    }
}

#[cfg(all(test, feature = "host-kernels"))]
mod tests;
