//! PNG files of many kinds, whole and against the rules, against what Pillow makes of them.

mod packed;

use std::collections::BTreeMap;

use clsa_data::{Limits, decode, dimensions};
use packed::{Packed, fixtures};

#[test]
fn pngs_of_many_kinds_decode_to_pillow_bytes_or_are_refused_for_damaged_data() {
    let mut refused = BTreeMap::<_, Vec<_>>::new();
    let mut damaged = 0;
    let fixtures = fixtures("pngs.bin");
    for (index, Packed { kind, bytes, size, crc }) in fixtures.iter().enumerate() {
        let name = format!("{kind} {index}");
        match decode(bytes, &name, &Limits::default()) {
            Ok(image) => {
                assert_eq!(image.dimensions(), *size, "{name}");
                assert_eq!(crc32fast::hash(image.as_raw()), *crc, "{name}");
                assert_eq!(dimensions(bytes, &name, &Limits::default()).unwrap(), *size);
            }
            Err(error) if kind == "damaged" && error.to_string().contains("corrupt data") => damaged += 1,
            Err(error) => refused.entry(kind).or_default().push(error.to_string()),
        }
    }
    assert!(damaged < 5, "{damaged}");
    assert!(fixtures.len() > 200 && refused.is_empty(), "{refused:?}");
}
