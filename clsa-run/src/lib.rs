#![doc = include_str!("../README.md")]

mod checkpoint;
mod config;
mod data_identity;
mod file_hash;
mod folder;
mod label_free;
mod locked_run;
mod metrics;
mod recipe;
mod schedule;
mod shell;
mod study;
mod tensorboard;
mod verdict;

pub use candle_core;
pub use checkpoint::{Checkpoint, CheckpointError, Position, TrainingState};
pub use clsa_augment;
pub use clsa_data;
pub use clsa_loss;
pub use clsa_model;
pub use config::{
    BankKeys, BankPrecision, CheckpointConfig, ComputeConfig, Config, ConfigError, DataConfig, EvalConfig, InitConfig,
    LogConfig, MethodConfig, MonitorConfig, OfEachRank, OptimConfig, OptimizerKind, Preset, ProbeConfig, Schedule,
    StrongLoss, TrainConfig,
};
pub use data_identity::{DataIdentity, hash_names_and_labels};
pub use file_hash::{file_sha256, rest_sha256};
pub use folder::{RunError, RunFolder};
pub use label_free::LabelFree;
pub use locked_run::{LockedRun, Resumption};
pub use metrics::{
    AccuracyRecord, LabelFreeRecord, Metrics, MetricsError, MetricsWriter, RanksRecord, Record, StepRecord,
};
pub use recipe::{Comparison, PublishedFigure, Recipe, RecipeImages, RecipeMeasure};
pub use schedule::{Progress, cosine};
pub use shell::shell_word;
pub use study::{Later, Study, StudyError, Variant};
pub use tensorboard::{EventFile, EventImage};
pub use verdict::Verdict;
