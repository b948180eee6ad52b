#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = corewire_fuzz::packet(bytes);
});
