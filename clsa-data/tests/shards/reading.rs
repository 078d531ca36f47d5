//! What is read from shards, and what is refused.

use std::fs;

use clsa_data::{Fault, Label, Split};
use tempfile::TempDir;

use crate::{fault, png, refusal, source, tar, two_shards};

#[test]
fn shards_are_read_in_order_with_labels_from_cls_and_json() {
    let root = two_shards();
    let folder = root.path().display();
    for text in [
        format!("wds:{folder}"),
        format!("wds:{folder}/{{split}}-*.tar"),
        format!("wds:{folder}/train-{{000..001}}.tar"),
    ] {
        let train = source(&text).open(Split::Train).unwrap();
        let reds: Vec<u8> = (0..train.len()).map(|i| train.image(i).unwrap().get_pixel(0, 0).0[0]).collect();
        assert_eq!(reds, [1, 2, 3], "{text}");
        let labels: Vec<Label> = (0..3).map(|index| train.label(index)).collect();
        assert_eq!(labels, [Label::Class(2), Label::Class(0), Label::Class(1)]);
        assert_eq!(train.shards().unwrap(), [2, 1]);
        assert!(train.name(1).ends_with("train-000.tar/a/0002.JPG"), "{}", train.name(1));
        assert_eq!(train.dimensions(2).unwrap(), (2, 2));
    }
    assert_eq!(source(format!("wds:{folder}")).open(Split::Test).unwrap().len(), 1);
    assert_eq!(source(format!("wds:{folder}/{{split}}-000.tar")).open(Split::Test).unwrap().len(), 1);
    let error = source(format!("wds:{folder}/train-000.tar")).open(Split::Test).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("{split}"), "{error}");
}

#[test]
fn class_names_come_from_the_file_beside_the_shards() {
    let root = TempDir::new().unwrap();
    tar(&root.path().join("train.tar"), &[("1.png", png(1)), ("1.cls", b"owl".to_vec())]);
    for names in ["ant\nowl\n", "\u{feff}ant\r\nowl\r\n\r\n", "ant \nowl"] {
        fs::write(root.path().join("classes.txt"), names).unwrap();
        let train = source(format!("wds:{}", root.path().display())).open(Split::Train).unwrap();
        assert_eq!(train.class_names(), ["ant", "owl"]);
        assert_eq!(train.label(0), Label::Class(1));
    }
    fs::write(root.path().join("classes.txt"), b"caf\xe9\nowl\n").unwrap();
    let error = refusal(&format!("wds:{}", root.path().display()));
    assert!(error.contains("classes.txt: is not UTF-8 at byte 3; save it as UTF-8"), "{error}");
}

#[test]
fn what_is_not_read_of_a_shard_is_said() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("train.tar");
    tar(&path, &[("1.png", png(1))]);
    let one = fs::read(&path).unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(png(1).len() as u64);
    archive.append_data(&mut header, "1.png", png(1).as_slice()).unwrap();
    for (kind, name) in [(tar::EntryType::Link, "2.PNG"), (tar::EntryType::Symlink, "3.jpg")] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        archive.append_link(&mut header, name, "1.png").unwrap();
    }
    let linked = archive.into_inner().unwrap();
    let notes = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let train = source(format!("wds:{}", root.path().display())).open(Split::Train).unwrap();
        assert_eq!(train.len(), 1);
        train.notes()
    };
    assert!(notes(&one).is_empty());
    let expected = "images that are not used, because they are links to other files of their archive: 2, such as 2.PNG";
    assert_eq!(notes(&linked), [expected]);
    let filled = [&one[..], &[0; 8192]].concat();
    assert!(notes(&filled).is_empty());
    let twice = [&one[..], &[0; 8192], &one[..]].concat();
    let expected = format!(
        "shards with more behind the end of their archive, which is not read: 1, such as one with {} bytes from byte {} on",
        one.len(),
        filled.len()
    );
    assert_eq!(notes(&twice), [expected]);
}

