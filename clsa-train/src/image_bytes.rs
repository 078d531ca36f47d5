//! Images as bytes, which ranks exchange in a quarter of the memory of numbers.

use candle_core::{DType, Result, Tensor};

/// The images of a view as bytes, and what these stand for.
#[derive(Clone, Debug)]
pub struct ImageBytes {
    /// (N, H, W, 3), of u8.
    pub pixels: Tensor,
    /// The number that each byte of each channel stands for, (3, 256).
    pub tables: Tensor,
}

impl ImageBytes {
    /// The images (N, 3, H, W), channels last in memory, that pixels (N, H, W, 3) stand for.
    ///
    /// # Errors
    /// A shape or a device is another one.
    pub fn normalized(&self, pixels: &Tensor) -> Result<Tensor> {
        let (n, height, width, channels) = pixels.dims4()?;
        let (of_channels, levels) = self.tables.dims2()?;
        if (channels, levels) != (of_channels, 256) {
            candle_core::bail!(
                "bytes of {channels} channels need as many tables of 256 numbers, not {of_channels} of {levels}"
            );
        }
        let first = Tensor::arange_step(0, 256 * channels as u32, 256, pixels.device())?;
        let places = pixels.to_dtype(DType::U32)?.broadcast_add(&first)?.flatten_all()?;
        let numbers = self.tables.flatten_all()?.index_select(&places, 0)?;
        numbers.reshape((n, height, width, channels))?.permute((0, 3, 1, 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use clsa_augment::{Augmenter, Layout, SampleId, ViewPlan};
    use clsa_data::image::{Rgb, RgbImage};

    #[test]
    fn bytes_stand_for_the_numbers_that_the_same_view_has_without_them() {
        let image = RgbImage::from_fn(48, 40, |x, y| Rgb([5 * x as u8, 6 * y as u8, (x * y) as u8]));
        let plan = ViewPlan::single();
        let id = SampleId { seed: 3, epoch: 1, sample: 2 };
        let mut augmenter = Augmenter::new();
        for (id, view) in id.views(&plan) {
            let side = view.size as usize;
            let (mut bytes, mut numbers) = (vec![0u8; 3 * side * side], vec![0f32; 3 * side * side]);
            augmenter.write(&image, view, id, Layout::ChannelsLast, &mut bytes[..]).unwrap();
            augmenter.write(&image, view, id, Layout::ChannelsLast, &mut numbers[..]).unwrap();
            let tables = Tensor::from_vec(view.normalize.tables().concat(), (3, 256), &Device::Cpu).unwrap();
            let pixels = Tensor::from_vec(bytes, (1, side, side, 3), &Device::Cpu).unwrap();
            let images = ImageBytes { pixels: pixels.clone(), tables }.normalized(&pixels).unwrap();
            assert_eq!(images.dims(), [1, 3, side, side]);
            let got = images.permute((0, 2, 3, 1)).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(got, numbers);
        }
    }
}
