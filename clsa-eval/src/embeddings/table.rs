//! What is written: features, and the images that they are of.

use crate::EvalError;
use crate::features::{FeatureRows, class_names_of};
use clsa_data::{Dataset, Label};
use clsa_files::WholeFile;
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

/// Rows that are in memory at a time.
const BLOCK: usize = 1024;

/// Features of images, and the data set that says which they are of.
#[derive(Clone, Copy)]
pub struct Embeddings<'a> {
    /// As many vectors as there are images.
    pub rows: &'a dyn FeatureRows,
    /// The images, in the order of the rows.
    pub images: &'a dyn Dataset,
}

impl Embeddings<'_> {
    /// The blocks of rows, in order.
    pub(super) fn blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let rows = self.rows.len();
        (0..rows).step_by(BLOCK).map(move |start| start..(start + BLOCK).min(rows))
    }

    /// Whether any image has a label.
    pub(super) fn has_labels(&self) -> bool {
        (0..self.images.len()).any(|index| self.images.label(index) != Label::None)
    }

    /// The label of an image by name: its class, or the classes that are in the picture, separated by `;`. None where it has none.
    pub(super) fn label(&self, index: usize) -> Option<String> {
        Some(class_names_of(self.images, index)?.join(";"))
    }

    /// Writes all values as little-endian f32.
    pub(super) fn write_values(&self, file: &mut impl Write, output: &Output) -> Result<(), EvalError> {
        for block in self.blocks() {
            let end = block.end;
            let bytes: Vec<u8> = self.rows.rows(block)?.iter().flat_map(|value| value.to_le_bytes()).collect();
            file.write_all(&bytes).map_err(output.failed())?;
            (output.progress)(end as u64, self.rows.len() as u64);
        }
        Ok(())
    }
}

/// The file that is written.
pub(super) struct Output<'a> {
    pub path: &'a Path,
    pub progress: &'a dyn Fn(u64, u64),
}

impl Output<'_> {
    pub fn create(&self) -> Result<WholeFile, EvalError> {
        WholeFile::create(self.path).map_err(self.failed())
    }

    pub fn failed(&self) -> impl Fn(io::Error) -> EvalError + Copy {
        |source| EvalError::Io { path: self.path.to_owned(), source }
    }
}
