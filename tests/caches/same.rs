//! Addresses that differ in the query, the host or the folder: two things, or one.

use crate::{
    BOTH, Cache, Case, END, FILM, HEAD, INCOMPLETE, ONE, Want, fmp4, left_out,
    media::{FRAMES, SEGMENTS, read},
    ts, vod, vod_with, whole,
};

const fn case(name: &'static str, fill: fn(&mut Cache), want: Want) -> Case {
    Case { name, fill, want }
}

const API: &str = "https://cdn.example/api/";

/// A film at an address that only its query tells from others.
fn by_query(cache: &mut Cache, film: &str, id: &str) {
    cache.list(
        &format!("{API}index.m3u8?m={id}"),
        &vod(SEGMENTS, |n| format!("ts?m={id}&n={n}")),
    );
    cache.segments(&ts(film), |n| format!("{API}ts?m={id}&n={n}"));
}

/// A film whose playlist is not stored.
fn unlisted(cache: &mut Cache, film: &str, url: impl Fn(usize) -> String) {
    cache.segments(&ts(film), url);
}

/// Pictures or sound without a playlist.
fn unlisted_track(cache: &mut Cache, set: &str, folder: &str) {
    let (init, fragments) = fmp4(set);
    cache.put(&format!("{folder}/init.mp4"), "video/mp4", &init);
    cache.segments(&fragments, |n| format!("{folder}/seg{n}.m4s"));
}

