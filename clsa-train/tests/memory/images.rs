//! Image files whose headers state 60000 x 60000 pixels and the like, and which hold next to nothing.

use super::{LIMIT_MIB, LONG, error_stream, limited, refused, sparse};
use clsa_data::Limits;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Width and height of 3.6 billion pixels.
const SIDE: u32 = 60_000;

fn png_chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let checked = [&kind[..], data].concat();
    [&(data.len() as u32).to_be_bytes()[..], &checked, &crc32fast::hash(&checked).to_be_bytes()].concat()
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A PNG of 16-bit RGBA with these chunks before its data, which are one row.
fn png(width: u32, height: u32, interlaced: bool, chunks: &[Vec<u8>]) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[16, 6, 0, 0, interlaced.into()]].concat();
    let mut file = [b"\x89PNG\r\n\x1a\n", &png_chunk(b"IHDR", &header)[..]].concat();
    chunks.iter().for_each(|chunk| file.extend(chunk));
    file.extend(png_chunk(b"IDAT", &deflated(&vec![0; 1 + 8 * width as usize])));
    file.extend(png_chunk(b"IEND", &[]));
    file
}

/// A JPEG whose start of frame (`0xc0` baseline, `0xc2` progressive) states this size, with three components.
fn jpeg(frame: u8, width: u16, height: u16) -> Vec<u8> {
    let mut file = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0];
    file.extend([1; 64]);
    file.extend([0xff, frame, 0, 17, 8]);
    file.extend([height.to_be_bytes(), width.to_be_bytes()].concat());
    file.extend([3, 1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0]);
    // One code of one bit for each table.
    for class in [0, 0x10] {
        file.extend([0xff, 0xc4, 0, 20, class, 1]);
        file.extend([0; 16]);
    }
    file.extend([0xff, 0xda, 0, 12, 3, 1, 0, 2, 0, 3, 0, 0, if frame == 0xc2 { 0 } else { 63 }, 0]);
    file.extend([0x55, 0xff, 0xd9]);
    file
}

/// A little-endian TIFF of 8-bit RGB: each entry is tag, type (3 is 16 bits, 4 is 32, 1 is bytes), count and value.
fn tiff(entries: &[(u16, u16, u32, u32)]) -> Vec<u8> {
    let mut file = b"II*\0\x08\0\0\0".to_vec();
    file.extend((entries.len() as u16).to_le_bytes());
    for &(tag, kind, count, value) in entries {
        file.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        file.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
    }
    file.extend([0; 64]);
    file
}

/// The entries of a TIFF of this size in one strip, with another entry in the place of that with its tag.
fn tiff_of(width: u32, height: u32, other: Option<(u16, u16, u32, u32)>) -> Vec<u8> {
    let mut entries = vec![
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 3, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 8),
        (277, 3, 1, 3),
        (278, 4, 1, height),
        (279, 4, 1, width.wrapping_mul(height).wrapping_mul(3)),
    ];
    if let Some(other) = other {
        entries.retain(|entry| entry.0 != other.0);
        entries.push(other);
        entries.sort();
    }
    tiff(&entries)
}

/// A BMP of 24 bits, or of `bits` with a palette of so many colors.
fn bmp(width: i32, height: i32, bits: u16, colors: u32, compression: u32) -> Vec<u8> {
    let mut file = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    file.extend([width.to_le_bytes(), height.to_le_bytes()].concat());
    file.extend([1u16.to_le_bytes(), bits.to_le_bytes()].concat());
    file.extend([compression, 0, 0, 0, colors, 0].map(u32::to_le_bytes).concat());
    file.extend([0; 64]);
    file
}

fn gif(width: u16, height: u16) -> Vec<u8> {
    let size = [width.to_le_bytes(), height.to_le_bytes()].concat();
    [b"GIF89a", &size[..], &[0x80, 0, 0, 0, 0, 0, 9, 9, 9, 0x2c, 0, 0, 0, 0], &size, &[0, 2, 2, 0x44, 1, 0, 0x3b]]
        .concat()
}

fn webp(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let chunk = [kind, &(data.len() as u32).to_le_bytes()[..], data].concat();
    [b"RIFF", &(4 + chunk.len() as u32).to_le_bytes()[..], b"WEBP", &chunk].concat()
}

