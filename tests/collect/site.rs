//! Random sites: what a browser's cache holds after their videos were watched. Made from how sites
//! are, not from how the collector works.

use std::fmt;

use crate::media::{Mark, SECONDS, fragment, init, ts};

/// A video that was watched.
#[derive(Debug)]
pub(crate) struct Film {
    /// In every sample of it.
    pub(crate) id: u8,
    /// All that it has.
    pub(crate) segments: std::ops::Range<u16>,
    /// Advertisements in it.
    pub(crate) adverts: Vec<u8>,
    /// Its playlist says that nothing more comes.
    pub(crate) ended: bool,
    /// Something of it is in the cache.
    pub(crate) seen: bool,
    /// Each track is one file, which was asked for in ranges.
    pub(crate) single: bool,
    sound: Sound,
    playlist: bool,
    live: bool,
    redirected: bool,
    gaps: bool,
    qualities: u8,
    dash: bool,
    host: String,
    name: String,
    style: u8,
}

/// Where the sound is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sound {
    /// There is none.
    Mute,
    /// In the segments of the pictures.
    Muxed,
    /// In segments of its own, in so many languages, of which several were listened to or one.
    Apart { languages: u8, switched: bool },
}

/// What the cache holds, and what is behind it.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) films: Vec<Film>,
    /// Cache entries in the order of their arrival.
    pub(crate) entries: Vec<Entry>,
    /// They are Firefox's.
    pub(crate) firefox: bool,
    urls: Vec<String>,
}

/// A file of the cache.
#[derive(Debug)]
pub(crate) struct Entry {
    /// It holds ranges of an answer.
    pub(crate) ranges: bool,
    /// As it is on disk.
    pub(crate) bytes: Vec<u8>,
}

/// An answer of a server, or the parts of one that were asked for.
enum Answer {
    Whole(Vec<u8>),
    Ranges {
        parts: Vec<(usize, Vec<u8>)>,
        total: usize,
    },
}

impl Film {
    /// Whether an address is one of it.
    pub(crate) fn has(&self, url: &str) -> bool {
        url.contains(&self.host) && url.contains(&self.name)
    }

    /// It is all there, under the names that its playlist has: nothing excuses losing it.
    pub(crate) fn is_plain(&self) -> bool {
        let one = !matches!(self.sound, Sound::Apart { switched: true, .. });
        self.playlist
            && !self.live
            && !self.redirected
            && !self.gaps
            && one
            && self.adverts.is_empty()
    }

    /// How many tracks a file of it has.
    pub(crate) fn tracks_of_a_file(&self) -> usize {
        if self.sound == Sound::Mute { 1 } else { 2 }
    }
}

/// Numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % below.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

const NAMES: [&str; 8] = [
    "harbour",
    "river",
    "4711",
    "0815",
    "Kx9zT",
    "winter-film",
    "1001",
    "1002",
];

impl Site {
    /// The site of that number.
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (number + 1) << 20 | 1);
        for _ in 0..8 {
            dice.roll(2);
        }
        let (style, one_host, first) = (dice.roll(3) as u8, dice.chance(70), dice.roll(8));
        let firefox = dice.chance(50);
        let mut films = Vec::new();
        let mut stored: Vec<Vec<(String, Answer)>> = Vec::new();
        for n in 0..=dice.roll(4) {
            let mut film = Film::new(&mut dice, n as u8, (style, one_host, first));
            // Firefox stores no ranges.
            film.single &= !firefox;
            let answers = if film.single {
                film.in_ranges(&mut dice)
            } else {
                let whole = |(url, body)| (url, Answer::Whole(body));
                film.stored(&mut dice).into_iter().map(whole).collect()
            };
            film.seen = film.is_in(answers.iter().map(|(url, _)| url.as_str()));
            stored.push(answers);
            films.push(film);
        }
        // Videos that are watched in several tabs come at once.
        let at_once = dice.chance(60);
        let (mut entries, mut urls) = (Vec::new(), Vec::new());
        let mut queues: Vec<_> = stored.into_iter().map(Vec::into_iter).collect();
        while !queues.is_empty() {
            let next = if at_once {
                dice.roll(queues.len() as u64) as usize
            } else {
                0
            };
            match queues[next].next() {
                Some((url, answer)) => {
                    match answer {
                        Answer::Whole(body) if firefox => entries.push(of_firefox(&url, &body)),
                        Answer::Whole(body) => entries.push(of_chromium(&url, &body)),
                        Answer::Ranges { parts, total } => {
                            entries.extend(ranges(&url, &parts, total))
                        }
                    }
                    urls.push(url);
                }
                None => drop(queues.remove(next)),
            }
        }
        Self {
            films,
            entries,
            firefox,
            urls,
        }
    }
}

