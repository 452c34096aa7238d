//! Which addresses may be of one video, where no playlist says so: pictures and their sound, a
//! fragment and its initialisation segment.
//!
//! Their addresses differ in words for their role in the video ("audio", "init", "720p") and in the
//! number of the segment. If anything else differs, they are of two videos.

use crate::stream::address;

/// Words for the role of a piece in its video.
const ROLES: [&str; 60] = [
    "a",
    "aac",
    "aud",
    "audio",
    "avc",
    "b",
    "c",
    "chunk",
    "chunks",
    "cmaf",
    "dash",
    "de",
    "en",
    "eng",
    "es",
    "f",
    "fr",
    "frag",
    "fragment",
    "h",
    "hd",
    "header",
    "hevc",
    "hls",
    "hq",
    "i",
    "index",
    "init",
    "initialization",
    "k",
    "kbps",
    "l",
    "lq",
    "m",
    "main",
    "map",
    "media",
    "mpa",
    "n",
    "opus",
    "p",
    "part",
    "q",
    "r",
    "rep",
    "s",
    "sd",
    "seg",
    "segment",
    "snd",
    "sound",
    "stream",
    "t",
    "track",
    "und",
    "v",
    "vid",
    "video",
    "vp",
    "x",
];
/// Those of them that name a variant together with a number.
const VARIANTS: [&str; 20] = [
    "", "a", "aud", "audio", "hd", "hq", "k", "kbps", "lq", "p", "q", "r", "rep", "s", "sd",
    "stream", "track", "v", "vid", "video",
];
/// Parameters that number segments or say which representation it is.
const ROLE_PARAMETERS: [&str; 32] = [
    "a",
    "byteend",
    "bytestart",
    "chunk",
    "clen",
    "dur",
    "end",
    "format",
    "frag",
    "i",
    "index",
    "itag",
    "kind",
    "mime",
    "n",
    "num",
    "number",
    "offset",
    "part",
    "q",
    "quality",
    "r",
    "range",
    "rep",
    "s",
    "seg",
    "segment",
    "sq",
    "start",
    "stream",
    "t",
    "type",
];
/// Picture heights and the like, as folders are named after.
const QUALITIES: [u32; 20] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 144, 180, 240, 270, 360, 480, 540, 720, 1080, 2160,
];

/// Whether both may be of one video.
pub(crate) fn may_be_one(a: &str, b: &str) -> bool {
    address::origin(a) == address::origin(b) && rest(a) == rest(b)
}

/// Whether a part of a path is named after a quality, or after what a variant is called: `720p`,
/// `v1`, `stream_0`.
pub(super) fn names_quality(part: &str) -> bool {
    let letters: String = part.chars().filter(char::is_ascii_alphabetic).collect();
    let digits: String = part.chars().filter(char::is_ascii_digit).collect();
    VARIANTS.contains(&&*letters.to_ascii_lowercase())
        && digits.parse().is_ok_and(|n| QUALITIES.contains(&n))
}

/// What is left of an address without its host, the words and numbers above.
fn rest(url: &str) -> Vec<String> {
    let mut parts: Vec<&str> = address::path(url).split('/').collect();
    let name = parts.pop().unwrap_or_default();
    let folders = parts.into_iter().filter(|part| !part.is_empty());
    let mut left: Vec<String> = folders
        .filter(|part| !is_role(part) && !names_quality(part))
        .map(str::to_ascii_lowercase)
        .collect();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let words = stem.split(|c: char| !c.is_alphabetic());
    left.extend(
        words
            .filter(|word| !is_role(word))
            .map(str::to_ascii_lowercase),
    );
    let mut parameters: Vec<String> = address::parameters(url)
        .filter(|(name, _)| !ROLE_PARAMETERS.contains(&&*name.to_ascii_lowercase()))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    parameters.sort();
    left.extend(parameters);
    left
}

fn is_role(word: &str) -> bool {
    word.is_empty() || ROLES.contains(&&*word.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        let one = [
            ("http://h/f/video/1.m4s", "http://h/f/audio/init.mp4"),
            ("http://h/aud/s0/seg0.m4s", "http://h/aud/s1/seg5.m4s"),
            ("http://h/f/720p/7.ts", "http://h/f/360p/8.ts"),
            ("http://h/f/chunk-0-00001.m4s", "http://h/f/init-1.mp4"),
            (
                "http://h/play?id=A&itag=134",
                "http://h/play?itag=140&id=A&sig=x",
            ),
            (
                "http://h/o/v/x.mp4?bytestart=0",
                "http://h/o/a/x.mp4?bytestart=9",
            ),
        ];
        for (a, b) in one {
            assert!(may_be_one(a, b), "{a} {b}");
        }
        let two = [
            ("http://h/f1/video/1.m4s", "http://h/f2/audio/1.m4s"),
            ("http://h/1001/v.m4s", "http://h/1002/a.m4s"),
            ("http://h/play?id=A&itag=134", "http://h/play?id=B&itag=140"),
            ("http://h/filmA_1.m4s", "http://h/filmB_init.mp4"),
            ("http://h/f/v1.m4s", "http://g/f/a1.m4s"),
        ];
        for (a, b) in two {
            assert!(!may_be_one(a, b), "{a} {b}");
        }
    }
}
