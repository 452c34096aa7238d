//! What a stored answer is, by its first bytes: what is not media or a playlist is let go and
//! nothing more of it read.

use crate::content::Content;

/// What an answer is to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// An HLS playlist.
    Hls,
    /// A DASH manifest.
    Dash,
    /// WebVTT.
    Subtitles,
    /// A piece of a stream that is nothing by itself, or may be: TS, fMP4 segments and their
    /// initialisation, packed audio, a fragmented file.
    Segment,
    /// A media file of its own.
    File,
    /// Of no concern.
    Nothing,
}

/// Bytes of head that decide about everything but MP4.
const HEAD: usize = 400;
/// Boxes of an MP4 that are looked at.
const BOXES: usize = 16;
/// A transport stream's packet (ISO/IEC 13818-1, 2.4.3.2).
const PACKET: usize = 188;

/// Looks at the head of an answer, in MP4 at the headers of its first boxes.
pub fn classify(content: &(impl Content + ?Sized)) -> Class {
    let mut buf = [0; HEAD];
    let mut have = 0;
    // A body may have a gap soon after its start.
    for want in [HEAD, 16] {
        have = content.read_at(0, &mut buf[..want]).unwrap_or(0);
        if have > 0 {
            break;
        }
    }
    let head = &buf[..have];
    match text(head) {
        Class::Nothing => {}
        class => return class,
    }
    if head.first() == Some(&0x47) && (have <= PACKET || head[PACKET] == 0x47) && have >= PACKET {
        return Class::Segment;
    }
    match head.get(4..8) {
        Some(b"styp" | b"moof" | b"sidx" | b"emsg" | b"prft") => return Class::Segment,
        Some(b"ftyp") => return mp4(content),
        _ => {}
    }
    // An ID3 tag of Apple's timestamp owner stands before packed audio (RFC 8216, 3.4).
    let packed = head.starts_with(b"ID3")
        && head
            .windows(44)
            .any(|w| w == b"com.apple.streaming.transportStreamTimestamp");
    if packed || matches!(head, [0xff, 0xf0 | 0xf1 | 0xf8 | 0xf9, ..]) {
        return Class::Segment;
    }
    // A Matroska cluster without a head (DASH with WebM).
    if head.starts_with(&[0x1f, 0x43, 0xb6, 0x75]) {
        return Class::Segment;
    }
    match infer::get(head).map(|t| t.extension()) {
        Some(
            "mp4" | "m4v" | "mov" | "m4a" | "webm" | "mkv" | "flv" | "ogg" | "ogv" | "avi" | "mp3"
            | "flac" | "mpg",
        ) => Class::File,
        _ => Class::Nothing,
    }
}

/// Playlists and subtitles; what follows a byte-order mark and white space counts.
pub fn text(head: &[u8]) -> Class {
    let head = head
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(head)
        .trim_ascii_start();
    if head.starts_with(b"#EXTM3U") {
        Class::Hls
    } else if head.starts_with(b"WEBVTT") {
        Class::Subtitles
    } else if head.starts_with(b"<MPD")
        || (head.starts_with(b"<?xml") || head.starts_with(b"<!--"))
            && head.windows(4).any(|w| w == b"<MPD")
    {
        Class::Dash
    } else {
        Class::Nothing
    }
}

/// `ftyp` may begin a file, a fragmented file, or an initialisation segment.
fn mp4(content: &(impl Content + ?Sized)) -> Class {
    let (len, mut at, mut moov) = (content.len(), 0_u64, false);
    for _ in 0..BOXES {
        let mut head = [0; 16];
        let n = content
            .read_at(at, &mut head)
            .or_else(|_| content.read_at(at, &mut head[..8]))
            .unwrap_or(0);
        if n < 8 {
            break;
        }
        let size = match u32::from_be_bytes([head[0], head[1], head[2], head[3]]) {
            0 => break,
            1 => u64::from_be_bytes([
                head[8], head[9], head[10], head[11], head[12], head[13], head[14], head[15],
            ]),
            size => size.into(),
        };
        match &head[4..8] {
            b"moof" | b"sidx" => return Class::Segment,
            b"mdat" => return Class::File,
            b"moov" => moov = true,
            _ => {}
        }
        match at.checked_add(size.max(8)) {
            Some(next) if next < len => at = next,
            // It ends with the boxes that say what would follow.
            Some(next) if next == len && moov => return Class::Segment,
            _ => break,
        }
    }
    Class::File
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn boxes(names: &[&str]) -> Vec<u8> {
        names
            .iter()
            .flat_map(|n| [&[0, 0, 0, 12], n.as_bytes(), &[0; 4]].concat())
            .collect()
    }

    #[test]
    fn heads() {
        let ts = [
            [&[0x47_u8][..], &[0; 187]].concat(),
            [&[0x47][..], &[0; 187]].concat(),
        ]
        .concat();
        let cases: [(&str, Vec<u8>, Class); 18] = [
            ("playlist", b"#EXTM3U\n".into(), Class::Hls),
            (
                "playlist after a mark",
                b"\xef\xbb\xbf\r\n#EXTM3U\n".into(),
                Class::Hls,
            ),
            (
                "manifest",
                b"<?xml version=\"1.0\"?>\n<MPD xmlns=".into(),
                Class::Dash,
            ),
            (
                "another XML",
                b"<?xml version=\"1.0\"?>\n<svg>".into(),
                Class::Nothing,
            ),
            ("subtitles", b"WEBVTT\n\n".into(), Class::Subtitles),
            ("transport stream", ts.clone(), Class::Segment),
            ("one packet", ts[..188].into(), Class::Segment),
            (
                "a text that begins with G",
                b"Good morning".into(),
                Class::Nothing,
            ),
            ("fragment", boxes(&["styp", "moof", "mdat"]), Class::Segment),
            ("initialisation", boxes(&["ftyp", "moov"]), Class::Segment),
            (
                "fragmented file",
                boxes(&["ftyp", "moov", "sidx", "moof"]),
                Class::Segment,
            ),
            ("file", boxes(&["ftyp", "moov", "mdat"]), Class::File),
            (
                "file with its index at the end",
                boxes(&["ftyp", "free", "mdat", "moov"]),
                Class::File,
            ),
            ("file without an end", boxes(&["ftyp"]), Class::File),
            (
                "packed audio",
                [0xff, 0xf1, 0x50, 0x80].into(),
                Class::Segment,
            ),
            ("picture", b"\x89PNG\r\n\x1a\n".into(), Class::Nothing),
            ("page", b"<!doctype html><html>".into(), Class::Nothing),
            ("nothing", Vec::new(), Class::Nothing),
        ];
        for (what, bytes, want) in cases {
            assert_eq!(classify(&bytes[..]), want, "{what}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..500), ftyp in any::<bool>()) {
            if ftyp && bytes.len() > 8 {
                bytes[4..8].copy_from_slice(b"ftyp");
            }
            classify(&bytes[..]);
        }
    }
}
