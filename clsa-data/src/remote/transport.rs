//! The HTTP client that object_store's requests go over: ureq, as in `fetch`, with its TLS and its certificates.
//!
//! An answer is read to its end, and its length compared with what was asked for and what the server states, before it counts
//! as one: object_store repeats a request only until it has an answer.

use std::io::Read;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderName, RANGE};
use http::{Method, StatusCode};
use object_store::ClientOptions;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};

use super::settings::Settings;
use crate::address::is_this_machine;
use crate::error::DataError;
use crate::trusted_roots;

/// Most bytes of an answer that is no part of an object: a list of names, or temporary credentials.
const MOST: u64 = 16 << 20;
/// Most bytes that are read of what comes with the status of a failure.
const MOST_OF_ERROR: u64 = 64 << 10;
/// How long a connection may take, and how long it may bring nothing.
const STALLED: Duration = Duration::from_secs(20);
/// Where machines of a cloud ask for their credentials. Nobody answers elsewhere, which is not worth waiting for.
const METADATA: &str = "169.254.169.254";

/// What became of the requests of one read, for its message. It travels with them.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempts(Arc<Mutex<Last>>);

/// The last of some attempts.
#[derive(Clone, Debug, Default)]
pub(super) struct Last {
    /// How many there were.
    pub count: usize,
    /// The status of its answer, if there was one.
    pub status: Option<u16>,
    /// What became of it, in the words of a message.
    pub what: String,
}

impl Attempts {
    fn add(&self, status: Option<u16>, what: String) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Last { count: last.count + 1, status, what };
    }

    pub fn last(&self) -> Last {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Makes clients for object_store.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    agent: ureq::Agent,
    /// For addresses without encryption; the other one follows nobody to these.
    unencrypted: ureq::Agent,
    /// For the addresses of a cloud's metadata.
    impatient: ureq::Agent,
    allow_http: bool,
    /// Whether redirections are followed; those of S3 are errors, because a request is signed for one host.
    follows: bool,
    /// What became of requests that no attempts travel with: those for a list or for credentials.
    pub others: Attempts,
}

impl Connector {
    /// # Errors
    /// The file of certificates that the environment names cannot be used.
    pub fn new(settings: &Settings) -> Result<Self, DataError> {
        let tls = trusted_roots::tls_config()
            .map_err(|reason| DataError::Config { field: trusted_roots::VARIABLE, reason })?;
        let agent = |connect: Duration, https_only: bool| {
            ureq::Agent::config_builder()
                .tls_config(tls.clone())
                .http_status_as_error(false)
                .https_only(https_only)
                .timeout_connect(Some(connect.min(settings.timeout)))
                .timeout_per_read(Some(STALLED.min(settings.timeout)))
                .timeout_per_call(Some(settings.timeout))
                .max_idle_connections_per_host(64)
                .max_idle_connections(64)
                .build()
                .into()
        };
        Ok(Self {
            agent: agent(STALLED, true),
            unencrypted: agent(STALLED, false),
            impatient: agent(Duration::from_secs(1), false),
            allow_http: settings.allow_http,
            follows: true,
            others: Attempts::default(),
        })
    }

    /// The same without following redirections.
    pub fn without_redirects(self) -> Self {
        Self { follows: false, ..self }
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        // Credentials of a container come without encryption from the machine that it runs on.
        let of_options = options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|value| value == "true");
        Ok(HttpClient::new(Self { allow_http: self.allow_http || of_options, ..self.clone() }))
    }
}

/// Why a request has no answer, in the words of a message.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoAnswer(String);

fn no_answer(kind: HttpErrorKind, what: impl Into<String>) -> HttpError {
    HttpError::new(kind, NoAnswer(what.into()))
}

#[async_trait]
impl HttpService for Connector {
    /// Waits on this thread: each read has an executor of its own (`store`), so that nobody else waits with it.
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let attempts = request.extensions().get::<Attempts>().unwrap_or(&self.others).clone();
        let answer = self.ask(request);
        match &answer {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => {
                let status = answer.status();
                let region = if status.is_redirection() { ", as for a bucket of another AWS_REGION" } else { "" };
                let what = format!("the server answered with status {}{region}", status.as_u16());
                attempts.add(Some(status.as_u16()), what);
            }
            Err(error) => {
                let what = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
                attempts.add(None, what);
            }
        }
        answer
    }
}

