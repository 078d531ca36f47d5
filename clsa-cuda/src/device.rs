//! A GPU of NVIDIA.

// The driver is a C library, and kernels work on addresses.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use candle_core::Device;
use candle_core::cuda_backend::cudarc::driver::{CudaFunction, CudaModule, CudaSlice, CudaStream, result};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;

use crate::cudnn::Convolutions;
use crate::driver_error::{at_kernel, driver, insist};
use crate::error::{GpuError, Result};
use crate::gpu::{Buffer, Convolve, Element, Gpu, KernelArgs, check_owned};
use crate::kernels::THREADS;
use crate::memory::allocate;
use crate::profile::{Kind, Profile};

/// Machine code of the kernels for every architecture that the compiler knew.
static KERNELS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin"));

/// A GPU of NVIDIA with the stream of a Candle device: kernels, convolutions and Candle's own work are done in the order in
/// which they are asked for. Clones are the same GPU.
#[derive(Clone)]
pub struct Cuda {
    inner: Arc<Inner>,
}

struct Inner {
    convolutions: Mutex<Convolutions>,
    functions: RwLock<HashMap<(&'static str, Option<Element>), CudaFunction>>,
    module: Arc<CudaModule>,
    tune: AtomicBool,
    profile: Profile,
    stream: Arc<CudaStream>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Kernels are not unloaded under work that still runs. A failure of that work was or will be told elsewhere.
        let _ = insist(|| self.stream.synchronize());
    }
}

impl Cuda {
    /// Loads the kernels and opens cuDNN on a device's stream, which has to be the device's own:
    /// [`Device::new_cuda_with_stream`], not [`Device::new_cuda`], whose stream is another on every thread.
    ///
    /// # Errors
    /// The device is no GPU of NVIDIA or has no stream of its own, or driver or cuDNN fail.
    pub fn new(device: &Device) -> Result<Self> {
        let stream = device.as_cuda_device()?.cuda_stream();
        // The handles 0, 1 and 2 are the default streams.
        if stream.cu_stream() as usize <= 2 {
            let reason = "the device has no stream of its own".to_owned();
            return Err(GpuError::Call { call: "Cuda::new", reason });
        }
        let module = stream.context().load_module(Ptx::from_binary(KERNELS.to_vec()));
        let module = module.map_err(driver("cuModuleLoadData"))?;
        let convolutions = Mutex::new(Convolutions::new(&stream)?);
        let functions = RwLock::default();
        let (tune, profile) = (AtomicBool::new(false), Profile::default());
        Ok(Self { inner: Arc::new(Inner { convolutions, functions, module, tune, profile, stream }) })
    }

    /// The stream on which everything is done.
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.inner.stream
    }

    /// Waits until everything that was asked for is done.
    ///
    /// # Errors
    /// Something of it failed.
    pub fn synchronize(&self) -> Result<()> {
        self.inner.stream.synchronize().map_err(driver("cuStreamSynchronize"))
    }

    /// Memory with these contents.
    ///
    /// # Errors
    /// The memory does not suffice or the driver fails.
    pub fn upload(&self, bytes: &[u8]) -> Result<CudaBuffer> {
        let mut buffer = self.alloc(bytes.len())?;
        if !bytes.is_empty() {
            self.inner.stream.memcpy_htod(bytes, &mut buffer.memory).map_err(driver("cuMemcpyHtoDAsync"))?;
        }
        Ok(buffer)
    }

    /// The contents of memory, when everything that was asked for is done.
    ///
    /// # Errors
    /// The memory is another's, or something that was asked for failed.
    pub fn download(&self, buffer: &CudaBuffer) -> Result<Vec<u8>> {
        check_owned(self, "what is downloaded", buffer)?;
        let mut bytes = vec![0; buffer.bytes()];
        if !bytes.is_empty() {
            self.inner.stream.memcpy_dtoh(&buffer.memory, &mut bytes).map_err(driver("cuMemcpyDtoHAsync"))?;
        }
        self.synchronize()?;
        Ok(bytes)
    }

    /// Measures every kernel and every convolution from now on, or stops it.
    pub fn profile(&self, on: bool) {
        self.inner.profile.set(on);
    }

    /// What was measured since the last call: kind, number of times and milliseconds, most of them first. Waits for the GPU.
    ///
    /// # Errors
    /// Something that was asked for failed.
    pub fn take_profile(&self) -> Result<Vec<(String, usize, f64)>> {
        self.inner.profile.take()
    }

    /// While it is on, times up to eight plans of every convolution that comes for the first time and keeps the fastest, instead of
    /// the one that cuDNN expects to be. Which one it is, and so the bits of results, may then differ from run to run; plans that
    /// were chosen so are not used while it is off.
    pub fn set_tune(&self, on: bool) {
        self.inner.tune.store(on, Ordering::Relaxed);
    }

    /// What cuDNN knows of this GPU, as JSON: enough to plan for it where it is not, see
    /// [`Planner::described`](crate::Planner::described).
    ///
    /// # Errors
    /// cuDNN fails.
    pub fn device_description(&self) -> Result<String> {
        self.convolutions(|convolutions| convolutions.device_description())
    }

    /// The plans of the convolutions so far, one a line: the product, the engine, the workspace, the notes, and whether it was
    /// chosen by timing.
    pub fn plans(&self) -> Vec<String> {
        let mut lines = self.convolutions(|convolutions| convolutions.plans().collect::<Vec<_>>());
        lines.sort();
        lines
    }

    fn convolutions<T>(&self, work: impl FnOnce(&mut Convolutions) -> T) -> T {
        work(&mut self.inner.convolutions.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The kernel of a name, loaded once.
    fn function(&self, name: &'static str, element: Option<Element>) -> Result<CudaFunction> {
        let key = (name, element);
        if let Some(function) = self.inner.functions.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(function.clone());
        }
        let symbol = Kind::Kernel(name, element).to_string();
        let function =
            self.inner.stream.context().bind_to_thread().and_then(|()| self.inner.module.load_function(&symbol));
        let function = function.map_err(|error| at_kernel(name, "cuModuleGetFunction", &symbol, error))?;
        self.inner.functions.write().unwrap_or_else(PoisonError::into_inner).insert(key, function.clone());
        Ok(function)
    }
}

