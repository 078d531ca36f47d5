//! Zip archives as PyTorch ends them, and as others pack them anew.

use candle_core::Tensor;
use clsa_model::weights;
use std::io::{Read, Write};
use std::path::Path;
use zip::CompressionMethod;

/// The members of a fixture: names after the folder's, and bytes.
fn members() -> Vec<(String, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/views_zip.pth");
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
    (0..archive.len())
        .map(|index| {
            let mut member = archive.by_index(index).unwrap();
            let name = member.name().unwrap().split_once('/').unwrap().1.to_owned();
            let mut bytes = Vec::new();
            member.read_to_end(&mut bytes).unwrap();
            (name, bytes)
        })
        .collect()
}

fn archive(folder: &str, members: &[(String, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut writer = zip::ZipWriter::new(&mut bytes);
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, content) in members {
        writer.start_file(format!("{folder}/{name}"), options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap();
    bytes.into_inner()
}

/// Puts the ZIP64 records before the end record, as PyTorch does in every archive; with `needed`, the end record refers to them.
fn with_zip64_records(mut bytes: Vec<u8>, needed: bool) -> Vec<u8> {
    let end = bytes.split_off(bytes.len() - 22);
    let field = |at: usize, len: usize| {
        let mut wide = [0; 8];
        wide[..len].copy_from_slice(&end[at..at + len]);
        wide
    };
    let place = bytes.len() as u64;
    bytes.extend(b"PK\x06\x06");
    bytes.extend(44_u64.to_le_bytes());
    bytes.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for (at, len) in [(8, 2), (10, 2), (12, 4), (16, 4)] {
        bytes.extend(field(at, len));
    }
    bytes.extend(b"PK\x06\x07\0\0\0\0");
    bytes.extend(place.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    let start = bytes.len();
    bytes.extend(&end);
    if needed {
        bytes[start + 8..start + 20].fill(0xff);
    }
    bytes
}

fn read(bytes: &[u8]) -> Result<Vec<(String, Vec<f32>)>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pth");
    std::fs::write(&path, bytes).unwrap();
    let file = weights::read(&path).map_err(|error| error.to_string())?;
    let values =
        |t: &Tensor| t.to_dtype(candle_core::DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let mut tensors: Vec<_> = file.tensors.iter().map(|(name, tensor)| (name.clone(), values(tensor))).collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(tensors)
}

#[test]
fn archives_with_zip64_records_are_read_whatever_the_length_of_their_name() {
    let members = members();
    let expected = read(&archive("archive", &members, CompressionMethod::Stored)).unwrap();
    assert_eq!(expected.len(), 7);
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        for len in 1..=120 {
            let bytes = archive(&"x".repeat(len), &members, method);
            assert_eq!(read(&bytes), Ok(expected.clone()), "{method:?} {len}");
            for needed in [false, true] {
                let bytes = with_zip64_records(bytes.clone(), needed);
                assert_eq!(read(&bytes), Ok(expected.clone()), "{method:?} {len}, needed: {needed}");
            }
        }
    }
}

#[test]
fn an_archive_that_unpacks_to_far_more_than_weights_is_refused() {
    let mut members = members();
    members.push(("data/99".to_owned(), vec![0; 80 << 20]));
    let bytes = archive("archive", &members, CompressionMethod::Deflated);
    assert!(bytes.len() < 1 << 20);
    let error = read(&bytes).unwrap_err();
    assert!(error.contains("weights.pth: unpacks to far more bytes than weights do"), "{error}");
}
