//! Any bytes as a compressed playlist: no panic, and never more than the limit.
#![no_main]

use fisga::stream::decode::{MAX, decode, head};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for coding in ["gzip", "deflate", "br", "zstd"] {
        if let Ok(all) = decode(coding, data) {
            assert!(all.len() as u64 <= MAX);
        }
        assert!(head(coding, data, 400).len() <= 400);
    }
});
