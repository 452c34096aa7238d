//! Firefox's disk cache: files of cache2.
//!
//! `cache2/entries/<SHA-1 of the key>` holds one answer. Big-endian, from Gecko's
//! `netwerk/cache2/CacheFileMetadata.cpp` and `CacheFileUtils.cpp`:
//!
//! ```text
//! body | u32 hash | u16 for each 256 KiB of the body
//! u32 × 8: version, fetch count, last fetched, last modified, frecency, expiration, key length, flags
//! key NUL | (name NUL value NUL)… | u32 length of the body
//! ```
//!
//! The key is a list of tags that end in commas, then `:` and the address; `O` and the origin
//! attributes say who may see the answer. The headers are the value of `response-head`.
//!
//! Entries that a cache refuses, because it is full of this session's entries, can't be saved: with
//! 20 MB and three videos of 13 MB (Firefox ESR 153 under strace), the second and third one's
//! entries were moved to `doomed/` 6 to 58 ms after they were made, with 0 to 768 KiB of their 2 MB
//! written, and nothing was written to them any more; most were never made, since nothing is at 105
//! % of the limit (`mCacheSizeOnHardLimit`, `CacheFileIOManager.h`).

use std::path::Path;

use super::entry::{CacheEntry, Headers, MAX_HEAD, MAX_KEY, Malformed, read, read_vec};
use crate::content::Content;

/// Bytes of body that one hash covers.
const CHUNK: u64 = 256 << 10;
const FIELDS: usize = 32;
/// Metadata versions whose fields are these eight.
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=9;

/// Whether a file of `cache2/entries` is an entry by its name: 40 upper-case hex digits.
pub fn is_entry(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|n| n.to_str())
        .unwrap_or_default();
    name.len() == 40 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'))
}

/// Reads the tail of an entry.
///
/// # Errors
/// What is wrong with it; a file that is still being written is `Unfinished`.
pub fn answer(content: &(impl Content + ?Sized)) -> Result<CacheEntry, Malformed> {
    let len = content.len();
    let last = len.checked_sub(4).ok_or(Malformed::Unfinished)?;
    let size = u64::from(u32::from_be_bytes(read(content, last)?));
    // While the body is being written, the file's last four bytes are not yet a length.
    let hashes = 4 + 2 * size.div_ceil(CHUNK);
    let fields = size
        .checked_add(hashes)
        .filter(|at| at + FIELDS as u64 <= last)
        .ok_or(Malformed::Unfinished)?;
    let head: [u8; FIELDS] = read(content, fields)?;
    let field = |n: usize| {
        u32::from_be_bytes([
            head[4 * n],
            head[4 * n + 1],
            head[4 * n + 2],
            head[4 * n + 3],
        ])
    };
    let (version, key_len) = (field(0), field(6));
    if !VERSIONS.contains(&version) {
        return Err(Malformed::Unfinished);
    }
    if key_len > MAX_KEY {
        return Err(Malformed::Damaged("key too long"));
    }
    let rest = fields + FIELDS as u64;
    let meta = last - rest;
    if meta > u64::from(MAX_KEY + MAX_HEAD) {
        return Err(Malformed::Damaged("headers too long"));
    }
    let meta = read_vec(content, rest, meta as usize)?;
    let (key, elements) = meta
        .split_at_checked(key_len as usize)
        .ok_or(Malformed::Damaged("key cut short"))?;
    let elements = elements
        .strip_prefix(&[0])
        .ok_or(Malformed::Damaged("key without an end"))?;
    let headers = element(elements, b"response-head")
        .and_then(Headers::parse)
        .ok_or(Malformed::Damaged("no headers"))?;
    let key = String::from_utf8_lossy(key).into_owned();
    let (partition, url) = split(&key).ok_or(Malformed::Damaged("no address in the key"))?;
    Ok(CacheEntry {
        url: url.into(),
        partition,
        key,
        headers,
        body: 0..size,
        truncated: false,
    })
}

/// The value of a name in a list of NUL-ended names and values.
fn element<'a>(elements: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut parts = elements.split(|b| *b == 0);
    while let (Some(n), Some(value)) = (parts.next(), parts.next()) {
        if n == name {
            return Some(value);
        }
    }
    None
}

