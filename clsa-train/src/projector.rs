//! The files of TensorBoard's embedding projector: features of some images, their names and classes, and thumbnails.

use crate::contact_sheet::{contact_sheet, png};
use crate::error::{Result, TrainError};
use crate::monitored_images::{BATCH, MonitoredImages};
use clsa_data::Dataset;
use clsa_eval::features::extract_into;
use clsa_model::Encoder;
use clsa_run::{Config, RunError, RunFolder};
use rayon::prelude::*;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Images at most.
const IMAGES: usize = 1000;
/// Side of a thumbnail, pixels.
const SIDE: u32 = 32;

/// A fixed subset of images, whose features are written again and again.
pub(crate) struct Projector {
    images: MonitoredImages,
    /// Those whose names and thumbnails are written.
    described: Vec<usize>,
    /// The run that shows them.
    run: RunFolder,
}

impl Projector {
    /// Draws the subset, of up to 1000 images, by the run's seed.
    pub fn new(config: &Config, images: Arc<dyn Dataset>, run: &RunFolder) -> Self {
        Self {
            images: MonitoredImages::draw(config, "embedding projector", images, IMAGES),
            described: Vec::new(),
            run: run.clone(),
        }
    }

    /// Writes the features of the encoder as it is; and the images' names and thumbnails, once, unless others are left out.
    ///
    /// # Errors
    /// As the k-NN monitor's; or the folder cannot be written.
    pub fn write(&mut self, encoder: &Encoder, warn: &mut dyn FnMut(&str)) -> Result<()> {
        let features = self.images.look_at(warn, |dataset, indices, transform| {
            let mut features = String::new();
            extract_into(encoder, dataset, indices, transform, BATCH, &mut |rows| {
                add_lines(&mut features, rows, encoder.feature_dim());
                Ok(())
            })?;
            Ok(features)
        })?;
        let folder = self.run.projector();
        fs::create_dir_all(&folder).map_err(io(&folder))?;
        write_whole(&folder.join("features.tsv"), features.as_bytes())?;
        let MonitoredImages { dataset, indices, .. } = &self.images;
        if self.described != *indices {
            let thumbnail = |&index: &usize| Ok(contact_sheet(&[dataset.image(index)?], 1, SIDE));
            let thumbnails: Vec<_> = indices.par_iter().map(thumbnail).collect::<Result<_>>()?;
            let columns = (thumbnails.len() as f64).sqrt().ceil().max(1.0) as u32;
            let sprite = png(&contact_sheet(&thumbnails, columns, SIDE));
            write_whole(&folder.join("images.tsv"), metadata(dataset.as_ref(), indices).as_bytes())?;
            write_whole(&folder.join("thumbnails.png"), &sprite)?;
            write_whole(&self.run.tensorboard().join("projector_config.pbtxt"), CONFIG.as_bytes())?;
            self.described.clone_from(indices);
        }
        Ok(())
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    clsa_files::write_whole(path, bytes).map_err(io(path))
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> TrainError {
    let path = path.to_owned();
    move |source| RunError::Io { path, source }.into()
}

/// `ProjectorConfig` of TensorBoard's projector plugin, as protocol buffer text.
const CONFIG: &str = "embeddings {
  tensor_name: \"features of images\"
  tensor_path: \"projector/features.tsv\"
  metadata_path: \"projector/images.tsv\"
  sprite {
    image_path: \"projector/thumbnails.png\"
    single_image_dim: 32
    single_image_dim: 32
  }
}
";

/// Adds a line for each row of features.
fn add_lines(text: &mut String, rows: &[f32], dim: usize) {
    for row in rows.chunks(dim) {
        for (i, value) in row.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\t" };
            // Six digits: more than a projection shows.
            write!(text, "{separator}{value:.5e}").expect("a string takes everything");
        }
        text.push('\n');
    }
}

/// A heading, and for each image its name and class.
fn metadata(dataset: &dyn Dataset, indices: &[usize]) -> String {
    let mut text = "image\tclass\n".to_owned();
    for &index in indices {
        let class = dataset.label(index).class().and_then(|class| dataset.class_names().get(class as usize));
        let field = |text: &str| text.replace(char::is_control, " ");
        writeln!(text, "{}\t{}", field(&dataset.name(index)), field(class.map_or("", String::as_str)))
            .expect("a string takes everything");
    }
    text
}
