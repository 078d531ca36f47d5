#![doc = include_str!("../README.md")]

pub mod bench;
pub mod checkpoint;
pub mod communicator;
pub mod config;
pub mod method;
pub mod metrics;
pub mod monitor;
pub mod optimizer;
pub mod presets;
pub mod progress;
pub mod replay;
pub mod run_folder;
pub mod shuffle_bn;
pub mod trainer;
pub mod view_batch;
pub mod view_grid;
