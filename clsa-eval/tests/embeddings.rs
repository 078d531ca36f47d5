//! Features as files that other programs read.

use clsa_data::image::RgbImage;
use clsa_data::{Dataset, Label, Presence, SampleError};
use clsa_eval::EvalError;
use clsa_eval::embeddings::{EmbeddingFormat, Embeddings, write};
use clsa_eval::features::{FeatureRows, Features};
use std::borrow::Cow;
use std::cell::Cell;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// More than are written at a time, and not a multiple of it.
const ROWS: usize = 2500;
const DIM: usize = 3;

/// Images with names and labels, of which no pixel is read.
struct Named {
    labels: fn(usize) -> Label,
    classes: Vec<String>,
}

impl Dataset for Named {
    fn len(&self) -> usize {
        ROWS
    }

    fn class_names(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> Label {
        (self.labels)(index)
    }

    fn image(&self, _: usize) -> Result<RgbImage, SampleError> {
        unreachable!("no pixels are needed")
    }

    fn dimensions(&self, _: usize) -> Result<(u32, u32), SampleError> {
        unreachable!("no pixels are needed")
    }

    fn name(&self, index: usize) -> String {
        match index {
            7 => "a \"quoted\", name.jpg".to_owned(),
            8 => "two\nlines.jpg".to_owned(),
            _ => format!("{index}.jpg"),
        }
    }
}

fn named(labels: fn(usize) -> Label) -> Named {
    Named { labels, classes: ["cat", "dog; wolf", "é"].map(str::to_owned).to_vec() }
}

fn some(index: usize) -> Label {
    if index % 5 == 4 { Label::None } else { Label::Class(index as u32 % 3) }
}

/// Values whose shortest texts are long, tiny, huge and negative.
fn features() -> Features {
    let value = |i: usize| [(i as f32).sqrt().sin(), 1e-38 * i as f32, -(1e30 + i as f32)][i % DIM];
    Features { values: (0..ROWS * DIM).map(value).collect(), dim: DIM, labels: vec![0; ROWS] }
}

fn written(path: &Path, images: &Named, features: &Features) {
    let format = EmbeddingFormat::of(path).unwrap();
    let last = Cell::new((0, 0));
    write(&Embeddings { rows: features, images }, path, format, &|done, of| last.set((done, of))).unwrap();
    assert_eq!(last.get(), (ROWS as u64, ROWS as u64));
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn an_npy_file_is_numpys_array_with_names_and_labels_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("e.npy");
    let features = features();
    written(&path, &named(some), &features);
    let bytes = fs::read(&path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..start]).unwrap();
    assert_eq!(header.trim_end(), "{'descr': '<f4', 'fortran_order': False, 'shape': (2500, 3), }");
    assert!(header.ends_with('\n') && start % 64 == 0);
    assert_eq!(floats(&bytes[start..]), features.values);

    let lines = |name: &str| -> Vec<String> {
        fs::read_to_string(folder.path().join(name)).unwrap().lines().map(str::to_owned).collect()
    };
    let names = lines("e.names.txt");
    assert_eq!((names.len(), names[8].as_str(), names[9].as_str()), (ROWS, "two\\nlines.jpg", "9.jpg"));
    let labels = lines("e.labels.txt");
    assert_eq!((labels.len(), &labels[..5]), (ROWS, &["cat", "dog; wolf", "é", "cat", ""].map(str::to_owned)[..]));
}

#[test]
fn a_safetensors_file_has_one_tensor_and_unlabeled_images_no_labels() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("e.safetensors");
    let features = features();
    written(&path, &named(|_| Label::None), &features);
    let bytes = fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor("features").unwrap();
    assert_eq!((tensor.shape(), floats(tensor.data())), (&[ROWS, DIM][..], features.values));
    assert!(folder.path().join("e.names.txt").exists() && !folder.path().join("e.labels.txt").exists());
}

