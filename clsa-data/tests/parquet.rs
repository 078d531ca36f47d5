//! Parquet files as the `datasets` library writes them. Runs with `--features parquet`.
#![cfg(feature = "parquet")]

mod png;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use clsa_data::{Label, Source, Split};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use png::png;
use tempfile::TempDir;

const SCHEMA: &str = "message schema { optional group image { optional binary bytes; optional binary path (UTF8); } optional int64 label; }";

/// Writes rows of image bytes (or none) and label (or none), `group` rows to a row group.
fn write(path: &Path, rows: &[(Option<Vec<u8>>, Option<i64>)], group: usize, names: Option<&str>) {
    let metadata = names.map(|names| {
        let value = format!("{{\"info\":{{\"features\":{{\"label\":{{\"names\":{names}}}}}}}}}");
        vec![KeyValue::new("huggingface".to_string(), value)]
    });
    let properties =
        WriterProperties::builder().set_compression(Compression::SNAPPY).set_key_value_metadata(metadata).build();
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
    assert!(refusal(&root).contains("rows without a label"), "{}", refusal(&root));
    write(&path, &[(Some(png(1)), Some(-1))], 9, None);
    assert!(refusal(&root).contains("label -1"));
    write(&path, &[(Some(png(1)), Some(2))], 9, Some("[\"ant\"]"));
    assert!(refusal(&root).contains("names for 1 classes"));
    write(&path, &[(Some(png(1)), Some(0))], 9, None);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(refusal(&root).contains("train.parquet: is not a whole parquet file"));
    let schema = Arc::new(parse_message_type("message schema { required int64 label; }").unwrap());
    let writer = SerializedFileWriter::new(File::create(&path).unwrap(), schema, Default::default()).unwrap();
    writer.close().unwrap();
    assert!(refusal(&root).contains("has no column `image.bytes`, only label"), "{}", refusal(&root));
}
