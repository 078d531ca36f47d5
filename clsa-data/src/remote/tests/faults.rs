//! What a server or a network may do wrong.

use super::*;
use crate::inspect::inspect;
use crate::{LoaderConfig, OnError, RemoteFault, SampleError, Splits};

#[test]
fn a_part_that_does_not_come_whole_is_asked_for_again() {
    for answer in [
        Answer::Status(500),
        Answer::Status(503),
        Answer::Status(429),
        Answer::Cut,
        Answer::Gone,
        Answer::Stall,
        Answer::Trickle,
        Answer::Short,
        Answer::Unstated,
        Answer::OtherPart,
    ] {
        let (server, cache) = (Server::new(), TempDir::new().unwrap());
        let bytes = noise(&server, "a.bin", 100_000);
        let is_slow = matches!(answer, Answer::Stall | Answer::Trickle);
        let mut settings = settings(cache.path());
        if is_slow {
            settings.timeout = Duration::from_millis(1500);
        }
        let opener = Opener::with(Stores::with(settings));
        let object = opener.open(format!("{}/a.bin", server.address()).as_ref()).unwrap();
        let mut wrong = if is_slow { 1 } else { 3 };
        server.plan(move |_| {
            wrong -= 1;
            if wrong >= 0 { answer } else { Answer::Right }
        });
        assert!(content(&object).unwrap() == bytes, "{answer:?}");
    }
}

#[test]
fn after_the_last_attempt_one_sentence_names_the_address_and_quotes_no_server() {
    for (answer, words) in [
        (Answer::Status(500), "cannot be read: the server answered with status 500 at the last of 5 attempts; check"),
        (Answer::Cut, "cannot be read: the "),
        (Answer::Short, "cannot be read: the server states 99999 bytes for a part of 100000 at the last of 5 attempts"),
        (Answer::Unstated, "cannot be read: 99999 bytes came in the place of 100000 at the last of 5 attempts"),
        (Answer::OtherPart, "cannot be read: the server gave another part than the one asked for at the last"),
        (Answer::Status(418), "cannot be read: the server answered with status 418; check"),
    ] {
        let (server, cache) = (Server::new(), TempDir::new().unwrap());
        noise(&server, "a.bin", 100_000);
        let object = open_object(&cache, &server);
        server.plan(move |_| answer);
        let error = reading_error(&object);
        assert_eq!((error.fault, error.is_request()), (RemoteFault::Unreachable, false), "{answer:?}");
        let text = error.to_string();
        assert!(text.starts_with(&format!("{}/a.bin: ", server.address())) && text.contains(words), "{text}");
        assert!(!text.contains("quote") && text.ends_with("check the network and the server, and go on"), "{text}");
        // A store that failed so often is not asked again by each thread that waits.
        server.asked();
        assert!(content(&object).is_err() && server.asked().is_empty());
    }
}

#[test]
fn of_the_body_of_a_failure_little_is_read() {
    for status in [404, 503] {
        let (server, cache) = (Server::new(), TempDir::new().unwrap());
        noise(&server, "a.bin", 100_000);
        let object = open_object(&cache, &server);
        server.plan(move |_| Answer::Flood(status));
        let error = reading_error(&object);
        assert_eq!(error.fault == RemoteFault::Unreachable, status == 503, "{error}");
        // What the sockets hold of five answers.
        assert!(server.flooded() < 64 << 20, "{} bytes", server.flooded());
    }
}

#[test]
fn a_server_that_is_not_there_is_named_when_a_source_is_opened() {
    let cache = TempDir::new().unwrap();
    // Nobody listens there.
    let port = "127.0.0.1:1";
    let error = open(&cache, &format!("http://{port}/train-{{0..9}}.tar")).err().unwrap();
    let text = error.to_string();
    assert!(!error.is_request() && text.contains("the connection was refused at the last of 5 attempts"), "{text}");
}

#[test]
fn a_server_without_ranges_is_refused() {
    let (server, cache) = (Server::new(), TempDir::new().unwrap());
    noise(&server, "a.bin", 100_000);
    let object = open_object(&cache, &server);
    server.plan(|_| Answer::Whole);
    let error = reading_error(&object);
    assert!(error.is_request() && error.reason.contains("gives whole files alone"), "{error}");
}

#[test]
fn an_object_that_changes_while_it_is_read_is_refused_by_name() {
    for answer in [Answer::Right, Answer::Weak, Answer::Untagged] {
        // Longer, and shorter: so that it ends within the part that is read next, or before it.
        for len in [5 << 20, (5 << 20) + 1, 9 << 19, 3 << 20] {
            let (server, cache) = (Server::new(), TempDir::new().unwrap());
            server.plan(move |_| answer);
            let address = format!("{}/a.bin", server.address());
            noise(&server, "a.bin", 5 << 20);
            let object = open_object(&cache, &server);
            let mut first = [0; 1];
            object.reader().unwrap().read_exact(&mut first).unwrap();
            server.put("a.bin", vec![1; len]);
            if answer == Answer::Untagged && len == 5 << 20 {
                // Neither its size nor its time tells it.
                continue;
            }
            let error = reading_error(&object);
            assert_eq!((error.fault, error.is_request()), (RemoteFault::Changed, false), "{answer:?}, {len}: {error}");
            assert!(error.to_string().starts_with(&format!("{address}: is another object than when it was opened")));
        }
    }
}

#[test]
fn an_object_that_is_taken_away_while_it_is_read_is_named() {
    let (server, cache) = (Server::new(), TempDir::new().unwrap());
    noise(&server, "a.bin", 1000);
    let object = open_object(&cache, &server);
    server.remove("a.bin");
    let error = reading_error(&object);
    assert!(!error.is_request() && error.reason.contains("is no longer there"), "{error}");
}

/// Lets a store fail from now on, and forgets what was kept of its objects.
fn fail(server: &Server, cache: &TempDir) {
    std::fs::remove_dir_all(cache.path().join("objects")).unwrap();
    std::fs::create_dir(cache.path().join("objects")).unwrap();
    server.plan(|_| Answer::Status(503));
}

#[test]
fn a_loader_stops_at_a_store_that_fails_and_calls_no_image_bad() {
    let (root, server, cache) = (shards(), Server::new(), TempDir::new().unwrap());
    write_indexed(&root);
    server.put_folder("data", root.path());
    let objects = open(&cache, &format!("{}/data/train-{{000..001}}.tar", server.address())).unwrap();
    fail(&server, &cache);
    assert!(matches!(objects.image(0), Err(SampleError::Remote(_))));
    let config =
        LoaderConfig { batch_size: 4, on_error: OnError::Skip, max_bad_fraction: 1.0, ..LoaderConfig::default() };
    let loader = crate::Loader::new(objects, Arc::new(Pixels), config).unwrap();
    let error = loader.epoch(0, 0).find_map(Result::err).unwrap();
    assert!(remote_error(error).reason.contains("status 503"));
    assert!(loader.bad_samples().is_empty());
}

#[test]
fn looking_at_a_source_whose_store_fails_calls_no_header_bad() {
    let (root, server, cache) = (shards(), Server::new(), TempDir::new().unwrap());
    write_indexed(&root);
    server.put_folder("data", root.path());
    let train = open(&cache, &format!("{}/data/train-{{000..001}}.tar", server.address())).unwrap();
    let splits = Splits { test: Ok(train.clone()), train };
    assert_eq!(inspect(&splits, 2).unwrap().splits[0].headers_bad, 0);
    fail(&server, &cache);
    assert!(remote_error(inspect(&splits, 2).unwrap_err()).reason.contains("status 503"));
}
