//! Rows of a component at the resolution of the image: what libjpeg's `jdsample.c` makes of the components that have fewer
//! samples than there are pixels, by its "fancy" interpolation where it has one.

use multiversion::multiversion;

use super::frame::{Component, Frame};
use super::plane::Plane;
use super::refusal::Refusal;

/// How rows of samples become rows of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// There is a sample for every pixel.
    None,
    /// There is a sample between every two pixels side by side, as in the chroma of 4:2:2: interpolation.
    Across,
    /// There is a sample between every two pixels above each other, as in the chroma of 4:4:0: interpolation.
    Down,
    /// There is a sample amid every four pixels, as in the chroma of 4:2:0: interpolation.
    Both,
    /// There is a sample for so many pixels, side by side and above each other: it is repeated.
    Repeat(usize, usize),
}

/// The rows of one component.
pub(super) struct Upsampler {
    method: Method,
    /// Samples of the component, side by side and above each other.
    across: usize,
    down: usize,
    /// Pixels side by side.
    width: usize,
    sums: Vec<u16>,
    pixels: Vec<u8>,
}

impl Upsampler {
    pub(super) fn new(frame: &Frame, component: &Component) -> Result<Self, Refusal> {
        let (horizontal, vertical) = frame.largest();
        let (across, down) = frame.samples(component);
        if horizontal % component.horizontal != 0 || vertical % component.vertical != 0 {
            return Err(Refusal::faulty("the sampling factors of a component do not divide those of another"));
        }
        // Where there are only two samples side by side, libjpeg does not interpolate across.
        let method = match (horizontal / component.horizontal, vertical / component.vertical) {
            (1, 1) => Method::None,
            (2, 1) if across > 2 => Method::Across,
            (1, 2) => Method::Down,
            (2, 2) if across > 2 => Method::Both,
            (horizontal, vertical) => Method::Repeat(horizontal, vertical),
        };
        let room = match method {
            Method::None => 0,
            Method::Across | Method::Both => 2 * across,
            Method::Down | Method::Repeat(..) => frame.width,
        };
        let sums = vec![0; if method == Method::Both { across } else { 0 }];
        Ok(Self { method, across, down, width: frame.width, sums, pixels: vec![0; room] })
    }

    /// The component at the pixels of row `y`.
    pub(super) fn row<'a>(&'a mut self, plane: &'a Plane, y: usize) -> &'a [u8] {
        let row = |row: usize| &plane.row(row)[..self.across];
        // The two rows of samples that a row of pixels is between, the nearer one first.
        let below = y % 2 == 1;
        let other = if below { (y / 2 + 1).min(self.down - 1) } else { (y / 2).saturating_sub(1) };
        match self.method {
            Method::None => return &plane.row(y)[..self.width],
            Method::Across => across(row(y), &mut self.pixels),
            Method::Down => down(row(y / 2), row(other), below, &mut self.pixels),
            Method::Both => both(row(y / 2), row(other), &mut self.sums, &mut self.pixels),
            Method::Repeat(horizontal, vertical) => {
                let pixels = self.pixels.chunks_mut(horizontal);
                pixels.zip(row(y / vertical)).for_each(|(pixels, &sample)| pixels.fill(sample));
            }
        }
        &self.pixels[..self.width]
    }
}

/// Twice as many pixels as there are samples, as libjpeg's `h2v1_fancy_upsample` makes them.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2"))]
fn across(samples: &[u8], pixels: &mut [u8]) {
    let (Some(&left), Some(&right)) = (samples.first(), samples.last()) else { return };
    let [first, inner @ .., last] = pixels else { return };
    (*first, *last) = (left, right);
    for ((pair, &left), &right) in inner.as_chunks_mut::<2>().0.iter_mut().zip(samples).zip(&samples[1..]) {
        let (left, right) = (u16::from(left), u16::from(right));
        *pair = [((3 * left + right + 2) >> 2) as u8, ((3 * right + left + 1) >> 2) as u8];
    }
}

/// A row between two rows, of which it is three times as far from `other`, above or below it, as libjpeg's
/// `h1v2_fancy_upsample` makes it.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2"))]
fn down(near: &[u8], other: &[u8], below: bool, pixels: &mut [u8]) {
    let bias = if below { 2 } else { 1 };
    for ((pixel, &near), &other) in pixels.iter_mut().zip(near).zip(other) {
        *pixel = ((3 * u16::from(near) + u16::from(other) + bias) >> 2) as u8;
    }
}

/// A row of twice as many pixels as a row has samples between two rows, of which it is three times as far from `other`,
/// as libjpeg's `h2v2_fancy_upsample` makes it. `sums` has room for a row.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2"))]
fn both(near: &[u8], other: &[u8], sums: &mut [u16], pixels: &mut [u8]) {
    for ((sum, &near), &other) in sums.iter_mut().zip(near).zip(other) {
        *sum = 3 * u16::from(near) + u16::from(other);
    }
    let (Some(&left), Some(&right)) = (sums.first(), sums.last()) else { return };
    let [first, inner @ .., last] = pixels else { return };
    (*first, *last) = (((4 * left + 8) >> 4) as u8, ((4 * right + 7) >> 4) as u8);
    for ((pair, &left), &right) in inner.as_chunks_mut::<2>().0.iter_mut().zip(&*sums).zip(&sums[1..]) {
        *pair = [((3 * left + right + 7) >> 4) as u8, ((3 * right + left + 8) >> 4) as u8];
    }
}
