//! Objects of stores on other machines, over `https://` and `s3://`. Needs the feature `remote`.
//!
//! `object_store` knows the protocols, credentials and retries; its requests go over the same HTTP client as downloads do
//! (`transport`). What is read of an object comes in blocks, which are kept in a folder of bounded size on this machine
//! (`cache`), so that each byte is fetched once while there is room for it.

mod cache;
mod object;
mod settings;
mod store;
mod stores;
mod transport;

pub(crate) use object::{RemoteObject, RemoteReader};
pub(crate) use stores::Stores;

#[cfg(test)]
mod tests;
