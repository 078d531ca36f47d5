//! Parquet files as the `datasets` library writes them. Runs with `--features parquet`.
#![cfg(feature = "parquet")]

mod png;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use clsa_data::{Dataset, Label, Limits, Presence, Source, Split, Splits};
use parquet::basic::{BrotliLevel, Compression, ConvertedType, Encoding, GzipLevel, Type, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, SchemaDescriptor};
use png::png;
use tempfile::TempDir;

const SCHEMA: &str = "message schema { optional group image { optional binary bytes; optional binary path (UTF8); } optional int64 label; }";

/// Bytes of an image and a label.
type Row = (Option<Vec<u8>>, Option<i64>);

/// Writes rows of image bytes (or none) and label (or none), `group` rows to a row group.
fn write(path: &Path, rows: &[Row], group: usize, names: Option<&str>) {
    let metadata = names.map(|names| {
        let value = format!("{{\"info\":{{\"features\":{{\"label\":{{\"names\":{names}}}}}}}}}");
        vec![KeyValue::new("huggingface".to_string(), value)]
    });
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).set_key_value_metadata(metadata);
    write_with(path, rows, group, properties.build());
}

/// The same with other properties.
fn write_with(path: &Path, rows: &[Row], group: usize, properties: WriterProperties) {
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let mut writer = SerializedFileWriter::new(File::create(path).unwrap(), schema, Arc::new(properties)).unwrap();
    for rows in rows.chunks(group) {
        let mut row_group = writer.next_row_group().unwrap();
        let bytes: Vec<ByteArray> = rows.iter().filter_map(|row| row.0.clone().map(ByteArray::from)).collect();
        let levels: Vec<i16> = rows.iter().map(|row| if row.0.is_some() { 2 } else { 0 }).collect();
        let mut column = row_group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&bytes, Some(&levels), None).unwrap();
        column.close().unwrap();
        let mut column = row_group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&[], Some(&vec![0; rows.len()]), None).unwrap();
        column.close().unwrap();
        let labels: Vec<i64> = rows.iter().filter_map(|row| row.1).collect();
        let levels: Vec<i16> = rows.iter().map(|row| i16::from(row.1.is_some())).collect();
        let mut column = row_group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&labels, Some(&levels), None).unwrap();
        column.close().unwrap();
        row_group.close().unwrap();
    }
    writer.close().unwrap();
}

fn source(root: &TempDir) -> Source {
    format!("parquet:{}", root.path().display()).parse().unwrap()
}

fn refusal(root: &TempDir) -> String {
    source(root).open(Split::Train).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn images_are_read_in_every_compression_encoding_and_version_of_pages() {
    let root = TempDir::new().unwrap();
    let rows: Vec<Row> = (0..60u8).map(|at| ((at % 7 > 0).then(|| png(at)), Some(i64::from(at)))).collect();
    let compressions = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
    ];
    for compression in compressions {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let plain = [Encoding::PLAIN, Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY].map(Some);
            for encoding in plain.into_iter().chain([None]) {
                let mut properties =
                    WriterProperties::builder().set_compression(compression).set_writer_version(version);
                properties = properties.set_data_page_size_limit(500).set_write_batch_size(3);
                if let Some(encoding) = encoding {
                    let column = ColumnPath::from(vec!["image".to_string(), "bytes".to_string()]);
                    properties = properties.set_dictionary_enabled(false).set_column_encoding(column, encoding);
                }
                write_with(&root.path().join("train.parquet"), &rows, 25, properties.build());
                let train = source(&root).open(Split::Train).unwrap();
                for at in 0..60 {
                    let red = train.image(at).map(|image| image.get_pixel(0, 0).0[0]).ok();
                    assert_eq!(red, (at % 7 > 0).then_some(at as u8), "{compression:?} {version:?} {encoding:?} {at}");
                }
            }
        }
    }
}

#[test]
fn threads_that_read_row_groups_of_one_file_at_once_get_the_right_rows() {
    let root = TempDir::new().unwrap();
    let rows: Vec<_> = (0..240).map(|number| (Some(png(number)), Some(i64::from(number)))).collect();
    write(&root.path().join("train.parquet"), &rows, 2, None);
    for _ in 0..20 {
        let train = source(&root).open(Split::Train).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let train = &train;
                scope.spawn(move || {
                    for index in (2 * thread..240).step_by(8) {
                        assert_eq!(train.image(index).unwrap().get_pixel(0, 0).0[0], index as u8);
                    }
                });
            }
        });
    }
}

