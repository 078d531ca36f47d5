//! The commands, one module each.

pub mod bench;
pub mod convert;
pub mod data;
pub mod device;
pub mod doctor;
pub mod pretrain;
pub mod replay;
pub mod views;
