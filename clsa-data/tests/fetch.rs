//! Fetching from a server in this process. Runs with `--features fetch`.
#![cfg(feature = "fetch")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use clsa_data::fetch::{FetchError, Fetchable, RemoteFile, fetch_file};
use tempfile::TempDir;

const CONTENT: &[u8] = b"twelve bytes";
const MD5: &str = "c91fa94e14cf2fa5474beceff788c0dc";

/// Whether a server answers a range of a file with that range.
#[derive(Clone, Copy, PartialEq)]
enum Ranges {
    Known,
    Ignored,
}

/// Serves `CONTENT` to `requests` requests, `send` bytes of each answer; sends the ranges that were asked for.
fn serve(requests: usize, send: usize) -> (String, Receiver<Option<usize>>) {
    serve_with(requests, send, Ranges::Known)
}

fn serve_with(requests: usize, send: usize, ranges: Ranges) -> (String, Receiver<Option<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/file.bin", listener.local_addr().unwrap());
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(requests) {
            let mut stream = stream.unwrap();
            let mut start = None;
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                let line = line.unwrap().to_ascii_lowercase();
                if let Some(range) = line.strip_prefix("range: bytes=") {
                    start = Some(range.trim_end_matches('-').parse().unwrap());
                }
                if line.is_empty() {
                    break;
                }
            }
            sender.send(start).unwrap();
            let start = start.filter(|_| ranges == Ranges::Known);
            let (status, rest) = match start {
                None => ("200 OK", CONTENT),
                Some(start) if start < CONTENT.len() => ("206 Partial Content", &CONTENT[start..]),
                Some(_) => ("416 Range Not Satisfiable", &[][..]),
            };
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", rest.len()).unwrap();
            stream.write_all(&rest[..send.min(rest.len())]).unwrap();
        }
    });
    (url, receiver)
}

fn remote(url: String, md5: &str) -> RemoteFile {
    RemoteFile { url, name: "file.bin".into(), md5: md5.into() }
}

#[test]
fn a_file_is_fetched_once_and_checked() {
    let folder = TempDir::new().unwrap();
    let (url, asked) = serve(1, 100);
    let file = remote(url, MD5);
    let mut last = None;
    let path = fetch_file(&file, folder.path(), &mut |done, of| last = Some((done, of))).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), CONTENT);
    assert_eq!(last, Some((12, 12)));
    assert_eq!(asked.recv().unwrap(), None);
    // The server is gone; the file is there.
    fetch_file(&file, folder.path(), &mut |_, _| ()).unwrap();
}

#[test]
fn a_digest_may_be_in_upper_case() {
    let folder = TempDir::new().unwrap();
    let (url, _asked) = serve(1, 100);
    let file = remote(url, &MD5.to_uppercase());
    for _ in 0..2 {
        let path = fetch_file(&file, folder.path(), &mut |_, _| ()).unwrap();
        assert_eq!(std::fs::read(path).unwrap(), CONTENT);
    }
}

#[test]
fn a_file_that_another_process_fetches_is_refused_and_left_to_it() {
    let folder = TempDir::new().unwrap();
    let (url, asked) = serve(2, 100);
    let file = remote(url, MD5);
    let mut refused = Vec::new();
    let path = fetch_file(&file, folder.path(), &mut |_, _| {
        refused.push(fetch_file(&file, folder.path(), &mut |_, _| ()).unwrap_err());
    });
    assert_eq!(std::fs::read(path.unwrap()).unwrap(), CONTENT);
    assert!(matches!(refused[..], [FetchError::InUse { .. }]) && refused[0].is_request(), "{refused:?}");
    assert!(refused[0].to_string().contains("file.bin.part: is being fetched by another process"), "{}", refused[0]);
    assert_eq!(asked.try_iter().count(), 1, "the second one asked for nothing");
    assert!(!folder.path().join("file.bin.part").exists());
}

#[test]
fn an_interrupted_download_goes_on_where_it_ended() {
    let folder = TempDir::new().unwrap();
    let (url, _asked) = serve(1, 5);
    let error = fetch_file(&remote(url, MD5), folder.path(), &mut |_, _| ()).unwrap_err();
    assert!(matches!(error, FetchError::Network { .. }), "{error}");
    assert!(!folder.path().join("file.bin").exists());
    let (url, asked) = serve(1, 100);
    let path = fetch_file(&remote(url, MD5), folder.path(), &mut |_, _| ()).unwrap();
    assert_eq!(asked.recv().unwrap(), Some(5));
    assert_eq!(std::fs::read(path).unwrap(), CONTENT);
}

