//! The configuration that a run begins or goes on with.

use super::args::Args;
use crate::failure::{Failure, request};
use crate::foreign_head;
use crate::streams::say;
use crate::weight_path::weight_file;
use anyhow::Context;
use clsa_run::{Checkpoint, Config, ConfigError, InitConfig, OfEachRank, RunFolder};
use clsa_train::InitialWeights;
use std::path::{Path, PathBuf};

/// What a run goes on from.
pub struct GoesOn {
    pub checkpoint: Checkpoint,
    /// The configuration to go on with, as TOML.
    pub config: String,
    /// The file that it is from.
    pub config_file: PathBuf,
}

/// The preset that was asked for.
pub fn preset(args: &Args) -> &str {
    args.preset.as_deref().unwrap_or("demo")
}

/// The run that `--init` names and whose settings are the default.
fn run_to_begin_with(args: &Args) -> Option<RunFolder> {
    let run = RunFolder::at(args.init.as_deref().filter(|_| args.preset.is_none())?);
    run.config_file().is_file().then_some(run)
}

/// What the folder of a new run is named after.
pub fn folder_name(args: &Args) -> String {
    let run = run_to_begin_with(args);
    let run = run.as_ref().and_then(|run| run.path().file_name()).map(|name| name.to_string_lossy().into_owned());
    run.unwrap_or_else(|| preset(args).to_owned())
}

/// The configuration of a new run: a preset's, or that of the run whose weights it begins with, up to its last epoch. And of how many images
/// a step is that its learning rate is meant for, unless that is asked for.
pub fn config_to_begin_with(
    args: &Args,
    overrides: &[String],
    ranks: usize,
) -> Result<(Config, Option<usize>), Failure> {
    let named = args.init.as_ref().map(|path| path.display().to_string());
    let mut config = match run_to_begin_with(args) {
        Some(run) => {
            let file = run.config_file();
            let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            Config::parse(&file.display().to_string(), &text, &["train.stop_epoch=0".to_owned()])?
        }
        None => load(preset(args), &[])?,
    };
    if let Some(weights) = &named {
        config.init = Some(InitConfig { weights: weights.clone(), sha256: String::new() });
    }
    let lr_is_for = (!asks_for_lr(&config, overrides)?).then(|| config.train.global_batch());
    // A preset is of each rank; the configuration of a run of several is of all of them.
    config = if config.train.ranks == 1 {
        with_overrides(&config, overrides)?
    } else {
        let (spread, changed) = spread(&config, overrides, ranks)?;
        if let Some(changed) = changed {
            say!("note: {changed}");
        }
        spread
    };
    if let (Some(named), Some(InitConfig { weights, .. })) = (&named, &config.init)
        && named != weights
    {
        return Err(request(format!(
            "--init {named}: --set init.weights={weights} names other weights; leave one out"
        )));
    }
    Ok((config, lr_is_for))
}

/// Reads the weights that a configuration begins with, and records what they are.
pub fn initial_weights(config: &mut Config) -> Result<Option<InitialWeights>, Failure> {
    let Some(init) = &mut config.init else { return Ok(None) };
    let path = weight_file(Path::new(&init.weights))?;
    let weights = InitialWeights::read(&path)?;
    weights.check(&config.model)?;
    if !init.sha256.is_empty() && init.sha256 != weights.sha256() {
        let (found, wanted) = (weights.sha256(), &init.sha256);
        return Err(request(format!(
            "init.weights = {}: its SHA-256 is {found}, and not {wanted} as init.sha256 says; use that file, or leave the key out",
            path.display()
        )));
    }
    foreign_head::note(&path, weights.file());
    *init = InitConfig { weights: path.display().to_string(), sha256: weights.sha256().to_owned() };
    Ok(Some(weights))
}

