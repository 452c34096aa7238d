use std::time::{Duration, Instant};

use super::*;
use crate::stream::cache::{
    chromium::tests::{answer_file, sparse_file},
    firefox,
};

const FOLDER: &str = "/cache/Default/Cache/Cache_Data";
const SITE: &str = "https://site.example";

/// A browser at work: what it stores goes to a collector, time is at hand.
struct Browser {
    collector: Collector,
    start: Instant,
    seconds: u64,
    count: EntryId,
    /// Entries that are held.
    held: Vec<EntryId>,
    /// Videos that were given out: id, whole, fraction in percent, what it replaces.
    videos: Vec<(VideoId, bool, u32, Option<VideoId>)>,
    /// When the first piece of the last one came.
    since: u64,
    dropped: Vec<String>,
}

impl Browser {
    fn new() -> Self {
        let limits = Limits {
            min_size: 100,
            min_duration: Duration::from_secs(10),
        };
        Self {
            collector: Collector::new(limits),
            start: Instant::now(),
            seconds: 0,
            count: 0,
            held: Vec::new(),
            videos: Vec::new(),
            since: 0,
            dropped: Vec::new(),
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs(self.seconds)
    }

    /// An entry is closed. Returns whether it stays held.
    fn entry(&mut self, id: EntryId, source: &str, file: Vec<u8>) -> bool {
        let format = if firefox::is_entry(Path::new(source)) {
            Source::Firefox
        } else {
            Source::Chromium
        };
        let held = HeldEntry {
            id,
            source: Path::new(source),
            format,
            storage: Storage::Bytes(file.into()),
            spool: None,
        };
        let keep = self.collector.entry(&held, self.now());
        self.held.retain(|known| *known != id);
        if keep {
            self.held.push(id);
        }
        keep
    }

    fn get_as(&mut self, site: &str, url: &str, head: &str, body: &[u8]) -> bool {
        self.count += 1;
        let key = format!("1/0/_dk_{site} {site} {url}");
        let head = format!("HTTP/1.1 200 OK\nContent-Length: {}\n{head}", body.len());
        self.entry(
            self.count,
            &format!("{FOLDER}/{:016x}_0", self.count),
            answer_file(&key, &head, body, 0),
        )
    }

    fn get(&mut self, url: &str, body: &[u8]) -> bool {
        self.get_as(SITE, url, "", body)
    }

    /// Time passes, and what is due is done as the worker does it.
    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.seconds += 1;
            if self.collector.deadline().is_none_or(|due| due > self.now()) {
                continue;
            }
            for outcome in self.collector.due(self.now()) {
                match outcome {
                    Outcome::Video(v) => {
                        let percent = (v.fraction() * 100.0).round() as u32;
                        self.videos.push((v.id, v.whole(), percent, v.replaces));
                        self.since = (v.since - self.start).as_secs();
                        let gone = self.collector.finished(v.id);
                        self.held.retain(|id| !gone.contains(id));
                    }
                    Outcome::Release(id) => self.held.retain(|known| *known != id),
                    Outcome::Dropped { reason, .. } => self.dropped.push(reason),
                }
            }
        }
    }
}

fn ts(n: u8) -> Vec<u8> {
    let mut segment = vec![n; 376];
    (segment[0], segment[188]) = (0x47, 0x47);
    segment
}

fn list(segments: std::ops::Range<u32>, tail: &str) -> Vec<u8> {
    let head = format!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-MEDIA-SEQUENCE:{}\n",
        segments.start
    );
    (segments.fold(head, |text, n| text + &format!("#EXTINF:6,\nseg{n}.ts\n")) + tail).into_bytes()
}

const END: &str = "#EXT-X-ENDLIST\n";

#[test]
fn what_is_not_media_is_let_go_at_once() {
    let mut b = Browser::new();
    for (url, body) in [
        (
            "https://site.example/",
            &b"<!doctype html><title>x</title>"[..],
        ),
        ("https://site.example/a.png", b"\x89PNG\r\n\x1a\n0000"),
        ("https://site.example/a.js", b"function f() {}"),
        ("https://site.example/nothing", b""),
    ] {
        assert!(!b.get(url, body), "{url}");
    }
    assert!(!b.entry(99, "/cache/x/0123456789abcdef_0", b"foreign".to_vec()));
    assert_eq!(b.collector.deadline(), None);
}

