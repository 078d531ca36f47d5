//! The evaluations in a run's folder.

use super::Part;
use super::picture::Picture;
use crate::EvalError;
use crate::evaluation::Evaluation;
use clsa_run::RunFolder;
use std::path::Path;

/// Height of what is shown of a sheet, pixels.
const SHEET: u32 = 1680;
/// Its width.
const SHEET_WIDTH: u32 = 4 * SHEET;

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
    /// Whether further rows or neighbors were left out, to keep the page small.
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
    // A page is passed on: it is to show no other file of this machine.
    if Path::new(name).file_name() != Some(name.as_ref()) {
        return Some(Err(format!("The picture of retrieval, {name}, is not shown: it is not in the run's folder.")));
    }
    Some(match image::open(folder.join(name)) {
        Ok(image) => {
            let (width, height) = (image.width(), image.height());
            let shown = image.crop_imm(0, 0, width.min(SHEET_WIDTH), height.min(SHEET)).to_rgb8();
            let cut = width > SHEET_WIDTH || height > SHEET;
            Ok(Sheet { file: name.to_owned(), picture: Picture::compact(&shown, alt), cut })
        }
        Err(error) => Err(format!("The picture of retrieval, {name}, cannot be shown: {error}.")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::{EncoderKind, EncoderResult, Figures, ProtocolResult};
    use crate::metrics::{Accuracy, Predictions};
    use clsa_augment::CenterCrop;
    use clsa_model::FeatureStage;
    use image::RgbImage;
    use serde_json::json;

    /// What is shown of an evaluation whose picture is called so.
    fn shown(folder: &Path, picture: &str) -> Result<Sheet, String> {
        let accuracy = Accuracy::of(&Predictions { ranked: vec![vec![0, 1]] }, &[0], 2, 0);
        let details = json!({ "picture": picture });
        let figures = Figures::Accuracy(accuracy);
        let evaluation = Evaluation {
            weights: "step-00000001.safetensors".to_owned(),
            encoder_sha256: String::new(),
            stage: FeatureStage::Backbone,
            data: "flat:photographs".to_owned(),
            data_sha256: String::new(),
            classes: Vec::new(),
            train_samples: 1,
            test_samples: 1,
            transform: CenterCrop::new(8, 8),
            chance: None,
            protocols: vec![ProtocolResult {
                protocol: "retrieval".to_owned(),
                settings: json!({}),
                results: vec![EncoderResult { encoder: EncoderKind::Trained, details, figures }],
                wall_time_s: 1.0,
            }],
        };
        sheet(folder, &evaluation).unwrap()
    }

    #[test]
    fn a_picture_that_is_not_in_the_runs_folder_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        std::fs::create_dir(&run).unwrap();
        for at in ["other.png", "run/own.png"] {
            RgbImage::new(8, 8).save(folder.path().join(at)).unwrap();
        }
        let other = folder.path().join("other.png").display().to_string();
        for picture in [&other[..], "../other.png", "./../other.png", ".."] {
            let reason = shown(&run, picture).unwrap_err();
            assert!(reason.ends_with("is not shown: it is not in the run's folder."), "{reason}");
        }
        assert!(!shown(&run, "own.png").unwrap().cut);
    }

    #[test]
    fn a_picture_of_any_size_is_shown_as_far_as_a_page_has_room() {
        let folder = tempfile::tempdir().unwrap();
        for (width, height, size) in [(70_000, 10, (SHEET_WIDTH, 10)), (10, 70_000, (10, SHEET))] {
            RgbImage::new(width, height).save(folder.path().join("a.png")).unwrap();
            let sheet = shown(folder.path(), "a.png").unwrap();
            assert_eq!(((sheet.picture.width, sheet.picture.height), sheet.cut), (size, true));
        }
    }
}