/// The configuration of a run with what is changed; what its checkpoint depends on is refused.
pub fn config_to_go_on_with(goes_on: &GoesOn, overrides: &[String], ranks: usize) -> Result<Config, Failure> {
    let GoesOn { checkpoint, config, config_file } = goes_on;
    let before = Config::parse(&checkpoint.path.display().to_string(), &checkpoint.config, &[])?;
    let config = Config::parse(&config_file.display().to_string(), config, &[])?;
    let (config, changed) = spread(&config, overrides, ranks)?;
    if let Some(changed) = changed {
        say!("note: {changed}");
        if config.data.shuffle_buffer > 0 && checkpoint.position.batch > 0 {
            say!(
                "note: each rank reads shards of its own, so that the rest of this epoch is in another order: some images come twice in it, \
                 and some not"
            );
        }
    }
    match before.fixed_key(&config) {
        Some(key) => Err(request(format!(
            "--resume: a run keeps its {key}, which the state in its checkpoints depends on; begin another run to change it"
        ))),
        None => Ok(config),
    }
}

/// A configuration with what is changed of it, spread over these ranks, of which is what is asked for of each; and a sentence of what is
/// otherwise.
fn spread(config: &Config, overrides: &[String], ranks: usize) -> Result<(Config, Option<String>), Failure> {
    let mut changed = with_overrides(config, overrides)?;
    // What comes out the same whatever was there is asked for.
    let mut other = config.clone();
    other.train.batch_size += 1;
    other.compute.bn_splits += 1;
    other.train.accumulate += 1;
    let other = with_overrides(&other, overrides)?;
    let given = |a: usize, b: usize| (a == b).then_some(a);
    let given = OfEachRank {
        batch_size: given(changed.train.batch_size, other.train.batch_size),
        bn_splits: given(changed.compute.bn_splits, other.compute.bn_splits),
        accumulate: given(changed.train.accumulate, other.train.accumulate),
    };
    let said = changed.spread_over(ranks, given)?;
    Ok((changed, said))
}

/// Whether a learning rate is asked for: what comes out the same whatever was there.
fn asks_for_lr(config: &Config, overrides: &[String]) -> Result<bool, Failure> {
    let mut other = config.clone();
    other.optim.lr += 1.0;
    Ok(with_overrides(config, overrides)?.optim.lr == with_overrides(&other, overrides)?.optim.lr)
}

/// A configuration with what is changed of it.
fn with_overrides(config: &Config, overrides: &[String]) -> Result<Config, Failure> {
    let changed = Config::parse("the configuration", &config.to_toml(), overrides).map_err(named_by_option)?;
    if changed.train.ranks != config.train.ranks {
        return Err(request(format!(
            "--set train.ranks={}: a run writes it itself; leave it out, and start as many processes",
            changed.train.ranks
        )));
    }
    Ok(changed)
}

/// Reads a configuration; its errors name the options of this command.
pub fn load(preset: &str, overrides: &[String]) -> Result<Config, Failure> {
    Config::load(preset, overrides).map_err(named_by_option)
}

fn named_by_option(error: ConfigError) -> Failure {
    match error {
        ConfigError::Override { .. } => request(format!("--set {error}")),
        ConfigError::UnknownPreset(_) => request(format!("--preset {error}")),
        error => error.into(),
    }
}

/// `--epochs` and the like are overrides with a name of their own; they come after `--set`.
pub fn overrides(args: &Args) -> Vec<String> {
    let named = [
        args.epochs.map(|v| format!("train.epochs={v}")),
        args.until_epoch.map(|v| format!("train.stop_epoch={v}")),
        args.batch_size.map(|v| format!("train.batch_size={v}")),
        args.seed.map(|v| format!("train.seed={v}")),
    ];
    args.overrides.iter().cloned().chain(named.into_iter().flatten()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn the_rate_of_a_preset_is_meant_for_the_batch_of_the_preset_and_one_that_is_asked_for_as_it_is() {
        let cases: [(&[&str], Option<usize>); 6] = [
            (&[], Some(64)),
            (&["--batch-size", "16"], Some(64)),
            (&["--preset", "cifar10", "--set", "train.batch_size=32", "--set", "optim.momentum=0.8"], Some(256)),
            (&["--set", "optim.lr=0.5"], None),
            (&["--set", "optim.lr=0.06"], None),
            (&["--batch-size", "16", "--set", "optim={lr=0.5}"], None),
        ];
        for (words, expected) in cases {
            let Command { args } = Command::parse_from([&["pretrain"], words].concat());
            let (_, lr_is_for) = config_to_begin_with(&args, &overrides(&args), 4).unwrap();
            assert_eq!(lr_is_for, expected, "{words:?}");
        }
    }
}