#[test]
fn a_sample_with_two_labels_of_a_kind_is_refused() {
    let root = TempDir::new().unwrap();
    for (name, labels) in [("1.cls", ["0", "1"]), ("1.json", ["{\"label\": 0}", "{\"label\": 1}"])] {
        let label = |at: usize| (name, labels[at].as_bytes().to_vec());
        tar(&root.path().join("train.tar"), &[("1.png", png(1)), label(0), label(1)]);
        let error = refusal(&format!("wds:{}", root.path().display()));
        assert!(error.contains(&format!("has {name} twice for one sample")), "{error}");
    }
}

#[test]
fn a_tar_cut_in_the_middle_is_refused_by_name_wherever_it_is_cut() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("train-0.tar");
    let files: Vec<(String, Vec<u8>)> = (0..4).map(|i| (format!("{i}.png"), png(i))).collect();
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    tar(&path, &files);
    let whole = fs::read(&path).unwrap();
    // Everything up to the second of the two blocks that end the archive.
    for end in (0..whole.len() - 1024).step_by(61) {
        fs::write(&path, &whole[..end]).unwrap();
        let error = refusal(&format!("wds:{}", root.path().display()));
        assert!(error.contains("train-0.tar"), "cut at {end}: {error}");
    }
}

#[test]
fn shards_that_are_wrong_are_refused_by_name() {
    let root = TempDir::new().unwrap();
    let folder = root.path().display().to_string();
    assert!(refusal(&format!("wds:{folder}")).contains("has no .tar file"));
    assert!(refusal(&format!("wds:{folder}/x-{{0..3}}.tar")).contains("x-0.tar"));
    assert!(refusal(&format!("wds:{folder}/x-*.tar")).contains("names no file"));
    assert!(refusal(&format!("wds:{folder}/x-{{0..3.tar")).contains("without a `}`"));
    for (pattern, expected) in [
        ("", Fault::Layout),
        ("/x-{0..3}.tar", Fault::Missing),
        ("/x-*.tar", Fault::Missing),
        ("/x-{0..3.tar", Fault::Pattern),
    ] {
        assert_eq!(fault(&format!("wds:{folder}{pattern}")), expected, "{pattern}");
    }
    let path = root.path().join("train.tar");
    for (files, part) in [
        (vec![("1.cls", b"1".to_vec())], "no sample with an image"),
        (vec![("1.png", png(1)), ("1.cls", b"-3".to_vec())], "class -3"),
        (vec![("1.png", png(1)), ("1.cls", b"99999999999".to_vec())], "class 99999999999"),
        (vec![("1.png", png(1)), ("1.cls", b"owl".to_vec())], "neither a number nor a known class"),
        (vec![("1.png", png(1)), ("1.cls", vec![b'a', 0xe9])], "1.cls is not UTF-8"),
        (vec![("1.png", png(1)), ("1.cls", vec![b' '; (1 << 20) + 1])], "1.cls has 1048577 bytes, more than"),
        (
            vec![("1.png", png(1)), ("1.cls", b"1".to_vec()), ("2.png", png(1)), ("2.json", b"{".to_vec())],
            "2.json is not JSON",
        ),
        (vec![("1.png", png(1)), ("1.cls", b"1".to_vec()), ("2.png", png(1))], "2.png has 0 labels"),
    ] {
        tar(&path, &files);
        let error = refusal(&format!("wds:{folder}"));
        assert!(error.contains(part) && error.contains("train.tar"), "{error}");
    }
    fs::write(&path, b"this is no tar archive at all".repeat(40)).unwrap();
    assert!(refusal(&format!("wds:{folder}")).contains("not a whole tar archive"));
    assert_eq!(fault(&format!("wds:{folder}")), Fault::Damaged);
}