impl Film {
    fn new(dice: &mut Dice, id: u8, (style, one_host, first): (u8, bool, u64)) -> Self {
        let sound = match dice.roll(6) {
            0 => Sound::Mute,
            1..3 => Sound::Muxed,
            _ => Sound::Apart {
                languages: 1 + dice.roll(2) as u8,
                switched: dice.chance(20),
            },
        };
        let sound = match sound {
            Sound::Apart { languages: 1, .. } => Sound::Apart {
                languages: 1,
                switched: false,
            },
            other => other,
        };
        let apart = matches!(sound, Sound::Apart { .. });
        let playlist = dice.chance(75);
        let live = playlist && !apart && dice.chance(25);
        let host = if one_host || dice.chance(30) { 0 } else { id };
        let advert = playlist && !live && !apart && dice.chance(20);
        let dash = apart && dice.chance(50);
        let qualities = if playlist && !live && !advert && !apart && dice.chance(25) {
            2
        } else {
            1
        };
        let switched = matches!(sound, Sound::Apart { switched: true, .. });
        let simple = playlist && !live && !advert && !dash && !switched && qualities == 1;
        let single = simple && dice.chance(30);
        Self {
            id,
            segments: 0..3 + dice.roll(6) as u16,
            adverts: if advert { vec![100 + id] } else { Vec::new() },
            ended: playlist && !live,
            sound,
            playlist,
            live,
            seen: false,
            single,
            redirected: !single && dice.chance(15),
            gaps: dice.chance(40),
            qualities,
            dash,
            host: format!("cdn{host}.example"),
            name: NAMES[(first + u64::from(id)) as usize % NAMES.len()].into(),
            style,
        }
    }

