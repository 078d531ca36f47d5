//! Weight files: PyTorch's, safetensors and this project's checkpoints in; safetensors, PyTorch's and Detectron2's out.
//!
//! Nothing in a file is ever run: a PyTorch file is a pickle, which can ask Python to call anything, and the machine that
//! reads it here can describe tensors and plain data and nothing else.

mod config;
mod detectron2;
mod names;
mod pickle;
mod refusal;
mod safetensors_file;
mod torch_file;
mod torch_legacy;
mod torch_tar;
mod torch_write;
mod torch_zip;
mod unpickle;

pub use config::infer_config;

use crate::config::{Backend, Compute, ModelConfig};
use crate::encoder::Encoder;
use crate::error::ModelError;
use candle_core::{DType, Device, Tensor};
use names::Roles;
use refusal::{Refusal, refuse};
use safetensors_file::SafetensorsFile;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use torch_file::{Form, TorchFile};

/// The form a weight file was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// Safetensors: torchvision names, or a checkpoint of this project.
    Safetensors,
    /// `torch.save` since PyTorch 1.6: a zip archive.
    TorchZip,
    /// `torch.save` before 1.6: consecutive pickles.
    TorchLegacy,
    /// `torch.save` of PyTorch 0.1: a tar archive.
    TorchTar,
}

/// The forms that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Safetensors with torchvision's names (`.safetensors`).
    Safetensors,
    /// A state dictionary that `torch.load(weights_only=True)` reads (`.pth`).
    Pth,
    /// The backbone by Detectron2's names, in the pickle its checkpointer loads (`.pkl`).
    Detectron2,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Safetensors, Self::Pth, Self::Detectron2];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Pth => "pth",
            Self::Detectron2 => "detectron2",
        }
    }

    /// What reads its files.
    pub fn reader(self) -> &'static str {
        match self {
            Self::Safetensors => "readers of safetensors",
            Self::Pth => "PyTorch",
            Self::Detectron2 => "Detectron2",
        }
    }

    /// How the names of its files end.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Pth => "pth",
            Self::Detectron2 => "pkl",
        }
    }
}

/// The weights of a file.
#[derive(Debug)]
pub struct WeightFile {
    /// The network's tensors, in MoCo's, CLSA's and this project's checkpoints those of the query encoder, by
    /// torchvision's names: the backbone, and of a head whatever the file has (`fc.0` and `fc.2` for a projection head,
    /// `fc` for a classifier or MoCo v1's linear head).
    pub tensors: HashMap<String, Tensor>,
    /// The key encoder of a checkpoint, by the same names.
    pub key: Option<HashMap<String, Tensor>>,
    /// The memory bank of a checkpoint, (K, dim).
    pub bank: Option<Tensor>,
    /// The form of the file.
    pub container: Container,
}

/// Reads a weight file, on the CPU, each tensor in the type it was saved in. The form is told from the content:
///
/// - `torch.save` of a state dictionary, or of a dictionary with one under `state_dict` or `model`, in its zip, legacy
///   and tar forms; names may start with `module.`;
/// - checkpoints of MoCo v1 and v2 and of the official CLSA code (`module.encoder_q.*`, `module.encoder_k.*`,
///   `module.queue`);
/// - safetensors with torchvision's names;
/// - this project's checkpoints.
///
/// # Errors
/// The file cannot be read; it is truncated or damaged; its content is not what its name says (`.safetensors`; `.pth`,
/// `.pt`, `.tar`, `.bin`, `.ckpt` for PyTorch; other endings claim nothing); its pickle asks for anything but tensors and
/// plain data; or a checkpoint has tensors that belong to none of its parts, which are listed. Whether the tensors are a
/// whole network is seen by [`check`](self::check), or by [`Encoder::load_backbone`].
pub fn read(path: &Path) -> Result<WeightFile, ModelError> {
    let file = File::open(path).map_err(|source| ModelError::Io { path: path.display().to_string(), source })?;
    read_open(path, file).map_err(|refusal| refusal.about(path))
}

