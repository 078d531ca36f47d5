//! Checkpoints: everything that training changes, in one safetensors file that appears whole or not at all.
//!
//! Tensors: `query.NAME` and `key.NAME` (torchvision's names), `optimizer.NAME` (velocities, or
//! AdamW's moments `NAME.exp_avg` and `NAME.exp_avg_sq`), `bank.rows`, `probe.NAME` where a linear classifier is trained beside, and where
//! several ranks wrote it within an epoch `ranks.statistics`. Metadata:
//! `format`, `config` (TOML), `position` (JSON) and `digest`, the SHA-256 of all of these, so that a file that was
//! truncated or altered is refused. Files of one state have the same bytes.

use crate::config::{Config, ConfigError};
use candle_core::{Device, Tensor, Var};
use clsa_loss::MemoryBank;
use clsa_model::weights::checkpoint::{BANK, FORMAT, KEY, OPTIMIZER, PROBE, QUERY, STATISTICS};
use clsa_model::weights::first_not_finite;
use clsa_model::{Encoder, RunningStatistic};
use safetensors::SafeTensors;
use safetensors::tensor::TensorInfo;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Everything that training changes, as a checkpoint holds it.
#[derive(Clone, Copy)]
pub struct TrainingState<'a> {
    /// The query encoder θ.
    pub query: &'a Encoder,
    /// The key encoder ξ.
    pub key: &'a Encoder,
    /// The optimizer's state, by name: the names of the query encoder's parameters for velocities.
    pub optimizer: &'a [(String, Var)],
    /// The memory bank.
    pub bank: &'a MemoryBank,
    /// The variables of the online probe, by name; none where there is no probe.
    pub probe: &'a [(String, Var)],
    /// [`TrainingState::statistics`] of each rank, (ranks, S), where the encoders have their mean for the time being; none otherwise.
    pub statistics_of_ranks: Option<&'a Tensor>,
}

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
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A run has no checkpoint yet.
    #[error("{}: there is no checkpoint, so nothing to go on from; begin the run anew, in another folder", folder.display())]
    None {
        /// The run's folder of checkpoints.
        folder: PathBuf,
    },
    /// The file is not a whole checkpoint, or not one of this training.
    #[error("{}: this checkpoint {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A state that is not worth keeping.
    #[error("{}: this checkpoint is not written, because {reason}", path.display())]
    NotWritten {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// The weights do not fit the model.
    #[error("{}: {source}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What differs.
        source: clsa_model::ModelError,
    },
}

impl CheckpointError {
    /// Whether the file that was named is wrong, rather than the machine.
    pub fn is_request(&self) -> bool {
        match self {
            Self::None { .. } | Self::Damaged { .. } => true,
            Self::Model { source, .. } => source.is_request(),
            Self::Io { .. } | Self::NotWritten { .. } | Self::Tensor(_) => false,
        }
    }
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

/// The checkpoints of a folder with their steps, the oldest first; none where there is no such folder.
///
/// # Errors
/// The folder is there and cannot be read.
pub(crate) fn list(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let io = |source| CheckpointError::Io { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(io)?.path();
        found.extend(Checkpoint::step_of(&path).map(|step| (step, path)));
    }
    found.sort();
    Ok(found)
}

impl Checkpoint {
    /// Writes a checkpoint into `folder`. Returns the file.
    ///
    /// # Errors
    /// The folder cannot be written, or the state holds numbers that are not finite.
    pub fn save(folder: &Path, state: TrainingState<'_>, config: &Config, mut position: Position) -> Result<PathBuf> {
        position.bank_pointer = state.bank.pointer();
        let path = folder.join(format!("step-{:08}.safetensors", position.step));
        let not_written = |reason: String| CheckpointError::NotWritten { path: path.clone(), reason };
        let model = |source| CheckpointError::Model { path: path.clone(), source };
        let tensors = state.tensors().map_err(model)?;
        if let Some(name) = first_not_finite(&tensors).map_err(model)? {
            return Err(not_written(format!("{name} holds numbers that are not finite")));
        }
        let mut metadata = HashMap::from([
            ("format".to_owned(), FORMAT.to_owned()),
            ("config".to_owned(), config.to_toml()),
            ("position".to_owned(), serde_json::to_string(&position).expect("plain numbers")),
            ("digest".to_owned(), "0".repeat(64)),
        ]);
        let mut bytes =
            safetensors::serialize(&tensors, Some(metadata.clone())).map_err(|e| not_written(e.to_string()))?;
        // The digest covers what a reader sees, so it is taken from the serialization.
        let digest = digest(&SafeTensors::deserialize(&bytes).map_err(|e| not_written(e.to_string()))?, &metadata);
        metadata.insert("digest".to_owned(), digest);
        write_metadata(&mut bytes, metadata).map_err(|e| not_written(e.to_string()))?;
        let io = |source| CheckpointError::Io { path: path.clone(), source };
        clsa_files::write_whole(&path, &bytes).map_err(io)?;
        Ok(path)
    }