impl Gpu for Cuda {
    type Buffer = CudaBuffer;

    fn reaches(&self, device: &Device) -> bool {
        let stream = self.inner.stream.cu_stream();
        device.as_cuda_device().is_ok_and(|device| device.cuda_stream().cu_stream() == stream)
    }

    fn owns(&self, buffer: &CudaBuffer) -> bool {
        buffer.memory.stream().cu_stream() == self.inner.stream.cu_stream()
    }

    fn alloc(&self, bytes: usize) -> Result<CudaBuffer> {
        CudaBuffer::on(&self.inner.stream, bytes)
    }

    fn zero(&self, buffer: &mut CudaBuffer) -> Result<()> {
        check_owned(self, "what is set to zero", buffer)?;
        self.inner.stream.memset_zeros(&mut buffer.memory).map_err(driver("cuMemsetD8Async"))
    }

    unsafe fn launch<A: KernelArgs>(&self, element: Element, grid: [u32; 3], args: &A) -> Result<()> {
        let element = A::BY_ELEMENT.then_some(element);
        let function = self.function(A::NAME, element)?;
        let stream = &self.inner.stream;
        let launch = || {
            let mut parameters = [std::ptr::from_ref(args).cast_mut().cast::<c_void>()];
            // SAFETY: the kernel takes one parameter, which is `A` by the promise of `KernelArgs` and is copied before the call
            // returns; what it does with the addresses in it is the caller's promise.
            let launched = stream.context().bind_to_thread().and_then(|()| unsafe {
                result::launch_kernel(
                    function.cu_function(),
                    grid.into(),
                    (THREADS as u32, 1, 1),
                    0,
                    stream.cu_stream(),
                    &mut parameters,
                )
            });
            let symbol = || Kind::Kernel(A::NAME, element).to_string();
            launched.map_err(|error| at_kernel(A::NAME, "cuLaunchKernel", &symbol(), error))
        };
        self.inner.profile.measure(stream, || Kind::Kernel(A::NAME, element), launch)
    }

    unsafe fn convolve(&self, product: Convolve) -> Result<()> {
        let tune = self.inner.tune.load(Ordering::Relaxed);
        let kind = || Kind::Convolution(product.direction, product.element, product.shape);
        self.convolutions(|convolutions| {
            // SAFETY: the caller's promise.
            unsafe { convolutions.prepare(&product, tune)? };
            // SAFETY: the caller's promise.
            let run = || unsafe { convolutions.run(&product, tune) };
            self.inner.profile.measure(&self.inner.stream, kind, run)
        })
    }
}

/// Memory of a [`Cuda`].
pub struct CudaBuffer {
    memory: CudaSlice<u8>,
    address: u64,
    bytes: usize,
}

impl CudaBuffer {
    /// Memory that belongs to a stream: it is taken and given back in its order.
    pub(crate) fn on(stream: &Arc<CudaStream>, bytes: usize) -> Result<Self> {
        // The driver gives no memory of no bytes.
        let (memory, address) = allocate(stream, bytes.max(1))?;
        Ok(Self { memory, address, bytes })
    }
}

impl Buffer for CudaBuffer {
    fn address(&self) -> u64 {
        self.address
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}
