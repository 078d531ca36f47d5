//! Every operation against the bytes that Pillow makes (`fixtures/make.py`).

mod images;

use std::collections::BTreeMap;

use clsa_augment::{Augmenter, CenterCrop, Op, to_rgb};
use image::{DynamicImage, RgbImage};

use images::{fixture, read};

struct Case {
    input: String,
    ops: Vec<Op>,
    width: u32,
    height: u32,
    crc: u32,
}

fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(fixture("operations.txt")).unwrap();
    text.lines()
        .map(|line| {
            let [input, ops, result]: [&str; 3] = line.split(" | ").collect::<Vec<_>>().try_into().unwrap();
            let [width, height, crc]: [&str; 3] = result.split(' ').collect::<Vec<_>>().try_into().unwrap();
            Case {
                input: input.to_owned(),
                ops: ops.split(' ').map(|op| op.parse().unwrap()).collect(),
                width: width.parse().unwrap(),
                height: height.parse().unwrap(),
                crc: u32::from_str_radix(crc, 16).unwrap(),
            }
        })
        .collect()
}

/// Runs the cases that `choose` selects with one augmenter, so that left-over scratch would show.
fn check(choose: impl Fn(&Case) -> bool, at_least: usize) {
    let mut inputs: BTreeMap<String, RgbImage> = BTreeMap::new();
    let mut augmenter = Augmenter::new();
    let mut count = 0;
    for case in cases().into_iter().filter(choose) {
        let image = inputs.entry(case.input.clone()).or_insert_with(|| read(&format!("{}.png", case.input)));
        let result = augmenter.apply(image, &case.ops).unwrap();
        let names: Vec<String> = case.ops.iter().map(Op::to_string).collect();
        assert_eq!(result.dimensions(), (case.width, case.height), "{} {names:?}", case.input);
        assert_eq!(crc32fast::hash(result.as_raw()), case.crc, "{} {names:?}", case.input);
        count += 1;
    }
    assert!(count >= at_least, "only {count} cases were found");
}

/// One test for each operation, over all inputs and arguments of the fixtures.
macro_rules! operation_tests {
    ($($test:ident: $pattern:pat, $at_least:expr;)*) => {$(
        #[test]
        fn $test() {
            check(|case| matches!(case.ops[..], [$pattern]), $at_least);
        }
    )*};
}

operation_tests! {
    autocontrast_matches_pillow_bytes: Op::AutoContrast, 13;
    equalize_matches_pillow_bytes: Op::Equalize, 13;
    identity_matches_pillow_bytes: Op::Identity, 13;
    invert_matches_pillow_bytes: Op::Invert, 13;
    grayscale_matches_pillow_bytes: Op::Grayscale, 13;
    horizontal_flip_matches_pillow_bytes: Op::FlipHorizontal, 13;
    posterize_matches_pillow_bytes: Op::Posterize(_), 13 * 7;
    solarize_matches_pillow_bytes: Op::Solarize(_), 13 * 11;
    solarize_add_matches_pillow_bytes: Op::SolarizeAdd(_), 13 * 9;
    brightness_matches_pillow_bytes: Op::Brightness(_), 13 * 13;
    color_matches_pillow_bytes: Op::Color(_), 13 * 13;
    contrast_matches_pillow_bytes: Op::Contrast(_), 13 * 13;
    sharpness_matches_pillow_bytes: Op::Sharpness(_), 13 * 13;
    hue_matches_pillow_bytes: Op::Hue(_), 13 * 8;
    gaussian_blur_matches_pillow_bytes: Op::GaussianBlur(_), 13 * 13;
    rotate_matches_pillow_bytes: Op::Rotate(_), 13 * 17;
    shear_x_matches_pillow_bytes: Op::ShearX(_), 13 * 12;
    shear_y_matches_pillow_bytes: Op::ShearY(_), 13 * 12;
    translate_x_matches_pillow_bytes: Op::TranslateX(_), 13 * 4;
    translate_y_matches_pillow_bytes: Op::TranslateY(_), 13;
    cutout_matches_pillow_bytes: Op::Cutout { .. }, 13 * 4;
    crop_resize_matches_pillow_bytes: Op::CropResize { .. }, 13 * 15;
}

