//! Plans that are kept and run.

// cuDNN is a C library: every call of it is unsafe.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::cudnn::{result, sys};
use candle_core::cuda_backend::cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaStream};
use sys::{cudnnBackendAttributeName_t as Name, cudnnBackendDescriptorType_t as Kind};

use super::descriptor::{Descriptor, check, failure};
use super::graph::{IDS, Product};
use super::plan::{Plan, Planner, no_engine};
use crate::driver_error::driver;
use crate::error::Result;
use crate::gpu::Convolve;
use crate::memory::allocate;

/// How many plans are timed.
const TUNED_PLANS: usize = 8;

/// How often each is.
const TUNED_RUNS: usize = 3;

/// cuDNN on one stream: the handle, the plans so far and their workspace.
///
/// Fields are dropped in this order: plans before the handle that they were made for.
pub(crate) struct Convolutions {
    workspace: Workspace,
    /// By product, and by whether they were chosen by timing.
    plans: HashMap<(Product, bool), Plan>,
    planner: Planner,
    handle: Handle,
}

// SAFETY: nothing in it is bound to a thread; it is used by one thread at a time, which makes the GPU's context current first.
unsafe impl Send for Convolutions {}

impl Convolutions {
    /// Opens cuDNN on a stream.
    pub(crate) fn new(stream: &Arc<CudaStream>) -> Result<Self> {
        let handle = Handle::new(stream)?;
        Ok(Self {
            workspace: Workspace { stream: Arc::clone(stream), memory: None },
            plans: HashMap::new(),
            planner: Planner::of_handle(handle.raw),
            handle,
        })
    }

