use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::AugmentError;
use crate::plan::MAX_SIDE;

/// A rectangle of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crop {
    /// Left edge.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl Crop {
    /// Checks that the crop has pixels and lies inside an image of `width` × `height`.
    pub(crate) fn check(&self, width: u32, height: u32) -> Result<(), AugmentError> {
        let inside = |start: u32, length: u32, limit: u32| {
            length > 0 && start.checked_add(length).is_some_and(|end| end <= limit)
        };
        if inside(self.x, self.width, width) && inside(self.y, self.height, height) {
            return Ok(());
        }
        Err(AugmentError::CropOutside {
            x: self.x,
            y: self.y,
            crop_width: self.width,
            crop_height: self.height,
            width,
            height,
        })
    }
}

/// A deterministic operation on an RGB image. Each gives the bytes that Pillow gives.
///
/// The text form ([`FromStr`], [`Display`](fmt::Display)) is `name` or `name=argument[,argument…]`, e.g. `posterize=4`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Crops, then resizes to `width` × `height`: torchvision `resized_crop`, Pillow `Image.resize(BILINEAR)`, which
    /// widens its triangle filter when it shrinks the image (antialiasing).
    CropResize {
        /// What is kept of the image.
        crop: Crop,
        /// Width of the result in pixels.
        width: u32,
        /// Height of the result in pixels.
        height: u32,
    },
    /// `ImageEnhance.Brightness(image).enhance(factor)`, torchvision `adjust_brightness`.
    Brightness(f64),
    /// `ImageEnhance.Contrast(image).enhance(factor)`, torchvision `adjust_contrast`.
    Contrast(f64),
    /// `ImageEnhance.Color(image).enhance(factor)`, torchvision `adjust_saturation`.
    Color(f64),
    /// torchvision `adjust_hue`: the hue turned by this part of the circle, from -0.5 to 0.5, in Pillow's 8-bit HSV.
    Hue(f64),
    /// torchvision `to_grayscale(3)`: Pillow's luma (ITU-R 601-2) in all three channels.
    Grayscale,
    /// `ImageFilter.GaussianBlur(radius)`, the argument being the standard deviation in pixels.
    GaussianBlur(f64),
    /// `ImageOps.mirror`.
    FlipHorizontal,
    /// `ImageOps.autocontrast(image)`, without cutoff.
    AutoContrast,
    /// `ImageOps.equalize(image)`.
    Equalize,
    /// Leaves the image as it is.
    Identity,
    /// `ImageOps.invert`.
    Invert,
    /// `ImageOps.posterize(image, bits)`, bits from 1 to 8.
    Posterize(u32),
    /// `ImageOps.solarize(image, threshold)`: values from the threshold upwards are inverted.
    Solarize(u32),
    /// Adds the value, clips to 0..=255, then solarizes at 128 (FixMatch's `SolarizeAdd`).
    SolarizeAdd(i32),
    /// `ImageEnhance.Sharpness(image).enhance(factor)`.
    Sharpness(f64),
    /// `Image.rotate(degrees)`: counterclockwise about the centre, nearest neighbour, black corners.
    Rotate(f64),
    /// `Image.transform(size, AFFINE, (1, factor, 0, 0, 1, 0))`, nearest neighbour, black fill.
    ShearX(f64),
    /// `Image.transform(size, AFFINE, (1, 0, 0, factor, 1, 0))`, nearest neighbour, black fill.
    ShearY(f64),
    /// `Image.transform(size, AFFINE, (1, 0, pixels, 0, 1, 0))`: positive values move the picture to the left.
    TranslateX(f64),
    /// `Image.transform(size, AFFINE, (1, 0, 0, 0, 1, pixels))`: positive values move the picture upwards.
    TranslateY(f64),
    /// `ImageDraw.rectangle((x0, y0, x1, y1), fill=(127, 127, 127))`: both corners belong to the rectangle; what lies
    /// outside the image is left out.
    Cutout {
        /// Left column.
        x0: i64,
        /// Upper row.
        y0: i64,
        /// Right column.
        x1: i64,
        /// Lower row.
        y1: i64,
    },
}

