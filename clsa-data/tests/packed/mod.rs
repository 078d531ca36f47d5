//! Image files in one fixture, each with what Pillow makes of it.

use clsa_data::{Limits, SampleError, decode};
use std::path::Path;

/// A file that Pillow decodes, or refuses if its kind says so; then size and CRC are 0.
pub struct Packed {
    pub kind: String,
    pub bytes: Vec<u8>,
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// CRC-32 of the pixels.
    pub crc: u32,
}

impl Packed {
    /// Decodes the file, which gives Pillow's pixels or an error.
    pub fn check(&self, name: &str) -> Result<(), SampleError> {
        let image = decode(&self.bytes, name, &Limits::default())?;
        assert_eq!(image.dimensions(), self.size, "{name}");
        assert_eq!(crc32fast::hash(image.as_raw()), self.crc, "{name}");
        Ok(())
    }
}

/// The files of a fixture, in the form that `fixtures/packed.py` says.
pub fn fixtures(name: &str) -> Vec<Packed> {
    let packed = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap();
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
        fixtures.push(Packed { kind, bytes, size, crc });
    }
    fixtures
}