    fn ends_in(&self) -> &'static str {
        if self.is_fragmented() { "m4s" } else { "ts" }
    }

    fn is_fragmented(&self) -> bool {
        matches!(self.sound, Sound::Apart { .. })
    }

    /// The address that a playlist has.
    fn url(&self, what: &str, piece: &str) -> String {
        let Self { host, name, .. } = self;
        match self.style {
            0 => format!("https://{host}/{name}/{what}/{piece}"),
            1 => format!("https://{host}/get?id={name}&t={what}&n={piece}"),
            _ => format!("https://{host}/{what}/{piece}?m={name}"),
        }
    }

    /// The address that a piece is stored under.
    fn stored_url(&self, what: &str, piece: &str, n: u16) -> String {
        let url = self.url(what, piece);
        if !self.redirected {
            return url;
        }
        let (edge, mark) = (n % 3, if url.contains('?') { '&' } else { '?' });
        let url = url.replacen("https://", &format!("https://edge{edge}."), 1);
        format!("{url}{mark}tok={}", u32::from(n) * 7919)
    }

    /// Whether a playlist or a segment of it is among these addresses: an initialisation segment
    /// alone is nothing.
    fn is_in<'a>(&self, mut urls: impl Iterator<Item = &'a str>) -> bool {
        urls.any(|url| self.has(url) && !url.contains("init.mp4"))
    }

    /// The same as one file for each track, of which parts were asked for.
    fn in_ranges(&self, dice: &mut Dice) -> Vec<(String, Answer)> {
        let mut out: Vec<(String, Answer)> = Vec::new();
        for (url, text) in self.playlists(dice) {
            out.push((url, Answer::Whole(text)));
        }
        for (track, what) in self.tracks() {
            let (mut parts, mut total) = (Vec::new(), 0);
            for (n, part) in self.file(track).into_iter().enumerate() {
                let from = total;
                total += part.len();
                // The first part has the initialisation.
                if n == 0 || !(self.gaps && dice.chance(25)) {
                    parts.push((from, part));
                }
            }
            let url = self.url(&what, &format!("all.{}", self.ends_in()));
            out.push((url, Answer::Ranges { parts, total }));
        }
        out
    }

    /// The tracks that are listened to and seen, and what they are called.
    fn tracks(&self) -> Vec<(u8, String)> {
        let mut tracks = vec![(b'v', "v".to_owned())];
        if self.is_fragmented() {
            tracks.push((b'a', "a0".to_owned()));
        }
        tracks
    }

    /// A track in one file: the initialisation, if it has one, and each segment.
    fn file(&self, track: u8) -> Vec<Vec<u8>> {
        let scale = if track == b'v' { 12_800 } else { 48_000 };
        let head = self.is_fragmented().then(|| init(track, scale));
        let segments = self.segments.clone();
        let segments = segments.map(|n| self.segment(self.id, n, 0, track));
        head.into_iter().chain(segments).collect()
    }

    /// Which pieces the cache has: address and bytes.
    fn stored(&self, dice: &mut Dice) -> Vec<(String, Vec<u8>)> {
        let mut out: Vec<(String, Vec<u8>)> = Vec::new();
        let origin = if self.live { dice.roll(1000) * 100 } else { 0 };
        let missing = |dice: &mut Dice| self.gaps && dice.chance(25);
        let playlists = self.playlists(dice);
        if !self.live {
            out.extend(playlists.clone());
        }
        let mut versions = playlists.into_iter();
        let switch = self.segments.end / 2;
        for (id, n) in self
            .adverts
            .iter()
            .flat_map(|id| (0..2).map(move |n| (*id, n)))
        {
            let bytes = self.segment(id, n, 0, b'v');
            out.push((format!("https://ads.example/{id}/ad{n}.ts"), bytes));
        }
        if let Sound::Apart { languages, .. } = self.sound {
            out.push((self.stored_url("v", "init.mp4", 0), init(b'v', 12_800)));
            for language in 0..languages {
                let what = format!("a{language}");
                let bytes = init(b'a' + language, 48_000);
                out.push((self.stored_url(&what, "init.mp4", 0), bytes));
            }
        }
        for n in self.segments.clone() {
            if self.live {
                out.extend(versions.next());
            }
            let piece = format!("seg{n}.{}", self.ends_in());
            let quality = u8::from(self.qualities > 1 && n >= switch);
            let what = if quality > 0 { "w" } else { "v" };
            if !missing(dice) {
                let bytes = self.segment(self.id, n, origin, b'v');
                out.push((self.stored_url(what, &piece, n), bytes));
            }
            if let Sound::Apart {
                languages,
                switched,
            } = self.sound
            {
                let language = if switched && n >= switch {
                    languages - 1
                } else {
                    0
                };
                if !missing(dice) {
                    let bytes = self.segment(self.id, n, origin, b'a' + language);
                    out.push((self.stored_url(&format!("a{language}"), &piece, n), bytes));
                }
            }
        }
        out
    }

    fn segment(&self, film: u8, n: u16, origin: u64, track: u8) -> Vec<u8> {
        let start = origin + u64::from(n) * SECONDS;
        let mark = |track| Mark {
            film,
            track,
            segment: n,
        };
        match (self.sound, track) {
            (Sound::Apart { .. }, b'v') => fragment(mark(b'v'), start, 12_800),
            (Sound::Apart { .. }, other) => fragment(mark(other), start, 48_000),
            (Sound::Muxed, _) => ts(&[mark(b'v'), mark(b'a')], start),
            (Sound::Mute, _) => ts(&[mark(b'v')], start),
        }
    }

    /// Playlists, or the versions of the live one.
    fn playlists(&self, dice: &mut Dice) -> Vec<(String, Vec<u8>)> {
        if !self.playlist {
            return Vec::new();
        }
        if self.live {
            return self.windows(dice);
        }
        if self.dash {
            return vec![(self.url("p", "film.mpd"), self.manifest().into_bytes())];
        }
        let mut out = Vec::new();
        let mut master = "#EXTM3U\n".to_owned();
        let audio = match self.sound {
            Sound::Apart { languages, .. } => {
                for language in 0..languages {
                    let what = format!("a{language}");
                    let url = self.url(&what, "list.m3u8");
                    master += &format!(
                        "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"s\",NAME=\"{what}\",LANGUAGE=\"{}\",URI=\"{url}\"\n",
                        ["de", "en"][usize::from(language)]
                    );
                    out.push((url, self.list(&what)));
                }
                ",AUDIO=\"s\""
            }
            _ => "",
        };
        for (what, rate) in [("v", 900), ("w", 400)]
            .into_iter()
            .take(self.qualities.into())
        {
            let url = self.url(what, "list.m3u8");
            master += &format!("#EXT-X-STREAM-INF:BANDWIDTH={rate}000{audio}\n{url}\n");
            out.push((url, self.list(what)));
        }
        if out.len() > 1 {
            out.insert(0, (self.url("p", "master.m3u8"), master.into_bytes()));
        }
        out
    }

    /// The playlist of a file of its own.
    fn list_of_ranges(&self, what: &str) -> Vec<u8> {
        let track = what.as_bytes()[0] + what.as_bytes().get(1).map_or(0, |n| n - b'0');
        let url = self.url(what, &format!("all.{}", self.ends_in()));
        let mut text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:{SECONDS}\n");
        let mut from = 0;
        for (n, part) in self.file(track).iter().enumerate() {
            let len = part.len();
            text += &if n == 0 && self.is_fragmented() {
                format!("#EXT-X-MAP:URI=\"{url}\",BYTERANGE=\"{len}@0\"\n")
            } else {
                format!("#EXTINF:{SECONDS},\n#EXT-X-BYTERANGE:{len}@{from}\n{url}\n")
            };
            from += len;
        }
        (text + "#EXT-X-ENDLIST\n").into_bytes()
    }

    fn list(&self, what: &str) -> Vec<u8> {
        if self.single {
            return self.list_of_ranges(what);
        }
        let mut text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:{SECONDS}\n");
        for id in &self.adverts {
            for n in 0..2 {
                text += &format!("#EXTINF:{SECONDS},\nhttps://ads.example/{id}/ad{n}.ts\n");
            }
            text += "#EXT-X-DISCONTINUITY\n";
        }
        if self.is_fragmented() {
            text += &format!("#EXT-X-MAP:URI=\"{}\"\n", self.url(what, "init.mp4"));
        }
        for n in self.segments.clone() {
            let url = self.url(what, &format!("seg{n}.{}", self.ends_in()));
            text += &format!("#EXTINF:{SECONDS},\n{url}\n");
        }
        text += "#EXT-X-ENDLIST\n";
        text.into_bytes()
    }

    /// What a live playlist said, each time that it was asked for.
    fn windows(&self, dice: &mut Dice) -> Vec<(String, Vec<u8>)> {
        let counting = dice.roll(3);
        let restart = 1 + dice.roll(4) as u16;
        let window = |n: u16| {
            let number = match counting {
                0 => n,
                1 => 0,
                _ if n < restart => n + 40,
                _ => n - restart,
            };
            let head = format!(
                "#EXTM3U\n#EXT-X-TARGETDURATION:{SECONDS}\n#EXT-X-MEDIA-SEQUENCE:{number}\n"
            );
            let last = (n + 3).min(self.segments.end);
            let text = (n..last).fold(head, |text, n| {
                let url = self.url("v", &format!("seg{n}.ts"));
                text + &format!("#EXTINF:{SECONDS},\n{url}\n")
            });
            let url = self.url("v", "live.m3u8");
            let mark = if url.contains('?') { '&' } else { '?' };
            (format!("{url}{mark}_HLS_msn={n}"), text.into_bytes())
        };
        self.segments.clone().map(window).collect()
    }

    fn manifest(&self) -> String {
        let seconds = u64::from(self.segments.end) * SECONDS;
        let set = |what: &str, kind: &str, extra: &str| {
            let of = |piece: &str| self.url(what, piece).replace('&', "&amp;");
            format!(
                "<AdaptationSet mimeType=\"{kind}/mp4\"{extra}><Representation id=\"{what}\" bandwidth=\"90000\">\
                 <SegmentTemplate duration=\"{SECONDS}\" startNumber=\"0\" initialization=\"{}\" media=\"{}\"/>\
                 </Representation></AdaptationSet>",
                of("init.mp4"),
                of("seg$Number$.m4s")
            )
        };
        let mut sets = set("v", "video", "");
        if let Sound::Apart { languages, .. } = self.sound {
            for language in 0..languages {
                let lang = ["de", "en"][usize::from(language)];
                let extra = format!(" lang=\"{lang}\"");
                sets += &set(&format!("a{language}"), "audio", &extra);
            }
        }
        format!(
            "<?xml version=\"1.0\"?><MPD type=\"static\" mediaPresentationDuration=\"PT{seconds}S\"><Period>{sets}</Period></MPD>"
        )
    }
}