#[test]
fn rows_are_read_by_number_over_row_groups_and_files() {
    let root = TempDir::new().unwrap();
    std::fs::create_dir(root.path().join("data")).unwrap();
    let rows = |range: std::ops::Range<u8>| -> Vec<_> {
        range.map(|number| (Some(png(number)), Some(i64::from(number % 3)))).collect()
    };
    let names = Some("[\"ant\",\"bee\",\"cat\"]");
    write(&root.path().join("data/train-00000-of-00002.parquet"), &rows(0..7), 3, names);
    write(&root.path().join("data/train-00001-of-00002.parquet"), &rows(7..9), 3, names);
    write(&root.path().join("data/validation-00000-of-00001.parquet"), &rows(9..10), 3, names);
    let train = source(&root).open(Split::Train).unwrap();
    assert_eq!(train.class_names(), ["ant", "bee", "cat"]);
    assert_eq!(train.shards().unwrap(), [3, 3, 1, 2]);
    for index in [8, 0, 3, 7, 6, 1] {
        assert_eq!(train.image(index).unwrap().get_pixel(0, 0).0[0], index as u8);
        assert_eq!(train.label(index), Label::Class(index as u32 % 3));
        assert_eq!(train.encoded(index).unwrap().unwrap().extension, "png");
    }
    assert_eq!(source(&root).open(Split::Test).unwrap().len(), 1);
}

#[test]
fn a_row_without_an_image_is_a_bad_sample() {
    let root = TempDir::new().unwrap();
    write(
        &root.path().join("train.parquet"),
        &[(Some(png(1)), Some(0)), (None, Some(1)), (Some(png(3)), Some(0))],
        9,
        None,
    );
    let train = source(&root).open(Split::Train).unwrap();
    assert_eq!(train.image(2).unwrap().get_pixel(0, 0).0[0], 3);
    assert!(train.image(1).unwrap_err().to_string().contains("row 1: cannot be decoded: the row has no image bytes"));
}

#[test]
fn files_that_are_wrong_are_refused_by_name() {
    let root = TempDir::new().unwrap();
    assert!(refusal(&root).contains("has no .parquet file"));
    let path = root.path().join("train.parquet");
    write(&path, &[(Some(png(1)), None)], 9, None);
    assert_eq!(source(&root).open(Split::Train).unwrap().label(0), Label::None);
    for without in [None, Some(-1)] {
        write(&path, &[(Some(png(1)), Some(0)), (Some(png(2)), without)], 9, None);
        assert!(refusal(&root).contains("row 1 has no label, or -1, but other rows have one"), "{}", refusal(&root));
    }
    write(&path, &[(Some(png(1)), Some(-2))], 9, None);
    assert!(refusal(&root).contains("row 0 has the label -2"));
    write(&path, &[(Some(png(1)), Some(2))], 9, Some("[\"ant\"]"));
    assert!(refusal(&root).contains("names for 1 classes"));
    write(&path, &[(Some(png(1)), Some(0))], 9, None);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(refusal(&root).contains("train.parquet: is not a whole parquet file"));
    let schema = Arc::new(parse_message_type("message schema { required int64 label; }").unwrap());
    let writer = SerializedFileWriter::new(File::create(&path).unwrap(), schema, Default::default()).unwrap();
    writer.close().unwrap();
    assert!(refusal(&root).contains("has no column of image bytes, only label; ?image=COLUMN names one"));
}

const IMAGE: &str = "optional group image { optional binary bytes; optional binary path (UTF8); }";
const IMG: &str = "optional group img { optional binary bytes; optional binary path (UTF8); }";

