//! Operations on single values: look-up tables, which compose, and the statistics that some of them need.

use crate::color::{blend, blend_from};
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

/// What waits to be done to the values of the three channels, so that a run of such operations costs one pass.
#[derive(Clone, Debug, Default)]
pub(crate) enum Pending {
    /// Nothing.
    #[default]
    Nothing,
    /// One blend, which needs no table.
    Blend {
        /// The value blended from.
        from: u8,
        /// How far to go to the image's value.
        alpha: f32,
    },
    /// Tables, by channel.
    Tables(Box<[Table; 3]>),
}

impl Pending {
    /// Puts a blend after what is pending.
    pub fn push_blend(&mut self, from: u8, alpha: f32) {
        match self {
            Self::Nothing => *self = Self::Blend { from, alpha },
            _ => self.push(&table(|value| blend(from, value, alpha))),
        }
    }

    /// Puts a table after what is pending, for all channels.
    pub fn push(&mut self, next: &Table) {
        self.push_each([next, next, next]);
    }

    /// Puts a table for each channel after what is pending.
    pub fn push_each(&mut self, next: [&Table; 3]) {
        let mut tables = self.tables();
        for (table, next) in tables.iter_mut().zip(next) {
            *table = table.map(|value| next[value as usize]);
        }
        *self = Self::Tables(Box::new(tables));
    }

    /// What is pending in the form of tables.
    pub fn tables(&self) -> [Table; 3] {
        match self {
            Self::Nothing => [table(|value| value); 3],
            Self::Blend { from, alpha } => [table(|value| blend(*from, value, *alpha)); 3],
            Self::Tables(tables) => **tables,
        }
    }

    /// Applies what is pending to the image and forgets it.
    pub fn flush(&mut self, image: &mut Planes) {
        match std::mem::take(self) {
            Self::Nothing => {}
            Self::Blend { from, alpha } => blend_from(image, from, alpha),
            Self::Tables(tables) => {
                for (plane, table) in image.rgb_mut().into_iter().zip(&*tables) {
                    for value in plane {
                        *value = table[*value as usize];
                    }
                }
            }
        }
    }

    /// The histogram of each channel as it will be once what is pending has been applied.
    pub fn histograms(&self, image: &Planes) -> [Histogram; 3] {
        let tables = self.tables();
        let planes = image.rgb();
        std::array::from_fn(|channel| {
            let mut after = [0; 256];
            for (count, &value) in histogram(planes[channel]).iter().zip(&tables[channel]) {
                after[value as usize] += count;
            }
            after
        })
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
