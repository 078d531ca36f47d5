//! Parquet files, written here in Thrift's compact protocol, whose headers state more than they hold.

use super::{LIMIT_MIB, UNPACKED, limited};
use std::fs;
use std::io::{self, Read};
use tempfile::TempDir;

/// Fields of a struct, in the order of their numbers.
#[derive(Default)]
struct Fields {
    bytes: Vec<u8>,
    last: u8,
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

impl Fields {
    fn field(mut self, number: u8, kind: u8, content: &[u8]) -> Self {
        self.bytes.push((number - self.last) << 4 | kind);
        self.bytes.extend(content);
        self.last = number;
        self
    }

    fn int(self, number: u8, value: i32) -> Self {
        self.field(number, 5, &zigzag(value.into()))
    }

    fn long(self, number: u8, value: i64) -> Self {
        self.field(number, 6, &zigzag(value))
    }

    fn text(self, number: u8, text: &str) -> Self {
        self.field(number, 8, &[varint(text.len() as u64), text.into()].concat())
    }

    fn structure(self, number: u8, fields: Fields) -> Self {
        self.field(number, 12, &fields.end())
    }

    /// A list of elements of a kind, which states that it has so many.
    fn list(self, number: u8, kind: u8, count: u64, elements: &[Vec<u8>]) -> Self {
        self.field(number, 9, &[vec![0xf0 | kind], varint(count), elements.concat()].concat())
    }

    fn end(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }
}

fn zigzag(value: i64) -> Vec<u8> {
    varint((value << 1 ^ value >> 63) as u64)
}

/// What a file states; the numbers that are true stand in [`STATED`].
struct Stated {
    rows: i64,
    row_groups: u64,
    /// How many row groups there are; all of them are the same bytes of the file.
    groups: usize,
    columns: u64,
    values: i64,
    total: i64,
    /// Bytes of a column when it is unpacked, where they are not the total.
    total_unpacked: Option<i64>,
    codec: i32,
    unpacked: i32,
    packed: i32,
    page_values: i32,
    dictionary_values: i32,
    length: u32,
    /// Of the images: 8 is by a dictionary.
    encoding: i32,
    /// What stands in the place of the images, where there is anything.
    images: Vec<u8>,
    /// What stands in the place of the labels, where there is anything.
    labels: Vec<u8>,
}

const STATED: Stated = Stated {
    rows: 2,
    row_groups: 1,
    groups: 1,
    columns: 2,
    values: 2,
    total: 0,
    total_unpacked: None,
    codec: 0,
    unpacked: 0,
    packed: 0,
    page_values: 2,
    dictionary_values: 2,
    length: 4,
    encoding: 8,
    images: Vec::new(),
    labels: Vec::new(),
};

/// A file of two rows of a column of images, by a dictionary, and one of labels.
fn file(stated: &Stated) -> Vec<u8> {
    let mut bytes = b"PAR1".to_vec();
    let or = |stated: i32, length: usize| if stated == 0 { length as i32 } else { stated };
    let mut column = |name: &[&str], kind: i32, values: &[u8], encoding: i32| {
        let dictionary = encoding == 8;
        let start = bytes.len();
        let page = |kind: i32, length: usize| {
            Fields::default().int(1, kind).int(2, or(stated.unpacked, length)).int(3, or(stated.packed, length))
        };
        let data = |encoding| Fields::default().int(1, stated.page_values).int(2, encoding).int(3, 3).int(4, 3);
        if dictionary {
            let header = Fields::default().int(1, stated.dictionary_values).int(2, 0);
            bytes.extend(page(2, values.len()).structure(7, header).end());
            bytes.extend(values);
        }
        let place = bytes.len();
        // Two values of the dictionary: one bit for each, in one run.
        let indexes: &[u8] = if dictionary { &[1, 3, 2] } else { values };
        bytes.extend(page(0, indexes.len()).structure(5, data(encoding)).end());
        bytes.extend(indexes);
        let total = if stated.total == 0 { (bytes.len() - start) as i64 } else { stated.total };
        let path: Vec<Vec<u8>> = name.iter().map(|part| [varint(part.len() as u64), (*part).into()].concat()).collect();
        let encodings = [zigzag(0), zigzag(8)];
        let mut metadata =
            Fields::default().int(1, kind).list(2, 5, 2, &encodings).list(3, 8, path.len() as u64, &path);
        metadata = metadata.int(4, stated.codec).long(5, stated.values);
        metadata = metadata.long(6, stated.total_unpacked.unwrap_or(total)).long(7, total);
        metadata = metadata.long(9, place as i64);
        if dictionary {
            metadata = metadata.long(11, start as i64);
        }
        Fields::default().long(2, start as i64).structure(3, metadata).end()
    };
    let length = stated.length.to_le_bytes();
    let or = |stated: &[u8], values: Vec<u8>| if stated.is_empty() { values } else { stated.to_vec() };
    let images = or(&stated.images, [&length[..], b"abcd", &length, b"efgh"].concat());
    let images = column(&["image", "bytes"], 6, &images, stated.encoding);
    let labels = column(&["label"], 2, &or(&stated.labels, [0i64, 1].map(i64::to_le_bytes).concat()), 0);
    let group = Fields::default().list(1, 12, stated.columns, &[images, labels]).long(2, 99).long(3, stated.rows).end();
    let schema = [
        Fields::default().text(4, "schema").int(5, 2).end(),
        Fields::default().int(3, 0).text(4, "image").int(5, 1).end(),
        Fields::default().int(1, 6).int(3, 0).text(4, "bytes").end(),
        Fields::default().int(1, 2).int(3, 0).text(4, "label").end(),
    ];
    let footer = Fields::default().int(1, 1).list(2, 12, 4, &schema).long(3, stated.rows);
    let footer = footer.list(4, 12, stated.row_groups, &vec![group; stated.groups]).end();
    bytes.extend(&footer);
    bytes.extend((footer.len() as u32).to_le_bytes());
    bytes.extend(b"PAR1");
    bytes
}

fn gzipped(zeros: u64) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::copy(&mut io::repeat(0).take(zeros), &mut writer).unwrap();
    writer.finish().unwrap()
}

