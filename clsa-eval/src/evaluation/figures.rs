//! The figures of one encoder by one protocol.

use super::Measure;
use crate::metrics::{Accuracy, AveragePrecision, CorruptedAccuracy, Estimate, SameClassShare};
use serde::{Deserialize, Serialize};

/// What a protocol found: figures of one [`Measure`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Figures {
    /// Of protocols that name one class.
    Accuracy(Accuracy),
    /// Of protocols that score every class.
    AveragePrecision(AveragePrecision),
    /// Of protocols that name one class of corrupted images.
    CorruptedAccuracy(CorruptedAccuracy),
    /// Of protocols that look for neighbors.
    SameClassShare(SameClassShare),
    /// Of protocols from outside this crate.
    Custom(CustomFigures),
}

/// Figures of a measure that this crate does not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CustomFigures {
    /// What is measured, as a sentence begins with it, such as `Balanced accuracy`.
    pub measure: String,
    /// The figure, percent.
    pub figure: Estimate,
    /// The figure of each class that has one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per_class: Vec<ClassFigure>,
}

/// The figure of one class, percent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassFigure {
    /// Number of the class.
    pub class: u32,
    /// Its figure.
    pub value: f64,
}

impl Figures {
    /// What is measured.
    pub fn measure(&self) -> Measure {
        match self {
            Self::Accuracy(_) => Measure::Accuracy,
            Self::AveragePrecision(_) => Measure::AveragePrecision,
            Self::CorruptedAccuracy(_) => Measure::CorruptedAccuracy,
            Self::SameClassShare(_) => Measure::SameClassShare,
            Self::Custom(custom) => Measure::Custom(custom.measure.clone()),
        }
    }

    /// The main figure; none where the images have not the labels for it.
    pub fn main(&self) -> Option<Estimate> {
        match self {
            Self::Accuracy(accuracy) => Some(accuracy.top1),
            Self::AveragePrecision(precision) => Some(precision.mean),
            Self::CorruptedAccuracy(accuracy) => Some(accuracy.corrupted),
            Self::SameClassShare(same) => same.share,
            Self::Custom(custom) => Some(custom.figure),
        }
    }

    /// The second figure, that of [`Measure::second_name`].
    pub fn second(&self) -> Option<Estimate> {
        match self {
            Self::Accuracy(accuracy) => Some(accuracy.top5),
            Self::AveragePrecision(precision) => Some(precision.mean_11_point),
            Self::CorruptedAccuracy(accuracy) => Some(accuracy.clean),
            Self::SameClassShare(_) | Self::Custom(_) => None,
        }
    }

    /// The main figure of each class that has one.
    pub fn per_class(&self) -> Vec<ClassFigure> {
        match self {
            Self::Accuracy(accuracy) => {
                accuracy.per_class.iter().map(|c| ClassFigure { class: c.class, value: c.top1 }).collect()
            }
            Self::AveragePrecision(precision) => {
                precision.per_class.iter().map(|c| ClassFigure { class: c.class, value: c.area }).collect()
            }
            Self::CorruptedAccuracy(_) | Self::SameClassShare(_) => Vec::new(),
            Self::Custom(custom) => custom.per_class.clone(),
        }
    }

    /// The accuracy, where that is what they are.
    pub fn accuracy(&self) -> Option<&Accuracy> {
        match self {
            Self::Accuracy(accuracy) => Some(accuracy),
            Self::AveragePrecision(_) | Self::CorruptedAccuracy(_) | Self::SameClassShare(_) | Self::Custom(_) => None,
        }
    }
}
