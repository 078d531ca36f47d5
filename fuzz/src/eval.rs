//! What evaluations keep.

use crate::file::with_file;
use clsa_eval::evaluation::Evaluation;
use clsa_eval::features::{FeatureFile, FeatureRows, FeatureShape};

/// The name that [`FeatureFile`] gives to the features of "fuzz".
const FEATURES: &str = "93850b707585e404.safetensors";

/// Features of two images, of three values each.
pub fn features(data: &[u8]) {
    with_file(FEATURES, data, |path| {
        let folder = path.parent().expect("it is in a folder");
        let shape = FeatureShape { rows: 2, dim: 3, block: 1 };
        if let Ok(file) = FeatureFile::open_if_made(folder, "fuzz", shape) {
            let file = file.expect("its name is that of these features");
            assert_eq!(file.rows(0..2).expect("it was whole").len(), 6);
        }
    });
}

pub fn evaluation(data: &[u8]) {
    with_file("eval.json", data, |path| {
        if let Ok(evaluation) = Evaluation::read(path) {
            evaluation.write(path).expect("it can be written");
            Evaluation::read(path).expect("what was written is read");
        }
    });
}
