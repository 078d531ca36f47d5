//! The images of a supervised training.

use clsa_augment::CenterCrop;
use clsa_data::Dataset;
use std::sync::Arc;

/// Images to train on and to test on, each with one class.
#[derive(Clone)]
pub struct TrainTest {
    /// Trained on by random crops of the test crop's size.
    pub train: Arc<dyn Dataset>,
    /// Tested on by center crops.
    pub test: Arc<dyn Dataset>,
    /// How test images are cut, and all are normalized.
    pub transform: CenterCrop,
}
