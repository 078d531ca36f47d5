//! What figures measure, and how tables and pages speak of it.

/// What figures measure.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Measure {
    /// Test images whose class is named first, and among the first five.
    Accuracy,
    /// Mean over classes of the average precision, by area and by eleven points.
    AveragePrecision,
    /// Test images whose class is named first under common corruptions, and as they are.
    CorruptedAccuracy,
    /// How often the nearest training images are of the test image's class.
    SameClassShare,
    /// What a protocol from outside this crate measures, by its name.
    Custom(String),
}

impl Measure {
    /// What the main figure is called, as a sentence begins with it.
    pub fn name(&self) -> &str {
        match self {
            Self::Accuracy => "Top-1 accuracy",
            Self::AveragePrecision => "Mean average precision",
            Self::CorruptedAccuracy => "Top-1 accuracy on corrupted images",
            Self::SameClassShare => "Share of the nearest neighbors that are of the image's class",
            Self::Custom(name) => name,
        }
    }

    /// What the figure of one class is called.
    pub fn name_for_class(&self) -> &str {
        match self {
            Self::Accuracy => "Top-1 accuracy",
            Self::AveragePrecision => "Average precision",
            Self::CorruptedAccuracy | Self::SameClassShare => self.name(),
            Self::Custom(name) => name,
        }
    }

    /// What the second figure is called, where there is one.
    pub fn second_name(&self) -> Option<&'static str> {
        match self {
            Self::Accuracy => Some("top-5"),
            Self::AveragePrecision => Some("11-point"),
            Self::CorruptedAccuracy => Some("clean"),
            Self::SameClassShare | Self::Custom(_) => None,
        }
    }

    /// The heading of the main figure in a table of plain text.
    pub(super) fn heading(&self) -> String {
        match self {
            Self::Accuracy => "top-1 %".to_owned(),
            Self::AveragePrecision => "mAP %".to_owned(),
            Self::CorruptedAccuracy => "corrupted %".to_owned(),
            Self::SameClassShare => "same class %".to_owned(),
            Self::Custom(name) => format!("{name} %"),
        }
    }

    /// The heading of the second figure in a table of plain text.
    pub(super) fn second_heading(&self) -> &'static str {
        match self {
            Self::Accuracy => "top-5 %",
            Self::AveragePrecision => "11-point",
            Self::CorruptedAccuracy => "clean %",
            Self::SameClassShare | Self::Custom(_) => "",
        }
    }
}
