//! JPEG files of many kinds, whole and damaged, against what Pillow makes of them.

mod packed;

use std::collections::BTreeMap;

use clsa_data::{Limits, decode, dimensions};
use packed::{Packed, fixtures};

#[test]
fn jpegs_of_many_kinds_decode_to_pillow_bytes_or_are_refused_for_codes_that_make_no_sense() {
    let mut refused = BTreeMap::<_, usize>::new();
    let fixtures = fixtures("jpegs.bin");
    for (index, fixture) in fixtures.iter().enumerate() {
        let name = format!("{} {index}", fixture.kind);
        if fixture.kind.ends_with("refused") {
            assert!(decode(&fixture.bytes, &name, &Limits::default()).is_err(), "{name}");
            continue;
        }
        if let Err(error) = fixture.check(&name) {
            assert!(error.to_string().contains("corrupt data"), "{error}");
            *refused.entry(&fixture.kind).or_default() += 1;
        }
        assert_eq!(dimensions(&fixture.bytes, &name, &Limits::default()).unwrap(), fixture.size);
    }
    assert!(fixtures.len() > 200 && refused.values().sum::<usize>() < fixtures.len() / 10, "{refused:?}");
    let whole = ["whole", "CMYK", "restarts", "wide quantizers", "other colors", "several scans", "no Huffman tables"];
    let arithmetic = ["arithmetic", "arithmetic CMYK", "arithmetic restarts", "arithmetic of other sampling"];
    let of_several_scans = ["arithmetic progressive", "arithmetic of several scans"];
    for kind in whole.iter().chain(&arithmetic).chain(&of_several_scans) {
        assert!(fixtures.iter().any(|fixture| fixture.kind == *kind), "there is none of the kind {kind}");
        assert!(!refused.contains_key(&kind.to_string()), "{refused:?}");
    }
}

#[test]
fn a_jpeg_that_is_cut_anywhere_is_refused_or_gives_its_size() {
    for Packed { bytes, size, .. } in fixtures("jpegs.bin").iter().step_by(7) {
        for end in (0..bytes.len()).step_by(3) {
            if let Ok(image) = decode(&bytes[..end], "cut", &Limits::default())
                && *size != (0, 0)
            {
                assert_eq!(image.dimensions(), *size);
            }
        }
    }
}
