//! Entries of a browser's disk cache, as the browser writes them.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test and benchmark uses its part of it"
)]

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Writes a `_0` file of Chromium's simple cache (`net/disk_cache/simple/simple_entry_format.h`):
/// an answer with status 200. `number` makes its name.
pub fn entry(cache: &Path, number: u64, url: &str, kind: &str, body: &[u8]) -> io::Result<PathBuf> {
    entry_with(cache, number, url, kind, &[], body)
}

/// The same with more header lines.
pub fn entry_with(
    cache: &Path,
    number: u64,
    url: &str,
    kind: &str,
    more: &[&str],
    body: &[u8],
) -> io::Result<PathBuf> {
    let more: String = more.iter().map(|line| format!("{line}\0")).collect();
    let headers = format!(
        "HTTP/1.1 200\0content-type:{kind}\0content-length:{}\0{more}\0",
        body.len()
    );
    answer(cache, number, url, &headers, body)
}

/// Writes the `_0` file of an answer that came in ranges: headers only.
pub fn stub(cache: &Path, number: u64, url: &str, total: usize) -> io::Result<PathBuf> {
    let headers = format!(
        "HTTP/1.1 206\0content-type:video/mp4\0etag:\"x\"\0content-range:bytes 0-1/{total}\0\0"
    );
    answer(cache, number, url, &headers, b"")
}

/// Writes a `_s` file: ranges of an answer by their offset. A file that is there is emptied and
/// written anew.
pub fn ranges(
    cache: &Path,
    number: u64,
    url: &str,
    ranges: &[(u64, &[u8])],
) -> io::Result<PathBuf> {
    let mut file = head(&key(url));
    for (offset, bytes) in ranges {
        file.extend(0xeb97_bf01_6553_676b_u64.to_le_bytes());
        file.extend(offset.to_le_bytes());
        file.extend((bytes.len() as u64).to_le_bytes());
        file.extend([0; 8]);
        file.extend(*bytes);
    }
    let path = cache.join(format!("{number:016x}_s"));
    fs::write(&path, file)?;
    Ok(path)
}

fn key(url: &str) -> String {
    format!("1/0/_dk_https://site.example https://site.example {url}")
}

/// What every file of an entry begins with.
fn head(key: &str) -> Vec<u8> {
    let magic = 0xfcfb_6d1b_a772_5c30_u64.to_le_bytes();
    [
        &magic[..],
        &5_u32.to_le_bytes(),
        &length(key.len()),
        &[0; 8],
        key.as_bytes(),
    ]
    .concat()
}

fn length(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes()
}

/// Writes a file of what Chromium's service workers keep (`content/browser/cache_storage`): a bare
/// address for a key, and a protocol buffer for headers.
pub fn stored(
    cache: &Path,
    number: u64,
    url: &str,
    kind: &str,
    body: &[u8],
) -> io::Result<PathBuf> {
    let field = |number: u8, bytes: &[u8]| -> Vec<u8> {
        let len = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        // One byte holds seven bits of a length.
        assert!(len < 128, "a longer field than the test needs");
        [&[number << 3 | 2, len], bytes].concat()
    };
    let header = |name: &[u8], value: &[u8]| field(4, &[field(1, name), field(2, value)].concat());
    let response = [
        vec![0x08, 0xc8, 0x01],
        header(b"cache-control", b"no-store"),
        header(b"content-type", kind.as_bytes()),
    ]
    .concat();
    let metadata = [field(1, &field(1, b"GET")), field(2, &response)].concat();
    let path = cache.join(format!("{number:016x}_0"));
    fs::write(&path, whole(url, &metadata, body))?;
    Ok(path)
}

fn answer(cache: &Path, number: u64, url: &str, headers: &str, body: &[u8]) -> io::Result<PathBuf> {
    let pickle = [&[0; 24][..], &length(headers.len()), headers.as_bytes()].concat();
    let key = key(url);
    fs::create_dir_all(cache)?;
    let path = cache.join(format!("{number:016x}_0"));
    fs::write(&path, whole(&key, &pickle, body))?;
    Ok(path)
}

/// A `_0` file.
fn whole(key: &str, stream0: &[u8], body: &[u8]) -> Vec<u8> {
    let end = |flags: u32, size: [u8; 4]| -> Vec<u8> {
        let magic = 0xf4fa_6f45_970d_41d8_u64.to_le_bytes();
        [&magic[..], &flags.to_le_bytes(), &[0; 4], &size, &[0; 4]].concat()
    };
    [
        head(key),
        body.into(),
        end(1, [0; 4]),
        stream0.into(),
        vec![0; 32],
        end(3, length(stream0.len())),
    ]
    .concat()
}
