//! ID3v2: the tag before MP3, and sometimes before AAC and FLAC (id3.org, 2.2 to 2.4).

use super::{
    reader::{Reader, Step},
    text,
};
use crate::container::id3::{self, syncsafe};

/// Where the tag ends, and the title in it.
pub(crate) struct Tag {
    pub(crate) end: u64,
    pub(crate) title: Option<String>,
}

/// The tag at the beginning; an end of 0 where there is none. Several in a row are taken as one.
pub(crate) fn read(reader: &mut Reader) -> Step<Tag> {
    /// Streams put one before each segment; at the beginning there are few.
    const MOST: usize = 8;
    let mut tag = Tag {
        end: 0,
        title: None,
    };
    for _ in 0..MOST {
        let Some(head) = id3::head(reader.bytes(tag.end, id3::HEAD)?) else {
            break;
        };
        let body = tag.end + id3::HEAD as u64;
        let end = body + u64::from(head.size);
        if tag.title.is_none() {
            tag.title = title(reader, head.version, head.flags, body, end)?;
        }
        tag.end += head.len();
    }
    Ok(tag)
}

fn title(reader: &mut Reader, version: u8, flags: u8, body: u64, end: u64) -> Step<Option<String>> {
    /// No tag has more frames.
    const MOST: usize = 256;
    let mut at = body;
    if flags & 0x40 != 0 && version >= 3 {
        let size = reader.array(at)?.unwrap_or_default();
        at += if version == 3 {
            u64::from(u32::from_be_bytes(size)) + 4
        } else {
            syncsafe(size).into()
        };
    }
    for _ in 0..MOST {
        let (name, size, head): (&[u8; 4], u32, u64);
        let bytes;
        if version == 2 {
            let Some([n0, n1, n2, a, b, c]) = reader.array::<6>(at)? else {
                break;
            };
            (bytes, size, head) = ([n0, n1, n2, 0], u32::from_be_bytes([0, a, b, c]), 6);
        } else {
            let Some([n0, n1, n2, n3, a, b, c, d, _, _]) = reader.array::<10>(at)? else {
                break;
            };
            let raw = [a, b, c, d];
            size = if version >= 4 {
                syncsafe(raw)
            } else {
                u32::from_be_bytes(raw)
            };
            (bytes, head) = ([n0, n1, n2, n3], 10);
        }
        name = &bytes;
        // Zeros pad the tag.
        if at >= end || name[0] == 0 {
            break;
        }
        at += head;
        if matches!(name, b"TIT2" | b"TT2\0") {
            let n = (size as usize).min(4096);
            return Ok(match reader.bytes(at, n)? {
                [0, rest @ ..] => text::latin1(rest),
                [2, rest @ ..] => text::utf16(rest, u16::from_be_bytes),
                [1 | 3, rest @ ..] => text::any(rest),
                _ => None,
            });
        }
        at += u64::from(size);
    }
    Ok(None)
}
