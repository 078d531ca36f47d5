//! What comes of objects is what comes of files.

use std::io::{Seek, SeekFrom};

use super::*;
use crate::remote::object::BLOCK;
use crate::shard_index::write_indexes;
use crate::{Loader, LoaderConfig, RemoteFault};

#[test]
fn shards_of_a_server_are_those_of_files_with_and_without_an_index() {
    let root = shards();
    let files = local(format!("wds:{}/train-{{000..001}}.tar", root.path().display()));
    for indexed in [false, true] {
        if indexed {
            write_indexed(&root);
        }
        let (server, cache) = (Server::new(), TempDir::new().unwrap());
        server.put_folder("data/a b", root.path());
        let pattern = format!("{}/data/a%20b/train-{{000..001}}.tar", server.address());
        let objects = open(&cache, &pattern).unwrap();
        assert_eq!(samples(&*objects), samples(&*files));
        assert_eq!((objects.class_names(), objects.shards()), (files.class_names(), files.shards()));
        assert!(objects.name(0).ends_with("/data/a%20b/train-000.tar/0000.png"), "{}", objects.name(0));
        // What was read once is on this machine.
        server.asked();
        assert_eq!(samples(&*open(&cache, &pattern).unwrap()), samples(&*files));
        let asked = server.asked();
        assert!(asked.iter().all(|asked| asked.method == "HEAD"), "{asked:?}");
    }
}

#[test]
fn the_words_of_a_pattern_state_the_split() {
    let (root, server, cache) = (shards(), Server::new(), TempDir::new().unwrap());
    server.put_folder("data", root.path());
    let len = |pattern: &str, split| {
        let pattern = format!("{}/data/{pattern}", server.address());
        wds::open(&opener(&cache), &pattern, split, Limits::default()).map(|dataset| dataset.len())
    };
    assert_eq!(len("{split}-000.tar", Split::Train).unwrap(), 8);
    assert_eq!(len("{split}-000.tar", Split::Test).unwrap(), 8);
    assert_eq!(len("{train-000,train-001,val-000}.tar", Split::Train).unwrap(), 16);
    assert!(matches!(len("train-000.tar", Split::Test), Err(DataError::NoSplit(_))));
}

/// A thread may look at the cache just before another has fetched the block and is done.
#[test]
fn a_block_that_has_come_since_the_cache_was_looked_at_is_not_fetched_again() {
    let (server, cache) = (Server::new(), TempDir::new().unwrap());
    let bytes = noise(&server, "a.bin", 1000);
    let object = Stores::with(settings(cache.path())).open(&format!("{}/a.bin", server.address())).unwrap();
    assert!(object.fetch(0).unwrap() == bytes);
    server.asked();
    assert!(object.fetch(0).unwrap() == bytes);
    assert!(server.asked().is_empty());
}

#[test]
fn an_object_is_read_at_any_place_and_each_block_is_fetched_once() {
    let (server, cache) = (Server::new(), TempDir::new().unwrap());
    let bytes = noise(&server, "a.bin", 2 * BLOCK as usize + 12345);
    let object = open_object(&cache, &server);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| assert!(content(&object).unwrap() == bytes));
        }
    });
    let parts: Vec<_> = server.asked().into_iter().filter_map(|asked| asked.range).collect();
    assert_eq!(parts.len(), 3, "{parts:?}");
    let mut reader = object.reader().unwrap();
    for place in [0, 5, BLOCK - 3, BLOCK, 2 * BLOCK + 12340, 2 * BLOCK - 1] {
        reader.seek(SeekFrom::Start(place)).unwrap();
        let mut part = [0; 5];
        reader.read_exact(&mut part).unwrap();
        assert_eq!(part[..], bytes[place as usize..][..5]);
    }
    assert_eq!(reader.seek(SeekFrom::End(-1)).unwrap(), 2 * BLOCK + 12344);
    assert_eq!(reader.read(&mut [0; 9]).unwrap(), 1);
    assert_eq!(reader.read(&mut [0; 9]).unwrap(), 0);
    assert!(reader.read_exact(&mut [0; 1]).is_err());
}

