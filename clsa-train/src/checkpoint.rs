//! Checkpoints: everything that training changes, in one safetensors file that appears whole or not at all.
//!
//! Tensors: `query.NAME` and `key.NAME` (torchvision's names), `optimizer.NAME` (velocities), `bank.rows`. Metadata:
//! `format`, `config` (TOML), `position` (JSON) and `digest`, the SHA-256 of all of these, so that a file that was
//! truncated or altered is refused.

use crate::config::Config;
use crate::method::Clsa;
use candle_core::{Device, Tensor};
use clsa_loss::MemoryBank;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use thiserror::Error;

const FORMAT: &str = "clsa-checkpoint-1";

/// Where a run stands: the next batch is number `batch` of `epoch`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Epoch, 0-based.
    pub epoch: u64,
    /// Batch within the epoch, 0-based.
    pub batch: usize,
    /// Steps taken since the beginning.
    pub step: u64,
    /// Where the next keys enter the bank.
    pub bank_pointer: usize,
}

/// A checkpoint that cannot be written or used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A run has no checkpoint yet.
    #[error("{folder}: there is no checkpoint, so nothing to go on from; begin the run anew, with another --out")]
    None {
        /// The run's folder of checkpoints.
        folder: PathBuf,
    },
    /// The file is not a whole checkpoint.
    #[error("{path}: this checkpoint {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// The weights do not fit the model.
    #[error("{path}: {source}")]
    Model {
        /// The file.
        path: PathBuf,
        /// What differs.
        source: clsa_model::ModelError,
    },
}

type Result<T> = std::result::Result<T, CheckpointError>;

/// A checkpoint read from a file and found whole.
#[derive(Debug)]
pub struct Checkpoint {
    /// Where it was read.
    pub path: PathBuf,
    /// The configuration of its run.
    pub config: String,
    /// Where the run stood.
    pub position: Position,
    tensors: HashMap<String, Tensor>,
}

/// Writes a checkpoint into `folder` and removes the oldest beyond `keep`. Returns the file.
///
/// # Errors
/// The folder cannot be written, or the weights are not finite numbers.
pub fn save(folder: &Path, clsa: &Clsa, config: &Config, mut position: Position, keep: usize) -> Result<PathBuf> {
    position.bank_pointer = clsa.bank.pointer();
    let path = folder.join(format!("step-{:08}.safetensors", position.step));
    let tensors = tensors(clsa).map_err(|e| damaged(&path, e))?;
    for (name, tensor) in &tensors {
        if tensor.dtype().is_float()
            && !tensor.abs()?.sum_all()?.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>()?.is_finite()
        {
            return Err(damaged(&path, format!("is not written, because {name} holds numbers that are not finite")));
        }
    }
    let mut metadata = HashMap::from([
        ("format".to_owned(), FORMAT.to_owned()),
        ("config".to_owned(), config.to_toml()),
        ("position".to_owned(), serde_json::to_string(&position).expect("plain numbers")),
    ]);
    let bytes = |metadata: &HashMap<String, String>| {
        safetensors::serialize(&tensors, Some(metadata.clone())).map_err(|e| damaged(&path, e))
    };
    // The digest covers what a reader sees, so it is taken from a first serialisation.
    let parsed = bytes(&metadata)?;
    let digest = digest(&SafeTensors::deserialize(&parsed).map_err(|e| damaged(&path, e))?, &metadata);
    drop(parsed);
    metadata.insert("digest".to_owned(), digest);
    write_whole(&path, &bytes(&metadata)?)?;
    let mut old = list(folder)?;
    old.truncate(old.len().saturating_sub(keep));
    for path in old {
        fs::remove_file(&path).map_err(|source| CheckpointError::Io { path, source })?;
    }
    Ok(path)
}

/// The checkpoints of a folder, oldest first.
///
/// # Errors
/// The folder is there and cannot be read.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let io = |source| CheckpointError::Io { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if name.starts_with("step-") && name.ends_with(".safetensors") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

