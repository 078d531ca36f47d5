//! A server of objects on this machine, which speaks HTTP with ranges and as much of S3 as reading needs, and fails as it is told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "each crate uses some")]
pub enum Answer {
    /// As it should be.
    Right,
    /// With this status and a body that no message may quote.
    Status(u16),
    /// With this status and a body that has no end.
    Flood(u16),
    /// The connection is cut in the middle of the body.
    Cut,
    /// The connection is cut before there is an answer.
    Gone,
    /// Nothing comes after half of the body, for ten seconds.
    Stall,
    /// A byte every tenth of a second.
    Trickle,
    /// Body and stated length are a byte short of the part that the answer says it is.
    Short,
    /// The body is a byte short, and its length is not stated.
    Unstated,
    /// Another part than the one asked for.
    OtherPart,
    /// The whole object, whatever part was asked for.
    Whole,
    /// Without a tag.
    Untagged,
    /// With a tag that says it is a weak one.
    Weak,
}

/// What was asked for.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "each crate uses some")]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: String,
    pub range: Option<Range<usize>>,
    /// All headers, as they came.
    pub headers: Vec<(String, String)>,
}

type Plan = Box<dyn FnMut(&Asked) -> Answer + Send>;

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Arc<[u8]>>,
    plan: Option<Plan>,
    log: Vec<Asked>,
    /// Bytes that were sent of bodies without an end.
    flooded: usize,
}

