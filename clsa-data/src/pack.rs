//! Any source to WebDataset shards with an index.

mod encode;
mod options;
mod part;
mod shard;

use std::io;
use std::path::{Path, PathBuf};

use clsa_files::write_whole;

use crate::error::{DataError, Fault};
use crate::in_order::pool;
use crate::label::{Label, Presence};
use crate::order::shuffled;
use crate::printable::printable_path;
use crate::sample_error::SampleError;
use crate::shard_index::CLASSES_FILE;
use crate::source::Splits;
use encode::encode_next;
pub use options::{PackOptions, PackReport};
use part::Part;
use shard::Shard;

/// Bytes of files that are encoded in parallel before they are written in order, beside the one that each thread is at.
const CHUNK_BYTES: usize = 256 << 20;

/// Writes every split of a source as shards `train-000000.tar` … and `test-000000.tar` … with their indexes and
/// `classes.txt` to the folder `out`, which must not exist or be empty; `wds:OUT` then names them. The folder appears
/// when all of it is written; until then it is `OUT.part`, which is locked: what an earlier packing has left there is removed. If it
/// cannot have its name in the end, the shards stay there until then. Bad samples are left out and reported. Calls `progress(done, of)` with
/// numbers of samples, from the calling thread. Of encoded images, at most 256 MiB and one more for each thread are in memory.
///
/// # Errors
/// [`DataError`] if an option is out of range, no sample is good, another packing is writing `OUT.part` or it holds other files,
/// or `out` cannot be written, or is a mounted file system, in whose place no folder can be put.
///
/// # Examples
/// ```
/// use clsa_data::pack::{PackOptions, pack};
/// use clsa_data::{Limits, Source, SourceKind, Split};
///
/// let from: Source = "procedural:classes=2,train=20,test=4".parse()?;
/// let folder = tempfile::tempdir()?;
/// let out = folder.path().join("shards");
/// let options = PackOptions { shard_bytes: 16 << 20, ..PackOptions::default() };
/// let report = pack(&from.open_splits(Limits::default())?, &out, &options, &|done, of| eprintln!("{done} of {of}"))?;
/// assert_eq!((report.samples, report.shards.len()), (24, 2));
///
/// let packed = Source::new(SourceKind::Wds, &out.to_string_lossy())?;
/// assert_eq!(packed.open(Split::Train)?.len(), 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn pack(
    splits: &Splits,
    out: &Path,
    options: &PackOptions,
    progress: &dyn Fn(u64, u64),
) -> Result<PackReport, DataError> {
    options.check()?;
    // Without a separator at its end, so that `OUT.part` is beside it.
    let out: &Path = &out.components().collect::<PathBuf>();
    check_output(out, splits)?;
    let pool = pool(options.threads)?;
    let part = Part::begin(out)?;
    let packed = write_shards(splits, &part.path, options, &pool, progress).and_then(|report| {
        if report.samples == 0 {
            let reason = report.bad.first().map_or("it has no samples", String::as_str);
            return Err(Fault::Empty.at(out, format!("was not written, because no image is good: {reason}")));
        }
        Ok(report)
    });
    match packed {
        Ok(mut report) => {
            std::fs::rename(&part.path, out).map_err(|error| {
                let reason = format!("{error}; the shards are whole in {}: rename that", printable_path(&part.path));
                DataError::write(out)(io::Error::new(error.kind(), reason))
            })?;
            report.shards.iter_mut().for_each(|shard| *shard = out.join(shard.file_name().unwrap_or_default()));
            report.took_over = part.took_over.then_some(part.path);
            Ok(report)
        }
        Err(error) => {
            // What failed is what the user should hear of, not that its remains cannot be deleted.
            let _ = std::fs::remove_dir_all(&part.path);
            Err(error)
        }
    }
}

