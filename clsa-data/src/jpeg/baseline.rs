//! The JPEG files that nearly all data sets consist of, faster than the library has them: baseline, in one scan, without
//! restarts, with colours of full, half or quarter resolution. Huffman decoding is ours; the inverse transform and the colours are the library's.
//!
//! What is not of this kind, and what is damaged, is left to the library as a whole, so the two never differ in a pixel but for
//! CMYK with subsampled inks, which the library has wrong.

use image::RgbImage;
use libjpeg_turbo_rs::common::types::ComponentInfo;
use libjpeg_turbo_rs::decode::marker::JpegMetadata;
use libjpeg_turbo_rs::simd;

use super::colour::{self, Colours};
use super::entropy::{Bits, Codes, block};

/// Samples of one component, in rows of whole blocks.
pub(super) struct Plane {
    samples: Vec<u8>,
    stride: usize,
}

impl Plane {
    /// The first `width` samples of a row.
    pub(super) fn row(&self, row: usize, width: usize) -> &[u8] {
        &self.samples[row * self.stride..][..width]
    }
}

/// A component of the scan.
struct Component<'a> {
    dc: Codes<'a>,
    ac: Codes<'a>,
    quantisers: &'a [u16; 64],
    /// Blocks side by side, and above each other, in a unit of the scan.
    blocks: (usize, usize),
}

/// Decodes `bytes` at full scale, if they are of this kind and whole.
pub(super) fn decode(bytes: &[u8], metadata: &JpegMetadata) -> Option<RgbImage> {
    let frame = &metadata.frame;
    let one_scan = metadata.scans.len() <= 1
        && metadata
            .scan
            .components
            .iter()
            .map(|selector| selector.component_id)
            .eq(frame.components.iter().map(|c| c.id));
    if frame.is_progressive
        || frame.is_lossless
        || metadata.is_arithmetic
        || metadata.restart_interval != 0
        || !one_scan
    {
        return None;
    }
    let colours = Colours::of(metadata)?;
    let components = metadata.scan.components.iter().zip(&frame.components).map(|(selector, component)| {
        Some(Component {
            dc: Codes::new(metadata.dc_huffman_tables.get(usize::from(selector.dc_table_index))?.as_deref()?),
            ac: Codes::new(metadata.ac_huffman_tables.get(usize::from(selector.ac_table_index))?.as_deref()?),
            quantisers: &metadata.quant_tables.get(usize::from(component.quant_table_index))?.as_ref()?.values,
            // The only component of a scan comes block by block, whatever its factors.
            blocks: if frame.components.len() == 1 { (1, 1) } else { sampling(component) },
        })
    });
    let components: Vec<_> = components.collect::<Option<_>>()?;
    let (width, height) = (frame.width(), frame.height());
    let (across, down) = components[0].blocks;
    let units = (width.div_ceil(8 * across), height.div_ceil(8 * down));
    let planes = planes(Bits::new(bytes.get(metadata.entropy_data_offset..)?), &components, units)?;
    colour::to_rgb(&planes, &colours, width, height)
}

/// Sampling factors, horizontal and vertical.
pub(super) fn sampling(component: &ComponentInfo) -> (usize, usize) {
    (component.horizontal_sampling.into(), component.vertical_sampling.into())
}

/// Decodes the scan's units, so many side by side and above each other.
fn planes(mut bits: Bits, components: &[Component], units: (usize, usize)) -> Option<Vec<Plane>> {
    let plane = |component: &Component| {
        let stride = 8 * units.0 * component.blocks.0;
        Plane { samples: vec![0; stride * 8 * units.1 * component.blocks.1], stride }
    };
    let mut planes: Vec<_> = components.iter().map(plane).collect();
    let mut predictions = vec![0; components.len()];
    let mut coefficients = [0; 64];
    let transform = simd::detect().idct_islow;
    for unit_row in 0..units.1 {
        for unit in 0..units.0 {
            for ((component, plane), prediction) in components.iter().zip(&mut planes).zip(&mut predictions) {
                let (across, down) = component.blocks;
                for row in unit_row * down..(unit_row + 1) * down {
                    for column in unit * across..(unit + 1) * across {
                        let flat = block(&mut bits, &component.dc, &component.ac, prediction, &mut coefficients)?;
                        let samples = &mut plane.samples[8 * (row * plane.stride + column)..];
                        let rows = samples.chunks_mut(plane.stride).take(8);
                        let mean = i32::from(coefficients[0]) * i32::from(component.quantisers[0]);
                        // Beyond, the transform's 16 bits overflow.
                        if flat && mean.abs() < 1 << 13 {
                            let sample = (((mean + 4) >> 3) + 128).clamp(0, 255) as u8;
                            rows.for_each(|row| row[..8].fill(sample));
                        } else {
                            let mut samples = [0; 64];
                            transform(&coefficients, component.quantisers, &mut samples);
                            rows.zip(samples.as_chunks::<8>().0).for_each(|(row, from)| row[..8].copy_from_slice(from));
                        }
                    }
                }
            }
        }
        if bits.overdrawn() {
            return None;
        }
    }
    Some(planes)
}
