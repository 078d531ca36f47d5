//! Recipes: presets of others' experiments, with the figures that these have published.

use crate::config::{ComputeConfig, Config, OfEachRank};
use crate::data_identity::DataIdentity;
use crate::metrics::{AccuracyRecord, Metrics};

/// A preset that repeats an experiment of others, and what they found.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Recipe {
    /// Name of the recipe and of its preset.
    pub name: &'static str,
    /// The images that it is meant for.
    pub images: RecipeImages,
    /// What the figures measure.
    pub measure: RecipeMeasure,
    /// Who published the figures, and where; or what the recipe is compared with.
    pub source: &'static str,
    /// The figures, by epoch; none for an experiment of this project.
    pub figures: &'static [PublishedFigure],
}

/// The images of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecipeImages {
    /// What they are called.
    pub name: &'static str,
    /// Images of the training split.
    pub training: usize,
    /// Classes.
    pub classes: usize,
}

/// What a recipe's figures measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecipeMeasure {
    /// The run's own k-NN evaluations, with the settings of its table `[knn]`.
    Knn,
    /// The linear classifier that the run trains beside the encoder, with the settings of its table `[probe]`.
    Probe,
    /// The protocol `linear` on the trained encoder.
    Linear,
}

/// A figure that was published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PublishedFigure {
    /// Epochs finished before it was measured.
    pub epoch: u64,
    /// Top-1 accuracy, percent.
    pub top1: f64,
    /// How far another training may be from it and count as the same, points. The publications name none. In the first epochs seeds can
    /// differ by more.
    pub band: f64,
}

/// A figure beside the one that was published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// What was published.
    pub published: PublishedFigure,
    /// What the run has, percent.
    pub top1: f64,
}

const fn figure(epoch: u64, top1: f64, band: f64) -> PublishedFigure {
    PublishedFigure { epoch, top1, band }
}

const NOTEBOOK: &str = "the notebook of MoCo's authors, \
                        colab.research.google.com/github/facebookresearch/moco/blob/colab-notebook/colab/moco_cifar10_demo.ipynb";
const CIFAR_10: RecipeImages = RecipeImages { name: "CIFAR-10", training: 50_000, classes: 10 };
const CIFAR_100: RecipeImages = RecipeImages { name: "CIFAR-100", training: 50_000, classes: 100 };
const IMAGENET: RecipeImages = RecipeImages { name: "ImageNet", training: 1_281_167, classes: 1000 };

const PAPER: &str = "Wang and Qi 2021 (arXiv 2104.07713), table 1: linear evaluation on ImageNet";

impl Recipe {
    /// All recipes, the smallest first.
    pub const ALL: [Self; 12] = [
        Self {
            name: "moco-cifar10",
            images: CIFAR_10,
            measure: RecipeMeasure::Knn,
            source: NOTEBOOK,
            figures: &[
                figure(1, 31.98, 1.5),
                figure(5, 37.95, 1.5),
                figure(10, 48.03, 1.5),
                figure(20, 61.38, 1.5),
                figure(30, 67.05, 1.5),
                figure(50, 73.30, 1.5),
                figure(100, 78.06, 1.5),
                figure(200, 82.58, 1.5),
            ],
        },
        Self {
            name: "moco-symmetric-cifar10",
            images: CIFAR_10,
            measure: RecipeMeasure::Knn,
            source: NOTEBOOK,
            figures: &[figure(200, 85.3, 1.5)],
        },
        Self {
            name: "clsa-cifar10",
            images: CIFAR_10,
            measure: RecipeMeasure::Knn,
            source: "none: moco-cifar10 with a strong view and DDM, to be held against it",
            figures: &[],
        },
        Self {
            name: "naive-cifar10",
            images: CIFAR_10,
            measure: RecipeMeasure::Knn,
            source: "none: moco-cifar10 with a strong view in InfoNCE, to be held against it",
            figures: &[],
        },
        Self {
            name: "lightly-moco-cifar10",
            images: CIFAR_10,
            measure: RecipeMeasure::Knn,
            source: "lightly's benchmark of February 2022 (the best of all epochs), \
                     github.com/lightly-ai/lightly/blob/master/docs/source/getting_started/benchmarks/cifar10_benchmark.py",
            figures: &[figure(200, 83.8, 1.5)],
        },
        Self {
            name: "mocov2plus-cifar10",
            images: CIFAR_10,
            measure: RecipeMeasure::Probe,
            source: "solo-learn's table, github.com/vturrisi/solo-learn#cifar-10",
            figures: &[figure(1000, 92.94, 1.0)],
        },
        Self {
            name: "mocov2plus-cifar100",
            images: CIFAR_100,
            measure: RecipeMeasure::Probe,
            source: "solo-learn's table, github.com/vturrisi/solo-learn#cifar-100",
            figures: &[figure(1000, 69.89, 1.0)],
        },
        Self {
            name: "imagenet-mocov2-200",
            images: IMAGENET,
            measure: RecipeMeasure::Linear,
            source: PAPER,
            figures: &[figure(200, 67.5, 1.0)],
        },
        Self {
            name: "imagenet-single-200",
            images: IMAGENET,
            measure: RecipeMeasure::Linear,
            source: PAPER,
            figures: &[figure(200, 69.4, 1.0)],
        },
        Self {
            name: "imagenet-single-800",
            images: IMAGENET,
            measure: RecipeMeasure::Linear,
            source: PAPER,
            figures: &[figure(800, 72.2, 1.0)],
        },
        Self {
            name: "imagenet-multi-200",
            images: IMAGENET,
            measure: RecipeMeasure::Linear,
            source: PAPER,
            figures: &[figure(200, 73.3, 1.0)],
        },
        Self {
            name: "imagenet-multi-800",
            images: IMAGENET,
            measure: RecipeMeasure::Linear,
            source: PAPER,
            figures: &[figure(800, 76.2, 1.0)],
        },
    ];

