//! A store: one host or bucket, with its connections and credentials.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{BackoffConfig, Error, Extensions, GetOptions, GetRange, ObjectMeta, ObjectStore, RetryConfig};

use super::cache::Cache;
use super::settings::Settings;
use super::transport::{Attempts, Connector, Last};
use crate::error::DataError;
use crate::remote_error::{RemoteError, RemoteFault};

/// Most objects of a folder that are listed.
pub(super) const MOST_LISTED: usize = 1_000_000;

/// What the stores of one source share.
#[derive(Clone)]
pub(super) struct Shared {
    settings: Settings,
    connector: Connector,
    cache: Arc<Cache>,
}

impl Shared {
    pub fn new(settings: Settings) -> Result<Self, DataError> {
        let cache = Arc::new(Cache::open(&settings.cache, settings.cache_bytes)?);
        Ok(Self { connector: Connector::new(&settings)?, cache, settings })
    }
}

/// One host or bucket.
pub(super) struct Store {
    store: Box<dyn ObjectStore>,
    /// What tells the objects of this store from those of others.
    pub name: String,
    pub cache: Arc<Cache>,
    others: Attempts,
}

impl Store {
    pub fn new(base: &str, shared: Shared) -> Result<Self, DataError> {
        let Shared { settings, connector, cache } = shared;
        let others = connector.others.clone();
        let backoff = BackoffConfig { init_backoff: settings.backoff, max_backoff: Duration::from_secs(15), base: 2.0 };
        let retry = RetryConfig { backoff, max_retries: settings.retries, retry_timeout: 4 * settings.timeout };
        // The errors of these constructors may quote variables of the environment.
        let wrong = |what: &str| {
            DataError::from(RemoteError {
                address: base.to_owned(),
                fault: RemoteFault::Forbidden,
                reason: format!("cannot be asked for objects; {what}"),
            })
        };
        let (store, name): (Box<dyn ObjectStore>, String) = match base.strip_prefix("s3://") {
            Some(bucket) => {
                let builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
                let endpoint =
                    [object_store::aws::AmazonS3ConfigKey::S3Endpoint, object_store::aws::AmazonS3ConfigKey::Endpoint]
                        .iter()
                        .find_map(|key| builder.get_config_value(key));
                let store = builder.with_retry(retry).with_http_connector(connector.without_redirects()).build();
                let store = store.map_err(|_| wrong("check the variables AWS_* of the environment"))?;
                (Box::new(store), format!("{} {base}", endpoint.unwrap_or_default()))
            }
            None => {
                let store = HttpBuilder::new().with_url(base).with_retry(retry).with_http_connector(connector).build();
                (Box::new(store.map_err(|_| wrong("check the name of the host"))?), base.to_owned())
            }
        };
        Ok(Self { store, name, cache, others })
    }

    /// The size and version of an object.
    pub fn head(&self, address: &str, path: &Path) -> Result<ObjectMeta, RemoteError> {
        let (attempts, options) = options();
        let asked = self.store.get_opts(path, GetOptions { head: true, ..options });
        wait(asked).map(|answer| answer.meta).map_err(|error| self.error(address, &error, &attempts))
    }

    /// A part of an object that has this version.
    pub fn get(&self, address: &str, meta: &ObjectMeta, range: Range<u64>) -> Result<bytes::Bytes, RemoteError> {
        let (attempts, options) = options();
        // A weak tag equals none in the eyes of a server.
        let tag = meta.e_tag.clone().filter(|tag| !tag.starts_with("W/"));
        let options = GetOptions { range: Some(GetRange::Bounded(range)), if_match: tag, ..options };
        let asked = async {
            let answer = self.store.get_opts(&meta.location, options).await?;
            let found = answer.meta.clone();
            answer.bytes().await.map(|bytes| (found, bytes))
        };
        let changed = || RemoteError {
            address: address.to_owned(),
            fault: RemoteFault::Changed,
            reason:
                "is another object than when it was opened, because it was written anew; begin again with objects that \
                     nobody writes"
                    .into(),
        };
        match wait(asked) {
            Ok((found, bytes)) if same_version(&found, meta) => Ok(bytes),
            Ok(_) | Err(Error::Precondition { .. }) => Err(changed()),
            // The part begins behind the end of what is there now.
            Err(_) if attempts.last().status == Some(416) => Err(changed()),
            Err(error) => {
                let error = self.error(address, &error, &attempts);
                match error.fault {
                    RemoteFault::Missing => Err(RemoteError {
                        reason: "is no longer there; bring it back and go on".into(),
                        fault: RemoteFault::Changed,
                        ..error
                    }),
                    // It could be read when it was opened.
                    RemoteFault::Forbidden => Err(RemoteError { fault: RemoteFault::Unreachable, ..error }),
                    RemoteFault::NoRanges | RemoteFault::Changed | RemoteFault::Unreachable => Err(error),
                }
            }
        }
    }

