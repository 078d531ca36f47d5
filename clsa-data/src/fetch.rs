//! Data sets that can be had over HTTP: `data fetch`. Needs the feature `fetch`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crossbeam::channel::{Receiver, bounded};
use md5::{Digest, Md5};

use crate::progress::Progress;
use crate::source::Source;

/// Why a data set was not fetched. What has arrived stays, and the next attempt goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No data set of this name.
    #[error("`{0}` cannot be fetched; the data sets are cifar10 and fashion-mnist")]
    Unknown(String),
    /// The server cannot be reached or does not have the file.
    #[error("{url} cannot be fetched: {reason}; what has arrived is kept, and fetching again goes on from there")]
    Network {
        /// Address of the file.
        url: String,
        /// What the network said.
        reason: String,
    },
    /// A file has arrived, but is not the one that was published.
    #[error("{url}: the file has the MD5 {found}, not the published {expected}; it was removed")]
    Checksum {
        /// Address of the file.
        url: String,
        /// Digest of the file that arrived.
        found: String,
        /// Digest that the publisher states.
        expected: String,
    },
    /// A file cannot be written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file at fault.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        error: std::io::Error,
    },
}

/// A file with a published digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Where it is.
    pub url: String,
    /// Its name on disk.
    pub name: String,
    /// Its MD5 in hexadecimal digits, as its publisher states it.
    pub md5: String,
}

/// A data set that can be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetchable {
    /// CIFAR-10 in the binary version.
    Cifar10,
    /// Fashion-MNIST.
    FashionMnist,
}

impl FromStr for Fetchable {
    type Err = FetchError;

    fn from_str(name: &str) -> Result<Self, FetchError> {
        match name {
            "cifar10" => Ok(Fetchable::Cifar10),
            "fashion-mnist" => Ok(Fetchable::FashionMnist),
            _ => Err(FetchError::Unknown(name.into())),
        }
    }
}

impl Fetchable {
    /// Its files with the digests that are published beside them: at their official addresses, or below the address of
    /// a mirror that has them under the same names.
    pub fn files(self, mirror: Option<&str>) -> Vec<RemoteFile> {
        let file = |official: &str, name: &str, md5: &str| RemoteFile {
            url: format!("{}/{name}", mirror.unwrap_or(official).trim_end_matches('/')),
            name: name.into(),
            md5: md5.into(),
        };
        match self {
            Fetchable::Cifar10 => vec![file(
                "https://www.cs.toronto.edu/~kriz",
                "cifar-10-binary.tar.gz",
                "c32a1d4ab5d03f1284b67883e8d87530",
            )],
            Fetchable::FashionMnist => [
                ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
                ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
                ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
                ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
            ]
            .map(|(name, md5)| file("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com", name, md5))
            .to_vec(),
        }
    }

    /// The source that the files in `folder` are.
    pub fn source(self, folder: &Path) -> Source {
        match self {
            Fetchable::Cifar10 => Source::CifarBin(folder.join("cifar-10-binary.tar.gz")),
            Fetchable::FashionMnist => Source::Idx(folder.into()),
        }
    }
}

/// Fetches the files of a data set that are not yet in `folder`, from their official addresses or from a mirror
/// ([`Fetchable::files`]), and returns the source that they are. `progress` counts the bytes of the file with the given name.
///
/// # Errors
/// [`FetchError`] if the network is absent, a digest is wrong or a file cannot be written.
pub fn fetch(
    data: Fetchable,
    folder: &Path,
    mirror: Option<&str>,
    progress: &mut dyn FnMut(&str, Progress),
) -> Result<Source, FetchError> {
    for file in data.files(mirror) {
        fetch_file(&file, folder, &mut |done| progress(&file.name, done))?;
    }
    Ok(data.source(folder))
}

/// Fetches one file to `folder`, unless it is there with the right digest. An interrupted download goes on where it
/// ended; the file appears under its name only when its digest is right.
///
/// # Errors
/// As for [`fetch`].
pub fn fetch_file(file: &RemoteFile, folder: &Path, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf, FetchError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |error| FetchError::Io { path, error }
    };
    let network = |reason: String| FetchError::Network { url: file.url.clone(), reason };
    std::fs::create_dir_all(folder).map_err(io(folder))?;
    let path = folder.join(&file.name);
    if path.is_file() && digest(&path).map_err(io(&path))? == file.md5 {
        return Ok(path);
    }
    let part = folder.join(format!("{}.part", file.name));
    let have = std::fs::metadata(&part).map_or(0, |metadata| metadata.len());
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent.get(&file.url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let response = request.call().map_err(|error| network(error.to_string()))?;
    let length = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let (mut done, complete) = match response.status().as_u16() {
        206 => (have, false),
        200 => (0, false),
        // The part is already as long as the file.
        416 if have > 0 => (have, true),
        status => return Err(network(format!("the server answered with status {status}"))),
    };
    if !complete {
        let total = length("content-length").map_or(0, |rest| rest + done);
        let mut out = OpenOptions::new()
            .create(true)
            .write(true)
            .append(done > 0)
            .truncate(done == 0)
            .open(&part)
            .map_err(io(&part))?;
        let chunks = read_apart(response.into_body().into_reader());
        loop {
            let chunk = match chunks.recv_timeout(STALLED) {
                Ok(chunk) => chunk.map_err(|error| network(error.to_string()))?,
                Err(_) => {
                    let seconds = STALLED.as_secs();
                    return Err(network(format!(
                        "nothing came for {seconds} s after {done} bytes; run it again to go on"
                    )));
                }
            };
            if chunk.is_empty() {
                break;
            }
            out.write_all(&chunk).map_err(io(&part))?;
            done += chunk.len() as u64;
            progress(Progress { done, total });
        }
        out.sync_all().map_err(io(&part))?;
        if total > 0 && done < total {
            return Err(network(format!("the connection ended after {done} of {total} bytes")));
        }
    }
    let found = digest(&part).map_err(io(&part))?;
    if found != file.md5 {
        std::fs::remove_file(&part).map_err(io(&part))?;
        return Err(FetchError::Checksum { url: file.url.clone(), found, expected: file.md5.clone() });
    }
    std::fs::rename(&part, &path).map_err(io(&path))?;
    Ok(path)
}

/// How long a connection may bring nothing.
const STALLED: Duration = Duration::from_secs(60);

/// Reads on a thread of its own, since a read may never return; an empty chunk is the end.
fn read_apart(mut body: impl Read + Send + 'static) -> Receiver<std::io::Result<Vec<u8>>> {
    let (sender, chunks) = bounded(4);
    std::thread::spawn(move || {
        loop {
            let mut chunk = vec![0; 1 << 16];
            let read = body.read(&mut chunk).map(|count| {
                chunk.truncate(count);
                chunk
            });
            let more = read.as_ref().is_ok_and(|chunk| !chunk.is_empty());
            if sender.send(read).is_err() || !more {
                break;
            }
        }
    });
    chunks
}

/// MD5 of a file, in hexadecimal digits.
fn digest(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Md5::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            count => hasher.update(&buffer[..count]),
        }
    }
}
