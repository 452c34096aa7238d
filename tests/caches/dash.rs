//! DASH, and what players have in its place.

use crate::{
    Cache, Case, FILM, ONE, Want, fmp4,
    media::{FRAMES, SEGMENTS, read},
    whole,
};

const fn case(name: &'static str, fill: fn(&mut Cache), want: Want) -> Case {
    Case { name, fill, want }
}

fn mpd(length: &str, inner: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" \
         mediaPresentationDuration=\"{length}\" profiles=\"x\">{inner}</MPD>"
    )
}

/// An adaptation set of one representation.
fn set(kind: &str, id: &str, inner: &str) -> String {
    format!(
        "<AdaptationSet mimeType=\"{kind}/mp4\"><Representation id=\"{id}\" bandwidth=\"800000\" \
         height=\"180\">{inner}</Representation></AdaptationSet>"
    )
}

const NUMBERED: &str = "<SegmentTemplate timescale=\"1\" duration=\"4\" startNumber=\"0\" \
    initialization=\"init.mp4\" media=\"seg$Number$.m4s\"/>";

/// The boxes of a file: kind, offset and size.
fn boxes(bytes: &[u8]) -> Vec<([u8; 4], usize, usize)> {
    let (mut at, mut found) = (0, Vec::new());
    while at + 8 <= bytes.len() {
        let size = u32::from_be_bytes(*bytes[at..].first_chunk().unwrap()) as usize;
        found.push((*bytes[at + 4..].first_chunk().unwrap(), at, size));
        at += size;
    }
    found
}

/// `SegmentBase` of a file with an index.
fn index(bytes: &[u8]) -> String {
    let boxes = boxes(bytes);
    let (_, at, size) = boxes.iter().find(|(kind, ..)| kind == b"sidx").unwrap();
    format!(
        "<SegmentBase indexRange=\"{at}-{}\"><Initialization range=\"0-{}\"/></SegmentBase>",
        at + size - 1,
        at - 1
    )
}

/// A fragmented file at addresses that name bytes of it, each asked for by itself.
fn in_pieces(cache: &mut Cache, file: &str, url: impl Fn(usize, usize) -> String) {
    let bytes = read(file);
    let mut cuts: Vec<usize> = boxes(&bytes)
        .iter()
        .filter(|(kind, ..)| kind == b"moof")
        .map(|(_, at, _)| *at)
        .collect();
    cuts.insert(0, 0);
    cuts.push(bytes.len());
    for ends in cuts.windows(2) {
        let url = url(ends[0], ends[1] - 1);
        cache.put(&url, "video/mp4", &bytes[ends[0]..ends[1]]);
    }
}

/// The tracks of a film by a manifest whose addresses `base` tells apart.
fn tracks(cache: &mut Cache, film: &str, folder: impl Fn(&str) -> String) {
    for track in ["v", "a"] {
        let (init, fragments) = fmp4(&format!("{track}-{film}"));
        let folder = folder(track);
        cache.put(&format!("{folder}init.mp4"), "video/mp4", &init);
        cache.segments(&fragments, |n| format!("{folder}seg{n}.m4s"));
    }
}

fn webm(cache: &mut Cache, sound: bool) {
    let mut manifest = String::from_utf8(read("webm/m.mpd")).unwrap();
    if !sound {
        let from = manifest.find("<AdaptationSet id=\"1\"").unwrap();
        let end = "</AdaptationSet>";
        let to = from + manifest[from..].find(end).unwrap() + end.len();
        manifest.replace_range(from..to, "");
    }
    cache.manifest(&format!("{FILM}m.mpd"), &manifest);
    for track in 0..=u8::from(sound) {
        let mut put = |name: String| {
            cache.put(
                &format!("{FILM}{name}"),
                "video/webm",
                &read(&format!("webm/{name}")),
            );
        };
        put(format!("init-{track}.webm"));
        (1..=SEGMENTS).for_each(|n| put(format!("chunk-{track}-{n}.webm")));
    }
}

