//! Weights that training begins with, in place of random ones.

use crate::error::{Result, TrainError};
use crate::method::Clsa;
use candle_core::{Device, Tensor};
use clsa_loss::MemoryBank;
use clsa_model::weights::{self, WeightFile};
use clsa_model::{Backend, Compute, Encoder, ModelConfig, Stem, head};
use clsa_run::file_sha256;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

/// A weight file to begin with.
#[derive(Debug)]
pub struct InitialWeights {
    path: PathBuf,
    file: WeightFile,
    sha256: String,
}

/// What was taken from a weight file. The backbone always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whether the key encoder is the file's; otherwise it is a copy of the query encoder.
    pub key: bool,
    /// Whether the projection head is the file's; otherwise it is new.
    pub head: bool,
    /// Whether the memory bank is the file's; otherwise it is new. Keys of another head than the one that is trained would say nothing.
    pub bank: bool,
}

impl InitialWeights {
    /// Reads any file that [`weights::read`] reads.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or holds values that are not finite.
    pub fn read(path: &Path) -> Result<Self> {
        let file = weights::read(path)?;
        let bank = file.bank.clone().map(|rows| HashMap::from([("memory bank".to_owned(), rows)]));
        for tensors in [Some(&file.tensors), file.key.as_ref(), bank.as_ref()].into_iter().flatten() {
            if let Some(name) = weights::first_not_finite(tensors)? {
                let reason = format!("{name} holds a value that is infinite or not a number; use other weights");
                return Err(unfit(path, reason));
            }
        }
        let sha256 = file_sha256(path).map_err(|error| unfit(path, format!("cannot be read ({error})")))?;
        Ok(Self { path: path.to_owned(), file, sha256 })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of the file, in lower case.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// What the file holds.
    pub fn file(&self) -> &WeightFile {
        &self.file
    }

    /// Checks that the file has a whole backbone, and one of the architecture that is to be trained.
    ///
    /// # Errors
    /// [`TrainError::Unfit`] says what differs or is missing.
    pub fn check(&self, model: &ModelConfig) -> Result<()> {
        let found = weights::infer_config(&self.file.tensors).map_err(|error| unfit(&self.path, error.to_string()))?;
        let difference = |same: bool, key: &str, found: &dyn fmt::Display, wanted: &dyn fmt::Display| {
            (!same).then(|| format!("{key} is {found} in the file and {wanted} in the configuration"))
        };
        let differences = [
            difference(found.arch == model.arch, "model.arch", &found.arch.name(), &model.arch.name()),
            // Widths that give as many channels are one network.
            difference(found.base_width() == model.base_width(), "model.width", &found.width, &model.width),
            difference(found.stem == model.stem, "model.stem", &stem(found.stem), &stem(model.stem)),
        ];
        let differences: Vec<String> = differences.into_iter().flatten().collect();
        if !differences.is_empty() {
            return Err(unfit(&self.path, differences.join(", ")));
        }
        let compute = Compute { backend: Backend::Portable, ..Compute::default() };
        let encoder = Encoder::new(&found, compute, 0, &Device::Cpu)?;
        for tensors in [Some(&self.file.tensors), self.file.key.as_ref()].into_iter().flatten() {
            encoder.load_backbone(tensors).map_err(|error| unfit(&self.path, error.to_string()))?;
        }
        Ok(())
    }

    /// Sets encoders and bank to those of the file, as far as they fit.
    ///
    /// # Errors
    /// The backbone does not fit, or a tensor operation fails.
    pub fn load(&self, clsa: &mut Clsa) -> Result<Taken> {
        let query = &self.file.tensors;
        let key = self.file.key.as_ref();
        let head = head_shapes(&clsa.pair.query.state_dict()?) == head_shapes(query);
        let set = |encoder: &Encoder, tensors: &HashMap<String, Tensor>| {
            let set = if head { encoder.load_state_dict(tensors) } else { encoder.load_backbone(tensors) };
            set.map_err(|error| unfit(&self.path, error.to_string()))
        };
        set(&clsa.pair.query, query)?;
        // A new head is the same in both encoders, as at the beginning of any training.
        clsa.pair.key.copy_from(&clsa.pair.query)?;
        if let Some(key) = key {
            set(&clsa.pair.key, key)?;
        }
        let now = clsa.bank.rows();
        let bank = self.file.bank.as_ref().filter(|rows| head && key.is_some() && rows.dims() == now.dims());
        if let Some(rows) = bank {
            let rows = rows.to_dtype(now.dtype())?.to_device(now.device())?;
            clsa.bank = MemoryBank::from_rows(rows, 0)?;
        }
        Ok(Taken { key: key.is_some(), head, bank: bank.is_some() })
    }
}

/// Names and shapes of the head's tensors, without batch counts.
fn head_shapes(tensors: &HashMap<String, Tensor>) -> BTreeMap<&str, &[usize]> {
    let own = tensors.iter().filter(|(name, _)| head::owns(name) && !weights::is_batch_count(name));
    own.map(|(name, tensor)| (name.as_str(), tensor.dims())).collect()
}

fn stem(stem: Stem) -> &'static str {
    match stem {
        Stem::Imagenet => "imagenet",
        Stem::Cifar => "cifar",
    }
}

fn unfit(path: &Path, reason: String) -> TrainError {
    TrainError::Unfit { key: path.display().to_string(), reason }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(self.key, "key encoder"), (self.head, "projection head"), (self.bank, "memory bank")];
        f.write_str("backbone")?;
        for (_, name) in parts.iter().filter(|(taken, _)| *taken) {
            write!(f, ", {name}")?;
        }
        f.write_str(" of the file")?;
        if !self.key {
            f.write_str("; key encoder copied from the query encoder")?;
        }
        for (_, name) in parts.iter().skip(1).filter(|(taken, _)| !taken) {
            write!(f, "; {name} new")?;
        }
        Ok(())
    }
}
