//! `list:`: tables of image files.

use super::{fault, open, refusal, write_image};
use clsa_data::{Fault, Label, Split};
use std::fs;
use std::path::Path;

/// Files of a table's folder, by path and content, and images of one color.
fn write(folder: &Path, tables: &[(&str, &str)], images: &[&str]) {
    for (name, text) in tables {
        fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        fs::write(folder.join(name), text).unwrap();
    }
    for (value, name) in images.iter().enumerate() {
        write_image(folder.join(name), value as u8);
    }
}

/// The first pixel and the label of every sample.
fn samples(list: &Path, split: Split) -> Vec<(u8, Option<String>)> {
    let data = open("list", list, split).unwrap();
    let label = |index| data.label(index).class().map(|class| data.class_names()[class as usize].clone());
    (0..data.len()).map(|index| (data.image(index).unwrap().get_pixel(0, 0).0[0], label(index))).collect()
}

fn some(label: &str) -> Option<String> {
    Some(label.to_owned())
}

#[test]
fn paths_are_relative_to_the_table_and_in_its_order() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path();
    write(at, &[("a.csv", "z/b.png\na.png\n\nz/b.png\n")], &["a.png", "z/b.png"]);
    assert_eq!(samples(&at.join("a.csv"), Split::Train), [(1, None), (0, None), (1, None)]);
    assert!(open("list", &at.join("a.csv"), Split::Train).unwrap().class_names().is_empty());
    let absolute = at.join("a.png").display().to_string();
    write(at, &[("elsewhere/b.csv", &format!("{absolute},cat\n../z/b.png,dog"))], &[]);
    assert_eq!(samples(&at.join("elsewhere/b.csv"), Split::Train), [(0, some("cat")), (1, some("dog"))]);
}

#[test]
fn columns_are_found_by_a_first_line_that_names_them() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path();
    let images = ["a.png", "b, c.png"];
    write(at, &[("a.csv", "\u{feff}id,Label,Path\r\n1,cat,a.png\r\n2,\"big\"\" dog\",\"b, c.png\"\r\n")], &images);
    assert_eq!(samples(&at.join("a.csv"), Split::Train), [(0, some("cat")), (1, some("big\" dog"))]);
    write(at, &[("a.tsv", "file_name\tnote\nb, c.png\tx\n")], &[]);
    assert_eq!(samples(&at.join("a.tsv"), Split::Train), [(1, None)]);
}

#[test]
fn columns_that_are_no_labels_are_said() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path();
    let notes = |text: &str| {
        write(at, &[("a.csv", text)], &["a.png"]);
        open("list", &at.join("a.csv"), Split::Train).unwrap().notes()
    };
    let said = "without labels, because no column is called `label`; there are `filename`, `bre\\x1bed`";
    assert_eq!(notes("filename,bre\x1bed\na.png,husky\n"), [said]);
    assert!(notes("filename,label\na.png,husky\n").is_empty());
    assert!(notes("filename\na.png\n").is_empty());
}

#[test]
fn a_first_line_with_an_image_names_no_columns_and_images_need_no_extension() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path();
    write(at, &[("a.csv", "a.png,label\nb.png,image\n")], &["a.png", "b.png", "x", "y"]);
    assert_eq!(samples(&at.join("a.csv"), Split::Train), [(0, some("label")), (1, some("image"))]);
    write(at, &[("a.csv", "b.png,image\na.png,label\n")], &[]);
    assert_eq!(samples(&at.join("a.csv"), Split::Train), [(1, some("image")), (0, some("label"))]);
    write(at, &[("a.csv", "x,cat\ny,dog\n"), ("b.csv", "x\ny\n"), ("c.csv", "path\nx\na.png\n")], &[]);
    assert_eq!(samples(&at.join("a.csv"), Split::Train), [(2, some("cat")), (3, some("dog"))]);
    assert_eq!(samples(&at.join("b.csv"), Split::Train), [(2, None), (3, None)]);
    assert_eq!(samples(&at.join("c.csv"), Split::Train), [(2, None), (0, None)]);
}

#[test]
fn classes_that_are_numbers_are_in_their_order_and_others_by_name() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path();
    let classes = |text: &str| {
        write(at, &[("a.csv", text)], &["a.png"]);
        open("list", &at.join("a.csv"), Split::Train).unwrap().class_names().to_vec()
    };
    assert_eq!(classes("a.png,10\na.png,9\na.png,9\n"), ["9", "10"]);
    assert_eq!(classes("a.png,10\na.png,9\na.png,b\n"), ["10", "9", "b"]);
}

