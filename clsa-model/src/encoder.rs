//! The encoder: backbone and projection head, its passes, and its state dictionary.

use crate::config::{Backend, Compute, ModelConfig, Precision};
use crate::cpu::Tape;
use crate::error::{ModelError, Result};
use crate::head::{Head, HeadPass};
use crate::kernels::{Element, InstructionSet, MemoryPool};
use crate::ops::Mode;
use crate::params::{Buffer, Builder, Gradients, Parameter};
use crate::portable::Portable;
use crate::resnet::{ResNet, Stage};
use candle_core::{DType, Device, Tensor};
use half::bf16;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// A residual network with a projection head: images to embeddings of unit length.
#[derive(Debug)]
pub struct Encoder {
    config: ModelConfig,
    compute: Compute,
    device: Device,
    backbone: ResNet,
    head: Head,
    parameters: Vec<Parameter>,
    buffers: Vec<Buffer>,
    batches: AtomicU64,
    /// What the CPU kernels are computed with.
    instructions: InstructionSet,
    /// Memory of the CPU kernels' activations, kept between passes.
    pool: MemoryPool,
}

/// A training pass of one view: its embedding, and what the way back needs.
#[must_use = "a pass holds its activations until it is dropped or taken backward"]
pub struct Pass {
    embedding: Tensor,
    way: Way,
}

/// How a pass is taken back.
enum Way {
    /// Candle's graph of portable operations.
    Graph { graph: Tensor, parameters: Vec<Parameter> },
    /// The CPU kernels' tape of the backbone, and the head's where the pass does not end before it.
    Tape { backbone: Box<AnyTape>, head: Option<Box<HeadPass>> },
}

/// A tape of either precision.
enum AnyTape {
    F32(Tape<f32>),
    Bf16(Tape<bf16>),
}

impl Encoder {
    /// Builds an encoder with random weights: Kaiming normal (fan-out) convolutions, norms at 1 and 0, linears as
    /// torch's `nn.Linear`, all drawn from `seed` and the parameter's name.
    ///
    /// # Errors
    /// A configuration value is out of range, the backend cannot do what is asked, or a tensor operation fails.
    pub fn new(config: &ModelConfig, compute: Compute, seed: u64, device: &Device) -> Result<Self> {
        config.validate()?;
        let compute = Compute { backend: resolve(compute, device)?, ..compute };
        let instructions = InstructionSet::chosen().map_err(|error| ModelError::Config {
            key: "the environment variable CLSA_KERNELS",
            value: error.value,
            expected: "use avx512, avx2 or scalar, and none that this processor lacks, or leave it unset".to_owned(),
        })?;
        let dtype = if compute.precision == Precision::F64 { DType::F64 } else { DType::F32 };
        let mut builder = Builder::new(seed, dtype, device);
        let backbone = ResNet::new(config, &mut builder)?;
        let head = Head::new(&mut builder, config.feature_dim(), config.dim)?;
        Ok(Self {
            config: config.clone(),
            compute,
            device: device.clone(),
            backbone,
            head,
            parameters: builder.parameters,
            buffers: builder.buffers,
            batches: AtomicU64::new(0),
            instructions,
            pool: MemoryPool::default(),
        })
    }

    /// The shape of the network.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// How it is computed; the backend is never [`Backend::Auto`].
    pub fn compute(&self) -> Compute {
        self.compute
    }

    /// Where the parameters are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The trained tensors, in a fixed order, named as torchvision names them.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The running statistics.
    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// Images (N, 3, H, W), of any strides (channels-last costs no copy on the CPU), to a training pass: batch norm
    /// over this batch, running statistics updated, ready to be taken backward.
    ///
    /// # Errors
    /// The images have another shape, or the batch is too small for batch norm.
    pub fn forward(&self, images: &Tensor) -> Result<Pass> {
        let pass = self.forward_features(images)?;
        match pass.way {
            Way::Graph { graph, parameters } => {
                let graph = self.head.forward(&graph, true)?;
                Ok(Pass { embedding: graph.detach(), way: Way::Graph { graph, parameters } })
            }
            Way::Tape { backbone, .. } => {
                let head = self.head.pass(&pass.embedding)?;
                Ok(Pass { embedding: head.embedding()?, way: Way::Tape { backbone, head: Some(Box::new(head)) } })
            }
        }
    }