/// Partition and address (`CacheFileUtils::ParseKey`): a tag is a letter and a value, a comma in a
/// value is doubled.
fn split(key: &str) -> Option<(String, &str)> {
    let mut partition = String::new();
    let mut rest = key;
    loop {
        let tag = rest.chars().next()?;
        rest = &rest[tag.len_utf8()..];
        if tag == ':' {
            return Some((partition, rest));
        }
        let mut value = String::new();
        loop {
            let comma = rest.find(',')?;
            value.push_str(&rest[..comma]);
            rest = &rest[comma + 1..];
            match rest.strip_prefix(',') {
                Some(tail) => {
                    value.push(',');
                    rest = tail;
                }
                None => break,
            }
        }
        if tag == 'O' {
            partition = value;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stream::Storage;

    /// An entry as Firefox writes it.
    pub(crate) fn entry_file(key: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let mut file = body.to_vec();
        file.extend(vec![7; 4 + 2 * body.len().div_ceil(CHUNK as usize)]);
        for field in [3, 1, 2, 3, 4, 5, key.len() as u32, 0] {
            file.extend(u32::to_be_bytes(field));
        }
        file.extend(key.as_bytes());
        file.push(0);
        for (name, value) in [
            ("request-method", "GET"),
            ("response-head", &headers.replace('\n', "\r\n")),
        ] {
            file.extend([name.as_bytes(), &[0], value.as_bytes(), &[0]].concat());
        }
        file.extend(u32::to_be_bytes(body.len() as u32));
        file
    }

    const KEY: &str =
        "O^partitionKey=%28https%2Cexample.com%29,a,~FETCH,:https://cdn.example/a,b.ts?t=1";

    #[test]
    fn keys() {
        let table = [
            (
                KEY,
                Some((
                    "^partitionKey=%28https%2Cexample.com%29",
                    "https://cdn.example/a,b.ts?t=1",
                )),
            ),
            (":http://a/", Some(("", "http://a/"))),
            ("a,:http://a/", Some(("", "http://a/"))),
            ("O^x=1,,2,:http://a/", Some(("^x=1,2", "http://a/"))),
            ("", None),
            ("O^x", None),
            ("é,", None),
        ];
        for (key, want) in table {
            assert_eq!(split(key), want.map(|(p, u)| (p.into(), u)), "{key}");
        }
    }

    #[test]
    fn an_answer() {
        for size in [0, 5, CHUNK as usize, CHUNK as usize + 1] {
            let file = entry_file(
                KEY,
                "HTTP/1.1 200 OK\nContent-Type: video/mp4\n",
                &vec![1; size],
            );
            let entry = answer(&file[..]).unwrap();
            assert_eq!(
                (entry.url.as_str(), entry.body.clone()),
                ("https://cdn.example/a,b.ts?t=1", 0..size as u64)
            );
            assert!(
                entry
                    .piece(&Storage::Bytes(file.into()))
                    .unwrap()
                    .body
                    .is_whole()
            );
        }
    }

    #[test]
    fn an_answer_that_is_being_written_is_unfinished() {
        let file = entry_file(KEY, "HTTP/1.1 200 OK\n", &[5; 100]);
        for n in 0..file.len() {
            assert!(answer(&file[..n]).is_err(), "{n}");
        }
    }

    #[test]
    fn names() {
        assert!(is_entry(Path::new(
            "/c/0123456789ABCDEF0123456789ABCDEF01234567"
        )));
        assert!(!is_entry(Path::new(
            "/c/0123456789abcdef0123456789ABCDEF01234567"
        )));
        assert!(!is_entry(Path::new("/c/0123")));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = answer(&bytes[..]).is_ok();
        }

        #[test]
        fn damage_stays_inside(at in 0_usize..400, byte in any::<u8>(), cut in 0_usize..40) {
            let mut file = entry_file(KEY, "HTTP/1.1 206 x\nContent-Range: bytes 0-4/20\n", b"hello");
            file.truncate(file.len() - cut);
            if let Some(b) = file.get_mut(at) {
                *b = byte;
            }
            if let Ok(entry) = answer(&file[..]) {
                prop_assert!(entry.body.end <= file.len() as u64);
            }
        }
    }
}
