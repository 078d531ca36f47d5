//! The backward pass over a tape: which gradients are open, and what is added to what.

use super::record::{Node, Record, Residual};
use super::{ConvCall, Kernels, Normalized, Tape};
use crate::backbone::ConvBn;
use crate::error::Result;
use crate::gradients::Gradients;
use crate::kernels::ConvShape;
use crate::pass::Complete;
use candle_core::Tensor;
use std::collections::HashMap;

/// The gradients of activations that are known and not yet propagated.
struct Open<K: Kernels>(Vec<Option<K::Memory>>);

impl<K: Kernels> Open<K> {
    fn take(&mut self, place: Option<usize>) -> Option<K::Memory> {
        self.0[place?].take()
    }

    /// Adds a contribution to the gradient at `place`.
    fn add(&mut self, place: Option<usize>, gradient: K::Memory, kernels: &K) -> Result<()> {
        let Some(place) = place else { return Ok(()) };
        match &mut self.0[place] {
            Some(sum) => kernels.add(sum, &gradient)?,
            slot => *slot = Some(gradient),
        }
        Ok(())
    }
}

impl<K: Kernels> Tape<K> {
    /// Propagates the gradient of the pooled features (N, C) back through the pass, adds the parameters' gradients to
    /// `gradients`, and frees the pass's memory on the way. `complete` is called with each parameter that the rest of the pass does
    /// not use.
    pub fn backward(mut self, features: &Tensor, gradients: &mut Gradients, complete: &mut Complete<'_>) -> Result<()> {
        let mut open = Open::<K>((0..self.gradients).map(|_| None).collect());
        let mut uses = Uses::of(&self.records);
        while let Some(record) = self.records.pop() {
            match record {
                Record::GlobalAvgPool { x } => {
                    let dx = self.kernels.global_avg_pool_backward(x.shape, features)?;
                    open.add(x.gradient, dx, &self.kernels)?;
                }
                Record::MaxPool { x, choices, y } => {
                    if let Some(dy) = open.take(y) {
                        let dx = self.kernels.max_pool_backward(x.shape, &choices, &dy)?;
                        open.add(x.gradient, dx, &self.kernels)?;
                    }
                }
                Record::ConvBn { x, unit, shape, own, residual, y } => {
                    if let Some(dy) = open.take(y) {
                        let unit = Unit { x: &x, unit: &unit, shape, own: &own, residual: residual.as_ref() };
                        self.conv_bn_backward(unit, dy, &mut open, gradients)?;
                    }
                    uses.end(&unit, gradients, complete);
                }
            }
        }
        Ok(())
    }

    fn conv_bn_backward(
        &self,
        unit: Unit<'_, K>,
        mut dy: K::Memory,
        open: &mut Open<K>,
        gradients: &mut Gradients,
    ) -> Result<()> {
        let Unit { x, unit, shape, own, residual } = unit;
        let kernels = &self.kernels;
        let dz = match residual {
            None => kernels.norm_backward(&unit.bn, own, dy, gradients)?,
            Some(residual) => {
                let dz = kernels.sum_backward(&unit.bn, own, &residual.sum, &mut dy, gradients)?;
                open.add(residual.gradient, dy, kernels)?;
                dz
            }
        };
        let conv = ConvCall { unit, shape, groups: self.groups_of(shape.batch)? };
        kernels.conv_backward_weight(conv, x.values.source(), &dz, gradients)?;
        if let Some(place) = x.gradient {
            let before = open.0[place].take();
            open.0[place] = Some(kernels.conv_backward_data(conv, &dz, before)?);
        }
        Ok(())
    }
}

/// How often the rest of a backward pass uses each parameter: a backbone may apply the same one more than once.
struct Uses(HashMap<usize, usize>);

impl Uses {
    fn of<K: Kernels>(records: &[Record<K>]) -> Self {
        let mut uses = HashMap::new();
        for record in records {
            if let Record::ConvBn { unit, .. } = record {
                indices(unit).into_iter().for_each(|index| *uses.entry(index).or_default() += 1);
            }
        }
        Self(uses)
    }

    /// After the backward step of a unit.
    fn end(&mut self, unit: &ConvBn, gradients: &Gradients, complete: &mut Complete<'_>) {
        for index in indices(unit) {
            let rest = self.0.entry(index).or_default();
            *rest = rest.saturating_sub(1);
            if let (0, Some(gradient)) = (*rest, gradients.get(index)) {
                complete(index, gradient);
            }
        }
    }
}

fn indices(unit: &ConvBn) -> [usize; 3] {
    [unit.conv.weight.index, unit.bn.weight.index, unit.bn.bias.index]
}

/// A unit's record.
struct Unit<'a, K: Kernels> {
    x: &'a Node<K>,
    unit: &'a ConvBn,
    shape: ConvShape,
    own: &'a Normalized<K>,
    residual: Option<&'a Residual<K>>,
}
