//! Which training images have their labels used: a share of each class, or a list of file names.

use crate::EvalError;
use crate::features::{all_labels, check_labels};
use crate::stratified::draw_by_class;
use crate::subset::Subset;
use clsa_data::Dataset;
use serde::Serialize;
use std::collections::HashMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// The labeled part of a training set.
///
/// # Examples
/// ```
/// use clsa_eval::clsa_data::{Source, Split};
/// use clsa_eval::protocols::LabelSubset;
///
/// let source: Source = "procedural:classes=4,train=80,test=8,side=16".parse()?;
/// let (train, test) = (source.open(Split::Train)?, source.open(Split::Test)?);
/// let tenth: LabelSubset = "10%".parse()?;
/// assert_eq!(tenth.of(&train, test.as_ref(), 0)?.len(), 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelSubset {
    /// This share of each class, above 0 and up to 100 percent, at least one image of each, drawn by seed.
    Percent(f64),
    /// The images that a text file names, one a line: by file name, as SimCLR's lists for ImageNet do
    /// (`n01440764_10026.JPEG`), or by as much of the path as tells them apart.
    List(PathBuf),
}

impl FromStr for LabelSubset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        match number.filter(|percent| *percent > 0.0 && *percent <= 100.0) {
            Some(percent) => Ok(Self::Percent(percent)),
            None => Err("use a share above 0% and up to 100%, such as 1% or 10%".to_owned()),
        }
    }
}

impl LabelSubset {
    /// The labeled images of a training set, whose classes must cover those of the test set.
    ///
    /// # Errors
    /// The list cannot be read, is empty, or names an image that is not there, twice, or not clearly; or labels are wrong
    /// as for every protocol ([`check_labels`]).
    pub fn of(&self, train: &Arc<dyn Dataset>, test: &dyn Dataset, seed: u64) -> Result<Arc<dyn Dataset>, EvalError> {
        check_labels(train.as_ref(), test)?;
        let indices = match self {
            Self::Percent(percent) if *percent == 100.0 => return Ok(train.clone()),
            Self::Percent(percent) => {
                let labels = all_labels(train.as_ref())?;
                let count = |rows: usize| ((rows as f64 * percent / 100.0).round() as usize).clamp(rows.min(1), rows);
                draw_by_class(&labels, seed, count).0
            }
            Self::List(path) => listed(train.as_ref(), path)?,
        };
        let subset: Arc<dyn Dataset> = Arc::new(Subset { dataset: train.clone(), indices });
        check_labels(subset.as_ref(), test)?;
        Ok(subset)
    }
}

/// The training images that a list names, ascending.
fn listed(train: &dyn Dataset, path: &PathBuf) -> Result<Vec<u32>, EvalError> {
    let wrong_list = |reason: String| EvalError::File { path: path.clone(), reason };
    let text = std::fs::read_to_string(path).map_err(|e| wrong_list(format!("this list cannot be read ({e})")))?;
    let file_name = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let mut by_file_name: HashMap<String, Vec<u32>> = HashMap::new();
    for index in 0..train.len() {
        by_file_name.entry(file_name(&train.name(index))).or_default().push(index as u32);
    }
    let mut indices = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line = line.trim();
        let wrong = |what: &str| wrong_list(format!("line {}, {line}: {what}", number + 1));
        let named = by_file_name.get(&file_name(line)).map(Vec::as_slice).unwrap_or_default();
        let ends = |index: &u32| {
            train.name(*index as usize).strip_suffix(line).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
        };
        match named.iter().copied().filter(|index| ends(index)).collect::<Vec<_>>()[..] {
            [index] => indices.push(index),
            [] => return Err(wrong("no training image has this name")),
            _ => return Err(wrong("more than one training image has this name; write its folder before it")),
        }
    }
    indices.sort_unstable();
    if let Some(twice) = indices.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(wrong_list(format!("it names {} twice", train.name(twice[0] as usize))));
    }
    if indices.is_empty() {
        return Err(wrong_list("this list is empty; write one file name a line".to_owned()));
    }
    Ok(indices)
}