impl Connector {
    fn ask(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let host = parts.uri.authority().map_or("", |place| place.as_str());
        let is_encrypted = parts.uri.scheme_str() == Some("https");
        if !is_encrypted && !self.allow_http && !is_this_machine(host) {
            let reason = format!("the server's address is not encrypted; set {}=true", crate::address::ALLOW_HTTP);
            return Err(no_answer(HttpErrorKind::Unknown, reason));
        }
        let of_metadata = host.starts_with(METADATA);
        let agent = match (of_metadata, is_encrypted) {
            (true, _) => &self.impatient,
            (false, true) => &self.agent,
            (false, false) => &self.unencrypted,
        };
        let failed = |error: ureq::Error| {
            if of_metadata {
                let reason = "no credentials are in the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
                              AWS_SKIP_SIGNATURE=true for what everyone may read)";
                no_answer(HttpErrorKind::Unknown, reason)
            } else {
                transport_error(&error)
            }
        };
        let asked = asked_range(&parts.headers);
        let is_head = parts.method == Method::HEAD;
        let redirects = if self.follows { 10 } else { 0 };
        // A body that is none must be one of no length to ureq, which otherwise sends it in chunks.
        let answer = match body.as_bytes().filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => {
                let request = agent.configure_request(http::Request::from_parts(parts, bytes.to_vec()));
                agent.run(request.max_redirects(redirects).max_redirects_will_error(self.follows).build())
            }
            None => {
                let request = agent.configure_request(http::Request::from_parts(parts, ()));
                agent.run(request.max_redirects(redirects).max_redirects_will_error(self.follows).build())
            }
        };
        let (mut parts, body) = answer.map_err(failed)?.into_parts();
        parts.extensions.clear();
        if is_head {
            return Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(Vec::new())));
        }
        if parts.status == StatusCode::OK && asked.is_some() {
            // The whole object, which nobody has asked for: object_store refuses it by the status alone.
            return Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(Vec::new())));
        }
        if !parts.status.is_success() {
            // The status says what is wrong; what comes with it is at most read for a message.
            let mut bytes = Vec::new();
            let _ = body.into_with_config().limit(MOST_OF_ERROR).reader().take(MOST_OF_ERROR).read_to_end(&mut bytes);
            return Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(bytes)));
        }
        let expected = match (parts.status, &asked) {
            (StatusCode::PARTIAL_CONTENT, Some(asked)) => Some(given_range(&parts.headers, asked)?),
            _ => match number(&parts.headers, &CONTENT_LENGTH) {
                Some(bytes) if bytes > MOST => {
                    let reason = format!("its answer has {bytes} bytes, above the limit of {MOST}");
                    return Err(no_answer(HttpErrorKind::Unknown, reason));
                }
                stated => stated,
            },
        };
        let most = expected.unwrap_or(MOST);
        let mut bytes = Vec::new();
        let reader = body.into_with_config().limit(u64::MAX).reader();
        reader
            .take(most.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| transport_error(&ureq::Error::from(error)))?;
        let found = bytes.len() as u64;
        if found > most || expected.is_some_and(|expected| expected != found) {
            let reason = format!(
                "{} bytes came in the place of {most}",
                if found > most { "more".into() } else { found.to_string() }
            );
            return Err(no_answer(HttpErrorKind::Interrupted, reason));
        }
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(bytes)))
    }
}

/// A failure of the connection, by which object_store chooses whether to repeat the request.
fn transport_error(error: &ureq::Error) -> HttpError {
    match error {
        ureq::Error::Timeout(_) => no_answer(HttpErrorKind::Timeout, "no whole answer came in time"),
        ureq::Error::HostNotFound => no_answer(HttpErrorKind::Connect, "its host is not known"),
        ureq::Error::ConnectionFailed => no_answer(HttpErrorKind::Connect, "no connection could be made"),
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            no_answer(HttpErrorKind::Connect, "the connection was refused")
        }
        // What rustls says of a certificate, which no repetition mends either.
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            let variable = trusted_roots::VARIABLE;
            let what =
                format!("its certificate is not trusted ({error}), unless {variable} names a file with its authority");
            no_answer(HttpErrorKind::Unknown, what)
        }
        ureq::Error::Io(error) => no_answer(HttpErrorKind::Interrupted, format!("the connection broke off ({error})")),
        ureq::Error::Protocol(error) => {
            no_answer(HttpErrorKind::Interrupted, format!("the answer is no HTTP or not whole ({error})"))
        }
        // Certificates, redirections and the like, which no repetition mends.
        error => no_answer(HttpErrorKind::Unknown, error.to_string()),
    }
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// The bytes that a request asks for.
fn asked_range(headers: &HeaderMap) -> Option<RangeInclusive<u64>> {
    range(headers.get(RANGE)?.to_str().ok()?.strip_prefix("bytes=")?)
}

fn range(text: &str) -> Option<RangeInclusive<u64>> {
    let (first, last) = text.split_once('-')?;
    Some(first.parse().ok()?..=last.parse().ok()?)
}

/// The number of bytes of the part that an answer says it is, which is to be the one that was asked for, or what there is of it.
fn given_range(headers: &HeaderMap, asked: &RangeInclusive<u64>) -> Result<u64, HttpError> {
    let text = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (given, size) = text.strip_prefix("bytes ").and_then(|text| text.split_once('/')).unwrap_or_default();
    // An object that has become shorter ends within the part; by its size the reader knows that it is another one.
    let last = size.parse().map_or(*asked.end(), |size: u64| size.saturating_sub(1).min(*asked.end()));
    let wrong = || no_answer(HttpErrorKind::Interrupted, "the server gave another part than the one asked for");
    let given = range(given).filter(|given| *given == (*asked.start()..=last)).ok_or_else(wrong)?;
    let length = given.end().checked_sub(*given.start()).and_then(|length| length.checked_add(1)).ok_or_else(wrong)?;
    match number(headers, &CONTENT_LENGTH) {
        Some(stated) if stated != length => Err(no_answer(
            HttpErrorKind::Interrupted,
            format!("the server states {stated} bytes for a part of {length}"),
        )),
        Some(_) | None => Ok(length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_certificate_that_is_not_trusted_is_not_asked_for_again_and_a_connection_that_broke_is() {
        let kind = |kind| transport_error(&ureq::Error::Io(io::Error::new(kind, "some words"))).kind();
        assert_eq!(kind(io::ErrorKind::InvalidData), HttpErrorKind::Unknown);
        assert_eq!(kind(io::ErrorKind::ConnectionReset), HttpErrorKind::Interrupted);
        assert_eq!(kind(io::ErrorKind::ConnectionRefused), HttpErrorKind::Connect);
    }
}
