//! `Image.resize(size, BILINEAR)` of a crop: two separable passes in 22-bit fixed point, rounded to bytes in between.

use image::RgbImage;

use crate::Crop;
use crate::planes::Planes;

const PRECISION: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION - 1);

/// The taps of every output position along one axis.
#[derive(Debug, Default)]
struct Weights {
    /// First input position and number of taps, by output position.
    bounds: Vec<(usize, usize)>,
    /// `stride` weights for each output position; those past its taps are 0.
    taps: Vec<i32>,
    stride: usize,
    exact: Vec<f64>,
}

impl Weights {
    /// The triangle filter for an axis of `input` pixels made `output`; widened when shrinking.
    fn compute(&mut self, input: usize, output: usize) {
        let scale = input as f64 / output as f64;
        let filter_scale = scale.max(1.0);
        let support = filter_scale;
        let inverse = 1.0 / filter_scale;
        self.stride = support.ceil() as usize * 2 + 1;
        self.bounds.clear();
        self.taps.clear();
        self.taps.resize(output * self.stride, 0);
        for (position, taps) in self.taps.chunks_exact_mut(self.stride).enumerate() {
            let center = (position as f64 + 0.5) * scale;
            // `as usize` truncates and stops at 0.
            let first = (center - support + 0.5) as usize;
            let count = ((center + support + 0.5) as usize).min(input) - first;
            self.exact.clear();
            self.exact.extend((0..count).map(|tap| {
                let distance = (((tap + first) as f64 - center + 0.5) * inverse).abs();
                if distance < 1.0 { 1.0 - distance } else { 0.0 }
            }));
            let sum: f64 = self.exact.iter().sum();
            for (tap, &exact) in taps.iter_mut().zip(&self.exact) {
                let weight = if sum == 0.0 { exact } else { exact / sum };
                *tap = (0.5 + weight * f64::from(1 << PRECISION)) as i32;
            }
            self.bounds.push((first, count));
        }
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.bounds
            .iter()
            .zip(self.taps.chunks_exact(self.stride))
            .map(|(&(first, count), taps)| (first, &taps[..count]))
    }
}

/// Storage of the resampling, kept between images.
#[derive(Debug, Default)]
pub(crate) struct ResizeScratch {
    horizontal: Weights,
    vertical: Weights,
    sums: Vec<i32>,
    rows: Vec<u8>,
    planes: Planes,
}

#[inline(always)]
fn clip(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// A view of interleaved RGB rows.
#[derive(Clone, Copy)]
struct Rows<'a> {
    data: &'a [u8],
    stride: usize,
    start: usize,
    width: usize,
}

impl<'a> Rows<'a> {
    fn row(&self, y: usize) -> &'a [u8] {
        let start = self.start + y * self.stride;
        &self.data[start..start + 3 * self.width]
    }
}

/// Resizes `crop` of `image` to `width` × `height`. The crop lies inside the image and nothing is empty.
pub(crate) fn crop_resize(
    image: &RgbImage,
    crop: Crop,
    width: usize,
    height: usize,
    scratch: &mut ResizeScratch,
    out: &mut Planes,
) {
    let (x, y) = (crop.x as usize, crop.y as usize);
    let (crop_width, crop_height) = (crop.width as usize, crop.height as usize);
    if (crop_width, crop_height) == (width, height) {
        out.read(image, x, y, width, height);
        return;
    }
    let stride = 3 * image.width() as usize;
    let source = Rows { data: image.as_raw(), stride, start: y * stride + 3 * x, width: crop_width };
    out.reshape(width, height);
    let ResizeScratch { horizontal, vertical, sums, rows, planes } = scratch;
    horizontal.compute(crop_width, width);
    vertical.compute(crop_height, height);

    // Pillow (from 13.0) takes the columns first where the height shrinks much more than the width.
    let lost_height = crop_height.saturating_sub(height) as i64;
    let columns_first = lost_height > 0 && lost_height > (crop_width as i64 - width as i64) * 2;
    if columns_first {
        rows.resize(3 * crop_width * height, 0);
        for ((first, taps), target) in vertical.iter().zip(rows.chunks_exact_mut(3 * crop_width)) {
            weigh_rows(|tap| source.row(first + tap), taps, sums, target);
        }
        let rows = Rows { data: rows, stride: 3 * crop_width, start: 0, width: crop_width };
        weigh_columns(rows, crop_width == width, horizontal, out);
        return;
    }
    if crop_height == height {
        weigh_columns(source, false, horizontal, out);
        return;
    }
    planes.reshape(width, crop_height);
    weigh_columns(source, crop_width == width, horizontal, planes);
    for (source, target) in planes.rgb().into_iter().zip(out.rgb_mut()) {
        for ((first, taps), target) in vertical.iter().zip(target.chunks_exact_mut(width)) {
            weigh_rows(|tap| &source[(first + tap) * width..(first + tap + 1) * width], taps, sums, target);
        }
    }
}

/// One row of the result as the weighted sum of rows.
fn weigh_rows<'a>(row: impl Fn(usize) -> &'a [u8], taps: &[i32], sums: &mut Vec<i32>, target: &mut [u8]) {
    sums.clear();
    sums.resize(target.len(), HALF);
    for (tap, &weight) in taps.iter().enumerate() {
        for (sum, &value) in sums.iter_mut().zip(row(tap)) {
            *sum += i32::from(value) * weight;
        }
    }
    for (value, &sum) in target.iter_mut().zip(&*sums) {
        *value = clip(sum);
    }
}

/// All rows of `source` resampled along x into the planes of `out`; only split into planes if `same` width.
fn weigh_columns(source: Rows<'_>, same: bool, weights: &Weights, out: &mut Planes) {
    let (width, height) = (out.width(), out.height());
    let [r, g, b] = out.rgb_mut();
    for y in 0..height {
        let row = source.row(y);
        let line = y * width..(y + 1) * width;
        let targets = r[line.clone()].iter_mut().zip(&mut g[line.clone()]).zip(&mut b[line]);
        if same {
            for (pixel, ((r, g), b)) in row.chunks_exact(3).zip(targets) {
                (*r, *g, *b) = (pixel[0], pixel[1], pixel[2]);
            }
            continue;
        }
        for ((first, taps), ((r, g), b)) in weights.iter().zip(targets) {
            let mut sums = [HALF; 3];
            for (pixel, &weight) in row[3 * first..].chunks_exact(3).zip(taps) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * weight;
                }
            }
            (*r, *g, *b) = (clip(sums[0]), clip(sums[1]), clip(sums[2]));
        }
    }
}