fn read_open(path: &Path, mut file: File) -> Result<WeightFile, Refusal> {
    let container = detect(&mut file)?;
    let claimed = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    match (claimed.as_str(), container) {
        ("safetensors", Container::TorchZip | Container::TorchLegacy | Container::TorchTar) => {
            return refuse("is a PyTorch file, not safetensors as its name says: rename it to .pth");
        }
        ("pth" | "pt" | "tar" | "bin" | "ckpt", Container::Safetensors) => {
            return refuse("is a safetensors file, not PyTorch's as its name says: rename it to .safetensors");
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

fn read_torch(container: Container, file: File, form: Form) -> Result<WeightFile, Refusal> {
    let mut file = TorchFile::open(file, form)?;
    gather(container, &file.names(), |name| file.load(name))
}

/// Tells the form from the first bytes.
fn detect(file: &mut File) -> Result<Container, Refusal> {
    let mut start = Vec::new();
    file.take(512).read_to_end(&mut start)?;
    file.seek(SeekFrom::Start(0))?;
    match &start[..] {
        [] => refuse("is empty"),
        [b'P', b'K', 3, 4, ..] => Ok(Container::TorchZip),
        // The pickled magic number of torch.save.
        [0x80, _, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, ..]
        | [0x80, 4 | 5, 0x95, _, _, _, _, _, _, _, _, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, ..] => {
            Ok(Container::TorchLegacy)
        }
        [0x80, 0..=5, ..] => refuse("is a Python pickle, but not of torch.save: save the state_dict() with torch.save"),
        [_, _, _, _, _, _, _, _, b'{', ..] => Ok(Container::Safetensors),
        start if start.get(257..262) == Some(b"ustar") => Ok(Container::TorchTar),
        _ => refuse("is neither a PyTorch file nor safetensors"),
    }
}

/// Loads the tensors by the part of the method they belong to.
fn gather(
    container: Container,
    names: &[String],
    mut load: impl FnMut(&str) -> Result<Tensor, Refusal>,
) -> Result<WeightFile, Refusal> {
    let roles = Roles::of(names)?;
    let mut encoder = |names: Vec<(String, String)>| {
        names.into_iter().map(|(name, stored)| Ok((name, load(&stored)?))).collect::<Result<HashMap<_, _>, Refusal>>()
    };
    let tensors = encoder(roles.query)?;
    let key = if roles.key.is_empty() { None } else { Some(encoder(roles.key)?) };
    let bank = match roles.bank {
        Some(bank) => {
            let rows = load(&bank.stored)?;
            if rows.rank() != 2 {
                return refuse(format!("has a memory bank of shape {:?} instead of two dimensions", rows.dims()));
            }
            Some(if bank.transposed { rows.t()?.contiguous()? } else { rows })
        }
        None => None,
    };
    check_companions(&tensors, key.as_ref(), bank.as_ref())?;
    Ok(WeightFile { tensors, key, bank, container })
}

/// Checks that the key encoder has the query encoder's tensors, and that the bank's keys are as wide as its embeddings.
fn check_companions(
    query: &HashMap<String, Tensor>,
    key: Option<&HashMap<String, Tensor>>,
    bank: Option<&Tensor>,
) -> Result<(), Refusal> {
    let mut differences = Vec::new();
    if let Some(key) = key {
        for (name, tensor) in query {
            match key.get(name) {
                None => differences.push(format!("{name} is missing")),
                Some(other) if other.dims() != tensor.dims() => {
                    differences.push(format!("{name} has shape {:?} instead of {:?}", other.dims(), tensor.dims()));
                }
                Some(_) => {}
            }
        }
        differences
            .extend(key.keys().filter(|name| !query.contains_key(*name)).map(|name| format!("{name} is unexpected")));
        differences.sort();
    }
    if !differences.is_empty() {
        return refuse(format!("has a key encoder that differs from its query encoder: {}", differences.join("; ")));
    }
    let width = ["fc.2.weight", "fc.weight"].iter().find_map(|name| query.get(*name)?.dims().first().copied());
    match (bank.map(|bank| bank.dims()[1]), width) {
        (Some(bank), Some(width)) if bank != width => {
            refuse(format!("has a memory bank of keys of {bank} components, but its embeddings have {width}"))
        }
        _ => Ok(()),
    }
}

/// Writes tensors with torchvision's names. [`Format::Safetensors`] and [`Format::Pth`] hold all of them in their types;
/// [`Format::Detectron2`] the backbone without head and batch counts, in f32. The same tensors give the same bytes. The
/// file appears whole, by rename, and takes the place of one that is there.
///
/// # Errors
/// The file's name does not end as the format's do, a tensor has a type that the format lacks, or writing fails.
pub fn write(path: &Path, tensors: &HashMap<String, Tensor>, format: Format) -> Result<(), ModelError> {
    write_file(path, tensors, format).map_err(|refusal| refusal.about(path))
}

fn write_file(path: &Path, tensors: &HashMap<String, Tensor>, format: Format) -> Result<(), Refusal> {
    if path.extension().is_none_or(|e| e != format.extension()) {
        return refuse(format!("is to be a {} file: let its name end in .{}", format.name(), format.extension()));
    }
    let mut tensors: Vec<(&str, Tensor)> = tensors
        .iter()
        .map(|(name, tensor)| Ok((name.as_str(), tensor.to_device(&Device::Cpu)?.contiguous()?)))
        .collect::<Result<_, Refusal>>()?;
    tensors.sort_by(|a, b| a.0.cmp(b.0));
    let failed = |error| Refusal::new(format!("cannot be written ({error})"));
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // Readable as any new file is, not only by its owner as temporary files are.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.prefix(".weights-").suffix(".partial").tempfile_in(folder).map_err(failed)?;
    match format {
        Format::Safetensors => {
            let bytes = safetensors_file::serialize(&tensors)?;
            file.write_all(&bytes).map_err(failed)?;
        }
        Format::Pth => torch_write::write(file.as_file_mut(), &tensors)?,
        Format::Detectron2 => detectron2::write(file.as_file_mut(), &tensors)?,
    }
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

/// The values of a contiguous CPU tensor, least significant byte first.
fn bytes_of(name: &str, tensor: &Tensor) -> Result<Vec<u8>, Refusal> {
    match tensor.dtype() {
        DType::U8 | DType::I16 | DType::I32 | DType::I64 | DType::BF16 | DType::F16 | DType::F32 | DType::F64 => {
            Ok(safetensors::View::data(tensor).into_owned())
        }
        other => refuse(format!("cannot hold {name}: its type is {other:?}")),
    }
}

/// Checks that these are a whole network of this crate (torchvision's names), and gives its configuration as
/// [`infer_config`] does. Its head may be a projection head, one linear layer (a classifier's or MoCo v1's) or none.
///
/// # Errors
/// Lists every tensor that is missing, unexpected or of another shape.
pub fn check(tensors: &HashMap<String, Tensor>) -> Result<ModelConfig, ModelError> {
    let config = infer_config(tensors)?;
    let compute = Compute { backend: Backend::Portable, ..Compute::default() };
    let encoder = Encoder::new(&config, compute, 0, &Device::Cpu)?;
    let linear = |name: &String| name == "fc.weight" || name == "fc.bias";
    if tensors.keys().any(|name| name.starts_with("fc.") && !linear(name)) {
        encoder.load_state_dict(tensors)?;
    } else {
        encoder.load_backbone(tensors)?;
        check_linear(tensors, config.feature_dim())?;
    }
    Ok(config)
}

/// Checks `fc.weight` (classes, features) and `fc.bias` (classes), or that there is neither.
fn check_linear(tensors: &HashMap<String, Tensor>, features: usize) -> Result<(), ModelError> {
    let dims = ["fc.weight", "fc.bias"].map(|name| tensors.get(name).map(Tensor::dims));
    let difference = match dims {
        [None, None] => return Ok(()),
        [Some(&[classes, inputs]), Some(&[biases])] if inputs == features && biases == classes => return Ok(()),
        [Some(weight), Some(bias)] => format!(
            "fc.weight has shape {weight:?} and fc.bias {bias:?} instead of [classes, {features}] and [classes]"
        ),
        [None, Some(_)] => "fc.weight is missing".to_owned(),
        [Some(_), None] => "fc.bias is missing".to_owned(),
    };
    Err(ModelError::StateDict(difference))
}
