//! Says, in a few words for people, what a file is that is no media file.

use super::reader::{Reader, Step};

/// Says what the file is, by its beginning.
pub(crate) fn describe(reader: &mut Reader) -> Step<String> {
    let what = known(reader)?;
    Ok(what.unwrap_or_else(|| "no container that fisga knows".into()))
}

/// The same; `None` if the kind of file isn't known.
pub(crate) fn known(reader: &mut Reader) -> Step<Option<String>> {
    let what = match word(reader)? {
        Some(what) => what.to_owned(),
        None => match infer::get(reader.bytes(0, 4096)?) {
            Some(kind) => format!(
                "a file of the kind {}, which fisga does not keep",
                kind.mime_type()
            ),
            None => return Ok(None),
        },
    };
    Ok(Some(what))
}

/// What `infer` doesn't know.
fn word(reader: &mut Reader) -> Step<Option<&'static str>> {
    let len = reader.len();
    if len == 0 {
        return Ok(Some("an empty file"));
    }
    if is_packet_cache(reader)? {
        return Ok(Some(
            "a packet cache of mpv: coded packets without a container, which no player opens",
        ));
    }
    let head = reader.bytes(0, 4096)?;
    let text = head.trim_ascii_start();
    let starts = |word: &[u8]| {
        text.get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(word))
    };
    Ok(if starts(b"#EXTM3U") {
        Some("an HLS playlist: a list of addresses, without the video")
    } else if starts(b"<!doctype html") || starts(b"<html") {
        Some("a web page")
    } else if starts(b"<?xml") || starts(b"<MPD") {
        Some("an XML document")
    } else {
        None
    })
}
/// mpv's `demux/cache.c`: for each packet its length, flags and number of side data (32 bits each,
/// in the machine's order), the packet, and each side datum with type and length before it.
fn is_packet_cache(reader: &mut Reader) -> Step<bool> {
    /// This many packets in a row are no accident.
    const ENOUGH: u32 = 6;
    let (mut at, len) = (0, reader.len());
    for i in 0..ENOUGH {
        let Some(head) = reader.array::<12>(at)? else {
            return Ok(i > 2 && at == len);
        };
        let word = |n: usize| u32::from_le_bytes([head[n], head[n + 1], head[n + 2], head[n + 3]]);
        let (size, flags, side) = (word(0), word(4), word(8));
        // Flags of AVPacket are few; a key frame comes first.
        if size == 0 || size > 64 << 20 || flags > 0x1f || side > 16 || i == 0 && flags & 1 == 0 {
            return Ok(false);
        }
        at += 12 + u64::from(size);
        for _ in 0..side {
            let (Some(kind), Some(size)) = (reader.le32(at)?, reader.le32(at + 4)?) else {
                return Ok(i > 1);
            };
            if kind > 256 || size > 16 << 20 {
                return Ok(false);
            }
            at += 8 + u64::from(size);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(data: &[u8]) -> String {
        describe(&mut Reader::new(&data)).unwrap()
    }

    #[test]
    fn says_what_it_is() {
        let mut cache = Vec::new();
        for i in 0..9u32 {
            let side: u32 = (i % 2 == 0).into();
            [100 + i, 1, side]
                .iter()
                .for_each(|n| cache.extend(n.to_le_bytes()));
            cache.extend(vec![i as u8; 100 + i as usize]);
            if side == 1 {
                [7u32, 4, 9]
                    .iter()
                    .for_each(|n| cache.extend(n.to_le_bytes()));
            }
        }
        for (data, part) in [
            (cache.as_slice(), "mpv"),
            (b"", "empty"),
            (b"\n#EXTM3U\n#EXT", "playlist"),
            (b"<!DOCTYPE HTML><p>", "page"),
            (b"\x89PNG\r\n\x1a\n", "image/png"),
            (b"what is this", "no container"),
        ] {
            assert!(of(data).contains(part), "{}", of(data));
        }
    }
}
