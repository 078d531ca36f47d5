//! `eval.json`: what was evaluated, how, and the figures.

use crate::{Accuracy, AveragePrecision, EvalError, EvalTransform, Figure, RetrievalPrecision};
use clsa_model::Encoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::Path;
use tempfile::NamedTempFile;

/// The content of an `eval.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The weight file or checkpoint.
    pub weights: String,
    /// [`encoder_hash`] of the trained encoder.
    pub encoder_sha256: String,
    /// The data set, as it was named.
    pub data: String,
    /// Hash of its content, by which another evaluation is seen to be of the same images: [`crate::data_hash`].
    pub data_sha256: String,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Training images.
    pub train_samples: usize,
    /// Test images.
    pub test_samples: usize,
    /// How test images were cut and normalised.
    pub transform: EvalTransform,
    /// Accuracy of guessing, percent; none where an image has not one class.
    pub chance: Option<Chance>,
    /// One entry for each protocol.
    pub protocols: Vec<ProtocolResult>,
}

/// Expected accuracy of naming classes at random, percent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chance {
    /// `100 / classes`.
    pub top1: f64,
    /// `100 · min(5, classes) / classes`.
    pub top5: f64,
}

impl Chance {
    /// For a number of classes, at least 1.
    pub fn of(classes: usize) -> Self {
        let n = classes as f64;
        Self { top1: 100.0 / n, top5: 100.0 * n.min(5.0) / n }
    }
}

/// The figures of one protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProtocolResult {
    /// Name of the protocol, as on the command line; `finetune` also says with which labels, as in `finetune 10%`.
    pub protocol: String,
    /// The settings that were given or defaults.
    pub settings: serde_json::Value,
    /// Figures of the trained encoder and what it is compared with.
    pub results: Vec<EncoderResult>,
    /// Seconds that the protocol took, without extracting features that it shares with others.
    pub wall_time_s: f64,
}

/// One row of a protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderResult {
    /// `trained`, `untrained`, `raw pixels`, or `chance` where that is no plain number of classes.
    pub encoder: String,
    /// What the protocol chose or found beside the figures.
    pub details: serde_json::Value,
    /// The figures.
    #[serde(flatten)]
    pub figures: Figures,
}

/// What a protocol measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Figures {
    /// `knn`, `linear`, `linear-features`, `finetune`.
    Accuracy(Accuracy),
    /// `voc07`.
    AveragePrecision(AveragePrecision),
    /// `retrieval`.
    Retrieval(RetrievalPrecision),
}

impl EncoderResult {
    /// The accuracy, where the protocol classifies.
    pub fn accuracy(&self) -> Option<&Accuracy> {
        match &self.figures {
            Figures::Accuracy(accuracy) => Some(accuracy),
            _ => None,
        }
    }
}

