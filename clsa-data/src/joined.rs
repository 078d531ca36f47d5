//! Several data sets, one after the other, as one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use image::RgbImage;

use crate::dataset::{Dataset, Encoded};
use crate::error::{DataError, Fault};
use crate::label::Label;
use crate::printable::printable;
use crate::sample_error::SampleError;

/// The samples of data sets, in order. Classes of the same name are one class; where a data set has no classes, or several labels for
/// an image, the whole has no labels.
pub(crate) struct Joined {
    parts: Vec<Part>,
    classes: Vec<String>,
}

struct Part {
    dataset: Arc<dyn Dataset>,
    /// Number of its first sample.
    start: usize,
    /// The number in the whole of each of its classes.
    classes: Vec<u32>,
}

impl Joined {
    /// `datasets` has at least one.
    pub fn new(datasets: Vec<Arc<dyn Dataset>>) -> Result<Self, DataError> {
        let mut known = HashSet::new();
        let names = datasets.iter().flat_map(|dataset| dataset.class_names());
        let classes = names.filter(move |name| known.insert(name.as_str())).cloned().collect();
        Self { parts: Vec::new(), classes }.with_classes_of(datasets)
    }

    /// Other data sets with the same classes, or with none where not every one of them has one class for an image.
    ///
    /// # Errors
    /// They have a class that this has not.
    pub fn with_classes_of(&self, datasets: Vec<Arc<dyn Dataset>>) -> Result<Self, DataError> {
        // The first sample tells it for all.
        let is_labeled = datasets.iter().all(|dataset| dataset.label(0).class().is_some());
        let of_all: &[String] = if is_labeled { &self.classes } else { &[] };
        let numbers: HashMap<&str, u32> = of_all.iter().map(String::as_str).zip(0..).collect();
        let (mut parts, mut start) = (Vec::new(), 0);
        for dataset in datasets {
            let mut classes = Vec::new();
            if !numbers.is_empty() {
                for name in dataset.class_names() {
                    let number = numbers.get(name.as_str()).copied();
                    let unknown = || {
                        let reason = format!("`{}` is no class of the training images", printable(name));
                        Fault::Labels.at(dataset.name(0), reason)
                    };
                    classes.push(number.ok_or_else(unknown)?);
                }
            }
            let samples = dataset.len();
            parts.push(Part { dataset, start, classes });
            start += samples;
        }
        Ok(Self { parts, classes: of_all.to_vec() })
    }

    /// The part that a sample is of, and its number there.
    fn of(&self, index: usize) -> (&Part, usize) {
        let part = &self.parts[self.parts.partition_point(|part| part.start <= index) - 1];
        (part, index - part.start)
    }
}

impl Dataset for Joined {
    fn len(&self) -> usize {
        self.parts.iter().map(|part| part.dataset.len()).sum()
    }

    fn class_names(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> Label {
        let (part, index) = self.of(index);
        match part.dataset.label(index) {
            Label::Class(class) => part.classes.get(class as usize).map_or(Label::None, |class| Label::Class(*class)),
            Label::None | Label::Multi(_) => Label::None,
        }
    }

    fn image(&self, index: usize) -> Result<RgbImage, SampleError> {
        let (part, index) = self.of(index);
        part.dataset.image(index)
    }

    fn dimensions(&self, index: usize) -> Result<(u32, u32), SampleError> {
        let (part, index) = self.of(index);
        part.dataset.dimensions(index)
    }

    fn name(&self, index: usize) -> String {
        let (part, index) = self.of(index);
        part.dataset.name(index)
    }

    fn encoded(&self, index: usize) -> Result<Option<Encoded>, SampleError> {
        let (part, index) = self.of(index);
        part.dataset.encoded(index)
    }

    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.parts.iter().flat_map(|part| part.dataset.notes()).collect();
        if self.classes.is_empty() && self.parts.iter().any(|part| !part.dataset.class_names().is_empty()) {
            notes.push(
                "labels are not used, because not every one of the joined sources has one class for an image".into(),
            );
        }
        notes
    }

    /// Only where all parts are in shards.
    fn shards(&self) -> Option<Vec<usize>> {
        let shards = self.parts.iter().map(|part| part.dataset.shards()).collect::<Option<Vec<_>>>()?;
        Some(shards.concat())
    }
}
