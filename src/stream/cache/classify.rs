//! What a stored answer is, by its first bytes. An answer that is neither media nor a playlist is
//! let go, and no more of it is read.

use crate::{content::Content, stream::playlist::json};

/// What part an answer may play in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// An HLS playlist.
    Hls,
    /// A DASH manifest.
    Dash,
    /// What may be a player's own manifest in JSON.
    Json,
    /// WebVTT.
    Subtitles,
    /// A piece of a stream, which can't, or may not, be played by itself: TS, fMP4 segments and
    /// their initialisation, packed audio, a fragmented file.
    Segment,
    /// A media file of its own.
    File,
    /// Neither media nor a playlist.
    Nothing,
}

impl Class {
    /// Whether it is read as text.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Self::Hls | Self::Dash | Self::Json | Self::Subtitles)
    }
}

/// Bytes of head that decide about everything but MP4.
const HEAD: usize = 400;
/// Boxes of an MP4 that are looked at.
const BOXES: usize = 16;
/// How many packets in a row prove a transport stream.
const PACKETS: usize = 5;
/// Bytes of head in which packets are looked for.
const FOREIGN: usize = 4096;
/// Chunks of a PNG, and bytes of another picture, that hide a segment: hosts take small ones.
const CHUNKS: usize = 64;
const SMALL_PICTURE: usize = 32 << 10;
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
    if matches!(head.first(), Some(b'{' | b'[')) {
        // The mark of such a manifest stands behind a few fields.
        let mut more = [0; FOREIGN];
        let n = content.read_at(0, &mut more).unwrap_or(0);
        return text(&more[..n]);
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

/// Media behind foreign bytes, which some sites put there to hide segments on image hosts: where it
/// begins, and what it is.
///
/// A picture's own headers say where it ends. A transport stream is found by its packets, at the
/// start or at the end, and fragments by their boxes. That reads a few kilobytes and no more.
pub fn behind_foreign(content: &(impl Content + ?Sized)) -> Option<(u64, Class)> {
    let from_packets = || packets_at_start(content).or_else(|| packets_at_end(content));
    if let Some(start) = from_packets() {
        return Some((start, Class::Segment));
    }
    let media = |start: u64| match classify(&From { content, start }) {
        class @ (Class::Segment | Class::File) => Some((start, class)),
        _ => None,
    };
    let end = picture_end(content).filter(|at| *at > 0 && at + 16 < content.len());
    // Some write the first bytes of a picture, and no more of it.
    end.and_then(media)
        .or_else(|| boxes_at_start(content).and_then(media))
}

/// The first box of a fragment or its initialisation in the first bytes: one that another follows.
fn boxes_at_start(content: &(impl Content + ?Sized)) -> Option<u64> {
    let mut head = [0; FOREIGN];
    let n = content.read_at(0, &mut head).ok()?;
    let follows = |at: u64| {
        let mut next = [0; 8];
        content
            .read_at(at, &mut next)
            .is_ok_and(|n| n == next.len())
            && matches!(
                &next[4..],
                b"moov" | b"moof" | b"mdat" | b"sidx" | b"styp" | b"emsg" | b"prft" | b"free"
            )
    };
    let begins = |at: &usize| {
        let size = u32::from_be_bytes([head[*at], head[at + 1], head[at + 2], head[at + 3]]);
        matches!(&head[at + 4..at + 8], b"ftyp" | b"styp" | b"moof" | b"sidx")
            && follows(*at as u64 + u64::from(size))
    };
    (0..n.saturating_sub(8)).find(begins).map(|at| at as u64)
}

/// Bytes from `start` on.
struct From<'a, C: ?Sized> {
    content: &'a C,
    start: u64,
}

impl<C: Content + ?Sized> Content for From<'_, C> {
    fn len(&self) -> u64 {
        self.content.len().saturating_sub(self.start)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
        self.content.read_at(self.start + offset, buf)
    }

    fn next_hole(&self, from: u64) -> std::io::Result<u64> {
        Ok(self.content.next_hole(self.start + from)? - self.start)
    }

    fn next_data(&self, from: u64) -> std::io::Result<u64> {
        Ok(self.content.next_data(self.start + from)? - self.start)
    }
}

/// The first of several packets in the first bytes.
fn packets_at_start(content: &(impl Content + ?Sized)) -> Option<u64> {
    let mut head = [0; FOREIGN];
    let n = content.read_at(0, &mut head).ok()?;
    let head = &head[..n];
    let is_packet = |at: &usize| (0..PACKETS).all(|i| head.get(at + i * PACKET) == Some(&0x47));
    (0..head.len().saturating_sub(PACKETS * PACKET))
        .find(is_packet)
        .map(|at| at as u64)
}

