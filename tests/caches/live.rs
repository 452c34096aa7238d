//! Windows that slide: senders that restart, count wrongly or not at all.

use crate::{Cache, Case, FILM, ONE, Want, fmp4, lines, media::SEGMENTS, ts, whole};

const fn case(name: &'static str, fill: fn(&mut Cache), want: Want) -> Case {
    Case { name, fill, want }
}

const HEAD: &str = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:4\n";

/// A version of a live playlist: `tags`, and what follows.
fn version(cache: &mut Cache, number: usize, tags: &str, segments: &str) {
    cache.list(
        &format!("{FILM}live.m3u8?_HLS_msn={number}"),
        &format!("{HEAD}{tags}{segments}"),
    );
}

fn sequence(number: usize) -> String {
    format!("#EXT-X-MEDIA-SEQUENCE:{number}\n")
}

/// The lines of three segments from there.
fn window(from: usize) -> String {
    lines(3, |n| format!("seg{}.ts", from + n))
}

/// The segments of the first film.
fn film(cache: &mut Cache) {
    cache.segments(&ts("one"), |n| format!("{FILM}seg{n}.ts"));
}

/// Three segments of the first film, then five of the other; in all versions from the fourth to
/// the last without its first, `tag` stands before the other.
fn two(cache: &mut Cache, counted: bool) {
    let names = ["a0", "a1", "a2", "b0", "b1", "b2", "b3", "b4"];
    let (one, other) = (ts("one"), ts("two"));
    for (n, name) in names.iter().enumerate() {
        let body = if n < 3 { &one[n] } else { &other[n - 3] };
        cache.put(&format!("{FILM}{name}.ts"), "video/mp2t", body);
    }
    for from in 0..6 {
        let mut tags = sequence(from);
        if counted {
            tags += &format!("#EXT-X-DISCONTINUITY-SEQUENCE:{}\n", usize::from(from > 3));
        }
        let line = |name: &&str| {
            let before = if *name == "b0" && from <= 3 {
                "#EXT-X-DISCONTINUITY\n"
            } else {
                ""
            };
            format!("{before}#EXTINF:4,\n{name}.ts\n")
        };
        let segments: String = names[from..from + 3].iter().map(line).collect();
        version(cache, from, &tags, &segments);
    }
}

pub(crate) const CASES: [Case; 12] = [
    case(
        "the sequence never counts up",
        |c| {
            film(c);
            (0..4).for_each(|v| version(c, v, &sequence(0), &window(v)));
        },
        ONE,
    ),
    case(
        "no sequence",
        |c| {
            film(c);
            (0..4).for_each(|v| version(c, v, "", &window(v)));
        },
        ONE,
    ),
    case(
        "the sequence starts over",
        |c| {
            film(c);
            for (v, number) in [40, 41, 0, 1].into_iter().enumerate() {
                version(c, v, &sequence(number), &window(v));
            }
        },
        ONE,
    ),
    case(
        "the sequence jumps",
        |c| {
            film(c);
            for (v, number) in [7, 8, 1009, 1010].into_iter().enumerate() {
                version(c, v, &sequence(number), &window(v));
            }
        },
        ONE,
    ),
    case(
        "the sequence starts over in another folder",
        |c| {
            let segments = ts("one");
            let name = |n: usize| match n {
                0..3 => format!("1700000000/seg{n}.ts"),
                n => format!("1700000900/seg{}.ts", n - 3),
            };
            c.segments(&segments, |n| format!("{FILM}{}", name(n)));
            version(c, 0, &sequence(40), &lines(3, name));
            version(c, 1, &sequence(0), &lines(3, |n| name(n + 3)));
        },
        ONE,
    ),
    case(
        "the sender restarts, and with it the time, without a word",
        |c| {
            let (one, other) = (ts("one"), ts("two"));
            let all = [&one[..4], &other[..4]].concat();
            c.segments(&all, |n| format!("{FILM}seg{n}.ts"));
            for (v, number) in [10, 11, 12, 0, 1, 2].into_iter().enumerate() {
                version(c, v, &sequence(number), &window(v));
            }
        },
        whole(&[(800, 880)]),
    ),
    case(
        "the time starts over within a sequence, without a word",
        |c| {
            let (one, other) = (ts("one"), ts("two"));
            let all = [&one[..4], &other[..4]].concat();
            c.segments(&all, |n| format!("{FILM}seg{n}.ts"));
            (0..6).for_each(|v| version(c, v, &sequence(v), &window(v)));
        },
        whole(&[(800, 880)]),
    ),
    case(
        "discontinuities are counted",
        |c| two(c, true),
        whole(&[(800, 880)]),
    ),
    case(
        "discontinuities are not counted",
        |c| two(c, false),
        whole(&[(800, 880)]),
    ),
    case(
        "delta updates before the sequence",
        |c| {
            film(c);
            version(c, 0, &sequence(0), &window(0));
            let skip = |count| format!("#EXT-X-SKIP:SKIPPED-SEGMENTS={count}\n");
            for from in 1..4 {
                let tags = skip(2) + &sequence(from);
                let last = format!("#EXTINF:4,\nseg{}.ts\n", from + 2);
                version(c, from, &tags, &last);
            }
        },
        ONE,
    ),
    case(
        "a live stream of fragments that ends",
        |c| {
            let (init, fragments) = fmp4("fmp4-one");
            c.put(&format!("{FILM}init.mp4"), "video/mp4", &init);
            c.segments(&fragments, |n| format!("{FILM}seg{n}.m4s"));
            for from in 0..4 {
                let tags = sequence(from) + "#EXT-X-MAP:URI=\"init.mp4\"\n";
                let end = if from == 3 { crate::END } else { "" };
                let segments = lines(3, |n| format!("seg{}.m4s", from + n));
                version(c, from, &tags, &(segments + end));
            }
        },
        ONE,
    ),
    case(
        "an event that grows",
        |c| {
            film(c);
            for count in 1..=SEGMENTS {
                let tags = sequence(0) + "#EXT-X-PLAYLIST-TYPE:EVENT\n";
                version(c, count, &tags, &lines(count, |n| format!("seg{n}.ts")));
            }
        },
        ONE,
    ),
];