    /// The recipe of this name.
    ///
    /// # Examples
    /// ```
    /// use clsa_run::{Config, Recipe};
    ///
    /// let moco = Recipe::named("moco-cifar10").expect("a recipe of this crate");
    /// assert_eq!(moco.figures[3].epoch, 20);
    /// let config = Config::load(moco.name, &["train.seed=3".to_owned()])?;
    /// assert_eq!(Recipe::of(&config), Some(moco), "a seed is free");
    /// let other = Config::load(moco.name, &["optim.lr=0.03".to_owned()])?;
    /// assert_eq!(Recipe::of(&other), None);
    /// # Ok::<(), clsa_run::ConfigError>(())
    /// ```
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|recipe| recipe.name == name)
    }

    /// The recipe that a run of this configuration follows. What has no part in the result is free, and so are the seed, the
    /// arithmetic of the encoders, when the run is stopped and evaluated, and how a step is spread over ranks and parts. Where the figures
    /// are those of the probe, its settings are not free, nor is the number of ranks: it learns from the images of the first alone.
    pub fn of(config: &Config) -> Option<Self> {
        let is_measured = |recipe: &Self, own: &Config| {
            recipe.measure != RecipeMeasure::Probe || own.probe == config.probe && own.train.ranks == config.train.ranks
        };
        Self::ALL.into_iter().find(|recipe| {
            recipe.config().is_some_and(|own| own.is_but_for_free_keys(config) && is_measured(recipe, &own))
        })
    }

    fn config(&self) -> Option<Config> {
        Config::load(self.name, &[]).ok()
    }

    /// What a run has measured itself of what the figures measure; nothing for [`RecipeMeasure::Linear`].
    pub fn measured<'a>(&self, metrics: &'a Metrics) -> &'a [AccuracyRecord] {
        match self.measure {
            RecipeMeasure::Knn => &metrics.knn,
            RecipeMeasure::Probe => &metrics.probe,
            RecipeMeasure::Linear => &[],
        }
    }

    /// The figures of a run beside the published ones, as far as it has [`measured`](Self::measured) them.
    pub fn compare(&self, metrics: &Metrics) -> Vec<Comparison> {
        let comparison = |published: &PublishedFigure| {
            let own = self.measured(metrics).iter().rfind(|record| record.epoch == published.epoch)?;
            Some(Comparison { published: *published, top1: own.top1 })
        };
        self.figures.iter().filter_map(comparison).collect()
    }
}

impl RecipeImages {
    /// How other training images differ in number or classes, in a few words; none where they do not.
    pub fn difference(&self, other: &DataIdentity) -> Option<String> {
        let &Self { training, classes, .. } = self;
        if other.classes != classes {
            return Some(format!("{} classes in place of {classes}", other.classes));
        }
        (other.images != training).then(|| format!("{} images in place of {training}", other.images))
    }
}

impl Comparison {
    /// How much more the run has, points.
    pub fn difference(&self) -> f64 {
        self.top1 - self.published.top1
    }

    /// Whether the run's figure is in the band.
    pub fn is_inside(&self) -> bool {
        self.difference().abs() <= self.published.band
    }
}

impl Config {
    /// Whether a run of another configuration is one of this, but for what a recipe leaves free.
    pub(crate) fn is_but_for_free_keys(&self, run: &Self) -> bool {
        let mut run = run.clone();
        run.spread_over(1, OfEachRank::default()).is_ok() && self.clone().with_free_keys_of(&run) == run
    }

