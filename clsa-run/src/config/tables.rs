//! The tables of a configuration, each a plain struct, with the paper's values as defaults; `views.weak` has none.

use candle_core::DType;
use clsa_augment::ViewPlan;
use clsa_model::{Backend, Compute, FeatureStage, ModelConfig, Precision};
use serde::{Deserialize, Serialize};

/// Everything that decides a run's result, but for the data themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The encoders' shape.
    #[serde(default)]
    pub model: ModelConfig,
    /// How the encoders are computed, and in what the bank is kept.
    #[serde(default)]
    pub compute: ComputeConfig,
    /// Bank, temperatures and weights of the loss.
    #[serde(default)]
    pub method: MethodConfig,
    /// The optimizer.
    #[serde(default)]
    pub optim: OptimConfig,
    /// Epochs, batch and seed.
    #[serde(default)]
    pub train: TrainConfig,
    /// Where the images come from.
    #[serde(default)]
    pub data: DataConfig,
    /// How test images are cut for evaluation.
    #[serde(default)]
    pub eval: EvalConfig,
    /// The k-NN monitor.
    #[serde(default)]
    pub knn: MonitorConfig,
    /// The online linear probe.
    #[serde(default, skip_serializing_if = "is_default")]
    pub probe: ProbeConfig,
    /// When checkpoints are written.
    #[serde(default)]
    pub checkpoint: CheckpointConfig,
    /// What is recorded beside `metrics.jsonl` and TensorBoard's events.
    #[serde(default, skip_serializing_if = "is_default")]
    pub log: LogConfig,
    /// The weights that training begins with, where they are not random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<InitConfig>,
    /// Key, weak and strong views.
    pub views: ViewPlan,
}

/// Weights that training begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitConfig {
    /// The file.
    pub weights: String,
    /// SHA-256 of the file, in lower case; empty where any content will do. A run writes it.
    #[serde(default)]
    pub sha256: String,
}

/// How a step is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ComputeConfig {
    /// Implementation of the encoders: `auto`, `portable`, `cpu` or `cuda`.
    pub backend: Backend,
    /// Arithmetic of the encoders: `f32`, `f64` (portable only, for comparisons) or `bf16`.
    pub precision: Precision,
    /// Batch norm over this many equal groups of the batch, which equals as many ranks.
    pub bn_splits: usize,
    /// Numbers that the memory bank is kept in: `f32` (the paper) or `bf16`.
    pub bank: BankPrecision,
    /// Whether a GPU times cuDNN's plans for every convolution and takes the fastest. Bits may then differ from run to run.
    #[serde(skip_serializing_if = "is_default")]
    pub tune: bool,
}

/// Left out where it is the default, so that the files of runs that do not use it stay what they were.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_true(value: &bool) -> bool {
    *value
}

fn is_one(value: &usize) -> bool {
    *value == 1
}

/// Numbers that the memory bank is kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BankPrecision {
    /// Single precision; double with a `compute.precision` of `f64`.
    #[default]
    F32,
    /// bfloat16: half the memory, and half the time of the loss on processors that multiply it.
    Bf16,
}

impl Default for ComputeConfig {
    fn default() -> Self {
        let Compute { backend, precision, bn_splits } = Compute::default();
        Self { backend, precision, bn_splits, bank: BankPrecision::F32, tune: false }
    }
}

impl Config {
    /// How the encoders are computed: a pass is of one part of the batch.
    pub fn encoders(&self) -> Compute {
        let ComputeConfig { backend, precision, bn_splits, .. } = self.compute;
        Compute { backend, precision, bn_splits: bn_splits / self.train.accumulate.max(1) }
    }
}

impl ComputeConfig {
    /// The dtype of the memory bank.
    pub fn bank_dtype(&self) -> DType {
        match (self.bank, self.precision) {
            (BankPrecision::Bf16, _) => DType::BF16,
            (BankPrecision::F32, Precision::F64) => DType::F64,
            (BankPrecision::F32, _) => DType::F32,
        }
    }
}

/// What strong views are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrongLoss {
    /// Distributional divergence from each weak view (the paper).
    #[default]
    Ddm,
    /// InfoNCE like weak views: the ablation that the paper argues against.
    InfoNce,
}

/// Whose keys enter the memory bank, where the loss is symmetric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BankKeys {
    /// Those of the key view: one of each image.
    #[default]
    KeyView,
    /// Those of the first weak view, then those of the key view: two of each image, so that the bank reaches half as far back (MoCo's
    /// notebook for CIFAR-10).
    Both,
}

