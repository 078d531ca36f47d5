//! A backbone's pass recorded on a tape instead of a graph, over the kernels of any device.
//!
//! A training pass keeps one piece of memory for each convolution, its output: batch norm and ReLU are applied by whatever
//! reads it, forward and backward alike. Only where a residual is added, the sum is kept too, for the blocks that follow.

mod backward;
mod kernels;
mod record;

pub(crate) use kernels::{ConvCall, Kernels, Normalized, Source};

use crate::backbone::{Activation, BatchNorm, CandlePass, ConvBn, Mode, Ops, check_groups, check_residual};
use crate::error::{ModelError, Result};
use crate::kernels::BatchShape;
use candle_core::Tensor;
use record::{Node, Record, Residual, Values, dims};
use std::mem;
use std::sync::Arc;

/// One pass; where it is tracked, also the record that the backward pass reads.
pub(crate) struct Tape<K: Kernels> {
    kernels: K,
    mode: Mode,
    groups: usize,
    track: bool,
    records: Vec<Record<K>>,
    /// Activations that have a gradient.
    gradients: usize,
    /// Whether the features are there: the backward pass is given the gradient of one pooling.
    pooled: bool,
}

impl<K: Kernels> Tape<K> {
    /// A pass with batch norm over `groups` groups of the batch; with `track` it records what `backward` needs.
    pub fn new(kernels: K, mode: Mode, groups: usize, track: bool) -> Self {
        Self { kernels, mode, groups, track, records: Vec::new(), gradients: 0, pooled: false }
    }

    fn node(&mut self, shape: BatchShape, values: Values<K>) -> Node<K> {
        self.gradients += 1;
        Node { gradient: Some(self.gradients - 1), shape, values }
    }

    fn record(&mut self, record: impl FnOnce() -> Record<K>) {
        if self.track {
            self.records.push(record());
        }
    }

    /// The groups of a batch of `n` images that batch norm sees: one in evaluation, where statistics are constants.
    fn groups_of(&self, n: usize) -> Result<usize> {
        match self.mode {
            Mode::Eval => Ok(1),
            Mode::Train => check_groups(self.groups, n).map(|()| self.groups),
        }
    }

    /// What a tape cannot do for a backbone, and the portable engine can.
    fn refusal(what: &str) -> ModelError {
        ModelError::config("backend", K::BACKEND, format!("this backbone {what}; use portable"))
    }

    /// With the statistics of the batch.
    fn conv_bn_train(
        &mut self,
        conv: ConvCall<'_>,
        output: BatchShape,
        x: &Node<K>,
        residual: Option<&Node<K>>,
        relu: bool,
    ) -> Result<Activation> {
        BatchNorm::values_per_group(conv.groups, dims(output))?;
        let (z, norm) = self.kernels.conv_forward(conv, x.values.source())?;
        let own = Arc::new(Normalized { shape: output, z, norm, relu });
        let (y, residual) = match residual {
            None => (self.node(output, Values::Normalized(Arc::clone(&own))), None),
            Some(residual) => {
                let sum = Arc::new(self.kernels.normalize(&own, Some(residual.values.source()))?);
                let kept = Residual { gradient: residual.gradient, sum: Arc::clone(&sum) };
                (self.node(output, Values::Stored(sum)), Some(kept))
            }
        };
        let (unit, shape) = (conv.unit, conv.shape);
        self.record(|| Record::ConvBn { x: x.clone(), unit: unit.clone(), shape, own, residual, y: y.gradient });
        Ok(Activation::new(y))
    }

    /// With the running statistics.
    fn conv_bn_eval(
        &mut self,
        conv: ConvCall<'_>,
        output: BatchShape,
        x: &Node<K>,
        residual: Option<&Node<K>>,
        relu: bool,
    ) -> Result<Activation> {
        let x = x.values.source().values(&self.kernels)?;
        let residual = residual.map(|r| r.values.source().values(&self.kernels)).transpose()?;
        let out = self.kernels.conv_eval(conv, &x, residual.as_deref(), relu)?;
        Ok(Activation::new(self.node(output, Values::Stored(Arc::new(out)))))
    }
}

impl<K: Kernels> Ops for Tape<K> {
    fn image(&mut self, images: &Tensor) -> Result<Activation> {
        let (batch, channels, height, width) = images.dims4()?;
        let values = Values::Stored(Arc::new(self.kernels.image(images)?));
        // Images need no gradient.
        let shape = BatchShape { batch, height, width, channels };
        Ok(Activation::new(Node::<K> { gradient: None, shape, values }))
    }

    fn conv_bn(
        &mut self,
        x: &Activation,
        unit: &ConvBn,
        residual: Option<&Activation>,
        relu: bool,
    ) -> Result<Activation> {
        let x = x.get::<Node<K>>()?;
        let residual = residual.map(Activation::get::<Node<K>>).transpose()?;
        unit.conv.check_input(x.dims())?;
        let shape = unit.conv.shape(x.shape.batch, x.shape.height, x.shape.width);
        let output = shape.output_batch();
        if let Some(residual) = residual {
            check_residual(residual.dims(), dims(output))?;
        }
        let conv = ConvCall { unit, shape, groups: self.groups_of(shape.batch)? };
        match self.mode {
            Mode::Train => self.conv_bn_train(conv, output, x, residual, relu),
            Mode::Eval => self.conv_bn_eval(conv, output, x, residual, relu),
        }
    }

    fn max_pool(&mut self, x: &Activation) -> Result<Activation> {
        let x = x.get::<Node<K>>()?;
        let BatchShape { batch, height, width, channels } = x.shape;
        let output = BatchShape { batch, height: height.div_ceil(2), width: width.div_ceil(2), channels };
        let (out, choices) = self.kernels.max_pool(x.shape, x.values.source())?;
        let y = self.node(output, Values::Stored(Arc::new(out)));
        self.record(|| Record::MaxPool { x: x.reference(), choices, y: y.gradient });
        Ok(Activation::new(y))
    }

    fn global_avg_pool(&mut self, x: &Activation) -> Result<Tensor> {
        if mem::replace(&mut self.pooled, true) {
            return Err(Self::refusal("pools over all positions more than once in a pass"));
        }
        let x = x.get::<Node<K>>()?;
        let features = self.kernels.global_avg_pool(x.shape, &*x.values.source().values(&self.kernels)?)?;
        self.record(|| Record::GlobalAvgPool { x: x.reference() });
        Ok(features)
    }

    fn candle(&self) -> Result<CandlePass> {
        Err(Self::refusal("asks for Candle's operations"))
    }

    fn tensor(&self, _: &Activation) -> Result<Tensor> {
        Err(Self::refusal("asks for Candle's operations"))
    }
}

#[cfg(test)]
mod tests;
