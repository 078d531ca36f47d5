//! All stores of a source, by the addresses of their objects.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use object_store::path::Path;

use super::object::RemoteObject;
use super::settings::Settings;
use super::store::{MOST_LISTED, Shared, Store};
use crate::error::{DataError, Fault};
use crate::wildcards::with_plain_brackets;

/// The stores of one source.
#[derive(Default)]
pub(crate) struct Stores {
    /// Made with the first store: sources of files need neither.
    shared: Mutex<Option<Shared>>,
    /// By what stands before the path in an address.
    stores: Mutex<BTreeMap<String, Arc<Store>>>,
}

impl Stores {
    /// Those with settings that are not of the environment.
    #[cfg(test)]
    pub(super) fn with(settings: Settings) -> Self {
        let this = Self::default();
        *this.shared.lock().unwrap() = Some(Shared::new(settings).unwrap());
        this
    }

    /// Opens an object, and asks for its size and version.
    pub fn open(&self, address: &str) -> Result<RemoteObject, DataError> {
        crate::address::check(address, true)
            .map_err(|reason| Fault::Pattern.at(crate::address::without_secrets(address), reason))?;
        let (scheme, rest) = address.split_once("://").unwrap_or_default();
        let (place, key) = rest.split_once('/').unwrap_or((rest, ""));
        let path = match scheme {
            "s3" => path_of(address, key)?,
            _ => Path::from_url_path(key).map_err(|error| Fault::Pattern.at(address, error.to_string()))?,
        };
        let store = self.store(&format!("{scheme}://{place}"))?;
        let meta = store.head(address, &path)?;
        Ok(RemoteObject::new(address.to_owned(), store, path, meta))
    }

    /// The addresses of all objects that a pattern with `*` and `?` names, in order.
    pub fn list(&self, pattern: &str) -> Result<Vec<PathBuf>, DataError> {
        let Some(("s3", rest)) = pattern.split_once("://") else {
            let reason = "has `*` or `?`, but over https:// nothing tells which files there are; name them by braces, as in \
                          train-{000..127}.tar";
            return Err(Fault::Pattern.at(pattern, reason));
        };
        let wanted = glob::Pattern::new(&with_plain_brackets(pattern))
            .map_err(|error| Fault::Pattern.at(pattern, error.to_string()))?;
        let options = glob::MatchOptions {
            require_literal_separator: true,
            require_literal_leading_dot: true,
            ..glob::MatchOptions::new()
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let fixed = &key[..key.find(['*', '?']).unwrap_or(key.len())];
        let folder = fixed.rsplit_once('/').map(|(folder, _)| folder);
        let store = self.store(&format!("s3://{bucket}"))?;
        let prefix = folder.map(|folder| path_of(pattern, folder)).transpose()?;
        let mut found = store.list(pattern, prefix.as_ref())?;
        if found.len() > MOST_LISTED {
            let reason =
                format!("is in a folder with more than {MOST_LISTED} objects; name a folder of fewer, or use braces");
            return Err(Fault::Pattern.at(pattern, reason));
        }
        found.sort();
        let addresses = found.into_iter().map(|key| format!("s3://{bucket}/{key}"));
        Ok(addresses.filter(|address| wanted.matches_with(address, options)).map(PathBuf::from).collect())
    }

    /// The store of all addresses that begin so.
    fn store(&self, base: &str) -> Result<Arc<Store>, DataError> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(base) {
            return Ok(store.clone());
        }
        let store = Arc::new(Store::new(base, self.shared()?)?);
        stores.insert(base.to_owned(), store.clone());
        Ok(store)
    }

    fn shared(&self) -> Result<Shared, DataError> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        match &*shared {
            Some(shared) => Ok(shared.clone()),
            None => Ok(shared.insert(Shared::new(Settings::from_environment()?)?).clone()),
        }
    }
}

fn path_of(address: &str, key: &str) -> Result<Path, DataError> {
    Path::parse(key).map_err(|error| Fault::Pattern.at(address, error.to_string()))
}
