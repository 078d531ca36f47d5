//! What has to be the same on all ranks: the program, the configuration and the images before the first step; the state that
//! training changes after every epoch.

use crate::agreement::gather_bytes;
use crate::communicator::Communicator;
use crate::error::{Result, TrainError};
use candle_core::Tensor;
use clsa_run::{Config, DataIdentity, TrainingState};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Checks that all ranks have been asked for the same.
///
/// # Errors
/// [`TrainError::RankDiffers`] names the rank and what differs.
pub(crate) fn check_request(communicator: &dyn Communicator, config: &Config, images: &DataIdentity) -> Result<()> {
    let mut config = config.clone();
    // Machines may have the same images and weights in other places.
    config.data.source.clear();
    config.init.iter_mut().for_each(|init| init.weights.clear());
    let version = env!("CARGO_PKG_VERSION");
    let own = json!({ "program": { "version": version }, "config": config, "images": images });
    let all = gather_bytes(communicator, own.to_string().as_bytes())?;
    let Some(rank) = (1..all.len()).find(|&rank| all[rank] != all[0]) else { return Ok(()) };
    let parsed = |rank: usize| serde_json::from_slice(&all[rank]).unwrap_or(Value::Null);
    let what = difference("", &parsed(rank), &parsed(0)).unwrap_or_else(|| "another program".to_owned());
    Err(TrainError::RankDiffers { rank, what })
}

/// The first value that differs, and what the other is.
fn difference(key: &str, value: &Value, other: &Value) -> Option<String> {
    let (Value::Object(object), Value::Object(others)) = (value, other) else {
        return (value != other).then(|| format!("{key} = {value} where rank 0 has {other}"));
    };
    let mut names: Vec<&String> = object.keys().chain(others.keys()).collect();
    names.sort();
    names.into_iter().find_map(|name| {
        let of = |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or(Value::Null);
        let name = if key.is_empty() || key == "config" { name.clone() } else { format!("{key}.{name}") };
        difference(&name, &of(object), &of(others))
    })
}

/// Checks that encoders, optimizer and bank are the same on all ranks after so many epochs, bit by bit.
///
/// # Errors
/// [`TrainError::Drifted`] names the first tensor that differs, and the rank.
pub(crate) fn check_state(communicator: &dyn Communicator, state: &TrainingState<'_>, epoch: u64) -> Result<()> {
    let (names, digests) = digests(state)?;
    let all = gather_bytes(communicator, &digests.concat())?;
    for (tensor, name) in names.iter().enumerate() {
        let digest = |rank: usize| all[rank].get(tensor * DIGEST..(tensor + 1) * DIGEST);
        if let Some(rank) = (1..all.len()).find(|&rank| digest(rank) != digest(0)) {
            return Err(TrainError::Drifted { epoch, tensor: name.clone(), rank });
        }
    }
    Ok(())
}

/// Bytes of a tensor's digest.
const DIGEST: usize = 8;

/// The names of all tensors in a fixed order, and the beginning of each one's SHA-256.
fn digests(state: &TrainingState<'_>) -> Result<(Vec<String>, Vec<[u8; DIGEST]>)> {
    let mut tensors: Vec<(String, Tensor)> = Vec::new();
    for (encoder, which) in [(state.query, "query"), (state.key, "key")] {
        let of_encoder = encoder.state_dict()?.into_iter();
        tensors.extend(of_encoder.map(|(name, tensor)| (format!("{name} of the {which} encoder"), tensor)));
    }
    let optimizer = state.optimizer.iter();
    tensors.extend(optimizer.map(|(name, var)| (format!("the optimizer's state of {name}"), var.as_detached_tensor())));
    tensors.push(("the memory bank".to_owned(), state.bank.rows().clone()));
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let digest = |tensor: &Tensor| -> Result<[u8; DIGEST]> {
        let mut bytes = Vec::new();
        tensor.flatten_all()?.write_bytes(&mut bytes)?;
        let mut digest = [0; DIGEST];
        digest.copy_from_slice(&Sha256::digest(&bytes)[..DIGEST]);
        Ok(digest)
    };
    let digests = tensors.iter().map(|(_, tensor)| digest(tensor)).collect::<Result<_>>()?;
    Ok((tensors.into_iter().map(|(name, _)| name).collect(), digests))
}
