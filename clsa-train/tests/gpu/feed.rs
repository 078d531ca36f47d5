//! Images on their way to the GPU.

use crate::{f64s, gpu};
use candle_core::Tensor;
use clsa_train::ImageBytes;

#[test]
fn bytes_become_the_numbers_of_their_tables_while_others_are_copied() {
    let Some(gpu) = gpu() else { return };
    let feeder = clsa_cuda::Feeder::new(&gpu).unwrap();
    let tables = clsa_augment::Normalize::IMAGENET.tables();
    let on_gpu = Tensor::from_vec(tables.concat(), (3, 256), &gpu).unwrap();
    let mut batches = Vec::new();
    for (i, (images, side)) in [(3, 5), (16, 16), (64, 96), (256, 224), (1, 1), (32, 33)].into_iter().enumerate() {
        let mut bytes = feeder.allocate(images * side * side * 3).unwrap();
        bytes.iter_mut().enumerate().for_each(|(k, byte)| *byte = ((k * 7919 + i * 31) >> 3) as u8);
        batches.push((bytes, images, side));
    }
    let mut ahead = None;
    for (bytes, images, side) in &batches {
        let now = ahead.replace((feeder.upload(bytes, *images, *side).unwrap(), bytes, *images, *side));
        let Some((upload, bytes, images, side)) = now else { continue };
        let tensor = upload.to_tensor(&on_gpu).unwrap();
        assert_eq!(tensor.dims(), [images, 3, side, side]);
        let got = tensor.permute((0, 2, 3, 1)).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let wrong =
            got.iter().zip(bytes.iter()).enumerate().position(|(k, (got, &byte))| *got != tables[k % 3][byte as usize]);
        assert_eq!(wrong, None, "{images} images of {side} pixels");
        let as_bytes = ImageBytes { pixels: upload.to_bytes().unwrap(), tables: on_gpu.clone() };
        let pixels = as_bytes.pixels.flatten_all().unwrap().to_vec1::<u8>().unwrap();
        assert!(pixels == bytes[..pixels.len()], "{images} images of {side} pixels as bytes");
        let again = as_bytes.normalized(&as_bytes.pixels).unwrap();
        assert!(f64s(&again) == f64s(&tensor), "{images} images of {side} pixels, made of bytes");
    }
}
