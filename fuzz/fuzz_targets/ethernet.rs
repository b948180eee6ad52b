#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corewire_fuzz::ethernet(bytes));