#[test]
fn a_test_table_has_the_numbers_of_the_training_tables_classes() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path();
    write(at, &[("p-train.csv", "a.png,x\nb.png,y\n"), ("p-val.csv", "b.png,y\n")], &["a.png", "b.png"]);
    let pattern = at.join("p-{split}.csv");
    assert_eq!(samples(&pattern, Split::Train).len(), 2);
    let test = open("list", &pattern, Split::Test).unwrap();
    assert_eq!((test.len(), test.label(0)), (1, Label::Class(1)));
    write(at, &[("p-val.csv", "b.png,y\na.png,z\n")], &[]);
    let error = refusal("list", &pattern, Split::Test);
    assert!(error.contains("p-val.csv: line 2: `z` is no class of the training images"), "{error}");
    assert!(open("list", &at.join("p-train.csv"), Split::Test).is_err());
}

#[test]
fn tables_of_several_folders_are_joined() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path();
    write(at, &[("a/one.csv", "a.png,x\n"), ("b/two.csv", "b.png,y\n")], &["a/a.png", "b/b.png"]);
    assert_eq!(samples(&at.join("*/*.csv"), Split::Train), [(0, some("x")), (1, some("y"))]);
    write(at, &[("b/two.csv", "b.png\n")], &[]);
    assert_eq!(fault("list", &at.join("*/*.csv"), Split::Train), Fault::Labels);
}

#[test]
fn tables_that_say_nothing_clear_are_refused_by_their_line() {
    let root = tempfile::tempdir().unwrap();
    let table = root.path().join("a.csv");
    for (text, reason) in [
        ("", "names no image"),
        ("path,label\n", "names no image"),
        ("path;label\na.png;0\n", "line 1 has its columns separated by semicolons; separate them by commas"),
        ("a.png;0\n", "line 1 has its columns separated by semicolons"),
        ("\"a.png\"\tcat\n", "line 1 has its columns separated by tabs"),
        ("a.png,x\nb.png\n", "line 2 has 1 columns, where the first has 2"),
        ("a.png,x\nb.png,\n", "line 2 has no label"),
        ("a.png\n , \n", "line 2 has 2 columns"),
        ("path\na.png\n\" \"\n", "line 3 names no image"),
        (
            "a.png,x\nb.png,\"y\nc.png,z\n",
            "line 2 has a field that goes on in the next: is a quotation mark not closed?",
        ),
        ("a.png\n\"b.png\nc.png\n", "line 2 has a field that goes on in the next"),
        ("path,label,note\na.png,x,5\nb.png,y,\"good\nc.png,z,6\n", "line 3 has a field that goes on in the next"),
        ("1,a.png,x\n", "line 1 has 3 columns: begin with a line that names two of them path and label"),
        ("image_id,label\na.png,x\n", "line 1 names the columns `image_id`, `label`; call the one of images `path`"),
        ("id,x,class\n1,a.png,x\n", "line 1 names the columns `id`, `x`, `class`; call the one of images `path`"),
        ("image_id\na.png\n", "line 1 names `image_id`, which is no image as the next one is; if it names the columns"),
        ("image_id,breed\na.png,x\n", "line 1 names `image_id`, which is no image as the next one is"),
    ] {
        fs::write(&table, text).unwrap();
        let error = refusal("list", &table, Split::Train);
        assert!(error.contains(reason), "{text:?}: {error}");
    }
    assert_eq!(fault("list", &root.path().join("none.csv"), Split::Train), Fault::Missing);
    fs::write(&table, "path,label,note\na.png,x,\"two\nlines\"\nb.png,y,\"5\"\" wide\"\n").unwrap();
    assert_eq!(open("list", &table, Split::Train).unwrap().len(), 2, "a note may have several lines");
    fs::write(&table, "none;1.png\n").unwrap();
    assert_eq!(open("list", &table, Split::Train).unwrap().len(), 1, "a name with a semicolon is a name");
    fs::write(&table, "none.png\n").unwrap();
    let bad = open("list", &table, Split::Train).unwrap().image(0).unwrap_err().to_string();
    assert!(bad.contains("none.png"), "{bad}");
}
