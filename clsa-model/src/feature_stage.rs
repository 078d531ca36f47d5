//! Where in an encoder features are taken.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where in an encoder [`Encoder::features`](crate::Encoder::features) are taken.
///
/// In configurations it is `"backbone"`, `"embedding"` or the name of a stage, such as `"layer3"`.
///
/// # Examples
///
/// ```
/// use clsa_model::FeatureStage;
///
/// assert_eq!(FeatureStage::from("layer3".to_owned()), FeatureStage::Stage("layer3".to_owned()));
/// assert_eq!(FeatureStage::Embedding.to_string(), "embedding");
/// assert_eq!(FeatureStage::default(), FeatureStage::Backbone);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum FeatureStage {
    /// The pooled features of the last stage, before the projection head: what the literature evaluates.
    #[default]
    Backbone,
    /// The output of the projection head, of unit length.
    Embedding,
    /// The pooled features of the stage of this name.
    Stage(String),
}

impl From<String> for FeatureStage {
    fn from(name: String) -> Self {
        match name.as_str() {
            "backbone" => Self::Backbone,
            "embedding" => Self::Embedding,
            _ => Self::Stage(name),
        }
    }
}

impl From<FeatureStage> for String {
    fn from(stage: FeatureStage) -> Self {
        stage.to_string()
    }
}

impl fmt::Display for FeatureStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backbone => "backbone",
            Self::Embedding => "embedding",
            Self::Stage(name) => name,
        })
    }
}
