//! Replays a trajectory of the original implementation through the code that training uses.
//!
//! A case names architecture, sizes and hyper-parameters; weights, bank and images are rebuilt from a hash-seeded
//! generator, so that a case is a small JSON file. Case format: `clsa-train/tests/golden/`.

use crate::communicator::Communicator;
use crate::error::{Result, TrainError};
use crate::method::{Clsa, Views};
use crate::optimizer::Optimizer;
use candle_core::{DType, Device, Tensor};
use clsa_loss::MemoryBank;
use clsa_model::head;
use clsa_model::{Compute, Encoder, HeadConfig, ModelConfig, MomentumPair, Precision, Stem};
use clsa_run::{MethodConfig, OptimConfig};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A case file. Fields that only describe how it was made are passed over.
#[derive(Debug, Deserialize)]
pub struct Case {
    /// What to run.
    pub config: CaseConfig,
    /// The recorded steps; the gradient names of the first say which to print.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// The recorded end; its names say which tensors to summarise beside the bank.
    #[serde(default, rename = "final")]
    pub last: BTreeMap<String, Summary>,
    /// The recorded pointer of the bank.
    pub queue_ptr: Option<usize>,
}

/// Architecture, sizes and hyper-parameters of a case.
#[derive(Debug, Deserialize)]
pub struct CaseConfig {
    /// torchvision's name.
    pub arch: String,
    /// Images in a batch.
    pub n: usize,
    /// Size of the bank.
    pub k: usize,
    /// Size of the embedding.
    pub dim: usize,
    /// First layers of the network; the paper's where the case names none.
    #[serde(default)]
    pub stem: Stem,
    /// Projection head; the paper's where the case names none.
    #[serde(default)]
    pub head: HeadConfig,
    /// Whether the batch's other keys are negatives too, as in CLSA and not in MoCo.
    #[serde(default = "with_batch_negatives")]
    pub batch_negatives: bool,
    /// Groups of batch norm, of all ranks together: 1 where the case names none. What [`replay`] is to be given.
    #[serde(default = "one_group")]
    pub bn_splits: usize,
    /// Momentum of the key encoder.
    pub m: f64,
    /// Temperature of InfoNCE.
    pub t: f64,
    /// Temperature of DDM.
    pub t2: f64,
    /// Weight of DDM.
    pub alpha: f64,
    /// Learning rate, constant.
    pub lr: f64,
    /// Weight decay.
    pub wd: f64,
    /// Side of the key view.
    pub key: usize,
    /// Sides of the weak views.
    pub weak: Vec<usize>,
    /// Sides of the strong views.
    pub strong: Vec<usize>,
    /// Number of steps.
    pub steps: usize,
}

fn with_batch_negatives() -> bool {
    true
}

fn one_group() -> usize {
    1
}

/// One step of a trajectory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// `contrastive + alpha * ddm`.
    pub loss: f64,
    /// Sum of the InfoNCE terms.
    pub contrastive: f64,
    /// Sum of the DDM terms.
    pub ddm: f64,
    /// Percentage of first-weak-view samples that retrieve their key.
    pub acc1: f64,
    /// L2 norms of gradients by parameter name.
    pub grad_norms: BTreeMap<String, f64>,
}

/// A tensor in short.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// L2 norm.
    pub norm: f64,
    /// Sum of the elements.
    pub sum: f64,
    /// The first four elements.
    pub head: Vec<f64>,
}

/// A replayed trajectory, in the form of the case files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trajectory {
    /// The steps.
    pub steps: Vec<Step>,
    /// Weights, statistics and bank at the end.
    #[serde(rename = "final")]
    pub last: BTreeMap<String, Summary>,
    /// Where the next keys would enter the bank.
    pub queue_ptr: usize,
}

