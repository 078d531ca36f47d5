//! What the environment says of objects on other machines.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::DataError;
use crate::printable::printable_path;

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
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Ok(Self { allow_http, ..Self::from_variables(&variable)? })
    }

    /// `variable` gives the value of one that is set and not empty. That of a folder need not be UTF-8.
    fn from_variables(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, DataError> {
        let number = |field: &'static str, default: u64, (least, most): (u64, u64)| match variable(field) {
            None => Ok(default),
            Some(value) => {
                let number = value.to_str().and_then(|text| text.trim().parse::<u64>().ok());
                number.filter(|number| (least..=most).contains(number)).ok_or_else(|| {
                    let reason = format!("`{}` is no whole number in {least}..={most}", printable_path(&value));
                    DataError::Config { field, reason }
                })
            }
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
    use std::ffi::OsStr;

    /// The settings where these variables are set.
    fn with<V: AsRef<OsStr>>(set: &[(&str, V)]) -> Result<Settings, DataError> {
        let value =
            |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_ref().to_owned());
        Settings::from_variables(&value)
    }

    /// Whether wrong variables are a wrong request, and the message.
    fn refusal<V: AsRef<OsStr>>(set: &[(&str, V)]) -> (bool, String) {
        let error = with(set).unwrap_err();
        (error.is_request(), error.to_string())
    }

    #[test]
    fn variables_set_the_cache_and_the_requests_and_wrong_ones_are_named() {
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
            let (is_request, reason) = refusal(&[("CLSA_CACHE", "/c"), (name, value)]);
            assert!(is_request && reason.starts_with(&format!("{name}: `{value}` is no whole number in ")), "{reason}");
        }
        let (is_request, reason) = refusal::<&str>(&[]);
        assert!(is_request && reason.starts_with("CLSA_CACHE: is not set"), "{reason}");
    }

    #[cfg(all(unix, not(target_os = "macos")))]
    #[test]
    fn without_a_variable_the_cache_is_the_users() {
        let cache = |set: &[(&str, &str)]| with(set).unwrap().cache;
        assert_eq!(cache(&[("HOME", "/home/a")]), PathBuf::from("/home/a/.cache/clsa"));
        assert_eq!(cache(&[("HOME", "/home/a"), ("XDG_CACHE_HOME", "/x")]), PathBuf::from("/x/clsa"));
    }

    #[cfg(unix)]
    #[test]
    fn a_cache_need_not_be_named_in_utf_8_and_a_number_that_is_not_is_refused() {
        use std::os::unix::ffi::OsStrExt;
        let folder = OsStr::from_bytes(b"/c\xe9");
        assert_eq!(with(&[("CLSA_CACHE", folder)]).unwrap().cache, PathBuf::from(folder));
        let (is_request, reason) =
            refusal(&[("CLSA_CACHE", folder), ("CLSA_CACHE_MIB", OsStr::from_bytes(b"512\xe9"))]);
        assert!(is_request && reason.starts_with("CLSA_CACHE_MIB: `512\\xe9` is no whole number in "), "{reason}");
    }
}
