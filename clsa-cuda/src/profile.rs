//! Where a GPU's time goes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;
use candle_core::cuda_backend::cudarc::driver::{CudaEvent, CudaStream};

use crate::driver_error::driver;
use crate::error::Result;
use crate::gpu::Element;
use crate::shape::{ConvShape, Direction};

/// What takes time.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A kernel of our own.
    Kernel(&'static str, Option<Element>),
    /// A product of a convolution.
    Convolution(Direction, Element, ConvShape),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Kernel(name, None) => f.write_str(name),
            Self::Kernel(name, Some(element)) => write!(f, "{name}_{}", element.name()),
            Self::Convolution(direction, element, shape) => {
                let direction = match direction {
                    Direction::Forward => "forward",
                    Direction::Data => "data",
                    Direction::Weight => "weight",
                };
                let (kernel, stride) = (shape.kernel, shape.stride);
                write!(f, "convolution {direction} {kernel}x{kernel}/{stride} {}", element.name())
            }
        }
    }
}

/// Measures by events of the GPU, while it is on.
#[derive(Default)]
pub(crate) struct Profile {
    on: AtomicBool,
    spans: Mutex<Vec<(Kind, CudaEvent, CudaEvent)>>,
}

impl Profile {
    /// Starts or stops measuring.
    pub(crate) fn set(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    /// Does `work`, which starts something on the stream, and has its time measured.
    pub(crate) fn measure(
        &self,
        stream: &Arc<CudaStream>,
        kind: impl FnOnce() -> Kind,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        if !self.on.load(Ordering::Relaxed) {
            return work();
        }
        let event = || stream.record_event(Some(CU_EVENT_DEFAULT)).map_err(driver("cuEventRecord"));
        let start = event()?;
        work()?;
        let span = (kind(), start, event()?);
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).push(span);
        Ok(())
    }

    /// Kinds with the number of times and the milliseconds, most of them first. Waits for the GPU and begins anew.
    pub(crate) fn take(&self) -> Result<Vec<(String, usize, f64)>> {
        let spans = std::mem::take(&mut *self.spans.lock().unwrap_or_else(PoisonError::into_inner));
        let mut kinds = BTreeMap::<String, (usize, f64)>::new();
        for (kind, start, end) in &spans {
            let time = start.elapsed_ms(end).map_err(driver("cuEventElapsedTime"))?;
            let (count, total) = kinds.entry(kind.to_string()).or_default();
            *count += 1;
            *total += f64::from(time);
        }
        let mut kinds: Vec<_> = kinds.into_iter().map(|(kind, (count, total))| (kind, count, total)).collect();
        kinds.sort_by(|(_, _, one), (_, _, other)| other.total_cmp(one));
        Ok(kinds)
    }
}