#[test]
fn a_csv_file_reads_back_to_the_same_bits_and_texts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("e.csv");
    let features = features();
    written(&path, &named(some), &features);
    let mut table = csv::Reader::from_path(&path).unwrap();
    assert_eq!(table.headers().unwrap(), vec!["name", "label", "f0", "f1", "f2"]);
    let records: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    assert_eq!((&records[7][0], &records[8][0], &records[4][1]), ("a \"quoted\", name.jpg", "two\nlines.jpg", ""));
    let values = records.iter().flat_map(|record| record.iter().skip(2).map(|text| text.parse().unwrap()));
    assert_eq!(values.collect::<Vec<f32>>(), features.values);
}

#[cfg(feature = "parquet")]
#[test]
fn a_parquet_table_has_names_classes_labels_and_lists_of_values() {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::{Field, Row, RowAccessor};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("e.parquet");
    let features = features();
    written(&path, &named(some), &features);
    let file = SerializedFileReader::new(fs::File::open(&path).unwrap()).unwrap();
    let rows: Vec<Row> = file.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.len(), ROWS);
    let mut values = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        assert_eq!(row.get_string(0).unwrap(), &named(some).name(index));
        let fields: Vec<&Field> = row.get_column_iter().map(|(_, field)| field).collect();
        match some(index).class() {
            Some(class) => {
                assert_eq!(fields[1], &Field::Int(class as i32));
                assert_eq!(fields[2], &Field::Str(named(some).classes[class as usize].clone()));
            }
            None => assert_eq!((fields[1], fields[2]), (&Field::Null, &Field::Null)),
        }
        values.extend(row.get_list(3).unwrap().elements().iter().map(|value| match value {
            Field::Float(value) => *value,
            other => panic!("{other:?}"),
        }));
    }
    assert_eq!(values, features.values);
}

#[test]
fn labels_of_other_images_do_not_stay_beside_an_array_of_images_without_labels() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("e.npy");
    let files = EmbeddingFormat::Npy.side_files(&path);
    written(&path, &named(some), &features());
    assert!(files.iter().all(|file| file.exists()) && files.len() == 2, "{files:?}");
    written(&path, &named(|_| Label::None), &features());
    let left: Vec<_> = files.into_iter().filter(|file| file.exists()).collect();
    assert_eq!(left, [folder.path().join("e.names.txt")]);
    assert!(EmbeddingFormat::Csv.side_files(&path).is_empty());
}

/// Rows of which none can be read.
struct Unreadable;

impl FeatureRows for Unreadable {
    fn len(&self) -> usize {
        ROWS
    }

    fn dim(&self) -> usize {
        DIM
    }

    fn rows(&self, _: Range<usize>) -> Result<Cow<'_, [f32]>, EvalError> {
        Err(EvalError::Empty("other"))
    }
}

#[test]
fn an_array_that_could_not_be_written_leaves_the_earlier_one_with_its_names() {
    for form in ["e.npy", "e.safetensors"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(form);
        written(&path, &named(some), &features());
        let files = || -> Vec<(PathBuf, Vec<u8>)> {
            let paths = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
            let mut files: Vec<_> = paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
            files.sort();
            files
        };
        let before = files();
        let images = named(|_| Label::None);
        let format = EmbeddingFormat::of(&path).unwrap();
        let written = write(&Embeddings { rows: &Unreadable, images: &images }, &path, format, &|_, _| {});
        assert!(matches!(written, Err(EvalError::Empty("other"))));
        assert!(before.len() == 3 && files() == before, "{form}");
    }
}

#[test]
fn a_label_of_several_classes_names_those_in_the_picture() {
    let presences = |_| Label::Multi([Presence::Present, Presence::Difficult, Presence::Present].into());
    let folder = tempfile::tempdir().unwrap();
    written(&folder.path().join("e.npy"), &named(presences), &features());
    let labels = fs::read_to_string(folder.path().join("e.labels.txt")).unwrap();
    assert_eq!(labels.lines().next(), Some("cat;é"));
}

#[test]
fn rows_that_are_not_one_for_each_image_are_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (few, images) = (Features { values: vec![0.0; 6], dim: 3, labels: vec![0; 2] }, named(some));
    let path = folder.path().join("e.npy");
    let error = write(&Embeddings { rows: &few, images: &images }, &path, EmbeddingFormat::Npy, &|_, _| {});
    assert!(matches!(error, Err(EvalError::Size { got: 2, expected: ROWS, .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
