#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fisga_fuzz::judge(b"\xff\xf1", bytes));
