//! The shape of a projection head, as configurations name it.

use crate::error::ModelError;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::RangeInclusive;

/// The layers between the features and the embedding.
///
/// In a configuration it is `"mlp"`, `"linear"` or a table of [`MlpConfig`]'s keys.
///
/// # Examples
///
/// ```
/// use clsa_model::{HeadConfig, MlpConfig, ModelConfig};
///
/// let head = |text: &str| toml::from_str::<ModelConfig>(text).map(|model| model.head);
/// assert_eq!(head("")?, HeadConfig::Mlp(MlpConfig::default()));
/// assert_eq!(head("head = 'linear'")?, HeadConfig::Linear);
/// let mlp = MlpConfig { hidden: 2048, layers: 3, batch_norm: true };
/// assert_eq!(head("head = { hidden = 2048, layers = 3, batch_norm = true }")?, HeadConfig::Mlp(mlp));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadConfig {
    /// One linear layer (MoCo v1, the instance discrimination of Wu et al. 2018).
    Linear,
    /// Linear layers with ReLU between them (MoCo v2, CLSA).
    Mlp(MlpConfig),
}

impl Default for HeadConfig {
    /// The paper's.
    fn default() -> Self {
        Self::Mlp(MlpConfig::default())
    }
}

/// A projection head of several layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MlpConfig {
    /// Size of the hidden layers, up to 65536; 0 for that of the features (the paper).
    pub hidden: usize,
    /// Linear layers, from 2 (the paper) to 8.
    pub layers: usize,
    /// Whether batch norm follows each hidden layer (BYOL, SimCLR v2; the paper: no).
    pub batch_norm: bool,
}

impl Default for MlpConfig {
    /// The paper's: two layers, no norm.
    fn default() -> Self {
        Self { hidden: 0, layers: 2, batch_norm: false }
    }
}

impl MlpConfig {
    /// How many linear layers there may be.
    pub(super) const LAYERS: RangeInclusive<usize> = 2..=8;

    /// Modules of a hidden layer in torch's `Sequential`: linear layer, batch norm if there is one, ReLU.
    pub(super) fn modules(&self) -> usize {
        if self.batch_norm { 3 } else { 2 }
    }
}

impl HeadConfig {
    /// Checks the ranges of all values.
    pub(crate) fn validate(&self) -> Result<(), ModelError> {
        let Self::Mlp(MlpConfig { hidden, layers, batch_norm: _ }) = *self else { return Ok(()) };
        let wrong = |field, value: usize, expected: &str| Err(ModelError::config(field, value, expected));
        if hidden > 65_536 {
            return wrong("head.hidden", hidden, "use a size up to 65536, or 0 for that of the features");
        }
        if !MlpConfig::LAYERS.contains(&layers) {
            return wrong("head.layers", layers, "use 2 to 8 layers, or head = \"linear\" for one");
        }
        Ok(())
    }
}

impl Serialize for HeadConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Linear => serializer.serialize_str("linear"),
            Self::Mlp(mlp) if *mlp == MlpConfig::default() => serializer.serialize_str("mlp"),
            Self::Mlp(mlp) => mlp.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for HeadConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameOrTable)
    }
}

// Not an untagged enumeration, which would not say what is wrong inside the table.
struct NameOrTable;

impl<'de> Visitor<'de> for NameOrTable {
    type Value = HeadConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"mlp\", \"linear\" or a table such as { hidden = 2048, layers = 3, batch_norm = true }")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<HeadConfig, E> {
        match name {
            "linear" => Ok(HeadConfig::Linear),
            "mlp" => Ok(HeadConfig::default()),
            other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<HeadConfig, A::Error> {
        MlpConfig::deserialize(MapAccessDeserializer::new(table)).map(HeadConfig::Mlp)
    }
}