/// It may be the beginning of a stream whose playlist comes later.
#[test]
fn what_is_tiny_waits_and_goes_without_a_word() {
    let mut b = Browser::new();
    let tiny = b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\x08mdat";
    assert!(b.get("https://site.example/tiny.mp4", tiny));
    b.wait(600);
    assert_eq!((b.held.len(), b.videos.len(), b.dropped.len()), (0, 0, 0));
}

#[test]
fn a_stream_is_given_out_a_second_after_its_last_piece_and_let_go() {
    let mut b = Browser::new();
    b.wait(7);
    assert!(
        b.get("https://cdn.example/v/list.m3u8", &list(0..3, END)),
        "a crash leaves it to the next start"
    );
    for n in 0..3 {
        assert!(b.get(&format!("https://cdn.example/v/seg{n}.ts"), &ts(n)));
        b.wait(5);
    }
    assert_eq!((&b.videos[..], b.since), (&[(1, true, 100, None)][..], 7));
    assert_eq!(b.held.len(), 0);
    // The same again, from the cache.
    assert!(!b.get("https://cdn.example/v/seg1.ts", &ts(1)));
    b.wait(3 * 3600);
    assert_eq!(b.videos.len(), 1);
    assert_eq!(b.collector.deadline(), None, "nothing is left to wait for");
}

#[test]
fn a_pause_makes_an_incomplete_one_that_the_whole_replaces() {
    let mut b = Browser::new();
    b.get("https://cdn.example/v/list.m3u8", &list(0..4, END));
    for n in 0..2 {
        b.get(&format!("https://cdn.example/v/seg{n}.ts"), &ts(n));
    }
    b.wait(59);
    assert_eq!(b.videos.len(), 0);
    b.wait(1);
    assert_eq!(b.videos, [(1, false, 50, None)]);
    b.wait(20 * 60);
    assert_eq!(
        b.held.len(),
        3,
        "they wait for the rest, with their playlist"
    );
    b.get("https://cdn.example/v/seg2.ts", &ts(2));
    b.wait(60);
    assert_eq!(b.videos[1..], [(2, false, 75, Some(1))]);
    b.get("https://cdn.example/v/seg3.ts", &ts(3));
    b.wait(2);
    assert_eq!(b.videos[2..], [(3, true, 100, Some(2))]);
    assert_eq!(b.held.len(), 0);
}

#[test]
fn pieces_that_come_to_nothing_are_let_go_within_ten_minutes() {
    let mut b = Browser::new();
    // Fetched ahead for a video that nobody plays: one segment of forty.
    b.get("https://cdn.example/v/list.m3u8", &list(0..40, END));
    assert!(b.get("https://cdn.example/v/seg0.ts", &ts(0)));
    // A segment that no playlist names, a file of which little arrived.
    assert!(b.get("https://cdn.example/w/a.ts", &ts(0)));
    b.wait(600);
    assert_eq!((b.held.len(), b.videos.len()), (0, 0));
}

#[test]
fn a_stream_that_was_given_out_incomplete_is_let_go_in_the_end() {
    let mut b = Browser::new();
    b.get("https://cdn.example/v/list.m3u8", &list(0..4, END));
    for n in 0..3 {
        b.get(&format!("https://cdn.example/v/seg{n}.ts"), &ts(n));
    }
    b.wait(3 * 3600);
    assert_eq!((b.videos.len(), b.held.len()), (1, 0));
    assert_eq!(b.collector.deadline(), None);
}

#[test]
fn encrypted_and_short_streams_are_dropped_with_the_reason() {
    let mut b = Browser::new();
    let key = "#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n#EXTINF:6,\nseg0.ts\n#EXT-X-ENDLIST\n";
    b.get("https://cdn.example/v/list.m3u8", &list(0..0, key));
    assert!(
        !b.get("https://cdn.example/v/seg0.ts", &[0x93; 400]),
        "it looks like nothing"
    );
    b.get("https://ads.example/ad.m3u8", &list(0..1, END));
    b.get("https://ads.example/seg0.ts", &ts(0));
    b.wait(60);
    b.dropped.sort();
    assert_eq!(
        b.dropped,
        ["6 s long only", "encrypted (AES-128): left alone"]
    );
    assert_eq!(b.held.len(), 2, "playlists, since more may come of them");
    b.wait(600);
    assert_eq!((b.held.len(), b.videos.len()), (0, 0));
}

#[test]
fn of_a_playlist_the_latest_is_held() {
    let mut b = Browser::new();
    for n in 0..5 {
        // Firefox makes a new file for each version.
        assert!(b.get("https://cdn.example/live.m3u8", &list(n..n + 3, "")));
        b.get(&format!("https://cdn.example/seg{n}.ts"), &ts(n as u8));
        b.wait(6);
    }
    assert_eq!(b.held.len(), 5 + 1);
    b.wait(3 * 3600);
    assert_eq!(b.held.len(), 0);
}