/// Vimeo's player: its manifest is JSON, and the initialisation segments are in it.
fn vimeo(cache: &mut Cache, film: &str, id: &str, put: fn(&mut Cache, &str, &str)) {
    let track = |name: &str| {
        let (init, fragments) = fmp4(&format!("{name}-{film}"));
        let segments: Vec<String> = (0..fragments.len())
            .map(|n| {
                let (start, end) = (n * 4, (n * 4 + 4).min(24));
                format!(
                    r#"{{"start":{start}.0,"end":{end}.0,"url":"segment-{n}.m4s?r=x&s={n}","size":{}}}"#,
                    fragments[n].len()
                )
            })
            .collect();
        format!(
            r#"[{{"id":"{id}-{name}","base_url":"{name}/","format":"dash","bitrate":700000,"height":180,"duration":24.0,"init_segment":"{}","segments":[{}]}}]"#,
            crate::foreign::base64(&init),
            segments.join(",")
        )
    };
    let text = format!(
        r#"{{"clip_id":"{id}","base_url":"../../parts/{id}/","video":{},"audio":{}}}"#,
        track("v"),
        track("a")
    );
    put(
        cache,
        &format!("https://vod.example/{id}/v2/playlist.json?omit=av1"),
        &text,
    );
    for name in ["v", "a"] {
        let (_, fragments) = fmp4(&format!("{name}-{film}"));
        cache.segments(&fragments, |n| {
            format!("https://vod.example/parts/{id}/{name}/segment-{n}.m4s?r=x&s={n}")
        });
    }
}

