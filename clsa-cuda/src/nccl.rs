//! NCCL: what several GPUs, each of a process of its own, exchange.

// NCCL is a C library that works on addresses.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{CudaEvent, CudaStream};
use candle_core::{DType, Device, Tensor};
use cudarc::nccl::result::{self, NcclError};
use cudarc::nccl::sys;

use crate::device::Cuda;
use crate::driver_error::{driver, insist, insist_and_record};
use crate::error::{GpuError, Result};
use crate::tensor::{read_any, unsupported, write_any};

/// What makes a group of GPUs one: made by one process, and handed to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NcclId([u8; NcclId::LEN]);

impl NcclId {
    /// Bytes of an id.
    pub const LEN: usize = 128;

    /// A new group's.
    ///
    /// # Errors
    /// NCCL fails.
    pub fn new() -> Result<Self> {
        let id = result::get_uniqueid().map_err(nccl("ncclGetUniqueId"))?;
        Ok(Self(id.internal.map(|byte| byte as u8)))
    }

    /// The id that these bytes are of.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the others.
    pub fn bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

/// One GPU among those of a group. Calls are done on a stream of their own, each after what the device was asked for before it; every
/// process makes the same calls in the same order.
pub struct NcclGroup {
    /// Used by one thread at a time, as NCCL asks.
    comm: Mutex<Handle>,
    device: Device,
    cuda: Cuda,
    exchanges: Arc<CudaStream>,
    rank: usize,
    world_size: usize,
}

/// NCCL's handle of a group.
struct Handle(sys::ncclComm_t);

// SAFETY: the handle is of no thread, and the mutex around it lets one use it at a time.
unsafe impl Send for Handle {}

impl NcclGroup {
    /// Joins a group as number `rank` of `world_size`; waits until all have.
    ///
    /// # Errors
    /// The device is no GPU that [`open`](crate::open) has opened, or NCCL fails, as it does where two processes have one GPU.
    pub fn join(device: &Device, id: NcclId, rank: usize, world_size: usize) -> Result<Self> {
        let cuda = Cuda::of(device)?;
        let number = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        let id = sys::ncclUniqueId { internal: id.0.map(|byte| byte as c_char) };
        let mut comm = std::ptr::null_mut();
        let context = cuda.stream().context();
        context.bind_to_thread().map_err(driver("cuCtxSetCurrent"))?;
        let exchanges = context.new_stream().map_err(driver("cuStreamCreate"))?;
        // SAFETY: the handle is written to a variable of its type; the id is NCCL's own.
        unsafe { result::comm_init_rank(&mut comm, number(world_size), id, number(rank)) }
            .map_err(nccl("ncclCommInitRank"))?;
        Ok(Self { comm: Mutex::new(Handle(comm)), device: device.clone(), cuda, exchanges, rank, world_size })
    }

