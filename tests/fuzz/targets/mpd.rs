#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fisga_fuzz::run("mpd", bytes));
