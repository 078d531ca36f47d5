//! `voc2007`: annotations with several labels.

use std::fs;

use clsa_data::{Label, Presence, Split};
use tempfile::TempDir;

use crate::{open, refusal, write_image};

fn annotation(objects: &[(&str, &str)]) -> String {
    let object = |(name, difficult): &(&str, &str)| {
        format!("<object><name>{name}</name><difficult>{difficult}</difficult><bndbox/></object>")
    };
    format!("<annotation><filename>x</filename>{}</annotation>", objects.iter().map(object).collect::<String>())
}

fn voc() -> TempDir {
    let root = TempDir::new().unwrap();
    let base = root.path().join("VOC2007");
    fs::create_dir_all(base.join("Annotations")).unwrap();
    fs::create_dir_all(base.join("ImageSets/Main")).unwrap();
    fs::write(base.join("ImageSets/Main/trainval.txt"), "000005\n000007\n").unwrap();
    fs::write(base.join("ImageSets/Main/test.txt"), "000001\n").unwrap();
    let objects: [(&str, &[(&str, &str)]); 3] = [
        ("000001", &[("person", "0")]),
        ("000005", &[("chair", "1"), ("chair", "0"), ("dog", "1")]),
        ("000007", &[("car", "0"), ("car", "1")]),
    ];
    for (id, objects) in objects {
        fs::write(base.join(format!("Annotations/{id}.xml")), annotation(objects)).unwrap();
        write_image(base.join(format!("JPEGImages/{id}.jpg")), 1);
    }
    root
}

#[test]
fn voc_keeps_the_difficult_flag() {
    let root = voc();
    for path in [root.path().to_path_buf(), root.path().join("VOC2007")] {
        let train = open("voc2007", &path, Split::Train).unwrap();
        assert_eq!((train.len(), train.class_names().len()), (2, 20));
        let Label::Multi(presence) = train.label(0) else { panic!("not several labels") };
        let of = |name: &str| presence[train.class_names().iter().position(|class| class == name).unwrap()];
        assert_eq!(of("chair"), Presence::Present);
        assert_eq!(of("dog"), Presence::Difficult);
        assert_eq!(of("car"), Presence::Absent);
        assert!(train.image(1).is_ok());
        assert_eq!(open("voc2007", &path, Split::Test).unwrap().len(), 1);
    }
}

#[test]
fn voc_files_that_are_wrong_are_refused_by_name() {
    let root = voc();
    let xml = root.path().join("VOC2007/Annotations/000007.xml");
    for (text, part) in [
        ("<annotation><object>".to_string(), "not well-formed"),
        (annotation(&[("unicorn", "0")]), "unknown class `unicorn`"),
        (annotation(&[("car", "maybe")]), "not 0 or 1"),
        ("<annotation><object/></annotation>".into(), "without a name"),
        ("<html/>".into(), "not <annotation>"),
    ] {
        fs::write(&xml, text).unwrap();
        let error = refusal("voc2007", root.path(), Split::Train);
        assert!(error.contains(part) && error.contains("000007.xml"), "{error}");
    }
    fs::remove_file(&xml).unwrap();
    assert!(refusal("voc2007", root.path(), Split::Train).contains("000007.xml"));
    fs::write(root.path().join("VOC2007/ImageSets/Main/trainval.txt"), "../../../etc/passwd").unwrap();
    assert!(refusal("voc2007", root.path(), Split::Train).contains("no name of an image"));
    let empty = TempDir::new().unwrap();
    assert!(refusal("voc2007", empty.path(), Split::Train).contains("ImageSets"));
}

#[test]
fn voc_files_of_other_editors_are_read_by_their_byte_order_mark_line_ends_and_declared_encoding() {
    let root = voc();
    let base = root.path().join("VOC2007");
    let wide = |text: &str| format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let list = "000005\r\n000007\r\n";
    let xml = annotation(&[("car", "0")]);
    for list in [format!("\u{feff}{list}").into_bytes(), wide(list)] {
        fs::write(base.join("ImageSets/Main/trainval.txt"), list).unwrap();
        for xml in [
            format!("\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n{xml}").into_bytes(),
            wide(&format!("<?xml version=\"1.0\" encoding=\"utf-16\"?>{xml}")),
            [b"<?xml version='1.0' encoding='ISO-8859-1'?><!-- caf\xe9 -->", xml.as_bytes()].concat(),
        ] {
            fs::write(base.join("Annotations/000005.xml"), xml).unwrap();
            let train = open("voc2007", root.path(), Split::Train).unwrap();
            let Label::Multi(presence) = train.label(0) else { panic!("not several labels") };
            assert_eq!((train.len(), presence.iter().filter(|&&one| one == Presence::Present).count()), (2, 1));
        }
    }
    fs::write(
        base.join("Annotations/000005.xml"),
        b"<?xml version='1.0' encoding='Big5'?><annotation>\xa4</annotation>",
    )
    .unwrap();
    let error = refusal("voc2007", root.path(), Split::Train);
    assert!(error.contains("000005.xml: is written in Big5, which is not read; save it as UTF-8"), "{error}");
}
