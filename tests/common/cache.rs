//! Entries of a browser's disk cache, as the browser writes them.
#![allow(unreachable_pub, reason = "part of tests and of a benchmark")]

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Writes a `_0` file of Chromium's simple cache (`net/disk_cache/simple/simple_entry_format.h`): an answer with
/// status 200. `number` makes its name.
pub fn entry(cache: &Path, number: u64, url: &str, kind: &str, body: &[u8]) -> io::Result<PathBuf> {
    let key = format!("1/0/_dk_https://site.example https://site.example {url}");
    let headers = format!("HTTP/1.1 200\0content-type:{kind}\0content-length:{}\0\0", body.len());
    let end = |flags: u32, size: u32| -> Vec<u8> {
        let magic = 0xf4fa_6f45_970d_41d8_u64.to_le_bytes();
        [&magic[..], &flags.to_le_bytes(), &[0; 4], &size.to_le_bytes(), &[0; 4]].concat()
    };
    let length = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    let pickle = [&[0; 24][..], &length(headers.len()).to_le_bytes(), headers.as_bytes()].concat();
    let file = [
        &0xfcfb_6d1b_a772_5c30_u64.to_le_bytes()[..],
        &5_u32.to_le_bytes(),
        &length(key.len()).to_le_bytes(),
        &[0; 8],
        key.as_bytes(),
        body,
        &end(1, 0),
        &pickle,
        &[0; 32],
        &end(3, length(pickle.len())),
    ];
    fs::create_dir_all(cache)?;
    let path = cache.join(format!("{number:016x}_0"));
    fs::write(&path, file.concat())?;
    Ok(path)
}
