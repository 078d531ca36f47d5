//! Images and data sets.

use crate::file::with_file;
use crate::pillow;
use clsa_data::fuzzing::{
    ShardIndex, decode_text, decode_xml, expand_braces, parse_annotation, parse_idx, parse_list, scan_reader,
};
use clsa_data::{Limits, Source, Split, decode, dimensions};
use std::io::Cursor;

const LIMITS: Limits = Limits { max_pixels: 1 << 18, max_bytes: 1 << 20 };
/// Bytes of a block of a tar archive.
const BLOCK: usize = 512;

pub fn annotation(data: &[u8]) {
    let _ = decode_text(data);
    if let Ok(text) = decode_xml(data)
        && let Ok(presence) = parse_annotation(&text)
    {
        assert_eq!(presence.len(), 20);
    }
}

pub fn pattern(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    // Fewer than a source may name: these cost time and reach nothing new.
    const MOST: usize = 1000;
    if let Ok(names) = expand_braces(text, MOST) {
        assert!(names.len() <= MOST);
    }
    if let Ok(source) = text.parse::<Source>() {
        assert_eq!(source.to_string().parse::<Source>().ok(), Some(source));
    }
}

/// A table of images, of which either all have a label or none.
pub fn list(data: &[u8]) {
    let Ok(text) = decode_text(data) else { return };
    for delimiter in [b',', b'\t'] {
        if let Ok(table) = parse_list(&text, delimiter) {
            let rows = table.rows;
            assert!(rows.iter().all(|row| !row.path.is_empty() && row.label.is_some() == rows[0].label.is_some()));
        }
    }
}

pub fn idx(data: &[u8]) {
    if let Ok((shape, values)) = parse_idx(data) {
        assert_eq!(shape.iter().map(|&size| size as usize).product::<usize>(), values.len());
    }
}

/// An image of any format. What has a size has that size when it is decoded.
pub fn image(data: &[u8]) {
    let size = dimensions(data, "fuzz", &LIMITS);
    if let Ok(image) = decode(data, "fuzz", &LIMITS) {
        assert!(image.width() > 0 && image.height() > 0);
        assert!(u64::from(image.width()) * u64::from(image.height()) <= LIMITS.max_pixels);
        assert_eq!(size.ok(), Some(image.dimensions()));
    }
}

/// A JPEG, which is what Pillow makes of it, or refused. Where there is no Pillow to ask, it is decoded only.
pub fn jpeg(data: &[u8]) {
    if !data.starts_with(b"\xff\xd8\xff") {
        return;
    }
    image(data);
    if let Ok(image) = decode(data, "fuzz", &LIMITS) {
        pillow::compare(data, &image);
    }
}

pub fn index(data: &[u8]) {
    for data in [data.to_vec(), with_checksum(data)] {
        if let Ok(index) = ShardIndex::from_bytes(&data) {
            assert_eq!(index.to_bytes(), data);
        }
    }
}

/// The bytes with the checksum that an index has at its end, so that what is before is read.
fn with_checksum(data: &[u8]) -> Vec<u8> {
    let body = &data[..data.len().saturating_sub(4)];
    [body, &crc32fast::hash(body).to_le_bytes()].concat()
}

pub fn tar(data: &[u8]) {
    for data in [data.to_vec(), with_header_checksums(data)] {
        let length = data.len() as u64;
        if let Ok(index) = scan_reader(Cursor::new(data), length, &["ant".into(), "owl".into()]) {
            assert_eq!(ShardIndex::from_bytes(&index.to_bytes()), Ok(index));
        }
    }
}

/// An archive whose headers have the checksums that belong to what stands there, so that it is read.
fn with_header_checksums(data: &[u8]) -> Vec<u8> {
    let mut archive = data.to_vec();
    for block in archive.chunks_exact_mut(BLOCK).filter(|block| block[257..262] == *b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    archive
}

pub fn cifar(data: &[u8]) {
    let data = with_header_checksums(data);
    with_file("cifar.tar.gz", &data, |path| open_and_read(&format!("cifar-bin:{}", path.display())));
}

pub fn parquet(data: &[u8]) {
    with_file("train.parquet", data, |path| open_and_read(&format!("parquet:{}", path.display())));
}

/// Opens both splits of a source, and reads names, labels and images of the first samples.
fn open_and_read(source: &str) {
    let source: Source = source.parse().expect("the kind is known");
    for split in [Split::Train, Split::Test] {
        let Ok(dataset) = source.open_with(split, LIMITS) else { continue };
        for sample in 0..dataset.len().min(16) {
            let (name, label) = (dataset.name(sample), dataset.label(sample));
            assert!(!name.is_empty());
            assert!(label.class().is_none_or(|class| (class as usize) < dataset.class_names().len()));
            let _ = (dataset.encoded(sample), dataset.image(sample));
        }
    }
}
