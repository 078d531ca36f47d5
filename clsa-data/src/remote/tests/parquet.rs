//! Tables of a server are those of files.

use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use super::*;
use crate::sources::parquet;
use crate::{RemoteFault, SampleError};

/// A table with groups of two rows each, an image and a label in each row.
fn table(path: &Path, rows: usize) {
    let schema = "message schema { required binary image; required int64 label; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(std::fs::File::create(path).unwrap(), schema, properties).unwrap();
    for group in 0..rows / 2 {
        let mut groups = writer.next_row_group().unwrap();
        let images: Vec<ByteArray> = (0..2u8)
            .map(|row| {
                let mut png = std::io::Cursor::new(Vec::new());
                let color = image::Rgb([group as u8, row, 7]);
                image::RgbImage::from_pixel(5, 4, color).write_to(&mut png, image::ImageFormat::Png).unwrap();
                png.into_inner().into()
            })
            .collect();
        let mut column = groups.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&images, None, None).unwrap();
        column.close().unwrap();
        let mut column = groups.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&[group as i64 % 3, 1], None, None).unwrap();
        column.close().unwrap();
        groups.close().unwrap();
    }
    writer.close().unwrap();
}

fn open(cache: &TempDir, pattern: &str) -> Result<Arc<dyn Dataset>, DataError> {
    parquet::open(&opener(cache), pattern, Split::Train, Limits::default())
}

#[test]
fn tables_of_a_server_are_those_of_files_whatever_it_does_between() {
    let (root, server, cache) = (TempDir::new().unwrap(), Server::new(), TempDir::new().unwrap());
    for number in 0..2 {
        table(&root.path().join(format!("train-{number}.parquet")), 8);
    }
    server.put_folder("data", root.path());
    let files = local(format!("parquet:{}?label=label", root.path().display()));
    let mut number = 0;
    server.plan(move |_| {
        number += 1;
        [Answer::Right, Answer::Status(502), Answer::Right, Answer::Gone][number % 4]
    });
    let objects = open(&cache, &format!("{}/data/train-{{0,1}}.parquet?label=label", server.address())).unwrap();
    assert_eq!(objects.len(), 16);
    assert_eq!(samples(&*objects), samples(&*files));
    assert_eq!(objects.shards(), files.shards());
}

#[test]
fn a_store_that_fails_is_no_bad_image_of_a_table() {
    let (root, server, cache) = (TempDir::new().unwrap(), Server::new(), TempDir::new().unwrap());
    table(&root.path().join("train.parquet"), 8);
    server.put_folder("data", root.path());
    let objects = open(&cache, &format!("{}/data/train.parquet", server.address())).unwrap();
    std::fs::remove_dir_all(cache.path().join("objects")).unwrap();
    std::fs::create_dir(cache.path().join("objects")).unwrap();
    server.plan(|_| Answer::Status(500));
    for _ in 0..2 {
        match objects.image(3).unwrap_err() {
            SampleError::Remote(error) => assert_eq!(error.fault, RemoteFault::Unreachable),
            error => panic!("another error: {error}"),
        }
    }
    let cache = TempDir::new().unwrap();
    let error = open(&cache, &format!("{}/data/train.parquet", server.address())).err().unwrap();
    assert!(matches!(error, DataError::Remote(_)), "{error}");
}
