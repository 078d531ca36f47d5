//! Labels of samples as files of a shard state them: `.cls` and `.json`.

use std::borrow::Cow;
use std::cell::Cell;

use serde_json::Value;

use crate::label::MAX_CLASSES;

/// Names of the classes, and whether a label was looked for among them.
pub(super) struct Classes<'a> {
    names: &'a [String],
    asked: Cell<bool>,
}

impl<'a> Classes<'a> {
    pub(super) fn new(names: &'a [String]) -> Self {
        Self { names, asked: Cell::new(false) }
    }

    /// The digest of the names, or 0 if no label depends on them.
    pub(super) fn digest(&self) -> u64 {
        if self.asked.get() { names_digest(self.names) } else { 0 }
    }

    /// The number of a class by its name; an error is a reason.
    fn number(&self, name: &str) -> Result<Vec<i32>, String> {
        self.asked.set(true);
        if let Some(class) = self.names.iter().position(|class| class == name) {
            return Ok(vec![class as i32]);
        }
        let name: String = name.chars().take(40).collect();
        let todo = match self.names {
            [] => "name the classes in a file classes.txt beside the shards, one on each line",
            _ => "add it to classes.txt beside the shards",
        };
        Err(format!("has `{name}`, neither a number nor a known class; {todo}"))
    }
}

/// A number other than 0 for the names of classes.
pub(super) fn names_digest(names: &[String]) -> u64 {
    1 << 32 | u64::from(crc32fast::hash(names.join("\n").as_bytes()))
}

/// Labels of one sample: none for a class of -1, which stands for an unknown one.
fn class_number(number: i64) -> Result<Vec<i32>, String> {
    match number {
        -1 => Ok(Vec::new()),
        0..MAX_CLASSES => Ok(vec![number as i32]),
        _ => Err(format!("has the class {number}, which is not in 0..{MAX_CLASSES}")),
    }
}

/// A `.cls` file: a number, or one of the names of the classes. An error is a reason.
pub(super) fn parse_cls(text: &str, classes: &Classes<'_>) -> Result<Vec<i32>, String> {
    let text = text.trim();
    text.parse().map_or_else(|_| classes.number(text), class_number)
}

/// A `.json` file: `label`, `cls` or `class` with a number or the name of a class, or `labels` with -1, 0 and 1 for each class;
/// no labels without any of these. An error is the reason for which the file gives no label though it seems to have one.
pub(super) fn parse_json(text: &str, classes: &Classes<'_>) -> Result<Vec<i32>, String> {
    let value: Value = serde_json::from_str(&strict(text)).map_err(|error| format!("is not JSON: {error}"))?;
    let label = ["label", "cls", "class"].iter().find_map(|key| value.get(key).filter(|value| !value.is_null()));
    match (label, value.get("labels")) {
        (Some(Value::String(name)), _) => classes.number(name),
        (Some(label), _) => match label.as_i64() {
            Some(number) => class_number(number),
            None => Err("has a label that is neither a whole number nor the name of a class".into()),
        },
        (None, Some(Value::Array(labels))) => {
            let presence = |label: &Value| label.as_i64().filter(|label| (-1..=1).contains(label)).map(|l| l as i32);
            match labels.iter().map(presence).collect::<Option<Vec<i32>>>() {
                Some(labels) if labels.len() >= 2 => Ok(labels),
                _ => Err("has `labels` that are not -1, 0 or 1 for each of two classes or more".into()),
            }
        }
        (None, _) => Ok(Vec::new()),
    }
}

/// JSON as Python writes it, with `null` for the `NaN`, `Infinity` and `-Infinity` that JSON lacks.
fn strict(text: &str) -> Cow<'_, str> {
    const WORDS: [&str; 3] = ["NaN", "-Infinity", "Infinity"];
    if !WORDS.iter().any(|word| text.contains(word)) {
        return text.into();
    }
    let (mut out, mut rest, mut quoted) = (String::with_capacity(text.len()), text, false);
    while let Some(first) = rest.chars().next() {
        let word = WORDS.iter().find(|word| !quoted && rest.starts_with(**word));
        let taken = match (word, first) {
            (Some(word), _) => word.len(),
            // An escaped quotation mark ends no string.
            (None, '\\') if quoted => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            (None, _) => first.len_utf8(),
        };
        quoted ^= first == '"';
        out += if word.is_some() { "null" } else { &rest[..taken] };
        rest = &rest[taken..];
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_of_python_is_read_with_its_nan_and_infinity() {
        for (text, labels) in [
            (r#"{"a": NaN, "label": 3}"#, Ok(vec![3])),
            (r#"{"a": [-Infinity, Infinity], "label": 0}"#, Ok(vec![0])),
            (r#"{"a": "\"NaN, \\", "label": NaN}"#, Ok(vec![])),
            (r#"{"class": "NaN"}"#, Ok(vec![1])),
            (r#"{"labels": [1, 0, -1]}"#, Ok(vec![1, 0, -1])),
            (r#"{"label": -1}"#, Ok(vec![])),
            (r#"[NaN]"#, Ok(vec![])),
        ] {
            assert_eq!(parse_json(text, &Classes::new(&["ant".into(), "NaN".into()])), labels, "{text}");
        }
        assert_eq!(strict(r#""NaN" NaN "é\"" -Infinity"#), r#""NaN" null "é\"" null"#);
    }
}
