//! An object of a store, read in blocks that are kept on this machine.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use object_store::ObjectMeta;
use object_store::path::Path;

use super::store::Store;
use crate::error::DataError;
use crate::remote_error::{RemoteError, RemoteFault};

/// Bytes that are fetched at once. Images are smaller, and a request takes some hundredths of a second whatever it brings; but the
/// images of a shuffle buffer lie close to one another, so that the rest of a block is used soon.
pub(super) const BLOCK: u64 = 4 << 20;
/// Blocks of one object that are fetched at once ahead of a reader.
const AHEAD: usize = 8;

/// The kind of an error of a store, by which nobody takes it for one of the content.
const FAILED: io::ErrorKind = io::ErrorKind::ConnectionAborted;

/// Blocks that are on their way: whoever wants one that is, waits for the thread that fetches it.
type Flight = Arc<OnceLock<Result<Bytes, RemoteError>>>;

/// An object that has been opened.
pub(crate) struct RemoteObject {
    address: String,
    store: Arc<Store>,
    meta: ObjectMeta,
    /// The folder of what is kept of this version.
    entry: PathBuf,
    flights: Mutex<HashMap<u64, Flight>>,
    failure: OnceLock<RemoteError>,
}

/// A block at hand.
enum Block {
    File(File),
    Bytes(Bytes),
}

impl RemoteObject {
    pub(super) fn new(address: String, store: Arc<Store>, path: Path, meta: ObjectMeta) -> Self {
        let meta = ObjectMeta { location: path, ..meta };
        let version = match &meta.e_tag {
            Some(tag) => tag.clone(),
            None if meta.last_modified.timestamp() > 0 => meta.last_modified.to_rfc3339(),
            // Nothing tells this version from another one: what is kept of it is of use for this time only.
            None => format!("{} {:?}", std::process::id(), SystemTime::now()),
        };
        let entry = store.cache.entry(&format!("{}\n{address}\n{}\n{version}", store.name, meta.size));
        Self { address, store, meta, entry, flights: Mutex::default(), failure: OnceLock::new() }
    }

    /// Its size in bytes.
    pub fn len(&self) -> u64 {
        self.meta.size
    }

    /// Why a part of it did not come, once one has not: then none is asked for any more.
    pub fn failure(&self) -> Option<RemoteError> {
        self.failure.get().cloned()
    }

    /// What was kept of it under a name; none where nothing was.
    pub fn kept(&self, name: &str) -> Option<Vec<u8>> {
        self.store.cache.read(&self.entry, name).ok().flatten()
    }

    /// Keeps something that was made of it.
    pub fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), DataError> {
        self.store.cache.write(&self.entry, name, bytes).map_err(DataError::write(&self.entry.join(name)))
    }

    /// Fetches the blocks of a part that are not at hand, several at once. What fails is seen when it is read.
    #[cfg_attr(not(feature = "parquet"), allow(dead_code, reason = "only tables are read in parts of many blocks"))]
    pub fn fetch_all(&self, range: Range<u64>) {
        let end = range.end.min(self.len()).div_ceil(BLOCK);
        let next = AtomicU64::new(range.start / BLOCK);
        let threads = (end.saturating_sub(range.start / BLOCK)).min(AHEAD as u64);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < end) {
                        if self.block(number).is_err() {
                            break;
                        }
                    }
                });
            }
        });
    }

    /// The place of a block in the object.
    fn range(&self, number: u64) -> Range<u64> {
        let start = number * BLOCK;
        start..(start + BLOCK).min(self.len())
    }

    /// A block, from this machine or from the store.
    fn block(&self, number: u64) -> io::Result<Block> {
        let range = self.range(number);
        // What cannot be read of the cache is fetched again, and written anew; if that fails, the cache is named.
        match self.store.cache.open_file(&self.entry, &block_name(number), range.end - range.start) {
            Ok(Some(file)) => Ok(Block::File(file)),
            Ok(None) | Err(_) => self.fetch(number).map(Block::Bytes),
        }
    }

    /// A block from the store, which is then kept on this machine; or what is kept, where another thread was faster.
    pub(super) fn fetch(&self, number: u64) -> io::Result<Bytes> {
        if let Some(failure) = self.failure() {
            return Err(io::Error::new(FAILED, failure));
        }
        let flights = || self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let flight = flights().entry(number).or_default().clone();
        let fetched = flight.get_or_init(|| {
            // It may have come, and its flight have ended, since the cache was looked at.
            let range = self.range(number);
            let whole = |bytes: &Vec<u8>| bytes.len() as u64 == range.end - range.start;
            if let Some(bytes) = self.kept(&block_name(number)).filter(whole) {
                return Ok(bytes.into());
            }
            let bytes = self.store.get(&self.address, &self.meta, range)?;
            let unwritten = |error: io::Error| RemoteError {
                address: self.address.clone(),
                fault: RemoteFault::Unreachable,
                reason: format!(
                    "cannot be kept in {}: {error}; make room, or set CLSA_CACHE to another folder",
                    self.entry.display()
                ),
            };
            self.store.cache.write(&self.entry, &block_name(number), &bytes).map_err(unwritten)?;
            Ok(bytes)
        });
        flights().remove(&number);
        match fetched {
            Ok(bytes) => Ok(bytes.clone()),
            Err(error) => Err(io::Error::new(FAILED, self.failure.get_or_init(|| error.clone()).clone())),
        }
    }
}

/// The name of a block in the cache.
fn block_name(number: u64) -> String {
    format!("{number:08}")
}

/// Reads an object from one place on.
pub(crate) struct RemoteReader {
    object: Arc<RemoteObject>,
    at: u64,
    /// The block that was read last, with its number.
    block: Option<(u64, Block)>,
}

impl RemoteReader {
    pub fn new(object: Arc<RemoteObject>) -> Self {
        Self { object, at: 0, block: None }
    }
}

impl Read for RemoteReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.object.len() || buffer.is_empty() {
            return Ok(0);
        }
        let number = self.at / BLOCK;
        let block = match self.block.take() {
            Some((known, block)) if known == number => block,
            Some(_) | None => self.object.block(number)?,
        };
        let range = self.object.range(number);
        let within = self.at - range.start;
        let count = (range.end - self.at).min(buffer.len() as u64) as usize;
        let buffer = &mut buffer[..count];
        let block = match block {
            Block::File(mut file) => {
                match file.seek(SeekFrom::Start(within)).and_then(|_| file.read_exact(buffer)) {
                    Ok(()) => Block::File(file),
                    // That the cache is at fault says nothing of the object.
                    Err(_) => Block::Bytes(self.object.fetch(number)?),
                }
            }
            Block::Bytes(bytes) => Block::Bytes(bytes),
        };
        if let Block::Bytes(bytes) = &block {
            buffer.copy_from_slice(&bytes[within as usize..][..count]);
        }
        self.block = Some((number, block));
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for RemoteReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(by) => self.object.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        let negative = || io::Error::new(io::ErrorKind::InvalidInput, "a place before the beginning");
        self.at = place.ok_or_else(negative)?;
        Ok(self.at)
    }
}
