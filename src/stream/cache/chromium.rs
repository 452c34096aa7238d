//! Chromium's disk cache: files of the simple backend.
//!
//! `Cache_Data/<16 hex>_0` holds one answer, `<16 hex>_s` the ranges of one. Little-endian, from
//! Chromium's `net/disk_cache/simple/simple_entry_format.h` and `net/http/http_response_info.cc`:
//!
//! ```text
//! header: u64 magic | u32 version | u32 key length | u32 key hash | u32 padding | key
//! _0:     header | body | end | stream 0 (a pickle with the headers) | SHA-256 of the key, if flag 2 | end
//! _s:     header | (u64 magic | i64 offset | i64 length | u32 CRC | u32 padding | data)…
//! end:    u64 magic | u32 flags | u32 CRC | u32 size of stream 0 | u32 padding
//! ```
//!
//! The key is `credentials/upload/` and, for a partitioned cache, `_dk_<top site> <frame site> `,
//! then the address. What service workers keep has the bare address for a key, and headers of
//! another form in stream 0: see `storage`.

use std::path::Path;

use super::{
    entry::{CacheEntry, Headers, MAX_HEAD, MAX_KEY, Malformed, read, read_vec},
    storage,
};
use crate::content::Content;

const HEADER_MAGIC: u64 = 0xfcfb_6d1b_a772_5c30;
const END_MAGIC: u64 = 0xf4fa_6f45_970d_41d8;
const RANGE_MAGIC: u64 = 0xeb97_bf01_6553_676b;
const HEADER: u64 = 24;
const END: u64 = 24;
const RANGE: u64 = 32;
const SHA256: u64 = 32;
/// In the end record: the SHA-256 of the key stands before it.
const HAS_KEY_HASH: u32 = 2;
/// In the response's flags: it was cut short (`RESPONSE_INFO_TRUNCATED`).
const TRUNCATED: u32 = 1 << 12;
/// Most ranges of one entry: Chromium writes 64 KiB and more at a time, so this is far beyond what
/// it keeps.
const MAX_RANGES: usize = 1 << 17;

/// Which of an entry's files it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryFile {
    /// `_0`: headers and body.
    Answer,
    /// `_s`: ranges.
    Ranges,
}

/// A file of ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sparse {
    /// The key, the same as that of its `_0` twin, which has the headers.
    pub key: String,
    /// The stretches, as they were written.
    pub ranges: Vec<Stretch>,
    /// Where the last whole record ends: reading goes on here when the file has grown.
    pub end: u64,
}

/// One record of a file of ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// In the body.
    pub offset: u64,
    /// In bytes.
    pub len: u64,
    /// Where the data starts in the file.
    pub at: u64,
}

/// Recognises an entry's file by its name: 16 lower-case hex digits and `_0` or `_s`. `_1` holds
/// what only the browser needs, `todelete_…` is about to be removed.
pub fn part(path: &Path) -> Option<EntryFile> {
    let name = path.file_name()?.to_str()?;
    let (hash, part) = name.split_once('_')?;
    let hex = hash.len() == 16 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match part {
        "0" if hex => Some(EntryFile::Answer),
        "s" if hex => Some(EntryFile::Ranges),
        _ => None,
    }
}

/// Reads head and tail of a `_0` file.
///
/// # Errors
/// What is wrong with it; a file that is still being written is `Unfinished`.
pub fn answer(content: &(impl Content + ?Sized)) -> Result<CacheEntry, Malformed> {
    let (key, start) = header(content)?;
    let len = content.len();
    let last = len
        .checked_sub(END)
        .filter(|at| *at >= start)
        .ok_or(Malformed::Unfinished)?;
    let end = End::read(content, last)?;
    let hash = if end.flags & HAS_KEY_HASH == 0 {
        0
    } else {
        SHA256
    };
    let size = u64::from(end.size);
    let stream0 = last
        .checked_sub(hash + size)
        .ok_or(Malformed::Damaged("headers longer than the file"))?;
    let first = stream0
        .checked_sub(END)
        .filter(|at| *at >= start)
        .ok_or(Malformed::Unfinished)?;
    End::read(content, first)?;
    if end.size > MAX_HEAD {
        return Err(Malformed::Damaged("headers too long"));
    }
    let pickle = read_vec(content, stream0, end.size as usize)?;
    let of_network = || {
        let flags = pickle.get(4..8).map_or(0, |flags| u32_at(flags, 0));
        Some((headers(&pickle)?, flags & TRUNCATED != 0))
    };
    let (headers, truncated) = of_network()
        .or_else(|| Some((storage::headers(&pickle)?, false)))
        .ok_or(Malformed::Damaged("no headers"))?;
    let (partition, url) = split(&key);
    Ok(CacheEntry {
        url: url.into(),
        partition: partition.into(),
        key,
        headers,
        body: start..first,
        truncated,
    })
}

