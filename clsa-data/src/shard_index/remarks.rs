//! What a user should know of a shard that was read: what is in it and is not used.

use crate::printable::printable;

/// How often something was met, and where first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remark {
    pub count: u64,
    /// The first one, in one line.
    pub example: String,
}

impl Remark {
    /// Counts one more.
    pub(super) fn add(&mut self, example: impl FnOnce() -> String) {
        if self.count == 0 {
            self.example = printable(&example()).into_owned();
        }
        self.count += 1;
    }

    /// Counts what another shard has.
    pub(crate) fn join(&mut self, other: &Remark) {
        if self.count == 0 {
            self.example.clone_from(&other.example);
        }
        self.count += other.count;
    }
}

/// What is not used of shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remarks {
    /// Labels that have no image beside them; the example is the name of a file.
    pub labels_alone: Remark,
    /// Images beside the first one of the same sample; the example is the name of a file.
    pub more_images: Remark,
    /// Metadata from which no label could be read; the example is a file with its reason.
    pub unread_json: Remark,
    /// Links with the name of an image; the example is one.
    pub links: Remark,
    /// Data behind the blocks that end the archive, such as a second archive; the example is where they begin.
    pub behind_end: Remark,
}

impl Remarks {
    /// Number of remarks.
    pub(super) const COUNT: usize = 5;

    pub(super) fn all(&self) -> [&Remark; Self::COUNT] {
        [&self.labels_alone, &self.more_images, &self.unread_json, &self.links, &self.behind_end]
    }

    pub(super) fn of([labels_alone, more_images, unread_json, links, behind_end]: [Remark; Self::COUNT]) -> Self {
        Self { labels_alone, more_images, unread_json, links, behind_end }
    }

    /// Counts what another shard has.
    pub(crate) fn join(&mut self, other: &Remarks) {
        self.labels_alone.join(&other.labels_alone);
        self.more_images.join(&other.more_images);
        self.unread_json.join(&other.unread_json);
        self.links.join(&other.links);
        self.behind_end.join(&other.behind_end);
    }

    /// A sentence for each that was met.
    pub(crate) fn sentences(&self) -> Vec<String> {
        let sentence = |remark: &Remark, what: &str| {
            (remark.count > 0).then(|| format!("{what}: {}, such as {}", remark.count, remark.example))
        };
        [
            sentence(&self.labels_alone, "labels that are not used, because no image of the same name is beside them"),
            sentence(&self.more_images, "images that are not used, because another of the same name is beside them"),
            sentence(&self.unread_json, "files of metadata that give no label"),
            sentence(&self.links, "images that are not used, because they are links to other files of their archive"),
            sentence(&self.behind_end, "shards with more behind the end of their archive, which is not read"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
