//! A backbone and its projection head, with the tensors of both.

use crate::backbone::{Architecture, Backbone, Builder, Ops, Stage};
use crate::error::{ModelError, Result};
use crate::head::{self, Head};
use crate::parameters::{Parameter, RunningStatistic};
use candle_core::Tensor;
use std::sync::Arc;

/// Images to embeddings: what an engine computes.
pub(crate) struct Network {
    backbone: Box<dyn Backbone>,
    pub head: Head,
    pub parameters: Arc<[Parameter]>,
    pub statistics: Vec<RunningStatistic>,
}

impl Network {
    pub fn new(architecture: &dyn Architecture, mut builder: Builder) -> Result<Self> {
        let backbone = architecture.build(&mut builder)?;
        let names = builder.parameters().iter().map(|p| &p.name);
        let names = names.chain(builder.running_statistics().iter().map(|s| &s.name));
        if let Some(name) = names.into_iter().find(|name| head::owns(name)) {
            return Err(ModelError::StateDict(format!("{name} is of the backbone and named as the head's")));
        }
        let features = last(backbone.stages())?.channels;
        let head = Head::new(&mut builder, architecture.head(), features, architecture.embedding_dim())?;
        let (parameters, statistics) = builder.into_parts();
        Ok(Self { backbone, head, parameters: parameters.into(), statistics })
    }

    pub fn stages(&self) -> &[Stage] {
        self.backbone.stages()
    }

    /// Number of the last stage, whose features the head sees.
    pub fn last_stage(&self) -> usize {
        self.stages().len() - 1
    }

    /// The backbone's pass: images (N, 3, H, W) to the pooled features (N, C) of a stage.
    pub fn features(&self, ops: &mut dyn Ops, images: &Tensor, stage: usize) -> Result<Tensor> {
        let features = self.backbone.forward(ops, images, stage)?;
        let expected = [images.dim(0)?, self.stages()[stage].channels];
        if features.dims() != expected {
            let expected = format!("{expected:?}, its features of stage {stage}");
            return Err(ModelError::shape("the backbone's result", features.dims(), expected));
        }
        Ok(features)
    }
}

fn last(stages: &[Stage]) -> Result<&Stage> {
    stages.last().ok_or_else(|| ModelError::config("stages", "empty", "a backbone has at least one stage"))
}