#[test]
fn a_server_that_knows_no_ranges_sends_the_file_from_its_beginning() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("file.bin.part"), &CONTENT[..5]).unwrap();
    let (url, asked) = serve_with(1, 100, Ranges::Ignored);
    let path = fetch_file(&remote(url, MD5), folder.path(), &mut |_, _| ()).unwrap();
    assert_eq!(asked.recv().unwrap(), Some(5));
    assert_eq!(std::fs::read(path).unwrap(), CONTENT);
}

#[test]
fn a_part_that_is_whole_already_is_checked_and_kept_or_removed() {
    let folder = TempDir::new().unwrap();
    let part = folder.path().join("file.bin.part");
    for (content, good) in [(CONTENT, true), (&b"other bytes!"[..], false)] {
        std::fs::write(&part, content).unwrap();
        let (url, _asked) = serve(1, 100);
        let result = fetch_file(&remote(url, MD5), folder.path(), &mut |_, _| ());
        assert_eq!(result.is_ok(), good, "{result:?}");
        assert!(!part.exists());
        assert_eq!(folder.path().join("file.bin").exists(), good);
        drop(std::fs::remove_file(folder.path().join("file.bin")));
    }
}

#[test]
fn a_mirror_takes_the_place_of_the_official_address_and_changes_no_digest() {
    let official = Fetchable::FashionMnist.files(None);
    let mirrored = Fetchable::FashionMnist.files(Some("http://localhost:8000/data/"));
    assert_eq!(mirrored[0].url, "http://localhost:8000/data/train-images-idx3-ubyte.gz");
    assert!(official[0].url.ends_with("amazonaws.com/train-images-idx3-ubyte.gz"), "{}", official[0].url);
    let digests = |files: &[RemoteFile]| files.iter().map(|file| file.md5.clone()).collect::<Vec<_>>();
    assert_eq!(digests(&official), digests(&mirrored));
}

#[test]
fn a_file_with_another_digest_is_removed_and_refused() {
    let folder = TempDir::new().unwrap();
    let (url, _asked) = serve(1, 100);
    let error = fetch_file(&remote(url, "0"), folder.path(), &mut |_, _| ()).unwrap_err();
    assert!(matches!(&error, FetchError::Checksum { found, .. } if found == MD5), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn without_a_network_the_error_says_so_and_names_the_address() {
    let folder = TempDir::new().unwrap();
    // Nobody listens there.
    let port = "127.0.0.1:1";
    let error = fetch_file(&remote(format!("http://{port}/x"), MD5), folder.path(), &mut |_, _| ()).unwrap_err();
    assert!(error.to_string().starts_with(&format!("http://{port}/x cannot be fetched: ")), "{error}");
}

#[test]
fn an_unknown_data_set_is_refused_with_the_known_ones() {
    let error = "imagenet".parse::<Fetchable>().unwrap_err();
    assert!(error.is_request());
    let error = error.to_string();
    assert!(error.contains("`imagenet`") && error.contains("cifar10"), "{error}");
}

#[test]
fn messages_hold_no_password_or_key_of_an_address() {
    let folder = TempDir::new().unwrap();
    let (server, _) = serve(2, CONTENT.len());
    let with_secrets = server.replace("http://", "http://anna:pass%40word@") + "?X-Signature=0123abcd";
    let with_slash = "http://127.0.0.1:pass/word@127.0.0.1:1/file.bin".to_owned();
    for url in [with_secrets, "http://anna:pass%40word@127.0.0.1:1/file.bin?token=0123abcd".to_owned(), with_slash] {
        let error = fetch_file(&remote(url, "00"), folder.path(), &mut |_, _| {}).unwrap_err().to_string();
        assert!(error.contains("http://127.0.0.1:") && error.contains("/file.bin"), "{error}");
        assert!(!error.contains("word") && !error.contains("anna") && !error.contains("0123abcd"), "{error}");
    }
}

#[test]
fn a_file_is_not_written_outside_the_folder() {
    let folder = TempDir::new().unwrap();
    for name in ["../out.bin", "/tmp/out.bin", "a/b.bin", "..", ""] {
        let file = RemoteFile { name: name.into(), ..remote("http://127.0.0.1:1/file.bin".into(), MD5) };
        let error = fetch_file(&file, folder.path(), &mut |_, _| {}).unwrap_err();
        assert!(matches!(error, FetchError::Name { .. }) && error.is_request(), "{name}: {error}");
    }
}

#[test]
fn the_source_is_in_the_folder_that_was_named_whatever_it_is_called() {
    for folder in ["~/data", "s3://bucket/data", "", "here"] {
        let source = Fetchable::Cifar10.source(Path::new(folder));
        let path = Path::new(&source.parts()[0].argument);
        let named = Path::new(".").join(folder).join("cifar-10-binary.tar.gz");
        assert_eq!(std::path::absolute(path).unwrap(), std::path::absolute(named).unwrap());
    }
}