/// Reads the records of a `_s` file.
///
/// # Errors
/// What is wrong with its header. Records end where the first one is not whole.
pub fn sparse(content: &(impl Content + ?Sized)) -> Result<Sparse, Malformed> {
    let (key, start) = header(content)?;
    let mut sparse = Sparse {
        key,
        ranges: Vec::new(),
        end: start,
    };
    sparse.grow(content)?;
    Ok(sparse)
}

/// The key of an entry's file, which stands there from its first byte on.
///
/// # Errors
/// `Foreign` for another file, `Unfinished` while the key is not written.
pub fn key(content: &(impl Content + ?Sized)) -> Result<String, Malformed> {
    header(content).map(|(key, _)| key)
}

/// Where the body, or the first record, starts.
///
/// # Errors
/// As [`key`].
pub fn start(content: &(impl Content + ?Sized)) -> Result<u64, Malformed> {
    header(content).map(|(_, start)| start)
}

/// Who may see the answer, by its key.
pub fn partition(key: &str) -> &str {
    split(key).0
}

/// The address in a key.
pub fn url(key: &str) -> &str {
    split(key).1
}

impl Sparse {
    /// Reads the records that were appended since the last time.
    ///
    /// # Errors
    /// Only what reading returns.
    pub fn grow(&mut self, content: &(impl Content + ?Sized)) -> Result<(), Malformed> {
        while self.ranges.len() < MAX_RANGES {
            let Some(stretch) = stretch(content, self.end)? else {
                break;
            };
            self.end = stretch.at + stretch.len;
            self.ranges.push(stretch);
        }
        Ok(())
    }
}

impl Stretch {
    /// Where its record starts in the file.
    pub(crate) fn head(&self) -> u64 {
        self.at - RANGE
    }
}

/// The record at `at`, if there is a whole one.
///
/// # Errors
/// Only what reading returns.
pub(crate) fn stretch(
    content: &(impl Content + ?Sized),
    at: u64,
) -> Result<Option<Stretch>, Malformed> {
    let head: [u8; RANGE as usize] = match read(content, at) {
        Err(Malformed::Unfinished) => return Ok(None),
        head => head?,
    };
    let (offset, len, data) = (u64_at(&head, 8), u64_at(&head, 16), at + RANGE);
    let whole = data
        .checked_add(len)
        .is_some_and(|end| end <= content.len());
    let sane = i64::try_from(offset).is_ok() && offset.checked_add(len).is_some();
    Ok(
        (u64_at(&head, 0) == RANGE_MAGIC && whole && sane).then_some(Stretch {
            offset,
            len,
            at: data,
        }),
    )
}

/// An end record.
struct End {
    flags: u32,
    size: u32,
}

impl End {
    fn read(content: &(impl Content + ?Sized), at: u64) -> Result<Self, Malformed> {
        let raw: [u8; END as usize] = read(content, at)?;
        if u64_at(&raw, 0) != END_MAGIC {
            return Err(Malformed::Unfinished);
        }
        Ok(Self {
            flags: u32_at(&raw, 8),
            size: u32_at(&raw, 16),
        })
    }
}

/// The key, and where what follows it starts.
fn header(content: &(impl Content + ?Sized)) -> Result<(String, u64), Malformed> {
    let raw: [u8; HEADER as usize] = read(content, 0)?;
    let len = u32_at(&raw, 12);
    if u64_at(&raw, 0) != HEADER_MAGIC {
        return Err(Malformed::Foreign);
    }
    if len > MAX_KEY {
        return Err(Malformed::Damaged("key too long"));
    }
    let key = read_vec(content, HEADER, len as usize)?;
    Ok((
        String::from_utf8_lossy(&key).into_owned(),
        HEADER + u64::from(len),
    ))
}

