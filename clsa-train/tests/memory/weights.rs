//! Weight files: safetensors, the forms of `torch.save`, and their pickles.

use super::{LIMIT_MIB, LONG, UNPACKED, failed, limited, refused, sparse};
use assert_cmd::Command;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// What reads a file of weights.
fn commands(path: &Path) -> [Command; 2] {
    let (mut convert, mut eval) = (limited(LIMIT_MIB), limited(LIMIT_MIB));
    convert.arg("convert").arg(path).arg(path.with_file_name("out.safetensors"));
    eval.current_dir(path.parent().unwrap()).args(["eval", "--data", "procedural:train=8,test=8,side=8", "--weights"]);
    eval.arg(path);
    [convert, eval]
}

/// Checks that no command takes a file for weights.
fn is_refused(what: &str, path: &Path) {
    let name = path.file_name().unwrap().to_str().unwrap();
    commands(path).iter_mut().for_each(|command| refused(what, command, name));
}

/// A safetensors file whose first eight bytes state this length of its header.
fn safetensors(length: u64, header: &str) -> Vec<u8> {
    [&length.to_le_bytes()[..], header.as_bytes(), &[0; 64]].concat()
}

#[test]
fn safetensors_whose_headers_state_more_than_they_hold_are_refused() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("w.safetensors");
    for length in [u64::MAX, 1 << 60, 1 << 40, 1 << 31, 100_000_000, 99_999_999] {
        fs::write(&path, safetensors(length, "{\"a\":")).unwrap();
        is_refused(&format!("header of {length}"), &path);
    }
    for info in [
        r#""shape":[1099511627776],"data_offsets":[0,4398046511104]"#,
        r#""shape":[18446744073709551615,4],"data_offsets":[0,64]"#,
        r#""shape":[4294967296,4294967296],"data_offsets":[0,0]"#,
        r#""shape":[16],"data_offsets":[0,18446744073709551615]"#,
    ] {
        let header = format!("{{\"conv1.weight\":{{\"dtype\":\"F32\",{info}}}}}");
        fs::write(&path, safetensors(header.len() as u64, &header)).unwrap();
        is_refused(info, &path);
    }
    // As long as it says: what there is no memory for fails.
    let shape = (LONG - 8 - 100) / 4;
    let header =
        format!("{{\"conv1.weight\":{{\"dtype\":\"F32\",\"shape\":[{shape}],\"data_offsets\":[0,{}]}}}}", 4 * shape);
    sparse(&path, &safetensors(100, &format!("{header:100}"))[..108], LONG);
    for mut command in commands(&path) {
        assert!(failed("long file", &mut command).contains("w.safetensors"));
    }
}