#[test]
fn nothing_of_another_site_or_profile_fills_a_gap() {
    let mut b = Browser::new();
    b.get("https://cdn.example/v/list.m3u8", &list(0..4, END));
    for n in 0..2 {
        b.get(&format!("https://cdn.example/v/seg{n}.ts"), &ts(n));
    }
    b.get("https://evil.example/v/seg2.ts", &ts(2));
    b.get_as(
        "https://other.example",
        "https://cdn.example/v/seg3.ts",
        "",
        &ts(3),
    );
    b.wait(61);
    assert_eq!(b.videos, [(1, false, 50, None)]);
}

#[test]
fn two_tabs_are_two_videos() {
    let mut b = Browser::new();
    for v in ["v", "w"] {
        b.get(
            &format!("https://cdn.example/{v}/list.m3u8"),
            &list(0..2, END),
        );
    }
    for n in 0..2 {
        for v in ["v", "w"] {
            b.get(&format!("https://cdn.example/{v}/seg{n}.ts"), &ts(n));
        }
    }
    b.wait(2);
    assert_eq!(
        b.videos.iter().map(|v| v.1).collect::<Vec<_>>(),
        [true, true]
    );
    assert_eq!(b.held.len(), 0);
}

#[test]
fn a_live_window_slides() {
    let mut b = Browser::new();
    for n in 0..20 {
        // The browser overwrites the same entry.
        let key = format!("1/0/_dk_{SITE} {SITE} https://cdn.example/live.m3u8");
        let file = answer_file(&key, "HTTP/1.1 200 OK\n", &list(n..n + 3, ""), 0);
        assert!(b.entry(1000, &format!("{FOLDER}/00000000000000aa_0"), file));
        b.get(&format!("https://cdn.example/seg{n}.ts"), &ts(n as u8));
        b.wait(6);
    }
    b.wait(55);
    // Two segments beyond what was loaded are named by the last window.
    assert_eq!(b.videos, [(1, false, 91, None)]);
}

#[test]
fn a_file_of_its_own() {
    let mut b = Browser::new();
    let mut film = b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\x08moov".to_vec();
    film.extend([0, 0, 1, 0]);
    film.extend(b"mdat");
    film.resize(film.len() + 248, 7);
    assert!(b.get("https://site.example/film.mp4", &film));
    assert!(
        b.collector
            .exact(&film[..64], Some(film.len() as u64))
            .is_some()
    );
    assert!(b.collector.exact(&film[..64], Some(5)).is_none());
    b.wait(1);
    assert_eq!(b.videos, [(1, true, 100, None)]);
    // Half of another: Content-Length tells.
    let key = format!("1/0/_dk_{SITE} {SITE} https://site.example/half.mp4");
    let head = format!("HTTP/1.1 200 OK\nContent-Length: {}\n", film.len() * 2);
    b.entry(
        500,
        &format!("{FOLDER}/00000000000000bb_0"),
        answer_file(&key, &head, &film, 0),
    );
    b.wait(60);
    assert_eq!(b.videos[1..], [(2, false, 50, None)]);
}

#[test]
fn a_file_in_ranges() {
    let mut b = Browser::new();
    let mut film = b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\x08moov\0\0\x01\0mdat".to_vec();
    film.resize(280, 7);
    let key = format!("1/0/_dk_{SITE} {SITE} https://site.example/film.mp4");
    let (answer, ranges) = (
        format!("{FOLDER}/00000000000000cc_0"),
        format!("{FOLDER}/00000000000000cc_s"),
    );
    let stub = "HTTP/1.1 206 x\nContent-Type: video/mp4\nContent-Range: bytes 0-99/280\n";
    assert!(b.entry(1, &ranges, sparse_file(&key, &[(0, &film[..100])])));
    assert!(b.entry(2, &answer, answer_file(&key, stub, b"", 0)));
    b.wait(2);
    assert_eq!(b.videos.len(), 0);
    assert!(b.entry(
        1,
        &ranges,
        sparse_file(&key, &[(0, &film[..100]), (100, &film[100..])])
    ));
    b.wait(1);
    assert_eq!(b.videos, [(1, true, 100, None)]);
    assert_eq!(b.held.len(), 0);
}

