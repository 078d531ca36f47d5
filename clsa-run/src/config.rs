//! The configuration of a run: tables read from a preset or a TOML file, and changed by `KEY=VALUE` overrides.

mod error;
mod fixed;
mod overrides;
mod presets;
mod ranges;
mod tables;

pub use error::ConfigError;
pub(crate) use error::one_line;
pub use fixed::OfEachRank;
pub use presets::Preset;
pub use tables::{
    BankPrecision, CheckpointConfig, ComputeConfig, Config, DataConfig, EvalConfig, InitConfig, LogConfig,
    MethodConfig, MonitorConfig, OptimConfig, OptimizerKind, ProbeConfig, Schedule, StrongLoss, TrainConfig,
};

use clsa_augment::CenterCrop;
use serde::Deserialize;

impl Config {
    /// Reads a preset by name, or a TOML file by path, and applies overrides in order, each `KEY=VALUE` with a dotted
    /// key and a TOML value (a bare word is a string).
    ///
    /// # Errors
    /// Names the preset, file, override or key at fault.
    ///
    /// # Examples
    /// ```
    /// use clsa_run::Config;
    ///
    /// let config = Config::load("imagenet-multi-200", &["optim.lr=0.06".to_owned()])?;
    /// config.validate()?;
    /// assert_eq!(config.views.weak.len(), 5);
    /// assert_eq!(config.optim.lr, 0.06);
    /// # Ok::<(), clsa_run::ConfigError>(())
    /// ```
    pub fn load(preset: &str, overrides: &[String]) -> Result<Self, ConfigError> {
        match Preset::named(preset) {
            Some(known) => Self::parse(&format!("preset {preset}"), known.toml, overrides),
            None if preset.ends_with(".toml") => {
                let io = |source| ConfigError::Io { path: preset.into(), source };
                Self::parse(preset, &std::fs::read_to_string(preset).map_err(io)?, overrides)
            }
            None => Err(ConfigError::UnknownPreset(preset.to_owned())),
        }
    }

    /// How images are cut and normalized for evaluation: `eval.resize`, `eval.crop`, and the key view's mean and deviation.
    pub fn center_crop(&self) -> CenterCrop {
        CenterCrop { resize: self.eval.resize, crop: self.eval.crop, normalize: self.views.key.normalize }
    }

    /// Reads a configuration from TOML; `origin` names it in errors.
    ///
    /// # Errors
    /// Names the override or key at fault.
    pub fn parse(origin: &str, text: &str, overrides: &[String]) -> Result<Self, ConfigError> {
        let wrong = |reason: &str| ConfigError::Parse { origin: origin.to_owned(), reason: one_line(reason) };
        let mut table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
            let line = e
                .span()
                .map(|span| 1 + text.as_bytes()[..span.start.min(text.len())].iter().filter(|b| **b == b'\n').count());
            wrong(&line.map_or_else(|| e.message().to_owned(), |line| format!("line {line}: {}", e.message())))
        })?;
        let mut config = read(&table).map_err(|reason| wrong(&reason))?;
        for text in overrides {
            let wrong = |reason: String| ConfigError::Override { text: text.clone(), reason: one_line(&reason) };
            overrides::apply(&mut table, text).map_err(wrong)?;
            config = read(&table).map_err(wrong)?;
        }
        Ok(config)
    }

    /// The configuration as TOML, as a run's `config.toml` holds it.
    pub fn to_toml(&self) -> String {
        let text = toml::to_string(self).expect("a configuration has only string keys and plain values");
        if self.train.ranks == 1 {
            return text;
        }
        let says = format!(
            "# images of each of the {} ranks: a step is of {}\nbatch_size = ",
            self.train.ranks,
            self.train.global_batch()
        );
        text.replacen("batch_size = ", &says, 1)
    }
}

fn read(table: &toml::Table) -> Result<Config, String> {
    Config::deserialize(table.clone()).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_a_valid_configuration() {
        for preset in Preset::ALL {
            Config::load(preset.name, &[]).unwrap().validate().unwrap();
        }
    }

    #[test]
    fn a_configuration_of_several_ranks_says_what_its_batch_size_is() {
        let config = Config::load("demo", &["train.ranks=4".to_owned()]).unwrap();
        let text = config.to_toml();
        assert!(
            text.contains("# images of each of the 4 ranks: a step is of 256\nbatch_size = 64\nranks = 4\n"),
            "{text}"
        );
        assert_eq!(Config::parse("copy", &text, &[]).unwrap(), config);
    }

    #[test]
    fn what_is_no_toml_is_named_by_its_line() {
        let wrong = |text: &str| Config::parse("x.toml", text, &[]).unwrap_err().to_string();
        for (text, line) in
            [("\n[optim]\nlr = 0,06\n", 3), ("[train]\nseed = 1\nseed = 2\n", 3), ("[model]\narch = \"resnet", 2)]
        {
            let said = wrong(text);
            assert!(said.starts_with(&format!("x.toml: line {line}: ")), "{said}");
        }
    }

    #[test]
    fn a_configuration_survives_being_written_and_read() {
        for preset in Preset::ALL {
            let config = Config::load(preset.name, &["train.seed=7".to_owned()]).unwrap();
            assert_eq!(Config::parse("copy", &config.to_toml(), &[]).unwrap(), config);
        }
    }
}