/// Checks the sizes of a case, before memory of them is asked for.
fn check_sizes(config: &CaseConfig) -> Result<()> {
    /// More numbers than these are none of a case that is replayed.
    const MOST: usize = 1 << 28;
    let CaseConfig { n, k, dim, key, weak, strong, .. } = config;
    let unfit = |key: &str, reason: &str| Err(TrainError::Unfit { key: key.to_owned(), reason: reason.to_owned() });
    if *n == 0 {
        return unfit("n = 0", "the case needs at least one image");
    }
    let sides = || [key].into_iter().chain(weak).chain(strong);
    if *k == 0 || *dim == 0 || sides().any(|side| *side == 0) {
        let reason = "the case needs views of at least one pixel, and embeddings and a bank of at least one number";
        return unfit("key, weak, strong, dim and k", reason);
    }
    let fits = |sides: &[usize]| {
        let numbers = sides.iter().try_fold(1usize, |all, side| all.checked_mul(*side));
        numbers.is_some_and(|numbers| numbers <= MOST)
    };
    if !fits(&[*k, *dim]) || !sides().all(|side| fits(&[*n, 3, *side, *side])) {
        return unfit("n, key, weak, strong, dim and k", "the case's views or bank have more numbers than a case has");
    }
    Ok(())
}

/// Runs a case, of whose batches each rank has its part. The trajectory is of all ranks together, and each has it.
///
/// # Errors
/// The case names an unknown architecture or tensor, or a value out of range, or the ranks do not divide its batch.
pub fn replay(
    case: &Case,
    compute: Compute,
    device: &Device,
    communicator: Arc<dyn Communicator>,
) -> Result<Trajectory> {
    let config = &case.config;
    let (rank, ranks) = (communicator.rank(), communicator.world_size());
    if !config.n.is_multiple_of(ranks) {
        let reason = format!("{ranks} ranks cannot share its batches");
        return Err(TrainError::Unfit { key: format!("n = {}", config.n), reason });
    }
    let part = config.n / ranks;
    check_sizes(config)?;
    let model = ModelConfig {
        arch: config.arch.parse()?,
        dim: config.dim,
        stem: config.stem,
        head: config.head,
        ..ModelConfig::default()
    };
    let dtype = if compute.precision == Precision::F64 { DType::F64 } else { DType::F32 };
    let pair = MomentumPair::new(&model, compute, config.m, 0, device)?;
    for encoder in [&pair.query, &pair.key] {
        set_weights(encoder)?;
    }
    let bank = MemoryBank::from_rows(bank_rows(config.k, config.dim)?.to_dtype(dtype)?.to_device(device)?, 0)?;
    let method = MethodConfig {
        bank: config.k,
        momentum: config.m,
        temperature: config.t,
        ddm_temperature: config.t2,
        alpha: config.alpha,
        batch_negatives: config.batch_negatives,
        ..MethodConfig::default()
    };
    let optimizer =
        Optimizer::new(pair.query.parameters(), &OptimConfig { weight_decay: config.wd, ..OptimConfig::default() })?;
    let mut clsa = Clsa::new(pair, bank, optimizer, &method, communicator, 0);

    let gradient_names: Vec<&String> = case.steps.first().into_iter().flat_map(|step| step.grad_norms.keys()).collect();
    let mut steps = Vec::new();
    for s in 0..config.steps {
        let view = |name: String, side: usize| -> Result<Tensor> {
            let all = images(&format!("step{s}:{name}"), config.n, side)?;
            Ok(all.narrow(0, rank * part, part)?.to_dtype(dtype)?.to_device(device)?)
        };
        let all = |kind: &str, sides: &[usize]| -> Result<Vec<Tensor>> {
            sides.iter().enumerate().map(|(i, &side)| view(format!("{kind}{i}"), side)).collect()
        };
        let views = Views {
            key: view("key".to_owned(), config.key)?,
            weak: all("weak", &config.weak)?,
            strong: all("strong", &config.strong)?,
            bytes: Vec::new(),
        };
        let report =
            clsa.step(&views, config.lr).map_err(|e| TrainError::Step { step: s as u64 + 1, source: Box::new(e) })?;
        let norms = gradient_norms(&clsa, &gradient_names)?;
        let (loss, contrastive, ddm, acc1) = (report.loss, report.contrastive, report.ddm, report.acc1);
        steps.push(Step { loss, contrastive, ddm, acc1, grad_norms: norms });
    }
    clsa.average_statistics()?;
    Ok(Trajectory { steps, last: summaries(&clsa, case)?, queue_ptr: clsa.bank.pointer() })
}