/// The server; it ends with the process.
#[derive(Clone)]
pub struct Server {
    at: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[allow(dead_code, reason = "each crate uses some")]
impl Server {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let this = Self { at: listener.local_addr().unwrap(), state: Arc::default() };
        let server = this.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.serve(stream));
            }
        });
        this
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The address that paths are appended to.
    pub fn address(&self) -> String {
        format!("http://{}", self.at)
    }

    /// Puts an object at a path without a slash before it; of S3, the first part is the bucket.
    pub fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.state().objects.insert(path.to_owned(), bytes.into().into());
    }

    /// Puts every file of a folder below a path.
    pub fn put_folder(&self, path: &str, folder: &std::path::Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            self.put(&format!("{path}/{}", entry.file_name().to_str().unwrap()), std::fs::read(entry.path()).unwrap());
        }
    }

    pub fn remove(&self, path: &str) {
        self.state().objects.remove(path);
    }

    /// How requests are answered from now on.
    pub fn plan(&self, plan: impl FnMut(&Asked) -> Answer + Send + 'static) {
        self.state().plan = Some(Box::new(plan));
    }

    /// What was asked for since the last time.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state().log)
    }

    /// Bytes that could be sent of bodies without an end.
    pub fn flooded(&self) -> usize {
        self.state().flooded
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(asked) = read(&mut reader) {
            let answer = {
                let mut state = self.state();
                state.log.push(asked.clone());
                state.plan.as_mut().map_or(Answer::Right, |plan| plan(&asked))
            };
            if self.answer(&mut stream, &asked, answer).is_none() {
                return;
            }
        }
    }

    /// Answers; none where the connection is to end.
    fn answer(&self, stream: &mut TcpStream, asked: &Asked, answer: Answer) -> Option<()> {
        match answer {
            Answer::Gone => return None,
            Answer::Status(status) => {
                return write(stream, asked, status, &[], b"<Error><Key>do-not-quote</Key></Error>");
            }
            Answer::Flood(status) => {
                head(stream, status, &[], Some(1 << 40))?;
                let megabyte = vec![b' '; 1 << 20];
                for _ in 0..256 {
                    stream.write_all(&megabyte).ok()?;
                    self.state().flooded += megabyte.len();
                }
                return None;
            }
            _ => {}
        }
        if asked.query.contains("list-type=2") {
            return write(stream, asked, 200, &[], self.list(asked).as_bytes());
        }
        let Some(object) = self.state().objects.get(&asked.path).cloned() else {
            return write(stream, asked, 404, &[], b"<Error><Code>NoSuchKey</Code></Error>");
        };
        let tag = match answer {
            Answer::Weak => format!("W/\"{:08x}\"", crc32fast::hash(&object)),
            _ => format!("\"{:08x}\"", crc32fast::hash(&object)),
        };
        let mut headers = vec![("Last-Modified".to_owned(), "Mon, 05 Jan 2026 10:00:00 GMT".to_owned())];
        if answer != Answer::Untagged {
            headers.push(("ETag".into(), tag.clone()));
        }
        if let Some((_, wanted)) = asked.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("if-match"))
            && *wanted != tag
        {
            return write(stream, asked, 412, &headers, b"");
        }
        let Some(part) = asked.range.clone().filter(|_| answer != Answer::Whole) else {
            return write(stream, asked, 200, &headers, &object);
        };
        if part.start >= object.len() {
            return write(stream, asked, 416, &headers, b"");
        }
        let mut part = part.start..part.end.min(object.len());
        if answer == Answer::OtherPart {
            part = part.start + 1..part.end;
        }
        let range = format!("bytes {}-{}/{}", part.start, part.end - 1, object.len());
        headers.push(("Content-Range".into(), range));
        let body = &object[part];
        match answer {
            Answer::Short => write(stream, asked, 206, &headers, &body[..body.len() - 1]),
            Answer::Unstated => {
                head(stream, 206, &headers, None)?;
                stream.write_all(&body[..body.len() - 1]).ok()?;
                None
            }
            Answer::Cut | Answer::Stall => {
                head(stream, 206, &headers, Some(body.len()))?;
                stream.write_all(&body[..body.len() / 2]).ok()?;
                if answer == Answer::Stall {
                    std::thread::sleep(Duration::from_secs(10));
                }
                None
            }
            Answer::Trickle => {
                head(stream, 206, &headers, Some(body.len()))?;
                for byte in body {
                    stream.write_all(&[*byte]).ok()?;
                    std::thread::sleep(Duration::from_millis(100));
                }
                Some(())
            }
            _ => write(stream, asked, 206, &headers, body),
        }
    }

    /// The objects below a prefix, two to a page.
    fn list(&self, asked: &Asked) -> String {
        let value = |name: &str| {
            let value = asked.query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_default().replace("%2F", "/").replace("%20", " ").replace('+', " ")
        };
        let bucket = asked.path.split('/').next().unwrap_or_default().to_owned();
        let (prefix, after) = (value("prefix"), value("continuation-token"));
        let state = self.state();
        let keys = state.objects.iter().filter_map(|(path, bytes)| {
            let key = path.strip_prefix(&format!("{bucket}/"))?;
            (key.starts_with(&prefix) && *key > *after).then(|| (key.to_owned(), bytes.len()))
        });
        let all: Vec<_> = keys.collect();
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult>");
        xml += &format!("<IsTruncated>{}</IsTruncated>", all.len() > 2);
        for (key, size) in all.iter().take(2) {
            xml += &format!(
                "<Contents><Key>{key}</Key><LastModified>2026-01-05T10:00:00.000Z</LastModified><ETag>\"x\"</ETag>\
                 <Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            );
        }
        if all.len() > 2 {
            xml += &format!("<NextContinuationToken>{}</NextContinuationToken>", all[1].0);
        }
        xml + "</ListBucketResult>"
    }
}

/// The next request of a connection; none at its end.
fn read(reader: &mut impl BufRead) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let range = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("range")).and_then(|(_, value)| {
        let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
        Some(first.parse().ok()?..last.parse::<usize>().ok()? + 1)
    });
    let path = path.trim_start_matches('/').replace("%20", " ");
    Some(Asked { method, path, query: query.to_owned(), range, headers })
}

fn head(stream: &mut TcpStream, status: u16, headers: &[(String, String)], length: Option<usize>) -> Option<()> {
    let mut text = format!("HTTP/1.1 {status} Status\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &length.map_or("Connection: close\r\n".to_owned(), |length| format!("Content-Length: {length}\r\n"));
    stream.write_all((text + "\r\n").as_bytes()).ok()
}

fn write(stream: &mut TcpStream, asked: &Asked, status: u16, headers: &[(String, String)], body: &[u8]) -> Option<()> {
    head(stream, status, headers, Some(body.len()))?;
    if asked.method != "HEAD" {
        stream.write_all(body).ok()?;
    }
    Some(())
}