#[test]
fn ranges_of_no_media_are_let_go() {
    let mut b = Browser::new();
    let key = format!("1/0/_dk_{SITE} {SITE} https://site.example/paper.pdf");
    assert!(!b.entry(
        1,
        &format!("{FOLDER}/00000000000000dd_s"),
        sparse_file(&key, &[(0, b"%PDF-1.7")])
    ));
    let stub = "HTTP/1.1 206 x\nContent-Type: application/pdf\nContent-Range: bytes 0-7/80\n";
    assert!(!b.entry(
        2,
        &format!("{FOLDER}/00000000000000dd_0"),
        answer_file(&key, stub, b"", 0)
    ));
    // Only the middle, and no headers: nothing can be said, and nothing is kept for long.
    let key = format!("1/0/_dk_{SITE} {SITE} https://site.example/unknown");
    assert!(b.entry(
        3,
        &format!("{FOLDER}/00000000000000ee_s"),
        sparse_file(&key, &[(50, b"?")])
    ));
    b.wait(600);
    assert_eq!(b.held.len(), 0);
    assert_eq!(b.collector.deadline(), None);
}

#[test]
fn an_entry_that_is_still_written_is_kept_if_it_begins_as_media() {
    let mut b = Browser::new();
    let key = format!("1/0/_dk_{SITE} {SITE} https://cdn.example/seg0.ts");
    let whole = answer_file(&key, "HTTP/1.1 200 OK\n", &ts(0), 0);
    let source = format!("{FOLDER}/00000000000000ff_0");
    assert!(b.entry(1, &source, whole[..whole.len() - 200].to_vec()));
    assert!(b.entry(1, &source, whole));
    b.wait(600);
    assert_eq!(b.held.len(), 0);
}

#[test]
fn a_compressed_playlist_is_read_and_a_compressed_page_is_not() {
    use std::io::Write;
    let gzip = |bytes: &[u8]| {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(bytes).unwrap();
        gz.finish().unwrap()
    };
    let mut b = Browser::new();
    let coding = "Content-Encoding: gzip\n";
    assert!(!b.get_as(SITE, "https://site.example/", coding, &gzip(b"<html>")));
    b.get_as(
        SITE,
        "https://cdn.example/list.m3u8",
        coding,
        &gzip(&list(0..2, END)),
    );
    for n in 0..2 {
        b.get(&format!("https://cdn.example/seg{n}.ts"), &ts(n));
    }
    b.wait(2);
    assert_eq!(b.videos, [(1, true, 100, None)]);
}

#[test]
fn no_more_is_held_than_the_limit() {
    let mut b = Browser::new();
    for n in 0..MAX_PIECES {
        b.get(&format!("https://cdn.example/{n}.ts"), &ts(0));
    }
    assert_eq!(b.held.len(), MAX_PIECES);
    for name in ["more", "evenmore"] {
        assert!(!b.get(&format!("https://cdn.example/{name}.ts"), &ts(0)));
    }
    b.wait(5);
    assert_eq!(b.dropped, [TOO_MANY]);
    b.wait(600);
    assert_eq!(b.held.len(), 0);
}

#[test]
fn what_is_seen_and_not_held_is_said_once_a_site() {
    let mut b = Browser::new();
    let url = |n: u8| format!("https://cdn.example/seg{n}.ts");
    for n in 0..3 {
        let coding = "Content-Type: video/mp2t\nContent-Encoding: xyz\n";
        assert!(!b.get_as(SITE, &url(n), coding, b"who knows what this is"));
        let key = format!("1/0/_dk_{SITE} {SITE} {}", url(n + 10));
        for (id, body) in [(1000, &ts(0)[..]), (2000, b"<html></html>")] {
            let file = answer_file(&key, "no status\n", body, 0);
            let source = format!("{FOLDER}/{:016x}_0", id + u64::from(n));
            assert!(!b.entry(id + u64::from(n), &source, file));
        }
    }
    assert!(!b.get_as(
        "https://b.example",
        &url(0),
        "Content-Type: video/mp4\nContent-Encoding: xyz\n",
        b"?"
    ));
    b.wait(2);
    b.dropped.sort();
    let unknown = "content coding \"xyz\" is unknown";
    let damaged = "the entry is damaged: no headers";
    assert_eq!(b.dropped, [unknown, unknown, damaged]);
}

#[test]
fn more_playlists_than_can_be_held_are_said() {
    let mut b = Browser::new();
    for n in 0..1002 {
        b.get(&format!("https://cdn.example/{n}.m3u8"), &list(0..2, END));
    }
    b.wait(2);
    assert_eq!(b.dropped, [TOO_MANY_PLAYLISTS]);
}