/// The batches of two epochs.
fn batches(
    dataset: Arc<dyn Dataset>,
    threads: usize,
    shuffle_buffer: Option<usize>,
) -> Vec<(Vec<usize>, Vec<Vec<u8>>)> {
    let config = LoaderConfig { batch_size: 5, seed: 7, threads, shuffle_buffer, ..LoaderConfig::default() };
    let loader = Loader::new(dataset, Arc::new(Pixels), config).unwrap();
    let epoch = |epoch| {
        let batches = loader.epoch(epoch, 0).map(|batch| batch.unwrap());
        batches.map(|batch| (batch.samples.clone(), batch.to_vec())).collect::<Vec<_>>()
    };
    [epoch(0), epoch(1)].concat()
}

#[test]
fn a_loader_gives_the_batches_of_files_whatever_the_server_does_between() {
    let (root, server) = (shards(), Server::new());
    server.put_folder("data", root.path());
    let files = local(format!("wds:{}/train-{{000..001}}.tar", root.path().display()));
    let mut number = 0;
    server.plan(move |asked| {
        number += 1;
        let is_odd = asked.method == "GET" && number % 2 == 1;
        if is_odd { [Answer::Cut, Answer::Status(500), Answer::Short][number / 2 % 3] } else { Answer::Right }
    });
    for (threads, shuffle_buffer) in [(1, None), (4, Some(6))] {
        let cache = TempDir::new().unwrap();
        let objects = open(&cache, &format!("{}/data/train-{{000..001}}.tar", server.address())).unwrap();
        let expected = batches(files.clone(), 2, shuffle_buffer);
        assert_eq!(expected.len(), 6);
        assert!(batches(objects, threads, shuffle_buffer) == expected);
    }
}

#[test]
fn a_thread_of_an_executor_may_read() {
    let (server, cache) = (Server::new(), TempDir::new().unwrap());
    let bytes = noise(&server, "a.bin", 1000);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let read = runtime.block_on(async { content(&open_object(&cache, &server)).unwrap() });
    assert_eq!(read, bytes);
}

#[test]
fn a_pattern_that_needs_a_list_is_refused_over_http() {
    let (server, cache) = (Server::new(), TempDir::new().unwrap());
    for pattern in ["data/train-*.tar", "data/"] {
        let error = open(&cache, &format!("{}/{pattern}", server.address())).err().unwrap();
        let text = error.to_string();
        assert!(error.is_request() && text.contains("name them by braces, as in train-{000..127}.tar"), "{text}");
    }
    assert_eq!(server.asked().len(), 0);
}

#[test]
fn an_index_of_another_shard_of_the_same_size_is_not_used() {
    let (root, server, cache) = (shards(), Server::new(), TempDir::new().unwrap());
    write_indexed(&root);
    server.put_folder("data", root.path());
    let shard = std::fs::read(root.path().join("val-000.tar")).unwrap();
    assert_eq!(shard.len(), std::fs::read(root.path().join("train-000.tar")).unwrap().len());
    server.put("data/train-000.tar", shard);
    let objects = open(&cache, &format!("{}/data/train-000.tar", server.address())).unwrap();
    assert!(objects.name(0).ends_with("/0016.png") && objects.image(0).is_ok());
    assert!(objects.notes()[0].starts_with("shards whose index is not used"), "{:?}", objects.notes());
}

#[test]
fn an_index_is_not_written_to_another_machine() {
    let error = write_indexes("https://localhost/train-{000..001}.tar", &|_, _| ()).unwrap_err();
    let text = error.to_string();
    assert!(error.is_request() && text.ends_with("on this machine alone; make it there, and copy both"), "{text}");
}

#[test]
fn what_is_not_there_or_may_not_be_read_is_named() {
    let (server, cache) = (Server::new(), TempDir::new().unwrap());
    let address = format!("{}/data/train-000.tar", server.address());
    for (answer, fault, words) in [
        (Answer::Right, RemoteFault::Missing, "is not there"),
        (Answer::Status(403), RemoteFault::Forbidden, "may not be read; check the credentials in the environment"),
        (Answer::Status(401), RemoteFault::Forbidden, "may not be read"),
    ] {
        server.plan(move |_| answer);
        let error = remote_error(open(&cache, &address).err().unwrap());
        assert_eq!((error.fault, error.is_request()), (fault, true));
        let text = error.to_string();
        assert!(text.starts_with(&format!("{address}: ")) && text.contains(words), "{text}");
    }
}
