//! Images and the features of each, for the commands that use an encoder on a collection.

use crate::eval::console::Console;
use crate::failure::{Failure, request};
use crate::output;
use crate::progress::Progress;
use crate::streams::say;
use crate::subject::{EncoderArgs, Subject};
use anyhow::{Context, anyhow};
use candle_core::Device;
use clsa_augment::CenterCrop;
use clsa_data::{Dataset, Limits, Source, Split};
use clsa_eval::Subset;
use clsa_eval::features::{CenterCrops, FeatureFile, unusable};
use clsa_eval::hashes::{data_hash, encoder_hash};
use clsa_model::Encoder;
use clsa_run::DataIdentity;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The options that name a collection, and say how features of it are made.
#[derive(clap::Args)]
pub struct CollectionArgs {
    /// The images, as KIND:PATH, such as flat:/data/photographs [default: those of the run]
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,
    /// Which of the images
    #[arg(long, value_enum, default_value = "train")]
    split: SplitName,
    /// Where in the encoder features are taken: backbone (its last stage), embedding (after the projection head) or a stage, such as
    /// layer3 [default: backbone]
    #[arg(long, value_name = "STAGE")]
    stage: Option<String>,
    /// Short side of images after resizing, pixels [default: what the run or the files of the weights say, else 256, or 32 for a
    /// CIFAR stem]
    #[arg(long, value_name = "PIXELS")]
    resize: Option<u32>,
    /// Side of the square in the middle that the encoder sees, pixels [default: what the run or the files of the weights say,
    /// else 224, or 32 for a CIFAR stem]
    #[arg(long, value_name = "PIXELS")]
    crop: Option<u32>,
    /// Leaves out images that cannot be read or are too elongated to be resized, each with a warning; this decodes all images once more
    #[arg(long)]
    skip_bad: bool,
    /// Where features are kept for the next time [default: the run, or WEIGHTS.eval in the current folder]
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
}

/// The name of a split.
#[derive(Clone, Copy, clap::ValueEnum)]
enum SplitName {
    /// The training images; all images of a source without splits
    Train,
    /// The test or validation images
    Test,
}

/// Images, the encoder, and the features of the images by it.
pub struct Collection {
    pub subject: Subject,
    pub source: Source,
    pub images: Arc<dyn Dataset>,
    pub encoder: Encoder,
    pub features: FeatureFile,
}

impl CollectionArgs {
    /// The encoder that is used on the collection.
    pub fn subject(&self, encoder: &EncoderArgs) -> Result<Subject, Failure> {
        Subject::of(encoder, self.stage.as_deref(), [self.resize, self.crop])
    }
}

impl Collection {
    /// Makes the features, or takes those that were made before. `outputs` are the files that the command will write.
    pub fn of(subject: Subject, args: &CollectionArgs, outputs: &[PathBuf], device: &Device) -> Result<Self, Failure> {
        let source = subject.source(args.data.as_deref())?;
        let tables = source.parts().iter().map(|part| PathBuf::from(&part.argument));
        let inputs: Vec<PathBuf> = tables.chain([subject.weights.clone()]).collect();
        for file in outputs {
            output::check_is_no_input("--out", file, &inputs)?;
            output::check_picture_is_beside_images("--out", file, &source)?;
        }
        let split = match args.split {
            SplitName::Train => Split::Train,
            SplitName::Test => Split::Test,
        };
        let mut images = source.open_with(split, Limits::default())?;
        for file in outputs {
            output::check_is_no_image("--out", file, (0..images.len()).map(|index| images.name(index)))?;
        }
        if args.data.is_none() && split == Split::Train {
            tell_other_images(&subject, &source, images.as_ref())?;
        }
        let encoder = subject.trained(device)?;
        if args.skip_bad {
            images = usable(images, &subject.transform)?;
        }
        let cache = args.cache.clone().unwrap_or_else(|| subject.cache()).join("features");
        output::check_folder("--cache", &cache)?;
        clsa_files::remove_abandoned(&cache).with_context(|| cache.display().to_string())?;
        let hashing = Progress::new("images, content", "images");
        let images_sha256 = data_hash(images.as_ref(), &|done, of| hashing.at(done, of))?;
        drop(hashing);
        let crops = CenterCrops {
            encoder: &encoder,
            encoder_sha256: &encoder_hash(&encoder)?,
            images: images.as_ref(),
            images_sha256: &images_sha256,
            transform: &subject.transform,
        };
        let features = crops.features(&cache, "features", &Console).map_err(|error| {
            if !error.is_of_image() {
                return error.into();
            }
            let sentence = format!("{error}; add --skip-bad to leave out such images");
            if error.is_request() { request(sentence) } else { anyhow!(sentence).into() }
        })?;
        Ok(Self { subject, source, images, encoder, features })
    }
}

/// Says where images that nobody has named are not those of the run: their folder has changed, or is one in another place.
fn tell_other_images(subject: &Subject, source: &Source, images: &dyn Dataset) -> Result<(), Failure> {
    let Some((run, _)) = &subject.run else { return Ok(()) };
    if let Some(difference) = DataIdentity::of(images).difference_from(run)? {
        let run = run.path().display();
        say!("note: the images of {source} are not those that {run} was trained on ({difference})");
    }
    Ok(())
}

/// The images that can be decoded and transformed.
fn usable(images: Arc<dyn Dataset>, transform: &CenterCrop) -> Result<Arc<dyn Dataset>, Failure> {
    let (all, done) = (images.len(), AtomicU64::new(0));
    let decoding = Progress::new("images, decoded", "images");
    let looked_at = || decoding.at(done.fetch_add(1, Ordering::Relaxed) + 1, all as u64);
    let bad = unusable(&*images, &(0..all).collect::<Vec<_>>(), transform, looked_at);
    drop(decoding);
    let bad = bad?;
    for (_, reason) in &bad {
        say!("warning: left out: {reason}");
    }
    if bad.len() == all {
        return Err(request("--skip-bad: none of the images can be used"));
    }
    let mut bad = bad.iter().map(|(index, _)| *index).peekable();
    let indices = (0..all).filter(|index| bad.next_if_eq(index).is_none()).map(|index| index as u32).collect();
    Ok(Arc::new(Subset { dataset: images, indices }))
}
