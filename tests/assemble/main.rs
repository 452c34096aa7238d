#![allow(unreachable_pub, reason = "modules of one test")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]
//! Streams that ffmpeg made, put together and decoded: the right number of frames, no error, and
//! where pieces are only strung together exactly their bytes.

mod inputs;
mod play;

use std::{fs, path::Path, time::Duration};

use fisga::stream::{
    Assembly, Document, Init, Ref, Slot, Track, TrackKind, Variant,
    join::{
        self, JoinPlan,
        choose::{Choice, choose},
    },
    playlist::{assemble::assemble, dash, hls, order},
};
use inputs::{Site, media};
use play::decode;

/// What a playlist of `site` describes.
fn assembly(site: &Site, playlist: &str) -> Assembly {
    if playlist.ends_with(".mpd") {
        return dash::assembly(&site.read(&site.url(playlist)), &site.url(playlist), site).unwrap();
    }
    let load = |url: &str| hls::parse(&site.read(url), url);
    match load(&site.url(playlist)).unwrap() {
        hls::Playlist::Media(media) => media.assembly(),
        hls::Playlist::Master(master) => {
            let media: Vec<_> = master
                .playlists()
                .filter(|url| site.has(url))
                .map(|url| match load(url).unwrap() {
                    hls::Playlist::Media(media) => media,
                    hls::Playlist::Master(_) => panic!("a master playlist in {url}"),
                })
                .collect();
            master
                .assembly(|url| media.iter().find(|m| m.url == url))
                .unwrap()
        }
    }
}

/// Chooses and writes; returns what was chosen, the plan, and the file.
fn put_together(site: &Site, assembly: &Assembly) -> (Choice, JoinPlan, tempfile::NamedTempFile) {
    let choice = choose(assembly, site);
    let plan = join::plan(&choice).unwrap();
    let suffix = format!(".{}", plan.container.extension());
    let file = tempfile::Builder::new().suffix(&suffix).tempfile().unwrap();
    let len = plan.write(file.as_file()).unwrap();
    assert_eq!(len, file.as_file().metadata().unwrap().len());
    if let Some(keep) = std::env::var_os("KEEP") {
        fs::copy(file.path(), Path::new(&keep).join(format!("out{suffix}"))).unwrap();
    }
    (choice, plan, file)
}

fn concatenated(paths: &[String]) -> Vec<u8> {
    paths
        .iter()
        .flat_map(|p| fs::read(media().join(p)).unwrap())
        .collect()
}

fn numbered(pattern: &str) -> Vec<String> {
    (0..inputs::SEGMENTS)
        .map(|i| pattern.replace('#', &i.to_string()))
        .collect()
}

fn assert_plays(file: &Path, video: u64, audio: std::ops::RangeInclusive<u64>) {
    let played = decode(file);
    assert_eq!(played.errors, "", "{}", file.display());
    assert_eq!(played.backward, [], "{}", file.display());
    assert_eq!(played.video, video, "frames of {}", file.display());
    assert!(
        audio.contains(&played.audio),
        "{} audio frames, not {audio:?}",
        played.audio
    );
}

#[test]
fn transport_stream_segments_are_strung_together() {
    let site = Site::new();
    let (choice, plan, file) = put_together(&site, &assembly(&site, "ts/index.m3u8"));
    assert!(choice.whole, "{:?}", choice.missing);
    assert_eq!(plan.container.extension(), "ts");
    assert_eq!(
        fs::read(file.path()).unwrap(),
        concatenated(&numbered("ts/seg#.ts"))
    );
    assert_plays(file.path(), inputs::FRAMES, inputs::SOUND);
}

#[test]
fn fragmented_mp4_segments_are_strung_together() {
    let site = Site::new();
    let (choice, plan, file) = put_together(&site, &assembly(&site, "fmp4/index.m3u8"));
    assert!(choice.whole, "{:?}", choice.missing);
    assert_eq!(plan.container.extension(), "mp4");
    let mut parts = vec!["fmp4/init.mp4".to_owned()];
    parts.extend(numbered("fmp4/seg#.m4s"));
    assert_eq!(fs::read(file.path()).unwrap(), concatenated(&parts));
    assert_plays(file.path(), inputs::FRAMES, inputs::SOUND);
}

