//! The engine of Candle's operations: any device, any floating-point type, gradients by Candle's graph.

use super::{Engine, PassEnd};
use crate::backbone::{CandlePass, Mode};
use crate::compute::{Compute, EngineKind, Precision};
use crate::error::Result;
use crate::gradients::Gradients;
use crate::graph_backward::graph_backward;
use crate::network::Network;
use crate::parameters::Parameter;
use crate::pass::{Complete, Pass, Recorded};
use crate::portable::Portable;
use candle_core::{DType, Tensor};
use std::sync::Arc;

/// Candle operations on activations of one type.
pub(super) struct PortableEngine {
    dtype: DType,
    bn_splits: usize,
}

impl PortableEngine {
    pub fn new(compute: Compute) -> Self {
        let dtype = match compute.precision {
            Precision::F32 => DType::F32,
            Precision::F64 => DType::F64,
            Precision::Bf16 => DType::BF16,
        };
        Self { dtype, bn_splits: compute.bn_splits }
    }

    fn pass(&self, mode: Mode, track: bool) -> CandlePass {
        CandlePass::new(mode, self.dtype, track)
    }

    fn ops(&self, mode: Mode, track: bool) -> Portable {
        Portable { pass: self.pass(mode, track), bn_splits: self.bn_splits }
    }
}

impl Engine for PortableEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Portable
    }

    fn record(&self, network: &Network, images: &Tensor, end: PassEnd) -> Result<Pass> {
        let features = network.features(&mut self.ops(Mode::Train, true), images, network.last_stage())?;
        let detached = features.detach();
        let graph = match end {
            PassEnd::Features => features,
            PassEnd::Embedding => network.head.forward(&features, self.pass(Mode::Train, true), self.bn_splits)?,
        };
        Ok(Pass::new(graph.detach(), detached, GraphPass { graph, parameters: Arc::clone(&network.parameters) }))
    }

    fn features(&self, network: &Network, images: &Tensor, mode: Mode, stage: usize) -> Result<Tensor> {
        // Layers of Candle's own record a graph in any pass.
        Ok(network.features(&mut self.ops(mode, false), images, stage)?.detach())
    }

    fn embed(&self, network: &Network, images: &Tensor, mode: Mode) -> Result<Tensor> {
        let features = self.features(network, images, mode, network.last_stage())?;
        network.head.forward(&features, self.pass(mode, false), self.bn_splits)
    }
}

/// Candle's graph of a pass.
struct GraphPass {
    graph: Tensor,
    parameters: Arc<[Parameter]>,
}

impl Recorded for GraphPass {
    fn backward(
        self: Box<Self>,
        gradient: &Tensor,
        gradients: &mut Gradients,
        complete: &mut Complete<'_>,
    ) -> Result<()> {
        graph_backward(self.graph, gradient, &self.parameters, gradients, complete).map(drop)
    }
}