/// The first of the packets that go on to the end.
fn packets_at_end(content: &(impl Content + ?Sized)) -> Option<u64> {
    let len = content.len();
    let sync = |at: u64| {
        let mut byte = [0];
        content.read_at(at, &mut byte).is_ok_and(|n| n == 1) && byte == [0x47]
    };
    let end = (1..=PACKETS as u64).all(|i| len.checked_sub(i * PACKET as u64).is_some_and(sync));
    if !end {
        return None;
    }
    // The foreign bytes end where the packets begin: the place is found by bisection.
    let (mut from, mut to) = (len % PACKET as u64, len - (PACKETS * PACKET) as u64);
    while from < to {
        let middle = from + (to - from) / 2 / PACKET as u64 * PACKET as u64;
        let there = (0..PACKETS as u64).all(|i| sync(middle + i * PACKET as u64));
        if there {
            to = middle;
        } else {
            from = middle + PACKET as u64;
        }
    }
    Some(to)
}

/// Where a PNG, a JPEG, a GIF, a BMP or a WebP ends by its own headers.
fn picture_end(content: &(impl Content + ?Sized)) -> Option<u64> {
    let mut head = [0; 16];
    let n = content.read_at(0, &mut head).ok()?;
    let le32 = |at: usize| {
        u64::from(u32::from_le_bytes([
            head[at],
            head[at + 1],
            head[at + 2],
            head[at + 3],
        ]))
    };
    match &head[..n] {
        [0x89, b'P', b'N', b'G', ..] => png_end(content),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Some(8 + le32(4) + (le32(4) & 1)),
        [b'B', b'M', _, _, _, _, 0, 0, ..] => Some(le32(2)),
        [0xff, 0xd8, 0xff, ..] => end_mark(content, &[0xff, 0xd9]),
        [b'G', b'I', b'F', b'8', ..] => end_mark(content, &[0, 0x3b]),
        _ => None,
    }
}

/// Chunk by chunk, to the end of `IEND`.
fn png_end(content: &(impl Content + ?Sized)) -> Option<u64> {
    let mut at = 8_u64;
    for _ in 0..CHUNKS {
        let mut head = [0; 8];
        if content.read_at(at, &mut head).ok()? < head.len() {
            return None;
        }
        let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        at += 12 + u64::from(len);
        if &head[4..] == b"IEND" {
            return Some(at);
        }
    }
    None
}

/// Where the mark that ends a small picture is, if what begins there is media.
fn end_mark(content: &(impl Content + ?Sized), mark: &[u8]) -> Option<u64> {
    let mut head = vec![0; SMALL_PICTURE];
    let n = content.read_at(0, &mut head).ok()?;
    let ends = (0..n.saturating_sub(12)).filter(|&at| head[at..].starts_with(mark));
    ends.map(|at| at + mark.len())
        .find(|&at| matches!(&head[at + 4..at + 8], b"ftyp" | b"styp" | b"moof" | b"sidx"))
        .map(|at| at as u64)
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
    } else if json::is_likely(head) {
        Class::Json
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
            // The file ends with `moov`, which describes what would follow.
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

    #[test]
    fn behind_foreign_bytes() {
        let packets = [&[0x47_u8][..], &[1; 187]].concat().repeat(40);
        let fragment = boxes(&["styp", "moof", "mdat", "free"]);
        let png = [
            b"\x89PNG\r\n\x1a\n\0\0\0\x02IHDR12crcc\0\0\0\0IEND".as_slice(),
            b"crcc",
        ]
        .concat();
        let long = [png.clone(), vec![9; 5000]].concat();
        let jpeg = b"\xff\xd8\xff\xe0 a picture \xff\xd9".to_vec();
        let cases: [(&str, &[u8], &[u8]); 6] = [
            ("TS behind PNG", &png, &packets),
            ("TS behind a longer head", &long, &packets),
            ("TS behind part of a packet", &[0xff; 100], &packets),
            ("fMP4 behind PNG", &png, &fragment),
            ("fMP4 behind JPEG", &jpeg, &fragment),
            ("TS behind JPEG", &jpeg, &packets),
        ];
        for (what, before, media) in cases {
            let all = [before, media].concat();
            assert_eq!(classify(&all[..]), Class::Nothing, "{what}");
            let want = Some((before.len() as u64, Class::Segment));
            assert_eq!(behind_foreign(&all[..]), want, "{what}");
        }
        for picture in [&png, &long, &jpeg] {
            assert_eq!(behind_foreign(&picture[..]), None);
        }
    }

    proptest! {
        #[test]
        fn never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..500), ftyp in any::<bool>()) {
            if ftyp && bytes.len() > 8 {
                bytes[4..8].copy_from_slice(b"ftyp");
            }
            classify(&bytes[..]);
            behind_foreign(&bytes[..]);
        }
    }
}