    /// The keys of all objects below a folder, or of one more than [`MOST_LISTED`] of them.
    pub fn list(&self, address: &str, folder: Option<&Path>) -> Result<Vec<String>, RemoteError> {
        let listed = wait(self.store.list(folder).take(MOST_LISTED + 1).try_collect::<Vec<ObjectMeta>>());
        let listed = listed.map_err(|error| self.error(address, &error, &Attempts::default()))?;
        Ok(listed.into_iter().map(|meta| meta.location.to_string()).collect())
    }

    /// The sentence for an error of object_store. Its own words are not used: they hold answers of servers, which may quote what
    /// was sent.
    fn error(&self, address: &str, error: &Error, attempts: &Attempts) -> RemoteError {
        let (last, last_other) = (attempts.last(), self.others.last());
        // Lists and credentials count for no object, and object_store does not tell their errors apart.
        let other = if last.count == 0 { last_other.status } else { None };
        let (fault, reason) = match (error, other) {
            (Error::NotFound { .. }, _) | (_, Some(404)) => {
                (RemoteFault::Missing, "is not there, or its name is not whole".to_owned())
            }
            (Error::PermissionDenied { .. } | Error::Unauthenticated { .. }, _) | (_, Some(401 | 403)) => {
                let reason = "may not be read; check the credentials in the environment (AWS_ACCESS_KEY_ID and its like), and \
                              that there is an object of this name";
                (RemoteFault::Forbidden, reason.to_owned())
            }
            (Error::NotSupported { .. }, _) => {
                let reason =
                    "is on a server that gives whole files alone, and no parts of them; copy it to this machine";
                (RemoteFault::NoRanges, reason.to_owned())
            }
            _ if last.count == 0 && last_other.count > 0 => {
                let what = last_other.what;
                let reason = format!(
                    "cannot be asked for: {what}; check the address of the store and the credentials, and go on"
                );
                (RemoteFault::Unreachable, reason)
            }
            _ if last.count == 0 => {
                let reason = "cannot be read: the answer of the server makes no sense; check that it serves files, and the address";
                (RemoteFault::Unreachable, reason.to_owned())
            }
            _ => {
                let Last { count, what, .. } = last;
                let often = if count == 1 { String::new() } else { format!(" at the last of {count} attempts") };
                let reason = format!("cannot be read: {what}{often}; check the network and the server, and go on");
                (RemoteFault::Unreachable, reason)
            }
        };
        RemoteError { address: address.to_owned(), fault, reason }
    }
}

/// Whether two answers are about the same content.
fn same_version(found: &ObjectMeta, known: &ObjectMeta) -> bool {
    found.size == known.size
        && match (&found.e_tag, &known.e_tag) {
            (Some(found), Some(known)) => found == known,
            // Some servers state no tag with a part.
            _ => found.last_modified == known.last_modified,
        }
}

fn options() -> (Attempts, GetOptions) {
    let attempts = Attempts::default();
    let mut extensions = Extensions::new();
    extensions.insert(attempts.clone());
    (attempts, GetOptions { extensions, ..GetOptions::default() })
}

/// Waits for a request on this thread. It has an executor of its own, because it really blocks (`transport`).
fn wait<F: Future<Output = object_store::Result<T>> + Send, T: Send>(future: F) -> object_store::Result<T> {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|error| Error::Generic { store: "", source: Box::new(error) })?;
        runtime.block_on(future)
    };
    if tokio::runtime::Handle::try_current().is_err() {
        return run();
    }
    // The thread of a program's own executor must not have a second one.
    let panicked = |_| Error::Generic { store: "", source: "a thread panicked".into() };
    std::thread::scope(|scope| scope.spawn(run).join().map_err(panicked)?)
}
