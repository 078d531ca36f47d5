//! The operations of a training step, safe: operands and their lengths are checked, then kernels are launched.

mod activation;
mod area;
mod conv;
mod image;
mod norm;
mod norm_backward;
mod plan;
mod pool;
mod softmax;
mod update;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{GpuError, Result};
use crate::gpu::{Buffer, Element, Gpu, KernelArgs, check_owned};
use crate::tensor::unsupported;

pub use activation::{Norm, Normalized, Source};
pub use area::Area;
pub use norm::BatchNorm;
pub use norm_backward::NormGradients;
pub use pool::{Images, Pooled};
pub use softmax::SoftmaxBlock;
pub use update::{SgdOperands, moving_average, sgd};

/// Tiles of channels that a kernel may join the sums of.
const TICKETS: usize = 4096;

/// The operations of a GPU on activations of one type. Activations and their gradients are buffers, channels last and dense;
/// their channels are a multiple of 8. Parameters, statistics, parameter gradients and features are contiguous f32 tensors
/// on the same GPU, which another thread must not use meanwhile. Memory of another GPU or stream is refused. Clones share the GPU.
///
/// Everything is only started: an operation's result is there for whatever is started after it.
pub struct Ops<G: Gpu> {
    gpu: G,
    element: Element,
    /// A ticket for each tile of channels, zero between launches.
    tickets: Arc<Mutex<G::Buffer>>,
}

impl<G: Gpu> Clone for Ops<G> {
    fn clone(&self) -> Self {
        Self { gpu: self.gpu.clone(), element: self.element, tickets: Arc::clone(&self.tickets) }
    }
}

impl<G: Gpu> Ops<G> {
    /// The operations of `gpu` on activations of type `element`.
    ///
    /// # Errors
    /// Memory does not suffice.
    pub fn new(gpu: G, element: Element) -> Result<Self> {
        let mut tickets = gpu.alloc(TICKETS * size_of::<u32>())?;
        gpu.zero(&mut tickets)?;
        Ok(Self { gpu, element, tickets: Arc::new(Mutex::new(tickets)) })
    }

    /// The GPU.
    pub fn gpu(&self) -> &G {
        &self.gpu
    }

    /// The type of activations.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Memory for an activation of `len` elements, with unspecified contents.
    ///
    /// # Errors
    /// The memory does not suffice.
    pub fn alloc(&self, len: usize) -> Result<G::Buffer> {
        self.gpu.alloc(len.saturating_mul(self.element.size()))
    }

    fn alloc_f32(&self, len: usize) -> Result<G::Buffer> {
        self.gpu.alloc(len.saturating_mul(size_of::<f32>()))
    }

    /// The address of an activation of at least `len` elements.
    fn activation(&self, operand: &'static str, buffer: &G::Buffer, len: usize) -> Result<u64> {
        self.owned(operand, buffer, len, self.element.size())
    }

    /// The address of a buffer of this GPU and its stream, of at least `len` elements of `size` bytes.
    fn owned(&self, operand: &'static str, buffer: &G::Buffer, len: usize, size: usize) -> Result<u64> {
        check_owned(&self.gpu, operand, buffer)?;
        holds(operand, buffer, len, size)
    }

    /// The tickets, if there is one for each of so many tiles; locked until the launch that uses them is in the stream.
    fn tickets(&self, tiles: u32) -> Result<MutexGuard<'_, G::Buffer>> {
        if tiles as usize > TICKETS {
            return Err(unsupported(format!("more channels than {TICKETS} tiles have")));
        }
        Ok(self.tickets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// # Safety
    /// As for [`Gpu::launch`].
    #[allow(unsafe_code)]
    unsafe fn launch<A: KernelArgs>(&self, grid: [u32; 3], args: &A) -> Result<()> {
        // SAFETY: the caller's.
        unsafe { self.gpu.launch(self.element, grid, args) }
    }
}

/// The address of a buffer of at least `len` elements of `size` bytes.
fn holds<B: Buffer>(operand: &'static str, buffer: &B, len: usize, size: usize) -> Result<u64> {
    let got = buffer.bytes() / size;
    if got >= len { Ok(buffer.address()) } else { Err(GpuError::Length { operand, expected: len, got }) }
}
