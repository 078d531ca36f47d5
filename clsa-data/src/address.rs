//! Addresses of objects on other machines, `https://HOST/PATH` and `s3://BUCKET/KEY`, as the texts of sources have them.
//!
//! An address is kept where paths are kept, so that names, messages and the words of splits are those of paths.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Environment variable that allows addresses without encryption; object_store reads the same one for S3.
pub(crate) const ALLOW_HTTP: &str = "AWS_ALLOW_HTTP";

/// What stands before `://` of an address.
pub(crate) fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once("://")?;
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    // One letter is a drive of Windows.
    (scheme.len() > 1 && scheme.bytes().all(known)).then_some(scheme)
}

/// Whether a text or path is an address and no file.
pub(crate) fn is_address(text: impl AsRef<Path>) -> bool {
    text.as_ref().to_str().is_some_and(|text| scheme(text).is_some())
}

/// Another name in the same folder.
pub(crate) fn sibling(path: &Path, name: &OsStr) -> PathBuf {
    match path.to_str().filter(|text| is_address(text)).and_then(|text| text.rsplit_once('/')) {
        Some((folder, _)) => format!("{folder}/{}", name.to_string_lossy()).into(),
        None => path.with_file_name(name),
    }
}

/// Checks that an address or a pattern of addresses is of a kind that is read, and holds no secret: it is written to
/// `config.toml`, and stands in messages.
///
/// # Errors
/// The reason for which it is refused.
pub(crate) fn check(text: &str, allow_http: bool) -> Result<(), String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    if !matches!(scheme, "https" | "http" | "s3") {
        return Err(format!("begins with `{scheme}://`, which is not read; use https:// or s3://"));
    }
    let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if has_user(scheme, place) {
        let way = match scheme {
            "s3" => "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead",
            _ => "use an address without, or s3:// with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        };
        return Err(format!("has a user or password, which would be written to config.toml; {way}"));
    }
    // What is left of `?` in a key of S3 is a wildcard; a query sets values.
    let has_query = match scheme {
        "s3" => text.split('?').skip(1).any(|part| part.split('/').next().is_some_and(|part| part.contains('='))),
        _ => text.contains('?'),
    };
    if has_query {
        return Err("has a query (what stands behind `?`), which may hold a signature and would be written to \
                    config.toml; use an address without, or s3:// with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            .into());
    }
    if place.is_empty() || place.contains(['{', '}', '*']) {
        let what = if scheme == "s3" { "bucket" } else { "host" };
        return Err(format!("names no {what}, which stands between `{scheme}://` and the next `/` without a pattern"));
    }
    if path.len() < 2 {
        return Err(format!("names nothing on `{place}`; write the path of the files behind it"));
    }
    if scheme == "http" && !allow_http && !is_this_machine(place) {
        return Err(format!("is not encrypted; use https://, or set {ALLOW_HTTP}=true"));
    }
    Ok(())
}

/// Whether what stands before the first `/` of an address has a user or password, or the beginning of one: passwords of
/// S3 often have a `/`. A web server's of digits alone up to there is not told from a port.
fn has_user(scheme: &str, place: &str) -> bool {
    // The colons of an IPv6 address are in brackets.
    let host = place.strip_prefix('[').and_then(|place| place.split_once(']')).map_or(place, |(_, behind)| behind);
    let is_port = |(_, port): (&str, &str)| port.bytes().all(|byte| byte.is_ascii_digit());
    // A bucket has no port.
    place.contains('@') || host.split_once(':').is_some_and(|colon| scheme == "s3" || !is_port(colon))
}

/// What stands behind the `://` of an address, without its user and password. Nothing is left where they end with no `@`, or
/// where a `?` or `#` stands before the last one: it may be one of the password, or begin a query.
pub(crate) fn without_user<'a>(scheme: &str, rest: &'a str) -> &'a str {
    if !has_user(scheme, rest.split('/').next().unwrap_or_default()) {
        return rest;
    }
    match rest.rsplit_once('@') {
        Some((user, place)) if !user.contains(['?', '#']) => place,
        Some(_) | None => "",
    }
}

/// Whether a host, perhaps with a port, is this machine itself.
pub(crate) fn is_this_machine(place: &str) -> bool {
    let host = place.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let host = host.map_or(place, |(host, _)| host);
    host == "localhost" || host == "[::1]" || host.parse().is_ok_and(|ip: std::net::Ipv4Addr| ip.is_loopback())
}

