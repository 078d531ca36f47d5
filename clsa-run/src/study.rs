//! Studies: variants of one configuration, trained with several seeds and compared.

use crate::checkpoint::Position;
use crate::config::{Config, ConfigError, InitConfig, one_line};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::cmp::Ordering;
use thiserror::Error;

/// Variants of a configuration that are to be compared.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Study {
    /// What is asked, in one sentence.
    pub question: String,
    /// The preset, or file, that all begin with.
    pub preset: String,
    /// What all change of it, each `KEY=VALUE`.
    #[serde(default)]
    pub set: Vec<String>,
    /// The variants, in the order in which they are trained and shown.
    #[serde(rename = "variant")]
    pub variants: Vec<Variant>,
}

/// One variant of a study.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Letters, digits, `.`, `_` and `-`: folders are named after it.
    pub name: String,
    /// What it changes, each `KEY=VALUE`.
    #[serde(default)]
    pub set: Vec<String>,
    /// What it changes later on.
    pub then: Option<Later>,
    /// The variants that it is compared with, seed by seed.
    #[serde(default)]
    pub against: Vec<String>,
    /// The weights that it begins with and their digest, in place of what its configuration says of them; no part of a study's file.
    #[serde(skip)]
    pub init: Option<InitConfig>,
}

/// What a variant changes after some epochs; nothing that the state of a training depends on ([`Config::fixed_key`]).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Later {
    /// Epochs before the change.
    pub after_epoch: u64,
    /// What changes, each `KEY=VALUE`.
    pub set: Vec<String>,
}

/// A study that cannot be done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StudyError {
    /// Neither a study of this crate nor a file.
    #[error("{0}: there is no such study or file; the studies are {names}", names = Study::names())]
    Unknown(String),
    /// The file cannot be read, or is not a study.
    #[error(transparent)]
    File(ConfigError),
    /// A variant that cannot be trained or compared.
    #[error("{origin}: variant {variant}: {reason}")]
    Variant {
        /// The study or file.
        origin: String,
        /// The variant.
        variant: String,
        /// What is wrong.
        reason: String,
    },
    /// The configuration of a variant is wrong.
    #[error("{origin}: variant {variant}: {error}")]
    Config {
        /// The study or file.
        origin: String,
        /// The variant.
        variant: String,
        /// What is wrong.
        error: Box<ConfigError>,
    },
}

impl StudyError {
    /// Whether what was asked for is wrong: always.
    pub fn is_request(&self) -> bool {
        true
    }
}

/// The studies of this crate: their names, and their TOML documents.
const STUDIES: [(&str, &str); 1] = [("ddm", include_str!("../studies/ddm.toml"))];

impl Study {
    /// The names of the studies of this crate, separated by commas.
    pub fn names() -> String {
        STUDIES.map(|(name, _)| name).join(", ")
    }

