//! What the interface promises: reproducible views, both layouts, errors that name what is wrong.

mod images;

use clsa_augment::{
    AugmentError, Augmenter, CenterCrop, Crop, Layout, Normalize, Op, SampleId, View, ViewId, ViewPlan,
};
use image::RgbImage;
use proptest::prelude::*;

fn photo() -> RgbImage {
    images::read("flower.png")
}

fn noise(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let z = x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503).wrapping_add(977);
        image::Rgb([(z >> 3) as u8, (z >> 11) as u8, (z >> 19) as u8])
    })
}

fn id(sample: u64, view: u32) -> ViewId {
    ViewId { seed: 1, epoch: 0, sample, view }
}

#[test]
fn a_view_depends_on_its_id_alone() {
    let (photo, plan) = (photo(), ViewPlan::multi());
    let mut fresh = Vec::new();
    for (index, view) in plan.views().enumerate() {
        fresh.push(Augmenter::new().image(&photo, view, id(5, index as u32)).unwrap());
    }
    // In another order, from one augmenter that has made other things in between.
    let mut augmenter = Augmenter::new();
    for (index, view) in plan.views().enumerate().collect::<Vec<_>>().into_iter().rev() {
        augmenter.image(&noise(50, 300), &View::default(), id(9, 2)).unwrap();
        assert_eq!(augmenter.image(&photo, view, id(5, index as u32)).unwrap(), fresh[index]);
    }
}

#[test]
fn every_part_of_the_id_changes_the_draws() {
    let view = View::default();
    let base = ViewId { seed: 1, epoch: 2, sample: 3, view: 4 };
    let others = [
        ViewId { seed: 2, ..base },
        ViewId { epoch: 3, ..base },
        ViewId { sample: 4, ..base },
        ViewId { view: 5, ..base },
        ViewId { epoch: 3, sample: 2, ..base },
    ];
    let draw = |id| view.draw(500, 400, id).unwrap();
    for other in others {
        assert_ne!(draw(base), draw(other), "{other:?}");
    }
}

#[test]
fn both_layouts_hold_the_normalized_values_of_the_image() {
    let (photo, mut augmenter) = (photo(), Augmenter::new());
    let mut plan = ViewPlan::single();
    plan.weak[0].normalize = Normalize { mean: [0.1, 0.2, 0.3], std: [0.6, 0.5, 0.4] };
    for sample in 0..20 {
        for (index, view) in plan.views().enumerate() {
            let id = id(sample, index as u32);
            let image = augmenter.image(&photo, view, id).unwrap();
            let (mut first, mut last) = (vec![0.0; view.values()], vec![0.0; view.values()]);
            augmenter.write(&photo, view, id, Layout::ChannelsFirst, &mut first).unwrap();
            augmenter.write(&photo, view, id, Layout::ChannelsLast, &mut last).unwrap();
            let Normalize { mean, std } = view.normalize;
            for (place, pixel) in image.pixels().enumerate() {
                for channel in 0..3 {
                    let value = (f32::from(pixel[channel]) / 255.0 - mean[channel]) / std[channel];
                    assert_eq!(first[channel * (view.size * view.size) as usize + place], value);
                    assert_eq!(last[3 * place + channel], value);
                }
            }
        }
    }
}

#[test]
fn plans_have_the_papers_views() {
    let shapes = |views: &[View]| views.iter().map(|v| (v.size, v.scale)).collect::<Vec<_>>();
    let multi = vec![
        (224, (0.2, 1.0)),
        (192, (0.172, 0.86)),
        (160, (0.143, 0.715)),
        (128, (0.114, 0.571)),
        (96, (0.086, 0.429)),
    ];
    for plan in [ViewPlan::single(), ViewPlan::multi(), ViewPlan::moco_v2()] {
        assert_eq!(shapes(std::slice::from_ref(&plan.key)), multi[..1]);
        assert!(plan.key.strong.is_none());
    }
    assert_eq!(shapes(&ViewPlan::multi().weak), multi);
    assert_eq!(shapes(&ViewPlan::multi().strong), multi);
    assert_eq!(shapes(&ViewPlan::single().weak), multi[..1]);
    assert_eq!(shapes(&ViewPlan::single().strong), multi[4..]);
    assert_eq!(ViewPlan::moco_v2().len(), 2);
    let small = ViewPlan::small(32);
    assert!(small.views().all(|view| view.size == 32 && view.blur.is_none()));
    for plan in [ViewPlan::single(), ViewPlan::multi(), ViewPlan::moco_v2(), small] {
        plan.validate().unwrap();
        assert_eq!(plan.len(), plan.views().count());
        assert!(plan.weak.iter().all(|view| view.strong.is_none()));
        assert!(plan.strong.iter().all(|view| view.strong.is_some()));
    }
}

