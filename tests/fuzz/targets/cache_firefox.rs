//! Any bytes as an entry of Firefox's cache: no panic, and nothing outside the file.
#![no_main]

use fisga::stream::{Grip, firefox};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(entry) = firefox::answer(data) {
        assert!(entry.body.end <= data.len() as u64);
        let _ = entry.piece(&Grip::Bytes(data.into()));
    }
});
