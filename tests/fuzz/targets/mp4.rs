#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fisga_fuzz::judge(b"\0\0\0", bytes));
