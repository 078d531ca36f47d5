//! Small images of one size, all in memory.

use image::{Rgb, RgbImage};

use crate::dataset::Dataset;
use crate::label::Label;
use crate::sample_error::SampleError;

/// One split of a data set whose images are stored as planes: three of them (red, green, blue) or one of gray.
pub(crate) struct Planes {
    pub classes: Vec<String>,
    pub labels: Vec<u8>,
    /// The planes of each image, one after the other.
    pub pixels: Vec<u8>,
    /// Planes of an image: 1 or 3.
    pub channels: usize,
    pub width: u32,
    pub height: u32,
    /// The name of the file or folder.
    pub file: String,
}

impl Dataset for Planes {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn class_names(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> Label {
        Label::Class(self.labels[index].into())
    }

    fn image(&self, index: usize) -> Result<RgbImage, SampleError> {
        let plane = self.width as usize * self.height as usize;
        let planes = &self.pixels[index * self.channels * plane..][..self.channels * plane];
        let mut image = RgbImage::new(self.width, self.height);
        for (at, pixel) in image.pixels_mut().enumerate() {
            *pixel = Rgb([0, 1, 2].map(|channel: usize| planes[channel.min(self.channels - 1) * plane + at]));
        }
        Ok(image)
    }

    fn dimensions(&self, _index: usize) -> Result<(u32, u32), SampleError> {
        Ok((self.width, self.height))
    }

    fn name(&self, index: usize) -> String {
        format!("{}#{index}", self.file)
    }
}
