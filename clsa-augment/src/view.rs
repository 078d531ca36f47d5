//! One view: what is random about it, as data, and its draw.

use serde::{Deserialize, Serialize};

use crate::check::{field, probability};
use crate::limits::MAX_SIDE;
use crate::random::chance;
use crate::{AugmentError, ColorJitter, GaussianBlur, Normalize, Op, StrongPolicy, ViewId, random_crop, switch};

/// One view: a random crop, and what is done to it, in the order of the fields.
///
/// The default is the paper's weak view (MoCo v2's augmentation) of 224 pixels, so that a configuration names only what
/// differs. In serialized form `jitter`, `blur` and `strong` are `false`, `true` (the defaults) or a table.
///
/// # Examples
/// ```
/// use clsa_augment::{Augmenter, View, ViewId};
///
/// let view: View = toml::from_str("size = 96\nscale = [0.086, 0.429]\nblur = false\nstrong = true")?;
/// assert_eq!(view, View { blur: None, ..View::strong(96, (0.086, 0.429)) });
///
/// // What is drawn for one view of one sample, and the picture that it makes.
/// let image = image::RgbImage::from_pixel(500, 375, image::Rgb([90, 120, 30]));
/// let id = ViewId { seed: 0, epoch: 0, sample: 17, view: 2 };
/// let ops = view.draw(image.width(), image.height(), id)?;
/// println!("{}", ops[0]); // crop_resize=X,Y,W,H,96,96
/// let picture = Augmenter::new().image(&image, &view, id)?;
/// assert_eq!(picture, Augmenter::new().apply(&image, &ops)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct View {
    /// Side of the square view in pixels.
    pub size: u32,
    /// Sides of the view in the first epochs, where they are others, for a training that begins with small images (progressive
    /// resizing): [`View::at_epoch`] puts them in the place of `size`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub early_sizes: Vec<EarlySize>,
    /// Range of the crop's area, as a fraction of the image's (torchvision `RandomResizedCrop`).
    pub scale: (f64, f64),
    /// Range of the crop's width divided by its height.
    pub ratio: (f64, f64),
    /// Random changes of brightness, contrast, saturation and hue.
    #[serde(with = "switch")]
    pub jitter: Option<ColorJitter>,
    /// Probability of turning the view gray.
    pub grayscale: f64,
    /// Random Gaussian blur.
    #[serde(with = "switch")]
    pub blur: Option<GaussianBlur>,
    /// Probability of a horizontal flip.
    pub flip: f64,
    /// The stronger augmentation, for strong views.
    #[serde(with = "switch")]
    pub strong: Option<StrongPolicy>,
    /// What is subtracted from and divided out of the values in [0, 1] that are written to a buffer.
    pub normalize: Normalize,
}

/// The side of a view in the first epochs of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlySize {
    /// The first epoch that it is no longer for, counted from 0: with 50 it is for the first 50 epochs.
    pub until_epoch: u64,
    /// Side of the square view in pixels.
    pub size: u32,
}

impl Default for View {
    fn default() -> Self {
        Self {
            size: 224,
            early_sizes: Vec::new(),
            scale: (0.2, 1.0),
            ratio: (3.0 / 4.0, 4.0 / 3.0),
            jitter: Some(ColorJitter::default()),
            grayscale: 0.2,
            blur: Some(GaussianBlur::default()),
            flip: 0.5,
            strong: None,
            normalize: Normalize::default(),
        }
    }
}

impl View {
    /// A weak or key view: MoCo v2's augmentation.
    pub fn weak(size: u32, scale: (f64, f64)) -> Self {
        Self { size, scale, ..Self::default() }
    }

    /// A strong view: a weak one followed by the draws of the default [`StrongPolicy`].
    pub fn strong(size: u32, scale: (f64, f64)) -> Self {
        Self { strong: Some(StrongPolicy::default()), ..Self::weak(size, scale) }
    }

    /// Random crop and flip only, as supervised training and linear evaluation use it.
    pub fn crop_and_flip(size: u32, scale: (f64, f64)) -> Self {
        Self { jitter: None, grayscale: 0.0, blur: None, ..Self::weak(size, scale) }
    }