/// A pickle of a state dictionary with one tensor, `conv1.weight`, of so many float32 in the storage `0`.
fn state_dict(elements: u64) -> Vec<u8> {
    let long = |value: u64| [&[0x8a, 8][..], &value.to_le_bytes()].concat();
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    [
        &b"\x80\x02}("[..],
        &text("conv1.weight"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((",
        &text("storage"),
        b"ctorch\nFloatStorage\n",
        &text("0"),
        &text("cpu"),
        &long(elements),
        b"tQK\0",
        &long(elements),
        b"\x85K\x01\x85\x89}tRu.",
    ]
    .concat()
}

/// An archive of `torch.save` whose members are deflated.
fn archive(path: &Path, members: &[(&str, &[u8], u64)]) {
    let mut archive = ZipWriter::new(File::create(path).unwrap());
    let options =
        SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).compression_level(Some(1));
    for &(name, bytes, zeros) in members {
        archive.start_file(name, options).unwrap();
        archive.write_all(bytes).unwrap();
        std::io::copy(&mut std::io::Read::take(std::io::repeat(0), zeros), &mut archive).unwrap();
    }
    archive.finish().unwrap();
}

#[test]
fn archives_that_unpack_to_gigabytes_are_refused() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("w.pth");
    let bytes = UNPACKED;
    archive(&path, &[("w/data.pkl", &state_dict(bytes / 4), 0), ("w/data/0", &[], bytes)]);
    is_refused("storage", &path);
    archive(&path, &[("w/data.pkl", &state_dict(16), bytes), ("w/data/0", &[], 64)]);
    is_refused("pickle", &path);
    // The directory states little, and the member holds more.
    archive(&path, &[("w/data.pkl", &state_dict(16), 0), ("w/data/0", &[], bytes)]);
    let mut altered = fs::read(&path).unwrap();
    let directory = altered.windows(4).rposition(|bytes| bytes == b"PK\x01\x02").unwrap();
    altered[directory + 24..directory + 28].copy_from_slice(&64u32.to_le_bytes());
    fs::write(&path, &altered).unwrap();
    is_refused("member longer than the directory says", &path);
    // The directory states that everything is stored and as long as 32 bits have it.
    for at in [20, 24] {
        altered[directory + at..directory + at + 4].copy_from_slice(&0xffff_fff0u32.to_le_bytes());
    }
    altered[directory + 10..directory + 12].copy_from_slice(&[0, 0]);
    fs::write(&path, &altered).unwrap();
    is_refused("member longer than the file", &path);
    // The end record states that the directory has 65535 members.
    let end = altered.len() - 22;
    altered[end + 8..end + 12].copy_from_slice(&[0xff; 4]);
    fs::write(&path, &altered).unwrap();
    is_refused("members", &path);
}

/// The three pickles before the object of a file of the legacy form.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.";

#[test]
fn pickles_that_state_more_than_they_hold_are_refused() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("w.pth");
    let long = |opcode: u8, bytes: &[u8]| [&[opcode], bytes].concat();
    let most = u64::MAX.to_le_bytes();
    let objects: Vec<(&str, Vec<u8>)> = vec![
        ("text", long(b'X', &[0xff; 4])),
        ("long text", long(0x8d, &most)),
        ("bytes", long(b'B', &[0xff; 4])),
        ("long bytes", long(0x8e, &(1u64 << 60).to_le_bytes())),
        ("byte array", long(0x96, &most)),
        ("number", long(0x8b, &[0xff, 0xff, 0xff, 0x7f])),
        ("frame", long(0x95, &most)),
        ("memo", b"Nr\xff\xff\xff\xff0".repeat(4_000_000)),
        ("lists", b"]".repeat(8_000_000)),
        ("marks", b"(".repeat(8_000_000)),
        ("copies", [&b"N"[..], &b"2".repeat(8_000_000)].concat()),
        ("tuples of copies", [&b"N"[..], &b"((hhhhhhhht".repeat(1_000_000)].concat()),
        ("line", [&b"c"[..], &b"a".repeat(8_000_000)].concat()),
        ("a list in itself", [&b"]q\0"[..], &b"h\0a".repeat(3_000_000)].concat()),
        ("doubled list", [&b"]q\0N"[..], &b"(h\0h\0t".repeat(2_000_000)].concat()),
    ];
    for (what, object) in objects {
        fs::write(&path, [LEGACY, b"\x80\x02", &object, b"."].concat()).unwrap();
        is_refused(what, &path);
    }
    for elements in [u64::MAX >> 2, 1 << 60, 1 << 40, 1 << 31] {
        let keys = b"\x80\x02]X\x01\0\0\x000a.";
        let object = state_dict(elements);
        fs::write(&path, [LEGACY, &object, keys, &elements.to_le_bytes(), &[0; 64]].concat()).unwrap();
        is_refused(&format!("storage of {elements}"), &path);
    }
}

#[test]
fn archives_of_the_oldest_form_with_long_names_are_refused() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("w.pth");
    for kind in
        [tar::EntryType::GNULongName, tar::EntryType::GNULongLink, tar::EntryType::XHeader, tar::EntryType::GNUSparse]
    {
        let mut header = tar::Header::new_ustar();
        header.set_path("pickle").unwrap();
        header.set_size(LONG - 1536);
        header.set_entry_type(kind);
        header.set_cksum();
        sparse(&path, header.as_bytes(), LONG);
        is_refused(&format!("{kind:?}"), &path);
    }
}
