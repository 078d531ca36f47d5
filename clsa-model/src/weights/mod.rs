//! Weight files: PyTorch's, safetensors and this project's checkpoints in; safetensors, PyTorch's, Detectron2's and ONNX out.
//!
//! Nothing in a file is ever run: a PyTorch file is a pickle, which can ask Python to call anything, and the machine that
//! reads it here can describe tensors and plain data and nothing else.
//!
//! # Examples
//!
//! ```
//! use clsa_model::candle_core::Device;
//! use clsa_model::weights::{self, Format};
//! use clsa_model::{Arch, Compute, Encoder, ModelConfig};
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("resnet10.pth");
//! let config = ModelConfig { arch: Arch::Resnet10, width: 0.25, ..ModelConfig::default() };
//! let encoder = Encoder::new(&config, Compute::default(), 0, &Device::Cpu)?;
//! weights::write(&path, &encoder.state_dict()?, Format::Pth)?; // for torch.load(path, weights_only=True)
//!
//! let file = weights::read(&path)?;
//! assert_eq!(weights::check(&file.tensors)?, config);
//! encoder.load_state_dict(&file.tensors)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod check;
pub mod checkpoint;
mod container;
mod detectron2;
mod error;
mod finite;
mod foreign_head;
mod format;
mod hugging_face;
mod infer;
mod names;
mod onnx;
mod pickle;
mod read;
mod safetensors_file;
mod state_dict;
mod tensor_bytes;
mod torch_file;
mod torch_legacy;
mod torch_tar;
mod torch_write;
mod torch_zip;
mod unpickle;
mod write;

pub use crate::batch_count::is_batch_count;
pub use check::check;
pub use container::Container;
pub use finite::first_not_finite;
pub use format::Format;
pub use hugging_face::file_in_folder;
pub use infer::infer_config;
pub use onnx::write_onnx;
pub use read::{WeightFile, read};
pub use write::write;
