use std::ops::Range;

use proptest::prelude::*;

use super::*;

const URL: &str = "https://a.example/v/list.m3u8?token=1";

fn media(lines: &str) -> Media {
    match parse(format!("#EXTM3U\n{lines}").as_bytes(), URL).unwrap() {
        Playlist::Media(media) => media,
        Playlist::Master(_) => panic!("a master playlist"),
    }
}

fn master(lines: &str) -> Master {
    match parse(format!("#EXTM3U\n{lines}").as_bytes(), URL).unwrap() {
        Playlist::Master(master) => master,
        Playlist::Media(_) => panic!("a media playlist"),
    }
}

/// Number, address and range of each segment.
fn listed(media: &Media) -> Vec<(u64, String, Option<Range<u64>>)> {
    let named = media
        .segments
        .iter()
        .filter_map(|(n, s)| Some((*n, s.of.clone()?)));
    named
        .map(|(n, of)| (n, of.url.rsplit('/').next().unwrap().into(), of.range))
        .collect()
}

fn names(media: &Media) -> Vec<String> {
    listed(media).into_iter().map(|(_, name, _)| name).collect()
}

#[test]
fn what_is_no_playlist() {
    let cases: [(&[u8], &str, HlsError); 8] = [
        (b"", URL, HlsError::NotHls),
        (b"<html>", URL, HlsError::NotHls),
        (b"#EXTM3U", URL, HlsError::Empty),
        (b"#EXTM3U\n#EXT-X-ENDLIST\n", URL, HlsError::Empty),
        (
            b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n",
            URL,
            HlsError::Empty,
        ),
        (
            b"#EXTM3U\n#EXT-X-I-FRAMES-ONLY\n#EXTINF:1,\na.ts\n",
            URL,
            HlsError::KeyFrames,
        ),
        (
            b"#EXTM3U\n#EXTINF:1,\na.ts\n",
            "file:///etc/list.m3u8",
            HlsError::Address,
        ),
        (
            b"#EXTM3U\n#EXTINF:1,\na.ts\n",
            "no address",
            HlsError::Address,
        ),
    ];
    for (text, url, want) in cases {
        assert_eq!(
            parse(text, url),
            Err(want),
            "{}",
            String::from_utf8_lossy(text)
        );
    }
}

#[test]
fn what_other_readers_stumble_over() {
    assert_eq!(
        names(&media(
            "#EXTINF:6,Title, with commas\na.ts\n#EXTINF:6,\nb.ts\n"
        )),
        ["a.ts", "b.ts"]
    );
    let bytes =
        b"\xef\xbb\xbf#EXTM3U\r\n#EXTINF:6,\xff\r\na.ts\r\n\r\n#EXTINF:6\r\n\xff.ts\r\n#EXTINF:6,\r\nc.ts";
    let Ok(Playlist::Media(found)) = parse(bytes, URL) else {
        panic!()
    };
    assert_eq!(names(&found), ["a.ts", "%EF%BF%BD.ts", "c.ts"]);
    assert_eq!(
        names(&media("a.ts\n#comment\nb.ts\n")),
        ["a.ts", "b.ts"],
        "without EXTINF"
    );
}

#[test]
fn variables_are_filled_in() {
    let list = "#EXT-X-DEFINE:NAME=\"host\",VALUE=\"https://cdn.example\"\n#EXT-X-DEFINE:QUERYPARAM=\"token\"\n\
                #EXT-X-DEFINE:IMPORT=\"from\"\n#EXT-X-MAP:URI=\"{$host}/init.mp4\"\n#EXTINF:6,\n{$host}/a.mp4?t={$token}\n\
                #EXTINF:6,\n{$from}{$b.ts\n";
    let found = media(list);
    let urls: Vec<_> = found
        .segments
        .values()
        .filter_map(|s| Some(s.of.clone()?.url))
        .collect();
    assert_eq!(
        urls,
        [
            "https://cdn.example/a.mp4?t=1",
            "https://a.example/v/%7B$from%7D%7B$b.ts"
        ]
    );
    assert_eq!(
        found.segments[&0].init.at().unwrap().url,
        "https://cdn.example/init.mp4"
    );
    let bomb =
        "#EXT-X-DEFINE:NAME=\"a\",VALUE=\"".to_owned() + &"x".repeat(60_000) + "\"\n{$a}{$a}{$a}\n";
    assert_eq!(
        parse(format!("#EXTM3U\n{bomb}").as_bytes(), URL),
        Err(HlsError::TooLarge)
    );
}

