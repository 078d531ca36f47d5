//! Features of a data set, by an encoder and without one.

mod small;

use candle_core::{DType, Device, Tensor};
use clsa_augment::{Augmenter, CenterCrop, Layout};
use clsa_data::{Source, Split};
use clsa_eval::EvalError;
use clsa_eval::features::{extract, raw_pixels};
use small::encoder;

#[test]
fn extraction_gives_each_sample_its_own_feature_and_label_in_order() {
    let source: Source = "procedural:classes=3,train=10,test=10,side=16".parse().unwrap();
    let data = source.open(Split::Train).unwrap();
    let (encoder, transform) = (encoder(0), CenterCrop::new(16, 16));
    let indices = [7, 2, 9, 0, 4];
    let last = std::cell::Cell::new((0, 0));
    let features = extract(&encoder, data.as_ref(), &indices, &transform, 2, &|done, of| last.set((done, of))).unwrap();
    assert_eq!((features.len(), features.dim, last.get()), (5, encoder.feature_dim(), (5, 5)));
    assert_eq!(features.labels, [1, 2, 0, 0, 1]);
    for (row, &index) in indices.iter().enumerate() {
        let mut pixels = vec![0.0; transform.values()];
        let image = data.image(index).unwrap();
        transform.write(&mut Augmenter::new(), &image, Layout::ChannelsFirst, &mut pixels).unwrap();
        let image = Tensor::from_vec(pixels, (1, 3, 16, 16), &Device::Cpu).unwrap();
        let alone = encoder.features(&image).unwrap().to_dtype(DType::F32).unwrap();
        let alone = alone.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (a, b) in alone.iter().zip(features.row(row)) {
            assert!((a - b).abs() <= 1e-4 * (1.0 + a.abs()), "sample {index}: {a} {b}");
        }
    }
}

#[test]
fn raw_pixels_are_the_normalized_values_of_the_resized_image() {
    let source: Source = "procedural:classes=3,train=10,test=10,side=16".parse().unwrap();
    let data = source.open(Split::Test).unwrap();
    let features = raw_pixels(data.as_ref(), &[4], 16).unwrap();
    assert_eq!((features.dim, features.labels.as_slice()), (3 * 16 * 16, &[1][..]));
    let image = data.image(4).unwrap();
    let red = (f32::from(image.get_pixel(5, 3)[0]) / 255.0 - 0.485) / 0.229;
    assert!((features.values[3 * 16 + 5] - red).abs() < 1e-6);
    assert_eq!(raw_pixels(data.as_ref(), &[4], 8).unwrap().dim, 3 * 8 * 8);
    for side in [0, 16_385, u32::MAX] {
        let error = raw_pixels(data.as_ref(), &[4], side).unwrap_err();
        assert!(matches!(error, EvalError::Setting { key: "side", .. }), "{error}");
    }
}

#[test]
fn an_unlabeled_sample_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    image::RgbImage::new(8, 8).save(folder.path().join("a.png")).unwrap();
    let source: Source = format!("flat:{}", folder.path().display()).parse().unwrap();
    let data = source.open(Split::Train).unwrap();
    let error = raw_pixels(data.as_ref(), &[0], 8).unwrap_err();
    assert!(matches!(&error, EvalError::NoClass { sample } if sample.contains("a.png")), "{error}");
}
