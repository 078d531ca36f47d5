//! The folder of what is kept.

use super::*;
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
        std::fs::File::open(entry.join("0")).unwrap().set_modified(time).unwrap();
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
fn what_a_killed_process_has_left_is_removed() {
    let folder = TempDir::new().unwrap();
    let cache = Cache::open(folder.path(), 1000).unwrap();
    let entry = cache.entry("a");
    cache.write(&entry, "0", &[0; 10]).unwrap();
    std::fs::write(entry.join(".writing-a1b2c3"), [0; 10]).unwrap();
    Cache::open(folder.path(), 1000).unwrap().write(&entry, "1", &[0; 10]).unwrap();
    assert_eq!(bytes_below(folder.path()), 20);
}

#[test]
fn another_version_of_an_object_has_parts_of_its_own() {
    let (server, cache) = (Server::new(), TempDir::new().unwrap());
    for round in 0..3 {
        server.put("a.bin", [round; 100]);
        let object = opener(&cache).open(format!("{}/a.bin", server.address()).as_ref()).unwrap();
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
