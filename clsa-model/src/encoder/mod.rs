//! The encoder: backbone and projection head, and its passes.

mod state_dict;

use crate::backbone::{Architecture, Builder, Mode, Ops, Stage};
use crate::compute::{Backend, Compute, EngineKind, Precision};
use crate::engine::{self, Engine, PassEnd};
use crate::error::{ModelError, Result};
use crate::feature_stage::FeatureStage;
use crate::network::Network;
use crate::parameters::{Parameter, RunningStatistic};
use crate::pass::Pass;
use candle_core::{DType, Device, Tensor};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A backbone with a projection head: images to embeddings of unit length.
///
/// # Examples
///
/// A training step on one view:
///
/// ```
/// use clsa_model::candle_core::{DType, Device, Tensor};
/// use clsa_model::{Arch, Compute, Encoder, Gradients, ModelConfig, Stem};
///
/// let config = ModelConfig { arch: Arch::Resnet10, stem: Stem::Cifar, width: 0.25, ..ModelConfig::default() };
/// let encoder = Encoder::new(&config, Compute::default(), 0, &Device::Cpu)?;
/// let images = Tensor::zeros((8, 3, 32, 32), DType::F32, &Device::Cpu)?;
///
/// let pass = encoder.forward(&images)?;
/// assert_eq!(pass.embedding().dims(), [8, 128]);
/// let upstream = pass.embedding().ones_like()?; // of a loss
/// let mut gradients = Gradients::new(encoder.parameters().len());
/// pass.backward(&upstream, &mut gradients)?;
///
/// assert_eq!(encoder.features(&images)?.dims(), [8, encoder.feature_dim()]);
/// # Ok::<(), clsa_model::ModelError>(())
/// ```
pub struct Encoder {
    architecture: Arc<dyn Architecture>,
    compute: Compute,
    device: Device,
    network: Network,
    /// Training passes so far.
    batches: Arc<AtomicU64>,
    engine: Box<dyn Engine>,
    feature_stage: FeatureStage,
}

impl Encoder {
    /// Builds an encoder with random weights, all drawn from `seed` and the parameter's name: those of a
    /// [`ModelConfig`](crate::ModelConfig) are Kaiming normal (fan-out) convolutions, norms at 1 and 0, linear layers as
    /// torch's `nn.Linear`.
    ///
    /// # Errors
    /// A configuration value is out of range, the backend cannot do what is asked, `CLSA_KERNELS` names instructions that
    /// this processor lacks (where the CPU kernels are used), or a tensor operation fails.
    pub fn new<A>(architecture: &A, compute: Compute, seed: u64, device: &Device) -> Result<Self>
    where
        A: Architecture + Clone + 'static,
    {
        Self::build(Arc::new(architecture.clone()), compute, seed, device)
    }

    fn build(architecture: Arc<dyn Architecture>, compute: Compute, seed: u64, device: &Device) -> Result<Self> {
        let dtype = match compute.precision {
            Precision::F32 | Precision::Bf16 => DType::F32,
            Precision::F64 => DType::F64,
        };
        let network = Network::new(architecture.as_ref(), Builder::new(seed, dtype, device))?;
        let engine = engine::open(compute, device, architecture.needs_candle(), &network)?;
        let (device, batches, feature_stage) = (device.clone(), Arc::default(), FeatureStage::Backbone);
        Ok(Self { architecture, compute, device, network, batches, engine, feature_stage })
    }

    /// Another encoder of the same architecture, computed in the same way on the same device, with equal parameters and
    /// statistics of its own.
    ///
    /// # Errors
    /// A tensor operation fails.
    pub fn twin(&self) -> Result<Self> {
        let mut twin = Self::build(Arc::clone(&self.architecture), self.compute, 0, &self.device)?;
        twin.copy_from(self)?;
        twin.feature_stage.clone_from(&self.feature_stage);
        Ok(twin)
    }

    /// How it was asked to be computed.
    pub fn compute(&self) -> Compute {
        self.compute
    }

    /// What computes its passes.
    pub fn engine(&self) -> EngineKind {
        self.engine.kind()
    }