#[test]
fn parts_of_segments_to_come_are_no_segments() {
    let list = "#EXT-X-PART-INF:PART-TARGET=1\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=3\n\
                #EXTINF:4,\na.mp4\n#EXT-X-PART:DURATION=1,URI=\"b.0.mp4\"\n#EXT-X-PART:DURATION=1,URI=\"b.1.mp4\"\n\
                #EXTINF:4,\nb.mp4\n#EXT-X-PART:DURATION=1,URI=\"c.0.mp4\",INDEPENDENT=YES\n\
                #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"c.1.mp4\"\n#EXT-X-RENDITION-REPORT:URI=\"../low.m3u8\",LAST-MSN=9\n";
    assert_eq!(names(&media(list)), ["a.mp4", "b.mp4"]);
}

#[test]
fn lengths_are_numbers_of_seconds() {
    let cases = [
        ("4.5", 4.5),
        ("4", 4.0),
        ("-1", 0.0),
        ("nan", 0.0),
        ("inf", 0.0),
        ("1e300", 3600.0),
        ("", 0.0),
        ("x", 0.0),
    ];
    for (text, want) in cases {
        let found = media(&format!("#EXTINF:{text},\na.ts\n"));
        assert_eq!(found.segments[&0].duration.as_secs_f64(), want, "{text}");
    }
}

#[test]
fn byte_ranges() {
    let range = |n: u64| 10 * n..10 * n + 10;
    let found = media(
        "#EXT-X-BYTERANGE:10@0\na\n#EXT-X-BYTERANGE:10\na\n#EXT-X-BYTERANGE:10@50\na\n#EXT-X-BYTERANGE:10\na\n\
         #EXT-X-BYTERANGE:10\nb\nb\n",
    );
    let ranges: Vec<_> = listed(&found).into_iter().map(|(_, _, r)| r).collect();
    let want = [
        Some(range(0)),
        Some(range(1)),
        Some(range(5)),
        Some(range(6)),
        Some(range(0)),
        None,
    ];
    assert_eq!(ranges, want);
    for wrong in ["18446744073709551615@1", "1@9223372036854775807", "0@5"] {
        assert_eq!(
            listed(&media(&format!("#EXT-X-BYTERANGE:{wrong}\na\nb\n"))).len(),
            1,
            "{wrong}"
        );
    }
}

#[test]
fn initialisation_segments_hold_until_the_next() {
    let found = media(
        "#EXT-X-MAP:URI=\"i,1.mp4\",BYTERANGE=\"20@5\"\na\nb\n#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"i2\"\nc\n",
    );
    let inits: Vec<_> = found
        .segments
        .values()
        .map(|s| s.init.at().cloned().unwrap())
        .collect();
    assert_eq!(
        inits[0],
        Ref {
            url: "https://a.example/v/i,1.mp4".into(),
            range: Some(5..25)
        }
    );
    assert_eq!(inits[1], inits[0]);
    assert_eq!(inits[2], Ref::whole("https://a.example/v/i2"));
    assert_eq!(
        found
            .segments
            .values()
            .map(|s| s.discontinuity)
            .collect::<Vec<_>>(),
        [0, 0, 1]
    );
}

#[test]
fn a_key_is_seen_however_it_is_written() {
    let cases = [
        ("METHOD=AES-128,URI=\"k\"", Some("AES-128")),
        ("METHOD=AES-128,URI=k", Some("AES-128")),
        ("METHOD=\"SAMPLE-AES\",URI=\"k\"", Some("SAMPLE-AES")),
        (
            "URI=\"skd://x,METHOD=NONE\",METHOD=SAMPLE-AES-CTR",
            Some("SAMPLE-AES-CTR"),
        ),
        ("garbage", Some("an unknown method")),
        ("", Some("an unknown method")),
        ("METHOD=NONE", None),
    ];
    for (attributes, want) in cases {
        let found = media(&format!("#EXT-X-KEY:{attributes}\na.ts\n"));
        let own = &found.segments[&0].protected;
        assert_eq!(own.as_deref(), want, "{attributes}");
    }
    let found = media("a\n#EXT-X-KEY:METHOD=AES-128\nb\n#EXT-X-KEY:METHOD=NONE\nc\n");
    let keys: Vec<_> = found
        .segments
        .values()
        .map(|s| s.protected.is_some())
        .collect();
    assert_eq!(keys, [false, true, false], "a key holds until the next one");
}