/// The method's own values (paper, section 4.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MethodConfig {
    /// Size K of the memory bank.
    pub bank: usize,
    /// Momentum m of the key encoder.
    pub momentum: f64,
    /// Momentum that it ends with, from `momentum` along half a cosine (MoCo v3: 1); none to keep `momentum`.
    #[serde(skip_serializing_if = "is_default")]
    pub final_momentum: Option<f64>,
    /// Temperature τ of InfoNCE.
    pub temperature: f64,
    /// Temperature τ₂ of DDM.
    pub ddm_temperature: f64,
    /// Weight α of DDM.
    pub alpha: f64,
    /// Adds the other direction: keys of the first weak view, the key view among the queries.
    pub symmetric: bool,
    /// Whose keys enter the bank, where `symmetric` is set.
    #[serde(skip_serializing_if = "is_default")]
    pub bank_keys: BankKeys,
    /// What strong views are compared by.
    pub strong_loss: StrongLoss,
    /// Whether the keys of the batch's other images are negatives too (CLSA); `false`: its own key and the bank are what an image's views
    /// are compared with (MoCo).
    #[serde(skip_serializing_if = "is_true")]
    pub batch_negatives: bool,
}

impl Default for MethodConfig {
    fn default() -> Self {
        Self {
            bank: 65_536,
            momentum: 0.999,
            final_momentum: None,
            temperature: 0.2,
            ddm_temperature: 0.2,
            alpha: 1.0,
            symmetric: false,
            bank_keys: BankKeys::KeyView,
            strong_loss: StrongLoss::Ddm,
            batch_negatives: true,
        }
    }
}

/// When the learning rate changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// With each epoch (the paper).
    #[default]
    Epoch,
    /// With each step.
    Step,
}

/// What moves the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// SGD with momentum (the paper), as `torch.optim.SGD`.
    #[default]
    Sgd,
    /// LARS as in MoCo v3's public code: weights with a rate of their own, vectors (of norms, and biases) without decay.
    Lars,
    /// AdamW as `torch.optim.AdamW`.
    Adamw,
}

/// The optimizer, with a cosine schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimConfig {
    /// `sgd`, `lars` or `adamw`.
    #[serde(skip_serializing_if = "is_default")]
    pub kind: OptimizerKind,
    /// Learning rate of the first epoch, taken as it is (paper: 0.03 at batch 256) unless `scale_lr` is set.
    pub lr: f64,
    /// Multiplies `lr` and `final_lr` by the images of a step, of all ranks, over 256 (Goyal et al. 2017).
    #[serde(skip_serializing_if = "is_default")]
    pub scale_lr: bool,
    /// Momentum of `sgd` and `lars`.
    pub momentum: f64,
    /// Decay rates β₁ and β₂ of `adamw`.
    #[serde(skip_serializing_if = "are_default_betas")]
    pub betas: [f64; 2],
    /// Weight decay. `lars`, and `exclude_norm_and_bias`, leave vectors without.
    pub weight_decay: f64,
    /// Leaves the scales and shifts of norms, and biases, without weight decay.
    #[serde(skip_serializing_if = "is_default")]
    pub exclude_norm_and_bias: bool,
    /// Coefficient of `lars`.
    #[serde(skip_serializing_if = "is_default_trust")]
    pub trust_coefficient: f64,
    /// Length that all gradients together are shortened to, where they are longer; 0: they are taken as they are.
    #[serde(skip_serializing_if = "is_default")]
    pub clip_norm: f64,
    /// Epochs in which the learning rate rises from 0 to `lr`.
    #[serde(skip_serializing_if = "is_default")]
    pub warmup_epochs: u64,
    /// Learning rate that the cosine ends at.
    #[serde(skip_serializing_if = "is_default")]
    pub final_lr: f64,
    /// Whether the learning rate changes with each `epoch` or each `step`.
    #[serde(skip_serializing_if = "is_default")]
    pub schedule: Schedule,
}

/// torch's.
const BETAS: [f64; 2] = [0.9, 0.999];
/// That of MoCo v3's code.
const TRUST_COEFFICIENT: f64 = 0.001;

fn are_default_betas(betas: &[f64; 2]) -> bool {
    *betas == BETAS
}

fn is_default_trust(coefficient: &f64) -> bool {
    *coefficient == TRUST_COEFFICIENT
}

impl OptimConfig {
    /// What the learning rates of the schedule are multiplied by, for a step of so many images.
    pub fn lr_factor(&self, images: usize) -> f64 {
        if self.scale_lr { images as f64 / 256.0 } else { 1.0 }
    }
}

impl Default for OptimConfig {
    fn default() -> Self {
        Self {
            kind: OptimizerKind::Sgd,
            lr: 0.03,
            scale_lr: false,
            momentum: 0.9,
            betas: BETAS,
            weight_decay: 1e-4,
            exclude_norm_and_bias: false,
            trust_coefficient: TRUST_COEFFICIENT,
            clip_norm: 0.0,
            warmup_epochs: 0,
            final_lr: 0.0,
            schedule: Schedule::Epoch,
        }
    }
}