#[test]
fn byte_ranges_of_one_file_are_that_file() {
    for (folder, name) in [("br", "index.ts"), ("brf", "index.m4s")] {
        let site = Site::new();
        let (choice, _, file) =
            put_together(&site, &assembly(&site, &format!("{folder}/index.m3u8")));
        assert!(choice.whole, "{folder}: {:?}", choice.missing);
        assert_eq!(
            fs::read(file.path()).unwrap(),
            concatenated(&[format!("{folder}/{name}")]),
            "{folder}"
        );
        assert_plays(file.path(), inputs::FRAMES, inputs::SOUND);
    }
}

#[test]
fn separate_sound_is_joined_box_by_box() {
    let site = Site::new();
    let assembly = assembly(&site, "aud/master.m3u8");
    assert_eq!(assembly.tracks.len(), 2);
    let (choice, plan, file) = put_together(&site, &assembly);
    assert!(choice.whole, "{:?}", choice.missing);
    assert_eq!(plan.container.extension(), "mp4");
    assert_plays(file.path(), inputs::FRAMES, inputs::SOUND);
}

#[test]
fn separate_sound_is_mixed_packet_by_packet() {
    for folder in ["audts", "audaac"] {
        let site = Site::new();
        let assembly = assembly(&site, &format!("{folder}/master.m3u8"));
        assert_eq!(assembly.tracks.len(), 2, "{folder}");
        let (choice, plan, file) = put_together(&site, &assembly);
        assert!(choice.whole, "{folder}: {:?}", choice.missing);
        assert_eq!(plan.container.extension(), "ts", "{folder}");
        assert_plays(file.path(), inputs::FRAMES, inputs::SOUND);
    }
}

#[test]
fn one_whole_variant_is_preferred_to_a_better_one_with_holes() {
    let mut site = Site::new();
    site.lose("master/v1/seg2.ts");
    let (choice, _, file) = put_together(&site, &assembly(&site, "master/master.m3u8"));
    assert!(choice.whole, "{:?}", choice.missing);
    assert_eq!(
        fs::read(file.path()).unwrap(),
        concatenated(&numbered("master/v0/seg#.ts"))
    );
}

#[test]
fn a_switch_of_variant_takes_the_best_of_each_slot() {
    for folder in ["master", "masterf"] {
        let mut site = Site::new();
        for i in 0..inputs::SEGMENTS {
            let variant = if i < 2 { 1 } else { 0 };
            site.lose_all(&format!("{folder}/v{variant}/seg{i}."));
        }
        let (choice, plan, file) =
            put_together(&site, &assembly(&site, &format!("{folder}/master.m3u8")));
        assert!(choice.whole, "{folder}: {:?}", choice.missing);
        assert_eq!(
            choice.notes,
            ["2 of 6 segments are of another quality"],
            "{folder} {:?}",
            plan.notes
        );
        assert_plays(file.path(), inputs::FRAMES, inputs::SOUND);
    }
}

#[test]
fn what_is_missing_is_told_as_time() {
    let mut site = Site::new();
    site.lose("ts/seg2.ts");
    site.lose("ts/seg3.ts");
    let (choice, _, file) = put_together(&site, &assembly(&site, "ts/index.m3u8"));
    assert!(!choice.whole);
    let [gap] = &*choice.missing else {
        panic!("{:?}", choice.missing)
    };
    assert_eq!(
        (gap.time.start.as_secs(), gap.time.end.as_secs(), gap.why),
        (8, 16, "never loaded")
    );
    assert!(
        (choice.fraction - 4.0 / 6.0).abs() < 0.01,
        "{}",
        choice.fraction
    );
    assert_eq!(decode(file.path()).video, inputs::FRAMES * 4 / 6);
}

#[test]
fn without_its_initialisation_segment_nothing_can_be_used() {
    let mut site = Site::new();
    site.lose("fmp4/init.mp4");
    let choice = choose(&assembly(&site, "fmp4/index.m3u8"), &site);
    assert_eq!(choice.missing[0].why, "without its initialisation segment");
    assert!(matches!(join::plan(&choice), Err(join::JoinError::Nothing)));
}

