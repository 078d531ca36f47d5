//! Which columns of a parquet file hold images and labels: those that the user names, or that the features in the metadata
//! of the `datasets` library state, or that are called as such columns are. A row has one image and one label, or lists of them.

use parquet::basic::{ConvertedType, Type};
use parquet::file::metadata::FileMetaData;
use parquet::schema::types::ColumnDescriptor;
use serde_json::Value;

use super::split_options;

/// Names of columns of images, the likeliest first.
const IMAGES: [&str; 8] = ["image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp"];
/// Names of columns of labels, the likeliest first.
const LABELS: [&str; 9] =
    ["label", "labels", "fine_label", "target", "class", "cls", "category", "label_id", "class_id"];

/// The columns that the text of a source names, behind `?`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    image: Option<String>,
    /// `none` for no labels.
    label: Option<String>,
}

/// What `?label=` takes in the place of a column.
const NO_LABEL: &str = "none";

impl Asked {
    /// Parts `PATTERN?image=COLUMN&label=COLUMN`. An error is a reason.
    pub(super) fn parse(text: &str) -> Result<(&str, Self), String> {
        let mut asked = Self::default();
        let (pattern, options) = split_options(text);
        let Some(options) = options else { return Ok((pattern, asked)) };
        for option in options.split('&') {
            let place = match option.split_once('=') {
                Some(("image", name)) if !name.is_empty() => (&mut asked.image, name),
                Some(("label", name)) if !name.is_empty() => (&mut asked.label, name),
                _ => return Err(format!("has the option `{option}`; the options are ?image=COLUMN&label=COLUMN")),
            };
            *place.0 = Some(place.1.into());
        }
        Ok((pattern, asked))
    }
}

/// The columns of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    /// Number of the column with the bytes of the images.
    pub image: usize,
    /// Where a row has a list of images: the number of the column that tells how many, a small one if there is one.
    pub images_of_rows: Option<usize>,
    /// Number of the column of labels, if there is one.
    pub label: Option<usize>,
    /// Names of the classes; empty where the metadata has none.
    pub classes: Vec<String>,
    /// What a user should know of the choice.
    pub note: Option<String>,
}

impl Columns {
    /// Finds the columns; an error is a reason.
    pub(super) fn of(file: &FileMetaData, asked: &Asked) -> Result<Self, String> {
        let columns = file.schema_descr().columns();
        let features = features(file);
        let feature =
            |name: &str, kind: &str| element(&features[name]).get("_type").and_then(Value::as_str) == Some(kind);
        let found = |test: fn(&ColumnDescriptor) -> bool| -> Vec<Column> {
            let with_number = columns.iter().enumerate().filter(|(_, column)| test(column));
            with_number.map(|(number, column)| Column { number, name: column.path().parts()[0].clone() }).collect()
        };

        // Lists of images only where no column has one in each row.
        let (one, several) = (found(is_image), found(is_list_of_images));
        let all = if one.is_empty() { &several } else { &one };
        let image = match &asked.image {
            Some(name) => one.iter().chain(&several).find(|column| column.name == *name),
            None => {
                let stated: Vec<&Column> = all.iter().filter(|column| feature(&column.name, "Image")).collect();
                let nested: Vec<&Column> =
                    all.iter().filter(|column| columns[column.number].path().parts().len() == 2).collect();
                let likely = [stated, nested, all.iter().collect()].into_iter().find(|some| !some.is_empty());
                let likely = likely.unwrap_or_default();
                match (called(&likely, &IMAGES), likely.as_slice()) {
                    (Some(image), _) => Some(image),
                    (None, [one]) => Some(*one),
                    (None, []) => None,
                    (None, several) => {
                        let names = names(several);
                        return Err(format!("has several columns of images, {names}; name one by ?image=COLUMN"));
                    }
                }
            }
        };
        let Some(image) = image else {
            let paths: Vec<String> = columns.iter().map(|column| column.path().string()).collect();
            let paths = paths.join(", ");
            return Err(match &asked.image {
                Some(name) => format!("has no column `{name}` of image bytes, only {paths}"),
                None => format!("has no column of image bytes, only {paths}; ?image=COLUMN names one"),
            });
        };

        let all: Vec<Column> = found(is_label).into_iter().filter(|column| column.number != image.number).collect();
        let (label, note) = match &asked.label {
            Some(name) if name == NO_LABEL => (None, None),
            Some(name) => match all.iter().find(|column| column.name == *name) {
                Some(column) => (Some(column), None),
                None => {
                    let has = names(&all.iter().collect::<Vec<_>>());
                    return Err(format!("has no column `{name}` of whole numbers; such columns are: {has}"));
                }
            },
            None => {
                let stated: Vec<&Column> = all.iter().filter(|column| feature(&column.name, "ClassLabel")).collect();
                let named: Vec<&Column> = all.iter().filter(|column| LABELS.contains(&&*column.name)).collect();
                let likely = if stated.is_empty() { named } else { stated };
                let label = called(&likely, &LABELS).or(if likely.len() == 1 { Some(likely[0]) } else { None });
                let others: Vec<&Column> = likely
                    .into_iter()
                    .filter(|column| label.is_none_or(|label| label.number != column.number))
                    .collect();
                (label, note(label, &others, columns))
            }
        };
        let classes = label.map_or(Vec::new(), |label| class_names(&features, &label.name));
        let is_list = columns[image.number].max_rep_level() > 0;
        let images_of_rows = is_list.then(|| beside(columns, image.number));
        Ok(Self { image: image.number, images_of_rows, label: label.map(|label| label.number), classes, note })
    }
}

struct Column {
    number: usize,
    /// The name at the top, which the user knows.
    name: String,
}