fn by_brotli(zeros: u64) -> Vec<u8> {
    let mut writer = brotli::CompressorWriter::new(Vec::new(), 1 << 20, 1, 22);
    io::copy(&mut io::repeat(0).take(zeros), &mut writer).unwrap();
    writer.into_inner()
}

/// The exit code and what was said of a file by `data verify` with so much memory.
fn verified_within(mib: u64, bytes: &[u8]) -> (Option<i32>, String) {
    let root = TempDir::new().unwrap();
    fs::write(root.path().join("train.parquet"), bytes).unwrap();
    let source = format!("parquet:{}", root.path().display());
    let output = limited(mib).args(["data", "verify", "--threads", "1", &source]).output().unwrap();
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn verified(bytes: &[u8]) -> (Option<i32>, String) {
    verified_within(LIMIT_MIB, bytes)
}

#[test]
fn row_groups_are_kept_by_what_they_take_and_not_by_what_the_file_states() {
    // 60 MiB each, and 2400 MiB together; 512 MiB are kept.
    let (groups, length) = (40, 30 << 20);
    let image = [&(length as u32).to_le_bytes()[..], &vec![0; length]].concat();
    for total_unpacked in [0, -1, i64::MIN] {
        let images = [&image[..], &image].concat();
        let total_unpacked = Some(total_unpacked);
        let stated = Stated { groups, row_groups: groups as u64, encoding: 0, images, total_unpacked, ..STATED };
        let (code, text) = verified_within(2 * LIMIT_MIB, &file(&stated));
        assert!(code == Some(1) && text.contains("80 of 80 images are bad"), "{total_unpacked:?}: {code:?}: {text}");
        assert!(text.contains("no known image format"), "{text}");
    }
}

#[test]
fn parquet_files_that_state_more_than_they_hold_are_refused() {
    // The file as it should be is read; its images are none.
    let (code, text) = verified(&file(&STATED));
    assert!(
        code == Some(1) && text.contains("2 of 2 images are bad") && text.contains("no known image format"),
        "{text}"
    );

    let mut hostile: Vec<(String, Stated)> = Vec::new();
    for most in [i64::MAX, 1 << 40, 1 << 31] {
        hostile.push((format!("rows {most}"), Stated { rows: most, ..STATED }));
        hostile.push((format!("values {most}"), Stated { values: most, ..STATED }));
        hostile.push((
            format!("rows and values {most}"),
            Stated { rows: most, values: most, page_values: i32::MAX, ..STATED },
        ));
        hostile.push((format!("total {most}"), Stated { total: most, ..STATED }));
        hostile.push((format!("row groups {most}"), Stated { row_groups: most as u64, ..STATED }));
        hostile.push((format!("columns {most}"), Stated { columns: most as u64, ..STATED }));
    }
    for most in [i32::MAX, 1 << 30] {
        for codec in [0, 1, 2, 4, 5, 6, 7] {
            hostile.push((format!("unpacked {most}, codec {codec}"), Stated { unpacked: most, codec, ..STATED }));
            hostile.push((format!("packed {most}, codec {codec}"), Stated { packed: most, codec, ..STATED }));
        }
        hostile.push((format!("page values {most}"), Stated { page_values: most, ..STATED }));
        hostile.push((format!("dictionary {most}"), Stated { dictionary_values: most, ..STATED }));
        let length = most as u32;
        hostile.push((format!("length {most}"), Stated { length, ..STATED }));
    }
    for encoding in [6, 7] {
        for (count, page_values) in [(1u64 << 40, 2), (i32::MAX as u64, i32::MAX)] {
            // A block of 128 in four parts of so many values.
            let images = [&[0x80, 1, 4][..], &varint(count), &zigzag(4), &[0; 99]].concat();
            let what = format!("{count} lengths by {encoding}");
            hostile.push((what, Stated { encoding, images, page_values, values: page_values.into(), ..STATED }));
        }
    }
    for (codec, labels) in [(2, gzipped(UNPACKED)), (4, by_brotli(UNPACKED))] {
        for unpacked in [16, 1 << 20, UNPACKED as i32] {
            let labels = labels.clone();
            hostile.push((format!("{unpacked} by codec {codec}"), Stated { unpacked, codec, labels, ..STATED }));
        }
    }
    let mut believed = Vec::new();
    for (what, stated) in hostile {
        let (code, text) = verified(&file(&stated));
        let took = ["memory allocation", "out of memory", "panicked at"].iter().any(|words| text.contains(words));
        if took || !matches!(code, Some(1 | 2)) {
            believed.push(format!("{what}: {code:?}: {text}"));
        }
    }
    assert!(believed.is_empty(), "{}", believed.join("\n"));
    let mut footer = file(&STATED);
    for length in [u32::MAX, 1 << 31, 1 << 30] {
        let at = footer.len() - 8;
        footer[at..at + 4].copy_from_slice(&length.to_le_bytes());
        let (code, text) = verified(&footer);
        assert!(code == Some(2) && text.contains("train.parquet"), "footer of {length}: {code:?}: {text}");
    }
}
