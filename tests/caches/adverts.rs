//! Adverts in a film, and films in parts: other hosts, time scales, codecs and containers.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::{
    Cache, Case, END, FILM, HEAD, ONE, Want, fmp4, left_out, lines,
    media::{self, SEGMENTS},
    ts, whole,
};

const fn case(name: &'static str, fill: fn(&mut Cache), want: Want) -> Case {
    Case { name, fill, want }
}

const BREAK: &str = "#EXT-X-DISCONTINUITY\n";
const KEY: &str = "#EXT-X-KEY:METHOD=AES-128,URI=\"key.bin\"\n";
const CLEAR: &str = "#EXT-X-KEY:METHOD=NONE\n";

fn map(folder: &str) -> String {
    format!("#EXT-X-MAP:URI=\"{folder}/init.mp4\"\n")
}

/// What is encrypted.
fn noise(number: usize) -> Vec<u8> {
    let word = |n: usize| {
        let mut hasher = DefaultHasher::new();
        (number, n).hash(&mut hasher);
        hasher.finish().to_le_bytes()
    };
    (0..16_000).flat_map(word).collect()
}

/// Puts a set of fragments into a folder of its own.
fn fragments(cache: &mut Cache, set: &str, folder: &str) {
    let (init, fragments) = fmp4(set);
    cache.put(&format!("{FILM}{folder}/init.mp4"), "video/mp4", &init);
    cache.segments(&fragments, |n| format!("{FILM}{folder}/seg{n}.m4s"));
}

/// The lines of a set of fragments.
fn part(folder: &str, segments: std::ops::Range<usize>) -> String {
    map(folder)
        + &lines(segments.len(), |n| {
            format!("{folder}/seg{}.m4s", n + segments.start)
        })
}

fn list(cache: &mut Cache, parts: &[String]) {
    let text = format!("{HEAD}{}{END}", parts.join(BREAK));
    cache.list(&format!("{FILM}index.m3u8"), &text);
}

pub(crate) const CASES: [Case; 9] = [
    case(
        "a clear film behind encrypted adverts",
        |c| {
            let text = format!(
                "{HEAD}{KEY}{}{BREAK}{CLEAR}{}{END}",
                lines(3, |n| format!("../ads/ad{n}.ts")),
                lines(SEGMENTS, |n| format!("seg{n}.ts")),
            );
            c.list(&format!("{FILM}index.m3u8"), &text);
            for n in 0..3 {
                let url = format!("https://cdn.example/ads/ad{n}.ts");
                c.put(&url, "video/mp2t", &noise(n));
            }
            c.segments(&ts("one"), |n| format!("{FILM}seg{n}.ts"));
        },
        ONE,
    ),
    case(
        "an encrypted film behind a clear advert",
        |c| {
            let text = format!(
                "{HEAD}{}{BREAK}{KEY}{}{END}",
                lines(2, |n| format!("../ads/ad{n}.ts")),
                lines(SEGMENTS, |n| format!("seg{n}.ts")),
            );
            c.list(&format!("{FILM}index.m3u8"), &text);
            let advert = media::segments("small-ts", "ts");
            c.segments(&advert, |n| format!("https://cdn.example/ads/ad{n}.ts"));
            for n in 0..SEGMENTS {
                c.put(&format!("{FILM}seg{n}.ts"), "video/mp2t", &noise(n));
            }
        },
        left_out("encrypted"),
    ),
    case(
        "two parts on two hosts",
        |c| {
            let part = |host: &str, count| {
                lines(count, |n| {
                    format!("https://cdn-{host}.example/film/{host}/seg{n}.ts")
                })
            };
            let text = format!("{HEAD}{}{BREAK}{}{END}", part("a", 6), part("b", 5));
            c.list(&format!("{FILM}index.m3u8"), &text);
            for (host, film, count) in [("a", "one", 6), ("b", "two", 5)] {
                c.segments(&ts(film)[..count], |n| {
                    format!("https://cdn-{host}.example/film/{host}/seg{n}.ts")
                });
            }
        },
        whole(&[(1100, 440)]),
    ),
    case(
        "two parts on two time scales",
        |c| {
            list(c, &[part("a", 0..6), part("b", 0..6)]);
            fragments(c, "fmp4-one", "a");
            fragments(c, "fmp4-90000", "b");
        },
        whole(&[(1200, 880)]),
    ),
    case(
        "an advert by another codec before the film",
        |c| {
            list(c, &[part("ad", 0..2), part("film", 0..6)]);
            fragments(c, "hevc", "ad");
            fragments(c, "fmp4-one", "film");
        },
        ONE,
    ),
    case(
        "an advert by another codec in the film",
        |c| {
            list(
                c,
                &[part("film", 0..3), part("ad", 0..2), part("film", 3..6)],
            );
            fragments(c, "hevc", "ad");
            fragments(c, "fmp4-one", "film");
        },
        ONE,
    ),
    case(
        "a smaller advert before and in the film",
        |c| {
            list(
                c,
                &[
                    part("ad", 0..2),
                    part("film", 0..3),
                    part("ad", 0..2),
                    part("film", 3..6),
                ],
            );
            fragments(c, "small", "ad");
            fragments(c, "fmp4-one", "film");
        },
        whole(&[(1000, 440)]),
    ),
    case(
        "an advert in another container before the film",
        |c| {
            let advert = lines(2, |n| format!("ad/seg{n}.ts"));
            let text = format!("{HEAD}{advert}{BREAK}{}{END}", part("film", 0..6));
            c.list(&format!("{FILM}index.m3u8"), &text);
            let advert = media::segments("small-ts", "ts");
            c.segments(&advert, |n| format!("{FILM}ad/seg{n}.ts"));
            fragments(c, "fmp4-one", "film");
        },
        ONE,
    ),
    case(
        "adverts on another host between transport streams",
        |c| {
            let film = |from: usize| lines(3, |n| format!("seg{}.ts", from + n));
            let advert = lines(2, |n| format!("https://ads.example/a/seg{n}.ts"));
            let text = format!("{HEAD}{}{BREAK}{advert}{BREAK}{}{END}", film(0), film(3));
            c.list(&format!("{FILM}index.m3u8"), &text);
            let advert = media::segments("small-ts", "ts");
            c.segments(&advert, |n| format!("https://ads.example/a/seg{n}.ts"));
            c.segments(&ts("one"), |n| format!("{FILM}seg{n}.ts"));
        },
        ONE,
    ),
];