/// The first of these columns by the order of such names.
fn called<'a>(columns: &[&'a Column], order: &[&str]) -> Option<&'a Column> {
    order.iter().find_map(|name| columns.iter().find(|column| column.name == *name)).copied()
}

fn names(columns: &[&Column]) -> String {
    match columns {
        [] => "none".into(),
        some => some.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", "),
    }
}

/// What to say of columns that might be the labels and are not taken.
fn note(label: Option<&Column>, others: &[&Column], columns: &[std::sync::Arc<ColumnDescriptor>]) -> Option<String> {
    match (label, others) {
        (Some(label), [_, ..]) => {
            Some(format!("the labels are those of `{}`; ?label=COLUMN takes {}", label.name, names(others)))
        }
        (None, [_, ..]) => Some(format!("without labels; ?label=COLUMN takes one of {}", names(others))),
        (Some(_), []) => None,
        (None, []) => {
            let unread =
                columns.iter().map(|column| &column.path().parts()[0]).find(|name| LABELS.contains(&&***name))?;
            Some(format!("without labels, because the column `{unread}` does not hold a whole number in each row"))
        }
    }
}

/// Bytes that stand once in each row, alone or as `bytes` in a group.
fn is_image(column: &ColumnDescriptor) -> bool {
    let alone_or_group = match column.path().parts() {
        [_] => column.converted_type() != ConvertedType::UTF8,
        [_, bytes] => bytes == "bytes",
        _ => false,
    };
    alone_or_group && column.physical_type() == Type::BYTE_ARRAY && column.max_rep_level() == 0
}

/// Bytes that stand in a list in each row, alone or as `bytes` in a group.
fn is_list_of_images(column: &ColumnDescriptor) -> bool {
    let alone_or_group = match column.path().parts() {
        [_, _, _] => column.converted_type() != ConvertedType::UTF8,
        // A list of groups, or a group of lists.
        [_, first, .., last] => first == "bytes" || last == "bytes",
        _ => false,
    };
    alone_or_group && column.physical_type() == Type::BYTE_ARRAY && column.max_rep_level() == 1
}

/// The column of texts beside the bytes of images in lists, which has as many of them in each row; that of the bytes where there is none.
fn beside(columns: &[std::sync::Arc<ColumnDescriptor>], image: usize) -> usize {
    let of_image = columns[image].path().parts();
    let is_beside = |column: &ColumnDescriptor| {
        let (parts, levels) = (column.path().parts(), [column.max_rep_level(), column.max_def_level()]);
        let alike = parts.len() == of_image.len() && parts.iter().zip(of_image).filter(|(a, b)| a != b).count() == 1;
        let path = parts.iter().zip(of_image).any(|(part, of_image)| part == "path" && of_image == "bytes");
        alike && path && levels == [columns[image].max_rep_level(), columns[image].max_def_level()]
    };
    columns.iter().position(|column| is_beside(column)).unwrap_or(image)
}

/// Whole numbers that stand once, or in a list, in each row.
fn is_label(column: &ColumnDescriptor) -> bool {
    let whole = matches!(column.physical_type(), Type::INT32 | Type::INT64 | Type::BOOLEAN)
        && !matches!(
            column.converted_type(),
            ConvertedType::DECIMAL
                | ConvertedType::DATE
                | ConvertedType::TIME_MILLIS
                | ConvertedType::TIME_MICROS
                | ConvertedType::TIMESTAMP_MILLIS
                | ConvertedType::TIMESTAMP_MICROS
        );
    let parts = column.path().parts().len();
    whole && matches!((parts, column.max_rep_level()), (1, 0) | (3, 1))
}

/// The features that the `datasets` library writes into the metadata; null without them.
fn features(file: &FileMetaData) -> Value {
    let text =
        file.key_value_metadata().and_then(|pairs| pairs.iter().find(|pair| pair.key == "huggingface")?.value.as_ref());
    let value = text.and_then(|text| serde_json::from_str::<Value>(text).ok());
    value.and_then(|value| value.pointer("/info/features").cloned()).unwrap_or_default()
}

/// The feature of a list's elements, which versions of the library write in three ways; any other as it is.
fn element(feature: &Value) -> &Value {
    match feature {
        Value::Array(of_one) => of_one.first().map_or(feature, element),
        Value::Object(fields) => fields.get("feature").map_or(feature, element),
        _ => feature,
    }
}

/// Names of the classes of a label; empty where the features have none.
fn class_names(features: &Value, label: &str) -> Vec<String> {
    let names = element(&features[label]).get("names").and_then(Value::as_array);
    let all: Option<Vec<String>> =
        names.map(Vec::as_slice).unwrap_or_default().iter().map(|name| name.as_str().map(String::from)).collect();
    all.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_behind_the_last_question_mark() {
        let asked = |image: Option<&str>, label: Option<&str>| Asked {
            image: image.map(String::from),
            label: label.map(String::from),
        };
        for (text, pattern, expected) in [
            ("/d", "/d", asked(None, None)),
            ("/d/train-?.parquet", "/d/train-?.parquet", asked(None, None)),
            ("/d?label=fine", "/d", asked(None, Some("fine"))),
            ("/d/?.parquet?image=img&label=y", "/d/?.parquet", asked(Some("img"), Some("y"))),
            ("/d?label=none", "/d", asked(None, Some("none"))),
        ] {
            assert_eq!(Asked::parse(text).unwrap(), (pattern, expected), "{text}");
        }
        for text in ["/d?image=a&lable=b", "/d?label=", "/d?image=a&"] {
            assert!(Asked::parse(text).unwrap_err().contains("?image=COLUMN&label=COLUMN"), "{text}");
        }
    }
}
