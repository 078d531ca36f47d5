//! The configuration of a run: plain tables, read from a preset and changed by `KEY=VALUE` overrides.

use crate::presets;
use candle_core::DType;
use clsa_augment::ViewPlan;
use clsa_model::{Backend, Compute, ModelConfig, Precision};
use serde::{Deserialize, Serialize};
use thiserror::Error;

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
    /// The optimiser.
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
    pub knn: KnnMonitor,
    /// When checkpoints are written.
    #[serde(default)]
    pub checkpoint: CheckpointConfig,
    /// Key, weak and strong views.
    pub views: ViewPlan,
}

/// How a step is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ComputeConfig {
    /// Implementation of the encoders: `auto`, `portable` or `cpu`.
    pub backend: Backend,
    /// Arithmetic of the encoders: `f32`, `f64` (portable only, for comparisons) or `bf16`.
    pub precision: Precision,
    /// Batch norm over this many equal groups of the batch, which equals as many ranks.
    pub bn_splits: usize,
    /// Numbers that the memory bank is kept in: `f32` (the paper) or `bf16`.
    pub bank: BankPrecision,
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
        Self { backend, precision, bn_splits, bank: BankPrecision::F32 }
    }
}

impl ComputeConfig {
    /// What concerns the encoders.
    pub fn encoders(&self) -> Compute {
        Compute { backend: self.backend, precision: self.precision, bn_splits: self.bn_splits }
    }

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

/// The method's own values (paper, section 4.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MethodConfig {
    /// Size K of the memory bank.
    pub bank: usize,
    /// Momentum m of the key encoder.
    pub momentum: f64,
    /// Temperature τ of InfoNCE.
    pub temperature: f64,
    /// Temperature τ₂ of DDM.
    pub ddm_temperature: f64,
    /// Weight α of DDM.
    pub alpha: f64,
    /// Adds the other direction: keys of the first weak view, the key view among the queries.
    pub symmetric: bool,
    /// What strong views are compared by.
    pub strong_loss: StrongLoss,
}

impl Default for MethodConfig {
    fn default() -> Self {
        Self {
            bank: 65_536,
            momentum: 0.999,
            temperature: 0.2,
            ddm_temperature: 0.2,
            alpha: 1.0,
            symmetric: false,
            strong_loss: StrongLoss::Ddm,
        }
    }
}

/// Momentum SGD with a cosine schedule per epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimConfig {
    /// Learning rate of the first epoch, taken as it is (paper: 0.03 at batch 256).
    pub lr: f64,
    /// Momentum.
    pub momentum: f64,
    /// Weight decay, on every parameter.
    pub weight_decay: f64,
}

impl Default for OptimConfig {
    fn default() -> Self {
        Self { lr: 0.03, momentum: 0.9, weight_decay: 1e-4 }
    }
}

/// Length, batch and seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Passes over the data.
    pub epochs: u64,
    /// Images per step and rank.
    pub batch_size: usize,
    /// Seed of weights, order and views.
    pub seed: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self { epochs: 200, batch_size: 256, seed: 0 }
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
    /// With `skip`: the run ends when more than this fraction of an epoch's images is bad.
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

/// The evaluation view: short side resized, centre cut out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalConfig {
    /// Short side after resizing, pixels.
    pub resize: u32,
    /// Side of the centre crop, pixels.
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
pub struct KnnMonitor {
    /// Epochs between evaluations; 0 for none at all.
    pub every: u64,
    /// Neighbours.
    pub k: usize,
    /// Temperature of the votes.
    pub temperature: f64,
    /// Training images in the subset.
    pub train_samples: usize,
    /// Test images in the subset.
    pub test_samples: usize,
}

impl Default for KnnMonitor {
    fn default() -> Self {
        Self { every: 10, k: 200, temperature: 0.07, train_samples: 10_000, test_samples: 2_000 }
    }
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

/// A configuration that cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Neither a preset nor a readable file.
    #[error("--preset {0}: there is no such preset or file; the presets are {names}", names = presets::names())]
    UnknownPreset(String),
    /// A preset file could not be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A text that is not a configuration.
    #[error("{origin}: {reason}")]
    Parse {
        /// The preset, file or override.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// A value that is out of range or does not fit another one.
    #[error("{key} = {value}: {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it takes, and what to do.
        expected: String,
    },
}

impl Config {
    /// Reads a preset by name, or a TOML file by path, and applies overrides in order, each `KEY=VALUE` with a dotted
    /// key and a TOML value (a bare word is a string).
    ///
    /// # Errors
    /// Names the preset, file, override or key at fault.
    pub fn load(preset: &str, overrides: &[String]) -> Result<Self, ConfigError> {
        let text = match presets::text(preset) {
            Some(text) => text.to_owned(),
            None if preset.ends_with(".toml") => {
                std::fs::read_to_string(preset).map_err(|source| ConfigError::Io { path: preset.to_owned(), source })?
            }
            None => return Err(ConfigError::UnknownPreset(preset.to_owned())),
        };
        Self::parse(&format!("preset {preset}"), &text, overrides)
    }

