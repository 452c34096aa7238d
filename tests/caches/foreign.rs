//! Bytes in front of a segment, codings of answers, and initialisation that is no answer.

use crate::{Cache, Case, FILM, ONE, fmp4, media::SEGMENTS, ts, vod, vod_with};

const fn case(name: &'static str, fill: fn(&mut Cache)) -> Case {
    Case {
        name,
        fill,
        want: ONE,
    }
}

/// A picture of one pixel.
const PNG: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\
    \0\0\0\rIDATx\xdacdd`f\0\0\0\x05\0\x01\x87\xa1N\xd4\0\0\0\0IEND\xaeB`\x82";
const GIF: &[u8] =
    b"GIF89a\x01\0\x01\0\x80\0\0\xff\xff\xff\0\0\0!\xf9\x04\0\0\0\0\0,\0\0\0\0\x01\0\x01\
    \0\0\x02\x02D\x01\0;";
const JPEG: &[u8] =
    b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\xff\xdb\0C\0\x08\x06\x06\
    \x07\x06\x05\x08\xff\xd9";
const BMP: &[u8] =
    b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0\0\0\0\0\
    \x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\0";
const WEBP: &[u8] =
    b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0/\0\0\0\x10\x07\x10\x11\x11\x88\x88\xfe\x07\0";

/// Transport stream segments with something in front of each.
fn hidden(cache: &mut Cache, kind: &str, change: impl Fn(usize, &[u8]) -> Vec<u8>) {
    cache.list(
        &format!("{FILM}index.m3u8"),
        &vod(SEGMENTS, |n| format!("img{n}.png")),
    );
    for (n, body) in ts("one").iter().enumerate() {
        cache.put(&format!("{FILM}img{n}.png"), kind, &change(n, body));
    }
}

/// Fragments, changed; their initialisation segment has the number of none.
fn hidden_fragments(cache: &mut Cache, change: impl Fn(&[u8]) -> Vec<u8>) {
    let (init, fragments) = fmp4("fmp4-one");
    cache.list(
        &format!("{FILM}index.m3u8"),
        &vod_with("init.jpg", SEGMENTS, |n| format!("img{n}.jpg")),
    );
    cache.put(&format!("{FILM}init.jpg"), "image/jpeg", &change(&init));
    for (n, body) in fragments.iter().enumerate() {
        cache.put(&format!("{FILM}img{n}.jpg"), "image/jpeg", &change(body));
    }
}

/// Segments by a content coding that the answer states.
fn coded(cache: &mut Cache, coding: &str, code: impl Fn(&[u8]) -> Vec<u8>) {
    cache.list(
        &format!("{FILM}index.m3u8"),
        &vod(SEGMENTS, |n| format!("seg{n}.ts")),
    );
    let header = format!("content-encoding:{coding}");
    for (n, body) in ts("one").iter().enumerate() {
        let url = format!("{FILM}seg{n}.ts");
        cache.put_with(&url, "video/mp2t", &header, &code(body));
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(bytes).unwrap();
    zlib.finish().unwrap()
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..=three.len()].copy_from_slice(three);
        let bits = u32::from_be_bytes(group);
        for place in 0..4 {
            let digit = DIGITS[((bits >> (18 - place * 6)) & 63) as usize];
            text.push(if place <= three.len() {
                digit.into()
            } else {
                '='
            });
        }
    }
    text
}

pub(crate) const CASES: [Case; 22] = [
    case("a small PNG before each segment", |c| {
        hidden(c, "image/png", |_, b| [PNG, b].concat());
    }),
    case("the type of a picture, and no picture", |c| {
        hidden(c, "image/png", |_, b| b.into());
    }),
    case("a large PNG before each segment", |c| {
        // The data of a picture may be of any length: 70 kB here.
        let mut large = PNG[..33].to_vec();
        large.extend(70_000_u32.to_be_bytes());
        large.extend(b"IDAT");
        large.extend((0..70_004_u32).map(|n| ((n * 7919) >> 5) as u8));
        large.extend(&PNG[PNG.len() - 12..]);
        hidden(c, "image/png", |_, b| [&large, b].concat());
    }),
    case("a GIF", |c| {
        hidden(c, "image/gif", |_, b| [GIF, b].concat())
    }),
    case("a JPEG", |c| {
        hidden(c, "image/jpeg", |_, b| [JPEG, b].concat())
    }),
    case("a BMP", |c| {
        hidden(c, "image/bmp", |_, b| [BMP, b].concat())
    }),
    case("a WebP", |c| {
        hidden(c, "image/webp", |_, b| [WEBP, b].concat())
    }),
    case("another picture before each", |c| {
        hidden(c, "image/png", |n, b| [[PNG, GIF, JPEG][n % 3], b].concat());
    }),
    case("a page before each", |c| {
        hidden(c, "text/html", |_, b| {
            [b"<!DOCTYPE html><html><body></body></html>\n", b].concat()
        });
    }),
    case("the head of a font before each", |c| {
        hidden(c, "font/woff2", |_, b| {
            [b"wOF2\0\x01\0\0", &[0; 300][..], b].concat()
        });
    }),
    case("a picture behind each", |c| {
        hidden(c, "image/png", |_, b| [b, PNG].concat());
    }),
    case("foreign bytes before one segment", |c| {
        hidden(c, "video/mp2t", |n, b| {
            let foreign: &[u8] = if n == 2 { &[0xff; 100] } else { &[] };
            [foreign, b].concat()
        });
    }),
    case("a PNG before fragments", |c| {
        hidden_fragments(c, |b| [PNG, b].concat());
    }),
    case("a JPEG before fragments", |c| {
        hidden_fragments(c, |b| [JPEG, b].concat());
    }),
    case(
        "the head of a PNG, and no end of one, before fragments",
        |c| {
            hidden_fragments(c, |b| [&PNG[..8], b].concat());
        },
    ),
    case("an unknown coding", |c| {
        coded(c, "aws-chunked", |b| b.into());
    }),
    case("a character set as coding", |c| {
        coded(c, "UTF-8", |b| b.into());
    }),
    case("gzip", |c| coded(c, "gzip", gzip)),
    case("gzip by its old name", |c| coded(c, "x-gzip", gzip)),
    case("deflate", |c| coded(c, "deflate", zlib)),
    case("gzip that the answer states twice", |c| {
        coded(c, "gzip, gzip", |b| gzip(&gzip(b)));
    }),
    case("initialisation in the playlist", |c| {
        let (init, fragments) = fmp4("fmp4-one");
        let data = format!("data:video/mp4;base64,{}", base64(&init));
        c.list(
            &format!("{FILM}index.m3u8"),
            &vod_with(&data, SEGMENTS, |n| format!("seg{n}.m4s")),
        );
        c.segments(&fragments, |n| format!("{FILM}seg{n}.m4s"));
    }),
];
