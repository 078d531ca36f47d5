//! Weights as a user names them: a file, a run, or a folder of Hugging Face's libraries.

use crate::failure::{Failure, request};
use clsa_model::weights;
use clsa_run::RunFolder;
use std::path::{Path, PathBuf};

/// The file itself, the newest checkpoint of a run, or the weights in another folder, such as one that `export` made.
pub fn weight_file(path: &Path) -> Result<PathBuf, Failure> {
    if !path.is_dir() {
        Ok(path.to_owned())
    } else if path.join("model.safetensors").is_file() || path.join("config.json").is_file() {
        Ok(weights::file_in_folder(path)?)
    } else if path.join("model.pth").is_file() {
        Ok(path.join("model.pth"))
    } else if RunFolder::at(path).config_file().try_exists().unwrap_or(true) {
        Ok(RunFolder::open(path)?.newest_checkpoint()?)
    } else {
        Err(request(format!(
            "{}: this folder is not a run (it has no config.toml), and not one of timm or transformers (no config.json or \
             model.safetensors); name a weight file",
            path.display()
        )))
    }
}
