//! How the page speaks of samples.

use crate::features::class_names_of;
use clsa_data::{Dataset, Split};

/// A sample's classes where it has some, its split and its name.
pub(super) fn full_name(data: &dyn Dataset, split: Split, index: usize) -> String {
    let kind = if split == Split::Test { "test" } else { "training" };
    let name = data.name(index);
    // The image's folder is enough; what is above it is the same for all.
    let start = name.rmatch_indices('/').nth(1).map_or(0, |(slash, _)| slash + 1);
    let name = format!("{kind} image {}", &name[start..]);
    let classes = classes_of(data, index);
    if classes.is_empty() { name } else { format!("{} ({name})", classes.join(", ")) }
}

/// The classes of a sample, or the last part of its name where it has none.
pub(super) fn short_name(data: &dyn Dataset, index: usize) -> String {
    let classes = classes_of(data, index);
    if !classes.is_empty() {
        return classes.join(", ");
    }
    let name = data.name(index);
    name.rsplit('/').next().unwrap_or_default().to_owned()
}

/// Names of a sample's classes: none, one, or all that are present.
pub(super) fn classes_of(data: &dyn Dataset, index: usize) -> Vec<String> {
    class_names_of(data, index).unwrap_or_default()
}