    /// The view as it is in an epoch, counted from 0: with the `size` of that epoch and no others.
    ///
    /// # Examples
    /// ```
    /// let view: clsa_augment::View = toml::from_str("size = 224\nearly_sizes = [{ until_epoch = 50, size = 128 }]")?;
    /// assert_eq!((view.at_epoch(49).size, view.at_epoch(50).size), (128, 224));
    /// # Ok::<(), toml::de::Error>(())
    /// ```
    pub fn at_epoch(&self, epoch: u64) -> Self {
        let early = self.early_sizes.iter().find(|early| epoch < early.until_epoch);
        Self { size: early.map_or(self.size, |early| early.size), early_sizes: Vec::new(), ..self.clone() }
    }

    /// The largest side that the view has in any epoch, in pixels.
    pub fn largest_size(&self) -> u32 {
        self.early_sizes.iter().map(|early| early.size).fold(self.size, u32::max)
    }

    /// Number of values that [`Augmenter::write`](crate::Augmenter::write) fills: `3 · size · size`.
    pub fn values(&self) -> usize {
        3 * self.size as usize * self.size as usize
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`AugmentError::Setting`] with the first field that is out of range, such as `jitter.hue`.
    pub fn validate(&self) -> Result<(), AugmentError> {
        field((1..=MAX_SIDE).contains(&self.size), "size", &self.size, "from 1 to 16384 pixels")?;
        let mut from = 0;
        for EarlySize { until_epoch, size } in &self.early_sizes {
            let later = *until_epoch > from;
            field(later, "early_sizes.until_epoch", until_epoch, "a later epoch than those before it, from 1 on")?;
            field((1..=MAX_SIDE).contains(size), "early_sizes.size", size, "from 1 to 16384 pixels")?;
            from = *until_epoch;
        }
        let (low, high) = self.scale;
        let ok = low > 0.0 && low <= high && high <= 1.0;
        field(ok, "scale", &self.scale, "a range (low, high) with 0 < low <= high <= 1")?;
        let (low, high) = self.ratio;
        let ok = low > 0.0 && low <= high && high.is_finite();
        field(ok, "ratio", &self.ratio, "a range (low, high) with 0 < low <= high")?;
        if let Some(jitter) = &self.jitter {
            jitter.validate().map_err(|error| error.within("jitter"))?;
        }
        probability("grayscale", self.grayscale)?;
        if let Some(blur) = &self.blur {
            blur.validate().map_err(|error| error.within("blur"))?;
        }
        probability("flip", self.flip)?;
        if let Some(strong) = &self.strong {
            strong.validate().map_err(|error| error.within("strong"))?;
        }
        self.normalize.validate().map_err(|error| error.within("normalize"))
    }

    /// Draws everything that is random about this view of an image of `width` × `height` pixels: the operations, with
    /// their arguments, that make it. The first is [`Op::CropResize`].
    ///
    /// # Errors
    /// [`AugmentError::EmptyImage`] if the image has no pixels, [`AugmentError::Setting`] as in [`View::validate`].
    pub fn draw(&self, width: u32, height: u32, id: ViewId) -> Result<Vec<Op>, AugmentError> {
        if width == 0 || height == 0 {
            return Err(AugmentError::EmptyImage { width, height });
        }
        self.validate()?;
        let rng = &mut id.rng();
        let mut ops = Vec::with_capacity(16);
        let crop = random_crop(width, height, self.scale, self.ratio, rng);
        ops.push(Op::CropResize { crop, width: self.size, height: self.size });
        if let Some(jitter) = &self.jitter {
            jitter.draw(rng, &mut ops);
        }
        if chance(self.grayscale, rng) {
            ops.push(Op::Grayscale);
        }
        if let Some(blur) = &self.blur {
            blur.draw(rng, &mut ops);
        }
        if chance(self.flip, rng) {
            ops.push(Op::FlipHorizontal);
        }
        if let Some(strong) = &self.strong {
            strong.draw(self.size, rng, &mut ops);
        }
        Ok(ops)
    }
}
