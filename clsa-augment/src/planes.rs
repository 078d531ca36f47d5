//! The form in which images are worked on: three planes; and the interleaved rows that they are read from.

use image::RgbImage;
use macro_rules_attribute::apply;

use crate::Crop;
use crate::vectorized::vectorized;

/// An 8-bit RGB image as three planes, one after the other. Every operation works on this form: a loop over a plane
/// (or over three planes side by side) becomes vector code as it stands, where interleaved RGB would need shuffles.
#[derive(Clone, Debug, Default)]
pub(crate) struct Planes {
    width: usize,
    height: usize,
    data: Vec<u8>,
}

impl Planes {
    /// Gives the image a new size. The pixels are then unspecified; storage is kept.
    pub fn reshape(&mut self, width: usize, height: usize) {
        self.width = width;
        self.height = height;
        self.data.resize(3 * width * height, 0);
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn height(&self) -> usize {
        self.height
    }

    /// All three planes, `3 · height · width` bytes.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }

    pub fn rgb(&self) -> [&[u8]; 3] {
        let (r, gb) = self.data.split_at(self.width * self.height);
        let (g, b) = gb.split_at(self.width * self.height);
        [r, g, b]
    }

    pub fn rgb_mut(&mut self) -> [&mut [u8]; 3] {
        let (r, gb) = self.data.split_at_mut(self.width * self.height);
        let (g, b) = gb.split_at_mut(self.width * self.height);
        [r, g, b]
    }

    /// Takes over an interleaved image.
    pub fn read(&mut self, source: Rows<'_>) {
        let width = source.width;
        self.reshape(width, source.height);
        let [r, g, b] = self.rgb_mut();
        for y in 0..source.height {
            let line = y * width..(y + 1) * width;
            split(source.row(y), &mut r[line.clone()], &mut g[line.clone()], &mut b[line]);
        }
    }

    /// Gives the interleaved pixels to `out`, whose storage is kept.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.resize(self.data.len(), 0);
        interleave(self.rgb(), out);
    }

    /// The image in the interleaved form of the crate `image`.
    pub fn to_image(&self) -> RgbImage {
        let mut raw = Vec::new();
        self.write(&mut raw);
        RgbImage::from_raw(self.width as u32, self.height as u32, raw).expect("every pixel became three bytes")
    }
}

/// Writes the channels as interleaved pixels to `out`, which has three bytes for each.
pub(crate) fn interleave([r, g, b]: [&[u8]; 3], out: &mut [u8]) {
    for (((pixel, &r), &g), &b) in out.as_chunks_mut::<3>().0.iter_mut().zip(r).zip(g).zip(b) {
        *pixel = [r, g, b];
    }
}

/// Splits interleaved pixels into their channels.
#[apply(vectorized)]
fn split(pixels: &[u8], r: &mut [u8], g: &mut [u8], b: &mut [u8]) {
    for (((pixel, r), g), b) in pixels.as_chunks::<3>().0.iter().zip(r).zip(g).zip(b) {
        [*r, *g, *b] = *pixel;
    }
}

/// Interleaved RGB pixels in rows, or a rectangle of such an image.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// From the first pixel on.
    pub data: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
    /// Pixels in a row.
    pub width: usize,
    pub height: usize,
}

impl<'a> Rows<'a> {
    /// The part under `crop` of an image of `width` pixels; it lies inside the image.
    pub fn part(data: &'a [u8], width: usize, crop: Crop) -> Self {
        let stride = 3 * width;
        let data = &data[crop.y as usize * stride + 3 * crop.x as usize..];
        Self { data, stride, width: crop.width as usize, height: crop.height as usize }
    }

    /// All of an image.
    pub fn whole(data: &'a [u8], width: usize, height: usize) -> Self {
        Self { data, stride: 3 * width, width, height }
    }

    /// Row `y`: `3 · width` bytes.
    #[inline(always)]
    pub fn row(&self, y: usize) -> &'a [u8] {
        &self.data[y * self.stride..][..3 * self.width]
    }

    /// Row `y` and the byte after it, unless the data end there.
    #[inline(always)]
    pub fn row_and_one(&self, y: usize) -> Option<&'a [u8]> {
        self.data[y * self.stride..].get(..3 * self.width + 1)
    }
}