/// Writes three rows of these columns: images 0 to 2, their numbers as labels, and texts.
fn table(path: &Path, columns: &str, features: &str) {
    let value = format!("{{\"info\": {{\"features\": {{{features}}}}}}}");
    let metadata = Some(vec![KeyValue::new("huggingface".to_string(), value)]);
    let properties = WriterProperties::builder().set_key_value_metadata(metadata).build();
    let schema = Arc::new(parse_message_type(&format!("message schema {{ {columns} }}")).unwrap());
    let leaves = SchemaDescriptor::new(schema.clone());
    let mut writer = SerializedFileWriter::new(File::create(path).unwrap(), schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for leaf in leaves.columns() {
        let levels = [leaf.max_def_level(); 3];
        let mut column = group.next_column().unwrap().unwrap();
        match leaf.physical_type() {
            Type::BYTE_ARRAY if leaf.converted_type() == ConvertedType::UTF8 => {
                column.typed::<ByteArrayType>().write_batch(&["a", "b", "c"].map(ByteArray::from), Some(&levels), None)
            }
            Type::BYTE_ARRAY => {
                let bytes = [0, 1, 2].map(|number| ByteArray::from(png(number)));
                column.typed::<ByteArrayType>().write_batch(&bytes, Some(&levels), None)
            }
            Type::INT32 => column.typed::<Int32Type>().write_batch(&[0, 1, 2], Some(&levels), None),
            Type::BOOLEAN => column.typed::<BoolType>().write_batch(&[false, true, true], Some(&levels), None),
            _ => column.typed::<Int64Type>().write_batch(&[2, 1, 0], Some(&levels), None),
        }
        .unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

/// The labels of the three rows of the training split of a source, and what is said of it.
fn labels(text: String) -> (Vec<Option<u32>>, Vec<String>, String) {
    let train = text.parse::<Source>().unwrap().open(Split::Train).unwrap();
    for index in 0..3 {
        assert_eq!(train.image(index).unwrap().get_pixel(0, 0).0[0], index as u8);
    }
    let labels = (0..3).map(|index| train.label(index).class()).collect();
    (labels, train.class_names().to_vec(), train.notes().join("; "))
}

#[test]
fn columns_are_found_by_their_features_and_by_their_names() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("train.parquet");
    let image = "\"img\": {\"_type\": \"Image\"}";
    let class = |name: &str| format!("\"{name}\": {{\"_type\": \"ClassLabel\", \"names\": [\"a\", \"b\", \"c\"]}}");
    let (up, down) = (vec![Some(0), Some(1), Some(2)], vec![Some(2), Some(1), Some(0)]);
    let none = vec![None; 3];
    for (columns, features, expected, names, said) in [
        (format!("{IMG} optional int64 label;"), format!("{image}, {}", class("label")), &down, "abc", ""),
        (format!("{IMAGE} optional int64 labels;"), class("labels"), &down, "abc", ""),
        (format!("{IMAGE} required int32 target;"), String::new(), &up, "012", ""),
        (format!("{IMAGE} required boolean label;"), String::new(), &vec![Some(0), Some(1), Some(1)], "01", ""),
        ("required binary img; required int64 class;".into(), String::new(), &down, "012", ""),
        ("optional binary x; optional int64 y; optional int64 rows;".into(), class("y"), &down, "abc", ""),
        (
            format!("{IMG} optional int32 coarse_label; optional int64 fine_label;"),
            format!("{}, {}", class("coarse_label"), class("fine_label")),
            &down,
            "abc",
            "the labels are those of `fine_label`; ?label=COLUMN takes coarse_label",
        ),
        (
            format!("{IMG} optional int32 p; optional int64 q;"),
            format!("{}, {}", class("p"), class("q")),
            &none,
            "",
            "without labels; ?label=COLUMN takes one of p, q",
        ),
        (format!("{IMAGE} optional binary text (UTF8);"), String::new(), &none, "", ""),
        (
            format!("{IMAGE} optional binary label (UTF8);"),
            String::new(),
            &none,
            "",
            "because the column `label` does not",
        ),
    ] {
        table(&path, &columns, &features);
        let (found, classes, notes) = labels(format!("parquet:{}", root.path().display()));
        assert_eq!((&found, classes.concat().as_str()), (expected, names), "{columns}");
        assert!(if said.is_empty() { notes.is_empty() } else { notes.contains(said) }, "{columns}: {notes}");
    }
}

#[test]
fn columns_that_the_user_names_are_taken_and_others_are_refused() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("train.parquet");
    table(&path, &format!("{IMAGE} optional int32 label; optional int64 other; optional binary scan;"), "");
    let place = path.display();
    let (up, down) = (vec![Some(0), Some(1), Some(2)], vec![Some(2), Some(1), Some(0)]);
    assert_eq!(labels(format!("parquet:{place}?label=other")).0, down);
    assert_eq!(labels(format!("parquet:{}/trai?.parquet?image=scan&label=label", root.path().display())).0, up);
    for (options, words) in [
        ("?label=scan", "train.parquet: has no column `scan` of whole numbers; such columns are: label, other"),
        ("?image=label", "train.parquet: has no column `label` of image bytes, only image.bytes, image.path, label"),
        ("?image=image&lable=x", "has the option `lable=x`; the options are ?image=COLUMN&label=COLUMN"),
    ] {
        let source = format!("parquet:{place}{options}").parse::<Source>().unwrap();
        let error = source.open(Split::Train).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains(words) && error.is_request(), "{error}");
    }
    table(&path, &format!("{} {}", IMAGE.replace("image", "left"), IMAGE.replace("image", "right")), "");
    assert!(refusal(&root).contains("has several columns of images, left, right; name one by ?image=COLUMN"));
}

