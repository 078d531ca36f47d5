//! Features of images: vectors in memory or on disk, made by the backbone of an encoder or from bare pixels.

mod center_crops;
mod corrupted;
mod extract;
mod file;
mod five_crops;
mod labels;
mod pixels;
mod raw_pixels;
mod rows;
mod unusable;

pub use center_crops::CenterCrops;
pub use corrupted::CorruptedImages;
pub(crate) use extract::{batch_of_side, images_of_pass};
pub use extract::{extract, extract_into, extract_stage};
pub use file::FeatureFile;
pub(crate) use file::whole_words;
pub use five_crops::{CornersAndCenter, TEST_CROPS, TRAIN_CROPS, extract_crops_into};
pub(crate) use labels::all_labels;
pub use labels::{check_labels, check_presences, class_names_of, labels, presences};
pub use raw_pixels::{raw_pixels, raw_pixels_into};
pub use rows::{FeatureRows, FeatureShape, Features, Labeled};
pub(crate) use rows::{check_comparable, check_labeled, check_training_rows, finite_rows, picked};
pub use unusable::unusable;
