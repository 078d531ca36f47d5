//! The nearest neighbors of images by their features.

use super::feature_set::FeatureSet;
use super::protocol::{LabelKind, Needs, Outcome, Picture, Protocol};
use super::retrieval_picture::{MOST_PICTURED, retrieval_picture};
use super::retrieved::Retrieved;
use super::settings::{Setting, SettingKind, Settings};
use super::workbench::Workbench;
use crate::evaluation::{EncoderKind, EncoderResult, Figures};
use crate::features::{FeatureRows, Features, Labeled, check_comparable, check_training_rows, picked};
use crate::metrics::{Estimate, SameClassShare};
use crate::nearest::{Neighbor, nearest};
use crate::{EvalError, random_subset};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Settings of [`retrieval`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrievalConfig {
    /// Images whose neighbors are shown; capped by the number of test images. Default 10.
    pub queries: usize,
    /// Neighbors of each; capped by the number of other images. Default 10.
    #[serde(rename = "neighbours")]
    pub neighbors: usize,
    /// Seed that draws the queries.
    pub seed: u64,
}

impl Default for RetrievalConfig {
    fn default() -> Self {
        Self { queries: 10, neighbors: 10, seed: 0 }
    }
}

/// Neighbors by cosine of `config.queries` random test images among the training images. Without test images the queries
/// are training images, and none is its own neighbor.
///
/// # Errors
/// A setting is 0, there is one image only, features differ in length or are not finite, or cannot be read.
///
/// # Examples
/// ```
/// use clsa_eval::features::Features;
/// use clsa_eval::protocols::{RetrievalConfig, retrieval};
///
/// let images = Features { values: vec![1.0, 0.0, 0.9, 0.1, 0.0, 1.0, 0.1, 0.9], dim: 2, labels: vec![0, 0, 1, 1] };
/// for found in retrieval(&images, None, &RetrievalConfig { queries: 4, neighbors: 1, seed: 0 })? {
///     assert_eq!(images.labels[found.query], images.labels[found.neighbors[0]]);
/// }
/// # Ok::<(), clsa_eval::EvalError>(())
/// ```
pub fn retrieval(
    train: &dyn FeatureRows,
    test: Option<&dyn FeatureRows>,
    config: &RetrievalConfig,
) -> Result<Vec<Retrieved>, EvalError> {
    EvalError::at_least_one("queries", config.queries as u64)?;
    EvalError::at_least_one("neighbors", config.neighbors as u64)?;
    let among = test.unwrap_or(train);
    if among.dim() != train.dim() {
        return Err(EvalError::Size { what: "a test feature", got: among.dim(), expected: train.dim() });
    }
    let own = usize::from(test.is_none());
    if train.len() <= own {
        return Err(EvalError::Empty("other"));
    }
    let queries = random_subset(among.len(), config.queries, config.seed);
    let rows = Features { values: picked(among, &queries)?, dim: among.dim(), labels: vec![0; queries.len()] };
    let count = config.neighbors.min(train.len() - own);
    let nearest = nearest(train, &rows, count + own)?;
    let neighbors = |query: usize, found: Vec<Neighbor>| -> Vec<usize> {
        let others = found.into_iter().map(|n| n.index as usize).filter(|&index| test.is_some() || index != query);
        others.take(count).collect()
    };
    let retrieved = |(&query, found)| Retrieved { query, neighbors: neighbors(query, found) };
    Ok(queries.iter().zip(nearest).map(retrieved).collect())
}

/// The share of the `neighbors` nearest training images that are of a test image's class, over all test images; its
/// interval depends on `seed`. That of an image whose class no training image has is 0.
///
/// # Errors
/// `neighbors` is 0, a split is empty, has features that are not finite or of another length, or the training images are all of one class.
pub fn same_class_share(
    train: Labeled,
    test: Labeled,
    neighbors: usize,
    seed: u64,
) -> Result<SameClassShare, EvalError> {
    EvalError::at_least_one("neighbors", neighbors as u64)?;
    check_training_rows(train)?;
    check_comparable(train, test)?;
    let neighbors = neighbors.min(train.labels.len());
    let shares: Vec<f64> = (nearest(train.rows, test.rows, neighbors)?.iter().zip(test.labels))
        .map(|(nearest, class)| {
            nearest.iter().filter(|n| train.labels[n.index as usize] == *class).count() as f64 / neighbors as f64
        })
        .collect();
    Ok(SameClassShare { neighbors, share: Some(Estimate::mean(&shares, seed)) })
}

/// The protocol `retrieval`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retrieval;

impl Retrieval {
    fn config(settings: &Settings) -> Result<RetrievalConfig, EvalError> {
        let defaults = RetrievalConfig::default();
        Ok(RetrievalConfig {
            queries: settings.count("queries")?.map_or(defaults.queries, |images| images as usize),
            neighbors: settings.count("neighbors")?.map_or(defaults.neighbors, |images| images as usize),
            seed: settings.seed(),
        })
    }

    /// How many of the neighbors share a class, where images have one.
    fn share(bench: &Workbench<'_>, set: &FeatureSet, config: &RetrievalConfig) -> Result<SameClassShare, EvalError> {
        let labels = bench.data().labels().ok().filter(|labels| are_several(&labels.train));
        match (labels, &set.test) {
            (Some(labels), Some(test)) => {
                let train = Labeled { rows: &set.train, labels: &labels.train };
                same_class_share(train, Labeled { rows: test, labels: &labels.test }, config.neighbors, config.seed)
            }
            (Some(_) | None, _) => Ok(SameClassShare { neighbors: config.neighbors, share: None }),
        }
    }
}

/// Whether there is more than one class. With a single class every neighbor matches, so the share is meaningless.
fn are_several(classes: &[u32]) -> bool {
    classes.iter().any(|class| *class != classes[0])
}

impl Protocol for Retrieval {
    fn name(&self) -> &str {
        "retrieval"
    }

    fn about(&self) -> &str {
        "the nearest neighbors of random images, as a picture"
    }

    fn needs(&self) -> Needs {
        Needs { features: true, labels: LabelKind::Any, test_images: false }
    }

    fn settings(&self) -> &[Setting] {
        &[
            Setting {
                name: "queries",
                kind: SettingKind::Count,
                placeholder: "IMAGES",
                about: "random images whose neighbors are shown (10)",
            },
            Setting {
                name: "neighbors",
                kind: SettingKind::Count,
                placeholder: "IMAGES",
                about: "neighbors of each (10)",
            },
        ]
    }

    fn check_settings(&self, settings: &Settings) -> Result<(), EvalError> {
        let RetrievalConfig { queries, neighbors, .. } = Self::config(settings)?;
        let pictured = queries.saturating_mul(neighbors.saturating_add(1));
        if pictured <= MOST_PICTURED {
            return Ok(());
        }
        let expected = format!(
            "with {neighbors} neighbors of each, the picture would hold {pictured} images; ask for at most {MOST_PICTURED}"
        );
        Err(EvalError::setting("queries", queries, expected))
    }

    fn run(&self, bench: &Workbench<'_>) -> Result<Outcome, EvalError> {
        let config = Self::config(bench.settings())?;
        let mut outcome = Outcome { settings: json!(config), ..Outcome::default() };
        let test = bench.data().test().ok().map(|test| test.len());
        let (train, among) = (bench.data().train().len(), test.unwrap_or(bench.data().train().len()));
        for (what, asked, there) in [("queries", config.queries, among), ("neighbors", config.neighbors, train)] {
            if asked > there {
                bench.observer().note(&format!("{what} are {there}, the number of images, not {asked}"));
            }
        }
        for set in bench.features()? {
            let test = set.test.as_ref().map(|test| test as &dyn FeatureRows);
            let retrieved = retrieval(&set.train, test, &config)?;
            let mut details = json!({ "retrieved": retrieved });
            if set.kind == EncoderKind::Trained {
                let file_name = bench.picture_name("retrieval");
                details["picture"] = json!(file_name);
                let test = bench.data().test().ok().map(AsRef::as_ref);
                let png = retrieval_picture(bench.data().train().as_ref(), test, &retrieved)?;
                outcome.pictures.push(Picture { file_name, png });
            }
            let figures = Figures::SameClassShare(Self::share(bench, set, &config)?);
            outcome.results.push(EncoderResult { encoder: set.kind, details, figures });
        }
        if let Some(labels) = bench.data().labels().ok().filter(|labels| are_several(&labels.train)) {
            let chance = SameClassShare::of_chance(&labels.train, &labels.test, config.neighbors);
            let figures = Figures::SameClassShare(chance);
            outcome.results.push(EncoderResult { encoder: EncoderKind::Chance, details: json!({}), figures });
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(angles: &[f32], labels: &[u32]) -> Features {
        let values = angles.iter().flat_map(|angle| [angle.cos(), angle.sin()]).collect();
        Features { values, dim: 2, labels: labels.to_vec() }
    }

    #[test]
    fn the_share_is_that_of_neighbors_of_the_class() {
        let train = features(&[0.0, 0.1, 0.2, 1.0, 1.1, 1.2], &[0, 0, 1, 1, 1, 0]);
        // The three nearest of the first are of classes 0, 0 and 1, those of the second of 1, 1 and 0.
        let test = features(&[0.05, 1.05], &[0, 1]);
        let of = |neighbors| same_class_share((&train).into(), (&test).into(), neighbors, 0).unwrap();
        let value = |found: &SameClassShare| found.share.as_ref().unwrap().value;
        assert!((value(&of(3)) - 100.0 * (2.0 / 3.0 + 2.0 / 3.0) / 2.0).abs() < 1e-9);
        assert!((value(&of(2)) - 100.0).abs() < 1e-9);
        assert!((value(&of(60)) - 50.0).abs() < 1e-9 && of(60).neighbors == 6);
    }

    #[test]
    fn an_image_of_a_class_that_training_never_shows_has_a_share_of_0() {
        let train = features(&[0.0, 0.1, 1.0, 1.1], &[0, 0, 1, 1]);
        let test = features(&[0.05, 1.05], &[0, 2]);
        let found = same_class_share((&train).into(), (&test).into(), 2, 0).unwrap();
        assert!((found.share.unwrap().value - 50.0).abs() < 1e-9);
    }
}
