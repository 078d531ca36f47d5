//! Fuzzes the parser `list`.
#![no_main]

libfuzzer_sys::fuzz_target!(init: clsa_fuzz::abort_on_panics(), |data: &[u8]| clsa_fuzz::parser("list").check(data));
