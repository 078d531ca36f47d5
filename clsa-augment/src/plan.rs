use std::fmt::{Debug, Display};

use serde::{Deserialize, Serialize};

use crate::AugmentError;
use crate::strong::StrongPolicy;

/// The views that are made of each image: one key view, weak views and strong views (paper, section 3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewPlan {
    /// The view that the momentum encoder sees.
    #[serde(default)]
    pub key: View,
    /// The views that enter the contrastive loss. At least one.
    pub weak: Vec<View>,
    /// The views whose distribution is drawn towards that of the weak views. May be empty.
    #[serde(default)]
    pub strong: Vec<View>,
}

/// Sides and crop area ranges of the paper's five-crop plan.
const MULTI: [(u32, (f64, f64)); 5] =
    [(224, (0.2, 1.0)), (192, (0.172, 0.86)), (160, (0.143, 0.715)), (128, (0.114, 0.571)), (96, (0.086, 0.429))];

impl ViewPlan {
    /// CLSA-Single: one weak view of 224 pixels and one strong view of 96.
    pub fn single() -> Self {
        let (size, scale) = MULTI[4];
        Self { key: View::default(), weak: vec![View::default()], strong: vec![View::strong(size, scale)] }
    }

    /// CLSA-Multi: five weak and five strong views of 224, 192, 160, 128 and 96 pixels.
    pub fn multi() -> Self {
        Self {
            key: View::default(),
            weak: MULTI.map(|(size, scale)| View::weak(size, scale)).to_vec(),
            strong: MULTI.map(|(size, scale)| View::strong(size, scale)).to_vec(),
        }
    }

    /// MoCo v2: one weak view of 224 pixels, no strong view.
    pub fn moco_v2() -> Self {
        Self { key: View::default(), weak: vec![View::default()], strong: Vec::new() }
    }

    /// For small images such as CIFAR's: key, weak and strong view all of `side` pixels, cropped from 0.2 to 1 of the
    /// image, and without blur, as is usual for SimCLR and MoCo on CIFAR (a blur of σ = 2 leaves nothing of 32 pixels).
    pub fn small(side: u32) -> Self {
        let weak = View { blur: None, ..View::weak(side, (0.2, 1.0)) };
        let strong = View { strong: Some(StrongPolicy::default()), ..weak.clone() };
        Self { key: weak.clone(), weak: vec![weak], strong: vec![strong] }
    }

    /// All views in the order of [`ViewId::view`](crate::ViewId::view): key, weak views, strong views.
    pub fn views(&self) -> impl Iterator<Item = &View> {
        std::iter::once(&self.key).chain(&self.weak).chain(&self.strong)
    }

    /// Number of views: 1 + weak + strong.
    #[allow(clippy::len_without_is_empty)] // there is always a key view
    pub fn len(&self) -> usize {
        1 + self.weak.len() + self.strong.len()
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`AugmentError::Plan`] with the path of the first key that is out of range, as in a preset's `[views]` table.
    pub fn validate(&self) -> Result<(), AugmentError> {
        if self.weak.is_empty() {
            return Err(AugmentError::Plan {
                key: "views.weak".to_owned(),
                value: "empty".to_owned(),
                needs: "a list of at least one view",
            });
        }
        self.key.validate("views.key")?;
        for (kind, views) in [("weak", &self.weak), ("strong", &self.strong)] {
            for (index, view) in views.iter().enumerate() {
                view.validate(&format!("views.{kind}[{index}]"))?;
            }
        }
        Ok(())
    }
}

/// One view: a random crop, and what is done to it, in the order of the fields.
///
/// The default is the paper's weak view (MoCo v2's augmentation) of 224 pixels, so that a preset names only what
/// differs. In serialised form `jitter`, `blur` and `strong` are `false`, `true` (the defaults) or a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct View {
    /// Side of the square view in pixels.
    pub size: u32,
    /// Range of the crop's area, as a fraction of the image's (torchvision `RandomResizedCrop`).
    pub scale: (f64, f64),
    /// Range of the crop's width divided by its height.
    pub ratio: (f64, f64),
    /// Random changes of brightness, contrast, saturation and hue.
    #[serde(with = "switch")]
    pub jitter: Option<ColorJitter>,
    /// Probability of turning the view grey.
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

