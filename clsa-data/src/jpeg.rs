//! JPEG files, to the bytes that Pillow gives: libjpeg-turbo's arithmetic, and Pillow's colours for CMYK.

mod baseline;
mod colour;
mod entropy;

use image::RgbImage;
use libjpeg_turbo_rs::decode::marker::{JpegMetadata, MarkerReader};
use libjpeg_turbo_rs::{DecodeWarning, Decoder, JpegError, PixelFormat};

/// A JPEG file whose header has been read. An error is a reason.
pub(crate) struct Jpeg<'a> {
    bytes: &'a [u8],
    metadata: JpegMetadata,
}

impl<'a> Jpeg<'a> {
    /// Whether a file of any name begins as a JPEG does.
    pub(crate) fn is(bytes: &[u8]) -> bool {
        bytes.starts_with(&[0xff, 0xd8, 0xff])
    }

    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let metadata = MarkerReader::new(bytes).read_markers().map_err(reason)?;
        match metadata.frame.precision {
            8 => Ok(Self { bytes, metadata }),
            bits => Err(format!("it is a JPEG of {bits} bits per channel, not of 8")),
        }
    }

    /// Width and height in pixels.
    pub(crate) fn dimensions(&self) -> (u32, u32) {
        (self.metadata.frame.width.into(), self.metadata.frame.height.into())
    }

    /// Decodes at full scale.
    ///
    /// As with Pillow, data that end too early leave grey where the file has its end-of-image marker, and a file that
    /// itself ends too early is refused. The marker alone may be missing, unless further scans may be missing with it.
    /// Data that make no sense are refused, where Pillow gives what libjpeg makes of them.
    pub(crate) fn decode(&self) -> Result<RgbImage, String> {
        baseline::decode(self.bytes, &self.metadata).map_or_else(|| self.decode_any(), Ok)
    }

    /// Decodes a file of any kind by the library alone.
    fn decode_any(&self) -> Result<RgbImage, String> {
        let mut decoder = Decoder::new(self.bytes).map_err(reason)?;
        let frame = &self.metadata.frame;
        let cmyk = frame.components.len() == 4;
        let factors = |at: usize| baseline::sampling(&frame.components[at]);
        if cmyk && (1..4).any(|at| factors(at) != factors(0)) {
            return Err("it is a CMYK JPEG with subsampled inks that is progressive, has restarts or is damaged".into());
        }
        decoder.set_output_format(if cmyk { PixelFormat::Cmyk } else { PixelFormat::Rgb });
        let scan = self.bytes.get(self.metadata.entropy_data_offset..).unwrap_or_default();
        let end_marker = scan.windows(2).rev().any(|pair| pair == [0xff, 0xd9]);
        let one_scan = !frame.is_progressive && self.metadata.scan.components.len() == frame.components.len();
        if !end_marker && !one_scan {
            return Err("it is cut short: a JPEG of several scans without its end-of-image marker".into());
        }
        let decoded = match decoder.decode_image() {
            Err(JpegError::UnexpectedEof) if end_marker => {
                decoder.set_lenient(true);
                decoder.decode_image()
            }
            strict => strict,
        };
        let image = decoded.map_err(reason)?;
        for warning in image.warnings {
            if let DecodeWarning::UnsupportedRecovered { detail } = warning {
                return Err(detail);
            }
        }
        let (width, height) = (image.width as u32, image.height as u32);
        let rgb = if cmyk {
            let mut rgb = vec![0; image.data.len() / 4 * 3];
            cmyk_to_rgb(&image.data, &mut rgb);
            rgb
        } else {
            image.data
        };
        RgbImage::from_raw(width, height, rgb).ok_or("the decoder gave too few pixels".into())
    }
}

fn reason(error: JpegError) -> String {
    match error {
        JpegError::UnexpectedEof => "it is cut short: the data of the image end too early".into(),
        other => other.to_string(),
    }
}

