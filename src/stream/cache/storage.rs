//! What Chromium's service workers keep of a site (CacheStorage): files of the simple backend too,
//! whose key is the bare address, and whose stream 0 is a message of protocol buffers.
//!
//! From Chromium's `content/browser/cache_storage/cache_storage.proto`:
//!
//! ```text
//! CacheMetadata  { 1: CacheRequest, 2: CacheResponse, … }
//! CacheResponse  { 1: status, 4: headers, repeated, 13: MIME type, … }
//! CacheHeaderMap { 1: name, 2: value }
//! ```
//!
//! The wire format: Protocol Buffers Documentation, "Encoding".

use super::entry::Headers;

/// Most fields of one message: a response has some thirty, and its headers.
const MAX_FIELDS: usize = 4096;

/// The headers of the response that this stream 0 describes.
pub(super) fn headers(stream0: &[u8]) -> Option<Headers> {
    let response = Message::read(Message::read(stream0)?.bytes(2).next()?)?;
    let status = u16::try_from(response.number(1)?).ok()?;
    let mut headers = Vec::new();
    for header in response.bytes(4) {
        let header = Message::read(header)?;
        headers.push((header.text(1)?.to_ascii_lowercase(), header.text(2)?));
    }
    // The body is kept decoded, as the page read it.
    if headers.iter().any(|(name, _)| name == "content-encoding") {
        headers.retain(|(name, _)| name != "content-encoding" && name != "content-length");
    }
    if !headers.iter().any(|(name, _)| name == "content-type") {
        headers.extend(response.text(13).map(|kind| ("content-type".into(), kind)));
    }
    Some(Headers::new(status, headers))
}

/// The fields of a message, in their order.
struct Message<'a>(Vec<(u64, Value<'a>)>);

#[derive(Clone, Copy)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// 32 or 64 bits, which nothing here has.
    Fixed,
}

impl<'a> Message<'a> {
    /// `None` if it isn't one.
    fn read(mut rest: &'a [u8]) -> Option<Self> {
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let tag = varint(&mut rest)?;
            let value = match tag & 7 {
                0 => Value::Number(varint(&mut rest)?),
                1 => take(&mut rest, 8).map(|_| Value::Fixed)?,
                2 => {
                    let len = usize::try_from(varint(&mut rest)?).ok()?;
                    Value::Bytes(take(&mut rest, len)?)
                }
                5 => take(&mut rest, 4).map(|_| Value::Fixed)?,
                _ => return None,
            };
            if fields.len() == MAX_FIELDS {
                return None;
            }
            fields.push((tag >> 3, value));
        }
        Some(Self(fields))
    }

    fn number(&self, wanted: u64) -> Option<u64> {
        self.0.iter().find_map(|(field, value)| match value {
            Value::Number(number) if *field == wanted => Some(*number),
            _ => None,
        })
    }

    fn bytes(&self, wanted: u64) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter_map(move |(field, value)| match value {
            Value::Bytes(bytes) if *field == wanted => Some(*bytes),
            _ => None,
        })
    }

    fn text(&self, wanted: u64) -> Option<String> {
        let bytes = self.bytes(wanted).next()?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(field: u8, value: u64) -> Vec<u8> {
        let mut bytes = vec![field << 3];
        let mut rest = value;
        while rest >= 0x80 {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
        bytes
    }

    fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
        let len = number(0, value.len() as u64);
        [&[field << 3 | 2], &len[1..], value].concat()
    }

    /// Stream 0 as Chromium writes it.
    pub(in super::super) fn stream0(status: u64, headers: &[(&str, &str)], kind: &str) -> Vec<u8> {
        let header = |(name, value): &(&str, &str)| {
            let map = [bytes(1, name.as_bytes()), bytes(2, value.as_bytes())].concat();
            bytes(4, &map)
        };
        let response = [
            number(1, status),
            bytes(2, b"OK"),
            number(3, 2),
            headers.iter().flat_map(header).collect(),
            number(6, 13_400_000_000_000_000),
            bytes(8, b"https://a.example/film.mp4"),
            bytes(13, kind.as_bytes()),
        ]
        .concat();
        let request = bytes(1, &bytes(1, b"GET"));
        [request, bytes(2, &response), number(3, 1)].concat()
    }

    #[test]
    fn a_response() {
        let read = headers(&stream0(
            200,
            &[
                ("Content-Type", "video/mp4; x"),
                ("Content-Length", "5"),
                ("Cache-Control", "no-store"),
            ],
            "video/mp4",
        ))
        .unwrap();
        let kind = read.content_type();
        assert_eq!(
            (read.status, read.length(), kind.as_deref()),
            (200, Some(5), Some("video/mp4"))
        );
    }

    #[test]
    fn a_response_that_was_decoded_has_another_length() {
        let coded = [("content-encoding", "br"), ("content-length", "5")];
        let read = headers(&stream0(200, &coded, "application/vnd.apple.mpegurl")).unwrap();
        assert_eq!((read.length(), read.encoding()), (None, None));
        let kind = read.content_type();
        assert_eq!(kind.as_deref(), Some("application/vnd.apple.mpegurl"));
    }

    #[test]
    fn other_bytes() {
        for bad in [
            &b""[..],
            b"\x0a",
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x12\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
            b"\x12\x03abc",
            b"HTTP/1.1 200 OK\0",
        ] {
            assert!(headers(bad).is_none(), "{bad:?}");
        }
        let many = bytes(2, &[0x08, 0x01].repeat(MAX_FIELDS + 1));
        assert!(headers(&many).is_none());
    }

    proptest! {
        #[test]
        fn damage_never_panics(at in 0_usize..200, byte in any::<u8>(), cut in 0_usize..200) {
            let mut file = stream0(200, &[("content-type", "video/mp4")], "video/mp4");
            file.truncate(file.len().saturating_sub(cut / 4));
            if let Some(b) = file.get_mut(at) {
                *b = byte;
            }
            let _ = headers(&file);
        }
    }
}