/// An answer as Chromium writes it.
fn of_chromium(url: &str, body: &[u8]) -> Entry {
    let head = format!("HTTP/1.1 200 OK\0content-length: {}\0\0", body.len());
    chromium_file(url, &head, body)
}

fn chromium_head(url: &str) -> Vec<u8> {
    let key = format!("1/0/_dk_https://site.example https://site.example {url}");
    let mut out = 0xfcfb_6d1b_a772_5c30_u64.to_le_bytes().to_vec();
    out.extend([5, key.len() as u32, 0, 0].map(u32::to_le_bytes).concat());
    out.extend(key.as_bytes());
    out
}

fn chromium_file(url: &str, head: &str, body: &[u8]) -> Entry {
    let end = |flags: u32, size: u32| {
        let fields = [flags, 0, size, 0].map(u32::to_le_bytes).concat();
        [&0xf4fa_6f45_970d_41d8_u64.to_le_bytes()[..], &fields].concat()
    };
    let mut pickle = vec![0; 24];
    pickle.extend((head.len() as u32).to_le_bytes());
    pickle.extend(head.as_bytes());
    let mut bytes = chromium_head(url);
    bytes.extend(body);
    bytes.extend(end(1, 0));
    bytes.extend(&pickle);
    bytes.extend([9; 32]);
    bytes.extend(end(3, pickle.len() as u32));
    Entry {
        ranges: false,
        bytes,
    }
}