    /// Why a GPU, whose kernels neither the backbone nor [`Self::compute`] declines, computes this encoder without them, many times
    /// slower: in words. None for any other encoder.
    pub fn without_kernels(&self) -> Option<&'static str> {
        let Compute { backend, precision, .. } = self.compute;
        let declined = backend == Backend::Portable || precision == Precision::F64 || self.architecture.needs_candle();
        (!declined && self.device.is_cuda() && self.engine() == EngineKind::Portable).then_some(
            "the GPU's kernels need channels in multiples of 8, and convolutions of at most 21 x 21: this network is computed in \
             Candle's operations, many times slower",
        )
    }

    /// Where the parameters are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Where features can be taken, from the first to the last: `layer1` to `layer4` of a residual network.
    pub fn stages(&self) -> &[Stage] {
        self.network.stages()
    }

    /// Where [`Self::features`] are taken.
    pub fn feature_stage(&self) -> &FeatureStage {
        &self.feature_stage
    }

    /// Says where [`Self::features`] are taken from now on; at first it is the backbone's last stage. Training is as before.
    ///
    /// # Errors
    /// There is no such stage.
    pub fn set_feature_stage(&mut self, stage: FeatureStage) -> Result<()> {
        if let FeatureStage::Stage(name) = &stage
            && self.stages().iter().all(|known| known.name != *name)
        {
            let names: Vec<&str> = self.stages().iter().map(|stage| stage.name.as_str()).collect();
            return Err(ModelError::config("stage", name, format!("use backbone, embedding, {}", names.join(" or "))));
        }
        self.feature_stage = stage;
        Ok(())
    }

    /// Size of [`Self::features`]. Those of the last stage, which the projection head sees, are 2048 for ResNet-50.
    pub fn feature_dim(&self) -> usize {
        match self.backbone_stage() {
            Some(stage) => self.stages()[stage].channels,
            None => self.embedding_dim(),
        }
    }

    /// Number of the stage whose features are taken; none for the embedding.
    fn backbone_stage(&self) -> Option<usize> {
        match &self.feature_stage {
            FeatureStage::Backbone => Some(self.network.last_stage()),
            FeatureStage::Embedding => None,
            FeatureStage::Stage(name) => self.stages().iter().position(|stage| stage.name == *name),
        }
    }

    /// Size of the embedding.
    pub fn embedding_dim(&self) -> usize {
        self.architecture.embedding_dim()
    }

    /// The trained tensors, in a fixed order, named as torchvision names them.
    pub fn parameters(&self) -> &[Parameter] {
        &self.network.parameters
    }

    /// The running statistics.
    pub fn running_statistics(&self) -> &[RunningStatistic] {
        &self.network.statistics
    }

    /// What counts the training passes.
    pub(crate) fn batch_counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.batches)
    }

    /// Images (N, 3, H, W), of any strides (channels-last costs no copy on the CPU), to a training pass: batch norm
    /// over this batch, running statistics updated, ready for [`Pass::backward`].
    ///
    /// # Errors
    /// The images have another shape, `bn_splits` does not divide the batch, or the batch is too small for batch norm.
    pub fn forward(&self, images: &Tensor) -> Result<Pass> {
        self.record(images, PassEnd::Embedding)
    }

    /// As [`Self::forward`], but the pass ends at the pooled features (N, C) of the last stage, before the projection head:
    /// for a classifier that is trained together with the backbone. They take the place of the embedding.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn forward_features(&self, images: &Tensor) -> Result<Pass> {
        self.record(images, PassEnd::Features)
    }

    fn record(&self, images: &Tensor, end: PassEnd) -> Result<Pass> {
        check_images(images)?;
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.engine.record(&self.network, images, end)
    }

    /// Images (N, 3, H, W) to embeddings (N, dim) without gradient. In [`Mode::Train`], as the key encoder does, batch
    /// norm is over this batch and the running statistics are updated.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn embed(&self, images: &Tensor, mode: Mode) -> Result<Tensor> {
        check_images(images)?;
        match mode {
            Mode::Train => {
                self.batches.fetch_add(1, Ordering::Relaxed);
            }
            Mode::Eval => {}
        }
        self.engine.embed(&self.network, images, mode)
    }

    /// Images (N, 3, H, W) to features (N, C) in evaluation mode: what a linear probe sees. Taken at [`Self::feature_stage`], the
    /// pooled features of the backbone's last stage if nothing else was said. Batch norm is that of the running statistics: folded
    /// into the convolutions by the CPU kernels and in portable operations, applied behind each convolution by the kernels of a GPU.
    ///
    /// # Errors
    /// The images have another shape.
    pub fn features(&self, images: &Tensor) -> Result<Tensor> {
        match self.backbone_stage() {
            Some(stage) => self.features_at(images, stage),
            None => self.embed(images, Mode::Eval),
        }
    }

    /// As [`Self::features`], the pooled features of stage number `stage` of [`Self::stages`].
    ///
    /// # Errors
    /// The images have another shape, or there is no such stage.
    pub fn features_at(&self, images: &Tensor, stage: usize) -> Result<Tensor> {
        check_images(images)?;
        if stage >= self.stages().len() {
            return Err(ModelError::config("stage", stage, format!("use a number below {}", self.stages().len())));
        }
        self.engine.features(&self.network, images, Mode::Eval, stage)
    }

    /// The backbone's pass, up to its last stage, by other operations than the engine's.
    pub(crate) fn backbone_pass(&self, ops: &mut dyn Ops, images: &Tensor) -> Result<Tensor> {
        self.network.features(ops, images, self.network.last_stage())
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("architecture", &self.architecture)
            .field("compute", &self.compute)
            .field("engine", &self.engine())
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

fn check_images(images: &Tensor) -> Result<()> {
    match images.dims() {
        [n, 3, h, w] if n * h * w > 0 => Ok(()),
        got => Err(ModelError::shape("the batch of images", got, "(N, 3, H, W)")),
    }
}