impl Checkpoint {
    /// Reads a checkpoint and checks that it is whole.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|source| CheckpointError::Io { path: path.to_owned(), source })?;
        let broken = |what: &str| {
            let folder = path.parent().map(|p| p.display().to_string()).unwrap_or_default();
            damaged(path, format!("{what}; resume from another one in {folder}"))
        };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|_| broken("is truncated or damaged"))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        if metadata.get("format").map(String::as_str) != Some(FORMAT) {
            return Err(damaged(path, format!("is not of the form {FORMAT}; give a checkpoint of this program")));
        }
        let parsed = SafeTensors::deserialize(&bytes).map_err(|_| broken("is truncated or damaged"))?;
        if metadata.get("digest") != Some(&digest(&parsed, &metadata)) {
            return Err(broken("was altered after it was written"));
        }
        let position = metadata.get("position").and_then(|text| serde_json::from_str(text).ok());
        let (Some(position), Some(config)) = (position, metadata.get("config").cloned()) else {
            return Err(broken("lacks its position or configuration"));
        };
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?;
        Ok(Self { path: path.to_owned(), config, position, tensors })
    }

    /// The newest whole checkpoint of a run folder, and the damaged newer ones that were passed over.
    ///
    /// # Errors
    /// There is none; the error of the newest is given.
    pub fn newest(folder: &Path) -> Result<(Self, Vec<CheckpointError>)> {
        let mut passed = Vec::new();
        for path in list(folder)?.iter().rev() {
            match Self::load(path) {
                Ok(checkpoint) => return Ok((checkpoint, passed)),
                Err(error) => passed.push(error),
            }
        }
        Err(match passed.into_iter().next() {
            Some(error) => error,
            None => CheckpointError::None { folder: folder.to_owned() },
        })
    }

    /// Puts encoders, bank and optimiser into the state of the checkpoint.
    ///
    /// # Errors
    /// A tensor is missing or of another shape.
    pub fn restore(&self, clsa: &mut Clsa) -> Result<()> {
        let part = |prefix: &str| -> HashMap<String, Tensor> {
            let named = self.tensors.iter().filter_map(|(n, t)| Some((n.strip_prefix(prefix)?.to_owned(), t.clone())));
            named.collect()
        };
        for (prefix, encoder) in [("query.", &clsa.pair.query), ("key.", &clsa.pair.key)] {
            encoder
                .load_state_dict(&part(prefix))
                .map_err(|source| CheckpointError::Model { path: self.path.clone(), source })?;
        }
        let velocities = part("optimizer.");
        for (parameter, velocity) in clsa.pair.query.parameters().iter().zip(clsa.optimizer.velocity()) {
            let saved = velocities.get(&parameter.name);
            let saved = saved.ok_or_else(|| damaged(&self.path, format!("lacks optimizer.{}", parameter.name)))?;
            velocity.set(&saved.to_device(velocity.device())?)?;
        }
        let rows = self.tensors.get("bank.rows").ok_or_else(|| damaged(&self.path, "lacks bank.rows"))?;
        if rows.dims() != clsa.bank.rows().dims() {
            let (got, expected) = (rows.dims(), clsa.bank.rows().dims());
            return Err(damaged(&self.path, format!("holds a bank of {got:?} where {expected:?} is configured")));
        }
        if rows.dtype() != clsa.bank.rows().dtype() {
            let (got, expected) = (rows.dtype().as_str(), clsa.bank.rows().dtype().as_str());
            return Err(damaged(
                &self.path,
                format!("holds a bank in {got} where compute.bank makes one in {expected}"),
            ));
        }
        let rows = rows.to_device(clsa.bank.rows().device())?;
        clsa.bank = MemoryBank::from_rows(rows, self.position.bank_pointer).map_err(|e| damaged(&self.path, e))?;
        clsa.steps = self.position.step;
        Ok(())
    }
}

fn tensors(clsa: &Clsa) -> std::result::Result<HashMap<String, Tensor>, clsa_model::ModelError> {
    let mut tensors = HashMap::new();
    for (prefix, encoder) in [("query", &clsa.pair.query), ("key", &clsa.pair.key)] {
        tensors.extend(encoder.state_dict()?.into_iter().map(|(name, t)| (format!("{prefix}.{name}"), t)));
    }
    for (parameter, velocity) in clsa.pair.query.parameters().iter().zip(clsa.optimizer.velocity()) {
        tensors.insert(format!("optimizer.{}", parameter.name), velocity.as_detached_tensor());
    }
    tensors.insert("bank.rows".to_owned(), clsa.bank.rows().clone());
    Ok(tensors)
}

/// SHA-256 over names, types, shapes and bytes of all tensors, and over the metadata but the digest itself.
fn digest(file: &SafeTensors, metadata: &HashMap<String, String>) -> String {
    let mut hash = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    let mut tensors = file.tensors();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, tensor) in &tensors {
        field(name.as_bytes());
        field(format!("{:?}{:?}", tensor.dtype(), tensor.shape()).as_bytes());
        field(tensor.data());
    }
    for key in ["format", "config", "position"] {
        field(metadata.get(key).map(String::as_bytes).unwrap_or_default());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a file so that it appears whole: a temporary file beside it, synced, then renamed, and the folder synced.
///
/// # Errors
/// The file system refuses.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".writing-").tempfile_in(folder)?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|source| CheckpointError::Io { path: path.to_owned(), source })
}

fn damaged(path: &Path, reason: impl ToString) -> CheckpointError {
    CheckpointError::Damaged { path: path.to_owned(), reason: reason.to_string() }
}
