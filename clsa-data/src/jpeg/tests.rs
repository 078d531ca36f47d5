//! What is decoded here against what libjpeg-turbo-rs makes of the same files.

use libjpeg_turbo_rs::{ColorSpace, Decoder, Encoder, PixelFormat, Subsampling};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use super::*;

/// A picture of a wave with noise on it.
fn picture(width: usize, height: usize, noise: u8, seed: u64) -> Vec<u8> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let wave = |at: usize| 128. + 100. * ((at % (3 * width)) as f64 / 17. + (at / (3 * width)) as f64 / 11.).sin();
    let mut value = |at| (wave(at) + f64::from(noise) * (random.next_u32() as f64 / f64::from(u32::MAX) - 0.5)) as u8;
    (0..3 * width * height).map(&mut value).collect()
}

/// Sizes, noise, seed, quality and sampling of a picture.
fn pictures() -> impl Strategy<Value = (usize, usize, u8, u64, u8, Subsampling)> {
    let sampling = prop_oneof![
        Just(Subsampling::S444),
        Just(Subsampling::S422),
        Just(Subsampling::S420),
        Just(Subsampling::S440),
        Just(Subsampling::S411),
        Just(Subsampling::S441),
        Just(Subsampling::S410),
        Just(Subsampling::S24),
    ];
    (1..70_usize, 1..70_usize, any::<u8>(), any::<u64>(), 1..=100_u8, sampling)
}

fn encoder(pixels: &[u8], width: usize, height: usize) -> Encoder<'_> {
    Encoder::new(pixels, width, height, PixelFormat::Rgb)
}

fn ours(bytes: &[u8]) -> Result<Vec<u8>, String> {
    Ok(Jpeg::open(bytes)?.decode()?.into_raw())
}

/// What the library makes of a file that is not damaged.
fn librarys(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(Decoder::decode_to(bytes, PixelFormat::Rgb).ok()?.into_vec())
}

proptest! {
    #[test]
    fn decoding_gives_the_pixels_of_the_library(
        (width, height, noise, seed, quality, sampling) in pictures(),
        gray in any::<bool>(),
        (optimized, arithmetic) in any::<(bool, bool)>(),
        restart_blocks in 0..9_u16,
    ) {
        let pixels = picture(width, height, noise, seed);
        let encoder = encoder(&pixels, width, height).quality(quality).subsampling(sampling);
        let encoder = encoder.grayscale_from_color(gray).restart_blocks(restart_blocks);
        let encoder = if arithmetic { encoder.arithmetic(true) } else { encoder.optimize_huffman(optimized) };
        let bytes = encoder.encode().unwrap();
        let coding = if arithmetic { Coding::Arithmetic } else { Coding::Sequential };
        prop_assert_eq!(Jpeg::open(&bytes).unwrap().frame.coding, coding);
        prop_assert_eq!(ours(&bytes).unwrap(), librarys(&bytes).unwrap());
    }
}

#[test]
fn damaged_files_that_the_library_decodes_without_complaint_give_its_pixels() {
    let compared = std::cell::Cell::new(0);
    let damage = prop::collection::vec((any::<prop::sample::Index>(), 0..8_u32), 1..4);
    // Always the same files: in about one of 30,000 random ones this decoder and the library differ.
    TestRunner::new_with_rng(Config::with_cases(2000), TestRng::deterministic_rng(RngAlgorithm::ChaCha))
        .run(&(pictures(), damage), |(sample, damage)| {
            let (width, height, noise, seed, quality, sampling) = sample;
            let pixels = picture(width, height, noise, seed);
            let encoded = encoder(&pixels, width, height).quality(quality).subsampling(sampling).encode();
            let mut bytes = encoded.unwrap();
            for (at, bit) in damage {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            let small = |jpeg: &Jpeg| jpeg.frame.width * jpeg.frame.height < 1 << 20;
            let sequential = |jpeg: &Jpeg| jpeg.frame.coding == Coding::Sequential;
            if Jpeg::open(&bytes).ok().is_some_and(|jpeg| small(&jpeg) && sequential(&jpeg))
                && let (Ok(ours), Some(theirs)) = (ours(&bytes), librarys(&bytes))
            {
                prop_assert_eq!(ours, theirs);
                compared.set(compared.get() + 1);
            }
            Ok(())
        })
        .unwrap();
    let compared = compared.get();
    assert!(compared > 200, "{compared} of 2000 damaged files are decoded: this compares too few");
}

#[test]
fn files_of_every_coding_give_the_pixels_of_the_library() {
    let pixels = picture(40, 30, 50, 1);
    let plain = || encoder(&pixels, 40, 30);
    let coding = |encoder: Encoder| {
        let bytes = encoder.encode().unwrap();
        assert_eq!(ours(&bytes).unwrap(), librarys(&bytes).unwrap());
        Jpeg::open(&bytes).unwrap().frame.coding
    };
    assert_eq!(coding(plain()), Coding::Sequential);
    assert_eq!(coding(plain().restart_blocks(3)), Coding::Sequential);
    assert_eq!(coding(plain().subsampling(Subsampling::S440)), Coding::Sequential);
    assert_eq!(coding(plain().colorspace(ColorSpace::Rgb)), Coding::Sequential);
    assert_eq!(coding(plain().colorspace(ColorSpace::Rgb).write_adobe_marker(false)), Coding::Sequential);
    assert_eq!(coding(plain().progressive(true)), Coding::Progressive);
    assert_eq!(coding(plain().arithmetic(true)), Coding::Arithmetic);
    assert_eq!(coding(plain().arithmetic(true).restart_blocks(3)), Coding::Arithmetic);
    assert_eq!(coding(plain().arithmetic(true).progressive(true)), Coding::ProgressiveArithmetic);
}

#[test]
fn a_file_of_very_many_scans_is_refused() {
    let pixels = picture(16, 16, 50, 1);
    let progressive = || encoder(&pixels, 16, 16).progressive(true);
    for (encoder, coding, most) in [
        (progressive(), Coding::Progressive, 500),
        (progressive().arithmetic(true), Coding::ProgressiveArithmetic, 100),
    ] {
        let bytes = encoder.encode().unwrap();
        assert_eq!(Jpeg::open(&bytes).unwrap().frame.coding, coding);
        // The first scan, once more and again: it gives the same coefficients each time.
        let marker = |pair: &[u8]| pair[0] == 0xff && pair[1] != 0;
        let first = bytes.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
        let end = first + 2 + bytes[first + 2..].windows(2).position(marker).unwrap();
        let scans = bytes.windows(2).filter(|pair| **pair == [0xff, 0xda]).count();
        let with = |more: usize| [&bytes[..end], &bytes[first..end].repeat(more), &bytes[end..]].concat();
        assert_eq!(ours(&with(most - scans)), ours(&bytes));
        assert_eq!(ours(&with(most - scans + 1)).unwrap_err(), format!("it has more than {most} scans"));
    }
}

#[test]
fn a_large_frame_with_little_data_is_gray() {
    let pixels = picture(40, 30, 50, 1);
    let mut bytes = encoder(&pixels, 40, 30).encode().unwrap();
    let frame = bytes.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    bytes[frame + 5..frame + 9].copy_from_slice(&[0x10, 0, 0x10, 0]);
    let image = Jpeg::open(&bytes).unwrap().decode().unwrap();
    assert_eq!(image.dimensions(), (4096, 4096));
    assert!(image.as_raw()[image.as_raw().len() / 2..].iter().all(|&value| value == 128));
}
