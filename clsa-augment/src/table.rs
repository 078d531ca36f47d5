//! Operations on single values: look-up tables, which compose, and the statistics that some of them need.

use crate::color::{blend, luma};
use crate::planes::Planes;

/// What each value of one channel becomes.
pub(crate) type Table = [u8; 256];
/// Number of pixels of each value in one channel.
pub(crate) type Histogram = [u32; 256];

pub(crate) fn table(f: impl Fn(u8) -> u8) -> Table {
    std::array::from_fn(|value| f(value as u8))
}

/// `ImageOps.posterize`.
pub(crate) fn posterize(bits: u32) -> Table {
    let mask = (0xFF00_u32 >> bits) as u8;
    table(|value| value & mask)
}

/// `ImageOps.solarize`.
pub(crate) fn solarize(threshold: u32) -> Table {
    table(|value| if u32::from(value) < threshold { value } else { 255 - value })
}

/// Adds with clipping, then solarizes at 128.
pub(crate) fn solarize_add(addend: i32) -> Table {
    let solarize = solarize(128);
    table(|value| solarize[i32::from(value).saturating_add(addend).clamp(0, 255) as usize])
}

/// `ImageOps.autocontrast` of a channel with this histogram.
pub(crate) fn auto_contrast(histogram: &Histogram) -> Table {
    let low = histogram.iter().position(|&n| n > 0).unwrap_or(0);
    let high = histogram.iter().rposition(|&n| n > 0).unwrap_or(0);
    if high <= low {
        return table(|value| value);
    }
    let scale = 255.0 / (high - low) as f64;
    let offset = -(low as f64) * scale;
    table(|value| (f64::from(value) * scale + offset) as u8)
}

/// `ImageOps.equalize` of a channel with this histogram.
pub(crate) fn equalize(histogram: &Histogram) -> Table {
    let total: u32 = histogram.iter().sum();
    let last = histogram.iter().rev().copied().find(|&n| n > 0).unwrap_or(0);
    let step = (total - last) / 255;
    if step == 0 {
        return table(|value| value);
    }
    let mut n = step / 2;
    // The quotient reaches 255 at most, except past the last value that occurs.
    histogram.map(|count| {
        let value = (n / step).min(255) as u8;
        n += count;
        value
    })
}

/// `ImageEnhance.Contrast` of an image whose mean luma is `mean`.
pub(crate) fn contrast(mean: u8, factor: f64) -> Table {
    table(|value| blend(mean, value, factor as f32))
}

/// `ImageEnhance.Brightness`.
pub(crate) fn brightness(factor: f64) -> Table {
    table(|value| blend(0, value, factor as f32))
}

/// Tables that wait to be applied to the three channels, so that a run of such operations costs one pass.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    tables: [Table; 3],
    identity: bool,
}

impl Pending {
    pub fn new() -> Self {
        Self { tables: [table(|value| value); 3], identity: true }
    }

    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// Puts `next` after what is pending, for all channels.
    pub fn push(&mut self, next: &Table) {
        self.push_each([next, next, next]);
    }

    pub fn push_each(&mut self, next: [&Table; 3]) {
        for (table, next) in self.tables.iter_mut().zip(next) {
            *table = table.map(|value| next[value as usize]);
        }
        self.identity = false;
    }

    /// Applies what is pending to the image and forgets it.
    pub fn flush(&mut self, image: &mut Planes) {
        if self.identity {
            return;
        }
        for (plane, table) in image.rgb_mut().into_iter().zip(&self.tables) {
            for value in plane {
                *value = table[*value as usize];
            }
        }
        self.clear();
    }

    /// The histogram of each channel as it will be once what is pending has been applied.
    pub fn histograms(&self, image: &Planes) -> [Histogram; 3] {
        let planes = image.rgb();
        std::array::from_fn(|channel| {
            let before = histogram(planes[channel]);
            if self.identity {
                return before;
            }
            let mut after = [0; 256];
            for (count, &value) in before.iter().zip(&self.tables[channel]) {
                after[value as usize] += count;
            }
            after
        })
    }

    /// The mean luma as `ImageEnhance.Contrast` rounds it, once what is pending has been applied.
    pub fn mean_luma(&self, image: &Planes) -> u8 {
        let [r, g, b] = image.rgb();
        let pixels = r.iter().zip(g).zip(b);
        let sum: u64 = if self.identity {
            // Rows of 4096 keep the inner sum in 32 bits.
            let rows = r.chunks(4096).zip(g.chunks(4096)).zip(b.chunks(4096));
            rows.map(|((r, g), b)| {
                let sum: u32 = r.iter().zip(g).zip(b).map(|((&r, &g), &b)| u32::from(luma(r, g, b))).sum();
                u64::from(sum)
            })
            .sum()
        } else {
            let [tr, tg, tb] = &self.tables;
            pixels
                .map(|((&r, &g), &b)| u64::from(luma(tr[r as usize], tg[g as usize], tb[b as usize])))
                .sum()
        };
        (sum as f64 / r.len() as f64 + 0.5) as u8
    }
}

/// Counts the values. Four partial histograms, so that runs of one value do not wait for their own increments.
fn histogram(plane: &[u8]) -> Histogram {
    let mut partial = [[0_u32; 256]; 4];
    let (chunks, rest) = plane.as_chunks::<4>();
    for chunk in chunks {
        for (counts, &value) in partial.iter_mut().zip(chunk) {
            counts[value as usize] += 1;
        }
    }
    for &value in rest {
        partial[0][value as usize] += 1;
    }
    std::array::from_fn(|value| partial.iter().map(|counts| counts[value]).sum())
}
