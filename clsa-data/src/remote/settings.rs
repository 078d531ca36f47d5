//! What the environment says of objects on other machines.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::DataError;

/// How objects are fetched and kept. Credentials are not here: object_store takes them from the environment, and nothing else
/// ever holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// The folder of what is kept.
    pub cache: PathBuf,
    /// Most bytes that are kept in it.
    pub cache_bytes: u64,
    /// How long one request may take, from its beginning to its last byte.
    pub timeout: Duration,
    /// How often a request is repeated that brought no whole answer.
    pub retries: usize,
    /// How long the first of these waits; each next one waits up to twice as long, at most 15 s.
    pub backoff: Duration,
    /// Whether another machine may be asked without encryption.
    pub allow_http: bool,
}

const CACHE: &str = "CLSA_CACHE";
const CACHE_MIB: &str = "CLSA_CACHE_MIB";
const TIMEOUT: &str = "CLSA_REMOTE_TIMEOUT";
const RETRIES: &str = "CLSA_REMOTE_RETRIES";

impl Settings {
    /// Those of the environment.
    ///
    /// # Errors
    /// A variable is out of range, or no folder is known.
    pub fn from_environment() -> Result<Self, DataError> {
        let allow_http = crate::address::allows_http();
        Ok(Self { allow_http, ..Self::from_variables(&|name| std::env::var(name).ok())? })
    }

    fn from_variables(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, DataError> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let number = |field: &'static str, default: u64, (least, most): (u64, u64)| match variable(field) {
            None => Ok(default),
            Some(text) => match text.trim().parse() {
                Ok(number) if (least..=most).contains(&number) => Ok(number),
                _ => {
                    Err(DataError::Config { field, reason: format!("`{text}` is no whole number in {least}..={most}") })
                }
            },
        };
        let home = || variable(if cfg!(windows) { "USERPROFILE" } else { "HOME" }).map(PathBuf::from);
        let user_cache = || {
            if cfg!(windows) {
                variable("LOCALAPPDATA").map(PathBuf::from)
            } else if cfg!(target_os = "macos") {
                home().map(|home| home.join("Library/Caches"))
            } else {
                variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| home().map(|home| home.join(".cache")))
            }
        };
        let cache = variable(CACHE).map(PathBuf::from).or_else(|| user_cache().map(|folder| folder.join("clsa")));
        let unknown = || DataError::Config {
            field: CACHE,
            reason: "is not set, and the system names no folder for caches; set it to a folder".into(),
        };
        Ok(Self {
            cache: cache.ok_or_else(unknown)?,
            cache_bytes: number(CACHE_MIB, 20 << 10, (256, 1 << 30))? << 20,
            timeout: Duration::from_secs(number(TIMEOUT, 60, (1, 3600))?),
            retries: number(RETRIES, 8, (0, 100))? as usize,
            backoff: Duration::from_millis(200),
            allow_http: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_set_the_cache_and_the_requests_and_wrong_ones_are_named() {
        let with = |set: &[(&str, &str)]| {
            let found = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            Settings::from_variables(&found).map_err(|error| (error.is_request(), error.to_string()))
        };
        let default = with(&[("CLSA_CACHE", "/c")]).unwrap();
        assert_eq!((default.cache_bytes, default.timeout, default.retries), (20 << 30, Duration::from_secs(60), 8));
        let all = [
            ("CLSA_CACHE", "/c"),
            ("CLSA_CACHE_MIB", "256"),
            ("CLSA_REMOTE_TIMEOUT", "5"),
            ("CLSA_REMOTE_RETRIES", "0"),
        ];
        let all = with(&all).unwrap();
        assert_eq!((all.cache_bytes, all.timeout, all.retries), (256 << 20, Duration::from_secs(5), 0));
        for (name, value) in [("CLSA_CACHE_MIB", "64"), ("CLSA_CACHE_MIB", "20GiB"), ("CLSA_REMOTE_TIMEOUT", "0")] {
            let (is_request, reason) = with(&[("CLSA_CACHE", "/c"), (name, value)]).unwrap_err();
            assert!(is_request && reason.starts_with(&format!("{name}: `{value}` is no whole number in ")), "{reason}");
        }
        let (is_request, reason) = with(&[]).unwrap_err();
        assert!(is_request && reason.starts_with("CLSA_CACHE: is not set"), "{reason}");
    }

    #[cfg(all(unix, not(target_os = "macos")))]
    #[test]
    fn without_a_variable_the_cache_is_the_users() {
        let cache = |set: &[(&str, &str)]| {
            let found = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            Settings::from_variables(&found).unwrap().cache
        };
        assert_eq!(cache(&[("HOME", "/home/a")]), PathBuf::from("/home/a/.cache/clsa"));
        assert_eq!(cache(&[("HOME", "/home/a"), ("XDG_CACHE_HOME", "/x")]), PathBuf::from("/x/clsa"));
    }
}
