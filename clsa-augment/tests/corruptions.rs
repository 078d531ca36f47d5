//! Corruptions: what holds for all of them, and values that are computed by hand.

use clsa_augment::{AugmentError, Corruption};
use image::{Rgb, RgbImage};

/// Waves, edges and a little of every color.
fn textured(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let (u, v) = (f64::from(x) / f64::from(width), f64::from(y) / f64::from(height));
        let wave = |turns: f64, phase: f64| 70.0 * (std::f64::consts::TAU * turns * (u + 0.6 * v) + phase).sin();
        let edge = if (12.0 * u) as u32 % 2 == (9.0 * v) as u32 % 2 { 25.0 } else { -25.0 };
        Rgb([wave(5.0, 0.0), wave(9.0, 1.0), wave(3.0, 2.0)].map(|wave| (120.0 + wave + edge) as u8))
    })
}

fn mean_squared_difference(a: &RgbImage, b: &RgbImage) -> f64 {
    let squares = a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    squares.sum::<f64>() / a.as_raw().len() as f64
}

/// Corruptions that draw nothing.
fn is_fixed(corruption: Corruption) -> bool {
    use Corruption::*;
    matches!(corruption, DefocusBlur | GaussianBlur | Brightness | Contrast | Pixelate | JpegCompression)
}

#[test]
fn one_seed_gives_one_image_and_another_seed_gives_another() {
    let image = textured(40, 33);
    for corruption in Corruption::ALL {
        let at = |seed| corruption.apply(&image, 3, seed).unwrap();
        assert_eq!(at(5), at(5), "{corruption}");
        assert_eq!(at(5) == at(6), is_fixed(corruption), "{corruption}");
    }
}

#[test]
fn noises_of_one_seed_are_not_the_same_numbers() {
    let gray = RgbImage::from_pixel(32, 32, Rgb([128; 3]));
    let drawn = |corruption: Corruption| -> Vec<bool> {
        let noisy = corruption.apply(&gray, 5, 1).unwrap();
        noisy.as_raw().iter().map(|&value| value > 128).collect()
    };
    let (gaussian, shot) = (drawn(Corruption::GaussianNoise), drawn(Corruption::ShotNoise));
    let alike = gaussian.iter().zip(&shot).filter(|(a, b)| a == b).count();
    assert!((1400..1700).contains(&alike), "{alike} of 3072");
}

#[test]
fn the_size_stays_and_all_sizes_from_one_pixel_on_are_taken() {
    for (width, height) in [(1, 1), (1, 9), (9, 1), (7, 7), (32, 32), (50, 33), (20, 300)] {
        let image = textured(width, height);
        for corruption in Corruption::ALL {
            for severity in Corruption::SEVERITIES {
                let corrupted = corruption.apply(&image, severity, 0).unwrap();
                assert_eq!(corrupted.dimensions(), (width, height), "{corruption}");
            }
        }
        let plain = RgbImage::from_pixel(width, height, Rgb([90, 120, 30]));
        for blur in [Corruption::DefocusBlur, Corruption::GaussianBlur, Corruption::MotionBlur] {
            for severity in Corruption::SEVERITIES {
                assert_eq!(blur.apply(&plain, severity, 0).unwrap(), plain, "{blur} of {width}x{height} at {severity}");
            }
        }
    }
}

#[test]
fn the_difference_from_the_clean_image_grows_with_the_severity() {
    for side in [32, 96, 224] {
        let image = textured(side, side);
        for corruption in Corruption::ALL {
            for seed in 0..3 {
                let difference =
                    |severity| mean_squared_difference(&image, &corruption.apply(&image, severity, seed).unwrap());
                let differences = Corruption::SEVERITIES.map(difference);
                let grows = differences.windows(2).all(|pair| pair[0] < pair[1]);
                assert!(differences[0] > 0.0 && grows, "{corruption} at {side} pixels: {differences:?}");
            }
        }
    }
}

