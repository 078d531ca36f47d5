//! One file over HTTP: resumed where it ended, checked before it takes its name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use clsa_files::is_at;
use crossbeam::channel::{Receiver, bounded};
use md5::{Digest, Md5};

use super::error::FetchError;
use crate::address::without_user;
use crate::trusted_roots;

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

impl RemoteFile {
    /// Whether its content has this digest, in lower case; publishers write digests in either.
    fn is_of(&self, digest: &str) -> bool {
        self.md5.eq_ignore_ascii_case(digest)
    }
}

/// Fetches one file to `folder`, unless it is there with the right digest. An interrupted download goes on where it
/// ended, in `NAME.part`, which is locked meanwhile; the file appears under its name only when its digest is right. Calls
/// `progress(done, of)` with numbers of bytes; `of` is 0 where the server does not state it.
///
/// # Errors
/// As for [`fetch`](super::fetch).
///
/// # Examples
/// ```no_run
/// use clsa_data::fetch::{RemoteFile, fetch_file};
///
/// let file = RemoteFile {
///     url: "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz".into(),
///     name: "cifar-100-python.tar.gz".into(),
///     md5: "eb9058c3a382ffc7106e4002c42a8d85".into(),
/// };
/// let path = fetch_file(&file, "data".as_ref(), &mut |done, of| println!("{done} of {of} bytes"))?;
/// # Ok::<(), clsa_data::fetch::FetchError>(())
/// ```
pub fn fetch_file(file: &RemoteFile, folder: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<PathBuf, FetchError> {
    if !is_plain_name(&file.name) {
        return Err(FetchError::Name { name: file.name.clone() });
    }
    std::fs::create_dir_all(folder).map_err(io(folder))?;
    let path = folder.join(&file.name);
    if path.is_file() && file.is_of(&File::open(&path).and_then(digest).map_err(io(&path))?) {
        return Ok(path);
    }
    let part = folder.join(format!("{}.part", file.name));
    // Held until the file has its name.
    let mut out = begin(&part)?;
    download(&file.url, &mut out, &part, progress)?;
    let found = out.rewind().and_then(|()| digest(&out)).map_err(io(&part))?;
    if !file.is_of(&found) {
        std::fs::remove_file(&part).map_err(io(&part))?;
        return Err(FetchError::Checksum { url: without_secrets(&file.url), found, expected: file.md5.clone() });
    }
    clsa_files::rename_whole(&part, &path).map_err(io(&path))?;
    Ok(path)
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> FetchError {
    let path = path.to_path_buf();
    move |error| FetchError::Io { path, error }
}

fn network(url: &str, reason: impl ToString) -> FetchError {
    let shown = without_secrets(url);
    FetchError::Network { reason: reason.to_string().replace(url, &shown), url: shown }
}

/// Whether a name is one of a file in a folder, and leads nowhere else.
fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name)
}

/// An address for messages: without user, password and query, which may hold what only the server is to see.
fn without_secrets(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let shown = without_user(scheme, rest).split(['?', '#']).next().unwrap_or_default();
    if scheme.is_empty() { shown.into() } else { format!("{scheme}://{shown}") }
}

/// What a server sends of a file.
struct Answer {
    /// The byte of the file that it begins at.
    start: u64,
    /// Size of the whole file; 0 if the server does not state it.
    total: u64,
    body: ureq::Body,
}

/// Asks for a file from byte `have` on; `None` if there is nothing behind it.
fn ask(url: &str, have: u64) -> Result<Option<Answer>, FetchError> {
    let tls = trusted_roots::tls_config().map_err(|reason| FetchError::Certificates { reason })?;
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .tls_config(tls)
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let response = request.call().map_err(|error| network(url, error))?;
    let start = match response.status().as_u16() {
        206 => have,
        200 => 0,
        // The part is already as long as the file.
        416 if have > 0 => return Ok(None),
        status => return Err(network(url, format!("the server answered with status {status}"))),
    };
    let length = response.headers().get("content-length").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    Ok(Some(Answer { start, total: length.map_or(0, |rest| rest + start), body: response.into_body() }))
}

/// Opens the file that a download goes to, and locks it: two that write it at once would spoil it.
fn begin(part: &Path) -> Result<File, FetchError> {
    loop {
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(part);
        let file = file.map_err(io(part))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(FetchError::InUse { path: part.to_path_buf() }),
            // A file system without locks is written as one process alone does.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        if is_at(&file, part) {
            return Ok(file);
        }
    }
}

/// Adds to `out`, which is the file `part`, what is lacking of the file.
fn download(url: &str, out: &mut File, part: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<(), FetchError> {
    let have = out.metadata().map_err(io(part))?.len();
    let Some(Answer { start, total, body }) = ask(url, have)? else { return Ok(()) };
    out.set_len(start).and_then(|()| out.seek(SeekFrom::Start(start))).map_err(io(part))?;
    let mut done = start;
    let chunks = read_apart(body.into_reader());
    loop {
        let chunk = match chunks.recv_timeout(STALLED) {
            Ok(chunk) => chunk.map_err(|error| network(url, error))?,
            Err(_) => {
                let seconds = STALLED.as_secs();
                return Err(network(url, format!("nothing came for {seconds} s after {done} bytes")));
            }
        };
        if chunk.is_empty() {
            break;
        }
        out.write_all(&chunk).map_err(io(part))?;
        done += chunk.len() as u64;
        progress(done, total);
    }
    if total > 0 && done < total {
        return Err(network(url, format!("the connection ended after {done} of {total} bytes")));
    }
    Ok(())
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
fn digest(mut file: impl Read) -> std::io::Result<String> {
    let mut hasher = Md5::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(base16ct::lower::encode_string(&hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}