const NAMES: &str = "autocontrast, equalize, identity, invert, posterize=BITS, solarize=T, solarize_add=V, \
    brightness=F, color=F, contrast=F, sharpness=F, rotate=DEGREES, shear_x=F, shear_y=F, translate_x=PIXELS, \
    translate_y=PIXELS, cutout=X0,Y0,X1,Y1, grayscale, hflip, hue=F, gaussian_blur=SIGMA, crop_resize=X,Y,W,H,OUTW,OUTH";

impl Op {
    /// Checks the argument: what Pillow has no answer to is refused, and what no image needs. [`Augmenter`](crate::Augmenter) does so before it runs anything.
    ///
    /// # Errors
    /// [`AugmentError::Argument`], or [`AugmentError::Size`] for a result that would be empty or above 16384 pixels.
    pub fn validate(&self) -> Result<(), AugmentError> {
        let argument = |ok: bool, operation: &'static str, value: &dyn fmt::Display, needs: &'static str| {
            if ok { Ok(()) } else { Err(AugmentError::Argument { operation, value: value.to_string(), needs }) }
        };
        let finite = |operation: &'static str, value: f64| {
            argument(value.is_finite() && value.abs() <= 1e9, operation, &value, "a number from -1e9 to 1e9")
        };
        match *self {
            Self::CropResize { crop, width, height } => {
                if (1..=MAX_SIDE).contains(&width) && (1..=MAX_SIDE).contains(&height) {
                    return Ok(());
                }
                let (target_width, target_height) = (width, height);
                Err(AugmentError::Size { width: crop.width, height: crop.height, target_width, target_height })
            }
            Self::Brightness(f) => finite("brightness", f),
            Self::Contrast(f) => finite("contrast", f),
            Self::Color(f) => finite("color", f),
            Self::Sharpness(f) => finite("sharpness", f),
            Self::Hue(f) => argument((-0.5..=0.5).contains(&f), "hue", &f, "a number from -0.5 to 0.5"),
            Self::GaussianBlur(s) => {
                argument((0.0..=1000.0).contains(&s), "gaussian_blur", &s, "a number from 0 to 1000")
            }
            Self::Posterize(bits) => {
                argument((1..=8).contains(&bits), "posterize", &bits, "a whole number from 1 to 8")
            }
            Self::Rotate(degrees) => finite("rotate", degrees),
            Self::ShearX(f) => finite("shear_x", f),
            Self::ShearY(f) => finite("shear_y", f),
            Self::TranslateX(pixels) => finite("translate_x", pixels),
            Self::TranslateY(pixels) => finite("translate_y", pixels),
            Self::Cutout { x0, y0, x1, y1 } => argument(
                x0 <= x1 && y0 <= y1,
                "cutout",
                &format_args!("{x0},{y0},{x1},{y1}"),
                "corners with X0 <= X1 and Y0 <= Y1",
            ),
            Self::Grayscale
            | Self::FlipHorizontal
            | Self::AutoContrast
            | Self::Equalize
            | Self::Identity
            | Self::Invert
            | Self::Solarize(_)
            | Self::SolarizeAdd(_) => Ok(()),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CropResize { crop: Crop { x, y, width: w, height: h }, width, height } => {
                write!(f, "crop_resize={x},{y},{w},{h},{width},{height}")
            }
            Self::Brightness(factor) => write!(f, "brightness={factor}"),
            Self::Contrast(factor) => write!(f, "contrast={factor}"),
            Self::Color(factor) => write!(f, "color={factor}"),
            Self::Hue(turn) => write!(f, "hue={turn}"),
            Self::Grayscale => f.write_str("grayscale"),
            Self::GaussianBlur(sigma) => write!(f, "gaussian_blur={sigma}"),
            Self::FlipHorizontal => f.write_str("hflip"),
            Self::AutoContrast => f.write_str("autocontrast"),
            Self::Equalize => f.write_str("equalize"),
            Self::Identity => f.write_str("identity"),
            Self::Invert => f.write_str("invert"),
            Self::Posterize(bits) => write!(f, "posterize={bits}"),
            Self::Solarize(threshold) => write!(f, "solarize={threshold}"),
            Self::SolarizeAdd(value) => write!(f, "solarize_add={value}"),
            Self::Sharpness(factor) => write!(f, "sharpness={factor}"),
            Self::Rotate(degrees) => write!(f, "rotate={degrees}"),
            Self::ShearX(factor) => write!(f, "shear_x={factor}"),
            Self::ShearY(factor) => write!(f, "shear_y={factor}"),
            Self::TranslateX(pixels) => write!(f, "translate_x={pixels}"),
            Self::TranslateY(pixels) => write!(f, "translate_y={pixels}"),
            Self::Cutout { x0, y0, x1, y1 } => write!(f, "cutout={x0},{y0},{x1},{y1}"),
        }
    }
}