    /// As [`Self::forward`], but the pass ends at the pooled features (N, C) of `layer4`, before the projection head: for
    /// a classifier that is trained together with the backbone. They take the place of the embedding.
    ///
    /// # Errors
    /// The images have another shape, or the batch is too small for batch norm.
    pub fn forward_features(&self, images: &Tensor) -> Result<Pass> {
        self.check(images)?;
        self.batches.fetch_add(1, Ordering::Relaxed);
        if self.compute.backend != Backend::Cpu {
            let graph = self.backbone.forward(&mut self.portable(Mode::Train, true), images, Stage::Layer4)?;
            let parameters = self.parameters.clone();
            return Ok(Pass { embedding: graph.detach(), way: Way::Graph { graph, parameters } });
        }
        let (embedding, backbone) = in_pool(|| -> Result<_> {
            Ok(if self.compute.precision == Precision::Bf16 {
                let mut tape = self.tape(Mode::Train, true);
                (self.backbone.forward(&mut tape, images, Stage::Layer4)?, AnyTape::Bf16(tape))
            } else {
                let mut tape = self.tape(Mode::Train, true);
                (self.backbone.forward(&mut tape, images, Stage::Layer4)?, AnyTape::F32(tape))
            })
        })?;
        Ok(Pass { embedding, way: Way::Tape { backbone: Box::new(backbone), head: None } })
    }

    /// Images (N, 3, H, W) to embeddings (N, dim) without gradient. In [`Mode::Train`], as the key encoder does, batch
    /// norm is over this batch and the running statistics follow.
    ///
    /// # Errors
    /// The images have another shape, or the batch is too small for batch norm.
    pub fn embed(&self, images: &Tensor, mode: Mode) -> Result<Tensor> {
        self.check(images)?;
        if mode == Mode::Train {
            self.batches.fetch_add(1, Ordering::Relaxed);
        }
        let features = self.pooled(images, mode, Stage::Layer4)?;
        match self.compute.backend {
            Backend::Cpu => self.head.pass(&features)?.embedding(),
            _ => self.head.forward(&features, false),
        }
    }

    /// Images (N, 3, H, W) to the pooled features (N, C) of a stage in evaluation mode, with batch norm folded into the
    /// convolutions: what a linear probe sees.
    ///
    /// # Errors
    /// The images have another shape.
    pub fn features(&self, images: &Tensor, stage: Stage) -> Result<Tensor> {
        self.check(images)?;
        self.pooled(images, Mode::Eval, stage)
    }

    /// Parameters, running statistics and batch counts by torchvision's names, as `state_dict()` gives them.
    ///
    /// # Errors
    /// A tensor operation fails.
    pub fn state_dict(&self) -> Result<HashMap<String, Tensor>> {
        let parameters = self.parameters.iter().map(|p| (p.name.clone(), p.var.as_detached_tensor()));
        let buffers = self.buffers.iter().map(|b| (b.name.clone(), b.var.as_detached_tensor()));
        let mut state: HashMap<_, _> = parameters.chain(buffers).collect();
        let batches = Tensor::new(self.batches.load(Ordering::Relaxed) as i64, &Device::Cpu)?;
        for name in self.batch_count_names() {
            state.insert(name, batches.clone());
        }
        Ok(state)
    }

    /// Takes over all parameters and running statistics. Batch counts may be absent, and a file without a projection
    /// head (`fc.*`) is an error here: see [`Self::load_backbone`].
    ///
    /// # Errors
    /// Lists every tensor that is missing, unexpected or of another shape; then nothing is changed.
    pub fn load_state_dict(&self, state: &HashMap<String, Tensor>) -> Result<()> {
        self.load(state, |_| true)
    }

    /// Takes over the backbone's parameters and running statistics and leaves the projection head as it is. Tensors
    /// of any head (`fc.*`) in `state` are passed over.
    ///
    /// # Errors
    /// Lists every tensor of the backbone that is missing, unexpected or of another shape; then nothing is changed.
    pub fn load_backbone(&self, state: &HashMap<String, Tensor>) -> Result<()> {
        self.load(state, |name| !name.starts_with("fc."))
    }

    /// Makes all parameters and running statistics equal to those of `other`, which has the same configuration.
    ///
    /// # Errors
    /// The configurations differ.
    pub fn copy_from(&self, other: &Self) -> Result<()> {
        self.load_state_dict(&other.state_dict()?)
    }

