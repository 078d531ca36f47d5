//! PNG files of many kinds, whole and against the rules, against what Pillow makes of them.

mod packed;

use std::collections::BTreeMap;

use clsa_data::{Limits, dimensions};
use packed::fixtures;

#[test]
fn pngs_of_many_kinds_decode_to_pillow_bytes_or_are_refused_for_damaged_data() {
    let mut refused = BTreeMap::<_, Vec<_>>::new();
    let mut damaged = 0;
    let fixtures = fixtures("pngs.bin");
    for (index, fixture) in fixtures.iter().enumerate() {
        let name = format!("{} {index}", fixture.kind);
        match fixture.check(&name) {
            Ok(()) => assert_eq!(dimensions(&fixture.bytes, &name, &Limits::default()).unwrap(), fixture.size),
            Err(error) if fixture.kind == "damaged" && error.to_string().contains("corrupt data") => damaged += 1,
            Err(error) => refused.entry(&fixture.kind).or_default().push(error.to_string()),
        }
    }
    assert!(damaged < 5, "{damaged}");
    assert!(fixtures.len() > 200 && refused.is_empty(), "{refused:?}");
}