#[test]
fn a_master_playlist() {
    let found = master(
        "#EXT-X-SESSION-DATA:DATA-ID=\"com.apple.hls.title\",VALUE=\"A film\"\n\
         #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"hi\",NAME=\"de\",LANGUAGE=\"de\",URI=\"de-hi.m3u8\"\n\
         #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"lo\",NAME=\"de\",LANGUAGE=\"de\",URI=\"de-lo.m3u8\"\n\
         #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"hi\",NAME=\"en\",LANGUAGE=\"en\"\n\
         #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"s\",NAME=\"en\",LANGUAGE=\"en\",URI=\"s.m3u8\"\n\
         #EXT-X-STREAM-INF:BANDWIDTH=100,RESOLUTION=160x90,CODECS=\"avc1.4d,mp4a.40.2\"\nl.m3u8\n\
         #EXT-X-STREAM-INF:BANDWIDTH=900,RESOLUTION=1280x720\nh.m3u8\n\
         #EXT-X-STREAM-INF:BANDWIDTH=50,CODECS=\"mp4a.40.2\"\nsound.m3u8\n\
         #EXT-X-STREAM-INF:BANDWIDTH=1\nhttps://a.example/v/list.m3u8?token=1\n",
    );
    assert_eq!(found.title.as_deref(), Some("A film"));
    let media: Vec<Media> = found
        .playlists()
        .map(|url| Media {
            url: url.into(),
            ended: true,
            ..media("#EXTINF:4,\na.ts\n")
        })
        .collect();
    let assembly = found
        .assembly(|url| media.iter().find(|m| m.url == url))
        .unwrap();
    let shape: Vec<_> = assembly
        .tracks
        .iter()
        .map(|t| (t.kind, t.language.as_deref(), t.variants.len()))
        .collect();
    assert_eq!(
        shape,
        [
            (TrackKind::Video, None, 2),
            (TrackKind::Audio, Some("de"), 2),
            (TrackKind::Subtitles, Some("en"), 1)
        ],
        "sound only is no quality of pictures, and no playlist is its own variant"
    );
    assert_eq!(
        assembly.tracks[0].variants[0].height,
        Some(720),
        "the best first"
    );
    assert!(assembly.ended);
    assert_eq!(found.assembly(|_| None), None);
}

#[test]
fn windows_of_a_live_stream() {
    let window = |from: u64, to: u64| {
        let lines = (from..to).fold(
            format!("#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:{from}\n"),
            |t, n| t + &format!("#EXTINF:4,\ns{n}.ts?t={from}\n"),
        );
        media(&lines)
    };
    let mut live = window(5, 8);
    assert!(live.unite(&window(6, 10), &|_| false), "tokens change");
    assert!(live.unite(&window(12, 13), &|_| false));
    let slots = &live.assembly().tracks[0].variants[0].slots;
    let starts: Vec<_> = slots.iter().map(|s| s.start.as_secs()).collect();
    assert_eq!(
        starts,
        [0, 4, 8, 12, 16, 20, 28],
        "two segments that no window had are one gap"
    );
    assert_eq!(slots[5].of, None);
    let other = media("#EXT-X-MEDIA-SEQUENCE:6\nother.ts\n");
    assert!(
        !live.unite(&other, &|_| false),
        "another stream at the same address"
    );
    let skipped =
        media("#EXT-X-MEDIA-SEQUENCE:5\n#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n#EXTINF:4,\ns8.ts\n");
    assert!(live.unite(&skipped, &|_| false));
    let gap = media("#EXT-X-GAP\n#EXTINF:4,\na\n#EXTINF:4,\nb\n");
    assert_eq!(names(&gap), ["b"]);
}

