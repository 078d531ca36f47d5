//! `eval.json`: what was evaluated, how, and the figures.

use crate::{Accuracy, EvalError, EvalTransform};
use clsa_model::Encoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::Path;

/// The content of an `eval.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The weight file or checkpoint.
    pub weights: String,
    /// [`encoder_hash`] of the trained encoder.
    pub encoder_sha256: String,
    /// The data set.
    pub data: String,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Training images.
    pub train_samples: usize,
    /// Test images.
    pub test_samples: usize,
    /// How test images were cut and normalised.
    pub transform: EvalTransform,
    /// Accuracy of guessing, percent.
    pub chance: Chance,
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
    /// Name of the protocol, as on the command line.
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
    /// `trained`, `untrained` or `raw pixels`.
    pub encoder: String,
    /// What the protocol chose or found beside the figures.
    pub details: serde_json::Value,
    /// The figures.
    #[serde(flatten)]
    pub accuracy: Accuracy,
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
            && self.data == earlier.data
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

    /// The figures as a table of plain text.
    pub fn table(&self) -> String {
        let mut table =
            format!("{:<17}{:<12}{:>8}  {:<16}{:>8}\n", "protocol", "encoder", "top-1 %", "95 %", "top-5 %");
        for protocol in &self.protocols {
            for (row, result) in protocol.results.iter().enumerate() {
                let name = if row == 0 { protocol.protocol.as_str() } else { "" };
                let Accuracy { top1, top5, .. } = &result.accuracy;
                let interval = format!("{:.1} to {:.1}", top1.low, top1.high);
                let (encoder, top1, top5) = (&result.encoder, top1.value, top5.value);
                table += &format!("{name:<17}{encoder:<12}{top1:>8.1}  {interval:<16}{top5:>8.1}\n");
            }
        }
        let Chance { top1, top5 } = self.chance;
        table + &format!("{:<17}{:<12}{top1:>8.1}  {:<16}{top5:>8.1}\n", "chance", "", "")
    }
}

/// Writes a file so that it appears whole: a temporary file beside it, synced, then renamed.
///
/// # Errors
/// The folder cannot be written.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), EvalError> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // Readable as any new file is, not only by its owner as temporary files are.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut write = || -> std::io::Result<()> {
        let mut file = builder.prefix(".writing-").tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(|source| EvalError::Io { path: path.to_owned(), source })
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
