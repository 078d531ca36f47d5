#![doc = include_str!("../README.md")]

mod checkpoint;
mod config;
mod folder;
mod metrics;
mod schedule;
mod tensorboard;

pub use candle_core;
pub use checkpoint::{Checkpoint, CheckpointError, Position, TrainingState};
pub use config::{
    BankPrecision, CheckpointConfig, ComputeConfig, Config, ConfigError, DataConfig, EvalConfig, MethodConfig,
    MonitorConfig, OptimConfig, Preset, StrongLoss, TrainConfig,
};
pub use folder::{Resumption, RunError, RunFolder};
pub use metrics::{KnnRecord, Metrics, MetricsError, MetricsWriter, Record, StepRecord};
pub use schedule::cosine;
pub use tensorboard::{EventFile, EventImage};