/// What the versions of a live playlist list together: number, name and discontinuities before it.
fn united(versions: &[&str]) -> Vec<Vec<(u64, String, u32)>> {
    let mut all: Vec<Media> = Vec::new();
    for version in versions {
        let version = media(version);
        let joined = all
            .last_mut()
            .is_some_and(|last| last.unite(&version, &|_| false));
        if !joined {
            all.push(version);
        }
    }
    let listed = |media: &Media| {
        let name = |s: &Segment| {
            let url = &s.of.as_ref().unwrap().url;
            url.rsplit('/').next().unwrap().to_owned()
        };
        let segments = media.segments.iter();
        segments
            .map(|(n, s)| (*n, name(s), s.discontinuity))
            .collect()
    };
    all.iter().map(listed).collect()
}

#[test]
fn senders_that_count_as_they_like() {
    let row = |list: &[(u64, &str, u32)]| -> Vec<(u64, String, u32)> {
        list.iter()
            .map(|(n, name, d)| (*n, (*name).into(), *d))
            .collect()
    };
    let seq = |n: u32, rest: &str| format!("#EXT-X-MEDIA-SEQUENCE:{n}\n{rest}");
    let four = row(&[(0, "1", 0), (1, "2", 0), (2, "3", 0), (3, "4", 0)]);
    // It never counts up.
    let stuck = ["1\n2\n3\n", "2\n3\n4\n"].map(|list| seq(0, list));
    assert_eq!(united(&[&stuck[0], &stuck[1]]), [four]);
    // It starts over in the middle.
    let again = [seq(40, "1\n2\n3\n"), seq(0, "2\n3\n4\n")];
    let moved = row(&[(40, "1", 0), (41, "2", 0), (42, "3", 0), (43, "4", 0)]);
    assert_eq!(united(&[&again[0], &again[1]]), [moved]);
    // It starts over and has nothing in common: what lies between is unknown.
    let anew = [seq(7, "1\n2\n"), seq(0, "5\n6\n")];
    let apart = row(&[(7, "1", 0), (8, "2", 0), (9, "5", 1), (10, "6", 1)]);
    assert_eq!(united(&[&anew[0], &anew[1]]), [apart]);
    // A discontinuity leaves the window, and no tag counts it.
    let slides = [
        seq(0, "1\n#EXT-X-DISCONTINUITY\n2\n3\n"),
        seq(1, "2\n3\n4\n"),
        seq(2, "3\n4\n5\n"),
    ];
    let counted = row(&[
        (0, "1", 0),
        (1, "2", 1),
        (2, "3", 1),
        (3, "4", 1),
        (4, "5", 1),
    ]);
    assert_eq!(united(&[&slides[0], &slides[1], &slides[2]]), [counted]);
    // Delta updates: before the number, and over a discontinuity.
    let full = "#EXT-X-MEDIA-SEQUENCE:5\n1\n#EXT-X-DISCONTINUITY\n2\n3\n";
    let delta = "#EXT-X-SKIP:SKIPPED-SEGMENTS=2\n#EXT-X-MEDIA-SEQUENCE:5\n3\n4\n";
    let both = row(&[(5, "1", 0), (6, "2", 1), (7, "3", 1), (8, "4", 1)]);
    assert_eq!(united(&[full, delta]), [both]);
}

/// Number, and how the parts and the segment itself are named.
fn in_parts(media: &Media) -> Vec<(u64, String)> {
    let name = |of: &Ref| match &of.range {
        Some(range) => format!("{}[{range:?}]", of.url.rsplit('/').next().unwrap()),
        None => of.url.rsplit('/').next().unwrap().into(),
    };
    let told = |s: &Segment| {
        let of = |p: &PartialSegment| p.of.as_ref().map(name).unwrap_or_default();
        let parts: Vec<_> = s.parts.iter().map(of).collect();
        format!(
            "{} = {}",
            s.of.as_ref().map_or_else(|| "?".into(), name),
            parts.join(" + ")
        )
    };
    media.segments.iter().map(|(n, s)| (*n, told(s))).collect()
}