    /// This configuration with the keys of another that a recipe leaves free.
    pub(crate) fn with_free_keys_of(mut self, other: &Self) -> Self {
        self.data = other.data.clone();
        self.checkpoint = other.checkpoint.clone();
        self.probe = other.probe.clone();
        self.log = other.log.clone();
        (self.train.seed, self.train.stop_epoch) = (other.train.seed, other.train.stop_epoch);
        self.train.accumulate = other.train.accumulate;
        self.compute = ComputeConfig {
            backend: other.compute.backend,
            precision: other.compute.precision,
            tune: other.compute.tune,
            ..self.compute
        };
        (self.knn.every, self.knn.at) = (other.knn.every, other.knn.at.clone());
        // The same weights may have been moved.
        if let (Some(own), Some(other)) = (&mut self.init, &other.init)
            && own.sha256 == other.sha256
            && !own.sha256.is_empty()
        {
            own.weights.clone_from(&other.weights);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_has_a_preset_that_trains_as_long_as_its_last_figure_asks() {
        for recipe in Recipe::ALL {
            let config = recipe.config().unwrap_or_else(|| panic!("{} is no preset", recipe.name));
            assert_eq!(Recipe::of(&config), Some(recipe));
            if let Some(last) = recipe.figures.last() {
                assert_eq!(last.epoch, config.train.epochs, "{}", recipe.name);
            }
            let evaluated = |figure: &PublishedFigure| config.knn.is_due(figure.epoch);
            assert!(recipe.measure == RecipeMeasure::Linear || recipe.figures.iter().all(evaluated), "{}", recipe.name);
        }
    }

    #[test]
    fn a_run_is_of_a_recipe_whatever_its_seed_and_place_and_of_none_with_another_method() {
        let load = |change: &str| Config::load("moco-cifar10", &[change.to_owned()]).unwrap();
        for free in [
            "train.seed=9",
            "train.stop_epoch=10",
            "train.accumulate=2",
            "data.source=flat:x",
            "compute.precision=bf16",
            "knn.every=1",
            "log.csv=true",
        ] {
            assert_eq!(Recipe::of(&load(free)).map(|recipe| recipe.name), Some("moco-cifar10"), "{free}");
        }
        let mut spread = load("train.seed=9");
        spread.spread_over(4, OfEachRank::default()).unwrap();
        assert_eq!(Recipe::of(&spread).map(|recipe| recipe.name), Some("moco-cifar10"), "on four ranks");
        for own in ["method.temperature=0.2", "train.epochs=100", "knn.k=20", "compute.bn_splits=4", "model.head=mlp"] {
            assert_eq!(Recipe::of(&load(own)), None, "{own}");
        }
    }

    #[test]
    fn a_figure_at_the_edge_of_the_band_is_inside_and_beyond_it_is_not() {
        let recipe = Recipe::named("moco-cifar10").unwrap();
        let knn = |epoch, top1| AccuracyRecord { step: 97 * epoch, epoch, top1, top5: 99.0 };
        let knn = vec![knn(0, 20.0), knn(1, 30.48), knn(5, 39.46), knn(7, 1.0), knn(10, 46.52)];
        let metrics = Metrics { knn, ..Metrics::default() };
        let found: Vec<_> = recipe.compare(&metrics).iter().map(|c| (c.published.epoch, c.is_inside())).collect();
        assert_eq!(found, [(1, true), (5, false), (10, false)]);
    }

    #[test]
    fn a_figure_of_a_probe_is_compared_with_the_runs_own_which_has_its_settings() {
        let recipe = Recipe::named("mocov2plus-cifar100").unwrap();
        let record = |top1| AccuracyRecord { step: 195_000, epoch: 1000, top1, top5: 99.0 };
        let metrics = Metrics { knn: vec![record(1.0)], probe: vec![record(70.5)], ..Metrics::default() };
        assert_eq!(
            recipe.compare(&metrics).iter().map(|c| (c.top1, c.is_inside())).collect::<Vec<_>>(),
            [(70.5, true)]
        );
        let other = Config::load(recipe.name, &["probe.lr=0.1".to_owned()]).unwrap();
        assert_eq!(Recipe::of(&other), None);
        let on_ranks =
            Config::load(recipe.name, &["train.ranks=2".to_owned(), "train.batch_size=128".to_owned()]).unwrap();
        assert_eq!(Recipe::of(&on_ranks), None, "the probe has seen half of the images");
        let of_free_probe = Config::load("moco-cifar10", &["probe.lr=0.1".to_owned()]).unwrap();
        assert_eq!(Recipe::of(&of_free_probe).map(|recipe| recipe.name), Some("moco-cifar10"));
    }

    #[test]
    fn other_images_are_told_from_those_of_the_publication() {
        let images = Recipe::named("mocov2plus-cifar100").unwrap().images;
        let identity = |images, classes| DataIdentity { images, classes, names_sha256: String::new() };
        assert_eq!(images.difference(&identity(50_000, 100)), None);
        assert_eq!(images.difference(&identity(50_000, 10)).unwrap(), "10 classes in place of 100");
        assert_eq!(images.difference(&identity(2000, 100)).unwrap(), "2000 images in place of 50000");
    }
}