#[test]
fn an_encrypted_stream_is_left_alone() {
    let site = Site::new();
    assert_eq!(
        assembly(&site, "aes/index.m3u8").protected.as_deref(),
        Some("AES-128")
    );
}

#[test]
fn live_windows_are_one_stream() {
    let site = Site::new();
    let window = |first: u64, end: bool| {
        let mut text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:{first}\n");
        (first..(first + 3).min(inputs::SEGMENTS))
            .for_each(|i| text += &format!("#EXTINF:4.0,\nseg{i}.ts\n"));
        let text = if end { text + "#EXT-X-ENDLIST\n" } else { text };
        match hls::parse(text.as_bytes(), &site.url("ts/live.m3u8")).unwrap() {
            hls::Playlist::Media(media) => media,
            hls::Playlist::Master(_) => unreachable!(),
        }
    };
    let mut live = window(0, false);
    for first in 1..=4 {
        assert!(!choose(&live.assembly(), &site).whole);
        assert!(live.unite(&window(first, first == 4), &|_| false));
    }
    let (choice, _, file) = put_together(&site, &live.assembly());
    assert!(choice.whole, "{:?}", choice.missing);
    assert_eq!(
        fs::read(file.path()).unwrap(),
        concatenated(&numbered("ts/seg#.ts"))
    );
}

#[test]
fn advertisements_are_not_the_video() {
    // Before it from another host; in between from the same host, short, in another folder.
    let site = Site::new();
    let mut text = String::from("#EXTM3U\n#EXT-X-TARGETDURATION:4\n");
    text += "#EXTINF:4,\nhttps://adverts.example/l/seg0.ts\n#EXT-X-DISCONTINUITY\n";
    for i in 0..inputs::SEGMENTS {
        if i == 3 {
            text += "#EXT-X-DISCONTINUITY\n#EXTINF:4,\n/l/seg1.ts\n#EXT-X-DISCONTINUITY\n";
        }
        text += &format!("#EXTINF:4,\n/ts/seg{i}.ts\n");
    }
    text += "#EXT-X-ENDLIST\n";
    let hls::Playlist::Media(media) = hls::parse(text.as_bytes(), &site.url("p.m3u8")).unwrap()
    else {
        panic!()
    };
    let (choice, _, file) = put_together(&site, &media.assembly());
    assert!(choice.whole, "{:?}", choice.missing);
    assert_eq!(choice.notes, ["2 stretches of advertisements left out"]);
    assert_eq!(
        fs::read(file.path()).unwrap(),
        concatenated(&numbered("ts/seg#.ts"))
    );
}

#[test]
fn a_discontinuity_goes_on_where_it_should() {
    // The same six segments twice: the second time, time stamps start over.
    for (folder, map, ext) in [
        ("ts", "", "ts"),
        ("fmp4", "#EXT-X-MAP:URI=\"init.mp4\"\n", "m4s"),
    ] {
        let site = Site::new();
        let mut text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n{map}");
        for round in 0..2 {
            for i in 0..inputs::SEGMENTS {
                if round == 1 && i == 0 {
                    text += "#EXT-X-DISCONTINUITY\n";
                }
                text += &format!("#EXTINF:4,\nseg{i}.{ext}\n");
            }
        }
        text += "#EXT-X-ENDLIST\n";
        let url = site.url(&format!("{folder}/twice.m3u8"));
        let hls::Playlist::Media(media) = hls::parse(text.as_bytes(), &url).unwrap() else {
            panic!()
        };
        let (choice, _, file) = put_together(&site, &media.assembly());
        assert!(choice.whole, "{:?}", choice.missing);
        assert_plays(
            file.path(),
            2 * inputs::FRAMES,
            2 * inputs::SOUND.start()..=2 * inputs::SOUND.end(),
        );
        let duration = decode(file.path()).duration;
        assert!((47.5..48.5).contains(&duration), "{folder}: {duration} s");
    }
}

