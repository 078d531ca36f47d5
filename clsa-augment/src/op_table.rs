//! The table of operations, from which their text form, its parser, the checks of arguments and the README's table come.

use std::fmt::{self, Display};
use std::str::FromStr;

use crate::limits::may_be_made;
use crate::{AugmentError, Crop, Op};

/// A row of [`OPS`]: how an operation is written, and which arguments it accepts.
///
/// Its [`Display`] is how help texts write the operation: `posterize=BITS`.
#[derive(Debug)]
#[non_exhaustive]
pub struct OpSpec {
    /// Name in the text form, such as `cutout`.
    pub name: &'static str,
    /// Arguments as help texts write them, such as `X0,Y0,X1,Y1`; empty if there are none.
    pub arguments: &'static str,
    /// Which arguments are accepted.
    pub needs: &'static str,
    /// What gives the same bytes: a function of Pillow or torchvision.
    pub equals: &'static str,
    /// Reads what follows the `=`, unless there is none; fails where numbers are wrong or too few or many.
    parse: fn(Option<&str>) -> Option<Op>,
}

impl Display for OpSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let equal_sign = if self.arguments.is_empty() { "" } else { "=" };
        write!(f, "{}{equal_sign}{}", self.name, self.arguments)
    }
}

/// Makes of the table [`OPS`], and for an operation its row's name, whether its arguments are accepted, and their text.
/// The matches have no `_`: an operation without a row does not compile.
macro_rules! operations {
    ($(
        $name:literal $help:literal => $variant:ident $fields:tt [$($argument:ident),*]
        if $accepted:expr, $needs:literal, $equals:literal;
    )*) => {
        /// Every built-in operation: how it is written, what it needs and what it equals.
        ///
        /// # Examples
        /// ```
        /// use clsa_augment::OPS;
        ///
        /// let names: Vec<String> = OPS.iter().map(ToString::to_string).collect();
        /// assert!(names.contains(&"posterize=BITS".to_owned()));
        /// ```
        pub const OPS: &[OpSpec] = &[$(OpSpec {
            name: $name,
            arguments: $help,
            needs: $needs,
            equals: $equals,
            parse: |text| {
                let mut parts = text.into_iter().flat_map(|text| text.split(','));
                $(let $argument = parts.next()?.trim().parse().ok()?;)*
                parts.next().is_none().then_some(Op::$variant $fields)
            },
        }),*];

        impl Op {
            /// Its row of [`OPS`] by name; none if it is not built in.
            fn name(&self) -> Option<&'static str> {
                match self {
                    $(Self::$variant { .. } => Some($name),)*
                    Self::Custom(_) => None,
                }
            }

            fn accepts_its_arguments(&self) -> bool {
                match *self {
                    $(Self::$variant $fields => { $(let _ = $argument;)* $accepted })*
                    Self::Custom(_) => true,
                }
            }

            /// The arguments of a built-in operation as they are written, with commas between them.
            fn arguments(&self) -> String {
                let texts: Vec<String> = match self {
                    $(Self::$variant $fields => vec![$($argument.to_string()),*],)*
                    Self::Custom(_) => Vec::new(),
                };
                texts.join(",")
            }
        }
    };
}

