//! Fuzzes the parser that the environment names.
#![no_main]

libfuzzer_sys::fuzz_target!(init: clsa_fuzz::abort_on_panics(), |data: &[u8]| clsa_fuzz::named_parser().check(data));