/// Ranges as Chromium writes them: the headers, then what was asked for.
fn ranges(url: &str, parts: &[(usize, Vec<u8>)], total: usize) -> [Entry; 2] {
    let head = format!(
        "HTTP/1.1 206 x\0content-type: video/mp4\0etag: \"x\"\0content-range: bytes 0-1/{total}\0\0"
    );
    let mut bytes = chromium_head(url);
    for (from, part) in parts {
        bytes.extend(0xeb97_bf01_6553_676b_u64.to_le_bytes());
        bytes.extend((*from as u64).to_le_bytes());
        bytes.extend((part.len() as u64).to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(part);
    }
    [
        chromium_file(url, &head, b""),
        Entry {
            ranges: true,
            bytes,
        },
    ]
}

/// An answer as Firefox writes it.
fn of_firefox(url: &str, body: &[u8]) -> Entry {
    let key = format!("O^partitionKey=%28https%2Csite.example%29,:{url}");
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", body.len());
    let mut bytes = body.to_vec();
    bytes.extend([0; 4]);
    bytes.extend(vec![0; body.len().div_ceil(256 << 10) * 2]);
    let fields = [3, 1, 0, 0, 0, 0, key.len() as u32, 0];
    bytes.extend(fields.map(u32::to_be_bytes).concat());
    bytes.extend(format!("{key}\0request-method\0GET\0response-head\0{head}\0").as_bytes());
    bytes.extend((body.len() as u32).to_be_bytes());
    Entry {
        ranges: false,
        bytes,
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for film in &self.films {
            writeln!(f, "{film:?}")?;
        }
        self.urls.iter().try_for_each(|url| writeln!(f, "  {url}"))
    }
}