#[test]
fn chains_of_operations_match_pillow_bytes() {
    check(|case| case.ops.len() > 1, 13 * 30);
}

#[test]
fn converted_pixel_formats_match_pillow_bytes() {
    for name in [
        "gray.png",
        "bilevel.png",
        "gray_alpha.png",
        "gray16.png",
        "rgba.png",
        "palette.png",
        "palette_transparent.png",
        "palette.gif",
        "rgba.webp",
        "rgb.bmp",
    ] {
        // Stored with eight bits; Pillow keeps the transparent color of a palette, which reads back as alpha.
        let pillow = image::open(fixture(&format!("convert_{name}.rgb.png"))).unwrap().into_rgb8();
        assert_eq!(read(&format!("convert_{name}")), pillow, "{name}");
    }
}

#[test]
fn sixteen_bit_color_keeps_its_high_byte() {
    let values = [0, 255, 256, 511, 4660, 32767, 32768, 40000, 65279, 65280, 65534, 65535_u16];
    let high = values.map(|value| (value >> 8) as u8);
    let rgb = image::ImageBuffer::from_raw(2, 2, values.to_vec()).unwrap();
    assert_eq!(to_rgb(&DynamicImage::ImageRgb16(rgb)).into_raw(), high);
    let rgba = image::ImageBuffer::from_raw(3, 1, values.to_vec()).unwrap();
    let colors = [&high[..3], &high[4..7], &high[8..11]].concat();
    assert_eq!(to_rgb(&DynamicImage::ImageRgba16(rgba)).into_raw(), colors);
    let gray_alpha = image::ImageBuffer::from_raw(3, 2, values.to_vec()).unwrap();
    let grays = [0, 2, 4, 6, 8, 10].map(|place| [high[place]; 3]).concat();
    assert_eq!(to_rgb(&DynamicImage::ImageLumaA16(gray_alpha)).into_raw(), grays);
}

/// The crate `image` reads the transparent color of such a file as alpha, Pillow as nothing: the gray values are compared.
#[test]
fn sixteen_bit_gray_of_a_file_with_a_transparent_color_matches_pillow_bytes() {
    let gray = image::open(fixture("convert_gray16_transparent.png")).unwrap().into_luma16();
    let pillow = read("convert_gray16_transparent.png.rgb.png");
    assert_eq!(to_rgb(&DynamicImage::ImageLuma16(gray)), pillow);
}

/// The JPEG decoder of the crate `image` differs by a little, so that equality is not to be had here.
#[test]
fn gray_and_cmyk_jpeg_decoded_by_the_crate_image_come_close_to_pillow() {
    for (name, bound) in [("gray.jpg", 1), ("cmyk.jpg", 4)] {
        let ours = read(&format!("convert_{name}"));
        let pillow = read(&format!("convert_{name}.rgb.png"));
        assert_eq!(ours.dimensions(), pillow.dimensions());
        let worst = ours.as_raw().iter().zip(pillow.as_raw()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst <= bound, "{name}: a value is off by {worst}");
    }
}

#[test]
fn center_crops_match_torchvision_bytes() {
    let text = std::fs::read_to_string(fixture("center_crop.txt")).unwrap();
    let mut augmenter = Augmenter::new();
    for line in text.lines() {
        let [input, sides, crc]: [&str; 3] = line.split(" | ").collect::<Vec<_>>().try_into().unwrap();
        let (resize, crop) = sides.split_once(' ').unwrap();
        let (resize, crop) = (resize.parse().unwrap(), crop.parse().unwrap());
        let result = CenterCrop::new(resize, crop).image(&mut augmenter, &read(&format!("{input}.png"))).unwrap();
        assert_eq!(result.dimensions(), (crop, crop), "{line}");
        assert_eq!(crc32fast::hash(result.as_raw()), u32::from_str_radix(crc, 16).unwrap(), "{line}");
    }
    assert_eq!(text.lines().count(), 13 * 5);
}
