//! The host in the place of a GPU, for tests: the same kernels, compiled for it, and plain loops for convolutions.

// Memory by addresses and a C library, as a GPU's driver is.
#![allow(unsafe_code)]

mod convolve;

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Device;

use crate::error::{GpuError, Result};
use crate::gpu::{Buffer, Convolve, Element, Gpu, KernelArgs, check_owned};

unsafe extern "C" {
    fn clsa_host_launch(name: *const c_char, grid: *const u32, args: *const c_void, bytes: usize) -> c_int;
    fn clsa_host_seed(seed: u64);
}

/// The host as a GPU. Threads and blocks run in an order that the seed decides; a correct kernel gives equal bits for every
/// seed. Clones are the same.
#[derive(Clone, Debug)]
pub struct Host {
    /// The seed of the next launch. It is locked while a kernel runs, as a stream runs one kernel after the other.
    seed: Arc<Mutex<u64>>,
}

impl Host {
    /// A host whose threads and blocks run in the order of this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed: Arc::new(Mutex::new(seed)) }
    }

    /// Memory with these contents.
    ///
    /// # Errors
    /// None; the signature is that of a GPU.
    pub fn upload(&self, bytes: &[u8]) -> Result<HostBuffer> {
        let buffer = self.alloc(bytes.len())?;
        // SAFETY: the new memory is as large.
        unsafe { buffer.memory.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
        Ok(buffer)
    }

    /// The contents of memory.
    ///
    /// # Errors
    /// The memory is another's.
    pub fn download(&self, buffer: &HostBuffer) -> Result<Vec<u8>> {
        check_owned(self, "what is downloaded", buffer)?;
        let _running = self.seed.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: all of it has been initialized.
        Ok(unsafe { std::slice::from_raw_parts(buffer.memory.as_ptr(), buffer.bytes) }.to_vec())
    }
}

/// Memory of the host, at an address that is a multiple of 256. New memory holds NaNs, in f32 and in bf16.
#[derive(Debug)]
pub struct HostBuffer {
    memory: NonNull<u8>,
    bytes: usize,
    /// The seed of the host whose memory it is, by which the host is known.
    host: Arc<Mutex<u64>>,
}

// SAFETY: the memory is owned, and only kernels and copies touch it, one at a time.
unsafe impl Send for HostBuffer {}
// SAFETY: as above.
unsafe impl Sync for HostBuffer {}

impl HostBuffer {
    fn new(host: &Host, bytes: usize) -> Self {
        let layout = Self::layout(bytes);
        // SAFETY: the layout is not empty.
        let memory = NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: as many bytes were allocated.
        unsafe { memory.write_bytes(0xff, layout.size()) };
        memory.as_ptr().expose_provenance();
        Self { memory, bytes, host: Arc::clone(&host.seed) }
    }

    /// # Panics
    /// More bytes than there are addresses.
    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes.max(1), 256).expect("a size that fits into memory")
    }
}

impl Drop for HostBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.memory.as_ptr(), Self::layout(self.bytes)) }
    }
}

impl Buffer for HostBuffer {
    fn address(&self) -> u64 {
        self.memory.as_ptr() as u64
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Gpu for Host {
    type Buffer = HostBuffer;

    fn reaches(&self, device: &Device) -> bool {
        device.is_cpu()
    }

    fn owns(&self, buffer: &HostBuffer) -> bool {
        Arc::ptr_eq(&self.seed, &buffer.host)
    }

    fn alloc(&self, bytes: usize) -> Result<HostBuffer> {
        Ok(HostBuffer::new(self, bytes))
    }

    fn zero(&self, buffer: &mut HostBuffer) -> Result<()> {
        check_owned(self, "what is set to zero", buffer)?;
        // SAFETY: it is as large.
        unsafe { buffer.memory.write_bytes(0, buffer.bytes) };
        Ok(())
    }

    unsafe fn launch<A: KernelArgs>(&self, element: Element, grid: [u32; 3], args: &A) -> Result<()> {
        let failed = |reason: &str| GpuError::Call { call: A::NAME, reason: reason.to_owned() };
        // What a driver refuses.
        if grid.contains(&0) || grid[0] >= 1 << 31 || grid[1] > 65535 || grid[2] > 65535 {
            return Err(failed(&format!("a grid of {grid:?} blocks")));
        }
        let name = if A::BY_ELEMENT { format!("{}_{}", A::NAME, element.name()) } else { A::NAME.to_owned() };
        let name = CString::new(name).map_err(|_| failed("a name with a zero in it"))?;
        let mut seed = self.seed.lock().unwrap_or_else(PoisonError::into_inner);
        *seed = seed.wrapping_add(1);
        // SAFETY: the caller vouches for the addresses in `args`; name and size are checked.
        let result = unsafe {
            clsa_host_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            clsa_host_launch(name.as_ptr(), grid.as_ptr(), std::ptr::from_ref(args).cast(), size_of::<A>())
        };
        match result {
            0 => Ok(()),
            1 => Err(failed("there is no such kernel")),
            2 => Err(failed("its argument is of another size")),
            _ => Err(failed("its threads wait at different barriers")),
        }
    }

    unsafe fn convolve(&self, product: Convolve) -> Result<()> {
        let _running = self.seed.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the caller's.
        unsafe { convolve::convolve(product) };
        Ok(())
    }
}
