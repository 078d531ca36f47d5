//! The folder of what is kept.

use super::*;
use crate::SampleError;
use crate::remote::cache::Cache;
use crate::remote::object::BLOCK;

/// The bytes of all files below a folder.
fn bytes_below(folder: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        bytes += if metadata.is_dir() { bytes_below(&entry.path()) } else { metadata.len() };
    }
    bytes
}

#[test]
fn the_cache_stays_within_its_bound_and_all_is_read_nevertheless() {
    let (server, cache) = (Server::new(), TempDir::new().unwrap());
    let bytes = noise(&server, "a.bin", 7 * BLOCK as usize);
    let small = || {
        let settings = Settings { cache_bytes: 3 * BLOCK, ..settings(cache.path()) };
        Opener::with(Stores::with(settings)).open(format!("{}/a.bin", server.address()).as_ref()).unwrap()
    };
    // Two of one machine share it.
    let objects = [small(), small()];
    std::thread::scope(|scope| {
        for object in &objects {
            scope.spawn(|| assert!(content(object).unwrap() == bytes));
        }
    });
    assert!(bytes_below(cache.path()) <= 4 * BLOCK, "{}", bytes_below(cache.path()));
}

#[test]
fn what_was_not_used_for_the_longest_time_is_removed_first() {
    let folder = TempDir::new().unwrap();
    let cache = Cache::open(folder.path(), 1000).unwrap();
    let entries = ["a", "b", "c"].map(|name| cache.entry(name));
    for (number, entry) in entries.iter().enumerate() {
        cache.write(entry, "0", &[0; 300]).unwrap();
        let time = std::time::SystemTime::now() - Duration::from_secs(1000 - 100 * number as u64);
        std::fs::File::options().write(true).open(entry.join("0")).unwrap().set_modified(time).unwrap();
    }
    assert!(cache.open_file(&entries[0], "0", 300).unwrap().is_some());
    // What lost its content with the power of the machine is none of it.
    assert!(cache.open_file(&entries[0], "0", 301).unwrap().is_none());
    cache.write(&cache.entry("d"), "0", &[0; 300]).unwrap();
    let is_there = entries.each_ref().map(|entry| entry.exists());
    assert_eq!(is_there, [true, false, true]);
    assert!(bytes_below(folder.path()) <= 1000);
}

#[test]
fn what_cannot_be_removed_stays_and_others_go_in_its_place() {
    let folder = TempDir::new().unwrap();
    let cache = Cache::open(folder.path(), 100_000).unwrap();
    let [oldest, others @ ..] = ["a", "b", "c", "d"].map(|name| cache.entry(name));
    // A folder cannot be removed as a file is, whoever removes it.
    std::fs::create_dir_all(oldest.join("0")).unwrap();
    for (number, entry) in others.iter().enumerate() {
        cache.write(entry, "0", &[0; 30_000]).unwrap();
        let time = std::time::SystemTime::now() + Duration::from_secs(100 + number as u64);
        std::fs::File::options().write(true).open(entry.join("0")).unwrap().set_modified(time).unwrap();
    }
    cache.write(&cache.entry("e"), "0", &[0; 30_000]).unwrap();
    assert!(oldest.exists() && !others[0].exists() && others[2].exists());
    // Where not enough can be removed, it is told.
    Cache::open(folder.path(), 0).unwrap().write(&cache.entry("f"), "0", &[0; 10]).unwrap_err();
}

#[test]
fn what_a_killed_process_has_left_is_removed() {
    let folder = TempDir::new().unwrap();
    let cache = Cache::open(folder.path(), 1000).unwrap();
    let entry = cache.entry("a");
    cache.write(&entry, "0", &[0; 10]).unwrap();
    std::fs::write(entry.join(".clsa-writing-a1b2c3"), [0; 10]).unwrap();
    Cache::open(folder.path(), 1000).unwrap().write(&entry, "1", &[0; 10]).unwrap();
    assert_eq!(bytes_below(folder.path()), 20);
}

#[test]
fn a_cache_that_is_removed_while_it_is_used_is_made_anew() {
    let folder = TempDir::new().unwrap();
    let cache = Cache::open(folder.path(), 1000).unwrap();
    std::fs::remove_dir_all(folder.path().join("objects")).unwrap();
    let entry = cache.entry("a");
    cache.write(&entry, "0", &[7; 10]).unwrap();
    assert_eq!(cache.read(&entry, "0").unwrap(), Some(vec![7; 10]));
}

#[test]
fn another_version_of_an_object_has_parts_of_its_own() {
    let (server, cache) = (Server::new(), TempDir::new().unwrap());
    for round in 0..3 {
        server.put("a.bin", [round; 100]);
        let object = open_object(&cache, &server);
        assert_eq!(content(&object).unwrap(), [round; 100]);
    }
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let error = Cache::open(&folder.path().join("file"), 1000).err().unwrap().to_string();
    assert!(error.contains("/file/objects: "), "{error}");
}

/// The file of the first block of the object that is kept.
fn first_block(cache: &TempDir) -> std::path::PathBuf {
    let objects = cache.path().join("objects");
    std::fs::read_dir(objects).unwrap().next().unwrap().unwrap().path().join("00000000")
}

#[test]
fn what_cannot_be_read_of_the_cache_is_fetched_again() {
    let (server, cache) = (Server::new(), TempDir::new().unwrap());
    let bytes = noise(&server, "a.bin", 100_000);
    let object = open_object(&cache, &server);
    assert!(content(&object).unwrap() == bytes);
    let block = first_block(&cache);
    // A short read: the block loses its end while it is open.
    let mut reader = object.reader().unwrap();
    let mut first = [0; 10];
    reader.read_exact(&mut first).unwrap();
    std::fs::File::options().write(true).open(&block).unwrap().set_len(5).unwrap();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!([&first[..], &rest].concat() == bytes && object.failure().is_none());
    assert_eq!(std::fs::metadata(&block).unwrap().len(), 100_000, "it is whole again");
    // An error when it is opened: a link to itself.
    std::fs::remove_file(&block).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&block, &block).unwrap();
    server.asked();
    for _ in 0..2 {
        assert!(content(&object).unwrap() == bytes && object.failure().is_none());
    }
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_cache_that_can_be_neither_read_nor_written_is_named_and_no_image_is_called_bad() {
    let (root, server, cache) = (shards(), Server::new(), TempDir::new().unwrap());
    server.put_folder("data", root.path());
    let objects = open(&cache, &format!("{}/data/train-{{000..001}}.tar", server.address())).unwrap();
    for entry in std::fs::read_dir(cache.path().join("objects")).unwrap() {
        let entry = entry.unwrap().path();
        std::fs::remove_dir_all(&entry).unwrap();
        std::fs::write(&entry, "a file in the place of a folder").unwrap();
    }
    let error = match objects.image(0) {
        Err(SampleError::Remote(error)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let folder = cache.path().join("objects").display().to_string();
    assert!(error.contains("cannot be kept in ") && error.contains(&folder) && error.contains("CLSA_CACHE"), "{error}");
}
