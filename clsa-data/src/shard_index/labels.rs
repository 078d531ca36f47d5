//! Labels of samples as files of a shard state them: `.cls` and `.json`.

/// Most classes that numbers in a shard may stand for.
pub(super) const MAX_CLASSES: i64 = 1_000_000;

fn class_number(number: i64) -> Result<i32, String> {
    if (0..MAX_CLASSES).contains(&number) {
        Ok(number as i32)
    } else {
        Err(format!("has the class {number}, which is not in 0..{MAX_CLASSES}"))
    }
}

/// A `.cls` file: a number, or one of the names of the classes. An error is a reason.
pub(super) fn parse_cls(text: &str, classes: &[String]) -> Result<Vec<i32>, String> {
    let text = text.trim();
    if let Ok(number) = text.parse() {
        return Ok(vec![class_number(number)?]);
    }
    match classes.iter().position(|class| class == text) {
        Some(class) => Ok(vec![class as i32]),
        None => Err(format!("has `{}`, neither a number nor a known class", text.chars().take(40).collect::<String>())),
    }
}

/// A `.json` file: `label`, `cls` or `class` with a number or the name of a class, or `labels` with -1, 0 and 1 for each class;
/// `None` without any of these. An error is a reason.
pub(super) fn parse_json(text: &str, classes: &[String]) -> Result<Option<Vec<i32>>, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
    let label = ["label", "cls", "class"].iter().find_map(|key| value.get(key).filter(|value| !value.is_null()));
    if let Some(label) = label {
        return match (label.as_i64(), label.as_str()) {
            (Some(number), _) => Ok(Some(vec![class_number(number)?])),
            (None, Some(name)) => parse_cls(name, classes).map(Some),
            (None, None) => Err(format!("has the label {label}, neither a whole number nor the name of a class")),
        };
    }
    let Some(labels) = value.get("labels").and_then(|labels| labels.as_array()) else { return Ok(None) };
    let labels: Option<Vec<i32>> =
        labels.iter().map(|label| label.as_i64().filter(|label| (-1..=1).contains(label)).map(|l| l as i32)).collect();
    match labels {
        Some(labels) if labels.len() >= 2 => Ok(Some(labels)),
        _ => Err("has `labels` that are not -1, 0 or 1 for each of two classes or more".into()),
    }
}
