//! A pass of the projection head in Candle's graph, for engines whose backbone is on a tape.

use super::Head;
use crate::backbone::CandlePass;
use crate::error::Result;
use crate::gradients::Gradients;
use crate::graph_backward::graph_backward;
use crate::parameters::Parameter;
use crate::pass::Complete;
use candle_core::{Tensor, Var};
use std::sync::Arc;

/// Candle's graph from the features to the embedding.
pub(crate) struct HeadGraph {
    /// Where the graph begins.
    features: Var,
    graph: Tensor,
    parameters: Arc<[Parameter]>,
}

impl HeadGraph {
    /// Takes features (N, d). `parameters` are the whole network's.
    pub fn new(
        head: &Head,
        features: &Tensor,
        pass: CandlePass,
        bn_splits: usize,
        parameters: &Arc<[Parameter]>,
    ) -> Result<Self> {
        let features = Var::from_tensor(features)?;
        let graph = head.forward(features.as_tensor(), pass, bn_splits)?;
        Ok(Self { features, graph, parameters: Arc::clone(parameters) })
    }

    /// The embeddings (N, dim), without graph.
    pub fn embedding(&self) -> Tensor {
        self.graph.detach()
    }

    /// From the gradient of the embeddings (N, dim) to that of the features (N, d); the parameters' are added to
    /// `gradients` and then complete.
    pub fn backward(self, gradient: &Tensor, gradients: &mut Gradients, complete: &mut Complete<'_>) -> Result<Tensor> {
        let mut store = graph_backward(self.graph, gradient, &self.parameters, gradients, complete)?;
        let features = store.remove(&self.features);
        Ok(features.map_or_else(|| self.features.zeros_like(), Ok)?)
    }
}
