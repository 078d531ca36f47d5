//! The images that encoders are evaluated on.

use crate::EvalError;
use crate::features::all_labels;
use clsa_data::Dataset;
use std::sync::Arc;

/// Training and test images, and what their labels are.
#[derive(Clone)]
pub struct EvalData {
    train: Arc<dyn Dataset>,
    test: Option<Arc<dyn Dataset>>,
    labels: Option<SplitLabels>,
    classes: usize,
}

/// Class of each training and each test image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitLabels {
    /// Of the training images.
    pub train: Vec<u32>,
    /// Of the test images.
    pub test: Vec<u32>,
}

impl EvalData {
    /// Looks at the labels of the images; reads none. Without test images only few protocols can be run.
    pub fn new(train: Arc<dyn Dataset>, test: Option<Arc<dyn Dataset>>) -> Self {
        let all = |data: &Arc<dyn Dataset>| all_labels(data.as_ref()).ok();
        let labels = test.as_ref().and_then(|test| Some(SplitLabels { train: all(&train)?, test: all(test)? }));
        let classes = labels.as_ref().map_or(0, |SplitLabels { train: of_train, test: of_test }| {
            let numbered = of_train.iter().chain(of_test).max().map_or(0, |&class| class as usize + 1);
            numbered.max(train.class_names().len())
        });
        Self { train, test, labels, classes }
    }

    /// The training images.
    pub fn train(&self) -> &Arc<dyn Dataset> {
        &self.train
    }

    /// The test images.
    ///
    /// # Errors
    /// There are none.
    pub fn test(&self) -> Result<&Arc<dyn Dataset>, EvalError> {
        self.test.as_ref().ok_or(EvalError::Empty("test"))
    }

    /// Class of each image.
    ///
    /// # Errors
    /// There are no test images, or an image has not exactly one class.
    pub fn labels(&self) -> Result<&SplitLabels, EvalError> {
        self.labels.as_ref().ok_or(EvalError::Empty("labeled"))
    }

    /// Number of classes; 0 where images have not one class each.
    pub fn classes(&self) -> usize {
        self.classes
    }
}