/// Partition and address.
fn split(key: &str) -> (&str, &str) {
    let mut rest = key;
    // `credentials/upload/`, two numbers.
    for _ in 0..2 {
        match rest.split_once('/') {
            Some((number, tail)) if number.bytes().all(|b| b.is_ascii_digit()) => rest = tail,
            _ => break,
        }
    }
    match rest.strip_prefix("_dk_").and_then(|r| r.rsplit_once(' ')) {
        Some((partition, url)) => (partition, url),
        None => ("", rest),
    }
}

/// The headers in stream 0: a string of the pickle, so its length stands before it.
fn headers(pickle: &[u8]) -> Option<Headers> {
    let at = pickle.windows(5).position(|w| w == b"HTTP/")?;
    let len = u32_at(pickle.get(at.checked_sub(4)?..at)?, 0) as usize;
    Headers::parse(pickle.get(at..at.checked_add(len)?)?)
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from(u32_at(b, at)) | u64::from(u32_at(b, at + 4)) << 32
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stream::Storage;

    /// A `_0` file as Chromium writes it.
    pub(crate) fn answer_file(key: &str, headers: &str, body: &[u8], flags: u32) -> Vec<u8> {
        file(key, &pickle(headers, flags), body)
    }

    fn pickle(headers: &str, flags: u32) -> Vec<u8> {
        let mut pickle = 0_u32.to_le_bytes().to_vec();
        pickle.extend(flags.to_le_bytes());
        pickle.extend([7; 16]);
        let headers = headers.replace('\n', "\0");
        pickle.extend((headers.len() as u32).to_le_bytes());
        pickle.extend(headers.as_bytes());
        pickle.extend([0; 9]);
        pickle
    }

    fn file(key: &str, stream0: &[u8], body: &[u8]) -> Vec<u8> {
        let mut file = head(key);
        file.extend(body);
        file.extend(end(1, 0));
        file.extend(stream0);
        file.extend([9; 32]);
        file.extend(end(3, stream0.len() as u32));
        file
    }

    /// A `_s` file as Chromium writes it.
    pub(crate) fn sparse_file(key: &str, ranges: &[(u64, &[u8])]) -> Vec<u8> {
        let mut file = head(key);
        for (offset, data) in ranges {
            file.extend(RANGE_MAGIC.to_le_bytes());
            file.extend(offset.to_le_bytes());
            file.extend(data.len().to_le_bytes());
            file.extend([0; 8]);
            file.extend(*data);
        }
        file
    }

    fn head(key: &str) -> Vec<u8> {
        let mut file = HEADER_MAGIC.to_le_bytes().to_vec();
        file.extend(5_u32.to_le_bytes());
        file.extend((key.len() as u32).to_le_bytes());
        file.extend([0; 8]);
        file.extend(key.as_bytes());
        file
    }

    fn end(flags: u32, size: u32) -> Vec<u8> {
        let mut end = END_MAGIC.to_le_bytes().to_vec();
        end.extend(flags.to_le_bytes());
        end.extend([0; 4]);
        end.extend(size.to_le_bytes());
        end.extend([0; 4]);
        end
    }

    const KEY: &str =
        "1/0/_dk_https://top.example https://frame.example https://cdn.example/a%20b.ts?t=1";

    #[test]
    fn names() {
        let table = [
            ("0123456789abcdef_0", Some(EntryFile::Answer)),
            ("0123456789abcdef_s", Some(EntryFile::Ranges)),
            ("0123456789abcdef_1", None),
            ("0123456789ABCDEF_0", None),
            ("todelete_0123456789abcdef_0_1", None),
            ("index", None),
            ("0123_0", None),
        ];
        for (name, want) in table {
            assert_eq!(part(&Path::new("/x").join(name)), want, "{name}");
        }
    }

    #[test]
    fn keys() {
        let table = [
            (
                KEY,
                "https://top.example https://frame.example",
                "https://cdn.example/a%20b.ts?t=1",
            ),
            ("1/0/https://a.example/b", "", "https://a.example/b"),
            ("https://a.example/b", "", "https://a.example/b"),
            (
                "0/77/_dk_s_https://t https://f http://u/",
                "s_https://t https://f",
                "http://u/",
            ),
            ("", "", ""),
        ];
        for (key, partition, url) in table {
            assert_eq!(split(key), (partition, url), "{key}");
        }
    }

    #[test]
    fn an_answer() {
        let file = answer_file(
            KEY,
            "HTTP/1.1 200 OK\nContent-Type: Video/MP2T; x\nContent-Length: 5\n\n",
            b"hello",
            0,
        );
        let entry = answer(&file[..]).unwrap();
        assert_eq!(
            (entry.url.as_str(), entry.truncated),
            ("https://cdn.example/a%20b.ts?t=1", false)
        );
        assert_eq!(entry.headers.content_type().as_deref(), Some("video/mp2t"));
        assert_eq!(
            &file[entry.body.start as usize..entry.body.end as usize],
            b"hello"
        );
        assert!(
            entry
                .piece(&Storage::Bytes(file.into()))
                .unwrap()
                .body
                .is_whole()
        );
        let cut = answer_file(KEY, "HTTP/1.1 200 OK\n\n", b"hel", TRUNCATED);
        assert!(
            !answer(&cut[..])
                .unwrap()
                .piece(&Storage::Bytes(cut.into()))
                .unwrap()
                .body
                .is_whole()
        );
    }

    #[test]
    fn what_a_service_worker_keeps() {
        let headers = [
            ("Content-Length", "5"),
            ("Cache-Control", "no-store"),
            ("Via", "HTTP/1.1 cache"),
        ];
        let stream0 = storage::tests::stream0(200, &headers, "video/mp4");
        let file = file("https://a.example/film.mp4", &stream0, b"hello");
        let entry = answer(&file[..]).unwrap();
        assert_eq!(
            (
                entry.url.as_str(),
                entry.partition.as_str(),
                entry.truncated
            ),
            ("https://a.example/film.mp4", "", false)
        );
        assert_eq!(entry.headers.content_type().as_deref(), Some("video/mp4"));
        let piece = entry.piece(&Storage::Bytes(file.into())).unwrap();
        assert!(piece.body.is_whole());
        assert_eq!(piece.body.len(), 5);
    }

    #[test]
    fn an_answer_that_is_being_written_is_unfinished() {
        let file = answer_file(KEY, "HTTP/1.1 200 OK\n\n", &[5; 100], 0);
        for n in 0..file.len() {
            assert!(
                matches!(answer(&file[..n]), Err(Malformed::Unfinished)),
                "{n}"
            );
        }
    }

    #[test]
    fn ranges_grow() {
        let file = sparse_file(KEY, &[(10, b"KLMNO"), (0, b"ABCDE"), (12, b"mn")]);
        let mut sparse = sparse(&file[..file.len() - 1]).unwrap();
        assert_eq!(
            sparse.ranges.len(),
            2,
            "a record that is not whole doesn't count"
        );
        sparse.grow(&file[..]).unwrap();
        assert_eq!((sparse.ranges.len(), sparse.end), (3, file.len() as u64));
        assert_eq!(
            sparse.ranges[2],
            Stretch {
                offset: 12,
                len: 2,
                at: file.len() as u64 - 2
            }
        );
    }

    #[test]
    fn hostile_numbers() {
        let mut file = sparse_file(KEY, &[(0, b"abc")]);
        let record = file.len() - 3 - RANGE as usize;
        for (field, value) in [
            (8, u64::MAX),
            (8, 1 << 63),
            (16, u64::MAX),
            (16, 1 << 63),
            (16, 4),
        ] {
            let mut bad = file.clone();
            bad[record + field..record + field + 8].copy_from_slice(&value.to_le_bytes());
            assert_eq!(sparse(&bad[..]).unwrap().ranges, [], "{field} {value}");
        }
        file[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(sparse(&file[..]), Err(Malformed::Damaged(_))));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = (answer(&bytes[..]).is_ok(), sparse(&bytes[..]).is_ok());
        }

        /// Real files with damage: never a panic, never a body outside the file.
        #[test]
        fn damage_stays_inside(at in 0_usize..400, byte in any::<u8>(), cut in 0_usize..400) {
            for mut file in [answer_file(KEY, "HTTP/1.1 206 x\nContent-Range: bytes 5-9/20\n", b"hello", 0), sparse_file(KEY, &[(3, b"abc"), (0, b"xyz")])] {
                file.truncate(file.len().saturating_sub(cut / 8));
                if let Some(b) = file.get_mut(at) {
                    *b = byte;
                }
                if let Ok(entry) = answer(&file[..]) {
                    prop_assert!(entry.body.start <= entry.body.end && entry.body.end <= file.len() as u64);
                }
                if let Ok(sparse) = sparse(&file[..]) {
                    prop_assert!(sparse.ranges.iter().all(|r| r.at + r.len <= file.len() as u64));
                }
            }
        }
    }
}