/// Files of this size, as far as the formats have it, by name.
fn files(width: u32, height: u32) -> Vec<(String, Vec<u8>)> {
    let (w, h) = (width as u16, height as u16);
    let (webp_w, webp_h) = (width.min(16383) as u16, height.min(16383) as u16);
    let lossy = [&[0x30, 1, 0, 0x9d, 1, 0x2a][..], &webp_w.to_le_bytes(), &webp_h.to_le_bytes(), &[0; 40]].concat();
    let bits = u32::from(webp_w - 1) | u32::from(webp_h - 1) << 14;
    let lossless = [&[0x2f][..], &bits.to_le_bytes(), &[0; 40]].concat();
    let canvas = [&[0x10, 0, 0, 0][..], &(width - 1).to_le_bytes()[..3], &(height - 1).to_le_bytes()[..3]].concat();
    let text = |kind: &str| format!("{kind}\n{width} {height}\n65535\n0 0 0 0 0 0").into_bytes();
    [
        ("rows.png", png(width, height, false, &[])),
        ("interlaced.png", png(width, height, true, &[])),
        ("baseline.jpg", jpeg(0xc0, w, h)),
        ("progressive.jpg", jpeg(0xc2, w, h)),
        ("arithmetic.jpg", jpeg(0xc9, w, h)),
        ("strip.tif", tiff_of(width, height, None)),
        ("tile.tif", tiff_of(width, height, Some((322, 4, 1, width)))),
        ("true.bmp", bmp(width as i32, height as i32, 24, 0, 0)),
        ("down.bmp", bmp(width as i32, -(height as i32), 32, 0, 0)),
        ("runs.bmp", bmp(width as i32, height as i32, 8, 256, 1)),
        ("frame.gif", gif(w, h)),
        ("lossy.webp", webp(b"VP8 ", &lossy)),
        ("lossless.webp", webp(b"VP8L", &lossless)),
        ("canvas.webp", webp(b"VP8X", &canvas)),
        ("binary.ppm", text("P6")),
        ("text.ppm", text("P3")),
        ("gray.pgm", text("P5")),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}

/// What `data verify` says of the files under a limit, and how many they are; `data info` survives them too.
fn verified(root: &Path, mib: u64) -> (String, usize) {
    let source = format!("flat:{}", root.display());
    let output = limited(mib).args(["data", "verify", "--threads", "1", &source]).output().unwrap();
    let text = error_stream(&output);
    assert!(output.status.code() == Some(1) && !text.contains("memory allocation"), "{}: {text}", output.status);
    let info = limited(mib).args(["data", "info", &source]).output().unwrap();
    assert!(info.status.success(), "{}", error_stream(&info));
    (text, fs::read_dir(root).unwrap().count())
}

#[test]
fn images_whose_headers_state_billions_of_pixels_are_bad_images() {
    let root = TempDir::new().unwrap();
    for (name, bytes) in files(SIDE, SIDE) {
        fs::write(root.path().join(name), bytes).unwrap();
    }
    let billions = u32::MAX;
    for (name, bytes) in [
        ("most.png", png(1, billions >> 1, false, &[])),
        ("offsets.tif", tiff_of(100, 100, Some((273, 4, billions, 8)))),
        ("counts.tif", tiff_of(100, 100, Some((279, 4, billions, 8)))),
        ("colors.tif", tiff_of(100, 100, Some((320, 3, billions, 8)))),
        ("samples.tif", tiff_of(100, 100, Some((277, 3, 1, 65535)))),
        ("profile.tif", tiff_of(100, 100, Some((34675, 1, billions, 8)))),
        ("turned.tif", tiff_of(100, 100, Some((274, 3, billions, 8)))),
        ("length.tif", tiff_of(100, 100, Some((279, 4, 1, billions)))),
        ("palette.bmp", bmp(100, 100, 8, billions, 0)),
        ("most.bmp", bmp(i32::MAX, i32::MAX, 1, 2, 0)),
        ("least.bmp", bmp(i32::MAX, i32::MIN, 32, 0, 3)),
    ] {
        fs::write(root.path().join(name), bytes).unwrap();
    }
    sparse(&root.path().join("long.jpg"), &jpeg(0xc0, 8, 8), LONG);
    let (text, count) = verified(root.path(), LIMIT_MIB);
    assert!(
        text.contains(&format!("error: {count} of {count} images are bad")) && !text.contains("panicked"),
        "{text}"
    );
}

#[test]
fn images_that_a_command_names_are_refused_by_their_length_before_they_are_read() {
    let root = TempDir::new().unwrap();
    let photo = root.path().join("long.jpg");
    sparse(&photo, &jpeg(0xc0, 8, 8), LONG);
    for command in [&["views"][..], &["bench", "augment"]] {
        refused(
            &command.join(" "),
            limited(LIMIT_MIB).args(command).arg(&photo),
            "long.jpg: 2147483648 bytes are more",
        );
    }
}

#[test]
fn images_of_the_most_pixels_that_are_read_take_no_more_than_limits_says() {
    let root = TempDir::new().unwrap();
    let most = [
        "rows.png",
        "progressive.jpg",
        "arithmetic.jpg",
        "strip.tif",
        "true.bmp",
        "lossless.webp",
        "frame.gif",
        "text.ppm",
    ];
    for (name, bytes) in files(9459, 9459).into_iter().filter(|(name, _)| most.contains(&name.as_str())) {
        fs::write(root.path().join(name), bytes).unwrap();
    }
    // For what is decoded 16 bytes a pixel, 3 for RGB, 16 for the decoder's own needs, and for a mended PNG 16 more. Some of them,
    // such as a JPEG of which only a part is there, are good.
    verified(root.path(), LIMIT_MIB + ((51 * Limits::default().max_pixels) >> 20));
}
