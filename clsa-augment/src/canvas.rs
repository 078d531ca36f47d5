//! Runs operations on one image after the other, in storage that is kept.

use image::RgbImage;

use crate::affine::{self, Matrix};
use crate::blur::{BlurScratch, gaussian_blur};
use crate::color;
use crate::hue::hue;
use crate::limits::may_be_made;
use crate::lookup::{self, Pending, Table};
use crate::planes::{Planes, Rows};
use crate::resize::{ResizeScratch, resize};
use crate::sharpness::sharpness;
use crate::{AugmentError, Crop, CustomOp, Op};

/// The image that is worked on, and the storage of the operations.
#[derive(Debug, Default)]
pub(crate) struct Canvas {
    image: Planes,
    spare: Planes,
    interleaved: Vec<u8>,
    pending: Pending,
    resize: ResizeScratch,
    blur: BlurScratch,
    columns: Vec<u32>,
}

impl Canvas {
    /// Applies operations to an image. The result is that of [`Canvas::pixels`].
    pub fn run(&mut self, image: &RgbImage, ops: &[Op]) -> Result<(), AugmentError> {
        let (width, height) = image.dimensions();
        if width == 0 || height == 0 {
            return Err(AugmentError::EmptyImage { width, height });
        }
        ops.iter().try_for_each(Op::validate)?;
        self.pending = Pending::default();
        let rest = if let [Op::CropResize { crop, width: w, height: h }, rest @ ..] = ops {
            crop.check(width, height)?;
            let source = Rows::part(image.as_raw(), width as usize, *crop);
            resize(source, *w as usize, *h as usize, &mut self.resize, &mut self.image);
            rest
        } else {
            self.image.read(Rows::whole(image.as_raw(), width as usize, height as usize));
            ops
        };
        rest.iter().try_for_each(|op| self.step(op))
    }

    /// Width and height of the result.
    pub fn size(&self) -> (u32, u32) {
        (self.image.width() as u32, self.image.height() as u32)
    }

    /// Applies one operation. Those on single values wait until the pixels are needed.
    fn step(&mut self, op: &Op) -> Result<(), AugmentError> {
        match *op {
            Op::Identity => {}
            // One table for all values.
            Op::Invert => self.pending.push(&lookup::table(|value| 255 - value)),
            Op::Posterize(bits) => self.pending.push(&lookup::posterize(bits)),
            Op::Solarize(threshold) => self.pending.push(&lookup::solarize(threshold)),
            Op::SolarizeAdd(value) => self.pending.push(&lookup::solarize_add(value)),
            // A blend of all values with one.
            Op::Brightness(factor) => self.pending.push_blend(0, factor as f32),
            Op::Contrast(factor) => {
                let mean = color::mean_luma(self.pixels());
                self.pending.push_blend(mean, factor as f32);
            }
            // A table for each channel that follows from its histogram.
            Op::AutoContrast => self.by_histogram(lookup::auto_contrast),
            Op::Equalize => self.by_histogram(lookup::equalize),
            // Pixels move, values stay: what waits may go on waiting.
            Op::FlipHorizontal => affine::flip_horizontal(&mut self.image),
            // Values and pixels.
            Op::Color(factor) => color::saturation(self.pixels(), factor),
            Op::Hue(turn) => hue(self.pixels(), turn),
            Op::Grayscale => color::grayscale(self.pixels()),
            Op::Cutout { x0, y0, x1, y1 } => affine::cutout(self.pixels(), [x0, y0, x1, y1]),
            Op::GaussianBlur(sigma) => {
                self.pixels();
                gaussian_blur(&mut self.image, sigma, &mut self.blur);
            }
            Op::Sharpness(factor) => {
                self.pixels();
                sharpness(&self.image, factor, &mut self.spare);
                std::mem::swap(&mut self.image, &mut self.spare);
            }
            Op::Rotate(degrees) => {
                self.pixels();
                affine::rotate(&mut self.image, degrees, &mut self.spare, &mut self.columns);
            }
            // Affine maps.
            Op::ShearX(factor) => self.transform([1.0, factor, 0.0, 0.0, 1.0, 0.0]),
            Op::ShearY(factor) => self.transform([1.0, 0.0, 0.0, factor, 1.0, 0.0]),
            Op::TranslateX(pixels) => self.transform([1.0, 0.0, pixels, 0.0, 1.0, 0.0]),
            Op::TranslateY(pixels) => self.transform([1.0, 0.0, 0.0, 0.0, 1.0, pixels]),
            // Another size.
            Op::CropResize { crop, width, height } => self.crop_resize(crop, width, height)?,
            Op::Custom(ref op) => self.custom(op.as_ref())?,
        }
        Ok(())
    }

    /// The image with everything done that was waiting.
    pub fn pixels(&mut self) -> &mut Planes {
        self.pending.flush(&mut self.image);
        &mut self.image
    }

    fn by_histogram(&mut self, table: impl Fn(&lookup::Histogram) -> Table) {
        let [r, g, b] = self.pending.histograms(&self.image).map(|histogram| table(&histogram));
        self.pending.push_each([&r, &g, &b]);
    }

    fn transform(&mut self, matrix: Matrix) {
        self.pixels();
        affine::transform(&self.image, matrix, &mut self.spare, &mut self.columns);
        std::mem::swap(&mut self.image, &mut self.spare);
    }

    fn crop_resize(&mut self, crop: Crop, width: u32, height: u32) -> Result<(), AugmentError> {
        self.pixels();
        let (image_width, image_height) = self.size();
        crop.check(image_width, image_height)?;
        self.image.write(&mut self.interleaved);
        let source = Rows::part(&self.interleaved, self.image.width(), crop);
        resize(source, width as usize, height as usize, &mut self.resize, &mut self.image);
        Ok(())
    }

    fn custom(&mut self, op: &dyn CustomOp) -> Result<(), AugmentError> {
        self.pixels();
        let (width, height) = self.size();
        self.image.write(&mut self.interleaved);
        let pixels = std::mem::take(&mut self.interleaved);
        let mut image = RgbImage::from_raw(width, height, pixels).expect("every pixel became three bytes");
        op.apply(&mut image);
        let (target_width, target_height) = image.dimensions();
        if !may_be_made(target_width, target_height) {
            return Err(AugmentError::Size { width, height, target_width, target_height });
        }
        self.image.read(Rows::whole(image.as_raw(), target_width as usize, target_height as usize));
        self.interleaved = image.into_raw();
        Ok(())
    }
}
