//! A node of Candle's graph whose value and gradient are written out.

use crate::error::Result;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp3, Layout, Shape, Storage, Tensor};
use std::sync::Mutex;

/// A value computed outside the graph, with its gradient to up to three arguments as a function of the arguments, the
/// value and the value's gradient. What the function needs is the graph's own, so that nothing is kept twice.
pub(super) struct CustomGradient<F> {
    /// Until the graph has taken it.
    value: Mutex<Option<Tensor>>,
    gradient: F,
}

pub(super) type Gradient3 = candle_core::Result<[Option<Tensor>; 3]>;

impl<F: Fn([Tensor; 3], &Tensor, &Tensor) -> Gradient3 + Send + Sync + 'static> CustomGradient<F> {
    /// The node of the graph. `value` must be contiguous and own its storage whole.
    pub fn node(value: Tensor, [a, b, c]: [&Tensor; 3], gradient: F) -> Result<Tensor> {
        Ok(a.apply_op3(b, c, Self { value: Mutex::new(Some(value)), gradient })?)
    }
}

impl<F> CustomGradient<F> {
    fn value(&self) -> candle_core::Result<Tensor> {
        let value = self.value.lock().ok().and_then(|mut value| value.take());
        value.ok_or_else(|| candle_core::Error::Msg("the value of a node is taken once".to_owned()))
    }
}

impl<F: Fn([Tensor; 3], &Tensor, &Tensor) -> Gradient3> CustomOp3 for CustomGradient<F> {
    fn name(&self) -> &'static str {
        "custom gradient"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let value = self.value()?;
        match &*value.storage_and_layout().0 {
            Storage::Cpu(storage) => Ok((storage.clone(), value.shape().clone())),
            _ => candle_core::bail!("the arguments are on the CPU and the value is not"),
        }
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        let value = self.value()?;
        let (storage, layout) = value.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, value.shape().clone())),
            _ => candle_core::bail!("the arguments are on a GPU and the value is not"),
        }
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        value: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let arguments = [a.detach(), b.detach(), c.detach()];
        let [a, b, c] = (self.gradient)(arguments, &value.detach(), grad)?;
        Ok((a, b, c))
    }
}
