//! Reading a weight file of any form.

use super::container::{Container, detect};
use super::error::{WeightFileError, fail};
use super::foreign_head;
use super::names::Roles;
use super::safetensors_file::SafetensorsFile;
use super::torch_file::{Form, TorchFile};
use crate::error::ModelError;
use crate::head;
use crate::parameters::difference;
use candle_core::Tensor;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

/// The weights of a file.
#[derive(Debug)]
pub struct WeightFile {
    /// The network's tensors, in MoCo's, CLSA's and this project's checkpoints those of the query encoder, by
    /// torchvision's names: the backbone, and the head that the file has (`fc.0` and `fc.2` for the paper's, `fc` for a
    /// classifier or MoCo v1's linear head).
    pub tensors: HashMap<String, Tensor>,
    /// The key encoder of a checkpoint, by the same names.
    pub key: Option<HashMap<String, Tensor>>,
    /// The memory bank of a checkpoint, (K, dim).
    pub bank: Option<Tensor>,
    /// The tensors of a head that this project does not have (another method's, or of other shapes) and of another method's queue,
    /// as the file names them: they were left out.
    pub left_out: Vec<String>,
    /// The form of the file.
    pub container: Container,
}

/// Reads a weight file, on the CPU, each tensor in the type it was saved in. The form is told from the content:
///
/// - `torch.save` of a state dictionary, or of a dictionary with one under `state_dict`, `model_state_dict`, `model`, `net`,
///   `teacher` or `student` (the first that is there, so that of DINO's two networks it is the teacher), or under any other key
///   where there is only one, in its zip, legacy and tar forms, with whatever `torch.load(weights_only=True)` reads beside it;
/// - checkpoints of MoCo v1 and v2 and of the official CLSA code (`module.encoder_q.*`, `module.encoder_k.*`,
///   `module.queue`), and the two encoders of MoCo v3 (`base_encoder.*`) and solo-learn (`backbone.*`,
///   `momentum_backbone.*`; those for CIFAR have a stem with a padding of 2, which no tensor tells: it is computed with 1, which
///   changes their features);
/// - safetensors with torchvision's names, which are also timm's;
/// - either of them with the names of `transformers`' ResNets (`resnet.encoder.stages.0.*`);
/// - this project's checkpoints.
///
/// Names may have `module.`, `_orig_mod.` and other wrappers in them and, before a known network, any prefix
/// (`backbone.`, `model.encoder.`). A head or a queue of another method beside the network is left out and named in
/// [`WeightFile::left_out`]; solo-learn's queues are such.
///
/// # Memory
/// Tensors take at most twice the file's length plus 16 MiB, counting 1 KiB for each beside its values; an archive with deflated
/// members may add twice what these unpack to, which is at most 64 MiB plus 32 times the file's length. One storage is held
/// beside them. The pickle's description takes at most 512 MiB; nesting takes no stack. The archive's directory and the tensors'
/// names take about ten times their bytes in the file. A PyTorch file has at most 100 000 tensors. (A safetensors file's memory is its
/// length, its tensors, and what its header of at most 100 MB describes.)
///
/// # Errors
/// The file cannot be read; it is truncated or damaged; its content is not what its name says (`.safetensors`; `.pth`,
/// `.pt`, `.tar`, `.bin`, `.ckpt` for PyTorch; other endings claim nothing); its pickle asks for anything but tensors and
/// plain data; or a checkpoint has tensors that belong to none of its parts, which are listed. Whether the tensors are a
/// whole network is seen by [`check`](super::check()), or by [`Encoder::load_backbone`](crate::Encoder::load_backbone).
///
/// # Examples
///
/// ```no_run
/// use clsa_model::weights;
///
/// let file = weights::read("checkpoint_0199.pth.tar".as_ref())?;
/// let bank = file.bank.expect("MoCo keeps its queue");
/// println!("{} tensors, {} keys of {} components", file.tensors.len(), bank.dims()[0], bank.dims()[1]);
/// # Ok::<(), clsa_model::ModelError>(())
/// ```
pub fn read(path: &Path) -> Result<WeightFile, ModelError> {
    let file = File::open(path).map_err(|source| ModelError::Io { path: path.display().to_string(), source })?;
    read_open(path, file).map_err(|error| error.about(path))
}

