//! The engine of the CPU kernels: the backbone on a tape, the head in kernels of its own, or in Candle's operations where it has
//! batch norm.

use super::{Engine, PassEnd};
use crate::backbone::{CandlePass, Mode};
use crate::compute::EngineKind;
use crate::cpu::CpuKernels;
use crate::error::Result;
use crate::gradients::Gradients;
use crate::head::{HeadGraph, HeadPass};
use crate::kernels::{Element, InstructionSet};
use crate::network::Network;
use crate::pass::{Complete, Pass, Recorded};
use crate::tape::Tape;
use candle_core::{DType, Tensor};

/// CPU kernels on activations of type `E`. Their memory is kept between passes.
pub(super) struct CpuEngine<E> {
    kernels: CpuKernels<E>,
    bn_splits: usize,
}

impl<E: Element> CpuEngine<E> {
    pub fn open(bn_splits: usize) -> Result<Box<dyn Engine>> {
        Ok(Box::new(Self { kernels: CpuKernels::new(InstructionSet::chosen()?), bn_splits }))
    }

    fn tape(&self, mode: Mode, track: bool) -> Tape<CpuKernels<E>> {
        Tape::new(self.kernels.clone(), mode, self.bn_splits, track)
    }
}

impl<E: Element> Engine for CpuEngine<E> {
    fn kind(&self) -> EngineKind {
        EngineKind::Cpu
    }

    fn record(&self, network: &Network, images: &Tensor, end: PassEnd) -> Result<Pass> {
        let (features, tape) = in_pool(|| -> Result<_> {
            let mut tape = self.tape(Mode::Train, true);
            Ok((network.features(&mut tape, images, network.last_stage())?, tape))
        })?;
        match end {
            PassEnd::Features => Ok(Pass::new(features.clone(), features, TapePass { tape, head: None })),
            PassEnd::Embedding => {
                let head = RecordedHead::new(network, &features, self.bn_splits)?;
                Ok(Pass::new(head.embedding()?, features, TapePass { tape, head: Some(head) }))
            }
        }
    }

    fn features(&self, network: &Network, images: &Tensor, mode: Mode, stage: usize) -> Result<Tensor> {
        in_pool(|| network.features(&mut self.tape(mode, false), images, stage))
    }

    fn embed(&self, network: &Network, images: &Tensor, mode: Mode) -> Result<Tensor> {
        let features = self.features(network, images, mode, network.last_stage())?;
        if network.head.has_norm() {
            network.head.forward(&features, CandlePass::new(mode, DType::F32, false), self.bn_splits)
        } else {
            network.head.pass(&features)?.embedding()
        }
    }
}

/// The backbone's tape, and the head's pass where the pass does not end before it.
struct TapePass<E: Element> {
    tape: Tape<CpuKernels<E>>,
    head: Option<RecordedHead>,
}

enum RecordedHead {
    Kernels(HeadPass),
    Graph(HeadGraph),
}

impl RecordedHead {
    fn new(network: &Network, features: &Tensor, bn_splits: usize) -> Result<Self> {
        let Network { head, parameters, .. } = network;
        if head.has_norm() {
            let pass = CandlePass::new(Mode::Train, DType::F32, true);
            HeadGraph::new(head, features, pass, bn_splits, parameters).map(Self::Graph)
        } else {
            head.pass(features).map(Self::Kernels)
        }
    }

    fn embedding(&self) -> Result<Tensor> {
        match self {
            Self::Kernels(pass) => pass.embedding(),
            Self::Graph(graph) => Ok(graph.embedding()),
        }
    }

    fn backward(self, gradient: &Tensor, gradients: &mut Gradients, complete: &mut Complete<'_>) -> Result<Tensor> {
        match self {
            Self::Kernels(pass) => pass.backward(gradient, gradients, complete),
            Self::Graph(graph) => graph.backward(gradient, gradients, complete),
        }
    }
}

impl<E: Element> Recorded for TapePass<E> {
    fn backward(
        self: Box<Self>,
        gradient: &Tensor,
        gradients: &mut Gradients,
        complete: &mut Complete<'_>,
    ) -> Result<()> {
        let Self { tape, head } = *self;
        let features = match head {
            Some(head) => head.backward(gradient, gradients, complete)?,
            None => gradient.clone(),
        };
        in_pool(|| tape.backward(&features, gradients, complete))
    }
}

/// Runs a pass on a thread of rayon's pool. From outside, each of its hundreds of kernels would put its caller to sleep
/// and wake it up.
fn in_pool<R: Send>(pass: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| pass())
}