/// Whether the environment allows addresses without encryption.
pub(crate) fn allows_http() -> bool {
    std::env::var(ALLOW_HTTP).is_ok_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes"))
}

/// A text for messages: the address that it ends with, if there is one, without user, password and query.
pub(crate) fn without_secrets(text: &str) -> String {
    let Some((before, rest)) = text.split_once("://") else { return text.to_owned() };
    let scheme = before.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    let shown = without_user(scheme, rest);
    let end = shown.find('?').filter(|at| shown[*at..].contains('=')).unwrap_or(shown.len());
    format!("{before}://{}", &shown[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_secrets_or_of_other_kinds_are_refused_and_say_what_to_do() {
        for (address, words) in [
            ("gs://bucket/a.tar", "begins with `gs://`, which is not read; use https:// or s3://"),
            ("https://anna:word@host/a.tar", "has a user or password"),
            ("s3://key:word@bucket/a.tar", "set AWS_ACCESS_KEY_ID"),
            ("s3://key:pass/word@bucket/a.tar", "set AWS_ACCESS_KEY_ID"),
            ("s3://7:8/word@bucket/a.tar", "set AWS_ACCESS_KEY_ID"),
            ("https://anna:pass/word@host/a.tar", "has a user or password"),
            ("https://host/a.tar?X-Amz-Signature=0123", "has a query"),
            ("s3://bucket/a.tar?X-Amz-Signature=0123", "has a query"),
            ("http://host/a.tar", "is not encrypted; use https://, or set AWS_ALLOW_HTTP=true"),
            ("http://localhost.example.com/a.tar", "is not encrypted"),
            ("https:///a.tar", "names no host"),
            ("s3://{a,b}/a.tar", "names no bucket"),
            ("s3://bucket", "names nothing on `bucket`"),
            ("s3://bucket/", "names nothing on `bucket`"),
        ] {
            let reason = check(address, false).unwrap_err();
            assert!(reason.contains(words) && !reason.contains("0123") && !reason.contains("word@"), "{reason}");
        }
        for address in [
            "https://host:8443/a-{000..127}.tar",
            "https://host:8443/a@b.tar",
            "https://[::1]:9000/a@b.tar",
            "s3://bucket/a:1@b.tar",
            "http://127.0.0.1:80/a.tar",
            "http://localhost/a.tar",
            "http://[::1]:9000/a.tar",
            "s3://bucket/year=2020/train-?.parquet",
        ] {
            assert_eq!(check(address, false), Ok(()), "{address}");
        }
        assert_eq!(check("http://host/a.tar", true), Ok(()));
    }

    #[test]
    fn messages_have_no_user_password_or_query_of_an_address() {
        for (text, shown) in [
            ("wds:https://anna:word@host/a.tar?sig=01", "wds:https://host/a.tar"),
            ("wds:https://a@host/b.tar", "wds:https://host/b.tar"),
            ("s3://key:word@bucket/a-?.tar", "s3://bucket/a-?.tar"),
            ("wds:s3://key:pass/wo/rd@bucket/a.tar", "wds:s3://bucket/a.tar"),
            ("wds:s3://key:word/bucket/a.tar", "wds:s3://"),
            ("https://anna:word/a.tar", "https://"),
            ("wds:https://host/get?url=https://other/a.tar&sig=01", "wds:https://host/get"),
            ("https://anna:word@host/a.tar?by=a@b&sig=01", "https://"),
            ("https://anna:wo?rd@host/a.tar", "https://"),
            ("https://host:8443/a@b.tar", "https://host:8443/a@b.tar"),
            ("https://[::1]:9000/a@b.tar", "https://[::1]:9000/a@b.tar"),
            ("s3://bucket/a:1@b.tar", "s3://bucket/a:1@b.tar"),
            ("imagefolder:/data/a?b=c", "imagefolder:/data/a?b=c"),
        ] {
            assert_eq!(without_secrets(text), shown);
        }
    }

    #[test]
    fn a_path_with_colons_is_no_address() {
        assert!(!is_address("/data/a://b") && !is_address("a:b/c") && !is_address("://a"));
        assert_eq!(sibling("https://host/a/b.tar".as_ref(), "c.txt".as_ref()), Path::new("https://host/a/c.txt"));
        assert_eq!(sibling("a/b.tar".as_ref(), "c.txt".as_ref()), Path::new("a/c.txt"));
    }
}
