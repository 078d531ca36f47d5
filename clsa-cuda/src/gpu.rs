//! What kernels and convolutions run on: a GPU, or the host in its place.

use candle_core::Device;

use crate::error::{GpuError, Result};
use crate::shape::{ConvShape, Direction};

/// The type of activations. Everything else is f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// Single precision.
    F32,
    /// bfloat16.
    Bf16,
}

impl Element {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// What kernels and messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

/// Memory of a GPU. It goes back to the pool when it is dropped, in the stream's order.
pub trait Buffer: Send + Sync {
    /// Its address, of the GPU; at least 256-byte aligned.
    fn address(&self) -> u64;

    /// Its size.
    fn bytes(&self) -> usize;
}

/// The one argument of a kernel, the same bytes here and in CUDA C++.
///
/// # Safety
/// The type is `repr(C)` with the fields of the struct of the same name in `kernels/`, and has no padding that the kernel reads.
#[allow(unsafe_code)]
pub unsafe trait KernelArgs: Copy {
    /// The kernel's name in `kernels/`. One that works on activations has a version for each [`Element`], `NAME_f32` and
    /// `NAME_bf16`.
    const NAME: &'static str;

    /// Whether there is a version for each [`Element`].
    const BY_ELEMENT: bool;
}

/// A GPU with one stream: all work is done in the order in which it is asked for.
pub trait Gpu: Clone + Send + Sync + 'static {
    /// Its memory.
    type Buffer: Buffer;

    /// Whether it may work on the tensors of a device: their memory is within reach, and work on them is done in the same
    /// order.
    fn reaches(&self, device: &Device) -> bool;

    /// Whether memory is its own: taken and given back in the order of its work.
    fn owns(&self, buffer: &Self::Buffer) -> bool;

    /// Memory with unspecified contents, of at least `bytes` bytes.
    ///
    /// # Errors
    /// The memory does not suffice.
    fn alloc(&self, bytes: usize) -> Result<Self::Buffer>;

    /// Sets memory to zero.
    ///
    /// # Errors
    /// The memory is another's, or the driver fails.
    fn zero(&self, buffer: &mut Self::Buffer) -> Result<()>;

    /// Starts a kernel on a grid of blocks of 256 threads.
    ///
    /// # Safety
    /// Every address in `args` is of memory of this GPU that is large enough for what the kernel does with it, and stays
    /// alive until it was freed in the stream's order.
    ///
    /// # Errors
    /// The driver refuses the launch.
    #[allow(unsafe_code)]
    unsafe fn launch<A: KernelArgs>(&self, element: Element, grid: [u32; 3], args: &A) -> Result<()>;

    /// One product of a convolution on dense channels-last memory: `x` of the input's shape, `w` of the weight's, `y` of
    /// the output's, all of `element`. Written is `y` for [`Direction::Forward`], `x` for [`Direction::Data`] (added to what
    /// is there with `add`) and `w` for [`Direction::Weight`].
    ///
    /// # Safety
    /// As for [`Self::launch`].
    ///
    /// # Errors
    /// No deterministic engine computes it, or the library fails.
    #[allow(unsafe_code)]
    unsafe fn convolve(&self, product: Convolve) -> Result<()>;
}

/// Checks that a buffer is memory of this GPU and of its stream, so that work on it is in order with what else is done to it.
pub(crate) fn check_owned<G: Gpu>(gpu: &G, operand: &'static str, buffer: &G::Buffer) -> Result<()> {
    if gpu.owns(buffer) {
        return Ok(());
    }
    Err(GpuError::Unsupported { reason: format!("{operand} is memory of another GPU or of another stream") })
}

/// A product of a convolution and the memory that it works on.
#[derive(Clone, Copy, Debug)]
pub struct Convolve {
    /// Which product.
    pub direction: Direction,
    /// The convolution.
    pub shape: ConvShape,
    /// The type of all three operands.
    pub element: Element,
    /// Address of the input or its gradient.
    pub x: u64,
    /// Address of the weight or its gradient.
    pub w: u64,
    /// Address of the output or its gradient.
    pub y: u64,
    /// For [`Direction::Data`]: the gradient is added to what is in `x`.
    pub add: bool,
}
