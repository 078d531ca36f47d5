//! Five or ten crops of each image, by which VOC's images are classified.

use super::extract::{Crops, Extractor};
use crate::EvalError;
use clsa_augment::{AugmentError, Augmenter, CenterCrop, Crop, Layout, Op};
use clsa_data::Dataset;
use clsa_model::Encoder;
use image::RgbImage;

/// Crops of a test image: the corners and the center.
pub const TEST_CROPS: usize = 5;
/// Crops of a training image: the same, and mirrored.
pub const TRAIN_CROPS: usize = 10;

/// The crops of an image: of the image resized as `transform` says the four corners and the center of its crop's size, then all
/// of them mirrored (torchvision's `FiveCrop` and `TenCrop`).
#[derive(Clone, Copy, Debug)]
pub struct CornersAndCenter<'a> {
    /// How images are resized and normalized, and how large a crop is.
    pub transform: &'a CenterCrop,
    /// How many of the crops there are: [`TRAIN_CROPS`] or [`TEST_CROPS`].
    pub count: usize,
}

/// Gives `sink` the features of these crops of each of the samples `indices`. A pass of the encoder is of whole samples:
/// `batch_size` crops or a few more.
///
/// # Errors
/// A sample cannot be read or transformed, the encoder or `sink` fails.
pub fn extract_crops_into(
    encoder: &Encoder,
    dataset: &dyn Dataset,
    indices: &[usize],
    crops: CornersAndCenter<'_>,
    batch_size: usize,
    sink: &mut dyn FnMut(&[f32]) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    let write = |augmenter: &mut Augmenter, _: usize, image: &RgbImage, out: &mut [f32]| {
        write_crops(augmenter, image, crops.transform, out)
    };
    let crops = Crops { side: crops.transform.crop, count: crops.count, write: &write };
    Extractor { encoder, stage: None }.crops(dataset, indices, &crops, batch_size, sink)
}

fn write_crops(
    augmenter: &mut Augmenter,
    image: &RgbImage,
    transform: &CenterCrop,
    out: &mut [f32],
) -> Result<(), AugmentError> {
    let [resize, center] = transform.ops(image.width(), image.height())?;
    let resized = augmenter.apply(image, &[resize])?;
    let side = transform.crop;
    let (right, bottom) = (resized.width() - side, resized.height() - side);
    let corner =
        |x: u32, y: u32| Op::CropResize { crop: Crop { x, y, width: side, height: side }, width: side, height: side };
    let five = [corner(0, 0), corner(right, 0), corner(0, bottom), corner(right, bottom), center];
    for (at, out) in out.chunks_exact_mut(transform.values()).enumerate() {
        let ops = [five[at % TEST_CROPS].clone(), if at < TEST_CROPS { Op::Identity } else { Op::FlipHorizontal }];
        augmenter.apply_into(&resized, &ops, &transform.normalize, Layout::ChannelsLast, out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::extract::images_of_pass;
    use super::*;
    use candle_core::Device;
    use clsa_data::{Source, Split};
    use clsa_model::{Arch, Compute, ModelConfig, Stem};
    use image::imageops::{crop_imm, flip_horizontal};

    #[test]
    fn what_was_interrupted_after_a_pass_goes_on_with_the_same_features() {
        let model = ModelConfig { arch: Arch::Resnet10, width: 0.125, stem: Stem::Cifar, ..ModelConfig::default() };
        let encoder = Encoder::new(&model, Compute::default(), 0, &Device::Cpu).unwrap();
        let images =
            "procedural:classes=2,train=5,test=2,side=20".parse::<Source>().unwrap().open(Split::Train).unwrap();
        let features = |indices: &[usize]| {
            let mut passes = Vec::new();
            let transform = CenterCrop::new(20, 16);
            let crops = CornersAndCenter { transform: &transform, count: TEST_CROPS };
            extract_crops_into(&encoder, images.as_ref(), indices, crops, 8, &mut |rows| {
                passes.push(rows.to_vec());
                Ok(())
            })
            .unwrap();
            passes
        };
        let whole = features(&[0, 1, 2, 3, 4]);
        let block = images_of_pass(8, TEST_CROPS);
        assert_eq!(whole[0].len(), block * TEST_CROPS * encoder.feature_dim());
        assert_eq!(features(&[2, 3, 4]), whole[1..]);
        assert!(features(&[]).is_empty());
    }

    #[test]
    fn ten_crops_are_corners_and_center_and_the_same_mirrored() {
        let image = RgbImage::from_fn(60, 40, |x, y| image::Rgb([4 * x as u8, 6 * y as u8, (x * y) as u8]));
        let transform = CenterCrop::new(20, 16);
        let mut augmenter = Augmenter::new();
        let mut out = vec![0.0; TRAIN_CROPS * transform.values()];
        write_crops(&mut augmenter, &image, &transform, &mut out).unwrap();
        let [resize, _] = transform.ops(60, 40).unwrap();
        let resized = augmenter.apply(&image, &[resize]).unwrap();
        assert_eq!(resized.dimensions(), (30, 20));
        let five = [(0, 0), (14, 0), (0, 4), (14, 4), (7, 2)].map(|(x, y)| crop_imm(&resized, x, y, 16, 16).to_image());
        let mirrored = five.each_ref().map(flip_horizontal);
        for (at, (crop, out)) in five.iter().chain(&mirrored).zip(out.chunks_exact(transform.values())).enumerate() {
            let mut wanted = vec![0.0; transform.values()];
            augmenter.apply_into(crop, &[], &transform.normalize, Layout::ChannelsLast, &mut wanted).unwrap();
            assert!(out == wanted, "crop {at}");
        }
    }
}
