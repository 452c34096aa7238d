//! What the two cache formats have in common: an answer's headers, where its bytes lie, and why a
//! file is no entry.

use std::{io, ops::Range};

use percent_encoding::percent_decode_str;

use crate::{
    content::Content,
    stream::{Body, Piece, Storage},
};

/// The largest key that is read, in bytes. Addresses are shorter by far.
pub(crate) const MAX_KEY: u32 = 64 << 10;
/// The largest header block that is read, in bytes.
pub(crate) const MAX_HEAD: u32 = 512 << 10;
/// Most header fields that are kept.
const MAX_FIELDS: usize = 256;

/// Why a file is no cache entry that could be read.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// It doesn't begin or end as an entry does.
    #[error("not a cache entry")]
    Foreign,
    /// The browser is still writing it, or was interrupted.
    #[error("the entry has no end yet")]
    Unfinished,
    /// A field contradicts the others.
    #[error("the entry is damaged: {0}")]
    Damaged(&'static str),
    /// It is a whole entry, but no answer with a body (a redirect, an error page, an answer to a
    /// POST).
    #[error("the entry holds no content (status {0})")]
    NoContent(u16),
    /// The file could not be read.
    #[error("reading the entry")]
    Read(#[from] io::Error),
}

/// An HTTP answer's status line and header fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// The status code.
    pub status: u16,
    /// Names in lower case, with their values.
    fields: Vec<(String, String)>,
}

/// What an entry's file says of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheEntry {
    /// The browser's own name for it: two entries with one key are versions of the same answer.
    pub key: String,
    /// The address, absolute.
    pub url: String,
    /// The rest of the key: who may see the answer.
    pub partition: String,
    /// What the server said.
    pub headers: Headers,
    /// Where the body lies in the file.
    pub body: Range<u64>,
    /// Whether the browser says that it didn't get everything.
    pub truncated: bool,
}

impl Headers {
    /// A status and fields whose names are in lower case.
    pub(super) fn new(status: u16, mut fields: Vec<(String, String)>) -> Self {
        fields.truncate(MAX_FIELDS);
        Self { status, fields }
    }

    /// Reads a status line and fields that end in NUL (Chromium) or CR LF (Firefox).
    pub fn parse(raw: &[u8]) -> Option<Self> {
        let mut lines = raw
            .split(|b| matches!(b, 0 | b'\n'))
            .map(|l| l.trim_ascii())
            .filter(|l| !l.is_empty());
        let line = lines.next()?.strip_prefix(b"HTTP/")?;
        let code = line.split(|b| *b == b' ').nth(1)?;
        let status = std::str::from_utf8(code).ok()?.parse().ok()?;
        let fields = lines.take(MAX_FIELDS).filter_map(|line| {
            let colon = line.iter().position(|b| *b == b':')?;
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            Some((
                String::from_utf8_lossy(name).to_ascii_lowercase(),
                String::from_utf8_lossy(value).into_owned(),
            ))
        });
        Some(Self {
            status,
            fields: fields.collect(),
        })
    }

    /// The first field of that name (lower case).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// `Content-Length`, in bytes.
    pub fn length(&self) -> Option<u64> {
        self.get("content-length")?.parse().ok()
    }

    /// `Content-Range: bytes FIRST-LAST/TOTAL` (RFC 9110, 14.4): the range and the length of the
    /// whole.
    pub fn range(&self) -> Option<(Range<u64>, u64)> {
        let (range, total) = self
            .get("content-range")?
            .strip_prefix("bytes")?
            .trim_start()
            .split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last, total) = (
            first.parse().ok()?,
            last.parse::<u64>().ok()?,
            total.parse().ok()?,
        );
        (first <= last && last < total).then(|| (first..last + 1, total))
    }

    /// Length of the whole answer, if the server stated it.
    pub fn total(&self) -> Option<u64> {
        match self.status {
            206 => self.range().map(|(_, total)| total),
            _ => self.length(),
        }
    }

    /// The validator, which differs between versions of the content (RFC 9110, 8.8).
    pub fn validator(&self) -> Option<&str> {
        self.get("etag").or_else(|| self.get("last-modified"))
    }

    /// The media type, lower case, without parameters.
    pub fn content_type(&self) -> Option<String> {
        let value = self.get("content-type")?.split(';').next()?.trim();
        (!value.is_empty()).then(|| value.to_ascii_lowercase())
    }

    /// The file's name in `Content-Disposition` (RFC 6266), without folders.
    pub fn file_name(&self) -> Option<String> {
        let value = self.get("content-disposition")?;
        let name = parameter(value, "filename*")
            .and_then(|coded| extended(&coded))
            .or_else(|| parameter(value, "filename"))?;
        let name = name.rsplit(['/', '\\']).next()?.trim();
        (!name.is_empty()).then(|| name.to_owned())
    }

    /// The content coding, lower case, if it is not `identity`.
    pub fn encoding(&self) -> Option<String> {
        let value = self.get("content-encoding")?.trim().to_ascii_lowercase();
        (!value.is_empty() && value != "identity").then_some(value)
    }
}