fn read_open(path: &Path, mut file: File) -> Result<WeightFile, WeightFileError> {
    let container = detect(&mut file)?;
    let claimed = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    match (claimed.as_str(), container) {
        ("safetensors", Container::TorchZip | Container::TorchLegacy | Container::TorchTar) => {
            return fail("is a PyTorch file, not safetensors as its name says: rename it to .pth");
        }
        ("pth" | "pt" | "tar" | "bin" | "ckpt", Container::Safetensors) => {
            return fail("is a safetensors file, not PyTorch's as its name says: rename it to .safetensors");
        }
        _ => {}
    }
    match container {
        Container::Safetensors => {
            let file = SafetensorsFile::read(file)?;
            gather(container, &file.names(), |name| file.load(name))
        }
        Container::TorchZip => read_torch(container, file, Form::Zip),
        Container::TorchLegacy => read_torch(container, file, Form::Legacy),
        Container::TorchTar => read_torch(container, file, Form::Tar),
    }
}

fn read_torch(container: Container, file: File, form: Form) -> Result<WeightFile, WeightFileError> {
    let mut file = TorchFile::open(file, form)?;
    gather(container, &file.names(), |name| file.load(name))
}

/// Loads the tensors by the part of the method they belong to.
fn gather(
    container: Container,
    names: &[String],
    mut load: impl FnMut(&str) -> Result<Tensor, WeightFileError>,
) -> Result<WeightFile, WeightFileError> {
    let Roles { query, key, bank, foreign: mut left_out } = Roles::of(names)?;
    let mut encoder = |names: Vec<(String, String)>| -> Result<HashMap<String, Tensor>, WeightFileError> {
        let mut tensors = HashMap::new();
        for (name, stored) in &names {
            tensors.insert(name.clone(), load(stored)?);
        }
        foreign_head::remove_unfit(&mut tensors);
        left_out.extend(names.into_iter().filter(|(name, _)| !tensors.contains_key(name)).map(|(_, stored)| stored));
        Ok(tensors)
    };
    let tensors = encoder(query)?;
    let key = if key.is_empty() { None } else { Some(encoder(key)?) };
    left_out.sort();
    let bank = match bank {
        Some(bank) => {
            let rows = load(&bank.stored)?;
            if rows.rank() != 2 {
                return fail(format!("has a memory bank of shape {:?} instead of two dimensions", rows.dims()));
            }
            Some(if bank.transposed { rows.t()?.contiguous()? } else { rows })
        }
        None => None,
    };
    check_companions(&tensors, key.as_ref(), bank.as_ref())?;
    Ok(WeightFile { tensors, key, bank, left_out, container })
}

/// Checks that the key encoder has the query encoder's tensors, and that the bank's keys are as wide as its embeddings.
fn check_companions(
    query: &HashMap<String, Tensor>,
    key: Option<&HashMap<String, Tensor>>,
    bank: Option<&Tensor>,
) -> Result<(), WeightFileError> {
    let mut differences = Vec::new();
    if let Some(key) = key {
        differences.extend(query.iter().filter_map(|(name, tensor)| difference(name, key.get(name), tensor.dims())));
        differences
            .extend(key.keys().filter(|name| !query.contains_key(*name)).map(|name| format!("{name} is unexpected")));
        differences.sort();
    }
    if !differences.is_empty() {
        return fail(format!("has a key encoder that differs from its query encoder: {}", differences.join("; ")));
    }
    match (bank.map(|bank| bank.dims()[1]), head::embedding_dim(query)) {
        (Some(bank), Some(width)) if bank != width => {
            fail(format!("has a memory bank of keys of {bank} components, but its embeddings have {width}"))
        }
        _ => Ok(()),
    }
}
