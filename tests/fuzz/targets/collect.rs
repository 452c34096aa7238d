//! Any bytes as entries of a cache, all the way to the plan of a video.
//!
//! The input is cut at each 0xff byte: the first byte of a part is a status and a coding, up to the next newline the
//! address, the rest is the body.
#![no_main]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use fisga::{
    rule::Source,
    stream::{
        Grip,
        collect::{Collector, Held, Limits, Outcome},
    },
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut collector = Collector::new(Limits { min_size: 0, min_duration: Duration::ZERO });
    let now = Instant::now();
    for (id, part) in data.split(|b| *b == 0xff).enumerate().take(64) {
        let Some((kind, part)) = part.split_first() else { continue };
        let cut = part.iter().position(|b| *b == b'\n').unwrap_or(part.len());
        let (url, body) = (String::from_utf8_lossy(&part[..cut]), &part[cut..]);
        let body = body.strip_prefix(b"\n").unwrap_or(body);
        let coding = ["", "gzip", "br", "zstd"][usize::from(kind & 3)];
        let file = entry(&format!(":http://a/{url}"), coding, body);
        let source = Path::new("/c/0123456789ABCDEF0123456789ABCDEF01234567");
        let grip = Grip::Bytes(file.into());
        collector.entry(&Held { id: id as u64, source, format: Source::Firefox, grip, spool: None }, now);
    }
    for outcome in collector.finish(now) {
        if let Outcome::Video(video) = outcome {
            let _ = video.making().map(|making| making.remarks(&video));
        }
    }
});

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
