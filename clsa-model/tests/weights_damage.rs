//! Damaged weight files: refused or read, but never a panic and never more memory than the file accounts for. Which of the
//! two, and what is read, is not looked at here, except where a file is made to be refused.

use clsa_model::weights::{self, Format};
use proptest::prelude::*;
use std::path::Path;

/// Files of every form that is read; those without checksums let damage through to what reads the pickles.
const FILES: [&str; 6] = [
    "views_zip.pth",
    "views_legacy.pth",
    "resnet10_legacy.pth",
    "resnet10_tar.pth",
    "moco_zip.pth.tar",
    "resnet10.safetensors",
];

/// The bytes of a form, the safetensors file being written from another.
fn original(name: &str) -> Vec<u8> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    if name.ends_with(".safetensors") {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let tensors = weights::read(&fixtures.join("resnet10_zip.pth")).unwrap().tensors;
        weights::write(&path, &tensors, Format::Safetensors).unwrap();
        return std::fs::read(path).unwrap();
    }
    std::fs::read(fixtures.join(name)).unwrap()
}

/// The most address space the process has had, in MiB: an absurd request counts even where it is never touched.
#[cfg(target_os = "linux")]
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmPeak:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[cfg(not(target_os = "linux"))]
fn peak_mib() -> u64 {
    0
}

#[derive(Clone, Debug)]
enum Damage {
    /// Keeps this fraction.
    Cut(f64),
    /// Sets the byte at this fraction of the file, or of its first 3000 bytes where the structure is.
    Set(f64, bool, u8),
    /// Puts a byte in.
    Insert(f64, bool, u8),
    /// Takes bytes out.
    Remove(f64, bool, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        1 => (0.0..1.0).prop_map(Damage::Cut),
        6 => (0.0..1.0, any::<bool>(), any::<u8>()).prop_map(|(at, near, byte)| Damage::Set(at, near, byte)),
        2 => (0.0..1.0, any::<bool>(), any::<u8>()).prop_map(|(at, near, byte)| Damage::Insert(at, near, byte)),
        2 => (0.0..1.0, any::<bool>(), 1..40_usize).prop_map(|(at, near, len)| Damage::Remove(at, near, len)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    let place = |at: f64, near: bool, len: usize| (at * if near { len.min(3000) } else { len } as f64) as usize;
    match *damage {
        Damage::Cut(kept) => bytes.truncate((kept * bytes.len() as f64) as usize),
        Damage::Set(at, near, byte) => {
            let place = place(at, near, bytes.len());
            bytes[place] = byte;
        }
        Damage::Insert(at, near, byte) => bytes.insert(place(at, near, bytes.len()), byte),
        Damage::Remove(at, near, len) => {
            let start = place(at, near, bytes.len());
            let end = (start + len).min(bytes.len());
            bytes.drain(start..end);
        }
    }
}

/// What other tests add meanwhile, in MiB: the C library sets 64 MiB of addresses aside for each thread that begins.
const OTHER_TESTS: u64 = 512;

/// Reads a file in bounded memory, and what was read can be looked at and written; whether it was.
fn is_read_without_panic_in_bounded_memory(name: &str, bytes: &[u8]) -> Result<bool, TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let before = peak_mib();
    let read = weights::read(&path);
    let was_read = read.is_ok();
    match read {
        Ok(file) => {
            let _ = weights::infer_config(&file.tensors);
            // A byte of damage can name a type of numbers that PyTorch does not have.
            if let Err(error) = weights::write(&folder.path().join("out.pth"), &file.tensors, Format::Pth) {
                prop_assert!(error.to_string().contains("PyTorch has no storage of type"), "{error}");
            }
        }
        Err(error) => prop_assert!(error.to_string().contains(name), "{error}"),
    }
    prop_assert!(peak_mib() < before + 256 + OTHER_TESTS, "memory grew from {before} to {} MiB", peak_mib());
    Ok(was_read)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_cause_no_panic_and_no_absurd_memory(
        file in 0..FILES.len(),
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        thread_local!(static ORIGINALS: Vec<Vec<u8>> = FILES.iter().map(|name| original(name)).collect());
        let mut bytes = ORIGINALS.with(|originals| originals[file].clone());
        for damage in &damages {
            apply(&mut bytes, damage);
        }
        is_read_without_panic_in_bounded_memory(FILES[file], &bytes)?;
    }

    /// Nothing but the magic number is right, so that the pickle machine sees every instruction in every state.
    #[test]
    fn random_pickles_cause_no_panic_and_no_absurd_memory(
        program in prop::collection::vec(prop_oneof![
            4 => prop::sample::select(
                b"(.02NKMJXTUBC)\x85\x86\x87t]lae}dsuqrhjcRbQ\x88\x89\x8a\x8c\x8d\x93\x94\x95G".to_vec()),
            1 => any::<u8>(),
        ], 0..200),
    ) {
        let mut bytes = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02".to_vec();
        bytes.extend(program);
        is_read_without_panic_in_bounded_memory("program.pth", &bytes)?;
    }
}

/// A chain of nested tuples as deep as the file is long: no recursion may follow it.
#[test]
fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
    let mut bytes = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02)".to_vec();
    bytes.extend(std::iter::repeat_n(0x85, 1_000_000));
    bytes.push(b'.');
    assert!(!is_read_without_panic_in_bounded_memory("deep.pth", &bytes).unwrap());
}

