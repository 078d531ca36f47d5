//! The backbone that a configuration stands for, by the family of its architecture.

use crate::arch::Family;
use crate::backbone::resnet::ResNet;
use crate::backbone::{Architecture, Backbone, Builder};
use crate::config::ModelConfig;
use crate::error::Result;
use crate::head_config::HeadConfig;

impl Architecture for ModelConfig {
    fn embedding_dim(&self) -> usize {
        self.dim
    }

    fn head(&self) -> HeadConfig {
        self.head
    }

    fn build(&self, builder: &mut Builder) -> Result<Box<dyn Backbone>> {
        self.validate()?;
        match self.arch.family() {
            Family::ResNet(shape) => Ok(Box::new(ResNet::new(shape, self, builder)?)),
        }
    }
}