impl Evaluation {
    /// Reads an `eval.json`.
    ///
    /// # Errors
    /// The file cannot be read or is not one.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let refused = |reason: String| EvalError::Run { path: path.to_owned(), reason };
        let text = std::fs::read_to_string(path).map_err(|e| refused(e.to_string()))?;
        serde_json::from_str(&text).map_err(|e| refused(format!("this is not an eval.json ({e}); remove it")))
    }

    /// Takes over from an earlier evaluation of the same encoder, data and transform the protocols that this one has
    /// not.
    pub fn keep_others(&mut self, earlier: Self) {
        let same = self.encoder_sha256 == earlier.encoder_sha256
            && self.data_sha256 == earlier.data_sha256
            && self.transform == earlier.transform
            && (self.train_samples, self.test_samples) == (earlier.train_samples, earlier.test_samples);
        if same {
            let own: Vec<String> = self.protocols.iter().map(|p| p.protocol.clone()).collect();
            self.protocols.extend(earlier.protocols.into_iter().filter(|p| !own.contains(&p.protocol)));
        }
    }

    /// Writes the file, which appears whole.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), EvalError> {
        let mut text = serde_json::to_string_pretty(self).expect("string keys and finite numbers");
        text.push('\n');
        write_whole(path, text.as_bytes())
    }

    /// The figures as tables of plain text, one for each kind of figure.
    pub fn table(&self) -> String {
        let mut tables: Vec<(Columns, String)> = Vec::new();
        for protocol in &self.protocols {
            let mut name = protocol.protocol.as_str();
            for result in &protocol.results {
                let Some((columns, first, second)) = result.figures.cells() else { continue };
                let at = tables.iter().position(|(present, _)| *present == columns).unwrap_or_else(|| {
                    tables.push((columns, line("protocol", "encoder", columns.0, "95 %", columns.1)));
                    tables.len() - 1
                });
                let interval = format!("{:.1} to {:.1}", first.low, first.high);
                let second = second.map_or(String::new(), |figure| format!("{:.1}", figure.value));
                tables[at].1 += &line(name, &result.encoder, &format!("{:.1}", first.value), &interval, &second);
                name = "";
            }
        }
        if let (Some(chance), Some((_, table))) =
            (self.chance, tables.iter_mut().find(|(columns, _)| *columns == ACCURACY_COLUMNS))
        {
            *table += &line("chance", "", &format!("{:.1}", chance.top1), "", &format!("{:.1}", chance.top5));
        }
        tables.into_iter().map(|(_, table)| table).collect::<Vec<_>>().join("\n")
    }

    /// The main figure of each class, one table of plain text for each protocol, one column for each encoder.
    pub fn per_class_table(&self) -> String {
        let mut table = String::new();
        for protocol in &self.protocols {
            let columns: Vec<_> = protocol.results.iter().map(|r| (&r.encoder, r.figures.per_class())).collect();
            let mut classes: Vec<u32> = columns.iter().flat_map(|(_, figures)| figures.iter().map(|f| f.0)).collect();
            classes.sort_unstable();
            classes.dedup();
            if classes.is_empty() {
                continue;
            }
            table += &format!("\n{:<28}", format!("{}, % by class", protocol.protocol));
            columns.iter().for_each(|(encoder, _)| table += &format!("{encoder:>12}"));
            for class in classes {
                let name = self.classes.get(class as usize).map_or_else(|| class.to_string(), Clone::clone);
                table += &format!("\n{name:<28}");
                for (_, figures) in &columns {
                    let value = figures.iter().find(|figure| figure.0 == class);
                    table += &value.map_or(format!("{:>12}", ""), |(_, value)| format!("{value:>12.1}"));
                }
            }
            table += "\n";
        }
        table
    }
}

/// Headings of the two figures of a table.
pub(crate) type Columns = (&'static str, &'static str);

const ACCURACY_COLUMNS: Columns = ("top-1 %", "top-5 %");

impl Figures {
    /// The figure with its interval, and a second one, under the headings of their table.
    pub(crate) fn cells(&self) -> Option<(Columns, Figure, Option<Figure>)> {
        match self {
            Self::Accuracy(a) => Some((ACCURACY_COLUMNS, a.top1, Some(a.top5))),
            Self::AveragePrecision(p) => Some((("mAP %", "11-point"), p.mean, Some(p.mean_11_point))),
            Self::Retrieval(r) => Some((("same class %", ""), r.precision?, None)),
        }
    }

    /// The figure of each class that has one, percent.
    pub(crate) fn per_class(&self) -> Vec<(u32, f64)> {
        match self {
            Self::Accuracy(a) => a.per_class.iter().map(|c| (c.class, c.top1)).collect(),
            Self::AveragePrecision(p) => p.per_class.iter().map(|c| (c.class, c.area)).collect(),
            Self::Retrieval(_) => Vec::new(),
        }
    }
}

fn line(protocol: &str, encoder: &str, first: &str, interval: &str, second: &str) -> String {
    let line = format!("{protocol:<17}{encoder:<12}{first:>13}  {interval:<16}{second:>8}");
    line.trim_end().to_owned() + "\n"
}

/// Writes a file so that it appears whole: a temporary file beside it, synced, then renamed.
///
/// # Errors
/// The folder cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), EvalError> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = new_file_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(|source| EvalError::Io { path: path.to_owned(), source })
}

/// A temporary file in a folder, to be renamed when it is whole.
pub(crate) fn new_file_in(folder: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    // Readable as any new file is, not only by its owner as temporary files are.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.prefix(".writing-").tempfile_in(folder)
}

/// SHA-256 over names, shapes and values of the backbone's parameters and running statistics, as 64 hexadecimal
/// digits.
///
/// # Errors
/// A tensor operation fails.
pub fn encoder_hash(encoder: &Encoder) -> Result<String, EvalError> {
    let mut tensors: Vec<_> = encoder.state_dict()?.into_iter().collect();
    tensors.retain(|(name, _)| !name.starts_with("fc.") && !name.ends_with("num_batches_tracked"));
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let mut hash = Sha256::new();
    for (name, tensor) in tensors {
        hash.update(format!("{name}{:?}", tensor.dims()));
        let values = tensor.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        values.iter().for_each(|value| hash.update(value.to_le_bytes()));
    }
    Ok(hex(&hash.finalize()))
}

/// Hexadecimal digits of bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
