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
    let headers = format!(
        "HTTP/1.1 200\0content-type:{kind}\0content-length:{}\0\0",
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
    let mut file = head(url);
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

/// What every file of an entry begins with.
fn head(url: &str) -> Vec<u8> {
    let key = format!("1/0/_dk_https://site.example https://site.example {url}");
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

fn answer(cache: &Path, number: u64, url: &str, headers: &str, body: &[u8]) -> io::Result<PathBuf> {
    let end = |flags: u32, size: [u8; 4]| -> Vec<u8> {
        let magic = 0xf4fa_6f45_970d_41d8_u64.to_le_bytes();
        [&magic[..], &flags.to_le_bytes(), &[0; 4], &size, &[0; 4]].concat()
    };
    let pickle = [&[0; 24][..], &length(headers.len()), headers.as_bytes()].concat();
    let file = [
        head(url),
        body.into(),
        end(1, [0; 4]),
        pickle.clone(),
        vec![0; 32],
        end(3, length(pickle.len())),
    ];
    fs::create_dir_all(cache)?;
    let path = cache.join(format!("{number:016x}_0"));
    fs::write(&path, file.concat())?;
    Ok(path)
}
