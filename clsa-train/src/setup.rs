//! From a configuration to what is trained: encoders, bank and optimizer; and whether the data fit.

use crate::communicator::Communicator;
use crate::error::{Result, TrainError};
use crate::method::Clsa;
use crate::optimizer::Optimizer;
use candle_core::{DType, Device};
use clsa_augment::View;
use clsa_data::Dataset;
use clsa_loss::MemoryBank;
use clsa_model::{ModelError, MomentumPair};
use clsa_run::Config;
use std::cmp::Reverse;
use std::sync::Arc;

/// Encoders, bank and optimizer as a configuration describes them, which [`Config::validate`] has found right: [`Config::load`] does
/// not ask it.
///
/// # Errors
/// A value is out of range, or the memory does not suffice.
pub fn build(config: &Config, device: &Device, communicator: Arc<dyn Communicator>) -> Result<Clsa> {
    let (momentum, seed) = (config.method.momentum, config.train.seed);
    let pair =
        MomentumPair::new(&config.model, config.encoders(), momentum, seed, device).map_err(|error| match error {
            ModelError::Config { field: "backend", value, expected } => {
                TrainError::Unfit { key: format!("compute.backend = {value}"), reason: expected }
            }
            error => error.into(),
        })?;
    build_around(pair, config, communicator)
}

/// Bank and optimizer as a configuration describes them, for encoders of any architecture.
pub(crate) fn build_around(
    mut pair: MomentumPair,
    config: &Config,
    communicator: Arc<dyn Communicator>,
) -> Result<Clsa> {
    let (method, seed, device) = (&config.method, config.train.seed, pair.query.device().clone());
    tune(&device, config.compute.tune)?;
    pair.query.set_feature_stage(config.knn.stage.clone()).map_err(|error| TrainError::Unfit {
        key: format!("knn.stage = {}", config.knn.stage),
        reason: error.to_string(),
    })?;
    let dtype = config.compute.bank_dtype();
    let bank = MemoryBank::random(method.bank, pair.query.embedding_dim(), seed, dtype, &device)
        .map_err(|source| TrainError::Bank { keys: method.bank, source })?;
    // Some devices hold bf16 but do not compute with it: better known now than at the first step.
    bank.rows().narrow(0, 0, 1).and_then(|row| row.to_dtype(DType::F32)).map_err(|source| TrainError::BankType {
        dtype: dtype.as_str(),
        device: format!("{device:?}"),
        source,
    })?;
    let optimizer = Optimizer::new(pair.query.parameters(), &config.optim)?;
    let mut clsa = Clsa::new(pair, bank, optimizer, method, communicator, seed);
    clsa.parts = config.train.accumulate;
    Ok(clsa)
}

/// Whether a GPU is to time cuDNN's plans.
#[cfg(feature = "cuda")]
pub(crate) fn tune(device: &Device, on: bool) -> candle_core::Result<()> {
    if device.is_cuda() {
        clsa_cuda::Cuda::of(device).map_err(candle_core::Error::wrap)?.set_tune(on);
    }
    Ok(())
}

#[cfg(not(feature = "cuda"))]
pub(crate) fn tune(_: &Device, _: bool) -> candle_core::Result<()> {
    Ok(())
}

/// Checks that a batch fits the data set and that images are large enough, before anything is built.
///
/// # Errors
/// [`TrainError::Unfit`] names the key and what to do; a store of images that fails at once is a [`TrainError::Sample`].
pub fn check_data(config: &Config, train: &dyn Dataset) -> Result<()> {
    let unfit = |key: String, reason: String| Err(TrainError::Unfit { key, reason });
    let (images, batch, source) = (train.len(), config.train.global_batch(), &config.data.source);
    if images < batch {
        return unfit(
            format!("train.batch_size = {}", config.train.batch_size),
            format!(
                "the data set {source} has only {images} training images for steps of {batch}; use a smaller batch"
            ),
        );
    }
    if config.data.allow_upscaling {
        return Ok(());
    }
    // A probe over the whole set: its median decides, so that a few small images do no harm.
    let probes = images.min(33);
    let (mut sides, mut first_bad) = (Vec::new(), None);
    for i in 0..probes {
        match train.dimensions(i * images / probes) {
            Ok((width, height)) => sides.push(width.min(height)),
            // A store that has given none yet is not asked for the others; one that has may do so again.
            Err(error) if error.is_of_store() && sides.is_empty() => return Err(error.into()),
            Err(error) => first_bad = first_bad.or(Some(error)),
        }
    }
    sides.sort_unstable();
    let (views, weak) = (&config.views, config.views.weak.len());
    let name = |at: usize| match at.checked_sub(1) {
        None => "views.key".to_owned(),
        Some(at) if at < weak => format!("views.weak[{at}]"),
        Some(at) => format!("views.strong[{}]", at - weak),
    };
    let sizes = views.views().map(View::largest_size).enumerate();
    // Of views of one size the first.
    let (at, largest) = sizes.min_by_key(|(_, size)| Reverse(*size)).unwrap_or_default();
    match sides.get(sides.len() / 2) {
        None => {
            let why = first_bad.map(|error| format!(" ({error})")).unwrap_or_default();
            unfit(
                format!("data.source = {source}"),
                format!("none of the images looked at could be read{why}; name others"),
            )
        }
        Some(median) if *median < largest => unfit(
            name(at),
            format!(
                "a view of {largest} pixels is larger than the images of {source} (short side {median}); make it smaller, use a \
                 preset for images of that size, or set data.allow_upscaling=true"
            ),
        ),
        Some(_) => Ok(()),
    }
}
