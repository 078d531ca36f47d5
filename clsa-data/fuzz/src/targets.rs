//! What is fuzzed: every parser of the crate's own, and decoding. Each takes any bytes and must not panic; what it
//! accepts must hold together. The fuzz targets and the test of the seed corpus both run these.

use std::io::Cursor;

use clsa_data::fuzzing::{ShardIndex, expand_braces, parse_annotation, parse_idx, scan_reader};
use clsa_data::{Limits, Source, decode, dimensions};

pub fn annotation(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(presence) = parse_annotation(text)
    {
        assert_eq!(presence.len(), 20);
    }
}

pub fn braces(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(names) = expand_braces(text)
    {
        assert!(names.len() <= 1_000_000);
    }
}

pub fn idx(data: &[u8]) {
    if let Ok((shape, values)) = parse_idx(data) {
        assert_eq!(shape.iter().map(|&size| size as usize).product::<usize>(), values.len());
    }
}

pub fn image(data: &[u8]) {
    let limits = Limits { max_pixels: 1 << 20, max_bytes: 1 << 20 };
    if let Ok(image) = decode(data, "fuzz", &limits) {
        assert!(image.width() > 0 && image.height() > 0 && image.width() * image.height() <= 1 << 20);
        assert_eq!(dimensions(data, "fuzz", &limits).ok(), Some(image.dimensions()));
    }
}

pub fn index(data: &[u8]) {
    if let Ok(index) = ShardIndex::from_bytes(data) {
        assert_eq!(index.to_bytes(), data);
    }
}

pub fn shard(data: &[u8]) {
    if let Ok(index) = scan_reader(Cursor::new(data), data.len() as u64, &["ant".into(), "owl".into()]) {
        assert_eq!(ShardIndex::from_bytes(&index.to_bytes()), Ok(index));
    }
}

pub fn source(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(source) = text.parse::<Source>()
    {
        assert_eq!(source.to_string().parse::<Source>().ok(), Some(source));
    }
}
