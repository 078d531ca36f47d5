//! Pixels on their way to the GPU: as bytes, from page-locked memory, on a stream of their own, so that they are copied under
//! the work of the step before.

use crate::device::{Cuda, CudaBuffer};
use crate::driver_error::{driver, insist, insist_and_record};
use crate::error::{GpuError, Result};
use crate::tensor::write_any;
use crate::{Buffer, Element, Ops};
use candle_core::cuda_backend::cudarc::driver::{CudaContext, CudaEvent, CudaStream, result};
use candle_core::{DType, Device, Tensor};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Page-locked memory of the host, which the GPU copies from by itself. It is freed when nothing reads it any more.
pub struct PinnedBytes {
    /// Shared with the uploads that read it.
    memory: Arc<Pinned>,
}

/// The memory itself.
struct Pinned {
    context: Arc<CudaContext>,
    start: *mut u8,
    len: usize,
}

// SAFETY: the memory is this value's own, as a vector's is.
#[allow(unsafe_code)]
unsafe impl Send for Pinned {}
// SAFETY: a shared reference only reads.
#[allow(unsafe_code)]
unsafe impl Sync for Pinned {}

impl Pinned {
    /// So many zeros.
    ///
    /// # Errors
    /// There is not so much page-locked memory, or the driver fails.
    #[allow(unsafe_code)]
    fn new(context: &Arc<CudaContext>, len: usize) -> Result<Self> {
        // An earlier error is for who works on the GPU, not for a thread that makes batches; without a context the next call fails.
        insist_and_record(context, || context.bind_to_thread());
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
        unsafe { std::slice::from_raw_parts(self.memory.start, self.memory.len) }
    }
}

impl DerefMut for PinnedBytes {
    /// # Panics
    /// An [`Upload`] of these bytes has not been dropped.
    #[allow(unsafe_code)]
    fn deref_mut(&mut self) -> &mut [u8] {
        let memory = Arc::get_mut(&mut self.memory).expect("memory that no upload reads");
        // SAFETY: as above, and nobody else has the memory.
        unsafe { std::slice::from_raw_parts_mut(memory.start, memory.len) }
    }
}

impl Drop for Pinned {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        insist_and_record(&self.context, || self.context.bind_to_thread());
        // SAFETY: allocated by `malloc_host` and freed once. A failure leaves the memory to the end of the process.
        let _ = unsafe { result::free_host(self.start.cast()) };
    }
}

impl std::fmt::Debug for PinnedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PinnedBytes({})", self.memory.len)
    }
}

/// Copies images to a GPU beside its other work.
#[derive(Clone)]
pub struct Feeder {
    ops: Ops<Cuda>,
    device: Device,
    copies: Arc<CudaStream>,
}

/// Images of one size that are on their way, or there.
pub struct Upload {
    memory: CudaBuffer,
    images: usize,
    side: usize,
    copied: CudaEvent,
    feeder: Feeder,
    /// What is copied: not written, nor freed, before the copy is done.
    _source: Arc<Pinned>,
}

impl Feeder {
    /// For the device that [`open`](crate::open) has opened.
    ///
    /// # Errors
    /// The device is no GPU, or the driver fails.
    pub fn new(device: &Device) -> Result<Self> {
        let cuda = Cuda::of(device)?;
        let copies = cuda.stream().context().new_stream().map_err(driver("cuStreamCreate"))?;
        Ok(Self { ops: Ops::new(cuda, Element::F32)?, device: device.clone(), copies })
    }

    /// Memory to write images to.
    ///
    /// # Errors
    /// There is not so much page-locked memory, or the driver fails.
    pub fn allocate(&self, bytes: usize) -> Result<PinnedBytes> {
        Ok(PinnedBytes { memory: Arc::new(Pinned::new(self.ops.gpu().stream().context(), bytes)?) })
    }

    /// Begins to copy `images` images (height, width, 3) of `side` x `side` pixels. The memory stays, and cannot be
    /// written, until the upload is dropped.
    ///
    /// # Errors
    /// There are fewer bytes than that, or the driver fails.
    #[allow(unsafe_code)]
    pub fn upload(&self, bytes: &PinnedBytes, images: usize, side: usize) -> Result<Upload> {
        let len = [side, side, 3].into_iter().try_fold(images, usize::checked_mul);
        let source = len.and_then(|len| bytes.get(..len)).ok_or_else(|| GpuError::Call {
            call: "Feeder::upload",
            reason: format!("{images} images of {side} x {side} pixels are more than {} bytes", bytes.len()),
        })?;
        let memory = CudaBuffer::on(&self.copies, source.len())?;
        self.copies.context().bind_to_thread().map_err(driver("cuCtxSetCurrent"))?;
        // SAFETY: the memory was allocated on this stream with that size; source and memory outlive the copy, since an upload
        // has both and waits for it when it is dropped.
        unsafe { result::memcpy_htod_async(memory.address(), source, self.copies.cu_stream()) }
            .map_err(driver("cuMemcpyHtoDAsync"))?;
        let copied = self.copies.record_event(None).map_err(|error| {
            // There is no upload that would wait for the copy.
            let _ = insist(|| self.copies.synchronize());
            driver("cuEventRecord")(error)
        })?;
        Ok(Upload { memory, images, side, copied, feeder: self.clone(), _source: Arc::clone(&bytes.memory) })
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
        self.feeder.ops.gpu().stream().wait(&self.copied).map_err(driver("cuStreamWaitEvent"))?;
        let shape = (self.images, self.side, self.side, 3);
        // SAFETY: every element is written by the kernel before anything reads it.
        let tensor = unsafe { Tensor::empty(shape, DType::F32, &self.feeder.device)? };
        // SAFETY: the copy is waited for; the memory is freed after the work on the device's stream, see `Upload::drop`.
        unsafe { self.feeder.ops.expand_ordered_bytes(&self.memory, tables, &tensor)? };
        Ok(tensor.permute((0, 3, 1, 2))?)
    }

    /// The bytes of the images as they are, (N, side, side, 3).
    ///
    /// # Errors
    /// The driver fails.
    #[allow(unsafe_code)]
    pub fn to_bytes(&self) -> Result<Tensor> {
        let stream = self.feeder.ops.gpu().stream();
        stream.wait(&self.copied).map_err(driver("cuStreamWaitEvent"))?;
        let shape = (self.images, self.side, self.side, 3);
        // SAFETY: every element is written by the copy before anything reads it.
        let bytes = unsafe { Tensor::empty(shape, DType::U8, &self.feeder.device)? };
        let to = write_any(self.feeder.ops.gpu(), "the bytes of images", &bytes)?;
        // SAFETY: both memories have a byte for each element, and all that follows on the stream comes after the copy.
        unsafe { result::memcpy_dtod_async(to, self.memory.address(), bytes.elem_count(), stream.cu_stream()) }
            .map_err(driver("cuMemcpyDtoDAsync"))?;
        Ok(bytes)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // The host's memory may be written again and the GPU's goes back to the pool after this.
        let copies = &self.feeder.copies;
        insist_and_record(copies.context(), || self.copied.synchronize());
        insist_and_record(copies.context(), || copies.join(self.feeder.ops.gpu().stream()));
    }
}
