//! Makes views: the entry point of the crate.

use image::RgbImage;

use crate::canvas::Canvas;
use crate::{AugmentError, Layout, Normalize, Op, SampleId, Value, View, ViewId, ViewPlan, layout};

/// Makes views. It holds scratch storage only, which is reused from view to view: once the largest image has been seen,
/// a thread that keeps one allocates a view's list of operations and its tables (a few kilobytes), no pixels. What it
/// makes does not depend on what it made before.
///
/// # Examples
/// ```
/// use clsa_augment::{Augmenter, Layout, SampleId, ViewPlan};
///
/// let image = image::RgbImage::from_pixel(500, 375, image::Rgb([90, 120, 30]));
/// let plan = ViewPlan::single();
/// let mut augmenter = Augmenter::new();
/// for epoch in 0..3 {
///     let id = SampleId { seed: 0, epoch, sample: 17 };
///     for (id, view) in id.views(&plan) {
///         let mut values = vec![0.0; view.values()];
///         augmenter.write(&image, view, id, Layout::ChannelsFirst, &mut values)?;
///     }
/// }
/// # Ok::<(), clsa_augment::AugmentError>(())
/// ```
#[derive(Debug, Default)]
pub struct Augmenter {
    canvas: Canvas,
}

impl Augmenter {
    /// An augmenter with empty scratch storage.
    pub fn new() -> Self {
        Self::default()
    }

    /// All views of `image`, as images: key, weak views, strong views. They have the plan's last sizes; for those of
    /// [`View::early_sizes`], give [`plan.at_epoch(id.epoch)`](ViewPlan::at_epoch).
    ///
    /// # Errors
    /// If the image has no pixels or the plan has an impossible value.
    pub fn views(&mut self, image: &RgbImage, plan: &ViewPlan, id: SampleId) -> Result<Vec<RgbImage>, AugmentError> {
        plan.validate()?;
        id.views(plan).map(|(id, view)| self.image(image, view, id)).collect()
    }

    /// Writes all views of `image`, normalized (f32) or as bytes (u8), each to one of the buffers `out`, which have
    /// [`View::values`] elements: key, weak views, strong views. They have the sizes of [`Self::views`].
    ///
    /// # Errors
    /// If the image has no pixels, the plan has an impossible value, or the buffers are not as many or as long as needed.
    pub fn write_views<V: Value>(
        &mut self,
        image: &RgbImage,
        plan: &ViewPlan,
        id: SampleId,
        layout: Layout,
        out: &mut [&mut [V]],
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

    /// Writes the view of `image` that `id` stands for, normalized (f32) or as bytes (u8), to `out`, which has
    /// [`View::values`] elements.
    ///
    /// # Errors
    /// If the image has no pixels, the view has an impossible argument, or `out` has the wrong length.
    pub fn write<V: Value>(
        &mut self,
        image: &RgbImage,
        view: &View,
        id: ViewId,
        layout: Layout,
        out: &mut [V],
    ) -> Result<(), AugmentError> {
        let ops = view.draw(image.width(), image.height(), id)?;
        self.apply_into(image, &ops, &view.normalize, layout, out)
    }

    /// Applies operations in turn and returns the resulting image.
    ///
    /// # Errors
    /// If the image has no pixels, a crop does not lie inside it, or an argument is out of range.
    pub fn apply(&mut self, image: &RgbImage, ops: &[Op]) -> Result<RgbImage, AugmentError> {
        self.canvas.run(image, ops)?;
        Ok(self.canvas.pixels().to_image())
    }

    /// Applies operations in turn and writes the result, normalized (f32) or as bytes (u8), to `out`.
    ///
    /// # Errors
    /// As [`Augmenter::apply`], if `normalize` has an impossible value, and if `out` does not have three values for each pixel of the result.
    pub fn apply_into<V: Value>(
        &mut self,
        image: &RgbImage,
        ops: &[Op],
        normalize: &Normalize,
        layout: Layout,
        out: &mut [V],
    ) -> Result<(), AugmentError> {
        normalize.validate().map_err(|error| error.within("normalize"))?;
        self.canvas.run(image, ops)?;
        let (width, height) = self.canvas.size();
        let expected = 3 * width as usize * height as usize;
        if out.len() != expected {
            return Err(AugmentError::Buffer { width, height, expected, actual: out.len() });
        }
        layout::write(self.canvas.pixels(), normalize, layout, out);
        Ok(())
    }
}