#[test]
fn one_segment_over_and_over_goes_on() {
    let site = Site::new();
    let again = "#EXT-X-DISCONTINUITY\n#EXTINF:4,\nseg1.ts\n".repeat(5);
    let text = format!("#EXTM3U\n#EXTINF:4,\nseg1.ts\n{again}#EXT-X-ENDLIST\n");
    let hls::Playlist::Media(media) =
        hls::parse(text.as_bytes(), &site.url("ts/loop.m3u8")).unwrap()
    else {
        panic!()
    };
    let (choice, _, file) = put_together(&site, &media.assembly());
    assert!(choice.whole, "{:?}", choice.missing);
    assert_plays(file.path(), inputs::FRAMES, inputs::SOUND);
    let duration = decode(file.path()).duration;
    assert!((23.9..24.4).contains(&duration), "{duration} s");
}

#[test]
fn every_way_to_name_segments_in_a_manifest() {
    for folder in ["dashn", "dasht", "dashl", "dash1", "dashod"] {
        let site = Site::new();
        let assembly = assembly(&site, &format!("{folder}/manifest.mpd"));
        assert_eq!(assembly.tracks.len(), 2, "{folder}");
        let (choice, plan, file) = put_together(&site, &assembly);
        assert!(choice.whole, "{folder}: {:?}", choice.missing);
        assert_eq!(plan.container.extension(), "mp4");
        assert_plays(file.path(), inputs::FRAMES, inputs::SOUND);
    }
}

#[test]
fn one_file_of_a_manifest_is_that_file() {
    // Sound was switched off by the page: only pictures are in the manifest.
    for folder in ["dash1", "dashod"] {
        let site = Site::new();
        let mut assembly = assembly(&site, &format!("{folder}/manifest.mpd"));
        assembly.tracks.truncate(1);
        let slots = assembly.tracks[0].variants[0].slots.len() as u64;
        assert_eq!(slots, inputs::SEGMENTS, "{folder}");
        let (_, _, file) = put_together(&site, &assembly);
        let of = assembly.tracks[0].variants[0].slots[0].of.as_ref();
        let url = &of.unwrap().url;
        assert!(fs::read(file.path()).unwrap() == site.read(url), "{folder}");
    }
}

#[test]
fn a_switch_of_representation_takes_the_best_of_each_slot() {
    let mut site = Site::new();
    // Representation 0 is the small one; the first two segments are of it only.
    let times: Vec<u64> = (0..inputs::SEGMENTS).map(|i| i * 4 * 12_800).collect();
    times[..2]
        .iter()
        .for_each(|t| site.lose(&format!("dasht/c-1-{t}.m4s")));
    times[2..]
        .iter()
        .for_each(|t| site.lose(&format!("dasht/c-0-{t}.m4s")));
    let (choice, _, file) = put_together(&site, &assembly(&site, "dasht/manifest.mpd"));
    assert!(choice.whole, "{:?}", choice.missing);
    assert_plays(file.path(), inputs::FRAMES, inputs::SOUND);
}

#[test]
fn stored_documents_become_videos() {
    let site = Site::new();
    let document = |path: &str| Document {
        url: site.url(path),
        versions: vec![
            String::from_utf8(site.read(&site.url(path)))
                .unwrap()
                .into(),
        ],
    };
    let names = [
        "aud/master.m3u8",
        "aud/s0/index.m3u8",
        "aud/s1/index.m3u8",
        "ts/index.m3u8",
        "dasht/manifest.mpd",
    ];
    let documents: Vec<Document> = names.into_iter().map(document).collect();
    let videos = assemble(&documents, &site);
    let mut found: Vec<_> = videos
        .iter()
        .map(|v| (&*v.url, v.tracks.len(), choose(v, &site).whole))
        .collect();
    found.sort();
    let want = [
        ("aud/master.m3u8", 2),
        ("dasht/manifest.mpd", 2),
        ("ts/index.m3u8", 1),
    ];
    let want: Vec<_> = want
        .iter()
        .map(|(path, tracks)| (site.url(path), *tracks, true))
        .collect();
    assert_eq!(
        found,
        want.iter()
            .map(|(u, t, w)| (&**u, *t, *w))
            .collect::<Vec<_>>()
    );
}

/// What is put together of the pieces below `folder` when no playlist was stored.
fn without_playlist(site: &Site, folder: &str) -> Vec<Assembly> {
    let prefix = site.url(folder);
    let pieces: Vec<_> = site
        .pieces()
        .filter(|p| p.url.starts_with(&prefix))
        .collect();
    let probes: Vec<_> = pieces
        .iter()
        .filter_map(|p| Some((*p, order::probe(p).unwrap()?)))
        .collect();
    order::assemblies(
        &probes
            .iter()
            .map(|(p, probe)| (*p, probe))
            .collect::<Vec<_>>(),
    )
}

