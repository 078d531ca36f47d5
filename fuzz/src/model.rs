//! Weight files.

use crate::file::with_file;
use clsa_model::weights::{self, Format};
use std::io::{Cursor, Write};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// What is before the state dictionary in a file of the older form: magic number, version, and properties of the system.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.";

/// A file of any form.
pub fn weights(data: &[u8]) {
    for name in ["weights.pth", "weights.safetensors"] {
        read(name, data);
    }
}

/// A zip archive.
pub fn zip(data: &[u8]) {
    if data.starts_with(b"PK") {
        read("weights.pth", data);
    }
}

/// A state dictionary's pickle: behind an even byte in the older form, with the tensors' bytes behind it; behind another in a zip
/// archive.
pub fn pickle(data: &[u8]) {
    let Some((form, data)) = data.split_first() else { return };
    if form % 2 == 0 {
        return read("weights.pth", &[LEGACY, data].concat());
    }
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let parts: [(&str, &[u8]); 5] =
        [("data.pkl", data), ("byteorder", b"little"), ("data/0", &[1; 64]), ("data/1", &[2; 64]), ("version", b"3\n")];
    for (name, bytes) in parts {
        archive.start_file(format!("archive/{name}"), stored).expect("memory can be written");
        archive.write_all(bytes).expect("memory can be written");
    }
    read("weights.pth", archive.finish().expect("memory can be written").get_ref());
}

/// What is read can be looked at and written.
fn read(name: &str, data: &[u8]) {
    with_file(name, data, |path| match weights::read(path) {
        Ok(file) => {
            let _ = weights::infer_config(&file.tensors);
            weights::write(&path.with_file_name("written.pth"), &file.tensors, Format::Pth).expect("it can be written");
        }
        Err(error) => assert!(error.to_string().contains(name), "{error}"),
    });
}
