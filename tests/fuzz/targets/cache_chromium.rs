//! Any bytes as a file of Chromium's cache: no panic, and nothing outside the file.
#![no_main]

use fisga::stream::{Grip, chromium};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(entry) = chromium::answer(data) {
        assert!(entry.body.start <= entry.body.end && entry.body.end <= data.len() as u64);
        let _ = entry.piece(&Grip::Bytes(data.into()));
    }
    if let Ok(sparse) = chromium::sparse(data) {
        assert!(sparse.ranges.iter().all(|r| r.at + r.len <= data.len() as u64));
    }
});