#[test]
fn parts_of_a_live_stream() {
    let part = |name: &str| format!("#EXT-X-PART:DURATION=1,URI=\"{name}\"\n");
    let segment = |name: &str| format!("#EXTINF:2,\n{name}\n");
    let mut live = media(
        &[
            segment("0"),
            part("1a"),
            part("1b"),
            segment("1"),
            part("2a"),
        ]
        .concat(),
    );
    assert_eq!(
        in_parts(&live),
        [
            (0, "0 = ".into()),
            (1, "1 = 1a + 1b".into()),
            (2, "? = 2a".into())
        ]
    );
    let later = [
        segment("1"),
        part("2a"),
        part("2b"),
        segment("2"),
        part("3a"),
    ]
    .concat();
    let later = media(&format!("#EXT-X-MEDIA-SEQUENCE:1\n{later}"));
    assert!(live.unite(&later, &|_| false));
    let last = [segment("2"), segment("3")].concat();
    let last = media(&format!("#EXT-X-MEDIA-SEQUENCE:2\n{last}#EXT-X-ENDLIST\n"));
    assert!(live.unite(&last, &|_| false));
    assert_eq!(
        in_parts(&live),
        [
            (0, "0 = ".into()),
            (1, "1 = 1a + 1b".into()),
            (2, "2 = 2a + 2b".into()),
            (3, "3 = 3a".into())
        ]
    );
    let slots = &live.assembly().tracks[0].variants[0].slots;
    assert_eq!(
        slots.iter().map(|s| s.start.as_secs()).collect::<Vec<_>>(),
        [0, 2, 4, 6]
    );
    // Ranges go on where the part before ended; what can't be loaded has its place.
    let odd = "#EXT-X-PART:DURATION=1,URI=\"a\",BYTERANGE=\"10@0\"\n\
               #EXT-X-PART:DURATION=1,URI=\"a\",BYTERANGE=5\n#EXT-X-PART:DURATION=1,URI=\"b\",GAP=YES\n\
               #EXT-X-PART:DURATION=1,URI=\"blob:x\"\n#EXT-X-PART:DURATION=1\n";
    assert_eq!(
        in_parts(&media(odd)),
        [(0, "? = a[0..10] + a[10..15] +  + ".into())]
    );
    let many = "#EXT-X-PART:DURATION=1,URI=\"a\"\n".repeat(100_000);
    assert_eq!(
        parse(format!("#EXTM3U\n{many}").as_bytes(), URL),
        Err(HlsError::TooLarge)
    );
}

#[test]
fn hostile() {
    let many = |n: usize| "#EXTINF:1,\na\n".repeat(n);
    assert_eq!(
        parse(format!("#EXTM3U\n{}", many(100_000)).as_bytes(), URL),
        Err(HlsError::TooLarge)
    );
    let streams = "#EXT-X-STREAM-INF:BANDWIDTH=1\na\n".repeat(100_000);
    assert_eq!(
        parse(format!("#EXTM3U\n{streams}").as_bytes(), URL),
        Err(HlsError::TooLarge)
    );
    let long = format!(
        "#EXTM3U\n#EXT-X-MAP:URI=\"{}\"\n{}",
        "x".repeat(60_000),
        many(40_000)
    );
    assert_eq!(
        parse(long.as_bytes(), URL),
        Err(HlsError::TooLarge),
        "one long address for each segment"
    );
    // Each of these took another reader quadratic time.
    for line in [
        "#EXT-X-KEY:\n",
        "#EXT-X-MEDIA:=\n",
        "#EXT-X-MEDIA:A=\"\n",
        "#EXT-X-MAP:,,,,\n",
    ] {
        let _ = parse(format!("#EXTM3U\n{}", line.repeat(100_000)).as_bytes(), URL);
    }
    let far = media("#EXT-X-MEDIA-SEQUENCE:18446744073709551615\na\nb\n");
    assert_eq!(
        far.assembly().tracks[0].variants[0].slots.len(),
        far.segments.len()
    );
    let mut near = media("#EXT-X-TARGETDURATION:3600\na\n");
    assert!(near.unite(&far, &|_| false));
    assert!(near.assembly().duration() < Duration::from_secs(1 << 40));
}

proptest! {
    #[test]
    fn never_panics(lines in prop::collection::vec("(#EXT(INF|-X-(KEY|MAP|PART|MEDIA|STREAM-INF|BYTERANGE|SKIP|MEDIA-SEQUENCE|DISCONTINUITY))?)?:?[ -~\u{e9}]{0,20}", 0..40)) {
        if let Ok(Playlist::Media(media)) = parse(format!("#EXTM3U\n{}", lines.join("\n")).as_bytes(), URL) {
            let _ = media.assembly().duration();
        }
    }
}
