//! CLSA pretraining: the method's step, its configuration, and a run from first batch to last.
//!
//! [`method`] is the paper on one page. [`trainer`] feeds it and keeps the run; [`replay`] feeds it recorded
//! trajectories. [`communicator`] is what several ranks would say to each other.

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
