//! Settings of protocols: which there are, and which are given.

use crate::EvalError;
use std::collections::BTreeMap;
use std::fmt;

/// A setting of a protocol. Protocols that name a setting alike share its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name, in lower case with hyphens, such as `batch-size`.
    pub name: &'static str,
    /// What its value is.
    pub kind: SettingKind,
    /// What stands for the value in a help text, such as `IMAGES`.
    pub placeholder: &'static str,
    /// What it does and what it is by default, in one line without a full stop.
    pub about: &'static str,
}

/// What the value of a setting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingKind {
    /// A whole number from 1 on.
    Count,
    /// A number above 0.
    Positive,
    /// One or several numbers above 0, separated by commas.
    Positives,
    /// A text, such as the name of a file.
    Text,
}

/// The value of a setting.
#[derive(Clone, Debug, PartialEq)]
pub enum SettingValue {
    /// Of a [`SettingKind::Count`].
    Count(u64),
    /// Of a [`SettingKind::Positive`].
    Number(f64),
    /// Of [`SettingKind::Positives`].
    Numbers(Vec<f64>),
    /// Of a [`SettingKind::Text`].
    Text(String),
}

impl SettingKind {
    /// Reads a value.
    ///
    /// # Errors
    /// Says what to use.
    pub fn parse(self, text: &str) -> Result<SettingValue, &'static str> {
        let number = |text: &str| text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
        match self {
            Self::Count => text.parse().ok().filter(|count| *count > 0).map(SettingValue::Count),
            Self::Positive => number(text).map(SettingValue::Number),
            Self::Positives => text.split(',').map(number).collect::<Option<_>>().map(SettingValue::Numbers),
            Self::Text => Some(SettingValue::Text(text.to_owned())),
        }
        .ok_or(self.expected())
    }

    /// What to use.
    fn expected(self) -> &'static str {
        match self {
            Self::Count => "use a whole number, at least 1",
            Self::Positive => "use a positive number",
            Self::Positives => "use positive numbers",
            Self::Text => "use a text",
        }
    }
}

impl fmt::Display for SettingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Numbers(numbers) => {
                f.write_str(&numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
            }
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// The settings of an evaluation: what was given, and what else is the default.
///
/// # Examples
/// ```
/// use clsa_eval::protocols::{SettingValue, Settings};
///
/// let settings = Settings::new(7).with("k", SettingValue::Count(20)).with("lr", SettingValue::Numbers(vec![0.1, 1.0]));
/// assert_eq!(settings.count("k")?, Some(20));
/// assert_eq!(settings.numbers("lr")?, Some(vec![0.1, 1.0]));
/// assert_eq!(settings.count("epochs")?, None, "it was not given");
/// assert!(settings.count("lr").is_err());
/// # Ok::<(), clsa_eval::EvalError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    seed: u64,
    given: BTreeMap<&'static str, SettingValue>,
    defaults: BTreeMap<&'static str, SettingValue>,
}

impl Settings {
    /// No settings but the seed of confidence intervals, held-out images, labeled images, random crops, corruptions and queries.
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// With a value that was given.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: SettingValue) -> Self {
        self.given.insert(name, value);
        self
    }

    /// With a value for where none is given, in the place of the protocol's own.
    #[must_use]
    pub fn with_default(mut self, name: &'static str, value: SettingValue) -> Self {
        self.defaults.insert(name, value);
        self
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The value that was given, whatever the default.
    pub fn given(&self, name: &str) -> Option<&SettingValue> {
        self.given.get(name)
    }

    /// The names of the values that were given, in the order of the alphabet.
    pub fn given_names(&self) -> impl Iterator<Item = &'static str> {
        self.given.keys().copied()
    }

    /// A [`SettingKind::Count`], given or by default.
    ///
    /// # Errors
    /// The value is of another kind.
    pub fn count(&self, name: &'static str) -> Result<Option<u64>, EvalError> {
        self.value_as(name, SettingKind::Count, |value| {
            let SettingValue::Count(count) = value else { return None };
            Some(*count)
        })
    }

    /// A [`SettingKind::Positive`], given or by default.
    ///
    /// # Errors
    /// The value is of another kind.
    pub fn number(&self, name: &'static str) -> Result<Option<f64>, EvalError> {
        self.value_as(name, SettingKind::Positive, |value| {
            let SettingValue::Number(number) = value else { return None };
            Some(*number)
        })
    }

    /// [`SettingKind::Positives`], given or by default.
    ///
    /// # Errors
    /// The value is of another kind.
    pub fn numbers(&self, name: &'static str) -> Result<Option<Vec<f64>>, EvalError> {
        self.value_as(name, SettingKind::Positives, |value| {
            let SettingValue::Numbers(numbers) = value else { return None };
            Some(numbers.clone())
        })
    }

    /// A [`SettingKind::Text`], given or by default.
    ///
    /// # Errors
    /// The value is of another kind.
    pub fn text(&self, name: &'static str) -> Result<Option<&str>, EvalError> {
        self.value_as(name, SettingKind::Text, |value| {
            let SettingValue::Text(text) = value else { return None };
            Some(text.as_str())
        })
    }

    /// A value as `of` reads it, which gives none for other kinds.
    fn value_as<'a, T>(
        &'a self,
        name: &'static str,
        kind: SettingKind,
        of: impl FnOnce(&'a SettingValue) -> Option<T>,
    ) -> Result<Option<T>, EvalError> {
        let read = |value| of(value).ok_or_else(|| EvalError::setting(name, value, kind.expected()));
        self.given.get(name).or_else(|| self.defaults.get(name)).map(read).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_their_kind_says() {
        assert_eq!(SettingKind::Count.parse("20"), Ok(SettingValue::Count(20)));
        assert_eq!(SettingKind::Positives.parse("1,0.5"), Ok(SettingValue::Numbers(vec![1.0, 0.5])));
        for (kind, wrong) in [
            (SettingKind::Count, "0"),
            (SettingKind::Count, "1.5"),
            (SettingKind::Positive, "-1"),
            (SettingKind::Positive, "inf"),
            (SettingKind::Positives, "1,"),
        ] {
            assert!(kind.parse(wrong).is_err(), "{kind:?} {wrong}");
        }
    }

    #[test]
    fn what_is_given_comes_before_the_default() {
        let settings = Settings::new(0).with_default("k", SettingValue::Count(5));
        assert_eq!((settings.count("k").unwrap(), settings.given("k")), (Some(5), None));
        assert_eq!(settings.given_names().next(), None);
        assert_eq!(settings.with("k", SettingValue::Count(7)).count("k").unwrap(), Some(7));
    }
}