#[test]
fn every_name_is_read_as_it_is_written_and_stands_for_one_corruption() {
    for (at, corruption) in Corruption::ALL.into_iter().enumerate() {
        assert_eq!(corruption.to_string(), corruption.name());
        assert_eq!(corruption.name().parse(), Ok(corruption));
        let json = serde_json::to_string(&corruption).unwrap();
        assert_eq!(json, format!("{:?}", corruption.name()));
        assert_eq!(serde_json::from_str::<Corruption>(&json).unwrap(), corruption);
        assert!(Corruption::ALL[..at].iter().all(|other| other.name() != corruption.name()), "{corruption}");
    }
    assert_eq!(format!("{:<12}|", Corruption::Fog), "fog         |");
}

#[test]
fn what_is_asked_wrongly_is_refused_in_one_sentence() {
    let refused = |error: AugmentError| {
        assert!(error.is_request(), "{error}");
        error.to_string()
    };
    let image = textured(8, 8);
    for severity in [0, 6] {
        let message = refused(Corruption::ShotNoise.apply(&image, severity, 0).unwrap_err());
        let expected = format!("the operation shot_noise does not accept {severity}; it needs a severity from 1 to 5");
        assert_eq!(message, expected);
    }
    let message = refused(Corruption::Fog.apply(&RgbImage::new(0, 5), 1, 0).unwrap_err());
    assert_eq!(message, "the image is 0x5 and has no pixels to work on");
    let message = refused(Corruption::Fog.apply(&RgbImage::new(16385, 1), 1, 0).unwrap_err());
    assert!(message.contains("16385x1") && message.contains("16384"), "{message}");
    let message = refused("fogg".parse::<Corruption>().unwrap_err());
    assert!(message.contains("\"fogg\"") && message.contains("gaussian_noise, shot_noise"), "{message}");
    let message = serde_json::from_str::<Corruption>("\"fogg\"").unwrap_err().to_string();
    assert!(message.contains("fogg") && message.contains("jpeg_compression"), "{message}");
}

#[test]
fn contrast_keeps_a_part_of_the_distance_from_the_mean_of_a_channel() {
    // The means are 100, 50 and 200; three quarters, and then 0.15 of the distance stay.
    let image = RgbImage::from_fn(32, 32, |x, _| if x < 16 { Rgb([80, 50, 255]) } else { Rgb([120, 50, 145]) });
    let pixels = |severity| {
        let corrupted = Corruption::Contrast.apply(&image, severity, 0).unwrap();
        [corrupted[(0, 0)].0, corrupted[(31, 31)].0]
    };
    assert_eq!(pixels(1), [[85, 50, 241], [115, 50, 159]]);
    assert_eq!(pixels(5), [[97, 50, 208], [103, 50, 192]]);
}

#[test]
fn brightness_raises_the_largest_channel_and_the_others_in_proportion() {
    let becomes = |pixel, severity| {
        let image = RgbImage::from_pixel(32, 32, Rgb(pixel));
        Corruption::Brightness.apply(&image, severity, 0).unwrap()[(3, 3)].0
    };
    // 0.2 of 255 is 51: 102 becomes 153, half as much again.
    assert_eq!(becomes([102, 50, 0], 4), [153, 75, 0]);
    // 240 stops at 255.
    assert_eq!(becomes([120, 240, 60], 4), [128, 255, 64]);
    // Black becomes gray: 0.3 of 255 is 76.5.
    assert_eq!(becomes([0, 0, 0], 5), [77, 77, 77]);
}

#[test]
fn pixelate_takes_the_mean_of_each_cell() {
    // 0.25 of 224 pixels are 56 cells of 4 x 4.
    let image = RgbImage::from_fn(224, 224, |x, y| Rgb([x as u8, y as u8, (x % 2 * 255) as u8]));
    let cells = Corruption::Pixelate.apply(&image, 5, 0).unwrap();
    for (x, y, pixel) in cells.enumerate_pixels() {
        // The mean of 0, 1, 2 and 3 is 1.5, and 127.5 is rounded up too.
        assert_eq!(pixel.0, [(x / 4 * 4 + 2) as u8, (y / 4 * 4 + 2) as u8, 128]);
    }
}

