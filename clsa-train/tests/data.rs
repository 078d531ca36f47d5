//! `clsa data` as a user runs it.

use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn data(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("clsa").unwrap();
    // Servers of the tests are on this machine, whatever stands between it and others.
    command.arg("data").args(args).env("NO_PROXY", "127.0.0.1");
    command
}

fn stdout(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

fn stderr(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

/// Training images of 40x30 of two classes, four each, and one test image; returns the source.
fn folder(root: &Path) -> String {
    for (folder, images) in [("train/cat", 4), ("train/dog", 4), ("val/dog", 1)] {
        fs::create_dir_all(root.join(folder)).unwrap();
        for at in 0..images {
            let image = image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8, y as u8, at]));
            image.save(root.join(folder).join(format!("{at}.png"))).unwrap();
        }
    }
    format!("imagefolder:{}", root.display())
}

#[test]
fn info_shows_splits_classes_and_sizes() {
    let root = TempDir::new().unwrap();
    let source = folder(root.path());
    let text = stdout(&data(&["info", &source]).assert().success());
    for part in ["train   8 images, 2 classes", "test    1 image,", "sizes 40x30 to 40x30", "cat", "dog"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let dog: Vec<&str> = text.lines().find(|line| line.starts_with("dog")).unwrap().split_whitespace().collect();
    assert_eq!(dog, ["dog", "4", "1"]);
    let json = stdout(&data(&["info", &source, "--json"]).assert().success());
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["splits"][0]["classes"][1]["samples"], 4);
    assert_eq!(json["splits"][1]["sizes"]["median"], serde_json::json!([40, 30]));
    let few = stdout(&data(&["info", &source, "--json", "--headers", "3"]).assert().success());
    assert_eq!(serde_json::from_str::<Value>(&few).unwrap()["splits"][0]["headers_read"], 3);
}

#[test]
fn info_says_why_there_is_no_test_split() {
    let root = TempDir::new().unwrap();
    folder(root.path());
    let text = stdout(&data(&["info", &format!("flat:{}", root.path().display())]).assert().success());
    assert!(text.contains("9 images, no labels") && text.contains("no test split"), "{text}");
}

#[test]
fn info_shows_classes_whose_names_are_longer_than_any_column() {
    let root = TempDir::new().unwrap();
    folder(root.path());
    let name = "n".repeat(70_000);
    let table = root.path().join("table.csv");
    fs::write(&table, format!("train/cat/0.png,{name}\ntrain/dog/0.png,dog\n")).unwrap();
    let text = stdout(&data(&["info", &format!("list:{}", table.display())]).assert().success());
    assert!(text.contains(&format!("{name}           1")) && text.contains("dog  "), "{} bytes", text.len());
}

#[test]
fn verify_ends_with_0_for_good_images_and_with_1_and_a_list_for_bad_ones() {
    let root = TempDir::new().unwrap();
    let source = folder(root.path());
    let assert = data(&["verify", &source]).assert().success();
    assert!(stderr(&assert).contains("all 9 images are good"), "{}", stderr(&assert));
    fs::write(root.path().join("train/cat/2.png"), "").unwrap();
    fs::write(root.path().join("val/dog/0.png"), "garbage").unwrap();
    let assert = data(&["verify", &source, "--threads", "2"]).assert().code(1);
    let lines: Vec<String> = stdout(&assert).lines().map(String::from).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("train: ") && lines[0].contains("cat/2.png") && lines[0].contains("empty"));
    assert!(lines[1].starts_with("test: ") && lines[1].contains("dog/0.png"));
    assert!(stderr(&assert).contains("error: 2 of 9 images are bad"), "{}", stderr(&assert));
    let json: Value = serde_json::from_str(&stdout(&data(&["verify", &source, "--json"]).assert().code(1))).unwrap();
    assert_eq!(json["bad"][0]["index"], 2);
}

#[test]
fn pack_writes_shards_that_are_a_source_of_smaller_images() {
    let root = TempDir::new().unwrap();
    let source = folder(root.path());
    fs::write(root.path().join("train/cat/2.png"), "garbage").unwrap();
    let out = root.path().join("shards");
    let out = out.display().to_string();
    let assert = data(&["pack", &source, &out, "--short-side", "15"]).assert().success();
    let warning = stderr(&assert);
    assert!(warning.contains("warning: left out") && warning.contains("cat/2.png"), "{warning}");
    let packed = stdout(&assert).trim().to_owned();
    assert_eq!(packed, format!("wds:{out}"));
    let json: Value = serde_json::from_str(&stdout(&data(&["info", &packed, "--json"]).assert().success())).unwrap();
    assert_eq!((&json["splits"][0]["samples"], &json["splits"][1]["samples"]), (&7.into(), &1.into()));
    assert_eq!(json["splits"][0]["sizes"]["largest"], serde_json::json!([20, 15]));
    assert_eq!(json["splits"][0]["classes"][0]["name"], "cat");
    let again = data(&["pack", &source, &out]).assert().code(2);
    assert!(stderr(&again).contains("is not empty"), "{}", stderr(&again));
}