#[test]
fn images_without_pixels_are_refused_with_their_size() {
    let empty = RgbImage::new(0, 7);
    let error = Augmenter::new().image(&empty, &View::default(), id(0, 0)).unwrap_err();
    assert_eq!(error, AugmentError::EmptyImage { width: 0, height: 7 });
    assert!(error.to_string().contains("0x7"), "{error}");
    let error = CenterCrop::default().image(&mut Augmenter::new(), &empty).unwrap_err();
    assert_eq!(error, AugmentError::EmptyImage { width: 0, height: 7 });
}

#[test]
fn crops_outside_the_image_are_refused_with_both_sizes() {
    let image = noise(20, 10);
    for (x, y, width, height) in [(0, 0, 21, 10), (15, 0, 6, 1), (0, 0, 0, 5), (u32::MAX, 0, 2, 2)] {
        let op = Op::CropResize { crop: Crop { x, y, width, height }, width: 4, height: 4 };
        let error = Augmenter::new().apply(&image, std::slice::from_ref(&op)).unwrap_err();
        assert!(matches!(error, AugmentError::CropOutside { width: 20, height: 10, .. }), "{error}");
        let error = Augmenter::new().apply(&image, &[Op::Invert, op]).unwrap_err();
        assert!(matches!(error, AugmentError::CropOutside { width: 20, height: 10, .. }), "{error}");
    }
}

