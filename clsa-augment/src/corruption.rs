//! Common corruptions of images, as one table: name, group, and what each does at a severity.

mod blur;
mod fog;
mod jpeg;
mod noise;
mod pixelate;
mod severity;
mod snow;
mod taps;
mod tone;

use std::fmt::{self, Display};
use std::str::FromStr;

use image::RgbImage;
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::AugmentError;
use crate::limits::may_be_made;
use crate::planes::{Planes, Rows};
use crate::seed::splitmix64;
use severity::Strength;

/// What a [`Corruption`] imitates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CorruptionGroup {
    /// Of a sensor: too little light, too few photons, broken bits.
    Noise,
    /// Of a lens or a hand.
    Blur,
    /// Of what is between the camera and the scene.
    Weather,
    /// Of a file and a screen.
    Digital,
}

impl CorruptionGroup {
    /// Its name, such as `noise`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Noise => "noise",
            Self::Blur => "blur",
            Self::Weather => "weather",
            Self::Digital => "digital",
        }
    }
}

impl Display for CorruptionGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Makes of the table: the enumeration, [`Corruption::ALL`], names, groups, and which function corrupts.
macro_rules! corruptions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal in $group:ident by $function:path;)*) => {
        /// A common corruption of images in the manner of CIFAR-10-C and ImageNet-C (Hendrycks and Dietterich 2019,
        /// "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations"), made by operations of this crate.
        ///
        /// The names are those of these benchmarks, and so are the strengths unless the table of a corruption says otherwise:
        /// CIFAR-10-C's where the shorter side has 32 pixels, ImageNet-C's where it has 224, and what lies between on a
        /// logarithmic scale for other sides. Beyond both ends, lengths in pixels grow and shrink with the side, and other
        /// values stay. The pixels are not those of the benchmarks' files, whose random draws nobody can repeat.
        ///
        /// It is written and read by its name ([`Display`], [`FromStr`], serde).
        ///
        /// # Examples
        /// ```
        /// use clsa_augment::Corruption;
        /// use clsa_augment::image::{Rgb, RgbImage};
        ///
        /// let image = RgbImage::from_fn(32, 32, |x, y| Rgb([8 * x as u8, 8 * y as u8, 100]));
        /// for corruption in Corruption::ALL {
        ///     for severity in Corruption::SEVERITIES {
        ///         let corrupted = corruption.apply(&image, severity, 17)?;
        ///         assert_eq!(corrupted.dimensions(), (32, 32), "{corruption}");
        ///     }
        /// }
        /// assert_eq!("shot_noise".parse(), Ok(Corruption::ShotNoise));
        /// # Ok::<(), clsa_augment::AugmentError>(())
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Corruption {
            $($(#[$doc])* $variant,)*
        }

        impl Corruption {
            /// Every corruption, by group.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// Names of [`Corruption::ALL`], in its order.
            const NAMES: &'static [&'static str] = &[$($name),*];

            /// Its name, such as `shot_noise`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What it imitates.
            pub fn group(self) -> CorruptionGroup {
                match self {
                    $(Self::$variant => CorruptionGroup::$group,)*
                }
            }

            fn corrupt(self, image: &mut Planes, strength: Strength, rng: &mut Xoshiro256PlusPlus) {
                match self {
                    $(Self::$variant => $function(image, strength, rng),)*
                }
            }
        }
    };
}

corruptions! {
    /// Normal noise on every value.
    GaussianNoise = "gaussian_noise" in Noise by noise::gaussian;
    /// Poisson noise: every value is a number of photons.
    ShotNoise = "shot_noise" in Noise by noise::shot;
    /// Salt and pepper: some values are 0 or 255, half of each.
    ImpulseNoise = "impulse_noise" in Noise by noise::impulse;
    /// A mean over a disc.
    DefocusBlur = "defocus_blur" in Blur by blur::defocus;
    /// A normal blur ([`Op::GaussianBlur`](crate::Op::GaussianBlur)).
    GaussianBlur = "gaussian_blur" in Blur by blur::gaussian;
    /// A streak of half a normal curve in a drawn direction, at most 45 degrees from the horizontal.
    MotionBlur = "motion_blur" in Blur by blur::motion;
    /// A lighter picture with streaks of flakes in two drawn directions, at most 45 degrees from the vertical.
    Snow = "snow" in Weather by snow::snow;
    /// A cloud, a fractal of midpoints, that is added; the brightest value stays.
    Fog = "fog" in Weather by fog::fog;
    /// More value in HSV, where hue and saturation stay.
    Brightness = "brightness" in Weather by tone::brightness;
    /// Each channel nearer to its mean.
    Contrast = "contrast" in Digital by tone::contrast;
    /// Cells of one color each, the mean of its pixels.
    Pixelate = "pixelate" in Digital by pixelate::pixelate;
    /// Baseline JPEG without subsampled colors.
    JpegCompression = "jpeg_compression" in Digital by jpeg::jpeg;
}

impl Corruption {
    /// The severities, from the weakest to the strongest.
    pub const SEVERITIES: [u32; 5] = [1, 2, 3, 4, 5];

    /// The corrupted image, of the same size. It depends on the corruption, the severity, the seed and the image alone. Give each
    /// image a seed of its own, so that not all have the same noise. Which numbers are drawn does not depend on the severity: one
    /// seed gives the same noise more strongly. [`ShotNoise`](Self::ShotNoise) is the exception: how many numbers a count of photons
    /// takes depends on how many are expected, so that its severities have noises of their own.
    ///
    /// # Errors
    /// The severity is not from 1 to 5, or the image has no pixels or a side of more than 16384.
    pub fn apply(self, image: &RgbImage, severity: u32, seed: u64) -> Result<RgbImage, AugmentError> {
        let Some(level) = Self::SEVERITIES.iter().position(|known| *known == severity) else {
            let (operation, value) = (self.name(), severity.to_string());
            return Err(AugmentError::Argument { operation, value, needs: "a severity from 1 to 5" });
        };
        let (width, height) = image.dimensions();
        if width == 0 || height == 0 {
            return Err(AugmentError::EmptyImage { width, height });
        }
        if !may_be_made(width, height) {
            return Err(AugmentError::Size { width, height, target_width: width, target_height: height });
        }
        let mut planes = Planes::default();
        planes.read(Rows::whole(image.as_raw(), width as usize, height as usize));
        self.corrupt(&mut planes, Strength { level, side: width.min(height) }, &mut self.rng(seed));
        Ok(planes.to_image())
    }

    /// The generator of its draws: by its name, so that the draws stay when the table grows.
    fn rng(self, seed: u64) -> Xoshiro256PlusPlus {
        let state = self.name().bytes().fold(splitmix64(seed), |state, byte| splitmix64(state ^ u64::from(byte)));
        Xoshiro256PlusPlus::seed_from_u64(state)
    }
}

impl Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Corruption {
    type Err = AugmentError;

    fn from_str(name: &str) -> Result<Self, AugmentError> {
        let known = Self::ALL.into_iter().find(|corruption| corruption.name() == name);
        let error = || AugmentError::UnknownCorruption { name: name.to_owned(), known: Self::NAMES.join(", ") };
        known.ok_or_else(error)
    }
}

impl Serialize for Corruption {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Corruption {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(|_| D::Error::unknown_variant(&name, Self::NAMES))
    }
}
