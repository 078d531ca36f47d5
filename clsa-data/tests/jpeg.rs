//! JPEG files of many kinds, whole and damaged, against what Pillow makes of them.

use std::collections::BTreeMap;
use std::path::Path;

use clsa_data::{Limits, decode, dimensions};

/// A file that Pillow decodes.
struct Fixture {
    kind: String,
    bytes: Vec<u8>,
    /// Width and height in pixels.
    size: (u32, u32),
    /// CRC-32 of the pixels.
    crc: u32,
}

/// The files that `fixtures/make_jpegs.py` makes.
fn fixtures() -> Vec<Fixture> {
    let packed = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/jpegs.bin")).unwrap();
    let mut rest = &packed[..];
    let mut fixtures = Vec::new();
    while !rest.is_empty() {
        let mut take = |bytes: usize| rest.split_off(..bytes).unwrap();
        let length = take(1)[0].into();
        let kind = String::from_utf8(take(length).to_vec()).unwrap();
        let length = u32::from_le_bytes(take(4).try_into().unwrap()) as usize;
        let bytes = take(length).to_vec();
        let mut side = || u16::from_le_bytes(take(2).try_into().unwrap()).into();
        let size = (side(), side());
        let crc = u32::from_le_bytes(take(4).try_into().unwrap());
        fixtures.push(Fixture { kind, bytes, size, crc });
    }
    fixtures
}

#[test]
fn jpegs_of_many_kinds_decode_to_pillow_bytes_or_are_refused_for_codes_that_make_no_sense() {
    let mut refused = BTreeMap::<_, usize>::new();
    let fixtures = fixtures();
    for (index, Fixture { kind, bytes, size, crc }) in fixtures.iter().enumerate() {
        let name = format!("{kind} {index}");
        match decode(bytes, &name, &Limits::default()) {
            Ok(image) => {
                assert_eq!(image.dimensions(), *size, "{name}");
                assert_eq!(crc32fast::hash(image.as_raw()), *crc, "{name}");
            }
            Err(error) => {
                assert!(error.to_string().contains("corrupt data"), "{error}");
                *refused.entry(kind).or_default() += 1;
            }
        }
        assert_eq!(dimensions(bytes, &name, &Limits::default()).unwrap(), *size);
    }
    assert!(fixtures.len() > 200 && refused.values().sum::<usize>() < fixtures.len() / 10, "{refused:?}");
    let whole = ["whole", "CMYK", "restarts", "wide quantizers", "other colors", "several scans", "no Huffman tables"];
    assert!(whole.iter().all(|&kind| !refused.contains_key(&kind.to_string())), "{refused:?}");
}

#[test]
fn a_jpeg_that_is_cut_anywhere_is_refused_or_gives_its_size() {
    for Fixture { bytes, size, .. } in fixtures().iter().step_by(7) {
        for end in (0..bytes.len()).step_by(3) {
            if let Ok(image) = decode(&bytes[..end], "cut", &Limits::default()) {
                assert_eq!(image.dimensions(), *size);
            }
        }
    }
}
