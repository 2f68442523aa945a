#![no_main]

#[path = "../bodies/storage_names.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