/// Pillow's colours: it takes every CMYK JPEG for an inverted one, as Adobe writes them, and then scales what each ink
/// leaves by what black leaves.
fn cmyk_to_rgb(inverted: &[u8], rgb: &mut [u8]) {
    let scaled = |ink: u8, white: u8| {
        let product = u32::from(ink) * u32::from(white) + 128;
        (((product >> 8) + product) >> 8) as u8
    };
    for (pixel, ink) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(inverted.as_chunks::<4>().0) {
        *pixel = [0, 1, 2].map(|channel| ink[3] - scaled(255 - ink[channel], ink[3]));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use libjpeg_turbo_rs::{ColorSpace, Encoder, Subsampling};
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};
    use rand_xoshiro::Xoshiro256PlusPlus;
    use rand_xoshiro::rand_core::{Rng, SeedableRng};

    use super::*;

    /// A picture of a wave with noise on it.
    fn picture(width: usize, height: usize, noise: u8, seed: u64) -> Vec<u8> {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let wave = |at: usize| 128. + 100. * ((at % (3 * width)) as f64 / 17. + (at / (3 * width)) as f64 / 11.).sin();
        let mut value =
            |at| (wave(at) + f64::from(noise) * (random.next_u32() as f64 / f64::from(u32::MAX) - 0.5)) as u8;
        (0..3 * width * height).map(&mut value).collect()
    }

    /// Sizes, noise, seed, quality and sampling of a picture.
    fn pictures() -> impl Strategy<Value = (usize, usize, u8, u64, u8, Subsampling)> {
        let sampling = prop_oneof![Just(Subsampling::S444), Just(Subsampling::S422), Just(Subsampling::S420)];
        (1..70_usize, 1..70_usize, any::<u8>(), any::<u64>(), 1..=100_u8, sampling)
    }

    fn encoder(pixels: &[u8], width: usize, height: usize) -> Encoder<'_> {
        Encoder::new(pixels, width, height, PixelFormat::Rgb)
    }

    fn baseline(jpeg: &Jpeg) -> Option<RgbImage> {
        baseline::decode(jpeg.bytes, &jpeg.metadata)
    }

    proptest! {
        #[test]
        fn baseline_decoding_gives_the_pixels_of_the_library(
            (width, height, noise, seed, quality, sampling) in pictures(),
            grey in any::<bool>(),
            optimised in any::<bool>(),
        ) {
            let pixels = picture(width, height, noise, seed);
            let encoder = encoder(&pixels, width, height).quality(quality).subsampling(sampling);
            let bytes = encoder.grayscale_from_color(grey).optimize_huffman(optimised).encode().unwrap();
            let jpeg = Jpeg::open(&bytes).unwrap();
            let ours = baseline(&jpeg);
            prop_assert_eq!(ours.is_some(), grey || sampling == Subsampling::S444 || width > 4);
            if let Some(ours) = ours {
                prop_assert_eq!(ours, jpeg.decode_any().unwrap());
            }
        }
    }

    #[test]
    fn what_baseline_decoding_makes_of_damaged_files_is_what_the_library_makes_of_them() {
        let decoded = Cell::new(0);
        let damage = prop::collection::vec((any::<prop::sample::Index>(), 0..8_u32), 1..4);
        TestRunner::new(Config::with_cases(2000))
            .run(&(pictures(), damage), |(sample, damage)| {
                let (width, height, noise, seed, quality, sampling) = sample;
                let pixels = picture(width, height, noise, seed);
                let encoded = encoder(&pixels, width, height).quality(quality).subsampling(sampling).encode();
                let mut bytes = encoded.unwrap();
                for (at, bit) in damage {
                    let at = at.index(bytes.len());
                    bytes[at] ^= 1 << bit;
                }
                let small = |jpeg: &Jpeg| (1..1 << 20).contains(&(jpeg.dimensions().0 * jpeg.dimensions().1));
                if let Some(jpeg) = Jpeg::open(&bytes).ok().filter(small)
                    && let Some(ours) = baseline(&jpeg)
                {
                    prop_assert_eq!(Ok(ours), jpeg.decode_any());
                    decoded.set(decoded.get() + 1);
                }
                Ok(())
            })
            .unwrap();
        let decoded = decoded.get();
        assert!(decoded > 200, "{decoded} of 2000 damaged files are decoded: this compares too few");
    }

    #[test]
    fn baseline_decoding_leaves_other_kinds_to_the_library() {
        let pixels = picture(40, 30, 50, 1);
        let plain = || encoder(&pixels, 40, 30);
        let left = |encoder: Encoder| {
            let bytes = encoder.encode().unwrap();
            let jpeg = Jpeg::open(&bytes).unwrap();
            baseline(&jpeg).is_none() && jpeg.decode().is_ok()
        };
        assert!(!left(plain()));
        assert!(left(plain().progressive(true)));
        assert!(left(plain().arithmetic(true)));
        assert!(left(plain().restart_blocks(3)));
        assert!(left(plain().subsampling(Subsampling::S440)));
        assert!(left(plain().colorspace(ColorSpace::Rgb)));
        assert!(left(plain().colorspace(ColorSpace::Rgb).write_adobe_marker(false)));
    }

    #[test]
    fn baseline_decoding_of_a_large_frame_with_little_data_ends_early() {
        let pixels = picture(40, 30, 50, 1);
        let mut bytes = encoder(&pixels, 40, 30).encode().unwrap();
        let frame = bytes.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
        bytes[frame + 5..frame + 9].copy_from_slice(&[0x24, 0, 0x24, 0]);
        assert!(baseline(&Jpeg::open(&bytes).unwrap()).is_none());
    }
}