/// The training shards that packing with these options writes, in order.
fn packed(source: &str, options: &[&str]) -> Vec<Vec<u8>> {
    let root = TempDir::new().unwrap();
    let out = root.path().join("shards");
    data(&["pack", source, out.to_str().unwrap()]).args(options).assert().success();
    (0..).map_while(|shard| fs::read(out.join(format!("train-{shard:06}.tar"))).ok()).collect()
}

#[test]
fn shards_have_the_order_the_size_and_the_quality_that_are_asked_for() {
    let root = TempDir::new().unwrap();
    let source = folder(root.path());
    let [whole, zero, one] = [&["--in-order"][..], &[], &["--seed", "1"]].map(|options| packed(&source, options));
    assert!(whole != zero && whole != one && zero != one);
    let source = "procedural:classes=2,train=24,test=2,side=256";
    assert!(packed(source, &["--shard-size", "1"]).len() > 1);
    let bytes = |quality| packed(source, &["--short-side", "128", "--quality", quality]).concat().len();
    assert!(bytes("10") < bytes("95"));
}

#[test]
fn what_a_killed_packing_left_is_taken_over_with_a_note() {
    let root = TempDir::new().unwrap();
    let (out, part) = (root.path().join("shards"), root.path().join("shards.part"));
    fs::create_dir(&part).unwrap();
    fs::write(part.join("train-000000.tar"), "half").unwrap();
    let source = folder(root.path());
    // A separator at the end changes nothing.
    let assert = data(&["pack", &source, &format!("{}/", out.display())]).assert().success();
    let note = format!("note: {}: what an earlier packing had left there was removed", part.display());
    assert!(stderr(&assert).contains(&note), "{}", stderr(&assert));
    assert!(out.join("train-000000.tar.idx").exists() && !part.exists());
    fs::remove_dir_all(&out).unwrap();
    assert!(!stderr(&data(&["pack", &source, out.to_str().unwrap()]).assert().success()).contains("note:"));
}

#[test]
fn shards_are_not_written_among_folders_by_class() {
    let root = TempDir::new().unwrap();
    folder(root.path());
    let classes = root.path().join("train");
    let (source, out) = (format!("imagefolder:{}", classes.display()), classes.join("packed"));
    let message = stderr(&data(&["pack", &source, out.to_str().unwrap()]).assert().code(2));
    assert!(message.contains("packed: the shards would be among the images in "), "{message}");
    // There they would be a class without images, and the source would not open any more.
    data(&["info", &source]).assert().success();
    assert!(!out.exists());
}

#[test]
fn index_writes_what_pack_writes() {
    let root = TempDir::new().unwrap();
    let out = root.path().join("shards");
    data(&["pack", &folder(root.path()), out.to_str().unwrap()]).assert().success();
    let indexes = || -> Vec<_> { ["train-000000.tar.idx", "test-000000.tar.idx"].map(|name| out.join(name)).into() };
    let packed: Vec<Vec<u8>> = indexes().iter().map(|path| fs::read(path).unwrap()).collect();
    indexes().iter().for_each(|path| fs::remove_file(path).unwrap());
    let assert = data(&["index", &format!("wds:{}", out.display())]).assert().success();
    assert!(stderr(&assert).contains("9 images in 2 shards"), "{}", stderr(&assert));
    assert_eq!(indexes().iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>(), packed);
}

