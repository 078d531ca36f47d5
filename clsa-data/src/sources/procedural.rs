//! `procedural`: images drawn from a seed, with no files.
//!
//! The class is a structure ([`Structure`]): stripes, spirals, triangles and so on, repeated or extended over the image
//! so that crops show it too. Everything else is nuisance and drawn anew for each image: colors, their contrast and
//! its sign, surface texture, lighting, position, scale, rotation, line width, occluding clutter and noise.

mod paint;
mod placed;
mod structure;

use std::fmt;
use std::sync::Arc;

use image::RgbImage;

use super::spec::{Argument, Spec};
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::label::Label;
use crate::random::{generator, mix};
use crate::sample_error::SampleError;
use crate::split::Split;
pub use structure::Structure;

pub(super) static SPEC: Spec = Spec {
    name: "procedural",
    argument: Argument::Options(|text| ProceduralOptions::parse(text).map(|options| options.to_string())),
    summary: "images drawn from a seed, without any file",
    details: "options `procedural:classes=12,train=4000,test=1000,side=32,seed=0`",
    feature: None,
    open: Some(|text, split, _| {
        let failed = |reason| DataError::Options { text: format!("procedural:{text}"), reason };
        Ok(Arc::new(Procedural::new(&ProceduralOptions::parse(text).map_err(failed)?, split)))
    }),
};

/// What is to be generated; displayed as `KEY=VALUE,…`, which is what stands behind the colon of a
/// [`Source`](crate::Source).
///
/// # Examples
/// ```
/// use clsa_data::{Dataset, Procedural, ProceduralOptions, Source, Split};
///
/// let options = ProceduralOptions { classes: 3, side: 48, ..ProceduralOptions::default() };
/// let train = Procedural::new(&options, Split::Train);
/// assert_eq!((train.len(), train.image(0)?.dimensions()), (4000, (48, 48)));
/// assert_eq!(Source::from(options), "procedural:classes=3,side=48".parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProceduralOptions {
    /// Number of classes, in 2..=16: the first ones of [`Structure::ALL`]. Default 12.
    pub classes: usize,
    /// Samples of the training split, at least one per class. Default 4000.
    pub train: usize,
    /// Samples of the test split, at least one per class. Default 1000.
    pub test: usize,
    /// Width and height in pixels, in 8..=1024. Default 32.
    pub side: u32,
    /// What the images are drawn from. Default 0.
    pub seed: u64,
}

impl Default for ProceduralOptions {
    fn default() -> Self {
        Self { classes: 12, train: 4000, test: 1000, side: 32, seed: 0 }
    }
}

impl ProceduralOptions {
    /// Reads `KEY=VALUE,…`; an error is the reason, without the source.
    fn parse(text: &str) -> Result<Self, String> {
        let mut options = Self::default();
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(format!("`{pair}` is not of the form KEY=VALUE"));
            };
            let number: u64 =
                value.parse().map_err(|_| format!("the value of `{key}` is not a whole number: `{value}`"))?;
            let size = usize::try_from(number).unwrap_or(usize::MAX);
            match key {
                "classes" => options.classes = size,
                "train" => options.train = size,
                "test" => options.test = size,
                "side" => options.side = u32::try_from(number).unwrap_or(u32::MAX),
                "seed" => options.seed = number,
                _ => return Err(format!("unknown key `{key}`; the keys are classes, train, test, side and seed")),
            }
        }
        let most = Structure::ALL.len();
        if !(2..=most).contains(&options.classes) {
            return Err(format!("classes = {}, but must be in 2..={most}", options.classes));
        }
        for (key, size) in [("train", options.train), ("test", options.test)] {
            if size < options.classes || u32::try_from(size).is_err() {
                return Err(format!("{key} = {size}, but must be in {}..={}", options.classes, u32::MAX));
            }
        }
        if !(8..=1024).contains(&options.side) {
            return Err(format!("side = {}, but must be in 8..=1024", options.side));
        }
        Ok(options)
    }
}

impl fmt::Display for ProceduralOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { classes, train, test, side, seed } = self;
        write!(f, "classes={classes},train={train},test={test},side={side},seed={seed}")
    }
}

/// The procedural data set: sample i has class i modulo the number of classes, and is drawn from (seed, split, i).
#[derive(Clone, Debug)]
pub struct Procedural {
    classes: Vec<String>,
    samples: usize,
    side: u32,
    /// Seed of this split.
    seed: u64,
    split: Split,
}

impl Procedural {
    /// A split of the data set that `options` describe.
    ///
    /// # Panics
    /// If there are fewer than 2 or more than 16 classes, or the side is 0.
    pub fn new(options: &ProceduralOptions, split: Split) -> Self {
        let (samples, stream) = match split {
            Split::Train => (options.train, 1),
            Split::Test => (options.test, 2),
        };
        assert!((2..=Structure::ALL.len()).contains(&options.classes), "classes = {}", options.classes);
        assert!(options.side > 0, "images have at least one pixel");
        let classes = Structure::ALL[..options.classes].iter().map(ToString::to_string).collect();
        Self { classes, samples, side: options.side, seed: mix(options.seed, stream), split }
    }
}

impl Dataset for Procedural {
    fn len(&self) -> usize {
        self.samples
    }

    fn class_names(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> Label {
        Label::Class((index % self.classes.len()) as u32)
    }

    fn image(&self, index: usize) -> Result<RgbImage, SampleError> {
        let structure = Structure::ALL[index % self.classes.len()];
        Ok(paint::paint(structure, self.side, &mut generator(self.seed, index as u64)))
    }

    fn dimensions(&self, _index: usize) -> Result<(u32, u32), SampleError> {
        Ok((self.side, self.side))
    }

    fn name(&self, index: usize) -> String {
        format!("procedural/{}#{index}", self.split)
    }
}
