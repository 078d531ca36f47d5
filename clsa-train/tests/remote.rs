//! Training from objects of a server, over HTTP and as S3. Runs with `--features remote`.
#![cfg(feature = "remote")]

#[path = "../../clsa-data/tests/object_server/mod.rs"]
mod object_server;
mod tiny;

use std::fs;
use std::io::Cursor;
use std::path::Path;

use clsa_data::shard_index::write_indexes;
use image::{ImageFormat, Rgb, RgbImage};
use object_server::{Answer, Asked, Server};
use tempfile::TempDir;
use tiny::{checkpoint, clsa, refused, stderr, tensors};

/// Adds a file to an archive.
fn add(archive: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, bytes).unwrap();
}

/// An image of 16x16 pixels as a PNG.
fn png(shard: u8, number: u8) -> Vec<u8> {
    let mut png = Cursor::new(Vec::new());
    let color = |x: u32, y: u32| Rgb([16 * number, (x * 15) as u8 ^ (shard << 6), (y * 15) as u8]);
    RgbImage::from_fn(16, 16, color).write_to(&mut png, ImageFormat::Png).unwrap();
    png.into_inner()
}

/// Four shards of 16 images of 16x16 pixels in four classes, with indexes. Between the halves of a shard is a file so large that they
/// are not fetched together.
fn shards() -> TempDir {
    let root = TempDir::new().unwrap();
    for shard in 0..4u8 {
        let mut archive = tar::Builder::new(Vec::new());
        for number in 0..16u8 {
            add(&mut archive, &format!("{number:04}.png"), &png(shard, number));
            add(&mut archive, &format!("{number:04}.cls"), (number % 4).to_string().as_bytes());
            if number == 7 {
                add(&mut archive, "notes.bin", &vec![0; 5 << 20]);
            }
        }
        fs::write(root.path().join(format!("train-{shard:03}.tar")), archive.into_inner().unwrap()).unwrap();
    }
    write_indexes(&root.path().display().to_string(), &|_, _| ()).unwrap();
    root
}

/// A run of eight steps from this source, that reads shards in sequence.
fn pretrain(source: &str, out: &Path, cache: &Path, variables: &[(&str, &str)]) -> assert_cmd::assert::Assert {
    let mut command = clsa();
    command.arg("pretrain").args(["--set", &format!("data.source={source}"), "--set", "data.shuffle_buffer=4"]);
    command.args(["--set", "model.width=0.125", "--set", "eval={resize=16, crop=16}"]);
    command.args(["--set", "views={key={size=16}, weak=[{size=16}], strong=[{size=16, strong=true}]}"]);
    command.args(["--set", "knn={every=0}", "--set", "method.bank=32", "--epochs=1", "--batch-size=8"]);
    command.args(["--preset", "demo", "--out"]).arg(out);
    command.env("CLSA_CACHE", cache).env("CLSA_REMOTE_RETRIES", "1").envs(variables.iter().copied());
    command.assert()
}

/// All bytes of the files below a folder.
fn all_bytes(folder: &Path) -> Vec<u8> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { all_bytes(&path) } else { fs::read(path).unwrap() }).collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn objects_give_the_weights_of_files_and_credentials_stay_in_the_environment() {
    let (root, folder, server) = (shards(), TempDir::new().unwrap(), Server::new());
    server.put_folder("bucket/some data", root.path());
    let cache = folder.path().join("cache");
    let run = |name: &str, source: &str, variables: &[(&str, &str)]| {
        let out = folder.path().join(name);
        let assert = pretrain(source, &out, &cache, variables).success();
        (tensors(&checkpoint(&out, 8)), stderr(&assert), out)
    };
    let (files, ..) = run("files", &format!("wds:{}", root.path().display()), &[]);
    assert!(files.len() > 10);
    let (http, ..) = run("http", &format!("wds:{}/bucket/some%20data/train-{{000..003}}.tar", server.address()), &[]);
    assert!(http == files);
    server.asked();
    let s3 = [
        ("AWS_ENDPOINT", &*server.address()),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "anna-id"),
        ("AWS_SECRET_ACCESS_KEY", "anna-secret"),
        ("AWS_SESSION_TOKEN", "anna-token"),
    ];
    for (name, pattern) in [("a", "some data/train-*.tar"), ("b", "some data/"), ("c", "some*/train-0??.tar")] {
        let (s3, shown, out) = run(name, &format!("wds:s3://bucket/{pattern}"), &s3);
        assert!(s3 == files);
        let written = all_bytes(&out);
        for secret in ["anna-id", "anna-secret", "anna-token"] {
            assert!(!holds(&written, secret) && !shown.contains(secret), "{secret}");
        }
    }
    let signed = |asked: &Asked| {
        asked.headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("authorization") && value.starts_with("AWS4-HMAC-SHA256 Credential=anna-id/")
        })
    };
    let asked = server.asked();
    assert!(asked.iter().any(|asked| asked.query.contains("list-type=2")) && asked.iter().all(signed));
}