/// Length, batch and seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Passes over the data, which the schedule of the learning rate is for.
    pub epochs: u64,
    /// The epoch after which the run stops, to be gone on with at another time; 0: the last.
    #[serde(skip_serializing_if = "is_default")]
    pub stop_epoch: u64,
    /// Images per step of each rank: a step is of `batch_size * ranks` images.
    pub batch_size: usize,
    /// How many ranks share a step. A run writes it; it is not to be set.
    #[serde(skip_serializing_if = "is_one")]
    pub ranks: usize,
    /// Equal parts that a batch is computed in, one after the other, so that less memory is needed. The results are those of the whole
    /// batch: each part has its share of `compute.bn_splits`, which this must divide.
    #[serde(skip_serializing_if = "is_one")]
    pub accumulate: usize,
    /// Seed of weights, order and views.
    pub seed: u64,
}

impl TrainConfig {
    /// Images per step, of all ranks together.
    pub fn global_batch(&self) -> usize {
        self.batch_size.saturating_mul(self.ranks)
    }

    /// The epoch after which this run ends or stops.
    pub fn last_epoch(&self) -> u64 {
        if self.stop_epoch == 0 { self.epochs } else { self.stop_epoch.min(self.epochs) }
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self { epochs: 200, stop_epoch: 0, batch_size: 256, ranks: 1, accumulate: 1, seed: 0 }
    }
}

/// Where the images come from and what happens to bad ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// `kind:PATH`, such as `imagefolder:/data/imagenet`, or `procedural`. Empty: the user must name one.
    pub source: String,
    /// `skip` replaces an image that cannot be read by the next good one, `stop` ends the run.
    pub on_error: clsa_data::OnError,
    /// With `skip`: the run ends when a rank has met more bad images than this fraction of all images. It counts anew when the run
    /// goes on, and when views change their size.
    pub max_bad_fraction: f64,
    /// Batches that are made ready ahead.
    pub prefetch: usize,
    /// For `wds` and `parquet`: shards are read in sequence and shuffled through a buffer of this many images, which
    /// suits disks and file formats that are slow at random access. 0: shuffled over the whole data set.
    pub shuffle_buffer: usize,
    /// Train on images smaller than the largest view, which enlarges them.
    pub allow_upscaling: bool,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            source: String::new(),
            on_error: clsa_data::OnError::Skip,
            max_bad_fraction: 0.01,
            prefetch: 2,
            shuffle_buffer: 0,
            allow_upscaling: false,
        }
    }
}

/// The evaluation view: short side resized, center cut out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalConfig {
    /// Short side after resizing, pixels.
    pub resize: u32,
    /// Side of the center crop, pixels.
    pub crop: u32,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self { resize: 256, crop: 224 }
    }
}

/// k-NN on a subset, before training, during it and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MonitorConfig {
    /// Epochs between evaluations; 0 for none but those of `at`.
    pub every: u64,
    /// Further epochs after which there is one, such as those of a published curve.
    #[serde(skip_serializing_if = "is_default")]
    pub at: Vec<u64>,
    /// Neighbors.
    pub k: usize,
    /// Temperature of the votes.
    pub temperature: f64,
    /// Where in the query encoder features are taken: `backbone`, `embedding`, or a stage such as `layer3`.
    #[serde(skip_serializing_if = "is_default")]
    pub stage: FeatureStage,
    /// Training images in the subset.
    pub train_samples: usize,
    /// Test images in the subset.
    pub test_samples: usize,
}

impl Default for MonitorConfig {
    fn default() -> Self {
        Self {
            every: 10,
            at: Vec::new(),
            k: 200,
            temperature: 0.07,
            stage: FeatureStage::Backbone,
            train_samples: 10_000,
            test_samples: 2_000,
        }
    }
}

impl MonitorConfig {
    /// Whether there is any evaluation.
    pub fn is_on(&self) -> bool {
        self.every > 0 || !self.at.is_empty()
    }

    /// Neighbors that vote where there are so many training images: all that are looked at, if these are fewer than [`Self::k`].
    pub fn neighbors_among(&self, images: usize) -> usize {
        self.k.min(self.train_samples).min(images)
    }

    /// Whether there is one after `done` epochs.
    pub fn is_due(&self, done: u64) -> bool {
        (self.every > 0 && done.is_multiple_of(self.every)) || self.at.contains(&done)
    }
}

/// A linear classifier that is trained beside the query encoder, on the features of the first weak view, which it does not touch; by
/// SGD with momentum 0.9 and the schedule of the encoder. Evaluated with the k-NN monitor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeConfig {
    /// Learning rate; 0 for no probe. 0.1 is a good one for features of a ResNet.
    pub lr: f64,
}

/// When checkpoints are written and how many stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Epochs between checkpoints; the last step always writes one.
    pub every: u64,
    /// Steps between further checkpoints within an epoch; 0 for none.
    pub every_steps: u64,
    /// How many stay; older ones are removed.
    pub keep: usize,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { every: 1, every_steps: 0, keep: 3 }
    }
}

/// What is recorded beside `metrics.jsonl` and TensorBoard's events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Whether all records are also written as a table, `metrics.csv`.
    pub csv: bool,
}
