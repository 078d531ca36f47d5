#![no_main]

#[path = "../src/targets.rs"]
#[allow(dead_code, reason = "each target runs one of them")]
mod targets;

// The fuzzer's own hook ends the process at every panic, also at those of the decoders, which `decode` turns into errors.
// Without it, a panic that leaves `decode` still ends the process.
libfuzzer_sys::fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |data: &[u8]| targets::image(data));
