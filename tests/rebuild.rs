//! `fisga rebuild`: from a browser's cache on disk to the library.
#![allow(clippy::unwrap_used, reason = "a test's helpers are tests")]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use common::{media, sandbox::Sandbox};

/// A `_0` file of Chromium's simple cache (`net/disk_cache/simple/simple_entry_format.h`).
fn entry(cache: &Path, hash: &str, url: &str, kind: &str, body: &[u8]) -> PathBuf {
    let key = format!("1/0/_dk_https://site.example https://site.example {url}");
    let headers = format!("HTTP/1.1 200\0content-type:{kind}\0content-length:{}\0\0", body.len());
    let end = |flags: u32, size: u32| -> Vec<u8> {
        let magic = 0xf4fa_6f45_970d_41d8_u64.to_le_bytes();
        [&magic[..], &flags.to_le_bytes(), &[0; 4], &size.to_le_bytes(), &[0; 4]].concat()
    };
    let length = |text: &str| u32::try_from(text.len()).unwrap().to_le_bytes();
    let pickle = [&[0; 24][..], &length(&headers), headers.as_bytes()].concat();
    let file = [
        &0xfcfb_6d1b_a772_5c30_u64.to_le_bytes()[..],
        &5_u32.to_le_bytes(),
        &length(&key),
        &[0; 8],
        key.as_bytes(),
        body,
        &end(1, 0),
        &pickle,
        &[0; 32],
        &end(3, u32::try_from(pickle.len()).unwrap()),
    ];
    fs::create_dir_all(cache).unwrap();
    let path = cache.join(format!("{hash}_0"));
    fs::write(&path, file.concat()).unwrap();
    path
}

#[test]
fn a_cached_video_comes_into_the_library_and_stays_in_the_cache() {
    let sandbox = Sandbox::new();
    let video = fs::read(media::clip("short.mp4")).unwrap();
    let cache = sandbox.path("home/.cache/chromium/Default/Cache/Cache_Data");
    let file = entry(&cache, "0123456789abcdef", "https://cdn.example/holiday.mp4", "video/mp4", &video);
    entry(&cache, "00000000000000aa", "https://site.example/", "text/html", b"<html>nothing to keep</html>");
    let before = fs::read(&file).unwrap();

    let output = sandbox.run(&["rebuild", "home/.cache"]);
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{out}{}", String::from_utf8_lossy(&output.stderr));
    assert!(out.ends_with("1 saved, out of 2 cache entries\n"), "{out}");
    let saved = sandbox.saved();
    assert_eq!(saved.len(), 1, "{out}");
    assert_eq!(fs::read(&saved[0]).unwrap(), video);
    assert!(out.contains(&format!("saved {}\n", saved[0].display())), "{out}");
    assert_eq!(fs::read(&file).unwrap(), before);
    let history = sandbox.history();
    assert_eq!((history.len(), &history[0]["outcome"]), (1, &"saved".into()));
}

#[test]
fn what_is_no_cache_is_said() {
    let sandbox = Sandbox::new();
    for (folder, line) in [
        ("tmp", "tmp: no cache entries of Chromium or Firefox are here or below"),
        ("nowhere", "nowhere: No such file or directory (os error 2)"),
    ] {
        let output = sandbox.run(&["rebuild", folder]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8_lossy(&output.stderr), format!("fisga: {line}\n"));
    }
}