#[test]
fn several_labels_of_an_image_are_as_many_as_the_names_of_classes() {
    let root = TempDir::new().unwrap();
    let labels = |width: usize| format!("{{\"labels\": {:?}}}", vec![1; width]).into_bytes();
    tar(&root.path().join("train.tar"), &[("1.png", png(1)), ("1.json", labels(20))]);
    let text = format!("wds:{}", root.path().display());
    let names = |count: usize| {
        let names: String = (0..count).map(|class| format!("class {class}\n")).collect();
        fs::write(root.path().join("classes.txt"), names).unwrap();
    };
    for (count, words) in [
        (21, "has 20 labels for each image, but classes.txt beside the shards names 21 classes; name as many"),
        (19, "has 20 classes, but classes.txt beside the shards names 19"),
    ] {
        names(count);
        assert!(refusal(&text).contains(words), "{}", refusal(&text));
        assert_eq!(fault(&text), Fault::Labels);
    }
    names(20);
    assert_eq!(source(&text).open(Split::Train).unwrap().class_names().len(), 20);
    fs::remove_file(root.path().join("classes.txt")).unwrap();
    assert_eq!(source(&text).open(Split::Train).unwrap().class_names().len(), 20);
}

#[test]
fn a_bad_image_in_a_shard_is_a_bad_sample_that_is_named() {
    let root = TempDir::new().unwrap();
    tar(&root.path().join("train.tar"), &[("1.png", png(1)), ("2.png", b"garbage".to_vec())]);
    let train = source(format!("wds:{}", root.path().display())).open(Split::Train).unwrap();
    assert!(train.image(0).is_ok());
    assert!(train.image(1).unwrap_err().to_string().contains("train.tar/2.png"));
}

/// One image with its files, or several, and what is said of them.
fn read(files: &[(&str, Vec<u8>)]) -> (Vec<u8>, Vec<Label>, String) {
    let root = TempDir::new().unwrap();
    tar(&root.path().join("train.tar"), files);
    let train = source(format!("wds:{}", root.path().display())).open(Split::Train).unwrap();
    let reds = (0..train.len()).map(|index| train.image(index).unwrap().get_pixel(0, 0).0[0]).collect();
    (reds, (0..train.len()).map(|index| train.label(index)).collect(), train.notes().join("; "))
}

#[test]
fn what_stands_beside_an_image_and_is_not_needed_never_blocks() {
    let large = format!("{{\"embedding\": [{}0]}}", "0, ".repeat(700_000)).into_bytes();
    for metadata in [
        b"{\"similarity\": NaN}".to_vec(),
        b"{\"labels\": [\"cat\", \"dog\"]}".to_vec(),
        b"{\"label\": \"a cat\"}".to_vec(),
        b"{\"label\": [1, 2]}".to_vec(),
        b"{\"caption\": \"caf\xe9\"}".to_vec(),
        b"no JSON".to_vec(),
        b"".to_vec(),
        large,
    ] {
        let labeled = [("1.png", png(1)), ("1.cls", b"3".to_vec()), ("1.json", metadata.clone())];
        assert_eq!(read(&labeled), (vec![1], vec![Label::Class(3)], String::new()));
        let (reds, labels, note) =
            read(&[("1.json", metadata.clone()), ("1.png", png(1)), ("1.txt", b"\xff".to_vec())]);
        assert_eq!((reds, labels), (vec![1], vec![Label::None]));
        let is_plain = metadata.starts_with(b"{\"similarity");
        assert_eq!(
            note.contains("files of metadata that give no label: 1, such as 1.json, which "),
            !is_plain,
            "{note}"
        );
    }
}

#[test]
fn labels_of_minus_one_stand_for_no_label() {
    assert_eq!(read(&[("1.png", png(1)), ("1.cls", b"-1".to_vec())]).1, [Label::None]);
}

#[test]
fn a_key_ends_at_the_first_dot_and_no_image_is_lost_without_a_word() {
    let (reds, labels, note) =
        read(&[("a.png", png(1)), ("a.cls", b"0".to_vec()), ("b.v2.png", png(2)), ("b.cls", b"1".to_vec())]);
    assert_eq!((reds, labels, note.as_str()), (vec![1, 2], vec![Label::Class(0), Label::Class(1)], ""));
    // The one without more behind the key is the image, the other a mask.
    let (reds, _, note) = read(&[("a.seg.png", png(1)), ("a.png", png(2)), ("x.1.png", png(3)), ("x.2.png", png(4))]);
    assert_eq!(reds, [2, 3]);
    assert!(note.contains("another of the same name is beside them: 2, such as a.seg.png"), "{note}");
}

