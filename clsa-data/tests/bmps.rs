//! BMP files of many kinds, in the plain form and in others, against what Pillow makes of them.

mod packed;

use clsa_data::{Limits, dimensions};
use packed::fixtures;

#[test]
fn bmps_of_many_kinds_decode_to_pillow_bytes() {
    let fixtures = fixtures("bmps.bin");
    assert!(fixtures.len() > 150);
    for (index, fixture) in fixtures.iter().enumerate() {
        let name = format!("{} {index}", fixture.kind);
        fixture.check(&name).unwrap();
        assert_eq!(dimensions(&fixture.bytes, &name, &Limits::default()).unwrap(), fixture.size);
    }
}