    /// The training step that a checkpoint's name tells; none for other names.
    pub fn step_of(path: &Path) -> Option<u64> {
        path.file_name()?.to_str()?.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()
    }

    /// Where a run stood, as the head of a checkpoint says; none for other files. The rest of the file is not looked at.
    pub fn position_of(path: &Path) -> Option<Position> {
        serde_json::from_str(metadata_of(path)?.get("position")?).ok()
    }

    /// The configuration that a checkpoint was trained with, as its head says; none for other files. The rest of the file is not
    /// looked at.
    ///
    /// # Errors
    /// It is not one of this version.
    pub fn config_of(path: &Path) -> std::result::Result<Option<Config>, ConfigError> {
        let text = metadata_of(path).and_then(|mut metadata| metadata.remove("config"));
        text.map(|text| Config::parse(&path.display().to_string(), &text, &[])).transpose()
    }

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
        // A fuzzer, which cannot guess a digest, sees what comes after.
        if !cfg!(fuzzing) && metadata.get("digest") != Some(&digest(&parsed, &metadata)) {
            return Err(broken("was altered after it was written"));
        }
        let position = metadata.get("position").and_then(|text| serde_json::from_str(text).ok());
        let (Some(position), Some(config)) = (position, metadata.get("config").cloned()) else {
            return Err(broken("lacks its position or configuration"));
        };
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu);
        let tensors = tensors.map_err(|error| broken(&format!("has a tensor that cannot be read ({error})")))?;
        Ok(Self { path: path.to_owned(), config, position, tensors })
    }

    /// The newest whole checkpoint of a folder, and the errors of damaged newer ones, which were passed over.
    ///
    /// # Errors
    /// There is none, and the error of the newest is given; or one cannot be read, which may be whole.
    pub fn newest(folder: &Path) -> Result<(Self, Vec<CheckpointError>)> {
        let mut skipped = Vec::new();
        for (_, path) in list(folder)?.iter().rev() {
            match Self::load(path) {
                Ok(checkpoint) => return Ok((checkpoint, skipped)),
                // A run that goes on from one before it would remove it.
                Err(error @ CheckpointError::Io { .. }) => return Err(error),
                Err(error) => skipped.push(error),
            }
        }
        Err(match skipped.into_iter().next() {
            Some(error) => error,
            None => CheckpointError::None { folder: folder.to_owned() },
        })
    }

    /// Restores encoders and optimizer on rank `rank` of `ranks`, and returns the bank. If the checkpoint has running statistics of as
    /// many ranks, each rank gets its own back; otherwise it gets the mean.
    ///
    /// # Errors
    /// A tensor is missing or of another shape or type.
    pub fn restore(&self, state: TrainingState<'_>, rank: usize, ranks: usize) -> Result<MemoryBank> {
        let part = |prefix: &str| -> HashMap<String, Tensor> {
            let named = self.tensors.iter().filter_map(|(n, t)| Some((n.strip_prefix(prefix)?.to_owned(), t.clone())));
            named.collect()
        };
        for (prefix, encoder) in [(QUERY, state.query), (KEY, state.key)] {
            encoder
                .load_state_dict(&part(prefix))
                .map_err(|source| CheckpointError::Model { path: self.path.clone(), source })?;
        }
        if let Some(all) = self.tensors.get(STATISTICS) {
            let count: usize = state.running_statistics().map(|at| at.var.elem_count()).sum();
            let got = all.dims();
            match *got {
                [rows, columns] if columns == count && rows == ranks => state.set_statistics(&all.get(rank)?)?,
                [_, columns] if columns == count => {}
                _ => {
                    let reason = format!("holds {STATISTICS} of {got:?} where a rank has {count}");
                    return Err(damaged(&self.path, reason));
                }
            }
        }
        for (name, var) in state.optimizer {
            let saved = self.tensors.get(&format!("{OPTIMIZER}{name}"));
            let saved = saved.ok_or_else(|| damaged(&self.path, format!("lacks {OPTIMIZER}{name}")))?;
            var.set(&saved.to_device(var.device())?)?;
        }
        // A run may go on with a probe that it did not have before.
        for (name, var) in state.probe {
            match self.tensors.get(&format!("{PROBE}{name}")) {
                Some(saved) if saved.dims() == var.dims() => var.set(&saved.to_device(var.device())?)?,
                Some(saved) => {
                    let (got, expected) = (saved.dims(), var.dims());
                    return Err(damaged(
                        &self.path,
                        format!("holds {PROBE}{name} of {got:?} where it is {expected:?} here"),
                    ));
                }
                None => {}
            }
        }
        let rows = self.tensors.get(BANK).ok_or_else(|| damaged(&self.path, format!("lacks {BANK}")))?;
        let now = state.bank.rows();
        if rows.dims() != now.dims() {
            let (got, expected) = (rows.dims(), now.dims());
            return Err(damaged(&self.path, format!("holds a bank of {got:?} where {expected:?} is configured")));
        }
        if rows.dtype() != now.dtype() {
            let (got, expected) = (rows.dtype().as_str(), now.dtype().as_str());
            let reason = format!("holds a bank in {got} where compute.bank makes one in {expected}");
            return Err(damaged(&self.path, reason));
        }
        let rows = rows.to_device(now.device())?;
        MemoryBank::from_rows(rows, self.position.bank_pointer).map_err(|e| damaged(&self.path, e))
    }
}

