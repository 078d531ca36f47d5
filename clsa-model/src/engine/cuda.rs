//! The engine of the GPU's kernels: the backbone on a tape, the head in Candle's operations.

use super::{Engine, PassEnd};
use crate::backbone::{CandlePass, Mode};
use crate::compute::EngineKind;
use crate::cuda::CudaKernels;
use crate::error::Result;
use crate::gradients::Gradients;
use crate::head::HeadGraph;
use crate::network::Network;
use crate::pass::{Complete, Pass, Recorded};
use crate::tape::Tape;
use candle_core::{DType, Device, Tensor};
use clsa_cuda::{Gpu, Ops};

/// Kernels of a GPU on activations of one type.
pub(crate) struct CudaEngine<G: Gpu> {
    kernels: CudaKernels<G>,
    bn_splits: usize,
}

impl<G: Gpu> CudaEngine<G> {
    pub fn open(ops: Ops<G>, device: &Device, bn_splits: usize) -> Box<dyn Engine> {
        Box::new(Self { kernels: CudaKernels::new(ops, device), bn_splits })
    }

    fn tape(&self, mode: Mode, track: bool) -> Tape<CudaKernels<G>> {
        Tape::new(self.kernels.for_pass(), mode, self.bn_splits, track)
    }
}

impl<G: Gpu> Engine for CudaEngine<G> {
    fn kind(&self) -> EngineKind {
        EngineKind::Cuda
    }

    fn record(&self, network: &Network, images: &Tensor, end: PassEnd) -> Result<Pass> {
        let mut tape = self.tape(Mode::Train, true);
        let features = network.features(&mut tape, images, network.last_stage())?;
        match end {
            PassEnd::Features => Ok(Pass::new(features.clone(), features, TapePass { tape, head: None })),
            PassEnd::Embedding => {
                let pass = CandlePass::new(Mode::Train, DType::F32, true);
                let head = HeadGraph::new(&network.head, &features, pass, self.bn_splits, &network.parameters)?;
                Ok(Pass::new(head.embedding(), features, TapePass { tape, head: Some(head) }))
            }
        }
    }

    fn features(&self, network: &Network, images: &Tensor, mode: Mode, stage: usize) -> Result<Tensor> {
        network.features(&mut self.tape(mode, false), images, stage)
    }

    fn embed(&self, network: &Network, images: &Tensor, mode: Mode) -> Result<Tensor> {
        let features = self.features(network, images, mode, network.last_stage())?;
        network.head.forward(&features, CandlePass::new(mode, DType::F32, false), self.bn_splits)
    }
}

/// The backbone's tape, and the head's graph where the pass does not end before it.
struct TapePass<G: Gpu> {
    tape: Tape<CudaKernels<G>>,
    head: Option<HeadGraph>,
}

impl<G: Gpu> Recorded for TapePass<G> {
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
        tape.backward(&features, gradients, complete)
    }
}
