//! One handle for each GPU, whoever asks for it: kernels are loaded and cuDNN is opened once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use candle_core::Device;

use crate::device::Cuda;
use crate::error::Result;

/// The handles, by the number of the GPU and its stream.
static OPENED: Mutex<Option<HashMap<(usize, usize), Cuda>>> = Mutex::new(None);

impl Cuda {
    /// The handle of a device, made when it is first asked for.
    ///
    /// # Errors
    /// As for [`Cuda::new`].
    pub fn of(device: &Device) -> Result<Self> {
        let stream = device.as_cuda_device()?.cuda_stream();
        let place = (stream.context().ordinal(), stream.cu_stream() as usize);
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = opened.get_or_insert_default();
        if let Some(cuda) = opened.get(&place) {
            return Ok(cuda.clone());
        }
        let cuda = Self::new(device)?;
        opened.insert(place, cuda.clone());
        Ok(cuda)
    }
}
