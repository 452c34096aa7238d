//! Playlists, manifests and segments.

use std::time::Duration;

use fisga::stream::{
    self, Assembly, Body, Init, Piece, Pieces, Ref, Slot, Track, TrackKind, Variant,
    join::choose::choose,
    playlist::{
        dash,
        hls::{Playlist, parse},
        order,
    },
};

/// Any bytes as an HLS playlist.
pub(crate) fn hls(bytes: &[u8]) {
    let text = [b"#EXTM3U\n", bytes].concat();
    match parse(&text, "https://a.example/v/list.m3u8") {
        Ok(Playlist::Media(mut media)) => {
            let again = media.clone();
            assert!(
                media.unite(&again, &|_| false),
                "a playlist is the same stream as itself"
            );
            assert_eq!(media.assembly(), again.assembly());
        }
        Ok(Playlist::Master(master)) => drop(master.assembly(|_| None)),
        Err(_) => {}
    }
}

struct Nothing;

impl Pieces for Nothing {
    fn get(&self, _: &Ref) -> Option<&Piece> {
        None
    }
}

/// Any bytes in an MPD.
pub(crate) fn mpd(bytes: &[u8]) {
    let text = [b"<MPD mediaPresentationDuration='PT60S'>", bytes, b"</MPD>"].concat();
    if let Ok(mut assembly) = dash::assembly(&text, "https://a.example/v/manifest.mpd", &Nothing) {
        assert!(assembly.refs().all(|r| r.url.starts_with("http")));
        let again = assembly.clone();
        dash::unite(&mut assembly, again);
        dash::from_zero(&mut assembly);
    }
}

struct All(Vec<Piece>);

impl Pieces for All {
    fn get(&self, of: &Ref) -> Option<&Piece> {
        self.0.iter().find(|p| p.url == of.url)
    }
}

/// The bytes, split at `----`, are an initialisation segment, pictures, sound.
fn pieces(bytes: &[u8]) -> All {
    let mut parts: Vec<&[u8]> = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(4).position(|w| w == b"----") {
        parts.push(&rest[..at]);
        rest = &rest[at + 4..];
    }
    parts.push(rest);
    let piece = |(i, part): (usize, &&[u8])| Piece {
        url: format!("https://a.example/v/{i}"),
        partition: String::new(),
        status: 200,
        content_type: None,
        encoding: None,
        validator: None,
        file_name: None,
        body: Body::bytes(*part),
    };
    All(parts.iter().take(4).enumerate().map(piece).collect())
}

/// Any bytes as segments, to be joined.
pub(crate) fn join(bytes: &[u8]) {
    let all = pieces(bytes);
    let with_init = all.0.len() > 2;
    let slot = |(i, p): (usize, &Piece)| Slot {
        of: Some(Ref::whole(&p.url)),
        parts: Vec::new(),
        protected: None,
        init: if with_init {
            Init::At(Ref::whole(&all.0[0].url))
        } else {
            Init::Own
        },
        start: Duration::from_secs(4 * i as u64),
        duration: Duration::from_secs(4),
        discontinuity: i as u32,
    };
    let track = |kind, slots| Track {
        kind,
        language: None,
        variants: vec![Variant {
            bandwidth: 0,
            height: None,
            slots,
        }],
    };
    let media = all
        .0
        .iter()
        .skip(usize::from(with_init))
        .enumerate()
        .map(slot);
    let (video, audio): (Vec<_>, Vec<_>) = media.partition(|s| s.discontinuity != 1);
    let tracks = vec![
        track(TrackKind::Video, video),
        track(TrackKind::Audio, audio),
    ];
    let told = Assembly {
        url: String::new(),
        tracks,
        ended: true,
        protected: None,
        title: None,
    };
    let probes: Vec<_> = all
        .0
        .iter()
        .filter_map(|p| Some((p, order::probe(p).ok()??)))
        .collect();
    let guessed = order::assemblies(
        &probes
            .iter()
            .map(|(p, probe)| (*p, probe))
            .collect::<Vec<_>>(),
    );
    for assembly in guessed.iter().chain([&told]) {
        let Ok(plan) = stream::join::plan(&choose(assembly, &all)) else {
            continue;
        };
        let out = tempfile::tempfile().expect("a temporary file");
        if let Ok(len) = plan.write(&out) {
            assert!(
                len < 4 * bytes.len() as u64 + 65_536,
                "{len} bytes out of {}",
                bytes.len()
            );
        }
    }
}
