//! `parquet:PATTERN`: Hugging Face image data sets, with a column `image` of bytes and path and a column `label`.

#[cfg(feature = "parquet")]
mod columns;
#[cfg(feature = "parquet")]
mod images;

use super::spec::{Argument, Spec};
use crate::label::Labeling;

pub(super) static SPEC: Spec = Spec {
    name: "parquet",
    argument: Argument::Place("PATTERN"),
    summary: "Hugging Face image data sets",
    details: "a folder or a pattern, named as for `wds`",
    labeling: Some(Labeling::Class),
    feature: Some("parquet"),
    #[cfg(feature = "parquet")]
    open: Some(|pattern, split, limits| Ok(std::sync::Arc::new(images::ParquetImages::open(pattern, split, limits)?))),
    #[cfg(not(feature = "parquet"))]
    open: None,
};
