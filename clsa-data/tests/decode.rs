//! Decoding: what Pillow gives, and what bad files give.

use std::path::{Path, PathBuf};

use clsa_data::{Limits, SampleError, decode, dimensions};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats")
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(name)).unwrap()
}

/// The image that Pillow makes of a fixture.
fn pillow(name: &str) -> RgbImage {
    let bytes = file(&format!("{name}.rgb"));
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    RgbImage::from_raw(word(0), word(4), bytes[8..].to_vec()).unwrap()
}

/// Decodes a fixture and returns the largest difference of a channel from Pillow's image.
fn difference_from_pillow(name: &str) -> u8 {
    let (ours, theirs) = (decode(&file(name), name, &Limits::default()).unwrap(), pillow(name));
    assert_eq!(ours.dimensions(), theirs.dimensions(), "{name}");
    ours.as_raw().iter().zip(theirs.as_raw()).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn lossless_formats_decode_to_pillow_bytes() {
    for name in [
        "rgb.png",
        "gray.png",
        "one_bit.png",
        "palette.png",
        "palette_transparent.png",
        "alpha.png",
        "gray_alpha.png",
        "sixteen_bit_gray.png",
        "sixteen_bit_gray_transparent.png",
        "sixteen_bit_gray.tiff",
        "png_named.jpg",
        "rgb.bmp",
        "one_bit.bmp",
        "rgb.ppm",
        "gray.pgm",
        "rgb.tiff",
        "lossless.webp",
    ] {
        assert_eq!(difference_from_pillow(name), 0, "{name}");
    }
}

#[test]
fn a_tiff_is_turned_by_its_orientation_as_pillow_turns_it() {
    for name in (2..=8).map(|orientation| format!("orientation_{orientation}.tiff")) {
        assert_eq!(difference_from_pillow(&name), 0, "{name}");
        assert_eq!(dimensions(&file(&name), &name, &Limits::default()).unwrap(), pillow(&name).dimensions(), "{name}");
    }
}

#[test]
fn a_big_tiff_is_refused_by_its_name() {
    for sign in [b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"] {
        let bytes = [&sign[..], &[0; 32]].concat();
        let reasons = [
            decode(&bytes, "big.tif", &Limits::default()).unwrap_err().to_string(),
            dimensions(&bytes, "big.tif", &Limits::default()).unwrap_err().to_string(),
        ];
        for reason in reasons {
            assert_eq!(reason, "big.tif: cannot be decoded: it is a BigTIFF, which is not read; save it as a TIFF");
        }
    }
}

#[test]
fn a_tiff_of_which_the_decoder_would_make_other_colors_than_pillow_is_refused() {
    for (name, why) in [("cmyk.tiff", "in CMYK"), ("jpeg.tiff", "with JPEG inside")] {
        let error = decode(&file(name), name, &Limits::default()).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let refused = |bytes: &[u8], why: &str| {
        let error = decode(bytes, "x.tiff", &Limits::default()).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    // The planes' tag, of one number of 16 bits, becomes that of the order of bits.
    let mut bytes = file("rgb.tiff");
    let planes = [28, 1, 3, 0, 1, 0, 0, 0, 1, 0, 0, 0];
    let at = bytes.windows(12).position(|entry| entry == planes).unwrap();
    bytes[at..at + 12].copy_from_slice(&[10, 1, 3, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
    refused(&bytes, "with the bits of its bytes in reverse order");
    // A number of 32 bits where most files have 16, of the other order of bytes.
    refused(b"MM\0*\0\0\0\x08\0\x01\x01\x06\0\x04\0\0\0\x01\0\0\0\x05\0\0\0\0", "in CMYK");
    let deep = b"II*\0\x08\0\0\0\x02\0\x02\x01\x03\0\x01\0\0\0\x20\0\0\0\x06\x01\x03\0\x01\0\0\0\x02\0\0\0\0\0\0\0";
    refused(deep, "in colors of more than 16 bits");
}

#[test]
fn an_animation_gives_its_first_frame() {
    for name in ["animated.gif", "animated.webp"] {
        assert_eq!(difference_from_pillow(name), 0, "{name}");
    }
}

#[test]
fn jpegs_decode_to_pillow_bytes() {
    for name in ["baseline.jpg", "gray.jpg", "subsampled.jpg", "progressive.jpg", "cmyk.jpg", "cmyk_subsampled.jpg"] {
        assert_eq!(difference_from_pillow(name), 0, "{name}");
    }
}

#[test]
fn jpegs_that_pillow_decodes_though_data_or_the_end_marker_are_missing_decode_to_its_bytes() {
    for name in ["early_end.jpg", "no_end_marker.jpg"] {
        assert_eq!(difference_from_pillow(name), 0, "{name}");
    }
}

fn png(bytes: &[u8], side: u32, kind: ExtendedColorType) -> Vec<u8> {
    let mut png = Vec::new();
    PngEncoder::new(&mut png).write_image(bytes, side, side, kind).unwrap();
    png
}

#[test]
fn sixteen_bit_color_keeps_its_high_byte_and_gray_is_clipped() {
    let values: [u16; 12] = [0, 255, 256, 511, 4660, 32767, 32768, 40000, 65279, 65280, 65534, 65535];
    let native: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
    let decode = |kind, length| decode(&png(&native[..length], 2, kind), "16", &Limits::default()).unwrap().into_raw();
    let high = values.map(|value| (value >> 8) as u8);
    assert_eq!(decode(ExtendedColorType::Rgb16, 24), high);
    assert_eq!(decode(ExtendedColorType::La16, 16), [0, 2, 4, 6].map(|i| [high[i]; 3]).concat());
    assert_eq!(decode(ExtendedColorType::L16, 8), [[0; 3], [255; 3], [255; 3], [255; 3]].concat());
}

fn reason(bytes: &[u8]) -> String {
    let error = decode(bytes, "some/file.jpg", &Limits::default()).unwrap_err().to_string();
    assert!(error.starts_with("some/file.jpg: "), "{error}");
    error
}

#[test]
fn an_empty_file_is_refused() {
    assert!(reason(&[]).contains("empty"));
}

#[test]
fn a_file_of_no_image_format_is_refused() {
    assert!(reason(b"this is only text, whatever its name says").contains("no known image format"));
}

#[test]
fn half_a_file_is_refused_where_pillow_refuses_it() {
    for name in ["rgb.png", "rgb.bmp", "rgb.tiff", "lossless.webp", "animated.gif", "rgb.ppm", "alpha.png"] {
        let bytes = file(name);
        assert!(decode(&bytes[..bytes.len() / 2], name, &Limits::default()).is_err(), "{name}");
    }
}

/// Nothing is asserted of the result: some of these parts are refused, others decoded as Pillow decodes them.
#[test]
fn a_file_cut_anywhere_does_not_panic() {
    for name in ["baseline.jpg", "progressive.jpg", "cmyk.jpg", "one_bit.png"] {
        let bytes = file(name);
        (0..bytes.len()).for_each(|end| drop(decode(&bytes[..end], name, &Limits::default())));
    }
}

#[test]
fn a_jpeg_cut_in_the_middle_is_a_bad_sample() {
    let noise = RgbImage::from_fn(64, 64, |x, y| Rgb([(x * 37 + y * 101) as u8, (x * y * 7) as u8, (x ^ y) as u8 * 4]));
    let mut bytes = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95).encode_image(&noise).unwrap();
    assert!(decode(&bytes, "whole.jpg", &Limits::default()).is_ok());
    for end in [bytes.len() / 10, bytes.len() / 2, bytes.len() - 100, bytes.len() - 8] {
        let error = decode(&bytes[..end], "cut.jpg", &Limits::default()).unwrap_err().to_string();
        assert!(error.starts_with("cut.jpg: cannot be decoded: ") && !error.contains("panicked"), "{end}: {error}");
    }
    // The end of a thumbnail within the metadata is not the end of the image.
    let with_thumbnail = [&bytes[..2], &[0xff, 0xe1, 0, 6, 1, 2, 0xff, 0xd9], &bytes[2..]].concat();
    assert!(decode(&with_thumbnail, "whole.jpg", &Limits::default()).is_ok());
    assert!(decode(&with_thumbnail[..with_thumbnail.len() / 2], "cut.jpg", &Limits::default()).is_err());
    // Bytes after the end do no harm.
    assert!(decode(&[&bytes[..], &[0; 100]].concat(), "padded.jpg", &Limits::default()).is_ok());
}

#[test]
fn a_jpeg_that_lacks_its_end_marker_is_refused_where_libjpeg_reads_ahead_or_scans_may_be_missing() {
    for name in ["baseline.jpg", "subsampled.jpg", "gray.jpg", "cmyk.jpg"] {
        let bytes = file(name);
        for lacking in [1, 2, 8] {
            assert!(reason(&bytes[..bytes.len() - lacking]).contains("cut short"), "{name}");
        }
    }
    let progressive = file("progressive.jpg");
    assert!(reason(&progressive[..progressive.len() - 2]).contains("cut short"));
}

#[test]
fn a_jpeg_whose_data_make_no_sense_is_a_bad_sample() {
    let mut bytes = file("baseline.jpg");
    let end = bytes.len();
    // A code of ones alone is in no Huffman table.
    bytes[end - 200..end - 196].copy_from_slice(&[0xff, 0, 0xff, 0]);
    assert!(reason(&bytes).contains("corrupt data"), "{}", reason(&bytes));
}

/// A PNG header that states a size.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut chunk = b"IHDR".to_vec();
    chunk.extend(width.to_be_bytes());
    chunk.extend(height.to_be_bytes());
    chunk.extend([8, 2, 0, 0, 0]);
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    bytes.extend(&chunk);
    bytes.extend(crc32fast::hash(&chunk).to_be_bytes());
    // The beginning of the pixels, so that the header is followed by what a decoder waits for.
    bytes.extend(b"\0\0\0\x02IDAT\x78\x9c");
    bytes.extend(crc32fast::hash(b"IDAT\x78\x9c").to_be_bytes());
    bytes
}

#[test]
fn a_bomb_is_refused_by_its_header() {
    let error = decode(&png_header(30_000, 30_000), "bomb.png", &Limits::default()).unwrap_err();
    assert!(matches!(error, SampleError::TooManyPixels { width: 30_000, height: 30_000, .. }), "{error}");
    let error = dimensions(&png_header(30_000, 30_000), "bomb.png", &Limits::default()).unwrap_err();
    assert!(matches!(error, SampleError::TooManyPixels { .. }), "{error}");
    // A JPEG of 60000 x 60000 pixels by its frame header.
    let mut jpeg = file("baseline.jpg");
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xea, 0x60, 0xea, 0x60]);
    assert!(decode(&jpeg, "bomb.jpg", &Limits::default()).is_err());
}

#[test]
fn a_bomb_of_any_format_is_refused_by_its_header() {
    let patched = |name: &str, at: usize, size: &[u8]| {
        let mut bytes = file(name);
        bytes[at..at + size.len()].copy_from_slice(size);
        bytes
    };
    let side = 30_000_u32.to_le_bytes();
    let sides = [side, side].concat();
    let words = [&side[..2], &side[..2]].concat();
    let mut tiff = file("rgb.tiff");
    for tag in [256_u16, 257] {
        // A number of 16 or 32 bits.
        let entry = (8..tiff.len() - 12).find(|&at| {
            tiff[at..at + 2] == tag.to_le_bytes()
                && [3, 4].contains(&tiff[at + 2])
                && tiff[at + 3..at + 8] == [0, 1, 0, 0, 0]
        });
        tiff[entry.unwrap() + 8..][..4].copy_from_slice(&side);
    }
    let bombs = [
        ("rgb.bmp", patched("rgb.bmp", 18, &sides)),
        ("animated.gif", patched("animated.gif", 6, &words)),
        ("lossless.webp", patched("lossless.webp", 21, &(11_999_u32 << 14 | 11_999).to_le_bytes())),
        ("rgb.tiff", tiff),
        ("rgb.ppm", b"P6 30000 30000 255\n".to_vec()),
    ];
    for (name, bytes) in bombs {
        let error = decode(&bytes, name, &Limits::default()).unwrap_err();
        // The decoder of TIFF first finds that the strips are too small.
        assert!(name == "rgb.tiff" || matches!(error, SampleError::TooManyPixels { .. }), "{error}");
    }
}

#[test]
fn a_tiff_whose_directory_states_more_than_the_file_holds_is_refused_before_memory_is_taken() {
    let mut tiff = file("rgb.tiff");
    // The count of the places of strips, tag 273.
    let entry = (8..tiff.len() - 12).find(|&at| tiff[at..at + 2] == 273u16.to_le_bytes() && tiff[at + 3] == 0);
    tiff[entry.unwrap() + 4..][..4].copy_from_slice(&4_000_000u32.to_le_bytes());
    assert!(reason(&tiff).contains("directory states more than the file holds"), "{}", reason(&tiff));
}

#[test]
fn a_png_whose_data_are_a_bomb_gives_its_rows_alone() {
    use std::io::Write;
    let rows = [[0, 9, 9, 9, 9, 9, 9]; 2].concat();
    let mut data = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    data.write_all(&rows).unwrap();
    (0..64).for_each(|_| data.write_all(&[0; 1 << 20]).unwrap());
    let header = [&2_u32.to_be_bytes()[..], &2_u32.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    // The checksum of the data is wrong, which Pillow does not mind.
    for (kind, content, fault) in [(b"IHDR", header, 0), (b"IDAT", data.finish().unwrap(), 1)] {
        bytes.extend((content.len() as u32).to_be_bytes());
        let begin = bytes.len();
        bytes.extend(kind);
        bytes.extend(content);
        bytes.extend((crc32fast::hash(&bytes[begin..]) ^ fault).to_be_bytes());
    }
    assert_eq!(decode(&bytes, "bomb.png", &Limits::default()).unwrap().into_raw(), [9; 12]);
}

#[test]
fn an_image_of_no_pixels_is_refused() {
    assert!(decode(&png_header(0, 10), "zero.png", &Limits::default()).is_err());
    let mut bmp = file("rgb.bmp");
    bmp[18..22].copy_from_slice(&[0; 4]);
    assert!(decode(&bmp, "zero.bmp", &Limits::default()).is_err());
    assert!(decode(b"P6 0 5 255\n", "zero.ppm", &Limits::default()).is_err());
}

#[test]
fn the_limits_of_bytes_and_pixels_hold() {
    let bytes = file("rgb.png");
    let few_bytes = Limits { max_bytes: bytes.len() as u64 - 1, ..Limits::default() };
    assert!(matches!(decode(&bytes, "a", &few_bytes), Err(SampleError::TooManyBytes { .. })));
    let few_pixels = Limits { max_pixels: 24 * 18 - 1, ..Limits::default() };
    assert!(matches!(decode(&bytes, "a", &few_pixels), Err(SampleError::TooManyPixels { .. })));
    let enough = Limits { max_bytes: bytes.len() as u64, max_pixels: 24 * 18 };
    assert!(decode(&bytes, "a", &enough).is_ok());
}

#[test]
fn dimensions_come_from_the_header() {
    for name in ["baseline.jpg", "rgb.png", "animated.gif", "lossless.webp", "rgb.tiff"] {
        assert_eq!(dimensions(&file(name), name, &Limits::default()).unwrap(), (24, 18), "{name}");
    }
}
