//! Data sets that can be had over HTTP. Needs the feature `fetch`.

mod download;
mod error;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::source::Source;
use crate::sources::SourceKind;
pub use download::{RemoteFile, fetch_file};
pub use error::FetchError;

/// A data set that can be fetched.
///
/// # Examples
/// ```
/// use clsa_data::fetch::Fetchable;
///
/// let names: Vec<&str> = Fetchable::ALL.iter().map(|data| data.name()).collect();
/// assert_eq!(names, ["cifar10", "cifar100", "fashion-mnist"]);
/// let data: Fetchable = "cifar10".parse()?;
/// assert_eq!(data.source("data".as_ref()).to_string(), "cifar-bin:data/cifar-10-binary.tar.gz");
/// # Ok::<(), clsa_data::fetch::FetchError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fetchable {
    /// CIFAR-10 in the binary version.
    Cifar10,
    /// CIFAR-100 in the binary version.
    Cifar100,
    /// Fashion-MNIST.
    FashionMnist,
}

/// What is known of a data set that can be fetched.
struct Published {
    name: &'static str,
    /// The official address of the folder of its files.
    address: &'static str,
    /// Name and MD5 of each file, as the publisher states them.
    files: &'static [(&'static str, &'static str)],
    /// The kind of source that the files are.
    kind: SourceKind,
    /// The file that the source names; `None` where it names the folder.
    file: Option<&'static str>,
}

static CIFAR_10: Published = Published {
    name: "cifar10",
    address: "https://www.cs.toronto.edu/~kriz",
    files: &[("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")],
    kind: SourceKind::CifarBin,
    file: Some("cifar-10-binary.tar.gz"),
};

static CIFAR_100: Published = Published {
    name: "cifar100",
    address: "https://www.cs.toronto.edu/~kriz",
    files: &[("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8")],
    kind: SourceKind::CifarBin,
    file: Some("cifar-100-binary.tar.gz"),
};

static FASHION_MNIST: Published = Published {
    name: "fashion-mnist",
    address: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    files: &[
        ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
        ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    ],
    kind: SourceKind::Idx,
    file: None,
};

impl Fetchable {
    /// All that can be fetched.
    pub const ALL: &'static [Fetchable] = &[Fetchable::Cifar10, Fetchable::Cifar100, Fetchable::FashionMnist];

    fn published(self) -> &'static Published {
        match self {
            Fetchable::Cifar10 => &CIFAR_10,
            Fetchable::Cifar100 => &CIFAR_100,
            Fetchable::FashionMnist => &FASHION_MNIST,
        }
    }

    /// The name that [`FromStr`] reads: `cifar10`.
    pub fn name(self) -> &'static str {
        self.published().name
    }

    /// Its files with the digests that are published beside them: at their official addresses, or below the address of
    /// a mirror that has them under the same names.
    pub fn files(self, mirror: Option<&str>) -> Vec<RemoteFile> {
        let Published { address, files, .. } = self.published();
        let folder = mirror.unwrap_or(address).trim_end_matches('/');
        let file = |&(name, md5): &(&str, &str)| RemoteFile {
            url: format!("{folder}/{name}"),
            name: name.into(),
            md5: md5.into(),
        };
        files.iter().map(file).collect()
    }

    /// The source that the files in `folder` are.
    pub fn source(self, folder: &Path) -> Source {
        let Published { kind, file, .. } = self.published();
        // The empty path is the current folder; what a source takes for the home folder or an address is a folder there.
        let text = folder.to_string_lossy();
        let is_plain = !text.is_empty() && !text.starts_with('~') && !text.contains("://");
        let folder = if is_plain { folder.to_path_buf() } else { Path::new(".").join(folder) };
        let path = file.map_or_else(|| folder.clone(), |file| folder.join(file));
        Source::new(*kind, &path.to_string_lossy()).expect("a path that is neither empty nor an address")
    }
}

impl fmt::Display for Fetchable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Fetchable {
    type Err = FetchError;

    fn from_str(name: &str) -> Result<Self, FetchError> {
        Self::ALL.iter().copied().find(|data| data.name() == name).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|data| data.name()).collect();
            FetchError::Unknown { name: name.into(), known: known.join(", ") }
        })
    }
}

/// Fetches the files of a data set that are not yet in `folder`, from their official addresses or from a mirror
/// ([`Fetchable::files`]), and returns the source that they are. Calls `progress(name, done, of)` with the name of a file and
/// numbers of its bytes; `of` is 0 where the server does not state it.
///
/// # Errors
/// [`FetchError`] if the network is absent, a digest is wrong, another process fetches the same file or it cannot be written.
///
/// # Examples
/// ```no_run
/// use clsa_data::Split;
/// use clsa_data::fetch::{Fetchable, fetch};
///
/// let folder = "data/cifar10".as_ref();
/// let source = fetch(Fetchable::Cifar10, folder, None, &mut |name, done, of| println!("{name}: {done} of {of}"))?;
/// assert_eq!(source.open(Split::Train)?.len(), 50_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn fetch(
    data: Fetchable,
    folder: &Path,
    mirror: Option<&str>,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Source, FetchError> {
    for file in data.files(mirror) {
        fetch_file(&file, folder, &mut |done, of| progress(&file.name, done, of))?;
    }
    Ok(data.source(folder))
}