impl<'a> TrainingState<'a> {
    /// The running statistics of both encoders, the query encoder's first.
    fn running_statistics(&self) -> impl Iterator<Item = &'a RunningStatistic> + use<'a> {
        [self.query, self.key].into_iter().flat_map(Encoder::running_statistics)
    }

    /// Batch norm's running statistics of both encoders as one row (S,): what ranks have of their own within an epoch.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn statistics(&self) -> candle_core::Result<Tensor> {
        let flat: Vec<Tensor> =
            self.running_statistics().map(|at| at.var.flatten_all()).collect::<candle_core::Result<_>>()?;
        Tensor::cat(&flat, 0)
    }

    /// Gives both encoders the running statistics of such a row.
    ///
    /// # Errors
    /// The row is of another length or type.
    pub fn set_statistics(&self, row: &Tensor) -> candle_core::Result<()> {
        let mut first = 0;
        for RunningStatistic { var, .. } in self.running_statistics() {
            let count = var.elem_count();
            var.set(&row.narrow(0, first, count)?.reshape(var.shape())?.to_device(var.device())?)?;
            first += count;
        }
        Ok(())
    }

    fn tensors(&self) -> std::result::Result<HashMap<String, Tensor>, clsa_model::ModelError> {
        let mut tensors = HashMap::new();
        for (prefix, encoder) in [(QUERY, self.query), (KEY, self.key)] {
            tensors.extend(encoder.state_dict()?.into_iter().map(|(name, t)| (format!("{prefix}{name}"), t)));
        }
        let optimizer = self.optimizer.iter();
        tensors.extend(optimizer.map(|(name, var)| (format!("{OPTIMIZER}{name}"), var.as_detached_tensor())));
        tensors.extend(self.probe.iter().map(|(name, var)| (format!("{PROBE}{name}"), var.as_detached_tensor())));
        tensors.extend(self.statistics_of_ranks.map(|all| (STATISTICS.to_owned(), all.clone())));
        tensors.insert(BANK.to_owned(), self.bank.rows().clone());
        Ok(tensors)
    }
}

/// What the head of a checkpoint says; none for other files.
fn metadata_of(path: &Path) -> Option<HashMap<String, String>> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(rename = "__metadata__")]
        metadata: HashMap<String, String>,
    }
    let mut file = fs::File::open(path).ok()?;
    let mut len = [0; 8];
    file.read_exact(&mut len).ok()?;
    let mut head = Vec::new();
    // No more than safetensors allows, and than there is.
    file.take(u64::from_le_bytes(len).min(100_000_000)).read_to_end(&mut head).ok()?;
    let Head { metadata } = serde_json::from_slice(&head).ok()?;
    (metadata.get("format")? == FORMAT).then_some(metadata)
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
    base16ct::lower::encode_string(&hash.finalize())
}