#[test]
fn without_a_playlist_segments_are_put_in_order_by_their_times() {
    for folder in [
        "ts/", "fmp4/", "aud/", "audts/", "audaac/", "dashn/", "dashod/", "br/", "brf/",
    ] {
        let site = Site::new();
        let videos = without_playlist(&site, folder);
        let [video] = &*videos else {
            panic!("{folder}: {videos:?}")
        };
        let (choice, _, file) = put_together(&site, video);
        assert!(choice.missing.is_empty(), "{folder}: {:?}", choice.missing);
        assert!(
            !choice.whole && choice.fraction == 1.0,
            "{folder}: the end is unknown"
        );
        assert_plays(file.path(), inputs::FRAMES, inputs::SOUND);
    }
}

#[test]
fn without_a_playlist_a_hole_shows() {
    for (folder, ext) in [("ts", "ts"), ("fmp4", "m4s")] {
        let mut site = Site::new();
        site.lose(&format!("{folder}/seg2.{ext}"));
        let videos = without_playlist(&site, &format!("{folder}/"));
        let choice = choose(&videos[0], &site);
        let [gap] = &*choice.missing else {
            panic!("{folder}: {:?}", choice.missing)
        };
        let (from, to) = (gap.time.start.as_secs_f64(), gap.time.end.as_secs_f64());
        assert!(
            (from - 8.0).abs() < 0.2 && (to - 12.0).abs() < 0.2,
            "{folder}: {from} {to}"
        );
    }
}

#[test]
fn without_a_playlist_qualities_of_one_video_are_one_and_videos_are_several() {
    // The first three segments of one quality, from the third on of the other: one video.
    for folder in ["master", "masterf"] {
        let mut site = Site::new();
        (3..inputs::SEGMENTS).for_each(|i| site.lose_all(&format!("{folder}/v0/seg{i}.")));
        (0..2).for_each(|i| site.lose_all(&format!("{folder}/v1/seg{i}.")));
        let videos = without_playlist(&site, &format!("{folder}/"));
        let [video] = &*videos else {
            panic!("{folder}: {} videos", videos.len())
        };
        let (choice, _, file) = put_together(&site, video);
        assert!(choice.missing.is_empty(), "{folder}: {:?}", choice.missing);
        assert_plays(file.path(), inputs::FRAMES, inputs::SOUND);
        // All of both: two videos, for all that anyone can tell.
        assert_eq!(
            without_playlist(&Site::new(), &format!("{folder}/")).len(),
            2
        );
    }
}

#[test]
fn webm_is_joined_block_by_block() {
    let site = Site::new();
    let assembly = assembly(&site, "dashw/manifest.mpd");
    assert_eq!(assembly.tracks.len(), 2);
    let (choice, plan, file) = put_together(&site, &assembly);
    assert!(choice.whole, "{:?}", choice.missing);
    assert_eq!(plan.container.extension(), "webm");
    // Opus frames of 20 ms.
    assert_plays(file.path(), inputs::FRAMES, 1195..=1205);
    let duration = decode(file.path()).duration;
    assert!((23.5..24.5).contains(&duration), "{duration} s");
    let mut pictures = assembly;
    pictures.tracks.truncate(1);
    // Its initialisation segment says no length: a new one does.
    let (_, _, file) = put_together(&site, &pictures);
    let duration = decode(file.path()).duration;
    assert!((23.5..24.5).contains(&duration), "{duration} s");
}

/// A generator of numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below.max(1) as u64).unwrap()
    }

    /// Bytes changed, numbers made extreme, something cut out or doubled, the end cut off.
    fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.roll(4) {
            let (at, len) = (self.roll(bytes.len().min(2000)), self.roll(64));
            let end = (at + len).min(bytes.len());
            match self.roll(6) {
                0 => bytes[at] = self.roll(256) as u8,
                1 => bytes[at..end].fill(0xff),
                2 => bytes[at..end].fill(0),
                3 => drop(bytes.drain(at..end)),
                4 => bytes.extend_from_within(at..end),
                _ => bytes.truncate(at + 1),
            }
            if bytes.is_empty() {
                bytes.push(0);
            }
        }
    }
}