impl CacheEntry {
    /// The answer as a piece. Its length is the one that the server stated; what the browser didn't
    /// get are gaps.
    ///
    /// # Errors
    /// `NoContent` for anything but 200 and 206.
    pub fn piece(&self, storage: &Storage) -> Result<Piece, Malformed> {
        let stored = self.body.end - self.body.start;
        let (offset, total) = match self.headers.status {
            200 => {
                let told = self.headers.length().unwrap_or(stored);
                // The answer was cut short and has no length: something is missing, but not known
                // how much.
                let unknown = self.truncated && told <= stored;
                (0, told.max(stored).saturating_add(unknown.into()))
            }
            206 => {
                let (range, total) = self
                    .headers
                    .range()
                    .ok_or(Malformed::Damaged("206 without a range"))?;
                (range.start, total)
            }
            status => return Err(Malformed::NoContent(status)),
        };
        let mut body = Body::empty(total);
        body.add(offset, storage, self.body.clone());
        Ok(self.around(body))
    }

    /// The answer with a body that lies elsewhere.
    pub(crate) fn around(&self, body: Body) -> Piece {
        Piece {
            url: self.url.clone(),
            partition: self.partition.clone(),
            status: self.headers.status,
            content_type: self.headers.content_type(),
            encoding: self.headers.encoding(),
            validator: self.headers.validator().map(Into::into),
            file_name: self.headers.file_name(),
            body,
        }
    }
}

/// The value of a parameter, `; name=value` or `; name="value"` (RFC 9110, 5.6.6).
fn parameter(field: &str, wanted: &str) -> Option<String> {
    let mut rest = field.split_once(';')?.1;
    loop {
        let (name, tail) = rest.split_once('=')?;
        let (value, after) = match tail.trim_start().strip_prefix('"') {
            Some(quoted) => quoted_string(quoted),
            None => {
                let (value, after) = tail.split_once(';').unwrap_or((tail, ""));
                (value.trim().to_owned(), after)
            }
        };
        if name
            .trim_matches([' ', '\t', ';'])
            .eq_ignore_ascii_case(wanted)
        {
            return Some(value);
        }
        rest = after;
    }
}