#[test]
fn a_wrong_request_ends_with_2_and_one_sentence_that_names_it() {
    let root = TempDir::new().unwrap();
    let empty = format!("flat:{}", root.path().display());
    for (args, part) in [
        (vec!["info", "folder:/x"], "no known kind"),
        (vec!["info", "imagefolder:/no/such/folder"], "/no/such/folder"),
        (vec!["verify", "cifar-bin:/no/such/file.tar.gz"], "/no/such/file.tar.gz"),
        (vec!["verify", &empty], "has no image files"),
        (vec!["index", "imagefolder:/data"], "only shards have an index"),
        (vec!["index", "wds:/no/such/{0..9}.tar"], "/no/such/0.tar"),
        (vec!["fetch", "imagenet"], "cifar10, cifar100, fashion-mnist"),
        (vec!["fetch", "cifar10", "--mirror", "data.org"], "begins with http:// or https://"),
        (vec!["pack", "procedural", "/tmp/out", "--quality", "0"], "--quality"),
        (vec!["pack", "procedural", "/tmp/out", "--quality", "80"], "--short-side"),
        (vec![], "Usage"),
    ] {
        let message = stderr(&data(&args).assert().code(2));
        assert!(message.contains(part), "{args:?}: {message}");
    }
}

#[test]
fn every_help_shows_an_example() {
    for command in ["info", "verify", "pack", "index", "fetch"] {
        let text = stdout(&data(&[command, "--help"]).assert().success());
        assert!(text.contains("Example") && text.contains("clsa data"), "{command}: {text}");
    }
}

#[test]
#[cfg(not(feature = "parquet"))]
fn a_parquet_source_without_the_feature_says_how_to_get_it() {
    let message = stderr(&data(&["info", "parquet:/data"]).assert().code(2));
    assert!(message.contains("parquet:/data") && message.contains("--features parquet"), "{message}");
}

#[test]
#[cfg(feature = "parquet")]
fn a_parquet_source_that_is_absent_is_refused_by_name() {
    let message = stderr(&data(&["info", "parquet:/no/such/*.parquet"]).assert().code(2));
    assert!(message.contains("/no/such/*.parquet: names no file"), "{message}");
}

#[test]
#[cfg(not(feature = "fetch"))]
fn fetch_without_the_feature_says_how_to_get_it() {
    let message = stderr(&data(&["fetch", "cifar10"]).assert().code(2));
    assert!(message.contains("--features fetch"), "{message}");
}

/// Serves `content` under any path to `requests` requests, `send` bytes of each answer; sends each request's head.
#[cfg(feature = "fetch")]
fn serve(content: &'static [u8], requests: usize, send: usize) -> (String, std::sync::mpsc::Receiver<String>) {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/mirror", listener.local_addr().unwrap());
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(requests) {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let head = head.join("\n").to_lowercase();
            let range = head.split("range: bytes=").nth(1).and_then(|range| range.split('-').next()?.parse().ok());
            let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
            let rest = &content[range.unwrap_or(0)..];
            sender.send(head).unwrap();
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", rest.len()).unwrap();
            stream.write_all(&rest[..send.min(rest.len())]).unwrap();
        }
    });
    (address, receiver)
}

#[test]
#[cfg(feature = "fetch")]
fn fetch_keeps_what_arrived_goes_on_from_there_and_refuses_another_file() {
    let root = TempDir::new().unwrap();
    let out = root.path().join("cifar10");
    let (part, whole) = (out.join("cifar-10-binary.tar.gz.part"), out.join("cifar-10-binary.tar.gz"));
    let fetch = |address: &str| {
        let assert = data(&["fetch", "cifar10", "--mirror", address, "--out", out.to_str().unwrap()]).assert().code(1);
        stderr(&assert)
    };
    let (address, asked) = serve(b"not the data set", 1, 6);
    let message = fetch(&address);
    assert!(message.contains("ended after 6 of 16 bytes") || message.contains("cannot be fetched"), "{message}");
    assert!(asked.recv().unwrap().starts_with("get /mirror/cifar-10-binary.tar.gz "));
    assert_eq!((fs::read(&part).unwrap().as_slice(), whole.exists()), (&b"not th"[..], false));
    let (address, asked) = serve(b"not the data set", 1, 100);
    let message = fetch(&address);
    assert!(message.contains("not the published c32a1d4ab5d03f1284b67883e8d87530"), "{message}");
    assert!(asked.recv().unwrap().contains("range: bytes=6-"));
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
}

#[test]
#[cfg(feature = "fetch")]
fn fetch_without_a_network_names_the_address_and_ends_with_1() {
    let root = TempDir::new().unwrap();
    let mut command = data(&["fetch", "cifar10", "--out", root.path().to_str().unwrap()]);
    // Nothing listens on the discard port; this variable comes before all others of its kind.
    let message = stderr(&command.env("ALL_PROXY", "http://127.0.0.1:9").assert().code(1));
    assert!(message.contains("cifar-10-binary.tar.gz cannot be fetched"), "{message}");
    assert!(!root.path().join("cifar-10-binary.tar.gz").exists());
}