impl Default for View {
    fn default() -> Self {
        Self {
            size: 224,
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

    /// Number of values that [`Augmenter::write`](crate::Augmenter::write) fills: `3 · size · size`.
    pub fn values(&self) -> usize {
        3 * self.size as usize * self.size as usize
    }

    /// Checks every value; `key` is the path of this view in its configuration, for the message.
    ///
    /// # Errors
    /// [`AugmentError::Plan`] with the path of the first key that is out of range.
    pub fn validate(&self, key: &str) -> Result<(), AugmentError> {
        let check = |ok: bool, field: &str, value: &dyn Debug, needs: &'static str| {
            let error = || AugmentError::Plan { key: format!("{key}.{field}"), value: format!("{value:?}"), needs };
            if ok { Ok(()) } else { Err(error()) }
        };
        let probability = |field: &str, p: f64| check((0.0..=1.0).contains(&p), field, &p, "a probability from 0 to 1");
        check((1..=MAX_SIDE).contains(&self.size), "size", &self.size, "from 1 to 16384 pixels")?;
        let (low, high) = self.scale;
        let ok = low > 0.0 && low <= high && high <= 1.0;
        check(ok, "scale", &self.scale, "a range (low, high) with 0 < low <= high <= 1")?;
        let (low, high) = self.ratio;
        let ok = low > 0.0 && low <= high && high.is_finite();
        check(ok, "ratio", &self.ratio, "a range (low, high) with 0 < low <= high")?;
        if let Some(jitter) = &self.jitter {
            probability("jitter.probability", jitter.probability)?;
            for (field, strength) in [
                ("jitter.brightness", jitter.brightness),
                ("jitter.contrast", jitter.contrast),
                ("jitter.saturation", jitter.saturation),
            ] {
                check((0.0..=1e6).contains(&strength), field, &strength, "a strength of 0 or more")?;
            }
            check((0.0..=0.5).contains(&jitter.hue), "jitter.hue", &jitter.hue, "from 0 to 0.5")?;
        }
        probability("grayscale", self.grayscale)?;
        if let Some(blur) = &self.blur {
            probability("blur.probability", blur.probability)?;
            let (low, high) = blur.sigma;
            let ok = low >= 0.0 && low <= high && high <= 1000.0;
            check(ok, "blur.sigma", &blur.sigma, "a range (low, high) with 0 <= low <= high <= 1000")?;
        }
        probability("flip", self.flip)?;
        if let Some(strong) = &self.strong {
            probability("strong.probability", strong.probability)?;
            check(!strong.pool.is_empty(), "strong.pool", &strong.pool, "a list of at least one operation")?;
            check(strong.draws <= 1000, "strong.draws", &strong.draws, "at most 1000")?;
        }
        self.normalize.validate(format_args!("{key}.normalize"))
    }
}

/// Largest side of a view or of an operation's result, in pixels.
pub(crate) const MAX_SIDE: u32 = 16384;

/// torchvision `ColorJitter` inside `RandomApply`: factors drawn from `1 ± strength` (not below 0), a hue turned by up
/// to `± hue` of the circle, the four in random order. The default is MoCo v2's: 0.4, 0.4, 0.4 and 0.1, with probability
/// 0.8.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColorJitter {
    /// Strength of the change of brightness; 0 leaves it out.
    pub brightness: f64,
    /// Strength of the change of contrast; 0 leaves it out.
    pub contrast: f64,
    /// Strength of the change of saturation; 0 leaves it out.
    pub saturation: f64,
    /// Largest turn of the hue, from 0 to 0.5 of the circle; 0 leaves it out.
    pub hue: f64,
    /// Probability that the view is jittered at all.
    pub probability: f64,
}

impl Default for ColorJitter {
    fn default() -> Self {
        Self { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1, probability: 0.8 }
    }
}

/// Pillow's `ImageFilter.GaussianBlur` with a random standard deviation (SimCLR, MoCo v2). The default is 0.1 to 2
/// pixels, with probability 0.5.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GaussianBlur {
    /// Range of the standard deviation in pixels.
    pub sigma: (f64, f64),
    /// Probability that the view is blurred at all.
    pub probability: f64,
}

impl Default for GaussianBlur {
    fn default() -> Self {
        Self { sigma: (0.1, 2.0), probability: 0.5 }
    }
}

/// Mean and standard deviation by channel (red, green, blue) of pixel values in [0, 1].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalize {
    /// Subtracted from the value.
    pub mean: [f32; 3],
    /// Divides the difference.
    pub std: [f32; 3],
}

impl Normalize {
    /// Statistics of ImageNet's training images, as torchvision's models expect them.
    pub const IMAGENET: Self = Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
    /// Leaves the values in [0, 1].
    pub const NONE: Self = Self { mean: [0.0; 3], std: [1.0; 3] };

    /// Checks every value; `key` is the path of this table in its configuration, for the message.
    ///
    /// # Errors
    /// [`AugmentError::Plan`] with the path of the first key that is out of range.
    pub fn validate(&self, key: impl Display) -> Result<(), AugmentError> {
        let Self { mean, std } = self;
        let error = |field: &str, value: &[f32; 3], needs| {
            Err(AugmentError::Plan { key: format!("{key}.{field}"), value: format!("{value:?}"), needs })
        };
        if !mean.iter().all(|m| m.is_finite()) {
            return error("mean", mean, "three finite numbers");
        }
        if !std.iter().all(|s| s.is_finite() && *s > 0.0) {
            return error("std", std, "three numbers above 0");
        }
        Ok(())
    }
}

impl Default for Normalize {
    fn default() -> Self {
        Self::IMAGENET
    }
}

/// An optional part in its configuration form: `false`, `true` for the default, or a table.
mod switch {
    use std::fmt;
    use std::marker::PhantomData;

    use serde::de::value::MapAccessDeserializer;
    use serde::de::{MapAccess, Visitor};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<T: Serialize, S: Serializer>(part: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        match part {
            None => serializer.serialize_bool(false),
            Some(part) => part.serialize(serializer),
        }
    }

    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: Deserialize<'de> + Default,
        D: Deserializer<'de>,
    {
        deserializer.deserialize_any(Switch(PhantomData))
    }

    // Not an untagged enumeration, which would not say what is wrong inside the table.
    struct Switch<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for Switch<T> {
        type Value = Option<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true, false, or a table of this part's keys")
        }

        fn visit_bool<E>(self, on: bool) -> Result<Option<T>, E> {
            Ok(on.then(T::default))
        }

        fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Option<T>, A::Error> {
            T::deserialize(MapAccessDeserializer::new(table)).map(Some)
        }
    }
}
