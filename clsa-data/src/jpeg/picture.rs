//! The picture as it is decoded: rows of units become rows of pixels as soon as the rows around them are there.

use image::RgbImage;

use super::block::{Block, Extent};
use super::color::Space;
use super::frame::Frame;
use super::kernels::{self, Inverse};
use super::plane::Plane;
use super::refusal::Refusal;
use super::upsample::Upsampler;

/// A component of the picture.
struct Component {
    quantizers: Block,
    /// The samples of two rows of units.
    plane: Plane,
    /// Blocks above each other in a unit.
    down: usize,
    /// Which row of blocks is in the plane's first place.
    first: usize,
    upsampler: Upsampler,
}

/// The picture so far.
pub(super) struct Picture {
    components: Vec<Component>,
    space: Space,
    inverse: Inverse,
    width: usize,
    height: usize,
    /// Rows of pixels in a row of units, of which 8 rows of pixels are for each sample.
    unit_rows: usize,
    /// Rows of pixels so far.
    done: usize,
    pixels: Vec<u8>,
    /// The row of pixels that is made. From the cache, it is copied faster than all pixels could be set to 0 before.
    row: Vec<u8>,
    /// Room for a row of CMYK.
    inks: Vec<u8>,
}

impl Picture {
    /// An empty picture. There are quantizers for each component.
    pub(super) fn new(frame: &Frame, space: Space, quantizers: &[Block]) -> Result<Self, Refusal> {
        let (across, _) = frame.units();
        let components = frame.components.iter().zip(quantizers).map(|(component, &quantizers)| {
            let plane = Plane::new((across * component.horizontal, 2 * component.vertical));
            let upsampler = Upsampler::new(frame, component)?;
            Ok(Component { quantizers, plane, down: component.vertical, first: 0, upsampler })
        });
        let components: Vec<_> = components.collect::<Result<_, Refusal>>()?;
        Ok(Self {
            inks: vec![0; if components.len() == 4 { 4 * frame.width } else { 0 }],
            components,
            space,
            inverse: kernels::inverse(),
            width: frame.width,
            height: frame.height,
            unit_rows: 8 * frame.largest().1,
            done: 0,
            pixels: Vec::with_capacity(3 * frame.width * frame.height),
            row: vec![0; 3 * frame.width],
        })
    }

    /// Puts the samples of a block in their place, within the row of units after the last one that has ended.
    #[inline(always)]
    pub(super) fn put(&mut self, component: usize, (row, column): (usize, usize), block: &Block, extent: Extent) {
        let component = &mut self.components[component];
        let row = row - component.first;
        if extent.is_mean() {
            component.plane.put(row, column, &[[kernels::mean(block, &component.quantizers); 8]; 8]);
        } else {
            component.plane.put(row, column, &(self.inverse)(block, &component.quantizers, extent));
        }
    }

    /// Makes the pixels that the units up to a row make known.
    pub(super) fn end_row(&mut self, row: usize) {
        let known = (row + 1) * self.unit_rows;
        // The last row of samples has an influence on the pixels beside the next one only, once that is there.
        let ready = if known < self.height { known - self.unit_rows / 8 } else { self.height };
        for y in self.done..ready {
            let mut components = self.components.iter_mut();
            let mut row =
                || components.next().map_or(&[][..], |component| component.upsampler.row(&component.plane, y));
            self.space.to_rgb([row(), row(), row(), row()], &mut self.inks, &mut self.row);
            self.pixels.extend_from_slice(&self.row);
        }
        self.done = ready;
        if row % 2 == 1 {
            self.components.iter_mut().for_each(|component| component.first = (row + 1) * component.down);
        }
    }

    /// The image, once all rows have ended.
    pub(super) fn into_image(self) -> Result<RgbImage, Refusal> {
        let image = RgbImage::from_raw(self.width as u32, self.height as u32, self.pixels);
        image.ok_or_else(|| Refusal::faulty("the image is too large"))
    }
}