    /// This process, 0-based.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many there are.
    pub fn world_size(&self) -> usize {
        self.world_size
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The tensors (N, ...) of all GPUs, rank 0's first, as (world_size * N, ...).
    ///
    /// # Errors
    /// The tensor is not on the device, its type is not one that is exchanged, or NCCL fails.
    pub fn all_gather(&self, tensor: &Tensor) -> Result<Tensor> {
        let tensor = tensor.contiguous()?;
        let kind = kind_of(&tensor)?;
        let mut shape = tensor.dims().to_vec();
        shape[0] *= self.world_size;
        let all = self.empty(&shape, tensor.dtype())?;
        let (from, to) = (self.read(&tensor)?, self.write(&all)?);
        self.call("ncclAllGather", |comm, stream| {
            // SAFETY: both memories are of these sizes and of this device, whose further work waits for the call.
            unsafe { result::all_gather(from, to, tensor.elem_count(), kind, comm, stream) }
        })?;
        self.wait()?;
        Ok(all)
    }

    /// Begins to replace the numbers of a contiguous tensor by their mean over the GPUs, beside the device's further work.
    ///
    /// # Errors
    /// As for [`NcclGroup::all_gather`].
    pub fn begin_mean(&self, tensor: Tensor) -> Result<NcclMean> {
        let kind = kind_of(&tensor)?;
        let place = self.write(&tensor)?;
        self.call("ncclAllReduce", |comm, stream| {
            let mean = sys::ncclRedOp_t::ncclAvg;
            // SAFETY: the memory is of this size and of this device, whose further work waits for the call before the memory can be
            // another's, see `NcclMean::drop`.
            unsafe { result::all_reduce(place, place, tensor.elem_count(), kind, mean, comm, stream) }
        })?;
        let done = self.exchanges.record_event(None).map_err(|error| {
            // There is no mean that would wait for the call.
            let _ = self.wait();
            driver("cuEventRecord")(error)
        })?;
        Ok(NcclMean { tensor, done, cuda: self.cuda.clone() })
    }

    /// Sends `to[r]` of the rows of a tensor (N, ...) to each rank r, those for rank 0 first, and gives the rows that come: `from[r]` from
    /// each, in the same order.
    ///
    /// # Errors
    /// As for [`NcclGroup::all_gather`].
    pub fn exchange(&self, rows: &Tensor, to: &[usize], from: &[usize]) -> Result<Tensor> {
        let rows = rows.contiguous()?;
        let kind = kind_of(&rows)?;
        let mut shape = rows.dims().to_vec();
        let width = rows.elem_count() / shape[0].max(1);
        if to.iter().sum::<usize>() != shape[0] || to.len() != self.world_size || from.len() != self.world_size {
            return Err(unsupported("rows are sent to ranks that there are not".to_owned()));
        }
        shape[0] = from.iter().sum();
        let received = self.empty(&shape, rows.dtype())?;
        let bytes = width * rows.dtype().size_in_bytes();
        let (mut next, mut place) = (self.read(&rows)?, self.write(&received)?);
        self.call("ncclSend and ncclRecv", |comm, stream| {
            result::group_start()?;
            let begun = (0..).zip(to.iter().zip(from)).try_for_each(|(peer, (&to, &from))| {
                // SAFETY: the parts lie one after the other in memories of this device whose lengths are the sums of the parts'.
                unsafe {
                    result::send(next, to * width, kind, peer, comm, stream)?;
                    result::recv(place, from * width, kind, peer, comm, stream)?;
                    next = next.byte_add(to * bytes);
                    place = place.byte_add(from * bytes);
                }
                Ok(())
            });
            // Also where one could not be begun: a group that stays open holds back every later call of this thread.
            let ended = result::group_end();
            begun.and(ended)
        })?;
        self.wait()?;
        Ok(received)
    }

    fn read(&self, tensor: &Tensor) -> Result<*const c_void> {
        Ok(std::ptr::with_exposed_provenance(read_any(&self.cuda, "the tensor that GPUs exchange", tensor)? as usize))
    }

    fn write(&self, tensor: &Tensor) -> Result<*mut c_void> {
        Ok(std::ptr::with_exposed_provenance_mut(
            write_any(&self.cuda, "the tensor that GPUs exchange", tensor)? as usize
        ))
    }

    fn empty(&self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        // SAFETY: every element is written by the call that follows, before anything reads it.
        Ok(unsafe { Tensor::empty(shape, dtype, &self.device)? })
    }

    fn call(
        &self,
        name: &'static str,
        call: impl FnOnce(sys::ncclComm_t, sys::cudaStream_t) -> std::result::Result<result::NcclStatus, NcclError>,
    ) -> Result<()> {
        let comm = self.comm.lock().unwrap_or_else(PoisonError::into_inner);
        self.exchanges.context().bind_to_thread().map_err(driver("cuCtxSetCurrent"))?;
        self.exchanges.join(self.cuda.stream()).map_err(driver("cuStreamWaitEvent"))?;
        let called = call(comm.0, self.exchanges.cu_stream().cast()).map(drop).map_err(nccl(name));
        if called.is_err() {
            // What was begun of it may still use the memories. What NCCL said is told, not what the driver says after it.
            let _ = self.wait();
        }
        called
    }

    /// The device's further work comes after all calls so far.
    fn wait(&self) -> Result<()> {
        insist(|| self.cuda.stream().join(&self.exchanges)).map_err(driver("cuStreamWaitEvent"))
    }
}

/// A mean over GPUs that is under way.
#[must_use = "the other GPUs wait for a mean that was begun"]
pub struct NcclMean {
    tensor: Tensor,
    done: CudaEvent,
    cuda: Cuda,
}

impl NcclMean {
    /// The mean, which the device's further work waits for; the host does not.
    ///
    /// # Errors
    /// The driver fails.
    pub fn wait(self) -> Result<Tensor> {
        self.cuda.stream().wait(&self.done).map_err(driver("cuStreamWaitEvent"))?;
        Ok(self.tensor.clone())
    }
}

impl Drop for NcclMean {
    fn drop(&mut self) {
        // The memory goes back to the pool in the order of the device's stream: after the call that uses it.
        let stream = self.cuda.stream();
        insist_and_record(stream.context(), || stream.wait(&self.done));
    }
}

impl Drop for NcclGroup {
    fn drop(&mut self) {
        let comm = self.comm.get_mut().unwrap_or_else(PoisonError::into_inner);
        if std::thread::panicking() {
            // The others will not make the calls that what is under way waits for.
            // SAFETY: the handle is not used any more.
            let _ = unsafe { result::comm_abort(comm.0) };
            return;
        }
        // What is under way ends first. A failure of it was or will be told elsewhere.
        let _ = insist(|| self.exchanges.synchronize());
        // SAFETY: as above.
        let _ = unsafe { result::comm_destroy(comm.0) };
    }
}

/// NCCL's name of a tensor's type.
fn kind_of(tensor: &Tensor) -> Result<sys::ncclDataType_t> {
    match tensor.dtype() {
        DType::F32 => Ok(sys::ncclDataType_t::ncclFloat32),
        DType::F64 => Ok(sys::ncclDataType_t::ncclFloat64),
        DType::U8 => Ok(sys::ncclDataType_t::ncclUint8),
        DType::U32 => Ok(sys::ncclDataType_t::ncclUint32),
        dtype => Err(unsupported(format!("GPUs do not exchange tensors of {dtype:?}"))),
    }
}

/// A failed call of NCCL as an error.
fn nccl(call: &'static str) -> impl FnOnce(NcclError) -> GpuError {
    move |error| GpuError::Call { call, reason: format!("{:?}", error.0) }
}