/// Lengths that claim far more than the file has.
#[test]
fn absurd_lengths_are_refused_before_memory_is_taken() {
    let head = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02";
    for claim in [&b"X\xff\xff\xff\x7fab"[..], b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fab", b"B\xff\xff\xff\xffab"] {
        let bytes = [&head[..], claim].concat();
        assert!(!is_read_without_panic_in_bounded_memory("claim.pth", &bytes).unwrap());
    }
    assert!(
        !is_read_without_panic_in_bounded_memory("claim.safetensors", b"\xff\xe0\xf5\x05\0\0\0\0{\"a\":1}").unwrap()
    );
}

/// A file of the legacy form: a dictionary of entries, of tensors of one storage of four numbers of 8 bytes.
fn legacy(entries: &[u8]) -> Vec<u8> {
    let head = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02}(";
    [head, entries, b"u.\x80\x02](U\x010e.", &4_u64.to_le_bytes(), &[0; 32]].concat()
}

/// A tensor of that storage.
fn tensor(offset: u64, shape: &[u64]) -> Vec<u8> {
    let int = |value: u64| [b"\x8a\x09", &value.to_le_bytes()[..], b"\0"].concat();
    let sizes: Vec<u8> = shape.iter().flat_map(|&size| int(size)).collect();
    let strides: Vec<u8> = shape.iter().flat_map(|_| int(1)).collect();
    let storage = b"ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nDoubleStorage\nU\x010U\x03cpuK\x04tQ";
    [storage, &int(offset)[..], b"(", &sizes, b"t(", &strides, b"t\x89}tR"].concat()
}

/// Where they are nothing to the number of elements, an offset and sizes can be anything.
#[test]
fn tensors_without_elements_may_have_any_offset_but_no_sizes_that_overflow() {
    let file = |offset, shape: &[u64]| legacy(&[b"U\x01a", &tensor(offset, shape)[..]].concat());
    assert!(is_read_without_panic_in_bounded_memory("offset.pth", &file(1 << 61, &[0, 3])).unwrap());
    assert!(!is_read_without_panic_in_bounded_memory("sizes.pth", &file(0, &[0, 1 << 40, 1 << 40])).unwrap());
    let header = br#"{"a":{"dtype":"F32","shape":[0,1099511627776,1099511627776],"data_offsets":[0,0]}}"#;
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header].concat();
    assert!(!is_read_without_panic_in_bounded_memory("sizes.safetensors", &bytes).unwrap());
}

/// One tensor without elements under many names.
#[test]
fn more_tensors_than_a_file_has_bytes_for_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.pth");
    for (count, expected) in
        [(1_000, ""), (60_000, "describes more tensors than it has data for"), (100_001, "of 100001 entries")]
    {
        let mut entries = [b"U\x01a", &tensor(0, &[0, 1, 1, 1, 1, 1, 1, 1])[..], b"q\0"].concat();
        for i in 1..count {
            entries.extend(format!("U\x06{i:06}h\0").into_bytes());
        }
        std::fs::write(&path, legacy(&entries)).unwrap();
        match weights::read(&path) {
            Ok(file) => assert_eq!((file.tensors.len(), expected), (count, "")),
            Err(error) => assert!(!expected.is_empty() && error.to_string().contains(expected), "{error}"),
        }
    }
}

/// Copies of one large list, each made by a single call: the work is bounded, not only the number of instructions.
#[test]
fn repeated_copies_of_a_list_are_refused() {
    let mut bytes = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02".to_vec();
    // memo 0: a pair; memo 1: a list of 50 000 pairs; memo 2: (list,); memo 3: OrderedDict.
    bytes.extend(b"K\x01K\x02\x86q\x00]q\x01(");
    bytes.extend(b"h\x00".repeat(50_000));
    bytes.extend(b"eh\x01\x85q\x02ccollections\nOrderedDict\nq\x03");
    bytes.extend(b"h\x03h\x02R".repeat(20_000));
    bytes.push(b'.');
    assert!(!is_read_without_panic_in_bounded_memory("copies.pth", &bytes).unwrap());
}