    /// Reads a configuration from TOML; `origin` names it in errors.
    ///
    /// # Errors
    /// Names the override or key at fault.
    pub fn parse(origin: &str, text: &str, overrides: &[String]) -> Result<Self, ConfigError> {
        let error = |origin: String, reason: String| ConfigError::Parse { origin, reason: one_line(&reason) };
        let mut table: toml::Table =
            text.parse().map_err(|e: toml::de::Error| error(origin.to_owned(), e.message().to_owned()))?;
        let mut config = read(&table).map_err(|reason| error(origin.to_owned(), reason))?;
        for text in overrides {
            let named = |reason: String| error(format!("--set {text}"), reason);
            let (key, value) =
                text.split_once('=').ok_or_else(|| named("expected KEY=VALUE, such as optim.lr=0.06".to_owned()))?;
            insert(&mut table, key.trim(), parse_value(value.trim())).map_err(named)?;
            config = read(&table).map_err(|reason| error(format!("--set {text}"), reason))?;
        }
        Ok(config)
    }

    /// The configuration as TOML, as a run's `config.toml` holds it.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration has only string keys and plain values")
    }

    /// Checks every value and every pair of values that must fit, without looking at the data.
    ///
    /// # Errors
    /// Names the key at fault.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let wrong =
            |key, value: String, expected: &str| Err(ConfigError::Value { key, value, expected: expected.to_owned() });
        let method = &self.method;
        self.model.validate().map_err(|e| ConfigError::Parse { origin: "model".to_owned(), reason: e.to_string() })?;
        self.views.validate().map_err(|e| ConfigError::Parse { origin: "views".to_owned(), reason: e.to_string() })?;
        if self.views.weak.is_empty() {
            return wrong("views.weak", "[]".to_owned(), "name at least one weak view");
        }
        if self.train.batch_size == 0 {
            return wrong("train.batch_size", "0".to_owned(), "use at least 1");
        }
        if self.train.epochs == 0 {
            return wrong("train.epochs", "0".to_owned(), "use at least 1");
        }
        if method.bank < self.train.batch_size {
            let expected = format!(
                "the bank must hold at least one batch of {} (train.batch_size); use a larger bank or a smaller batch",
                self.train.batch_size
            );
            return wrong("method.bank", method.bank.to_string(), &expected);
        }
        if !(0.0..=1.0).contains(&method.momentum) {
            return wrong("method.momentum", method.momentum.to_string(), "use a number from 0 to 1");
        }
        for (key, value) in
            [("method.temperature", method.temperature), ("method.ddm_temperature", method.ddm_temperature)]
        {
            if !(value.is_finite() && value > 0.0) {
                return wrong(key, value.to_string(), "use a positive number");
            }
        }
        for (key, value) in [
            ("method.alpha", method.alpha),
            ("optim.lr", self.optim.lr),
            ("optim.momentum", self.optim.momentum),
            ("optim.weight_decay", self.optim.weight_decay),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return wrong(key, value.to_string(), "use a number that is not negative");
            }
        }
        let splits = self.compute.bn_splits;
        if splits == 0 || !self.train.batch_size.is_multiple_of(splits) {
            let expected = format!("use a divisor of train.batch_size, which is {}", self.train.batch_size);
            return wrong("compute.bn_splits", splits.to_string(), &expected);
        }
        if self.compute.bank == BankPrecision::Bf16 && self.compute.precision == Precision::F64 {
            let expected = "a bank in bf16 does not fit compute.precision = f64; use compute.bank = f32";
            return wrong("compute.bank", "bf16".to_owned(), expected);
        }
        if !(0.0..=1.0).contains(&self.data.max_bad_fraction) {
            return wrong("data.max_bad_fraction", self.data.max_bad_fraction.to_string(), "use a number from 0 to 1");
        }
        if self.data.prefetch == 0 {
            return wrong("data.prefetch", "0".to_owned(), "use at least 1");
        }
        if self.eval.crop == 0 || self.eval.resize < self.eval.crop {
            return wrong("eval.crop", self.eval.crop.to_string(), "use 1 to eval.resize pixels");
        }
        if self.checkpoint.keep == 0 {
            return wrong("checkpoint.keep", "0".to_owned(), "use at least 1");
        }
        if self.checkpoint.every == 0 {
            return wrong("checkpoint.every", "0".to_owned(), "use at least 1");
        }
        if self.knn.every > 0 && (self.knn.k == 0 || self.knn.train_samples == 0 || self.knn.test_samples == 0) {
            return wrong("knn.k", self.knn.k.to_string(), "use at least 1 neighbour and 1 image of each split");
        }
        if !(self.knn.temperature.is_finite() && self.knn.temperature > 0.0) {
            return wrong("knn.temperature", self.knn.temperature.to_string(), "use a positive number");
        }
        Ok(())
    }
}

fn read(table: &toml::Table) -> Result<Config, String> {
    Config::deserialize(table.clone()).map_err(|e| e.to_string())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn parse_value(text: &str) -> toml::Value {
    let document: Result<toml::Table, _> = format!("value = {text}").parse();
    match document.map(|mut table| table.remove("value")) {
        Ok(Some(value)) => value,
        _ => toml::Value::String(text.to_owned()),
    }
}

fn insert(table: &mut toml::Table, key: &str, value: toml::Value) -> Result<(), String> {
    let (parents, last) = match key.rsplit_once('.') {
        Some((parents, last)) => (parents.split('.').collect(), last),
        None => (Vec::new(), key),
    };
    let mut at = table;
    for parent in parents {
        let next = at.entry(parent).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        at = next.as_table_mut().ok_or_else(|| format!("{parent} is not a table"))?;
    }
    // `optim.lr=1` means 1.0: an integer takes the place of a number.
    let value = match (at.get(last), value) {
        (Some(toml::Value::Float(_)), toml::Value::Integer(i)) => toml::Value::Float(i as f64),
        (_, value) => value,
    };
    at.insert(last.to_owned(), value);
    Ok(())
}