/// Fails if shards of these splits cannot be written to `out`, or what is there would be lost.
fn check_output(out: &Path, splits: &Splits) -> Result<(), DataError> {
    if out.file_name().is_none() || out.is_symlink() || out.is_file() {
        return Err(Fault::Output.at(out, "is not a new folder; name one"));
    }
    if out.exists() && std::fs::read_dir(out).map_err(DataError::write(out))?.next().is_some() {
        return Err(Fault::Output.at(out, "is not empty; shards are written to a new or empty folder"));
    }
    let classes = class_names(splits);
    if let Some(class) = classes.iter().find(|class| class.contains(['\n', '\r'])) {
        return Err(Fault::Labels.at(out, format!("cannot name the class {class:?}, which has a line break")));
    }
    if let Some(class) = classes.iter().find(|class| class.is_empty() || class.trim_end() != *class) {
        return Err(
            Fault::Labels.at(out, format!("cannot name the class {class:?}, which is empty or ends in a blank"))
        );
    }
    let is_of_one_class = |label| matches!(label, Label::Multi(presence) if presence.len() == 1);
    if splits.iter().any(|(_, dataset)| dataset.len() > 0 && is_of_one_class(dataset.label(0))) {
        // In a shard, one label of a sample is its class.
        let reason = "cannot keep labels that say of one class whether it is in an image; give them a second class";
        return Err(Fault::Labels.at(out, reason));
    }
    if is_mounted(out) {
        return Err(
            Fault::Output.at(out, "is a mounted file system, which shards cannot replace; name a new folder in it")
        );
    }
    Ok(())
}

/// Whether a folder is the root of another file system, so that in the end no folder could take its place. One that is mounted from
/// within the same file system is not known.
#[cfg(unix)]
fn is_mounted(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| path.metadata().map(|metadata| metadata.dev()).ok();
    device(folder) != device(&folder.join(".."))
}

#[cfg(not(unix))]
fn is_mounted(_: &Path) -> bool {
    false
}

/// The names of all classes: those of the training images, and further ones that only test images have.
fn class_names(splits: &Splits) -> Vec<String> {
    let mut names = splits.train.class_names().to_vec();
    if let Ok(test) = &splits.test {
        names.extend(test.class_names().iter().skip(names.len()).cloned());
    }
    names
}

/// A label that says of so many classes whether they are in an image. Those that a split has no label of are absent from its images.
fn of_all_classes(label: Label, classes: usize) -> Label {
    match label {
        Label::Multi(presence) if presence.len() < classes => {
            let mut all = presence.to_vec();
            all.resize(classes, Presence::Absent);
            Label::Multi(all.into())
        }
        label => label,
    }
}

/// Writes all shards to the folder `part`.
fn write_shards(
    splits: &Splits,
    part: &Path,
    options: &PackOptions,
    pool: &rayon::ThreadPool,
    progress: &dyn Fn(u64, u64),
) -> Result<PackReport, DataError> {
    let classes = class_names(splits);
    if !classes.is_empty() {
        let path = part.join(CLASSES_FILE);
        write_whole(&path, (classes.join("\n") + "\n").as_bytes()).map_err(DataError::write(&path))?;
    }
    let total = splits.iter().map(|(_, dataset)| dataset.len() as u64).sum();
    let mut report = PackReport::default();
    let mut done = 0;
    for (split, dataset) in splits.iter() {
        let len = dataset.len() as u32;
        let order = options.shuffle_seed.map_or_else(|| (0..len).collect(), |seed| shuffled(seed, 0, len));
        let mut shard: Option<Shard> = None;
        let mut shards = 0;
        let mut rest = &order[..];
        while !rest.is_empty() {
            let files = encode_next(&**dataset, rest, options, pool, CHUNK_BYTES);
            let (chunk, later) = rest.split_at(files.len());
            rest = later;
            for (&index, file) in chunk.iter().zip(files) {
                done += 1;
                match file {
                    // Nothing is said of the image: shards without it would pass for whole ones.
                    Err(SampleError::Remote(error)) => return Err(error.into()),
                    Err(error) => report.bad.push(error.to_string()),
                    Ok(file) => {
                        if shard.as_ref().is_some_and(|shard| shard.bytes >= options.shard_bytes)
                            && let Some(full) = shard.take()
                        {
                            report.add(full.finish()?);
                        }
                        let shard = match &mut shard {
                            Some(shard) => shard,
                            none => {
                                let path = part.join(format!("{split}-{shards:06}.tar"));
                                shards += 1;
                                none.insert(Shard::create(path)?)
                            }
                        };
                        let label = of_all_classes(dataset.label(index as usize), classes.len());
                        shard.add(&format!("{index:09}"), &file, &label)?;
                        report.samples += 1;
                    }
                }
            }
            progress(done, total);
        }
        if let Some(last) = shard {
            report.add(last.finish()?);
        }
    }
    Ok(report)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_another_file_system_is_told_from_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert!(is_mounted(Path::new("/proc")));
        assert!(!is_mounted(folder.path()) && !is_mounted(&folder.path().join("none")));
    }
}