operations! {
    "autocontrast" "" => AutoContrast {} []
        if true, "no argument", "`ImageOps.autocontrast(image)`";
    "equalize" "" => Equalize {} []
        if true, "no argument", "`ImageOps.equalize(image)`";
    "identity" "" => Identity {} []
        if true, "no argument", "the image itself";
    "invert" "" => Invert {} []
        if true, "no argument", "`ImageOps.invert(image)`";
    "posterize" "BITS" => Posterize(bits) [bits]
        if (1..=8).contains(&bits), "a whole number from 1 to 8", "`ImageOps.posterize(image, BITS)`";
    "solarize" "T" => Solarize(threshold) [threshold]
        if true, "a whole number, not below 0", "`ImageOps.solarize(image, T)`";
    "solarize_add" "V" => SolarizeAdd(value) [value]
        if true, "a whole number of 32 bits", "`V` added and clipped, then `ImageOps.solarize(image, 128)`";
    "brightness" "F" => Brightness(factor) [factor]
        if moderate(factor), "one number from -1e9 to 1e9", "`ImageEnhance.Brightness(image).enhance(F)`";
    "color" "F" => Color(factor) [factor]
        if moderate(factor), "one number from -1e9 to 1e9", "`ImageEnhance.Color(image).enhance(F)`";
    "contrast" "F" => Contrast(factor) [factor]
        if moderate(factor), "one number from -1e9 to 1e9", "`ImageEnhance.Contrast(image).enhance(F)`";
    "sharpness" "F" => Sharpness(factor) [factor]
        if moderate(factor), "one number from -1e9 to 1e9", "`ImageEnhance.Sharpness(image).enhance(F)`";
    "rotate" "DEGREES" => Rotate(degrees) [degrees]
        if moderate(degrees), "one number from -1e9 to 1e9", "`image.rotate(DEGREES)`";
    "shear_x" "F" => ShearX(factor) [factor]
        if moderate(factor), "one number from -1e9 to 1e9", "`image.transform(size, AFFINE, (1, F, 0, 0, 1, 0))`";
    "shear_y" "F" => ShearY(factor) [factor]
        if moderate(factor), "one number from -1e9 to 1e9", "`image.transform(size, AFFINE, (1, 0, 0, F, 1, 0))`";
    "translate_x" "PIXELS" => TranslateX(pixels) [pixels]
        if moderate(pixels), "one number from -1e9 to 1e9", "`image.transform(size, AFFINE, (1, 0, PIXELS, 0, 1, 0))`";
    "translate_y" "PIXELS" => TranslateY(pixels) [pixels]
        if moderate(pixels), "one number from -1e9 to 1e9", "`image.transform(size, AFFINE, (1, 0, 0, 0, 1, PIXELS))`";
    "cutout" "X0,Y0,X1,Y1" => Cutout { x0, y0, x1, y1 } [x0, y0, x1, y1]
        if x0 <= x1 && y0 <= y1, "four whole numbers X0,Y0,X1,Y1 with X0 <= X1 and Y0 <= Y1",
        "`ImageDraw.rectangle((X0, Y0, X1, Y1), fill=(127, 127, 127))`";
    "grayscale" "" => Grayscale {} []
        if true, "no argument", "torchvision `to_grayscale(image, 3)`";
    "hflip" "" => FlipHorizontal {} []
        if true, "no argument", "`ImageOps.mirror(image)`";
    "hue" "F" => Hue(turn) [turn]
        if (-0.5..=0.5).contains(&turn), "one number from -0.5 to 0.5", "torchvision `adjust_hue(image, F)`";
    "gaussian_blur" "SIGMA" => GaussianBlur(sigma) [sigma]
        if (0.0..=1000.0).contains(&sigma), "one number from 0 to 1000",
        "`image.filter(ImageFilter.GaussianBlur(SIGMA))`";
    "crop_resize" "X,Y,W,H,OUTW,OUTH" =>
        CropResize { crop: Crop { x, y, width: w, height: h }, width, height } [x, y, w, h, width, height]
        if may_be_made(width, height),
        "six whole numbers X,Y,W,H,OUTW,OUTH: a part of the image, and sides from 1 to 16384",
        "torchvision `resized_crop(image, Y, X, H, W, (OUTH, OUTW))`";
}

/// Whether a number is finite and far from overflow in what is computed with it.
fn moderate(value: f64) -> bool {
    value.is_finite() && value.abs() <= 1e9
}

/// The row of this name.
fn row(name: &str) -> Option<&'static OpSpec> {
    OPS.iter().find(|spec| spec.name == name)
}

impl Op {
    /// Rejects arguments that Pillow rejects, and values that no image needs. [`Augmenter`](crate::Augmenter) does so before
    /// it runs anything.
    ///
    /// # Errors
    /// [`AugmentError::Argument`], or [`AugmentError::Size`] for a result that would be empty or above 16384 pixels.
    pub fn validate(&self) -> Result<(), AugmentError> {
        if self.accepts_its_arguments() {
            return Ok(());
        }
        // Says what would be resized to what, which the arguments alone do not.
        if let Self::CropResize { crop: Crop { width, height, .. }, width: target_width, height: target_height } = *self
        {
            return Err(AugmentError::Size { width, height, target_width, target_height });
        }
        match self.name().and_then(row) {
            Some(spec) => Err(rejected(spec, self.arguments())),
            None => Ok(()),
        }
    }
}

fn rejected(spec: &OpSpec, value: String) -> AugmentError {
    AugmentError::Argument { operation: spec.name, value, needs: spec.needs }
}

impl Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Custom(op) = self {
            return op.fmt(f);
        }
        let arguments = self.arguments();
        let equal_sign = if arguments.is_empty() { "" } else { "=" };
        write!(f, "{}{equal_sign}{arguments}", self.name().unwrap_or_default())
    }
}

impl FromStr for Op {
    type Err = AugmentError;

    fn from_str(text: &str) -> Result<Self, AugmentError> {
        let (name, argument) = text.split_once('=').map_or((text, None), |(name, argument)| (name, Some(argument)));
        let Some(spec) = row(name) else {
            let known: Vec<String> = OPS.iter().map(OpSpec::to_string).collect();
            return Err(AugmentError::UnknownOperation { name: name.to_owned(), known: known.join(", ") });
        };
        let op = (spec.parse)(argument).ok_or_else(|| rejected(spec, format!("{:?}", argument.unwrap_or(""))))?;
        op.validate()?;
        Ok(op)
    }
}