    /// Reads a study by name, or a TOML file by path; `set` changes all variants, after the study's own changes.
    ///
    /// # Errors
    /// Names the study, file or variant at fault.
    ///
    /// # Examples
    /// ```
    /// use clsa_run::Study;
    ///
    /// let study = Study::load("ddm", &["train.epochs=12".to_owned()])?;
    /// let naive = &study.variants[1];
    /// assert_eq!(naive.set, ["method.strong_loss=info_nce"]);
    /// assert_eq!(study.config(naive)?.train.epochs, 12);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load(name: &str, set: &[String]) -> Result<Self, StudyError> {
        let text = match STUDIES.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => (*text).to_owned(),
            None if name.ends_with(".toml") => {
                let io = |source| StudyError::File(ConfigError::Io { path: name.into(), source });
                std::fs::read_to_string(name).map_err(io)?
            }
            None => return Err(StudyError::Unknown(name.to_owned())),
        };
        let wrong = |error: toml::de::Error| {
            StudyError::File(ConfigError::Parse { origin: name.to_owned(), reason: one_line(&error.to_string()) })
        };
        let mut study: Self = toml::from_str(&text).map_err(wrong)?;
        study.set.extend_from_slice(set);
        study.check(name)?;
        Ok(study)
    }

    /// What is changed of the preset where a variant begins.
    pub fn overrides(&self, variant: &Variant) -> Vec<String> {
        [&self.set[..], &variant.set].concat()
    }

    /// The configuration that a variant begins with.
    ///
    /// # Errors
    /// Names what is wrong with it.
    pub fn config(&self, variant: &Variant) -> Result<Config, ConfigError> {
        self.config_with(variant, &[])
    }

    /// The configuration that a variant ends with.
    ///
    /// # Errors
    /// Names what is wrong with it.
    pub fn last_config(&self, variant: &Variant) -> Result<Config, ConfigError> {
        let later = variant.then.as_ref().map_or(&[][..], |later| &later.set);
        self.config_with(variant, later)
    }

    fn preset_seed(&self) -> Result<u64, ConfigError> {
        Ok(Config::load(&self.preset, &[])?.train.seed)
    }

    fn config_with(&self, variant: &Variant, later: &[String]) -> Result<Config, ConfigError> {
        let mut config = Config::load(&self.preset, &[&self.overrides(variant), later].concat())?;
        if let Some(init) = &variant.init {
            config.init = Some(init.clone());
        }
        Ok(config)
    }

    /// Whether a run that now has a configuration, stands at a position, and was begun as one of the variant of a
    /// [`digest`](Self::digest), is one of a variant: before its change by the configuration that it begins with, after it by that which
    /// it ends with, and where it changes by either. What [`Recipe::of`] leaves free is free here.
    ///
    /// [`Recipe::of`]: crate::Recipe::of
    ///
    /// # Errors
    /// Names what is wrong with the variant's configuration.
    pub fn is_of(&self, variant: &Variant, begun_as: &str, now: &Config, at: Position) -> Result<bool, ConfigError> {
        let is_first = self.config(variant)?.is_but_for_free_keys(now);
        let is_last = self.last_config(variant)?.is_but_for_free_keys(now);
        let change = variant.then.as_ref().map(|then| (then.after_epoch, 0));
        let is_one = match change.map_or(Ordering::Equal, |change| (at.epoch, at.batch).cmp(&change)) {
            Ordering::Less => is_first,
            Ordering::Equal => is_first || is_last,
            Ordering::Greater => is_last,
        };
        Ok(is_one && self.digest(variant)? == begun_as)
    }

    /// A digest of what a variant is trained with, but for the seed and what else [`Recipe::of`] leaves free: SHA-256 of the
    /// configurations that it begins and ends with, and of the epoch of its change, hexadecimal. Weights of a known digest may have
    /// any name.
    ///
    /// [`Recipe::of`]: crate::Recipe::of
    ///
    /// # Errors
    /// Names what is wrong with the variant's configuration.
    pub fn digest(&self, variant: &Variant) -> Result<String, ConfigError> {
        let preset = Config::load(&self.preset, &[])?;
        let mut hash = Sha256::new();
        for config in [self.config(variant)?, self.last_config(variant)?] {
            let mut config = config.with_free_keys_of(&preset);
            if let Some(init) = config.init.as_mut().filter(|init| !init.sha256.is_empty()) {
                init.weights.clear();
            }
            hash.update(config.to_toml());
        }
        if let Some(Later { after_epoch, .. }) = variant.then {
            hash.update(after_epoch.to_le_bytes());
        }
        Ok(base16ct::lower::encode_string(&hash.finalize()))
    }

    fn check(&self, origin: &str) -> Result<(), StudyError> {
        let wrong = |variant: &Variant, reason: &str| {
            let (origin, variant, reason) = (origin.to_owned(), variant.name.clone(), reason.to_owned());
            Err(StudyError::Variant { origin, variant, reason })
        };
        for (index, variant) in self.variants.iter().enumerate() {
            let named = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
            if variant.name.is_empty() || variant.name.starts_with('.') || !variant.name.chars().all(named) {
                return wrong(variant, "name it by letters, digits, `.`, `_` and `-`, and begin with none of the dots");
            }
            if self.variants[..index].iter().any(|other| other.name == variant.name) {
                return wrong(variant, "there are two of this name; give each its own");
            }
            let is_another = |name: &&String| self.variants.iter().any(|v| v.name == **name && v.name != variant.name);
            if let Some(unknown) = variant.against.iter().find(|name| !is_another(name)) {
                return wrong(
                    variant,
                    &format!("against {unknown:?}: this is no other variant; name those of this study"),
                );
            }
            let of_config = |error| StudyError::Config {
                origin: origin.to_owned(),
                variant: variant.name.clone(),
                error: Box::new(error),
            };
            let config = self.config(variant).map_err(of_config)?;
            let last = self.last_config(variant).map_err(of_config)?;
            config.validate().and_then(|()| last.validate()).map_err(of_config)?;
            if let Some(key) = config.fixed_key(&last) {
                return wrong(variant, &format!("{key} cannot change within a training; set it from the beginning"));
            }
            if [config.train.seed, last.train.seed] != [self.preset_seed().map_err(of_config)?; 2] {
                return wrong(variant, "train.seed is that of each training, which a study sets; leave it out");
            }
            if [config.train.stop_epoch, last.train.stop_epoch] != [0; 2] {
                return wrong(
                    variant,
                    "train.stop_epoch is that of each training, which a study sets; leave it out, or set train.epochs",
                );
            }
            let epochs = config.train.epochs;
            // Where it is measured at all, it is after the last epoch.
            if !last.knn.is_on() {
                return wrong(
                    variant,
                    &format!("its k-NN accuracy is not measured; set knn.every, or knn.at=[{epochs}]"),
                );
            }
            if let Some(Later { after_epoch, .. }) = variant.then
                && (after_epoch == 0 || after_epoch >= epochs)
            {
                return wrong(
                    variant,
                    &format!("after_epoch = {after_epoch}: use an epoch from 1 to before the last, {epochs}"),
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The study of these variants, or what is wrong with it.
    fn loaded(variants: &str) -> Result<Study, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("study.toml");
        std::fs::write(&file, format!("question = 'q'\npreset = 'demo'\n{variants}")).unwrap();
        Study::load(file.to_str().unwrap(), &[])
            .map_err(|error| error.to_string().replace(&format!("{}: ", file.display()), ""))
    }

    #[test]
    fn a_study_of_this_crate_can_be_trained_and_compared() {
        for (name, _) in STUDIES {
            let study = Study::load(name, &[]).unwrap();
            assert!(study.variants.iter().any(|variant| !variant.against.is_empty()), "{name}");
        }
    }

    #[test]
    fn the_preset_of_where_ddm_helps_is_a_variant_of_its_study() {
        let study = Study::load("ddm", &[]).unwrap();
        let variant = study.variants.iter().find(|variant| variant.name == "clsa-2-draws").unwrap();
        let preset = Config::load("ddm-cifar10", &[]).unwrap();
        assert_eq!(preset.to_toml(), study.config(variant).unwrap().to_toml());
    }

    #[test]
    fn a_digest_knows_the_epoch_of_a_change_and_weights_by_their_content() {
        let ddm = Study::load("ddm", &[]).unwrap();
        let mut later = ddm.variants.iter().find(|variant| variant.then.is_some()).unwrap().clone();
        let digest = |variant: &Variant| ddm.digest(variant).unwrap();
        let before = digest(&later);
        later.then.as_mut().unwrap().after_epoch += 1;
        assert_ne!(digest(&later), before);

        let with = |weights: &str, sha256: &str| {
            let init = Some(InitConfig { weights: weights.to_owned(), sha256: sha256.to_owned() });
            digest(&Variant { init, ..ddm.variants[0].clone() })
        };
        assert_eq!(with("a.pth", "12"), with("moved/a.pth", "12"));
        assert_ne!(with("a.pth", "12"), with("a.pth", "13"));
        assert_ne!(with("a.pth", ""), with("b.pth", ""));
    }

    #[test]
    fn a_run_has_the_first_configuration_before_the_change_of_its_variant_and_the_last_one_after_it() {
        let ddm = Study::load("ddm", &[]).unwrap();
        let later = ddm.variants.iter().find(|variant| variant.then.is_some()).unwrap();
        let change = later.then.as_ref().unwrap().after_epoch;
        let (digest, configs) =
            (ddm.digest(later).unwrap(), [ddm.config(later).unwrap(), ddm.last_config(later).unwrap()]);
        let are_of = |epoch: u64, batch: usize| {
            let at = Position { epoch, batch, ..Position::default() };
            configs.each_ref().map(|now| ddm.is_of(later, &digest, now, at).unwrap())
        };
        assert_eq!(are_of(change - 1, 9), [true, false]);
        assert_eq!(are_of(change, 0), [true, true]);
        assert_eq!(are_of(change, 1), [false, true]);
        assert_eq!(are_of(change + 1, 0), [false, true]);
    }

    #[test]
    fn an_accuracy_that_is_measured_every_few_epochs_is_measured_after_any_last_one() {
        assert!(loaded("[[variant]]\nname = 'a'\nset = ['knn.every=4', 'train.epochs=7']").is_ok());
    }

    #[test]
    fn what_cannot_be_trained_or_compared_is_refused_by_variant() {
        for (text, expected) in [
            ("[[variant]]\nname = 'a/b'", "variant a/b: name it by letters"),
            ("[[variant]]\nname = 'a'\n[[variant]]\nname = 'a'", "variant a: there are two of this name"),
            ("[[variant]]\nname = 'a'\nagainst = ['a']", "variant a: against \"a\": this is no other variant"),
            ("[[variant]]\nname = 'a'\nset = ['optim.lr=-1']", "variant a: optim.lr = -1"),
            ("[[variant]]\nname = 'a'\nset = ['optim.rate=1']", "variant a: optim.rate=1: unknown field"),
            (
                "[[variant]]\nname = 'a'\nthen = {after_epoch=1, set=['model.width=0.125']}",
                "variant a: model.width cannot change within a training",
            ),
            (
                "[[variant]]\nname = 'a'\nset = ['knn.every=0', 'train.epochs=7']",
                "variant a: its k-NN accuracy is not measured; set knn.every, or knn.at=[7]",
            ),
            (
                "[[variant]]\nname = 'a'\nthen = {after_epoch=999, set=[]}",
                "variant a: after_epoch = 999: use an epoch from 1",
            ),
            ("[[variant]]\nname = 'a'\nepochs = 3", "unknown field `epochs`"),
            ("[[variant]]\nname = 'a'\nset = ['train.seed=2']", "variant a: train.seed is that of each training"),
            (
                "[[variant]]\nname = 'a'\nset = ['train.stop_epoch=1']",
                "variant a: train.stop_epoch is that of each training",
            ),
            (
                "[[variant]]\nname = 'a'\nthen = {after_epoch=1, set=['train.stop_epoch=2']}",
                "variant a: train.stop_epoch is that of each training",
            ),
        ] {
            let error = loaded(text).expect_err(text);
            assert!(error.contains(expected), "{error}");
        }
        let unknown = Study::load("no-such", &[]).unwrap_err().to_string();
        assert_eq!(unknown, "no-such: there is no such study or file; the studies are ddm");
    }
}