pub(crate) const CASES: [Case; 21] = [
    case(
        "a player's manifest with its initialisation segments",
        |c| {
            vimeo(c, "one", "a1", |c, url, text| {
                c.put(url, "application/json", text.as_bytes());
            });
        },
        ONE,
    ),
    case(
        "two players' manifests, compressed",
        |c| {
            for (film, id) in [("one", "a1"), ("two", "b2")] {
                vimeo(c, film, id, |c, url, text| {
                    let body = crate::foreign::gzip(text.as_bytes());
                    c.put_with(url, "application/json", "content-encoding:gzip", &body);
                });
            }
        },
        crate::BOTH,
    ),
    case(
        "a player's manifest of files with an index",
        |c| {
            let track = |name: &str, ids: [u32; 2]| {
                let bytes = read(&format!("{name}-one.mp4"));
                let boxes = boxes(&bytes);
                let (_, at, size) = boxes.iter().find(|(kind, ..)| kind == b"sidx").unwrap();
                let of = |id: u32, file: &str| {
                    format!(
                        r#"{{"id":{id},"baseUrl":"https://up.example/{file}.m4s?e=x&uip=1","backupUrl":["https://mirror.example/{file}.m4s?e=x&uip=1"],"bandwidth":{id}000,"codecs":"x","height":180,"SegmentBase":{{"Initialization":"0-{}","indexRange":"{at}-{}"}}}}"#,
                        at - 1,
                        at + size - 1
                    )
                };
                // One id for two codecs; the second was never played.
                format!(
                    "[{},{}]",
                    of(ids[0], name),
                    of(ids[1], &format!("{name}-other"))
                )
            };
            let text = format!(
                r#"{{"code":0,"message":"0","data":{{"from":"local","dash":{{"duration":24,"video":{},"audio":{}}}}}}}"#,
                track("v", [64, 64]),
                track("a", [30280, 30216])
            );
            let url = "https://api.example/x/player/playurl?cid=1";
            c.put(url, "application/json; charset=utf-8", text.as_bytes());
            for (name, host) in [("v", "mirror"), ("a", "up")] {
                let url = format!("https://{host}.example/{name}.m4s?e=x&uip=1");
                c.put(&url, "video/mp4", &read(&format!("{name}-one.mp4")));
            }
        },
        ONE,
    ),
    case(
        "a manifest in base64 in an answer of a player's server",
        |c| {
            let text = mpd(
                "PT24S",
                &format!(
                    "<Period>{}</Period>",
                    set(
                        "video",
                        "v",
                        &format!("<BaseURL>{FILM}</BaseURL>{NUMBERED}")
                    )
                ),
            );
            let answer = format!(
                r#"{{"trackId":7,"manifestMimeType":"application/dash+xml","manifest":"{}"}}"#,
                crate::foreign::base64(text.as_bytes())
            );
            let url = "https://api.example/playbackinfo?id=7";
            c.put(url, "application/json", answer.as_bytes());
            let (init, fragments) = fmp4("fmp4-one");
            c.put(&format!("{FILM}init.mp4"), "video/mp4", &init);
            c.segments(&fragments, |n| format!("{FILM}seg{n}.m4s"));
        },
        ONE,
    ),
    case(
        "two playlists as text in one answer",
        |c| {
            let lists: Vec<String> = ["one", "two"]
                .iter()
                .map(|film| {
                    let text =
                        crate::vod(SEGMENTS, |n| format!("https://cdn.example/{film}/{n}.ts"));
                    format!(r#"{{"hls":"{}"}}"#, text.replace('\n', "\\n"))
                })
                .collect();
            let text = format!("[{}]", lists.join(","));
            c.put(
                "https://api.example/feed",
                "application/json",
                text.as_bytes(),
            );
            for film in ["one", "two"] {
                c.segments(&crate::ts(film), |n| {
                    format!("https://cdn.example/{film}/{n}.ts")
                });
            }
        },
        crate::BOTH,
    ),
    case(
        "an end number that the length contradicts",
        |c| {
            let template =
                NUMBERED.replace("startNumber=\"0\"", "startNumber=\"0\" endNumber=\"5\"");
            let text = mpd(
                "PT24.5S",
                &format!("<Period>{}</Period>", set("video", "v", &template)),
            );
            c.manifest(&format!("{FILM}manifest.mpd"), &text);
            let (init, fragments) = fmp4("fmp4-one");
            c.put(&format!("{FILM}init.mp4"), "video/mp4", &init);
            c.segments(&fragments, |n| format!("{FILM}seg{n}.m4s"));
        },
        ONE,
    ),
    case("WebM", |c| webm(c, true), ONE),
    case(
        "WebM without sound",
        |c| webm(c, false),
        whole(&[(FRAMES, 0)]),
    ),
    case(
        "a second base takes over",
        |c| {
            let text = mpd(
                "PT24S",
                &format!(
                    "<BaseURL>https://cdn-a.example/v/</BaseURL>\
                     <BaseURL>https://cdn-b.example/v/</BaseURL><Period>{}</Period>",
                    set("video", "v", NUMBERED)
                ),
            );
            c.manifest(&format!("{FILM}manifest.mpd"), &text);
            let (init, fragments) = fmp4("fmp4-one");
            c.put("https://cdn-a.example/v/init.mp4", "video/mp4", &init);
            c.segments(&fragments, |n| {
                let host = if n < 3 { "a" } else { "b" };
                format!("https://cdn-{host}.example/v/seg{n}.m4s")
            });
        },
        ONE,
    ),
    case(
        "bases within bases, with steps up",
        |c| {
            let base = |track: &str| format!("<BaseURL>./x/../{track}/</BaseURL>{NUMBERED}");
            let text = mpd(
                "PT24S",
                &format!(
                    "<BaseURL>../media/</BaseURL><Period><BaseURL>p1/</BaseURL>{}{}</Period>",
                    set("video", "v", &base("v")),
                    set("audio", "a", &base("a"))
                ),
            );
            c.manifest(&format!("{FILM}manifest.mpd"), &text);
            tracks(c, "one", |track| {
                format!("https://cdn.example/media/p1/{track}/")
            });
        },
        ONE,
    ),
    case(
        "a base with a query, and numbers as folders",
        |c| {
            let template = |track: &str| {
                format!(
                    "<BaseURL>https://r1.example/videoplayback/id/o-{track}/</BaseURL>\
                     <SegmentList timescale=\"1\" duration=\"4\">\
                     <Initialization sourceURL=\"sq/0\"/>{}</SegmentList>",
                    (1..=SEGMENTS)
                        .map(|n| format!("<SegmentURL media=\"sq/{n}?lmt=17&amp;dur=4\"/>"))
                        .collect::<String>()
                )
            };
            let text = mpd(
                "PT24S",
                &format!(
                    "<Period>{}{}</Period>",
                    set("video", "v", &template("v")),
                    set("audio", "a", &template("a"))
                ),
            );
            c.manifest("https://r1.example/api/manifest/dash?id=1", &text);
            for track in ["v", "a"] {
                let (init, fragments) = fmp4(&format!("{track}-one"));
                let at = format!("https://r1.example/videoplayback/id/o-{track}/sq/");
                c.put(&format!("{at}0"), "video/mp4", &init);
                c.segments(&fragments, |n| format!("{at}{}?lmt=17&dur=4", n + 1));
            }
        },
        ONE,
    ),
    case(
        "two films whose manifests differ in the query",
        |c| {
            for (id, film) in [("1", "one"), ("2", "two")] {
                let template = |track: &str| {
                    format!(
                        "<SegmentTemplate timescale=\"1\" duration=\"4\" startNumber=\"0\" \
                         initialization=\"get?m={id}&amp;t={track}&amp;i=init\" \
                         media=\"get?m={id}&amp;t=$RepresentationID$&amp;i=$Number%03d$\"/>"
                    )
                };
                let text = mpd(
                    "PT24S",
                    &format!(
                        "<Period>{}{}</Period>",
                        set("video", "v", &template("v")),
                        set("audio", "a", &template("a"))
                    ),
                );
                c.manifest(&format!("{FILM}manifest?m={id}"), &text);
                for track in ["v", "a"] {
                    let (init, fragments) = fmp4(&format!("{track}-{film}"));
                    let at = |i: &str| format!("{FILM}get?m={id}&t={track}&i={i}");
                    c.put(&at("init"), "video/mp4", &init);
                    c.segments(&fragments, |n| at(&format!("{n:03}")));
                }
            }
        },
        crate::BOTH,
    ),
    case(
        "a timeline that repeats to the end",
        |c| {
            let template = "<SegmentTemplate timescale=\"1000\" startNumber=\"0\" \
                            initialization=\"$RepresentationID$-init.mp4\" \
                            media=\"$RepresentationID$-$Bandwidth$-$Time$.m4s\">\
                            <SegmentTimeline><S t=\"0\" d=\"4000\" r=\"-1\"/></SegmentTimeline>\
                            </SegmentTemplate>";
            let text = mpd(
                "PT24S",
                &format!("<Period>{}</Period>", set("video", "v", template)),
            );
            c.manifest(&format!("{FILM}manifest.mpd"), &text);
            let (init, fragments) = fmp4("fmp4-one");
            c.put(&format!("{FILM}v-init.mp4"), "video/mp4", &init);
            c.segments(&fragments, |n| format!("{FILM}v-800000-{}.m4s", n * 4000));
        },
        ONE,
    ),
    case(
        "an advert of another size in a period of its own",
        |c| {
            let of = |folder: &str, kind: &str, track: &str| {
                set(
                    kind,
                    track,
                    &format!("<BaseURL>{folder}/{track}/</BaseURL>{NUMBERED}"),
                )
            };
            let advert = set("video", "v", &format!("<BaseURL>ad/</BaseURL>{NUMBERED}"));
            let text = mpd(
                "PT32S",
                &format!(
                    "<Period duration=\"PT8S\">{advert}</Period>\
                     <Period duration=\"PT24S\">{}{}</Period>",
                    of("film", "video", "v"),
                    of("film", "audio", "a"),
                ),
            );
            c.manifest(&format!("{FILM}manifest.mpd"), &text);
            let (init, fragments) = fmp4("small");
            c.put(&format!("{FILM}ad/init.mp4"), "video/mp4", &init);
            c.segments(&fragments, |n| format!("{FILM}ad/seg{n}.m4s"));
            tracks(c, "one", |track| format!("{FILM}film/{track}/"));
        },
        ONE,
    ),
    case(
        "a live manifest that becomes a film",
        |c| {
            let manifest = |count: usize, end: bool| {
                let kind = if end {
                    "static\" mediaPresentationDuration=\"PT24S"
                } else {
                    "dynamic"
                };
                let template = format!(
                    "<SegmentTemplate timescale=\"1\" initialization=\"init.mp4\" \
                     media=\"seg$Time$.m4s\"><SegmentTimeline><S t=\"0\" d=\"4\" r=\"{}\"/>\
                     </SegmentTimeline></SegmentTemplate>",
                    count - 1
                );
                format!(
                    "<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"{kind}\" profiles=\"x\">\
                     <Period id=\"1\" start=\"PT0S\">{}</Period></MPD>",
                    set("video", "v", &template)
                )
            };
            c.manifest(&format!("{FILM}live.mpd"), &manifest(3, false));
            c.manifest(&format!("{FILM}live.mpd"), &manifest(6, true));
            let (init, fragments) = fmp4("fmp4-one");
            c.put(&format!("{FILM}init.mp4"), "video/mp4", &init);
            c.segments(&fragments, |n| format!("{FILM}seg{}.m4s", n * 4));
        },
        ONE,
    ),
    case(
        "no manifest, and bytes of a file named in the query",
        |c| {
            for track in ["v", "a"] {
                in_pieces(c, &format!("{track}-one.mp4"), |from, to| {
                    format!(
                        "https://video.example/o1/v/t2/{track}/x.mp4?efg=1&bytestart={from}&byteend={to}"
                    )
                });
            }
        },
        ONE,
    ),
    case(
        "no manifest, bytes of two films named in the query at once",
        |c| {
            for (id, film) in [("AQOx7", "one"), ("AQPz3", "two")] {
                for track in ["v", "a"] {
                    in_pieces(c, &format!("{track}-{film}.mp4"), |from, to| {
                        format!(
                            "https://video.example/o1/{track}/{id}.mp4?efg=1&bytestart={from}&byteend={to}"
                        )
                    });
                }
            }
        },
        crate::BOTH,
    ),
    case(
        "representations that differ in the query",
        |c| {
            let at = "https://inv.example/videoplayback?expire=1&id=o-AAA&";
            let representation = |tag: u32, kind: &str, height: u32, file: &str| {
                format!(
                    "<Representation id=\"{tag}\" bandwidth=\"{}\" height=\"{height}\"><BaseURL>{}\
                     itag={tag}&amp;mime={kind}%2Fmp4</BaseURL>{}</Representation>",
                    tag * 1000,
                    at.replace('&', "&amp;"),
                    index(&read(file))
                )
            };
            let sound: String = [140, 141]
                .map(|tag| representation(tag, "audio", 0, "a-one.mp4"))
                .concat();
            let pictures: String = [(401, 2160), (398, 720), (134, 360)]
                .map(|(tag, height)| representation(tag, "video", height, "v-one.mp4"))
                .concat();
            let text = mpd(
                "PT24S",
                &format!(
                    "<Period><AdaptationSet id=\"0\" mimeType=\"audio/mp4\">{sound}</AdaptationSet>\
                     <AdaptationSet id=\"1\" mimeType=\"video/mp4\">{pictures}</AdaptationSet></Period>"
                ),
            );
            c.manifest(
                "https://inv.example/api/manifest/dash/id/AAA?local=true",
                &text,
            );
            for (tag, kind, file) in [(134, "video", "v-one.mp4"), (140, "audio", "a-one.mp4")] {
                let url = format!("{at}itag={tag}&mime={kind}%2Fmp4");
                c.put(&url, "video/mp4", &read(file));
            }
        },
        ONE,
    ),
    case(
        "another language's sound was listened to",
        |c| {
            let sound = |language: &str| {
                format!(
                    "<AdaptationSet mimeType=\"audio/mp4\" lang=\"{language}\"><Representation \
                     id=\"a{language}\" bandwidth=\"96000\"><BaseURL>a-{language}/</BaseURL>\
                     {NUMBERED}</Representation></AdaptationSet>"
                )
            };
            let text = mpd(
                "PT24S",
                &format!(
                    "<Period>{}{}{}</Period>",
                    set("video", "v", &format!("<BaseURL>v/</BaseURL>{NUMBERED}")),
                    sound("en"),
                    sound("de")
                ),
            );
            c.manifest(&format!("{FILM}manifest.mpd"), &text);
            for (set, folder) in [("v-one", "v"), ("a-two", "a-de")] {
                let (init, fragments) = fmp4(set);
                c.put(&format!("{FILM}{folder}/init.mp4"), "video/mp4", &init);
                c.segments(&fragments, |n| format!("{FILM}{folder}/seg{n}.m4s"));
            }
        },
        whole(&[(FRAMES, 880)]),
    ),
    case(
        "two films by one manifest's address, one after the other",
        |c| {
            for (id, film) in [("a1", "one"), ("b2", "two")] {
                let base = |track: &str| format!("<BaseURL>{id}/{track}/</BaseURL>{NUMBERED}");
                let text = mpd(
                    "PT24S",
                    &format!(
                        "<Period>{}{}</Period>",
                        set("video", "v", &base("v")),
                        set("audio", "a", &base("a"))
                    ),
                );
                c.manifest(&format!("{FILM}manifest.mpd"), &text);
                tracks(c, film, |track| format!("{FILM}{id}/{track}/"));
            }
        },
        crate::BOTH,
    ),
    case(
        "one file of a representation, whole, by no manifest",
        |c| {
            for track in ["v", "a"] {
                let url = format!("https://cdn.example/harbour/{track}.mp4");
                c.put(&url, "video/mp4", &read(&format!("{track}-one.mp4")));
            }
        },
        ONE,
    ),
];