/// The `N` comma-separated numbers of an operation's text form.
fn arguments<T: FromStr, const N: usize>(
    operation: &'static str,
    text: Option<&str>,
    needs: &'static str,
) -> Result<[T; N], AugmentError> {
    let text = text.unwrap_or("");
    let numbers = text.split(',').map(|part| part.trim().parse().ok()).collect::<Option<Vec<T>>>();
    numbers.and_then(|numbers| numbers.try_into().ok()).ok_or_else(|| AugmentError::Argument {
        operation,
        value: format!("{text:?}"),
        needs,
    })
}

impl FromStr for Op {
    type Err = AugmentError;

    fn from_str(text: &str) -> Result<Self, AugmentError> {
        let (name, argument) = match text.split_once('=') {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        let number = |name| arguments(name, argument, "one number").map(|[value]: [f64; 1]| value);
        let op = match (name, argument) {
            ("autocontrast", None) => Self::AutoContrast,
            ("equalize", None) => Self::Equalize,
            ("identity", None) => Self::Identity,
            ("invert", None) => Self::Invert,
            ("grayscale", None) => Self::Grayscale,
            ("hflip", None) => Self::FlipHorizontal,
            ("posterize", _) => {
                Self::Posterize(arguments("posterize", argument, "a whole number from 1 to 8").map(|[b]| b)?)
            }
            ("solarize", _) => {
                Self::Solarize(arguments("solarize", argument, "a whole number, not below 0").map(|[t]| t)?)
            }
            ("solarize_add", _) => {
                Self::SolarizeAdd(arguments("solarize_add", argument, "a whole number of 32 bits").map(|[v]| v)?)
            }
            ("brightness", _) => Self::Brightness(number("brightness")?),
            ("color", _) => Self::Color(number("color")?),
            ("contrast", _) => Self::Contrast(number("contrast")?),
            ("sharpness", _) => Self::Sharpness(number("sharpness")?),
            ("rotate", _) => Self::Rotate(number("rotate")?),
            ("shear_x", _) => Self::ShearX(number("shear_x")?),
            ("shear_y", _) => Self::ShearY(number("shear_y")?),
            ("translate_x", _) => Self::TranslateX(number("translate_x")?),
            ("translate_y", _) => Self::TranslateY(number("translate_y")?),
            ("hue", _) => Self::Hue(number("hue")?),
            ("gaussian_blur", _) => Self::GaussianBlur(number("gaussian_blur")?),
            ("cutout", _) => {
                let [x0, y0, x1, y1] = arguments("cutout", argument, "four whole numbers X0,Y0,X1,Y1")?;
                Self::Cutout { x0, y0, x1, y1 }
            }
            ("crop_resize", _) => {
                let needs = "six whole numbers X,Y,W,H,OUTW,OUTH, none below 0";
                let [x, y, w, h, width, height] = arguments("crop_resize", argument, needs)?;
                Self::CropResize { crop: Crop { x, y, width: w, height: h }, width, height }
            }
            _ => {
                let takes_none = ["autocontrast", "equalize", "identity", "invert", "grayscale", "hflip"];
                return Err(match takes_none.into_iter().find(|&known| known == name) {
                    Some(operation) => {
                        let value = format!("{:?}", argument.unwrap_or(""));
                        AugmentError::Argument { operation, value, needs: "no argument" }
                    }
                    None => AugmentError::UnknownOperation { name: name.to_owned(), known: NAMES },
                });
            }
        };
        op.validate()?;
        Ok(op)
    }
}
