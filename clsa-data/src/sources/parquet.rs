//! `parquet:PATTERN`: Hugging Face image data sets, with a column of images and perhaps one of labels.

#[cfg(feature = "parquet")]
mod columns;
#[cfg(feature = "parquet")]
mod delta;
#[cfg(feature = "parquet")]
mod images;
#[cfg(feature = "parquet")]
mod kept;
#[cfg(feature = "parquet")]
mod labels;
#[cfg(feature = "parquet")]
mod page_header;
#[cfg(feature = "parquet")]
mod pages;
#[cfg(feature = "parquet")]
mod schema;
#[cfg(feature = "parquet")]
mod shared_file;

use super::spec::{Argument, Spec};

pub(super) static SPEC: Spec = Spec {
    name: "parquet",
    argument: Argument::Objects("PATTERN"),
    summary: "Hugging Face image data sets",
    details: "a folder or a pattern, named as for `wds`; columns are found by features and names, or named by a final \
              `?image=COLUMN&label=COLUMN`; `?label=none` ignores labels; each image of a list is a sample, and a list of \
              labels says what is in a picture; also `https://` and `s3://` (feature `remote`)",
    feature: Some("parquet"),
    #[cfg(feature = "parquet")]
    open: Some(|pattern, split, limits| open(&crate::object::Opener::default(), pattern, split, limits)),
    #[cfg(not(feature = "parquet"))]
    open: None,
};

/// Parts what stands behind the colon into the pattern and the options `image=COLUMN&label=COLUMN`. A `?` before
/// anything else belongs to the pattern.
pub(crate) fn split_options(text: &str) -> (&str, Option<&str>) {
    let is_options = |options: &str| options.starts_with("image=") || options.starts_with("label=");
    match text.rsplit_once('?') {
        Some((pattern, options)) if is_options(options) => (pattern, Some(options)),
        Some(_) | None => (text, None),
    }
}

/// Opens a split.
#[cfg(feature = "parquet")]
pub(crate) fn open(
    opener: &crate::object::Opener,
    pattern: &str,
    split: crate::split::Split,
    limits: crate::decode::Limits,
) -> super::spec::Opened {
    Ok(std::sync::Arc::new(images::ParquetImages::open(opener, pattern, split, limits)?))
}
