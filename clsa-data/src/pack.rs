//! Any source to WebDataset shards with an index: `data pack`.

use std::fs::File;
use std::io::{BufWriter, Cursor, Write};
use std::path::{Path, PathBuf};

use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, RgbImage};
use rayon::prelude::*;

use crate::dataset::{Dataset, Encoded, Label, Presence};
use crate::error::{DataError, SampleError};
use crate::order::shuffled;
use crate::progress::Progress;
use crate::shard_index::{CLASSES_FILE, part_path, write_index, write_whole};
use crate::source::Splits;

/// How shards are written.
#[derive(Clone, Debug, PartialEq)]
pub struct PackOptions {
    /// Images whose short side is longer are resized to this short side in pixels (bilinear with antialiasing) and
    /// encoded as JPEG; all others keep their files. `None` keeps all. Default `None`.
    pub short_side: Option<u32>,
    /// Quality of JPEG, in 1..=100. Default 95.
    pub quality: u8,
    /// Bytes of images after which a shard is full. Default 256 MiB.
    pub shard_bytes: u64,
    /// What the order of samples in the shards depends on; `None` keeps the order of the source. Default `Some(0)`:
    /// samples that are read in sequence are then of mixed classes.
    pub shuffle_seed: Option<u64>,
    /// Threads; 0 means one per core. Default 0.
    pub threads: usize,
}