/// The training split of a file that the `datasets` library has written, with options behind its name.
fn lists(file_and_options: &str) -> Arc<dyn Dataset> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lists");
    let source = format!("parquet:{}/{file_and_options}", folder.display());
    source.parse::<Source>().unwrap().open(Split::Train).unwrap()
}

/// The gray that the images are filled with.
fn grays(data: &dyn Dataset) -> Vec<u8> {
    (0..data.len()).map(|index| data.image(index).unwrap().get_pixel(1, 1).0[0]).collect()
}

#[test]
fn each_image_of_a_list_is_a_sample_with_the_label_of_its_row() {
    let data = lists("images.parquet");
    assert_eq!(grays(data.as_ref()), [0, 1, 2, 3, 4, 5], "of rows of 2, 0, 1 and 3");
    let labels: Vec<_> = (0..6).map(|index| data.label(index).class().unwrap()).collect();
    assert_eq!((labels, data.class_names()), (vec![2, 2, 0, 1, 1, 1], &["cat", "dog", "owl"].map(String::from)[..]));
    assert_eq!(data.shards(), Some(vec![3, 3]), "row groups of three rows and of one");
    let names: Vec<String> = [2, 3].map(|index| data.name(index).rsplit_once('/').unwrap().1.to_owned()).into();
    assert_eq!(names, ["images.parquet#group 0, image 2", "images.parquet#group 1, image 0"]);

    let data = lists("unlabeled.parquet");
    assert_eq!((grays(data.as_ref()), data.label(0)), (vec![0, 1, 2, 3, 4, 5], Label::None));
    assert_eq!(grays(lists("images.parquet?image=pictures").as_ref()).len(), 6);
}

#[test]
fn an_entry_of_a_list_without_an_image_is_a_bad_sample() {
    let root = TempDir::new().unwrap();
    let schema = "message schema { optional group images (LIST) { repeated group list { optional group element { \
                  optional binary bytes; optional binary path (UTF8); } } } }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = File::create(root.path().join("train.parquet")).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    // One row of an image, an entry that is null, one that has nothing, and another image.
    let levels = ([4, 2, 3, 4], [0, 1, 1, 1]);
    for bytes in [[ByteArray::from(png(1)), ByteArray::from(png(2))], ["a".into(), "b".into()]] {
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&bytes, Some(&levels.0), Some(&levels.1)).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    let data = source(&root).open(Split::Train).unwrap();
    assert_eq!(data.len(), 4);
    let is_good: Vec<bool> = (0..4).map(|index| data.image(index).is_ok()).collect();
    assert_eq!(is_good, [true, false, false, true]);
    assert_eq!(data.image(3).unwrap().get_pixel(0, 0).0[0], 2);
}

#[test]
fn lists_of_labels_are_what_is_in_a_picture_and_those_of_one_label_a_class() {
    use Presence::{Absent, Present};
    let data = lists("labels.parquet");
    assert_eq!((grays(data.as_ref()), data.class_names().len()), (vec![0, 1, 2, 3], 3));
    let both = [Present, Absent, Present];
    for (index, expected) in [both, [Absent; 3], [Absent, Present, Absent], both].into_iter().enumerate() {
        assert_eq!(data.label(index), Label::Multi(expected.to_vec().into()), "{index}");
    }
    let data = lists("single.parquet");
    let labels: Vec<_> = (0..4).map(|index| data.label(index)).collect();
    assert_eq!(labels, [2, 0, 1, 1].map(Label::Class));
}

