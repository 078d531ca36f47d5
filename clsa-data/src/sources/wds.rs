//! `wds:PATTERN`: WebDataset tar shards, by random access through an index.
//!
//! The loader reads shards in sequence when [`crate::LoaderConfig::shuffle_buffer`] is set.

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use image::RgbImage;

use super::spec::{Argument, Opened, Spec};
use crate::dataset::{Dataset, Encoded};
use crate::decode::{Limits, decode, dimensions};
use crate::error::{DataError, Fault};
use crate::label::{Label, Presence};
use crate::object::Opener;
use crate::pattern;
use crate::printable::{name_of, printable, printable_path};
use crate::sample_error::SampleError;
use crate::shard_index::remarks::Remarks;
use crate::shard_index::{CLASSES_FILE, OpenShard, class_names};
use crate::split::Split;

pub(super) static SPEC: Spec = Spec {
    name: "wds",
    argument: Argument::Objects("PATTERN"),
    summary: "WebDataset tar shards",
    details: "a folder with `train*.tar` and `val*.tar` or `test*.tar`, or a pattern with `{split}`, `{000..127}`, \
              `{a,b}`, `*`, `?`; labels in `.cls` or `.json`; class names in `classes.txt` beside the shards; also `https://` and \
              `s3://` (feature `remote`)",
    feature: None,
    open: Some(|pattern, split, limits| open(&Opener::default(), pattern, split, limits)),
};

/// Opens a split.
pub(crate) fn open(opener: &Opener, pattern: &str, split: Split, limits: Limits) -> Opened {
    Ok(Arc::new(Wds::open(opener, pattern, split, limits)?))
}

/// Shards of one split.
struct Wds {
    /// Those with samples.
    shards: Vec<OpenShard>,
    notes: Vec<String>,
    /// For each shard, the number of samples up to its end.
    ends: Vec<usize>,
    classes: Vec<String>,
    limits: Limits,
}

impl Wds {
    fn open(opener: &Opener, pattern: &str, split: Split, limits: Limits) -> Result<Self, DataError> {
        let files = pattern::files(pattern, "tar", split, opener)?;
        let names = class_names(&files, opener)?;
        let mut shards: Vec<OpenShard> = Vec::with_capacity(files.len());
        let (mut empty, mut stale, mut remarks) = (Vec::new(), Vec::new(), Remarks::default());
        let mut ends = Vec::with_capacity(files.len());
        let mut samples = 0;
        for shard in opener.open_all(&files, |object| OpenShard::open(object, &names, opener))? {
            remarks.join(&shard.index.remarks);
            if shard.is_stale {
                stale.push(printable_path(shard.path()));
            }
            if shard.index.len() == 0 {
                empty.push(shard.path().to_path_buf());
                continue;
            }
            if let Some(first) = shards.first()
                && first.index.width != shard.index.width
            {
                let reason = format!("is labeled otherwise than {}", printable_path(first.path()));
                return Err(Fault::Labels.at(shard.path(), reason));
            }
            samples += shard.index.len();
            ends.push(samples);
            shards.push(shard);
        }
        if let (true, Some(first)) = (shards.is_empty(), empty.first()) {
            return Err(Fault::Empty.at(first, "has no sample with an image"));
        }
        let mut notes = remarks.sentences();
        if let Some(first) = empty.first() {
            notes.push(format!("shards without an image: {}, such as {}", empty.len(), printable_path(first)));
        }
        if let Some(first) = stale.first() {
            let count = stale.len();
            notes.push(format!(
                "shards whose index is not used, because it was made for another state of them or for other class names: \
                 {count}, such as {first}"
            ));
        }
        let classes = match shards.first().map_or(0, |shard| shard.index.width) {
            0 => Vec::new(),
            1 => {
                let largest =
                    shards.iter().flat_map(|shard| &shard.index.labels).max().map_or(0, |&class| class as usize);
                names_or_numbers(names, largest + 1, pattern)?
            }
            classes => {
                let (classes, named) = (classes as usize, names.len());
                if named > classes {
                    let reason = format!(
                        "has {classes} labels for each image, but {CLASSES_FILE} beside the shards names {named} classes; \
                         name as many"
                    );
                    return Err(Fault::Labels.at(pattern, reason));
                }
                names_or_numbers(names, classes, pattern)?
            }
        };
        Ok(Self { shards, notes, ends, classes, limits })
    }

    /// The shard of a sample, and its number there.
    fn locate(&self, index: usize) -> (&OpenShard, usize) {
        let shard = self.ends.partition_point(|&end| end <= index);
        let start = if shard == 0 { 0 } else { self.ends[shard - 1] };
        (&self.shards[shard], index - start)
    }

    fn read(&self, index: usize) -> Result<(Vec<u8>, String), SampleError> {
        let name = self.name(index);
        let (shard, at) = self.locate(index);
        let size = shard.index.sizes[at];
        self.limits.check_bytes(&name, size.into())?;
        let mut bytes = vec![0; size as usize];
        let read = shard.object.reader().and_then(|mut reader| {
            shard.check(&mut reader, at)?;
            reader.seek(SeekFrom::Start(shard.index.offsets[at]))?;
            reader.read_exact(&mut bytes)
        });
        match (read, shard.object.failure()) {
            (Ok(()), _) => Ok((bytes, name)),
            (Err(_), Some(failure)) => Err(SampleError::Remote(failure)),
            (Err(error), None) => Err(SampleError::Read { name, error }),
        }
    }
}

/// Names for `count` classes: those given, or numbers.
fn names_or_numbers(names: Vec<String>, count: usize, pattern: &str) -> Result<Vec<String>, DataError> {
    if names.is_empty() {
        return Ok((0..count).map(|class| class.to_string()).collect());
    }
    if names.len() < count {
        let reason = format!("has {count} classes, but {CLASSES_FILE} beside the shards names {}", names.len());
        return Err(Fault::Labels.at(pattern, reason));
    }
    Ok(names)
}

impl Dataset for Wds {
    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    fn class_names(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> Label {
        let (shard, at) = self.locate(index);
        match shard.index.labels(at) {
            [] => Label::None,
            [class] => Label::Class(*class as u32),
            several => Label::Multi(
                several
                    .iter()
                    .map(|&value| match value {
                        1 => Presence::Present,
                        0 => Presence::Difficult,
                        _ => Presence::Absent,
                    })
                    .collect::<Arc<[Presence]>>(),
            ),
        }
    }

    fn image(&self, index: usize) -> Result<RgbImage, SampleError> {
        let (bytes, name) = self.read(index)?;
        decode(&bytes, &name, &self.limits)
    }

    fn dimensions(&self, index: usize) -> Result<(u32, u32), SampleError> {
        let (bytes, name) = self.read(index)?;
        dimensions(&bytes, &name, &self.limits)
    }

    fn name(&self, index: usize) -> String {
        let (shard, at) = self.locate(index);
        format!("{}/{}", name_of(shard.path()), printable(shard.index.name(at)))
    }

    fn encoded(&self, index: usize) -> Result<Option<Encoded>, SampleError> {
        let (shard, at) = self.locate(index);
        let extension =
            shard.index.name(at).rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
        Ok(Some(Encoded { bytes: self.read(index)?.0, extension }))
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn shards(&self) -> Option<Vec<usize>> {
        Some(self.shards.iter().map(|shard| shard.index.len()).collect())
    }
}
