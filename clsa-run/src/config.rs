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
    BankKeys, BankPrecision, CheckpointConfig, ComputeConfig, Config, DataConfig, EvalConfig, InitConfig, LogConfig,
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

    /// The configuration as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration has only string keys and plain values")
    }

    /// The text of a run's `config.toml`: [`Config::to_toml`], which also says what `train.batch_size` is of. It may become the preset of a
    /// run on other ranks.
    pub fn to_file(&self) -> String {
        let says = match self.train.ranks {
            1 => "images of a step, on each rank where there are several".to_owned(),
            ranks => format!("images of each of the {ranks} ranks: a step is of {}", self.train.global_batch()),
        };
        self.to_toml().replacen("batch_size = ", &format!("# {says}\nbatch_size = "), 1)
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
    fn the_file_of_a_configuration_says_what_its_batch_size_is_of_on_one_rank_too() {
        for (ranks, says) in [
            (1, "# images of a step, on each rank where there are several\nbatch_size = 64\nseed = 0\n"),
            (4, "# images of each of the 4 ranks: a step is of 256\nbatch_size = 64\nranks = 4\n"),
        ] {
            let config = Config::load("demo", &[format!("train.ranks={ranks}")]).unwrap();
            let text = config.to_file();
            assert!(text.contains(says), "{text}");
            assert_eq!(Config::parse("copy", &text, &[]).unwrap(), config);
            assert!(!config.to_toml().contains('#'), "digests of studies are of the bare text");
        }
    }

    #[test]
    fn a_key_of_a_table_can_be_set_where_a_word_stands_for_the_table() {
        let written = Config::load("moco-cifar10", &[]).unwrap().to_toml();
        assert!(written.contains("head = \"linear\"") && written.contains("blur = false"));
        let set = |change: &str| Config::parse("written", &written, &[change.to_owned()]);
        let by_table = set("model.head={hidden=64}").unwrap();
        assert_eq!(set("model.head.hidden=64").unwrap(), by_table);
        let by_table = set("views.key.blur={probability=0.3}").unwrap();
        assert_eq!(set("views.key.blur.probability=0.3").unwrap(), by_table);
        let error = set("optim.lr.x=1").unwrap_err().to_string();
        assert!(error.contains("lr is not a table"), "{error}");
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
