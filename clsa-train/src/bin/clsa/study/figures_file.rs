//! Figures in a file, in which those of several machines come together.

use crate::failure::{Failure, request};
use anyhow::Context;
use clsa_run::DataIdentity;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A training and its figure.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    pub variant: String,
    pub seed: u64,
    /// k-NN accuracy after training, percent.
    pub top1: f64,
    /// `Study::digest`.
    pub configuration: String,
    /// The digest of the images' names.
    pub images: String,
}

/// A file with a JSON object in each line.
pub struct FiguresFile {
    path: PathBuf,
    figures: Vec<Figure>,
}

impl FiguresFile {
    /// Reads a file; none is an empty one.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display();
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            text => text.map_err(|error| request(format!("--figures {name}: {error}")))?,
        };
        let mut figures: Vec<Figure> = Vec::new();
        for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.is_empty()) {
            let wrong = |reason: String| request(format!("--figures {name}: line {line}: {reason}"));
            let figure: Figure = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
            match figures.iter().find(|known| (&known.variant, known.seed) == (&figure.variant, figure.seed)) {
                None => figures.push(figure),
                Some(known) if *known == figure => {}
                Some(_) => {
                    let Figure { variant, seed, .. } = figure;
                    return Err(wrong(format!("{variant} with the seed {seed} has another line; remove one of them")));
                }
            }
        }
        Ok(Self { path: path.to_owned(), figures })
    }

    /// The figure of a training; refuses one of something else, or on other images.
    pub fn find(
        &self,
        variant: &str,
        seed: u64,
        configuration: &str,
        images: &DataIdentity,
    ) -> Result<Option<f64>, Failure> {
        let found = self.figures.iter().find(|figure| figure.variant == variant && figure.seed == seed);
        let other = match found {
            None => return Ok(None),
            Some(figure) if figure.images != images.names_sha256 => "on other images",
            Some(figure) if figure.configuration != configuration => "with another configuration than this study's",
            Some(figure) => return Ok(Some(figure.top1)),
        };
        Err(request(format!(
            "--figures {}: {variant} with the seed {seed} was trained {other}; name another file, or remove the line",
            self.path.display()
        )))
    }

    /// Adds a figure to those that the file has by now, unless it has one of this training.
    pub fn add(&mut self, figure: Figure) -> Result<(), Failure> {
        self.figures = Self::read(&self.path)?.figures;
        if self.figures.iter().any(|known| (&known.variant, known.seed) == (&figure.variant, figure.seed)) {
            return Ok(());
        }
        self.figures.push(figure);
        let mut text = String::new();
        for figure in &self.figures {
            writeln!(text, "{}", serde_json::to_string(figure)?)?;
        }
        clsa_files::write_whole(&self.path, text.as_bytes()).with_context(|| self.path.display().to_string())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_others_have_added_meanwhile_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("all.jsonl");
        let figure = |seed: u64, top1: f64| {
            let [variant, configuration, images] = ["moco", "12", "34"].map(str::to_owned);
            Figure { variant, seed, top1, configuration, images }
        };
        let [mut first, mut second] = [(); 2].map(|()| FiguresFile::read(&path).unwrap());
        first.add(figure(0, 40.0)).unwrap();
        second.add(figure(1, 41.0)).unwrap();
        // Another machine may have trained the same: the file stays one that can be read.
        first.add(figure(1, 41.5)).unwrap();
        assert_eq!(FiguresFile::read(&path).unwrap().figures, [figure(0, 40.0), figure(1, 41.0)]);
    }
}