#[test]
fn spoiled_pieces_are_joined_or_refused() {
    let cases = [
        ["fmp4/init.mp4", "fmp4/seg0.m4s", "fmp4/seg1.m4s"],
        ["aud/s0/init_0.mp4", "aud/s0/seg0.m4s", "aud/s1/seg0.m4s"],
        ["ts/seg0.ts", "ts/seg0.ts", "ts/seg1.ts"],
        ["audts/s0/seg0.ts", "audts/s0/seg0.ts", "audts/s1/seg0.ts"],
        ["audaac/v/seg0.ts", "audaac/v/seg0.ts", "audaac/a/seg0.aac"],
        ["dashw/init-0.webm", "dashw/c-0-1.webm", "dashw/c-1-1.webm"],
    ];
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let mut joined = 0;
    for names in cases {
        let fresh = names.map(|name| fs::read(media().join(name)).unwrap());
        for _ in 0..150 {
            let mut site = Site::empty();
            for (name, bytes) in names.iter().zip(&fresh) {
                let mut bytes = bytes.clone();
                if dice.roll(2) == 0 {
                    dice.spoil(&mut bytes);
                }
                site.put(name, &bytes);
            }
            let init = (!names[0].ends_with(".ts")).then(|| names[0]);
            let slot = |name: &str, start: u64, discontinuity: u32| Slot {
                of: Some(Ref::whole(site.url(name))),
                parts: Vec::new(),
                protected: None,
                init: init.map_or(Init::Own, |init| Init::At(Ref::whole(site.url(init)))),
                start: Duration::from_secs(start),
                duration: Duration::from_secs(4),
                discontinuity,
            };
            let variant = |slots| {
                vec![Variant {
                    bandwidth: 0,
                    height: None,
                    slots,
                }]
            };
            let track = |kind, slots| Track {
                kind,
                language: None,
                variants: variant(slots),
            };
            let far = dice.roll(2) as u32;
            let tracks = vec![
                track(
                    TrackKind::Video,
                    vec![slot(names[1], 0, 0), slot(names[1], 4, far)],
                ),
                track(TrackKind::Audio, vec![slot(names[2], 0, 0)]),
            ];
            let assembly = Assembly {
                url: site.url(""),
                tracks,
                ended: true,
                protected: None,
                title: None,
            };
            let pieces: Vec<_> = site
                .pieces()
                .filter_map(|p| Some((p, order::probe(p).ok()??)))
                .collect();
            let guessed = order::assemblies(
                &pieces
                    .iter()
                    .map(|(p, probe)| (*p, probe))
                    .collect::<Vec<_>>(),
            );
            for assembly in guessed.iter().chain([&assembly]) {
                let Ok(plan) = join::plan(&choose(assembly, &site)) else {
                    continue;
                };
                let out = tempfile::tempfile().unwrap();
                if plan.write(&out).is_ok() {
                    joined += 1;
                    let len = out.metadata().unwrap().len();
                    assert!(
                        len < 20 << 20,
                        "{names:?}: {len} bytes out of {}",
                        fresh.iter().map(Vec::len).sum::<usize>()
                    );
                }
            }
        }
    }
    assert!(
        joined > 300,
        "only {joined} were joined: the cases test nothing"
    );
}

