use image::RgbImage;
use multiversion::multiversion;
use serde::{Deserialize, Serialize};

use crate::affine;
use crate::blur::{BlurScratch, gaussian_blur};
use crate::color;
use crate::plan::{Normalize, View, ViewPlan};
use crate::planes::{Planes, Rows};
use crate::resize::{ResizeScratch, resize};
use crate::sharpness::sharpness;
use crate::table::{self, Pending};
use crate::{AugmentError, Op, SampleId, ViewId};

/// Order of the values that are written to a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// All red values, then all green, then all blue: (3, height, width).
    ChannelsFirst,
    /// The three values of a pixel together: (height, width, 3).
    ChannelsLast,
}

/// Makes views. It holds scratch storage only, which is reused from view to view: once the largest image has been seen,
/// a thread that keeps one allocates a view's list of operations and its tables (a few kilobytes), no pixels. What it
/// makes does not depend on what it made before.
#[derive(Debug)]
pub struct Augmenter {
    image: Planes,
    spare: Planes,
    interleaved: Vec<u8>,
    pending: Pending,
    resize: ResizeScratch,
    blur: BlurScratch,
    columns: Vec<u32>,
}

impl Default for Augmenter {
    fn default() -> Self {
        Self::new()
    }
}

impl Augmenter {
    /// An augmenter with empty scratch storage.
    pub fn new() -> Self {
        Self {
            image: Planes::default(),
            spare: Planes::default(),
            interleaved: Vec::new(),
            pending: Pending::default(),
            resize: ResizeScratch::default(),
            blur: BlurScratch::default(),
            columns: Vec::new(),
        }
    }

    /// All views of `image`, as images: key, weak views, strong views.
    ///
    /// # Errors
    /// If the image has no pixels or the plan has an impossible value.
    pub fn views(&mut self, image: &RgbImage, plan: &ViewPlan, id: SampleId) -> Result<Vec<RgbImage>, AugmentError> {
        plan.validate()?;
        id.views(plan).map(|(id, view)| self.image(image, view, id)).collect()
    }

    /// Writes all views of `image`, normalised, each to one of the buffers `out`, which have [`View::values`] elements: key,
    /// weak views, strong views.
    ///
    /// # Errors
    /// If the image has no pixels, the plan has an impossible value, or the buffers are not as many or as long as needed.
    pub fn write_views(
        &mut self,
        image: &RgbImage,
        plan: &ViewPlan,
        id: SampleId,
        layout: Layout,
        out: &mut [&mut [f32]],
    ) -> Result<(), AugmentError> {
        plan.validate()?;
        if out.len() != plan.len() {
            return Err(AugmentError::Buffers { expected: plan.len(), actual: out.len() });
        }
        id.views(plan).zip(out).try_for_each(|((id, view), out)| self.write(image, view, id, layout, out))
    }

    /// The view of `image` that `id` stands for, as an image.
    ///
    /// # Errors
    /// If the image has no pixels or the view has an impossible argument.
    pub fn image(&mut self, image: &RgbImage, view: &View, id: ViewId) -> Result<RgbImage, AugmentError> {
        self.apply(image, &view.draw(image.width(), image.height(), id)?)
    }

    /// Writes the view of `image` that `id` stands for, normalised, to `out`, which has [`View::values`] elements.
    ///
    /// # Errors
    /// If the image has no pixels, the view has an impossible argument, or `out` has the wrong length.
    pub fn write(
        &mut self,
        image: &RgbImage,
        view: &View,
        id: ViewId,
        layout: Layout,
        out: &mut [f32],
    ) -> Result<(), AugmentError> {
        let ops = view.draw(image.width(), image.height(), id)?;
        self.apply_into(image, &ops, &view.normalize, layout, out)
    }

    /// Applies operations in turn and returns the resulting image.
    ///
    /// # Errors
    /// If the image has no pixels, a crop does not lie inside it, or an argument is out of range.
    pub fn apply(&mut self, image: &RgbImage, ops: &[Op]) -> Result<RgbImage, AugmentError> {
        self.run(image, ops)?;
        self.pending.flush(&mut self.image);
        Ok(self.image.to_image())
    }

    /// Applies operations in turn and writes the result, normalised, to `out`.
    ///
    /// # Errors
    /// As [`Augmenter::apply`], if `normalize` has an impossible value, and if `out` does not have three values for each pixel of the result.
    pub fn apply_into(
        &mut self,
        image: &RgbImage,
        ops: &[Op],
        normalize: &Normalize,
        layout: Layout,
        out: &mut [f32],
    ) -> Result<(), AugmentError> {
        normalize.validate("normalize")?;
        self.run(image, ops)?;
        let expected = self.image.data().len();
        if out.len() != expected {
            let (width, height) = (self.image.width() as u32, self.image.height() as u32);
            return Err(AugmentError::Buffer { width, height, expected, actual: out.len() });
        }
        self.pending.flush(&mut self.image);
        match layout {
            Layout::ChannelsFirst => write_channels_first(&self.image, normalize, out),
            Layout::ChannelsLast => write_channels_last(&self.image, normalize, out),
        }
        Ok(())
    }