#[test]
fn impulse_noise_replaces_its_share_of_the_values_by_black_and_white_in_equal_parts() {
    let gray = RgbImage::from_pixel(224, 224, Rgb([100; 3]));
    let noisy = Corruption::ImpulseNoise.apply(&gray, 5, 4).unwrap();
    let share = |wanted: u8| noisy.as_raw().iter().filter(|v| **v == wanted).count() as f64 / (3.0 * 224.0 * 224.0);
    assert!((share(0) - 0.135).abs() < 0.005 && (share(255) - 0.135).abs() < 0.005, "{} {}", share(0), share(255));
    assert!((share(100) - 0.73).abs() < 0.005);
}

#[test]
fn normal_and_photon_noise_have_their_deviations() {
    let gray = RgbImage::from_pixel(32, 32, Rgb([102; 3]));
    let deviation = |corruption: Corruption, severity| {
        (0..20)
            .map(|seed| mean_squared_difference(&gray, &corruption.apply(&gray, severity, seed).unwrap()))
            .sum::<f64>()
    };
    // 0.1 of 255, and the root of 0.4 · 50 photons of 50.
    let gaussian = (deviation(Corruption::GaussianNoise, 5) / 20.0).sqrt();
    assert!((gaussian / 25.5 - 1.0).abs() < 0.02, "{gaussian}");
    let shot = (deviation(Corruption::ShotNoise, 5) / 20.0).sqrt();
    assert!((shot / (255.0 * 20_f64.sqrt() / 50.0) - 1.0).abs() < 0.02, "{shot}");
}

#[test]
fn blurs_spread_a_point() {
    let mut point = RgbImage::new(32, 32);
    point[(16, 16)] = Rgb([255; 3]);
    for corruption in [Corruption::DefocusBlur, Corruption::GaussianBlur, Corruption::MotionBlur] {
        let spread = corruption.apply(&point, 5, 0).unwrap();
        let sum: u32 = spread.as_raw().iter().step_by(3).map(|value| u32::from(*value)).sum();
        assert!((240..=260).contains(&sum) && spread[(16, 16)][0] < 150, "{corruption}: {sum}");
    }
    // A disc of radius 1.6 covers 9 pixels nearly whole, and 12 more in part.
    let disc = Corruption::DefocusBlur.apply(&point, 5, 0).unwrap();
    let at = |x: u32, y: u32| disc[(x, y)][0];
    assert_eq!([at(16, 16), at(17, 16), at(16, 17)], [at(15, 16); 3]);
    assert!(at(18, 16) > 0 && at(18, 18) == 0 && at(16, 16) > 2 * at(18, 16));
}

#[test]
fn fog_keeps_the_range_and_lightens_what_is_dark() {
    let image = RgbImage::from_fn(64, 48, |x, y| if x < 32 { Rgb([0; 3]) } else { Rgb([255, 200, (y * 5) as u8]) });
    let foggy = Corruption::Fog.apply(&image, 5, 2).unwrap();
    let mean = |image: &RgbImage| {
        let dark = image.enumerate_pixels().filter(|(x, ..)| *x < 32).map(|(.., pixel)| f64::from(pixel[0]));
        dark.sum::<f64>() / (32.0 * 48.0)
    };
    assert!(mean(&image) == 0.0 && mean(&foggy) > 50.0, "{}", mean(&foggy));
    // Fog is gray: one height is added to all channels.
    for (.., pixel) in foggy.enumerate_pixels().filter(|(x, ..)| *x < 32) {
        assert!(pixel[0] == pixel[1] && pixel[1] == pixel[2], "{pixel:?}");
    }
}

#[test]
fn the_readme_lists_every_corruption() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    for corruption in Corruption::ALL {
        let row = format!("| `{corruption}` | {} |", corruption.group());
        assert!(readme.contains(&row), "README.md must have a row that begins with {row}");
    }
}