#[test]
fn a_center_crop_larger_than_the_resized_image_is_refused() {
    for (crop, message) in [
        (CenterCrop::new(64, 65), "crop is 65, but it must be at least 1 pixel and at most `resize`"),
        (CenterCrop::new(64, 0), "crop is 0, but"),
        (CenterCrop::new(u32::MAX, 1), "resize is 4294967295, but"),
        (
            CenterCrop { normalize: Normalize { std: [1.0, 0.0, 1.0], ..Normalize::NONE }, ..CenterCrop::default() },
            "normalize.std is",
        ),
    ] {
        let error = crop.image(&mut Augmenter::new(), &noise(90, 80)).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
    // A long image becomes longer than any image may be.
    let error = CenterCrop::default().image(&mut Augmenter::new(), &noise(1, 500)).unwrap_err().to_string();
    assert!(error.contains("1x500 pixels cannot be made 256x128000"), "{error}");
}

#[test]
fn statistics_that_would_write_no_numbers_are_refused() {
    let normalize = Normalize { mean: [0.0, f32::NAN, 0.0], ..Normalize::NONE };
    let mut out = vec![0.0; 3 * 8 * 8];
    let error = Augmenter::new().apply_into(&noise(8, 8), &[], &normalize, Layout::ChannelsLast, &mut out).unwrap_err();
    assert!(error.to_string().starts_with("normalize.mean is"), "{error}");
}

#[test]
fn all_views_at_once_are_the_views_one_by_one() {
    let (photo, plan, mut augmenter) = (photo(), ViewPlan::multi(), Augmenter::new());
    let sample = SampleId { seed: 1, epoch: 0, sample: 5 };
    let one_by_one: Vec<_> = (plan.views().enumerate())
        .map(|(index, view)| Augmenter::new().image(&photo, view, id(5, index as u32)).unwrap())
        .collect();
    assert_eq!(augmenter.views(&photo, &plan, sample).unwrap(), one_by_one);
    let mut written: Vec<Vec<f32>> = plan.views().map(|view| vec![0.0; view.values()]).collect();
    let mut out: Vec<&mut [f32]> = written.iter_mut().map(Vec::as_mut_slice).collect();
    augmenter.write_views(&photo, &plan, sample, Layout::ChannelsLast, &mut out).unwrap();
    for (index, (view, written)) in plan.views().zip(&written).enumerate() {
        let mut alone = vec![0.0; view.values()];
        augmenter.write(&photo, view, id(5, index as u32), Layout::ChannelsLast, &mut alone).unwrap();
        assert_eq!(written, &alone);
    }
    let mut few: Vec<&mut [f32]> = written.iter_mut().skip(1).map(Vec::as_mut_slice).collect();
    let error = augmenter.write_views(&photo, &plan, sample, Layout::ChannelsLast, &mut few).unwrap_err();
    assert_eq!(error, AugmentError::Buffers { expected: 11, actual: 10 });
}

#[test]
fn buffers_of_the_wrong_length_are_refused() {
    let view = View::weak(16, (0.2, 1.0));
    let mut out = vec![0.0; 3 * 16 * 16 - 1];
    let error = Augmenter::new().write(&noise(40, 40), &view, id(0, 0), Layout::ChannelsFirst, &mut out).unwrap_err();
    assert_eq!(error, AugmentError::Buffer { width: 16, height: 16, expected: 768, actual: 767 });
    let resize: Op = "crop_resize=0,0,40,40,16,8".parse().unwrap();
    let (normalize, layout) = (Normalize::NONE, Layout::ChannelsLast);
    let error = Augmenter::new().apply_into(&noise(40, 40), &[resize], &normalize, layout, &mut out).unwrap_err();
    assert_eq!(error.to_string(), "the view of 16x8 needs a buffer of 384 values, not 767");
}

#[test]
fn one_pixel_images_make_every_view() {
    let mut augmenter = Augmenter::new();
    for (width, height) in [(1, 1), (1, 500), (500, 1), (2, 3)] {
        for (index, view) in ViewPlan::multi().views().enumerate() {
            for sample in 0..30 {
                let image = augmenter.image(&noise(width, height), view, id(sample, index as u32)).unwrap();
                assert_eq!(image.dimensions(), (view.size, view.size));
            }
        }
    }
}

proptest! {
    #[test]
    fn crops_lie_inside_the_image(
        width in 1_u32..700, height in 1_u32..700, low in 0.01_f64..1.0, span in 0.0_f64..1.0, sample: u64,
    ) {
        let view = View { scale: (low, (low + span * (1.0 - low)).min(1.0)), ..View::default() };
        let ops = view.draw(width, height, id(sample, 0)).unwrap();
        let Op::CropResize { crop, .. } = ops[0] else { panic!("the first operation is {}", ops[0]) };
        prop_assert!(crop.width > 0 && crop.x + crop.width <= width);
        prop_assert!(crop.height > 0 && crop.y + crop.height <= height);
    }

    #[test]
    fn the_text_form_of_an_operation_reads_back(sample: u64) {
        let view = View { strong: Some(clsa_augment::StrongPolicy::extended()), ..View::default() };
        for op in view.draw(300, 200, id(sample, 0)).unwrap() {
            prop_assert_eq!(op.to_string().parse::<Op>().unwrap(), op);
        }
    }

    #[test]
    fn look_up_operations_in_a_row_equal_one_after_another(first in 0_usize..10, second in 0_usize..10, third in 0_usize..10) {
        let ops: Vec<Op> = ["autocontrast", "equalize", "invert", "posterize=5", "solarize=99", "solarize_add=31",
            "brightness=0.6", "brightness=1.3", "contrast=0.7", "hflip"].map(|text| text.parse().unwrap()).to_vec();
        let chain = [first, second, third].map(|place| ops[place].clone());
        let mut augmenter = Augmenter::new();
        let together = augmenter.apply(&photo(), &chain).unwrap();
        let apart = chain.iter().fold(photo(), |image, op| augmenter.apply(&image, std::slice::from_ref(op)).unwrap());
        prop_assert_eq!(together, apart);
    }
}

#[test]
fn bytes_by_their_tables_are_the_normalized_values() {
    let (photo, view) = (noise(60, 50), View::strong(24, (0.3, 1.0)));
    let tables = view.normalize.tables();
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let (mut values, mut bytes) = (vec![0f32; view.values()], vec![0u8; view.values()]);
        Augmenter::new().write(&photo, &view, id(3, 1), layout, &mut values).unwrap();
        Augmenter::new().write(&photo, &view, id(3, 1), layout, &mut bytes).unwrap();
        let channel = |i: usize| if layout == Layout::ChannelsLast { i % 3 } else { i / (24 * 24) };
        let expanded = bytes.iter().enumerate().map(|(i, &byte)| tables[channel(i)][usize::from(byte)]);
        assert!(expanded.eq(values), "{layout:?}");
    }
}