#[test]
fn labels_that_do_not_stand_beside_their_image_are_counted() {
    let (reds, labels, note) =
        read(&[("1.png", png(1)), ("2.png", png(2)), ("1.cls", b"0".to_vec()), ("2.cls", b"1".to_vec())]);
    assert_eq!((reds, labels), (vec![1, 2], vec![Label::None, Label::None]));
    assert!(note.contains("no image of the same name is beside them: 2, such as 1.cls"), "{note}");
}

#[test]
fn a_shard_without_samples_beside_others_is_no_obstacle() {
    let root = TempDir::new().unwrap();
    tar(&root.path().join("train-0.tar"), &[]);
    tar(&root.path().join("train-1.tar"), &[("1.png", png(1)), ("1.cls", b"1".to_vec())]);
    let train = source(format!("wds:{}", root.path().display())).open(Split::Train).unwrap();
    assert_eq!((train.len(), train.shards().unwrap()), (1, vec![1]));
    assert!(
        train.notes()[0].contains("shards without an image: 1, such as ") && train.notes()[0].contains("train-0.tar")
    );
}

#[test]
fn packed_shards_are_refused_with_how_they_are_packed() {
    let root = TempDir::new().unwrap();
    let text = format!("wds:{}", root.path().display());
    for (bytes, words) in [
        (&b"\x1f\x8b\x08\x00\x00\x00\x00\x00"[..], "train.tar: is gzipped, not a bare tar archive; unpack it first"),
        (b"\x28\xb5\x2f\xfd\x00\x00\x00\x00", "is packed with zstd"),
        (b"PK\x03\x04\x00\x00", "is a zip archive"),
    ] {
        fs::write(root.path().join("train.tar"), bytes).unwrap();
        assert!(refusal(&text).contains(words), "{}", refusal(&text));
        assert_eq!(fault(&text), Fault::Unsupported);
    }
    fs::remove_file(root.path().join("train.tar")).unwrap();
    for name in ["train.tar.gz", "train.tgz", "train.tar.zst"] {
        fs::write(root.path().join(name), "").unwrap();
        assert!(refusal(&text).contains(&format!("{name}: is compressed; unpack it first")), "{}", refusal(&text));
        fs::remove_file(root.path().join(name)).unwrap();
    }
}

#[test]
fn files_of_a_shard_are_shown_escaped_and_never_written_or_read_by_their_names() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("train.tar");
    // The library that writes the archive refuses such names, so they are put into the header.
    let mut archive = tar::Builder::new(Vec::new());
    for name in ["../../etc/\u{1b}[31mx.png", "/abs/y.png"] {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        let bytes = b"garbage";
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        archive.append(&header, &bytes[..]).unwrap();
    }
    fs::write(&path, archive.into_inner().unwrap()).unwrap();
    let train = source(format!("wds:{}", path.display())).open(Split::Train).unwrap();
    assert!(train.name(0).ends_with("train.tar/../../etc/\\x1b[31mx.png"), "{}", train.name(0));
    let error = train.image(0).unwrap_err().to_string();
    assert!(!error.contains('\u{1b}') && error.contains("train.tar/../../etc/\\x1b[31mx.png"), "{error}");
}

#[test]
fn bytes_of_a_file_that_is_no_archive_are_not_in_the_message() {
    let root = TempDir::new().unwrap();
    fs::write(root.path().join("train.tar"), "\u{1b}[31m bad \n".repeat(200)).unwrap();
    let error = refusal(&format!("wds:{}", root.path().display()));
    assert!(error.ends_with("train.tar: is not a whole tar archive: what stands at byte 0 is no header"), "{error}");
}

#[test]
fn a_name_that_would_fill_the_memory_is_refused() {
    let root = TempDir::new().unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_path("././@LongLink").unwrap();
    header.set_size((1 << 20) + 1);
    header.set_cksum();
    archive.append(&header, &vec![b'a'; (1 << 20) + 1][..]).unwrap();
    fs::write(root.path().join("train.tar"), archive.into_inner().unwrap()).unwrap();
    let error = refusal(&format!("wds:{}", root.path().display()));
    assert!(error.contains("has a file name of 1048577 bytes, above the limit of 1048576"), "{error}");
}