/// What stands before the closing quote, and what follows it.
fn quoted_string(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

/// `UTF-8'LANGUAGE'PERCENT-CODED` (RFC 8187). The other charset of the standard is not in use any
/// more.
fn extended(coded: &str) -> Option<String> {
    let mut parts = coded.splitn(3, '\'');
    let utf8 = parts.next()?.eq_ignore_ascii_case("utf-8");
    let value = percent_decode_str(parts.nth(1)?);
    utf8.then(|| value.decode_utf8().ok().map(Into::into))?
}

/// Reads exactly `N` bytes.
pub(crate) fn read<const N: usize>(
    content: &(impl Content + ?Sized),
    at: u64,
) -> Result<[u8; N], Malformed> {
    let mut buf = [0; N];
    if content.read_at(at, &mut buf)? < N {
        Err(Malformed::Unfinished)
    } else {
        Ok(buf)
    }
}

/// Reads exactly `len` bytes; the caller bounds `len`.
pub(crate) fn read_vec(
    content: &(impl Content + ?Sized),
    at: u64,
    len: usize,
) -> Result<Vec<u8>, Malformed> {
    if at
        .checked_add(len as u64)
        .is_none_or(|end| end > content.len())
    {
        return Err(Malformed::Unfinished);
    }
    let mut buf = vec![0; len];
    if content.read_at(at, &mut buf)? < len {
        Err(Malformed::Unfinished)
    } else {
        Ok(buf)
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::*;

    #[test]
    fn headers_end_in_nul_or_crlf() {
        for raw in [
            "HTTP/1.1 206 Partial\0Content-Range:bytes 5-9/20\0ETag: \"x\"\0\0",
            "HTTP/2 206\r\ncontent-range: bytes 5-9/20\r\nEtag:\"x\"\r\n",
        ] {
            let h = Headers::parse(raw.as_bytes()).unwrap();
            assert_eq!(
                (h.status, h.range(), h.total(), h.validator()),
                (206, Some((5..10, 20)), Some(20), Some("\"x\""))
            );
        }
    }

    #[test]
    fn a_range_that_contradicts_itself_is_none() {
        for value in [
            "bytes 9-5/20",
            "bytes 0-20/20",
            "bytes 0-1/*",
            "bytes */20",
            "0-1/2",
            "bytes 0-18446744073709551615/18446744073709551615",
            "bytes -1-2/3",
        ] {
            let h =
                Headers::parse(format!("HTTP/1.1 206\nContent-Range: {value}").as_bytes()).unwrap();
            assert_eq!(h.range(), None, "{value}");
        }
    }

    #[test]
    fn names_that_servers_give() {
        for (field, want) in [
            ("attachment; filename=\"A film.mp4\"", Some("A film.mp4")),
            ("inline;filename=film.mp4", Some("film.mp4")),
            (
                "attachment; filename=\"x.mp4\"; filename*=UTF-8''%e2%82%ac%20rates.mp4",
                Some("€ rates.mp4"),
            ),
            (
                "attachment; filename*=iso-8859-1'en'%A3; filename=\"fallback.mp4\"",
                Some("fallback.mp4"),
            ),
            (
                "attachment; note=\"a; filename=b\"; FileName=\"c \\\"d\\\".mp4\"",
                Some("c \"d\".mp4"),
            ),
            ("attachment; filename=\"../../etc/passwd\"", Some("passwd")),
            ("attachment; filename=\"C:\\\\x\\\\y.mp4\"", Some("y.mp4")),
            ("attachment; filename=\"never closed", Some("never closed")),
            ("attachment; filename=\"\"", None),
            ("attachment; filename", None),
            ("attachment", None),
        ] {
            let head = format!("HTTP/1.1 200 OK\nContent-Disposition: {field}");
            let headers = Headers::parse(head.as_bytes()).unwrap();
            assert_eq!(headers.file_name().as_deref(), want, "{field}");
        }
    }

    #[test]
    fn what_the_browser_did_not_get_is_a_gap() {
        let entry = |status: u16, fields: &str, len: u64, truncated| CacheEntry {
            key: String::new(),
            url: String::new(),
            partition: String::new(),
            headers: Headers::parse(format!("HTTP/1.1 {status} x\n{fields}").as_bytes()).unwrap(),
            body: 10..10 + len,
            truncated,
        };
        let storage = Storage::Bytes(vec![0; 100].into());
        let gaps = |e: CacheEntry| e.piece(&storage).unwrap().body.gaps();
        assert_eq!(gaps(entry(200, "Content-Length: 50", 50, false)), []);
        assert_eq!(gaps(entry(200, "Content-Length: 60", 50, false)), [50..60]);
        assert_eq!(gaps(entry(200, "", 50, false)), []);
        assert_eq!(gaps(entry(200, "", 50, true)), [50..51]);
        assert_eq!(
            gaps(entry(206, "Content-Range: bytes 0-49/50", 50, false)),
            []
        );
        assert_eq!(
            gaps(entry(206, "Content-Range: bytes 10-59/70", 50, false)),
            [0..10, 60..70]
        );
        assert!(matches!(
            entry(404, "", 5, false).piece(&storage),
            Err(Malformed::NoContent(404))
        ));
        assert!(matches!(
            entry(206, "", 5, false).piece(&storage),
            Err(Malformed::Damaged(_))
        ));
    }
}
