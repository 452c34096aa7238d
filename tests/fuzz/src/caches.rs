//! Entries of the browsers' caches.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use fisga::{
    rule::Source,
    stream::{
        self, Storage,
        collect::{Collector, HeldEntry, Limits, Outcome},
        decode::{MAX, head},
    },
};

/// Any bytes as a file of Chromium's cache: nothing outside the file.
pub(crate) fn chromium(data: &[u8]) {
    if let Ok(entry) = stream::cache::chromium::answer(data) {
        assert!(entry.body.start <= entry.body.end && entry.body.end <= data.len() as u64);
        let _ = entry.piece(&Storage::Bytes(data.into()));
    }
    if let Ok(sparse) = stream::cache::chromium::sparse(data) {
        assert!(
            sparse
                .ranges
                .iter()
                .all(|r| r.at + r.len <= data.len() as u64)
        );
    }
}

/// Any bytes as an entry of Firefox's cache: nothing outside the file.
pub(crate) fn firefox(data: &[u8]) {
    if let Ok(entry) = stream::cache::firefox::answer(data) {
        assert!(entry.body.end <= data.len() as u64);
        let _ = entry.piece(&Storage::Bytes(data.into()));
    }
}

/// Any bytes as a compressed playlist: never more than the limit.
pub(crate) fn decode(data: &[u8]) {
    for coding in ["gzip", "deflate", "br", "zstd"] {
        if let Ok(all) = stream::decode::decode(coding, data) {
            assert!(all.len() as u64 <= MAX);
        }
        assert!(head(coding, data, 400).len() <= 400);
    }
}

/// Any bytes as entries of a cache, all the way to the plan of a video.
///
/// The input is cut at each 0xff byte: the first byte of a part is a status and a coding, up to the
/// next newline the address, the rest is the body.
pub(crate) fn collect(data: &[u8]) {
    let mut collector = Collector::new(Limits {
        min_size: 0,
        min_duration: Duration::ZERO,
    });
    let now = Instant::now();
    for (id, part) in data.split(|b| *b == 0xff).enumerate().take(64) {
        let Some((kind, part)) = part.split_first() else {
            continue;
        };
        let cut = part.iter().position(|b| *b == b'\n').unwrap_or(part.len());
        let (url, body) = (String::from_utf8_lossy(&part[..cut]), &part[cut..]);
        let body = body.strip_prefix(b"\n").unwrap_or(body);
        let coding = ["", "gzip", "br", "zstd"][usize::from(kind & 3)];
        let file = entry(&format!(":http://a/{url}"), coding, body);
        let source = Path::new("/c/0123456789ABCDEF0123456789ABCDEF01234567");
        let storage = Storage::Bytes(file.into());
        collector.entry(
            &HeldEntry {
                id: id as u64,
                source,
                format: Source::Firefox,
                storage,
                spool: None,
            },
            now,
        );
    }
    for outcome in collector.finish(now) {
        if let Outcome::Video(video) = outcome {
            let _ = video.plan().map(|planned| planned.remarks(&video));
        }
    }
}

/// An entry as Firefox writes it.
fn entry(key: &str, coding: &str, body: &[u8]) -> Vec<u8> {
    let mut file = body.to_vec();
    file.extend(vec![7; 4 + 2 * body.len().div_ceil(256 << 10)]);
    for field in [3, 1, 2, 3, 4, 5, key.len() as u32, 0] {
        file.extend(u32::to_be_bytes(field));
    }
    file.extend(key.as_bytes());
    file.push(0);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\n");
    file.extend([b"response-head\0", head.as_bytes(), b"\0"].concat());
    file.extend(u32::to_be_bytes(body.len() as u32));
    file
}