fn gradient_norms(clsa: &Clsa, names: &[&String]) -> Result<BTreeMap<String, f64>> {
    let mut norms = BTreeMap::new();
    for &name in names {
        let parameter = clsa.pair.query.parameters().iter().find(|p| p.name == *name);
        let gradient = parameter.and_then(|parameter| clsa.gradients.get(parameter.index));
        let gradient = gradient.ok_or_else(|| TrainError::NoSuchTensor { name: format!("the gradient of {name}") })?;
        norms.insert(name.clone(), summary(gradient)?.norm);
    }
    Ok(norms)
}

fn summaries(clsa: &Clsa, case: &Case) -> Result<BTreeMap<String, Summary>> {
    let mut all = BTreeMap::new();
    for (prefix, encoder) in [("encoder_q", &clsa.pair.query), ("encoder_k", &clsa.pair.key)] {
        let state = encoder.state_dict()?;
        for name in state.keys() {
            let full = format!("{prefix}.{name}");
            if case.last.contains_key(&full) {
                all.insert(full, summary(&state[name])?);
            }
        }
    }
    all.insert("queue".to_owned(), summary(clsa.bank.rows())?);
    if let Some(missing) = case.last.keys().find(|name| !all.contains_key(*name)) {
        return Err(TrainError::NoSuchTensor { name: missing.clone() });
    }
    Ok(all)
}

fn summary(tensor: &Tensor) -> Result<Summary> {
    let values = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    Ok(Summary {
        norm: values.iter().map(|v| v * v).sum::<f64>().sqrt(),
        sum: values.iter().sum(),
        head: values.iter().take(4).copied().collect(),
    })
}

/// Element i is splitmix64 of `fnv1a64(name) + (i+1)·0x9E37_79B9_7F4A_7C15`, mapped to [-1, 1).
fn uniform(name: &str, n: usize) -> Vec<f64> {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let element = |i: usize| {
        let mut z = hash.wrapping_add((i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 11) as f64 * 2f64.powi(-53) * 2.0 - 1.0
    };
    (0..n).map(element).collect()
}

/// Convolutions scaled by √(6/fan_in), linears (weight and bias) by √(1/fan_in), norms at 1 and 0.
fn set_weights(encoder: &Encoder) -> Result<()> {
    let fan_in_of = |name: &str| -> Option<usize> {
        let weight = name.replace(".bias", ".weight");
        encoder.parameters().iter().find(|p| p.name == weight).map(|p| p.var.dims()[1..].iter().product())
    };
    for parameter in encoder.parameters() {
        let (name, dims) = (&parameter.name, parameter.var.dims());
        let scale = match (dims.len(), head::owns(name), fan_in_of(name)) {
            (4, _, Some(fan_in)) => (6.0 / fan_in as f64).sqrt(),
            (_, true, Some(fan_in)) => (1.0 / fan_in as f64).sqrt(),
            _ => continue,
        };
        let values = uniform(&format!("init:{name}"), dims.iter().product());
        let values: Vec<f64> = values.into_iter().map(|v| v * scale).collect();
        let tensor = Tensor::from_vec(values, dims, &Device::Cpu)?;
        parameter.var.set(&tensor.to_dtype(parameter.var.dtype())?.to_device(parameter.var.device())?)?;
    }
    Ok(())
}

fn bank_rows(k: usize, dim: usize) -> Result<Tensor> {
    let mut values = uniform("init:queue", k * dim);
    for row in values.chunks_mut(dim) {
        let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        row.iter_mut().for_each(|v| *v /= length);
    }
    Ok(Tensor::from_vec(values, (k, dim), &Device::Cpu)?)
}

/// `0.5·uniform(name) + 1.5·uniform(name:offset)`, one offset for each sample and channel.
fn images(name: &str, n: usize, side: usize) -> Result<Tensor> {
    let mut values = uniform(name, n * 3 * side * side);
    let offsets = uniform(&format!("{name}:offset"), n * 3);
    for (channel, offset) in values.chunks_mut(side * side).zip(offsets) {
        channel.iter_mut().for_each(|v| *v = 0.5 * *v + 1.5 * offset);
    }
    Ok(Tensor::from_vec(values, (n, 3, side, side), &Device::Cpu)?)
}