    /// What cuDNN knows of the GPU, as JSON.
    pub(crate) fn device_description(&self) -> Result<String> {
        self.bind()?;
        let json = Name::CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION;
        let new = || Descriptor::new(Kind::CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
        let ordinal = self.handle.stream.context().ordinal() as i32;
        let device = new()?
            .set(Name::CUDNN_ATTR_DEVICEPROP_HANDLE, &[self.handle.raw])
            .and_then(Descriptor::finish)
            .or_else(|_| new()?.set(Name::CUDNN_ATTR_DEVICEPROP_DEVICE_ID, &[ordinal])?.finish())?;
        let length = device.count(json, sys::cudnnBackendAttributeType_t::CUDNN_TYPE_CHAR)?;
        let text: Vec<u8> = device.get(json, length)?;
        Ok(String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned())
    }

    /// Plans a product, with `tune` by timing, unless there is a plan of its kind.
    ///
    /// # Safety
    /// As for [`Gpu::convolve`](crate::Gpu::convolve).
    pub(crate) unsafe fn prepare(&mut self, convolve: &Convolve, tune: bool) -> Result<()> {
        let product = Product::from(convolve);
        if self.plans.contains_key(&(product, tune)) {
            return Ok(());
        }
        self.bind()?;
        let plan = if tune {
            let plans = self.planner.plans(&product, TUNED_PLANS)?;
            // SAFETY: the caller's promise; what is written goes to memory of its own.
            unsafe { fastest(plans, &product, addresses(convolve), &self.handle, &mut self.workspace)? }
        } else {
            self.planner.plan(&product)?
        };
        self.plans.insert((product, tune), plan);
        Ok(())
    }

    /// Starts a product that was prepared with the same `tune`.
    ///
    /// # Safety
    /// As for [`Gpu::convolve`](crate::Gpu::convolve).
    pub(crate) unsafe fn run(&mut self, convolve: &Convolve, tune: bool) -> Result<()> {
        self.bind()?;
        let product = Product::from(convolve);
        let plan = self.plans.get(&(product, tune)).ok_or_else(|| no_engine(&product, None))?;
        // SAFETY: the caller's promise.
        unsafe { execute(plan, addresses(convolve), &self.handle, &mut self.workspace) }
    }

    /// The plans so far, a line for each, in no order.
    pub(crate) fn plans(&self) -> impl Iterator<Item = String> {
        self.plans.iter().map(|((product, tuned), plan)| {
            let choice = if *tuned { ", chosen by timing" } else { "" };
            format!("{product}: {plan}{choice}")
        })
    }

    fn bind(&self) -> Result<()> {
        self.handle.stream.context().bind_to_thread().map_err(driver("cuCtxSetCurrent"))
    }
}

/// Runs a plan on input, weight and output at `addresses`.
///
/// # Safety
/// The addresses are of memory of this GPU, as large as the plan's tensors, alive until it is freed in the stream's order. The
/// GPU's context is current.
unsafe fn execute(plan: &Plan, addresses: [u64; 3], handle: &Handle, workspace: &mut Workspace) -> Result<()> {
    let pack = pack(addresses, workspace.at_least(plan.workspace())?)?;
    // SAFETY: the plan was made for this handle; the workspace is large enough and is freed in the stream's order.
    unsafe { plan.descriptor().execute(handle.raw, &pack) }
}

/// Input, weight and output in the order of [`IDS`].
fn addresses(convolve: &Convolve) -> [u64; 3] {
    [convolve.x, convolve.w, convolve.y]
}

/// Which memory a plan works on.
fn pack(addresses: [u64; 3], workspace: u64) -> Result<Descriptor> {
    let pointer = |address: u64| address as usize as *mut c_void;
    Descriptor::new(Kind::CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)?
        .set(Name::CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, &IDS)?
        .set(Name::CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, &addresses.map(pointer))?
        .set(Name::CUDNN_ATTR_VARIANT_PACK_WORKSPACE, &[pointer(workspace)])?
        .finish()
}

/// The plan that took the least time, or the first if none could be timed.
///
/// # Safety
/// As for [`execute`], but what the product writes is not touched.
unsafe fn fastest(
    plans: Vec<Plan>,
    product: &Product,
    mut addresses: [u64; 3],
    handle: &Handle,
    workspace: &mut Workspace,
) -> Result<Plan> {
    let stream = &handle.stream;
    // Results go elsewhere, because a run with `add` changes what the next one starts from.
    let result = allocate(stream, product.result_len() * product.element.size())?;
    addresses[product.result_index()] = result.1;
    let mut best: Option<(f32, usize)> = None;
    for (index, plan) in plans.iter().enumerate() {
        // The first run is not timed: it may load kernels.
        // SAFETY: the caller's promise, and the result is as large as it has to be.
        if unsafe { execute(plan, addresses, handle, workspace) }.is_err() {
            continue;
        }
        let start = stream.record_event(Some(CU_EVENT_DEFAULT)).map_err(driver("cuEventRecord"))?;
        for _ in 0..TUNED_RUNS {
            // SAFETY: as above.
            unsafe { execute(plan, addresses, handle, workspace)? };
        }
        let end = stream.record_event(Some(CU_EVENT_DEFAULT)).map_err(driver("cuEventRecord"))?;
        let time = start.elapsed_ms(&end).map_err(driver("cuEventElapsedTime"))?;
        if best.is_none_or(|(least, _)| time < least) {
            best = Some((time, index));
        }
    }
    let index = best.map_or(0, |(_, index)| index);
    plans.into_iter().nth(index).ok_or_else(|| no_engine(product, None))
}

/// Memory for plans to work in. They run one after the other, so that one piece serves all.
struct Workspace {
    stream: Arc<CudaStream>,
    memory: Option<(CudaSlice<u8>, u64)>,
}

impl Workspace {
    /// The address of at least `bytes` bytes; null if none are needed and there are none.
    fn at_least(&mut self, bytes: usize) -> Result<u64> {
        let have = self.memory.as_ref().map_or(0, |(memory, _)| memory.len());
        if have < bytes {
            // In this order the pool can give the same memory again: it is freed in the stream's order, after its last use.
            self.memory = None;
            self.memory = Some(allocate(&self.stream, bytes)?);
        }
        Ok(self.memory.as_ref().map_or(0, |&(_, address)| address))
    }
}

/// A cuDNN handle that works on a stream.
struct Handle {
    raw: sys::cudnnHandle_t,
    stream: Arc<CudaStream>,
}

impl Handle {
    fn new(stream: &Arc<CudaStream>) -> Result<Self> {
        stream.context().bind_to_thread().map_err(driver("cuCtxSetCurrent"))?;
        let raw = result::create_handle().map_err(|error| failure("cudnnCreate", "", error.0))?;
        let handle = Self { raw, stream: Arc::clone(stream) };
        // SAFETY: handle and stream are alive, and the handle keeps the stream. The two types name the same C type.
        check("cudnnSetStream", unsafe { sys::cudnnSetStream(raw, stream.cu_stream().cast()) })?;
        Ok(handle)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // A failure leaves the handle to the end of the process, as there is nobody to tell.
        if self.stream.context().bind_to_thread().is_ok() {
            // SAFETY: made by `new`, destroyed once, after the plans.
            unsafe { sys::cudnnDestroy(self.raw) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_named_with_and_without_a_workspace() {
        pack([256, 512, 768], 0).unwrap();
        pack([256, 512, 768], 1024).unwrap();
    }
}