pub(crate) const CASES: [Case; 29] = [
    case(
        "transport stream",
        |c| {
            c.list(
                &format!("{FILM}index.m3u8"),
                &vod(SEGMENTS, |n| format!("seg{n}.ts")),
            );
            c.segments(&ts("one"), |n| format!("{FILM}seg{n}.ts"));
        },
        ONE,
    ),
    case(
        "fragments",
        |c| {
            let (init, fragments) = fmp4("fmp4-one");
            c.list(
                &format!("{FILM}index.m3u8"),
                &vod_with("init.mp4", SEGMENTS, |n| format!("seg{n}.m4s")),
            );
            c.put(&format!("{FILM}init.mp4"), "video/mp4", &init);
            c.segments(&fragments, |n| format!("{FILM}seg{n}.m4s"));
        },
        ONE,
    ),
    case(
        "two files by query",
        |c| {
            for (id, film) in [("AAA", "one"), ("BBB", "two")] {
                let url = format!("https://inv.example/latest_version?id={id}&itag=18");
                c.put(&url, "video/mp4", &read(&format!("{film}.mp4")));
            }
        },
        BOTH,
    ),
    case(
        "two playlists by query",
        |c| {
            by_query(c, "one", "AAA");
            by_query(c, "two", "BBB");
        },
        BOTH,
    ),
    case(
        "three films by query at once, one of them begun",
        |c| {
            for id in ["AAA", "BBB", "CCC"] {
                c.list(
                    &format!("{API}index.m3u8?m={id}"),
                    &vod(SEGMENTS, |n| format!("ts?m={id}&n={n}")),
                );
            }
            for n in 0..SEGMENTS {
                for (id, film) in [("AAA", "one"), ("BBB", "two"), ("CCC", "two")] {
                    if id != "CCC" || n > 1 {
                        let url = format!("{API}ts?m={id}&n={n}");
                        c.put(&url, "video/mp2t", &ts(film)[n]);
                    }
                }
            }
        },
        Want {
            whole: &[(FRAMES, 440), (FRAMES, 880)],
            incomplete: 1,
            said: None,
        },
    ),
    case(
        "a segment is missing, and others differ in the query only",
        |c| {
            c.list(
                &format!("{API}index.m3u8?m=AAA"),
                &vod(SEGMENTS, |n| format!("ts?m=AAA&n={n}")),
            );
            for (n, body) in ts("one").iter().enumerate().filter(|(n, _)| *n != 3) {
                c.put(&format!("{API}ts?m=AAA&n={n}"), "video/mp2t", body);
            }
        },
        INCOMPLETE,
    ),
    case(
        "a segment is missing, and another host has one of that name",
        |c| {
            for (host, film) in [("a", "one"), ("b", "two")] {
                let at = format!("https://{host}.example/hls/");
                c.list(
                    &format!("{at}index.m3u8"),
                    &vod(SEGMENTS, |n| format!("seg{n}.ts")),
                );
                for (n, body) in ts(film).iter().enumerate() {
                    if (host, n) != ("a", 3) {
                        c.put(&format!("{at}seg{n}.ts"), "video/mp2t", body);
                    }
                }
            }
        },
        Want {
            whole: &[(FRAMES, 880)],
            incomplete: 1,
            said: None,
        },
    ),
    case(
        "no playlist, one film by query",
        |c| {
            unlisted(c, "one", |n| {
                format!("https://cdn.example/get?f=the-film&n={n}")
            });
        },
        ONE,
    ),
    case(
        "no playlist, two films by query",
        |c| {
            for (id, film) in [("harbour", "one"), ("river", "two")] {
                unlisted(c, film, |n| format!("https://cdn.example/get?f={id}&n={n}"));
            }
        },
        BOTH,
    ),
    case(
        "no playlist, two films by path",
        |c| {
            for (id, film) in [("aaa", "one"), ("bbb", "two")] {
                unlisted(c, film, |n| format!("https://cdn.example/{id}/get?n={n}"));
            }
        },
        BOTH,
    ),
    case(
        "no playlist, two films by a number in the file's name",
        |c| {
            for (id, film) in [("48151", "one"), ("62342", "two")] {
                unlisted(c, film, |n| {
                    format!("https://cdn.example/media_{id}_{n}.ts")
                });
            }
        },
        BOTH,
    ),
    case(
        "no playlist, tokens that change with each segment",
        |c| {
            unlisted(c, "one", |n| {
                format!(
                    "https://cdn.example/v/seg{n}.ts?token=x{}&expires={n}",
                    n * 7
                )
            });
        },
        ONE,
    ),
    case(
        "no playlist, a mute film and another with its sound apart",
        |c| {
            unlisted_track(c, "v-one", "https://cdn.example/harbour/video");
            unlisted_track(c, "v-two", "https://cdn.example/river/video");
            unlisted_track(c, "a-two", "https://cdn.example/river/audio");
        },
        whole(&[(FRAMES, 0), (FRAMES, 880)]),
    ),
    case(
        "a master whose playlists differ in the query",
        |c| {
            c.list(
                &format!("{FILM}master.m3u8"),
                "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=2000000,RESOLUTION=1280x720\n\
                 list.m3u8?q=720\n#EXT-X-STREAM-INF:BANDWIDTH=500000,RESOLUTION=320x180\n\
                 list.m3u8?q=360\n",
            );
            c.list(
                &format!("{FILM}list.m3u8?q=360"),
                &vod(SEGMENTS, |n| format!("360/seg{n}.ts")),
            );
            c.segments(&ts("one"), |n| format!("{FILM}360/seg{n}.ts"));
        },
        ONE,
    ),
    case(
        "sound apart whose playlist differs in the query",
        |c| {
            c.list(
                &format!("{FILM}master.m3u8"),
                "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"x\",DEFAULT=YES,\
                 URI=\"list?t=a\"\n#EXT-X-STREAM-INF:BANDWIDTH=2000000,RESOLUTION=1280x720,\
                 AUDIO=\"a\"\nlist?t=v\n",
            );
            for track in ["v", "a"] {
                let (init, fragments) = fmp4(&format!("{track}-one"));
                let at = |i: &str| format!("get?t={track}&i={i}");
                c.list(
                    &format!("{FILM}list?t={track}"),
                    &vod_with(&at("init"), fragments.len(), |n| at(&n.to_string())),
                );
                c.put(&format!("{FILM}{}", at("init")), "video/mp4", &init);
                c.segments(&fragments, |n| format!("{FILM}{}", at(&n.to_string())));
            }
        },
        ONE,
    ),
    case(
        "two films with sound apart, by query, no master",
        |c| {
            for (id, film) in [("77", "one"), ("78", "two")] {
                for track in ["v", "a"] {
                    let (init, fragments) = fmp4(&format!("{track}-{film}"));
                    let at = |i: &str| {
                        format!("https://cdn.example/get?video={id}&type={track}&seg={i}")
                    };
                    c.put(&at("0"), "video/mp4", &init);
                    c.segments(&fragments, |n| at(&(n + 1).to_string()));
                }
            }
        },
        BOTH,
    ),
    case(
        "redirected segments",
        |c| {
            c.list(
                &format!("{FILM}index.m3u8"),
                &vod(SEGMENTS, |n| format!("seg{n}.ts")),
            );
            c.segments(&ts("one"), |n| {
                format!(
                    "https://edge{n}.cdn.example/x/the-film/seg{n}.ts?tok={}",
                    n * 7
                )
            });
        },
        ONE,
    ),
    case(
        "redirected fragments, and their initialisation is not",
        |c| {
            let (init, fragments) = fmp4("fmp4-one");
            c.list(
                &format!("{FILM}index.m3u8"),
                &vod_with("init.mp4", SEGMENTS, |n| format!("seg{n}.m4s")),
            );
            c.put(&format!("{FILM}init.mp4"), "video/mp4", &init);
            c.segments(&fragments, |n| {
                format!("https://edge{n}.cdn.example/x/the-film/seg{n}.m4s?tok={n}")
            });
        },
        ONE,
    ),
    case(
        "everything redirected",
        |c| {
            let (init, fragments) = fmp4("fmp4-one");
            c.list(
                &format!("{FILM}index.m3u8"),
                &vod_with("init.mp4", SEGMENTS, |n| format!("seg{n}.m4s")),
            );
            let edge = |name: &str| format!("https://edge9.cdn.example/x/the-film/{name}?tok=1");
            c.put(&edge("init.mp4"), "video/mp4", &init);
            c.segments(&fragments, |n| edge(&format!("seg{n}.m4s")));
        },
        ONE,
    ),
    case(
        "two films, all their segments redirected",
        |c| {
            for (id, film) in [("harbour", "one"), ("river", "two")] {
                let at = format!("https://site.example/{id}/");
                c.list(
                    &format!("{at}index.m3u8"),
                    &vod(SEGMENTS, |n| format!("seg{n}.ts")),
                );
                c.segments(&ts(film), |n| {
                    format!("https://edge{n}.cdn.example/{id}/seg{n}.ts?tok={n}")
                });
            }
        },
        BOTH,
    ),
    case(
        "two pathways",
        |c| {
            let variant = |host: &str| {
                format!(
                    "#EXT-X-STREAM-INF:BANDWIDTH=2000000,RESOLUTION=1280x720\n\
                     https://cdn-{host}.example/v/720.m3u8\n"
                )
            };
            c.list(
                &format!("{FILM}master.m3u8"),
                &format!("#EXTM3U\n{}{}", variant("a"), variant("b")),
            );
            for host in ["a", "b"] {
                c.list(
                    &format!("https://cdn-{host}.example/v/720.m3u8"),
                    &vod(SEGMENTS, |n| format!("seg{n}.ts")),
                );
            }
            c.segments(&ts("one"), |n| {
                let host = if n < 3 { "a" } else { "b" };
                format!("https://cdn-{host}.example/v/seg{n}.ts")
            });
        },
        ONE,
    ),
    case(
        "without an end, and of a kind that has one",
        |c| {
            let text = format!(
                "{HEAD}#EXT-X-PLAYLIST-TYPE:VOD\n{}",
                crate::lines(SEGMENTS, |n| format!("seg{n}.ts"))
            );
            c.list(&format!("{FILM}index.m3u8"), &text);
            c.segments(&ts("one"), |n| format!("{FILM}seg{n}.ts"));
        },
        ONE,
    ),
    case(
        "one segment again and again",
        |c| {
            let again = "#EXT-X-DISCONTINUITY\n#EXTINF:4,\nslate.ts\n".repeat(5);
            c.list(
                &format!("{FILM}index.m3u8"),
                &format!("{HEAD}#EXTINF:4,\nslate.ts\n{again}{END}"),
            );
            c.put(&format!("{FILM}slate.ts"), "video/mp2t", &ts("one")[0]);
        },
        ONE,
    ),
    case(
        "names with spaces, umlauts and signs",
        |c| {
            c.list(
                "https://cdn.example/Das%20Sch%C3%B6ne/index.m3u8",
                &vod(SEGMENTS, |n| format!("Teil {n} – [1080p] ä+b.ts")),
            );
            c.segments(&ts("one"), |n| {
                format!(
                    "https://cdn.example/Das%20Sch%C3%B6ne/Teil%20{n}%20%E2%80%93%20[1080p]%20%C3%A4+b.ts"
                )
            });
        },
        ONE,
    ),
    case(
        "lines that end as Windows ends them, a mark before them, and default ports",
        |c| {
            let text = vod(SEGMENTS, |n| {
                format!("https://CDN.example:443/the-film//seg{n}.ts ")
            });
            c.list(
                &format!("{FILM}index.m3u8"),
                &format!("\u{feff}{}", text.replace('\n', "\r\n")),
            );
            c.segments(&ts("one"), |n| {
                format!("https://cdn.example/the-film//seg{n}.ts")
            });
        },
        ONE,
    ),
    case(
        "a session in the path",
        |c| {
            c.list(
                "https://cdn.example/hls;session=8f2/index.m3u8;v=1?a=b",
                &vod(SEGMENTS, |n| format!("seg{n}.ts;v=1")),
            );
            c.segments(&ts("one"), |n| {
                format!("https://cdn.example/hls;session=8f2/seg{n}.ts;v=1")
            });
        },
        ONE,
    ),
    case(
        "a playlist that is asked for again with another token",
        |c| {
            for token in ["a1", "b2"] {
                c.list(
                    &format!("{FILM}index.m3u8?token={token}"),
                    &vod(SEGMENTS, |n| format!("seg{n}.ts?token={token}")),
                );
            }
            c.segments(&ts("one"), |n| {
                let token = if n < 3 { "a1" } else { "b2" };
                format!("{FILM}seg{n}.ts?token={token}")
            });
        },
        // That both are one film can't be known.
        Want {
            whole: &[],
            incomplete: 2,
            said: None,
        },
    ),
    case(
        "sound alone",
        |c| {
            c.list(
                &format!("{FILM}index.m3u8"),
                &vod_with("init.mp4", 7, |n| format!("seg{n}.m4s")),
            );
            let (init, fragments) = fmp4("a-one");
            c.put(&format!("{FILM}init.mp4"), "audio/mp4", &init);
            c.segments(&fragments, |n| format!("{FILM}seg{n}.m4s"));
        },
        left_out("sound without pictures"),
    ),
    case(
        "sound alone in MP3",
        |c| {
            c.list(
                &format!("{FILM}index.m3u8"),
                &vod(SEGMENTS, |n| format!("seg{n}.mp3")),
            );
            let segments = crate::media::segments("mp3", "mp3");
            c.segments(&segments, |n| format!("{FILM}seg{n}.mp3"));
        },
        left_out("sound without pictures"),
    ),
];