    /// Leaves the result in `self.image`, but for the tables in `self.pending`.
    fn run(&mut self, image: &RgbImage, ops: &[Op]) -> Result<(), AugmentError> {
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
        rest.iter().try_for_each(|op| self.step(*op))
    }

    fn step(&mut self, op: Op) -> Result<(), AugmentError> {
        let pending = &mut self.pending;
        match op {
            Op::Identity => return Ok(()),
            Op::Invert => pending.push(&table::table(|value| 255 - value)),
            Op::Posterize(bits) => pending.push(&table::posterize(bits)),
            Op::Solarize(threshold) => pending.push(&table::solarize(threshold)),
            Op::SolarizeAdd(value) => pending.push(&table::solarize_add(value)),
            Op::Brightness(factor) => pending.push_blend(0, factor as f32),
            Op::Contrast(factor) => {
                pending.flush(&mut self.image);
                pending.push_blend(color::mean_luma(&self.image), factor as f32);
            }
            Op::AutoContrast => {
                let [r, g, b] = pending.histograms(&self.image).map(|h| table::auto_contrast(&h));
                pending.push_each([&r, &g, &b]);
            }
            Op::Equalize => {
                let [r, g, b] = pending.histograms(&self.image).map(|h| table::equalize(&h));
                pending.push_each([&r, &g, &b]);
            }
            Op::FlipHorizontal => affine::flip_horizontal(&mut self.image),
            _ => {
                self.pending.flush(&mut self.image);
                return self.step_on_pixels(op);
            }
        }
        Ok(())
    }

    /// The operations that look at more than one value at a time.
    fn step_on_pixels(&mut self, op: Op) -> Result<(), AugmentError> {
        let image = &mut self.image;
        let matrix = match op {
            Op::CropResize { crop, width, height } => {
                crop.check(image.width() as u32, image.height() as u32)?;
                image.write(&mut self.interleaved);
                let source = Rows::part(&self.interleaved, image.width(), crop);
                resize(source, width as usize, height as usize, &mut self.resize, image);
                return Ok(());
            }
            Op::Color(factor) => {
                color::saturation(image, factor);
                return Ok(());
            }
            Op::Hue(turn) => {
                color::hue(image, turn);
                return Ok(());
            }
            Op::Grayscale => {
                color::grayscale(image);
                return Ok(());
            }
            Op::GaussianBlur(sigma) => {
                gaussian_blur(image, sigma, &mut self.blur);
                return Ok(());
            }
            Op::Sharpness(factor) => {
                sharpness(image, factor, &mut self.spare);
                std::mem::swap(&mut self.image, &mut self.spare);
                return Ok(());
            }
            Op::Cutout { x0, y0, x1, y1 } => {
                affine::cutout(image, [x0, y0, x1, y1]);
                return Ok(());
            }
            Op::Rotate(degrees) => {
                affine::rotate(image, degrees, &mut self.spare, &mut self.columns);
                return Ok(());
            }
            Op::ShearX(factor) => [1.0, factor, 0.0, 0.0, 1.0, 0.0],
            Op::ShearY(factor) => [1.0, 0.0, 0.0, factor, 1.0, 0.0],
            Op::TranslateX(pixels) => [1.0, 0.0, pixels, 0.0, 1.0, 0.0],
            Op::TranslateY(pixels) => [1.0, 0.0, 0.0, 0.0, 1.0, pixels],
            _ => return self.step(op),
        };
        affine::transform(image, matrix, &mut self.spare, &mut self.columns);
        std::mem::swap(&mut self.image, &mut self.spare);
        Ok(())
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2"))]
fn write_channels_first(image: &Planes, normalize: &Normalize, out: &mut [f32]) {
    let planes = image.rgb();
    for (channel, out) in out.chunks_exact_mut(planes[0].len()).enumerate() {
        let (mean, std) = (normalize.mean[channel], normalize.std[channel]);
        for (out, &value) in out.iter_mut().zip(planes[channel]) {
            *out = normalized(value, mean, std);
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2"))]
fn write_channels_last(image: &Planes, normalize: &Normalize, out: &mut [f32]) {
    let Normalize { mean, std } = *normalize;
    let [r, g, b] = image.rgb();
    for (((out, &r), &g), &b) in out.as_chunks_mut::<3>().0.iter_mut().zip(r).zip(g).zip(b) {
        *out = [normalized(r, mean[0], std[0]), normalized(g, mean[1], std[1]), normalized(b, mean[2], std[2])];
    }
}

/// torchvision's `ToTensor` and `Normalize` of one value, in single precision.
#[inline(always)]
fn normalized(value: u8, mean: f32, std: f32) -> f32 {
    (f32::from(value) / 255.0 - mean) / std
}