/// Puts metadata that are as long in the place of those of a safetensors file, and all names of its head in their order: safetensors
/// writes metadata in another order each time.
fn write_metadata(file: &mut [u8], metadata: HashMap<String, String>) -> serde_json::Result<()> {
    #[derive(Serialize, Deserialize)]
    struct Head {
        #[serde(rename = "__metadata__")]
        metadata: BTreeMap<String, String>,
        #[serde(flatten)]
        tensors: BTreeMap<String, TensorInfo>,
    }
    let (len, rest) = file.split_first_chunk_mut().expect("every safetensors file begins with the length of its head");
    let head = &mut rest[..u64::from_le_bytes(*len) as usize];
    let Head { tensors, .. } = serde_json::from_slice(head)?;
    let text = serde_json::to_vec(&Head { metadata: metadata.into_iter().collect(), tensors })?;
    let (words, filling) = head.split_at_mut(text.len());
    words.copy_from_slice(&text);
    filling.fill(b' ');
    Ok(())
}

fn damaged(path: &Path, reason: impl ToString) -> CheckpointError {
    CheckpointError::Damaged { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::DType;
    use clsa_model::{Arch, Compute, ModelConfig, Stem};
    use safetensors::tensor::TensorView;

    #[test]
    fn files_of_one_state_have_the_same_bytes() {
        let tensor = TensorView::new(safetensors::Dtype::U8, vec![3], &[1, 2, 3]).unwrap();
        let metadata = |digest: &str| {
            HashMap::from([("format", FORMAT), ("config", "source = \"é\"\n"), ("position", "{}"), ("digest", digest)])
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect::<HashMap<_, _>>()
        };
        let file = || {
            let mut file = safetensors::serialize([("b", &tensor), ("a", &tensor)], Some(metadata("0000"))).unwrap();
            write_metadata(&mut file, metadata("abcd")).unwrap();
            file
        };
        let first = file();
        for _ in 0..20 {
            assert_eq!(file(), first);
        }
        let (_, head) = SafeTensors::read_metadata(&first).unwrap();
        assert_eq!(head.metadata(), &Some(metadata("abcd")));
        let parsed = SafeTensors::deserialize(&first).unwrap();
        assert_eq!(parsed.len(), 2);
        assert_eq!(parsed.tensor("a").unwrap(), tensor);
        assert_eq!(parsed.tensor("b").unwrap(), tensor);
    }

    #[test]
    fn a_state_of_another_shape_or_type_is_refused_by_what_differs() {
        fn state<'a>(encoder: &'a Encoder, optimizer: &'a [(String, Var)], bank: &'a MemoryBank) -> TrainingState<'a> {
            TrainingState { query: encoder, key: encoder, optimizer, bank, probe: &[], statistics_of_ranks: None }
        }
        let model = ModelConfig { arch: Arch::Resnet10, width: 0.125, stem: Stem::Cifar, ..ModelConfig::default() };
        let encoder = Encoder::new(&model, Compute::default(), 0, &Device::Cpu).unwrap();
        let variables = |names: &[&str]| -> Vec<(String, Var)> {
            let zeros = || Var::zeros(3, DType::F32, &Device::Cpu).unwrap();
            names.iter().map(|name| ((*name).to_owned(), zeros())).collect()
        };
        let bank = |keys: usize, dtype: DType| MemoryBank::random(keys, 16, 1, dtype, &Device::Cpu).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = Config::load("demo", &[]).unwrap();
        let (one, small) = (variables(&["a"]), bank(8, DType::F32));
        let position = Position { step: 3, ..Position::default() };
        let path = Checkpoint::save(folder.path(), state(&encoder, &one, &small), &config, position).unwrap();
        let saved = Checkpoint::load(&path).unwrap();
        let restored = saved.restore(state(&encoder, &one, &small), 0, 1).unwrap();
        assert_eq!(restored.rows().to_vec2::<f32>().unwrap(), small.rows().to_vec2::<f32>().unwrap());
        for (optimizer, bank, words) in [
            (variables(&["a"]), bank(16, DType::F32), "holds a bank of [8, 16] where [16, 16] is configured"),
            (variables(&["a"]), bank(8, DType::BF16), "holds a bank in f32 where compute.bank makes one in bf16"),
            (variables(&["a", "b"]), bank(8, DType::F32), "lacks optimizer.b"),
        ] {
            let error = saved.restore(state(&encoder, &optimizer, &bank), 0, 1).err().unwrap();
            assert!(error.is_request() && error.to_string().contains(words), "{error}");
        }
    }

    /// A file that ends behind a head with this metadata.
    fn head(metadata: serde_json::Value) -> Vec<u8> {
        let head = serde_json::json!({ "__metadata__": metadata }).to_string();
        [&(head.len() as u64).to_le_bytes()[..], head.as_bytes()].concat()
    }

    #[test]
    fn a_newest_checkpoint_whose_head_is_damaged_is_passed_over_in_counting_epochs() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        fs::create_dir_all(run.join("checkpoints")).unwrap();
        fs::write(run.join("config.toml"), Config::load("demo", &[]).unwrap().to_toml()).unwrap();
        let run = crate::RunFolder::open(&run).unwrap();
        assert!(run.epochs_done().unwrap_err().is_request());
        let position = serde_json::to_string(&Position { step: 10, epoch: 4, ..Position::default() }).unwrap();
        let whole = head(serde_json::json!({ "format": FORMAT, "position": position }));
        fs::write(run.checkpoints().join("step-00000010.safetensors"), whole).unwrap();
        assert_eq!(run.epochs_done().unwrap(), 4);
        fs::write(run.checkpoints().join("step-00000020.safetensors"), "damaged").unwrap();
        assert_eq!(run.epochs_done().unwrap(), 4);
    }

    #[test]
    fn the_head_of_a_checkpoint_says_what_it_was_trained_with() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weights.safetensors");
        let of = |metadata: serde_json::Value| {
            fs::write(&file, head(metadata)).unwrap();
            Checkpoint::config_of(&file).map_err(|error| error.to_string())
        };
        let config = Config::load("demo", &[]).unwrap();
        let text = config.to_toml();
        assert_eq!(of(serde_json::json!({ "format": FORMAT, "config": text })), Ok(Some(config)));
        assert_eq!(of(serde_json::json!({ "format": "pt", "config": text })), Ok(None));
        let other = of(serde_json::json!({ "format": FORMAT, "config": "no_such_key = 1" })).unwrap_err();
        assert!(other.contains("weights.safetensors") && other.contains("no_such_key"), "{other}");
    }

    /// The bytes of a checkpoint of one tensor.
    fn whole(tensor: &TensorView<'_>) -> Vec<u8> {
        let mut metadata = HashMap::from([
            ("format".to_owned(), FORMAT.to_owned()),
            ("config".to_owned(), String::new()),
            ("position".to_owned(), serde_json::to_string(&Position::default()).unwrap()),
        ]);
        let file = |metadata: &HashMap<String, String>| {
            safetensors::serialize([(BANK, tensor)], Some(metadata.clone())).unwrap()
        };
        let bytes = file(&metadata);
        metadata.insert("digest".to_owned(), digest(&SafeTensors::deserialize(&bytes).unwrap(), &metadata));
        file(&metadata)
    }

    #[test]
    fn a_newest_checkpoint_that_is_damaged_is_passed_over_and_one_that_cannot_be_read_is_not() {
        let bytes = TensorView::new(safetensors::Dtype::U8, vec![3], &[1, 2, 3]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let [older, damaged, unreadable] =
            [3, 5, 8].map(|step| folder.path().join(format!("step-{step:08}.safetensors")));
        fs::write(&older, whole(&bytes)).unwrap();
        fs::write(&damaged, "damaged").unwrap();
        let (newest, skipped) = Checkpoint::newest(folder.path()).unwrap();
        assert_eq!((newest.path, skipped.len()), (older, 1));
        // A folder cannot be read as a file is, whoever reads it.
        fs::create_dir(&unreadable).unwrap();
        let error = Checkpoint::newest(folder.path()).unwrap_err();
        assert!(matches!(&error, CheckpointError::Io { path, .. } if *path == unreadable), "{error}");
    }

    #[test]
    fn a_tensor_of_a_type_that_no_checkpoint_has_is_refused_by_the_name_of_the_file() {
        let complex = TensorView::new(safetensors::Dtype::C64, vec![1], &[0; 8]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step-00000001.safetensors");
        fs::write(&path, whole(&complex)).unwrap();
        let error = Checkpoint::load(&path).err().unwrap().to_string();
        let reason = "this checkpoint has a tensor that cannot be read (unsupported safetensor dtype C64)";
        assert!(error.starts_with(&format!("{}: {reason}", path.display())), "{error}");
    }
}
