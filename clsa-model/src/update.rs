//! The two updates of a training step, in place: momentum SGD on the query encoder, the moving average of the key encoder.

use crate::error::Result;
use crate::storage::{read_f32, share_memory, write_f32};
use candle_core::{DType, Tensor, Var};
use rayon::prelude::*;

/// Elements that one thread updates at a time: small enough to share, large enough to be worth handing over.
const CHUNK: usize = 1 << 16;

/// What momentum SGD does to a parameter.
///
/// # Examples
///
/// ```
/// use clsa_model::SgdUpdate;
/// use clsa_model::candle_core::{DType, Device, Tensor, Var};
///
/// let weight = Var::ones(3, DType::F32, &Device::Cpu)?;
/// let velocity = Var::zeros(3, DType::F32, &Device::Cpu)?;
/// let gradient = Tensor::ones(3, DType::F32, &Device::Cpu)?;
/// let update = SgdUpdate { lr: 0.5, momentum: 0.9, weight_decay: 0.0 };
/// update.apply(&weight, &velocity, &gradient)?;
/// assert_eq!(weight.to_vec1::<f32>()?, [0.5; 3]);
/// # Ok::<(), clsa_model::ModelError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdUpdate {
    /// Learning rate.
    pub lr: f64,
    /// Momentum (paper: 0.9).
    pub momentum: f64,
    /// Weight decay (paper: 1e-4).
    pub weight_decay: f64,
}

impl SgdUpdate {
    /// `v ← momentum·v + (g + weight_decay·w)`, `w ← w - lr·v` (torch's SGD), in place. `velocity` starts at zero and
    /// has the parameter's shape and type.
    ///
    /// # Errors
    /// Shapes, types or devices differ.
    pub fn apply(&self, weight: &Var, velocity: &Var, gradient: &Tensor) -> Result<()> {
        same_shape("sgd velocity", weight, velocity)?;
        same_shape("sgd gradient", weight, gradient)?;
        if in_place(weight) {
            let (lr, momentum, decay) = (self.lr as f32, self.momentum as f32, self.weight_decay as f32);
            let update = |w: &mut [f32], v: &mut [f32], g: &[f32]| {
                let chunks = w.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK)).zip(g.par_chunks(CHUNK));
                chunks.for_each(|((w, v), g)| {
                    for ((w, v), g) in w.iter_mut().zip(v).zip(g) {
                        *v = momentum * *v + (g + decay * *w);
                        *w -= lr * *v;
                    }
                });
            };
            // The gradient of half the weight's square is the weight itself, which cannot be read while it is written to.
            let shared = [weight, velocity].iter().any(|var| share_memory(var, gradient));
            let gradient = if shared { gradient.force_contiguous()? } else { gradient.contiguous()? };
            read_f32(&gradient, |g| write_f32(velocity, |v| write_f32(weight, |w| update(w, v, g))))???;
        } else {
            let w = weight.as_detached_tensor();
            let decayed = (gradient + (&w * self.weight_decay)?)?;
            let v = ((velocity.as_detached_tensor() * self.momentum)? + decayed)?;
            weight.set(&(w - (&v * self.lr)?)?)?;
            velocity.set(&v)?;
        }
        Ok(())
    }

    /// [`Self::apply`] for each weight with its velocity and gradient; on a GPU all in one launch.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn apply_all(&self, parameters: &[(&Var, &Var, &Tensor)]) -> Result<()> {
        #[cfg(feature = "cuda")]
        if let Some((first, ..)) = parameters.first()
            && on_gpu(first)
        {
            for (weight, velocity, gradient) in parameters {
                same_shape("sgd velocity", weight, velocity)?;
                same_shape("sgd gradient", weight, gradient)?;
            }
            let operands = |(weight, velocity, gradient): &(&Var, &Var, &Tensor)| -> candle_core::Result<_> {
                let [weight, velocity] = [weight, velocity].map(|var| var.as_detached_tensor());
                Ok(clsa_cuda::SgdOperands { weight, velocity, gradient: gradient.contiguous()? })
            };
            let operands = parameters.iter().map(operands).collect::<candle_core::Result<Vec<_>>>()?;
            let cuda = clsa_cuda::Cuda::of(first.device())?;
            return Ok(clsa_cuda::sgd(&cuda, &operands, self.lr, self.momentum, self.weight_decay)?);
        }
        let all =
            || parameters.iter().try_for_each(|(weight, velocity, gradient)| self.apply(weight, velocity, gradient));
        // On the CPU the thread pool is entered once, not for each parameter. Work on a GPU stays on this thread, so that it
        // keeps its order.
        if parameters.first().is_some_and(|(weight, ..)| weight.device().is_cpu()) {
            rayon::scope(|_| all())
        } else {
            all()
        }
    }
}

/// `key ← m·key + (1-m)·query` for each pair, in place; on a GPU all in one launch.
pub(crate) fn moving_averages(pairs: &[(&Var, &Var)], m: f64) -> Result<()> {
    #[cfg(feature = "cuda")]
    if let Some((first, _)) = pairs.first()
        && on_gpu(first)
    {
        for (key, query) in pairs {
            same_shape("moving average", key, query)?;
        }
        let tensors: Vec<_> =
            pairs.iter().map(|(key, query)| (key.as_detached_tensor(), query.as_detached_tensor())).collect();
        return Ok(clsa_cuda::moving_average(&clsa_cuda::Cuda::of(first.device())?, &tensors, m)?);
    }
    let all = || pairs.iter().try_for_each(|(key, query)| moving_average(key, query, m));
    if pairs.first().is_some_and(|(key, _)| key.device().is_cpu()) { rayon::scope(|_| all()) } else { all() }
}

/// Whether the kernels of a GPU can update a variable.
#[cfg(feature = "cuda")]
fn on_gpu(var: &Var) -> bool {
    var.device().is_cuda() && var.dtype() == DType::F32
}

/// `key ← m·key + (1-m)·query`, in place.
fn moving_average(key: &Var, query: &Var, m: f64) -> Result<()> {
    same_shape("moving average", key, query)?;
    if in_place(key) {
        let (m, rest) = (m as f32, (1.0 - m) as f32);
        let update = |k: &mut [f32], q: &[f32]| {
            k.par_chunks_mut(CHUNK).zip(q.par_chunks(CHUNK)).for_each(|(k, q)| {
                for (k, q) in k.iter_mut().zip(q) {
                    *k = *k * m + q * rest;
                }
            });
        };
        read_f32(query, |q| write_f32(key, |k| update(k, q)))??;
    } else {
        key.set(&((key.as_detached_tensor() * m)? + (query.as_detached_tensor() * (1.0 - m))?)?)?;
    }
    Ok(())
}

fn same_shape(op: &'static str, lhs: &Tensor, rhs: &Tensor) -> candle_core::Result<()> {
    if lhs.dims() == rhs.dims() {
        return Ok(());
    }
    Err(candle_core::Error::ShapeMismatchBinaryOp { lhs: lhs.shape().clone(), rhs: rhs.shape().clone(), op }.bt())
}

fn in_place(var: &Var) -> bool {
    var.device().is_cpu() && var.dtype() == DType::F32 && var.is_contiguous()
}