/// Writes two rows with an image and a list of two labels each, the first of which is given.
fn lists_of_labels(path: &Path, first: i64, features: &str) {
    let columns =
        format!("{IMAGE} optional group labels (LIST) {{ repeated group list {{ required int64 element; }} }}");
    let value = format!("{{\"info\": {{\"features\": {{{features}}}}}}}");
    let metadata = Some(vec![KeyValue::new("huggingface".to_string(), value)]);
    let properties = WriterProperties::builder().set_key_value_metadata(metadata).build();
    let schema = Arc::new(parse_message_type(&format!("message schema {{ {columns} }}")).unwrap());
    let mut writer = SerializedFileWriter::new(File::create(path).unwrap(), schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for is_image in [true, false] {
        let mut column = group.next_column().unwrap().unwrap();
        let bytes = [0, 1].map(|number| if is_image { ByteArray::from(png(number)) } else { "a".into() });
        column.typed::<ByteArrayType>().write_batch(&bytes, Some(&[2, 2]), None).unwrap();
        column.close().unwrap();
    }
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&[first, 0, 1, 0], Some(&[2; 4]), Some(&[0, 1, 0, 1])).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn lists_of_labels_are_as_wide_as_the_names_of_classes_or_as_the_largest_label() {
    let root = TempDir::new().unwrap();
    let (train, test) = (root.path().join("train.parquet"), root.path().join("test.parquet"));
    lists_of_labels(&train, 4, "");
    lists_of_labels(&test, 2, "");
    let splits = || source(&root).open_splits(Limits::default());
    let widths = |splits: Splits| -> Vec<(usize, usize)> {
        let width = |split: &dyn Dataset| match split.label(0) {
            Label::Multi(presences) => (presences.len(), split.class_names().len()),
            other => panic!("{other:?}"),
        };
        splits.iter().map(|(_, split)| width(&**split)).collect()
    };
    assert_eq!(widths(splits().unwrap()), [(5, 5), (3, 3)]);
    let features = "\"labels\": {\"feature\": {\"names\": [\"a\", \"b\", \"c\", \"d\", \"e\"]}}";
    lists_of_labels(&train, 4, features);
    lists_of_labels(&test, 2, features);
    assert_eq!(widths(splits().unwrap()), [(5, 5), (5, 5)]);
}

#[test]
fn files_of_one_split_that_name_other_classes_are_refused() {
    let root = TempDir::new().unwrap();
    let rows = [(Some(png(1)), Some(0)), (Some(png(2)), Some(1))];
    write(&root.path().join("train-0.parquet"), &rows, 9, Some("[\"ant\",\"bee\"]"));
    for names in ["[\"bee\",\"ant\"]", "[\"ant\",\"bee\",\"owl\"]"] {
        write(&root.path().join("train-1.parquet"), &rows, 9, Some(names));
        let error = refusal(&root);
        assert!(error.contains("train-1.parquet: names other classes than ") && error.contains("train-0"), "{error}");
        let unlabeled = format!("{}?label=none", source(&root)).parse::<Source>().unwrap();
        assert_eq!(unlabeled.open(Split::Train).unwrap().len(), 4);
    }
}

#[test]
fn splits_that_name_a_class_differently_are_refused() {
    let root = TempDir::new().unwrap();
    let rows = [(Some(png(1)), Some(1))];
    for (train, test, is_refused) in [
        (Some("[\"ant\",\"bee\"]"), Some("[\"bee\",\"ant\"]"), true),
        (Some("[\"ant\",\"bee\"]"), Some("[\"ant\",\"bee\",\"owl\"]"), false),
        (Some("[\"ant\",\"bee\"]"), None, false),
    ] {
        write(&root.path().join("train.parquet"), &rows, 9, train);
        write(&root.path().join("test.parquet"), &rows, 9, test);
        let error = source(&root).open_splits(Limits::default()).err().map(|error| error.to_string());
        assert_eq!(error.is_some(), is_refused, "{error:?}");
        let expected = "test.parquet#group 0, row 0: class 0 is `bee` here, and `ant` in the training images";
        assert!(error.is_none_or(|error| error.contains(expected)), "{train:?}, {test:?}");
    }
}

#[test]
fn labels_are_left_out_where_the_user_says_none() {
    for file in ["images.parquet", "labels.parquet", "single.parquet"] {
        let data = lists(&format!("{file}?label=none"));
        assert_eq!((data.label(0), data.class_names().len(), data.notes().len()), (Label::None, 0, 0), "{file}");
    }
}

#[test]
fn words_in_the_names_of_files_and_folders_form_the_splits() {
    for [train, test] in [
        ["food101-train-00000.parquet", "food101-validation-00000.parquet"],
        ["default/train/0000.parquet", "default/validation/0000.parquet"],
        ["data/train-0.parquet", "data/test-0.parquet"],
    ] {
        let root = TempDir::new().unwrap();
        for (name, rows) in [(train, 3), (test, 2)] {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            write(&path, &vec![(Some(png(1)), Some(0)); rows], 9, None);
        }
        let lens = Split::ALL.map(|split| source(&root).open(split).unwrap().len());
        assert_eq!(lens, [3, 2], "{train}");
    }
}