#[test]
fn a_bucket_that_may_not_be_listed_is_named_and_no_answer_is_quoted() {
    let (folder, server) = (TempDir::new().unwrap(), Server::new());
    let s3 = [("AWS_ENDPOINT", &*server.address()), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
    for (answer, code, words) in [
        (Answer::Status(403), 2, "may not be read; check the credentials in the environment"),
        (Answer::Status(404), 2, "is not there"),
        (Answer::Status(301), 1, "status 301, as for a bucket of another AWS_REGION"),
        (Answer::Status(500), 1, "the server answered with status 500"),
    ] {
        server.plan(move |_| answer);
        for pattern in ["train-*.tar", "train-000.tar"] {
            let out = folder.path().join("run");
            let assert = pretrain(&format!("wds:s3://bucket/{pattern}"), &out, &folder.path().join("cache"), &s3);
            assert!(!stderr(&assert).contains("quote") && !out.exists());
            refused(assert, code, &["error: s3://bucket/", words]);
        }
    }
}

#[test]
fn a_store_that_fails_in_the_middle_ends_the_run_with_a_checkpoint_from_which_it_goes_on() {
    let (root, folder, server) = (shards(), TempDir::new().unwrap(), Server::new());
    server.put_folder("data", root.path());
    let cache = folder.path().join("cache");
    let files = folder.path().join("files");
    pretrain(&format!("wds:{}", root.path().display()), &files, &cache, &[]).success();
    // The second halves of two shards come, then nothing.
    let mut halves = 0;
    server.plan(move |asked| {
        halves += usize::from(asked.range.as_ref().is_some_and(|range| range.start > 0));
        if halves > 2 { Answer::Status(503) } else { Answer::Right }
    });
    let out = folder.path().join("run");
    let source = format!("wds:{}/data/train-{{000..003}}.tar", server.address());
    let assert = pretrain(&source, &out, &cache, &[]);
    let text = stderr(&assert);
    assert!(text.contains("pretrain --resume") && !text.contains("sample skipped"), "{text}");
    refused(assert, 1, &[&server.address(), "status 503 at the last of 2 attempts; check the network and the server"]);
    assert_eq!(fs::read_dir(out.join("checkpoints")).unwrap().count(), 1);
    assert!(!checkpoint(&out, 8).exists());
    server.plan(|_| Answer::Right);
    let resume = |from: &Path, cache: &Path| {
        clsa()
            .arg("pretrain")
            .arg("--resume")
            .arg(from)
            .env("CLSA_CACHE", cache)
            .env("CLSA_REMOTE_RETRIES", "1")
            .assert()
    };
    let first = fs::read_dir(out.join("checkpoints")).unwrap().next().unwrap().unwrap().path();
    resume(&out, &cache).success();
    assert!(tensors(&checkpoint(&out, 8)) == tensors(&checkpoint(&files, 8)));
    // Who goes back and gets no step further loses nothing.
    let is_half = |asked: &Asked| asked.range.as_ref().is_some_and(|range| range.start > 0);
    server.plan(move |asked| if is_half(asked) { Answer::Status(503) } else { Answer::Right });
    let assert = resume(&first, &folder.path().join("other cache"));
    let text = stderr(&assert);
    assert!(text.contains("resuming ") && text.contains("continue with the same command"), "{text}");
    refused(assert, 1, &["status 503"]);
    assert!(checkpoint(&out, 8).exists());
}

#[test]
fn a_store_that_gives_no_image_is_no_wrong_request() {
    let (root, folder, server) = (TempDir::new().unwrap(), TempDir::new().unwrap(), Server::new());
    let mut archive = tar::Builder::new(Vec::new());
    // Headers and label of the first image are at the end of a block of 4 MiB, and come when the shard is opened.
    add(&mut archive, "notes.bin", &vec![0; (4 << 20) - 4 * 512]);
    for number in 0..16u8 {
        add(&mut archive, &format!("{number:04}.cls"), (number % 4).to_string().as_bytes());
        add(&mut archive, &format!("{number:04}.png"), &png(0, number));
    }
    fs::write(root.path().join("train-000.tar"), archive.into_inner().unwrap()).unwrap();
    write_indexes(&root.path().display().to_string(), &|_, _| ()).unwrap();
    server.put_folder("data", root.path());
    let is_later = |asked: &Asked| asked.range.as_ref().is_some_and(|range| range.start > 0);
    server.plan(move |asked| if is_later(asked) { Answer::Status(503) } else { Answer::Right });
    let (out, cache) = (folder.path().join("run"), folder.path().join("cache"));
    let assert = pretrain(&format!("wds:{}/data/train-000.tar", server.address()), &out, &cache, &[]);
    refused(assert, 1, &[&server.address(), "status 503"]);
    assert!(!out.exists());
}

#[test]
fn an_address_with_secrets_is_refused_and_written_nowhere() {
    let folder = TempDir::new().unwrap();
    for address in ["https://anna:hunter2@host/train.tar", "s3://bucket/train.tar?X-Amz-Signature=hunter2"] {
        let out = folder.path().join("run");
        let assert = pretrain(&format!("wds:{address}"), &out, folder.path(), &[]);
        assert!(!stderr(&assert).contains("hunter2"), "{}", stderr(&assert));
        refused(assert, 2, &["would be written to config.toml"]);
        assert!(!out.exists());
    }
}