/// A player near the end of a live stream loads parts, and later whole segments.
#[test]
fn segments_that_were_loaded_in_parts() {
    let mut site = Site::new();
    let mut list = String::from("#EXTM3U\n#EXT-X-TARGETDURATION:4\n");
    let mut whole = Vec::new();
    for number in 0..inputs::SEGMENTS {
        let segment = site.read(&site.url(&format!("ts/seg{number}.ts")));
        let third = segment.len() / 3 / 188 * 188;
        let parts = [
            &segment[..third],
            &segment[third..2 * third],
            &segment[2 * third..],
        ];
        for (part, bytes) in parts.into_iter().enumerate() {
            site.put(&format!("ts/{number}.{part}.ts"), bytes);
            list += &format!("#EXT-X-PART:DURATION=1.33333,URI=\"{number}.{part}.ts\"\n");
        }
        list += &format!("#EXTINF:4,\nseg{number}.ts\n");
        whole.extend(segment);
    }
    let hls::Playlist::Media(media) = hls::parse(
        (list + "#EXT-X-ENDLIST\n").as_bytes(),
        &site.url("ts/live.m3u8"),
    )
    .unwrap() else {
        panic!()
    };
    let assembly = media.assembly();
    for number in [0, 1, 2, 4] {
        site.lose(&format!("ts/seg{number}.ts"));
    }
    // Of this one there is the whole, and not every part.
    site.lose("ts/3.1.ts");
    let (choice, _, file) = put_together(&site, &assembly);
    assert!(
        choice.whole && choice.notes.is_empty(),
        "{:?}",
        choice.notes
    );
    assert!(fs::read(file.path()).unwrap() == whole);
    site.lose("ts/4.2.ts");
    let (choice, ..) = put_together(&site, &assembly);
    let missing: Vec<_> = choice
        .missing
        .iter()
        .map(|m| m.time.start.as_secs_f64().round())
        .collect();
    assert_eq!((choice.whole, missing), (false, vec![19.0]));
}

#[test]
fn subtitles_that_were_played_are_beside_it() {
    let mut site = Site::new();
    let map = "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:126000,LOCAL:00:00:00.000\n\n";
    for i in 0..inputs::SEGMENTS {
        let text = format!(
            "{map}00:{:02}.000 --> 00:{:02}.500\nline {i}\n",
            i * 4 + 1,
            i * 4 + 2
        );
        site.put(&format!("sub/{i}.vtt"), text.as_bytes());
    }
    let load = |url: &str| {
        let text = if url.ends_with("sub/list.m3u8") {
            let lines: String = (0..inputs::SEGMENTS)
                .map(|i| format!("#EXTINF:4,\n{i}.vtt\n"))
                .collect();
            format!("#EXTM3U\n{lines}#EXT-X-ENDLIST\n")
        } else {
            String::from_utf8(site.read(url)).unwrap()
        };
        match hls::parse(text.as_bytes(), url).unwrap() {
            hls::Playlist::Media(media) => media,
            hls::Playlist::Master(_) => panic!(),
        }
    };
    let text = "#EXTM3U\n#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"s\",NAME=\"en\",LANGUAGE=\"en\",URI=\"sub/list.m3u8\"\n\
                #EXT-X-STREAM-INF:BANDWIDTH=1,SUBTITLES=\"s\"\nts/index.m3u8\n";
    let hls::Playlist::Master(master) =
        hls::parse(text.as_bytes(), &site.url("master.m3u8")).unwrap()
    else {
        panic!()
    };
    let media: Vec<_> = master.playlists().map(load).collect();
    let assembly = master
        .assembly(|url| media.iter().find(|m| m.url == url))
        .unwrap();
    let (choice, plan, _) = put_together(&site, &assembly);
    assert!(choice.whole);
    let (language, text) = plan.subtitles.unwrap();
    assert_eq!(language.as_deref(), Some("en"));
    let cues: Vec<_> = text
        .lines()
        .filter(|l| l.contains("-->") || l.starts_with("line"))
        .collect();
    assert_eq!(cues.len(), 2 * inputs::SEGMENTS as usize);
    assert_eq!(&cues[2..4], ["00:00:05.000 --> 00:00:06.500", "line 1"]);
    (0..inputs::SEGMENTS).for_each(|i| site.lose(&format!("sub/{i}.vtt")));
    assert!(
        join::plan(&choose(&assembly, &site))
            .unwrap()
            .subtitles
            .is_none(),
        "they were not switched on"
    );
}

#[test]
fn sound_in_another_container_is_left_out_and_said() {
    let site = Site::new();
    let mut video = assembly(&site, "audts/master.m3u8");
    video.tracks[1] = assembly(&site, "aud/master.m3u8").tracks.remove(1);
    let (_, plan, file) = put_together(&site, &video);
    assert_eq!(
        plan.notes,
        ["without its sound, which is in another container"]
    );
    assert_plays(file.path(), inputs::FRAMES, 0..=0);
}