    fn load(&self, state: &HashMap<String, Tensor>, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let parameters = self.parameters.iter().map(|p| (&p.name, &p.var));
        let targets: Vec<_> =
            parameters.chain(self.buffers.iter().map(|b| (&b.name, &b.var))).filter(|(n, _)| wanted(n)).collect();
        let mut differences = Vec::new();
        for (name, var) in &targets {
            match state.get(*name) {
                None => differences.push(format!("{name} is missing")),
                Some(t) if t.dims() != var.dims() => {
                    differences.push(format!("{name} has shape {:?} instead of {:?}", t.dims(), var.dims()));
                }
                Some(t) if !t.dtype().is_float() => {
                    differences.push(format!("{name} has the type {:?}, which is no floating-point one", t.dtype()));
                }
                Some(_) => {}
            }
        }
        let counts: Vec<_> = self.batch_count_names().collect();
        for name in &counts {
            // PyTorch 0.3 had no scalars, but vectors of one.
            match state.get(name) {
                Some(t) if !matches!(t.dims(), [] | [1]) || t.dtype() != DType::I64 => differences.push(format!(
                    "{name} has shape {:?} and type {:?} instead of one 64-bit integer",
                    t.dims(),
                    t.dtype()
                )),
                _ => {}
            }
        }
        let known = |name: &String| targets.iter().any(|(n, _)| *n == name) || counts.contains(name);
        let mut unexpected: Vec<_> = state.keys().filter(|n| wanted(n) && !known(n)).collect();
        unexpected.sort();
        differences.extend(unexpected.iter().map(|name| format!("{name} is unexpected")));
        if !differences.is_empty() {
            return Err(ModelError::StateDict(differences.join("; ")));
        }
        for (name, var) in targets {
            var.set(&state[name].to_dtype(var.dtype())?.to_device(var.device())?.contiguous()?)?;
        }
        if let Some(batches) = counts.first().and_then(|name| state.get(name)) {
            let batches = batches.flatten_all()?.to_dtype(DType::I64)?.to_vec1::<i64>()?;
            self.batches.store(batches.first().copied().unwrap_or(0).max(0) as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn batch_count_names(&self) -> impl Iterator<Item = String> {
        self.buffers
            .iter()
            .filter_map(|b| b.name.strip_suffix("running_mean"))
            .map(|stem| format!("{stem}num_batches_tracked"))
    }

    /// The backbone without gradient.
    fn pooled(&self, images: &Tensor, mode: Mode, stage: Stage) -> Result<Tensor> {
        match (self.compute.backend, self.compute.precision) {
            (Backend::Cpu, Precision::Bf16) => {
                in_pool(|| self.backbone.forward(&mut self.tape::<bf16>(mode, false), images, stage))
            }
            (Backend::Cpu, _) => in_pool(|| self.backbone.forward(&mut self.tape::<f32>(mode, false), images, stage)),
            _ => self.backbone.forward(&mut self.portable(mode, false), images, stage),
        }
    }

    fn tape<E: Element>(&self, mode: Mode, track: bool) -> Tape<E> {
        Tape::new(self.instructions, &self.pool, mode, self.compute.bn_splits, track)
    }

    fn portable(&self, mode: Mode, track: bool) -> Portable {
        let dtype = match self.compute.precision {
            Precision::F32 => DType::F32,
            Precision::F64 => DType::F64,
            Precision::Bf16 => DType::BF16,
        };
        Portable { mode, bn_splits: self.compute.bn_splits, dtype, track }
    }

    fn check(&self, images: &Tensor) -> Result<()> {
        match images.dims() {
            [n, 3, h, w] if n * h * w > 0 => Ok(()),
            got => Err(ModelError::Shape {
                what: "the batch of images",
                got: got.to_vec(),
                expected: "(N, 3, H, W)".to_owned(),
            }),
        }
    }
}

impl Pass {
    /// The embedding (N, dim), rows of unit length, without graph.
    pub fn embedding(&self) -> &Tensor {
        &self.embedding
    }

    /// Takes the gradient of the embedding (N, dim) back through the encoder and adds the parameters' gradients.
    ///
    /// # Errors
    /// The gradient has another shape, or a tensor operation fails.
    pub fn backward(self, gradient: &Tensor, gradients: &mut Gradients) -> Result<()> {
        if gradient.dims() != self.embedding.dims() {
            return Err(ModelError::Shape {
                what: "the embedding's gradient",
                got: gradient.dims().to_vec(),
                expected: format!("{:?}", self.embedding.dims()),
            });
        }
        match self.way {
            Way::Graph { graph, parameters } => {
                let mut store = (graph * gradient.detach())?.sum_all()?.backward()?;
                for parameter in &parameters {
                    if let Some(gradient) = store.remove(&parameter.var) {
                        gradients.add(parameter.index, &gradient)?;
                    }
                }
            }
            Way::Tape { backbone, head } => {
                let mut gradient = gradient.flatten_all()?.to_vec1::<f32>()?;
                if let Some(head) = head {
                    gradient = head.backward(&gradient, gradients)?;
                }
                in_pool(|| match *backbone {
                    AnyTape::F32(tape) => tape.backward(&gradient, gradients),
                    AnyTape::Bf16(tape) => tape.backward(&gradient, gradients),
                })?;
            }
        }
        Ok(())
    }
}

/// Runs a pass on a thread of rayon's pool. From outside, each of its hundreds of kernels would put its caller to sleep
/// and wake it up.
fn in_pool<R: Send>(pass: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| pass())
}

/// The implementation that `Auto` stands for, or an error where the one asked for cannot serve.
fn resolve(compute: Compute, device: &Device) -> Result<Backend> {
    let kernels = device.is_cpu() && compute.precision != Precision::F64;
    match compute.backend {
        Backend::Portable => Ok(Backend::Portable),
        Backend::Auto if kernels => Ok(Backend::Cpu),
        Backend::Auto => Ok(Backend::Portable),
        Backend::Cpu if kernels => Ok(Backend::Cpu),
        Backend::Cpu => Err(ModelError::Config {
            key: "compute.backend",
            value: "cpu".to_owned(),
            expected: "the CPU kernels compute in f32 or bf16 on the CPU; use portable for anything else".to_owned(),
        }),
    }
}