impl Default for PackOptions {
    fn default() -> Self {
        Self { short_side: None, quality: 95, shard_bytes: 256 << 20, shuffle_seed: Some(0), threads: 0 }
    }
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct PackReport {
    /// The shards, in order.
    pub shards: Vec<PathBuf>,
    /// Samples in them.
    pub samples: usize,
    /// Bytes of the shards.
    pub bytes: u64,
    /// Samples that were left out, each with its reason in one sentence that names it.
    pub bad: Vec<String>,
}

/// Samples that are encoded in parallel before they are written in order, for each thread.
const CHUNK_PER_THREAD: usize = 32;

/// Writes every split of a source as shards `train-000000.tar` … and `test-000000.tar` … with their indexes and
/// `classes.txt` to the folder `out`, which must not exist or be empty; `wds:OUT` then names them. The folder appears
/// when all of it is written; until then it is `OUT.part`. Bad samples are left out and reported. `progress` is called
/// from the calling thread.
///
/// # Errors
/// [`DataError`] if an option is out of range, no sample is good, or `out` cannot be written.
pub fn pack(
    splits: &Splits,
    out: &Path,
    options: &PackOptions,
    progress: &dyn Fn(Progress),
) -> Result<PackReport, DataError> {
    if !(1..=100).contains(&options.quality) {
        return Err(DataError::Config {
            key: "quality",
            reason: format!("is {}, but must be in 1..=100", options.quality),
        });
    }
    if options.short_side == Some(0) {
        return Err(DataError::Config { key: "short_side", reason: "must be at least 1".into() });
    }
    // Without a separator at its end, so that `OUT.part` is beside it.
    let out: &Path = &out.components().collect::<PathBuf>();
    if out.file_name().is_none() || out.is_symlink() || out.is_file() {
        return Err(DataError::refused(out, "is not a new folder; name one"));
    }
    if out.exists() && std::fs::read_dir(out).map_err(DataError::io(out))?.next().is_some() {
        return Err(DataError::refused(out, "is not empty; shards are written to a new or empty folder"));
    }
    let part = part_path(out);
    if part.exists() {
        return Err(DataError::refused(part, "is left from packing that was interrupted; delete it first"));
    }
    if let Some(class) = splits.train.class_names().iter().find(|class| class.contains(['\n', '\r'])) {
        return Err(DataError::refused(out, format!("cannot name the class {class:?}, which has a line break")));
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .build()
        .map_err(|error| DataError::Config { key: "threads", reason: error.to_string() })?;
    std::fs::create_dir_all(&part).map_err(DataError::io(&part))?;
    let packed = write_shards(splits, &part, options, &pool, progress).and_then(|report| {
        if report.samples == 0 {
            let reason = report.bad.first().map_or("it has no samples", String::as_str);
            return Err(DataError::refused(out, format!("was not written, because no image is good: {reason}")));
        }
        std::fs::rename(&part, out).map_err(DataError::io(out))?;
        Ok(report)
    });
    match packed {
        Ok(mut report) => {
            report.shards.iter_mut().for_each(|shard| *shard = out.join(shard.file_name().unwrap_or_default()));
            Ok(report)
        }
        Err(error) => {
            // What failed is what the user should hear of, not that its remains cannot be deleted.
            let _ = std::fs::remove_dir_all(&part);
            Err(error)
        }
    }
}

/// Writes all shards to the folder `part`.
fn write_shards(
    splits: &Splits,
    part: &Path,
    options: &PackOptions,
    pool: &rayon::ThreadPool,
    progress: &dyn Fn(Progress),
) -> Result<PackReport, DataError> {
    let classes = splits.train.class_names();
    if !classes.is_empty() {
        write_whole(&part.join(CLASSES_FILE), (classes.join("\n") + "\n").as_bytes())?;
    }
    let total = splits.iter().map(|(_, dataset)| dataset.len() as u64).sum();
    let mut report = PackReport::default();
    let mut done = 0;
    for (split, dataset) in splits.iter() {
        let len = dataset.len() as u32;
        let order = options.shuffle_seed.map_or_else(|| (0..len).collect(), |seed| shuffled(seed, 0, len));
        let mut shard: Option<Shard> = None;
        let mut shards = 0;
        for chunk in order.chunks(CHUNK_PER_THREAD * pool.current_num_threads()) {
            let files: Vec<Result<Encoded, SampleError>> =
                pool.install(|| chunk.par_iter().map(|&index| file(&**dataset, index as usize, options)).collect());
            for (&index, file) in chunk.iter().zip(files) {
                done += 1;
                match file {
                    Err(error) => report.bad.push(error.to_string()),
                    Ok(file) => {
                        if shard.as_ref().is_some_and(|shard| shard.bytes >= options.shard_bytes)
                            && let Some(full) = shard.take()
                        {
                            full.finish(&mut report)?;
                        }
                        let shard = match &mut shard {
                            Some(shard) => shard,
                            none => {
                                let path = part.join(format!("{split}-{shards:06}.tar"));
                                shards += 1;
                                none.insert(Shard::create(path)?)
                            }
                        };
                        shard.add(&format!("{index:09}"), &file, &dataset.label(index as usize))?;
                        report.samples += 1;
                    }
                }
            }
            progress(Progress { done, total });
        }
        if let Some(last) = shard {
            last.finish(&mut report)?;
        }
    }
    Ok(report)
}

/// A shard that is being written.
struct Shard {
    path: PathBuf,
    archive: tar::Builder<BufWriter<File>>,
    /// Bytes of the images so far.
    bytes: u64,
}

impl Shard {
    fn create(path: PathBuf) -> Result<Self, DataError> {
        let file = File::create(&path).map_err(DataError::io(&path))?;
        Ok(Self { path, archive: tar::Builder::new(BufWriter::new(file)), bytes: 0 })
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), DataError> {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        self.archive.append_data(&mut header, name, bytes).map_err(DataError::io(&self.path))
    }

    fn add(&mut self, key: &str, file: &Encoded, label: &Label) -> Result<(), DataError> {
        match label {
            Label::None => {}
            Label::Class(class) => self.append(&format!("{key}.cls"), class.to_string().as_bytes())?,
            Label::Multi(presence) => {
                let number = |presence: &Presence| match presence {
                    Presence::Absent => "-1",
                    Presence::Difficult => "0",
                    Presence::Present => "1",
                };
                let labels: Vec<&str> = presence.iter().map(number).collect();
                self.append(&format!("{key}.json"), format!("{{\"labels\":[{}]}}", labels.join(",")).as_bytes())?;
            }
        }
        self.bytes += file.bytes.len() as u64;
        self.append(&format!("{key}.{}", file.extension), &file.bytes)
    }

    fn finish(self, report: &mut PackReport) -> Result<(), DataError> {
        let Self { path, archive, .. } = self;
        let file = archive
            .into_inner()
            .and_then(|mut writer| writer.flush().map(|()| writer))
            .and_then(|writer| writer.into_inner().map_err(|error| error.into_error()))
            .and_then(|file| file.sync_all().map(|()| file))
            .map_err(DataError::io(&path))?;
        report.bytes += file.metadata().map_err(DataError::io(&path))?.len();
        write_index(&path, &[])?;
        report.shards.push(path);
        Ok(())
    }
}

/// The file of a sample for a shard: as it is stored, or resized and encoded anew.
fn file(dataset: &dyn Dataset, index: usize, options: &PackOptions) -> Result<Encoded, SampleError> {
    let image = dataset.image(index)?;
    let failed = |reason: String| SampleError::Decode { name: dataset.name(index), reason };
    if let Some(side) = options.short_side
        && image.width().min(image.height()) > side
    {
        let resized = resize(&image, side).map_err(failed)?;
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, options.quality)
            .encode_image(&resized)
            .map_err(|error| failed(error.to_string()))?;
        return Ok(Encoded { bytes, extension: "jpg".into() });
    }
    if let Some(file) = dataset.encoded(index)? {
        return Ok(file);
    }
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).map_err(|error| failed(error.to_string()))?;
    Ok(Encoded { bytes: bytes.into_inner(), extension: "png".into() })
}

/// Resizes so that the short side is `side`, the long one as torchvision's `Resize` computes it.
fn resize(image: &RgbImage, side: u32) -> Result<RgbImage, String> {
    let (width, height) = image.dimensions();
    let long = |long: u32, short: u32| (u64::from(side) * u64::from(long) / u64::from(short)) as u32;
    let (to_width, to_height) = if width <= height { (side, long(height, width)) } else { (long(width, height), side) };
    let source = fast_image_resize::images::ImageRef::new(width, height, image.as_raw(), PixelType::U8x3)
        .map_err(|error| error.to_string())?;
    let mut target = Image::new(to_width, to_height, PixelType::U8x3);
    let bilinear = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new().resize(&source, &mut target, &bilinear).map_err(|error| error.to_string())?;
    RgbImage::from_raw(to_width, to_height, target.into_vec()).ok_or("resizing gave no image".into())
}
