//! The evaluations in a run's folder.

use super::Part;
use super::picture::Picture;
use crate::EvalError;
use crate::evaluation::Evaluation;
use clsa_run::RunFolder;
use std::path::Path;

/// Height of what is shown of a sheet, pixels.
const SHEET: u32 = 1680;

/// An evaluation in a run's folder.
#[derive(Debug)]
pub(super) struct StoredEvaluation {
    /// Name of its file.
    pub file: String,
    pub evaluation: Evaluation,
    /// The picture of `retrieval`.
    pub picture: Option<Part<Sheet>>,
}

/// The picture that the protocol `retrieval` has written.
#[derive(Debug)]
pub(super) struct Sheet {
    /// Name of its file.
    pub file: String,
    pub picture: Picture,
    /// Whether further rows were left out, to keep the page small.
    pub cut: bool,
}

/// Every evaluation in the run's folder.
///
/// # Errors
/// One of them is damaged.
pub(super) fn stored_evaluations(run: &RunFolder) -> Result<Vec<StoredEvaluation>, EvalError> {
    let mut found = Vec::new();
    for path in run.evaluations() {
        let evaluation = Evaluation::read(&path)?;
        let picture = sheet(run.path(), &evaluation);
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        found.push(StoredEvaluation { file, evaluation, picture });
    }
    Ok(found)
}

fn sheet(folder: &Path, evaluation: &Evaluation) -> Option<Part<Sheet>> {
    let results = evaluation.protocols.iter().flat_map(|protocol| &protocol.results);
    let name = results.filter_map(|result| result.details.get("picture")?.as_str()).next()?;
    let alt =
        format!("rows of pictures: a random image in a gray frame, then its nearest neighbors in {}", evaluation.data);
    Some(match image::open(folder.join(name)) {
        Ok(image) => {
            let (width, height) = (image.width(), image.height());
            let shown = image.crop_imm(0, 0, width, height.min(SHEET)).to_rgb8();
            Ok(Sheet { file: name.to_owned(), picture: Picture::compact(&shown, alt), cut: height > SHEET })
        }
        Err(error) => Err(format!("The picture of retrieval, {name}, cannot be shown: {error}.")),
    })
}
