//! Pixels on their way to the GPU: as bytes, from page-locked memory, on a stream of their own, so that they are copied under
//! the work of the step before.

use crate::device::{Cuda, allocate, driver};
use crate::error::{GpuError, Result};
use crate::tensor::{read, write};
use crate::{Element, Gpu, KernelArgs};
use candle_core::cuda_backend::cudarc::driver::{CudaContext, CudaEvent, CudaSlice, CudaStream, result};
use candle_core::{DType, Device, Tensor};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Page-locked memory of the host, which the GPU copies from by itself.
pub struct PinnedBytes {
    context: Arc<CudaContext>,
    start: *mut u8,
    len: usize,
}

// SAFETY: the memory is this value's own, as a vector's is.
#[allow(unsafe_code)]
unsafe impl Send for PinnedBytes {}
// SAFETY: a shared reference only reads.
#[allow(unsafe_code)]
unsafe impl Sync for PinnedBytes {}

impl PinnedBytes {
    /// So many zeros.
    ///
    /// # Errors
    /// The system does not lock that much memory.
    #[allow(unsafe_code)]
    fn new(context: &Arc<CudaContext>, len: usize) -> Result<Self> {
        context.bind_to_thread().map_err(driver("cuCtxSetCurrent"))?;
        // SAFETY: no flags: ordinary memory of the host, which may be read as well as written. It is freed once, on drop.
        let start = unsafe { result::malloc_host(len.max(1), 0) }.map_err(driver("cuMemHostAlloc"))?.cast::<u8>();
        // SAFETY: as many bytes were allocated.
        unsafe { start.write_bytes(0, len) };
        Ok(Self { context: Arc::clone(context), start, len })
    }
}

impl Deref for PinnedBytes {
    type Target = [u8];

    #[allow(unsafe_code)]
    fn deref(&self) -> &[u8] {
        // SAFETY: `len` bytes from `start` on were allocated and written, and are freed only on drop.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl DerefMut for PinnedBytes {
    #[allow(unsafe_code)]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` is the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl Drop for PinnedBytes {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        let _ = self.context.bind_to_thread();
        // SAFETY: allocated by `malloc_host` and freed once. A failure leaves the memory to the end of the process.
        let _ = unsafe { result::free_host(self.start.cast()) };
    }
}

impl std::fmt::Debug for PinnedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PinnedBytes({})", self.len)
    }
}

/// The argument of `expand_bytes`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct ExpandBytes {
    from: u64,
    table: u64,
    to: u64,
    pixels: i64,
}

const _: () = assert!(size_of::<ExpandBytes>() == 32);

// SAFETY: the fields of `expand_bytes_args` in `kernels/expand.cu`, without padding.
#[allow(unsafe_code)]
unsafe impl KernelArgs for ExpandBytes {
    const NAME: &'static str = "expand_bytes";
    const BY_ELEMENT: bool = false;
}

/// Copies images to a GPU beside its other work.
#[derive(Clone)]
pub struct Feeder {
    cuda: Cuda,
    device: Device,
    copies: Arc<CudaStream>,
}

/// Images of one size that are on their way, or there.
pub struct Upload {
    memory: CudaSlice<u8>,
    address: u64,
    images: usize,
    side: usize,
    copied: CudaEvent,
    feeder: Feeder,
}

impl Feeder {
    /// For the device that [`open`](crate::open) has opened.
    ///
    /// # Errors
    /// The device is no GPU, or the driver fails.
    pub fn new(device: &Device) -> Result<Self> {
        let cuda = Cuda::of(device)?;
        let copies = cuda.stream().context().new_stream().map_err(driver("cuStreamCreate"))?;
        Ok(Self { cuda, device: device.clone(), copies })
    }

    /// Memory to write images to.
    ///
    /// # Errors
    /// The system does not lock that much memory.
    pub fn allocate(&self, bytes: usize) -> Result<PinnedBytes> {
        PinnedBytes::new(self.cuda.stream().context(), bytes)
    }

    /// Begins to copy `images` images (height, width, 3) of `side` x `side` pixels. The memory must stay as it is until the upload
    /// is dropped.
    ///
    /// # Errors
    /// There are fewer bytes than that, or the driver fails.
    #[allow(unsafe_code)]
    pub fn upload(&self, bytes: &PinnedBytes, images: usize, side: usize) -> Result<Upload> {
        let len = images * side * side * 3;
        let source = bytes.get(..len).ok_or_else(|| GpuError::Call {
            call: "Feeder::upload",
            reason: format!("{len} bytes are asked for, and there are {}", bytes.len()),
        })?;
        let (memory, address) = allocate(&self.copies, len)?;
        self.copies.context().bind_to_thread().map_err(driver("cuCtxSetCurrent"))?;
        // SAFETY: the memory was allocated on this stream with that size; source and memory outlive the copy, since an upload
        // waits for it when it is dropped.
        unsafe { result::memcpy_htod_async(address, source, self.copies.cu_stream()) }
            .map_err(driver("cuMemcpyHtoDAsync"))?;
        let copied = self.copies.record_event(None).map_err(driver("cuEventRecord"))?;
        Ok(Upload { memory, address, images, side, copied, feeder: self.clone() })
    }
}

impl Upload {
    /// The images as (N, 3, side, side) in f32, channels last in memory, each byte as its channel's table in `tables` (3, 256)
    /// says.
    ///
    /// # Errors
    /// The driver fails.
    #[allow(unsafe_code)]
    pub fn to_tensor(&self, tables: &Tensor) -> Result<Tensor> {
        let cuda = &self.feeder.cuda;
        cuda.stream().wait(&self.copied).map_err(driver("cuStreamWaitEvent"))?;
        let shape = (self.images, self.side, self.side, 3);
        let pixels = self.images * self.side * self.side;
        let device = &self.feeder.device;
        // SAFETY: every element is written by the kernel before anything reads it.
        let tensor = unsafe { Tensor::empty(shape, DType::F32, device)? };
        let args = ExpandBytes {
            from: self.address,
            table: read(cuda, "tables", tables, 3 * 256)?,
            to: write(cuda, "images", &tensor, pixels * 3)?,
            pixels: pixels as i64,
        };
        let blocks = pixels.div_ceil(256 * 4).clamp(1, 1 << 16) as u32;
        // SAFETY: `from` holds three bytes and `to` has three numbers for each pixel, and the table 3 x 256.
        unsafe { cuda.launch(Element::F32, [blocks, 1, 1], &args)? };
        Ok(tensor.permute((0, 3, 1, 2))?)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // The host's memory may be written again and the GPU's goes back to the pool after this.
        let _ = self.copied.synchronize();
        let _ = self.feeder.copies.join(self.feeder.cuda.stream());
        let _ = self.memory.len();
    }
}
