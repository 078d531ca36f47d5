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
    let what = difference_of_requests(&parsed(rank), &parsed(0)).unwrap_or_else(|| "another program".to_owned());
    Err(TrainError::RankDiffers { rank, what })
}

/// What differs in what a rank and rank 0 were asked for. The program comes first: another version may know other keys.
fn difference_of_requests(own: &Value, first: &Value) -> Option<String> {
    let of_images = || {
        let [own, first] = [own, first].map(|asked| serde_json::from_value::<DataIdentity>(asked["images"].clone()));
        first.ok()?.difference(&own.ok()?)
    };
    difference("program", &own["program"], &first["program"])
        .or_else(|| difference("", &own["config"], &first["config"]))
        .or_else(of_images)
}

/// The first value that differs, and what the other is. A key that is left out has its default.
fn difference(key: &str, value: &Value, other: &Value) -> Option<String> {
    let (Value::Object(object), Value::Object(others)) = (value, other) else {
        let shown = |value: &Value| if value.is_null() { "the default".to_owned() } else { value.to_string() };
        return (value != other).then(|| format!("{key} = {} where rank 0 has {}", shown(value), shown(other)));
    };
    let mut names: Vec<&String> = object.keys().chain(others.keys()).collect();
    names.sort();
    names.into_iter().find_map(|name| {
        let of = |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or(Value::Null);
        let name = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::second_rank::BesideSecond;
    use candle_core::{DType, Device};
    use clsa_data::{Source, Split};
    use clsa_loss::MemoryBank;
    use clsa_model::{Arch, Compute, Encoder, ModelConfig, Stem};

    /// Texts in place of others of the same length, one after the other.
    fn replaced(changes: Vec<(String, String)>) -> BesideSecond<impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync> {
        BesideSecond(move |own| {
            let own = String::from_utf8(own).unwrap();
            let changed = changes.iter().fold(own, |own, (from, to)| {
                assert!(from.len() == to.len() && own.contains(from), "{from}: {own}");
                own.replacen(from, to, 1)
            });
            changed.into_bytes()
        })
    }

    #[test]
    fn a_rank_that_was_asked_for_something_else_is_named_with_what_it_has() {
        let asked = ["data.source=procedural:train=64", "optim.scale_lr=true"].map(str::to_owned);
        let config = Config::load("demo", &asked).unwrap();
        let images =
            DataIdentity::of("procedural:train=64".parse::<Source>().unwrap().open(Split::Train).unwrap().as_ref());
        let change = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let left_out = |key: &str| (key.to_owned(), " ".repeat(key.len()));
        let version = format!("\"version\":\"{}", env!("CARGO_PKG_VERSION"));
        let other_version = (version.clone(), format!("{}9", &version[..version.len() - 1]));
        let epochs = change("\"epochs\":12", "\"epochs\":13");
        let names: String = images.names_sha256.chars().rev().collect();
        let other_names = change(&images.names_sha256, &names);
        for (changes, words) in [
            (vec![epochs.clone()], "rank 1 has train.epochs = 13 where rank 0 has 12;"),
            (vec![left_out("\"scale_lr\":true,")], "rank 1 has optim.scale_lr = the default where rank 0 has true;"),
            (vec![change("\"images\":64", "\"images\":65")], "rank 1 has 65 images in place of 64;"),
            (vec![other_names.clone()], "rank 1 has images of other names, classes or order;"),
            // The program is looked at first, and the images last.
            (vec![other_names, epochs.clone()], "rank 1 has train.epochs = 13 where rank 0 has 12;"),
            (vec![epochs, other_version], "rank 1 has program.version = "),
        ] {
            let error = check_request(&replaced(changes), &config, &images).unwrap_err();
            assert!(error.is_request() && error.is_of_all_ranks() && error.to_string().starts_with(words), "{error}");
        }
        check_request(&BesideSecond(|own| own), &config, &images).unwrap();
    }

    #[test]
    fn a_tensor_that_has_drifted_is_named() {
        let model = ModelConfig { arch: Arch::Resnet10, stem: Stem::Cifar, width: 0.125, ..ModelConfig::default() };
        let query = Encoder::new(&model, Compute::default(), 0, &Device::Cpu).unwrap();
        let key = query.twin().unwrap();
        let bank = MemoryBank::random(8, model.dim, 0, DType::F32, &Device::Cpu).unwrap();
        let state = TrainingState {
            query: &query,
            key: &key,
            optimizer: &[],
            bank: &bank,
            probe: &[],
            statistics_of_ranks: None,
        };
        check_state(&BesideSecond(|own| own), &state, 3).unwrap();
        let names = digests(&state).unwrap().0;
        for place in [0, names.len() - 1] {
            let second = BesideSecond(move |mut own: Vec<u8>| {
                own[place * DIGEST + 1] ^= 1;
                own
            });
            let error = check_state(&second, &state, 3).unwrap_err();
            let words = format!("after epoch 3, {} of rank 1 is not that of rank 0", names[place]);
            assert!(error.to_string().starts_with(&words), "{error}");
        }
        // One bit of one number changes the digest of its tensor, and of no other.
        let before = digests(&state).unwrap().1;
        let weight = &query.parameters()[3];
        let mut values = weight.var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        values[0] = f32::from_bits(values[0].to_bits() ^ 1);
        weight.var.set(&Tensor::from_vec(values, weight.var.shape(), &Device::Cpu).unwrap()).unwrap();
        let after = digests(&state).unwrap().1;
        let changed: Vec<&String> =
            names.iter().zip(before.iter().zip(&after)).filter(|(_, (a, b))| a != b).map(|(name, _)| name).collect();
        assert_eq!(changed, [&format!("{} of the query encoder", weight.name)]);
    }
}
