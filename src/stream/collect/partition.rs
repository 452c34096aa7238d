//! Decides which videos the held pieces of one browser profile and partition make at a given time.
//! Pure: time is an argument.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Limits,
    pieces::{EntryId, HeldPiece, PieceIndex},
    stand_in,
    video::Contents,
};
use crate::{
    media::{self, Kind},
    stream::{
        Assembly, Body, Document, Piece,
        address::identity,
        cache::classify::Class,
        join::choose::{self, Choice},
        playlist::{assemble, order},
    },
    units::Size,
};

/// How long after its last piece a whole video is given out: subtitles and a better quality may yet
/// come.
pub(crate) const SETTLE: Duration = Duration::from_secs(1);
/// How long after the last piece the viewer counts as gone, so that no more will come.
pub(crate) const QUIET: Duration = Duration::from_secs(60);
/// How long after its arrival a piece is let go that became part of no video.
pub(crate) const FORGET: Duration = Duration::from_secs(9 * 60);
/// How long the pieces of a video that was given out incomplete wait for the rest: the viewer made
/// a pause.
pub(crate) const PAUSE: Duration = Duration::from_secs(2 * 3600);
/// An incomplete video counts as played if this share, or this much time, of it is there: players
/// fetch less ahead for a video that nobody plays.
const PLAYED: (f64, Duration) = (0.1, Duration::from_secs(60));
/// Playlists of one partition.
const MAX_DOCUMENTS: usize = 1000;
/// Versions of one: a live stream of a day whose window is ten minutes long has 144 that are
/// needed.
const MAX_VERSIONS: usize = 512;

/// What a partition makes of its pieces.
#[derive(Debug)]
pub(crate) enum Decision {
    /// A video; its pieces can go once it is written, unless it is not whole.
    Video {
        /// Its key, which no other video of the partition has.
        key: String,
        url: String,
        title: Option<String>,
        contents: Contents,
        kept: Vec<Arc<HeldPiece>>,
        whole: bool,
    },
    /// Nothing, for this reason.
    Dropped {
        url: String,
        reason: String,
        ids: Vec<EntryId>,
    },
    /// Nothing, which is not reported.
    Release(Vec<EntryId>),
}

/// What was last decided about a video.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Report {
    /// It was given out incomplete: how much of it was there, in seconds or bytes.
    Incomplete(f64),
    /// It was given out whole, or dropped.
    Ended,
}

/// A piece of a video that was given out whole.
#[derive(Clone, Copy, Debug)]
struct Done {
    at: Instant,
    /// In bytes: another answer at the same address is another piece.
    len: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    documents: BTreeMap<String, Stored>,
    pub(crate) pieces: PieceIndex,
    /// What was last decided about each video, by its key.
    reports: HashMap<String, Report>,
    /// Pieces of videos that were given out whole, by what their addresses name.
    done: HashMap<u64, Done>,
    /// Videos of which nothing can be held, to be reported: address and reason.
    notices: Vec<(String, String)>,
    /// When something may be due.
    pub(crate) look: Option<Instant>,
}

#[derive(Debug)]
struct Stored {
    document: Document,
    at: Instant,
}

impl Partition {
    /// Something arrived: its videos are looked at a moment later.
    pub(crate) fn look_soon(&mut self, now: Instant) {
        let due = now + SETTLE;
        self.look = Some(self.look.map_or(due, |look| look.min(due)));
    }

    /// Whether there is room for a playlist from there.
    pub(crate) fn has_room_for(&self, url: &str) -> bool {
        self.documents.len() < MAX_DOCUMENTS || self.documents.contains_key(url)
    }

    /// Takes in a playlist, if there [is room for it](Self::has_room_for). Returns whether it is kept as a
    /// new version.
    pub(crate) fn document(&mut self, url: &str, text: &str, now: Instant) -> bool {
        let empty = || Stored {
            document: Document {
                url: url.into(),
                versions: Vec::new(),
            },
            at: now,
        };
        let stored = self.documents.entry(url.into()).or_insert_with(empty);
        stored.at = now;
        let versions = &mut stored.document.versions;
        if versions.last().is_some_and(|last| **last == *text) {
            return false;
        }
        supersede(versions, text);
        if versions.len() >= MAX_VERSIONS {
            return false;
        }
        versions.push(text.into());
        self.look_soon(now);
        true
    }

    /// Bytes of playlists.
    pub(crate) fn text(&self) -> usize {
        self.documents
            .values()
            .flat_map(|s| &s.document.versions)
            .map(|v| v.len())
            .sum()
    }

    /// Takes in a video that was seen and can't be held.
    pub(crate) fn notice(&mut self, url: &str, reason: String, now: Instant) {
        self.notices.push((url.into(), reason));
        self.look_soon(now);
    }

    /// Whether the piece went into a video that was given out whole.
    pub(crate) fn is_done(&self, piece: &Piece) -> bool {
        let done = self.done.get(&hash(&piece.url));
        done.is_some_and(|done| done.len == piece.body.len())
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.documents.is_empty() && self.done.is_empty()
    }

    /// What is decided at `now`; at the `end`, about everything.
    ///
    /// Playlists come first. What none of them names is a file of its own, or a segment that is put
    /// in order without a playlist.
    pub(crate) fn judge(&mut self, limits: Limits, now: Instant, end: bool) -> Vec<Decision> {
        let mut round = Round {
            decisions: Vec::new(),
            alive: HashMap::new(),
            look: None,
            limits,
            now,
            end,
        };
        for (url, reason) in std::mem::take(&mut self.notices) {
            if self.end(&url) {
                let ids = Vec::new();
                round.decisions.push(Decision::Dropped { url, reason, ids });
            }
        }
        let documents: Vec<Document> = self
            .documents
            .values()
            .map(|s| s.document.clone())
            .collect();
        let mut assemblies = assemble::assemble(&documents, &self.pieces);
        let named = addresses(&assemblies);
        for assembly in &mut assemblies {
            stand_in::resolve(assembly, &self.pieces, &named);
        }
        let named = addresses(&assemblies);
        for assembly in assemblies {
            self.stream(&assembly, &mut round);
        }
        let free = |class| {
            let free = |k: &&Arc<HeldPiece>| k.class == class && !named.contains(&k.piece.url);
            self.pieces.iter().filter(free).cloned().collect::<Vec<_>>()
        };
        let (files, lone) = (free(Class::File), free(Class::Segment));
        for kept in files {
            self.file(&kept, &mut round);
        }
        let last = lone.iter().map(|k| k.at).max();
        if last.is_some_and(|last| round.is_due(last + QUIET)) {
            self.unlisted(lone, &mut round);
        }
        self.expire(&mut round);
        self.look = round.look;
        round.decisions
    }

    /// Segments that no playlist names.
    fn unlisted(&mut self, mut lone: Vec<Arc<HeldPiece>>, round: &mut Round) {
        let probed: Vec<_> = lone
            .iter()
            .filter_map(|k| Some((&k.piece, k.probe()?)))
            .collect();
        let assemblies = order::assemblies(&probed);
        let placed = addresses(&assemblies);
        for assembly in assemblies {
            self.stream(&assembly, round);
        }
        // A lone piece may be of a video if it is larger than the sounds and pictures of a page
        // are.
        lone.retain(|k| !placed.contains(&k.piece.url) && k.probe().is_none());
        let Some(last) = lone.iter().map(|k| k.at).max() else {
            return;
        };
        let bytes: u64 = lone.iter().map(|k| k.piece.body.held()).sum();
        let url = lone[0].piece.url.clone();
        if bytes >= round.limits.min_size && round.is_due(last + FORGET) && self.end(&url) {
            let reason = "its playlist was not stored, and its segments can't be put in order \
                          without one";
            self.drop(url, reason.into(), &lone, round);
        }
    }

    /// Decides about one video that has a playlist, or whose segments were put in order.
    fn stream(&mut self, assembly: &Assembly, round: &mut Round) {
        let mut seen = HashSet::new();
        let kept: Vec<Arc<HeldPiece>> = assembly
            .refs()
            .filter_map(|of| self.pieces.find(of))
            .filter(|k| seen.insert(Arc::as_ptr(k)))
            .cloned()
            .collect();
        let (key, url) = (key(assembly), assembly.url.clone());
        if let Some(how) = &assembly.protected {
            // Encrypted segments can't be recognised and are not held, so only the playlist shows
            // the video. It is reported once.
            if self.end(&key) || !kept.is_empty() {
                self.finish(&kept, round.now);
                self.drop(url, format!("encrypted ({how}): left alone"), &kept, round);
            }
            return;
        }
        let Some(last) = kept.iter().map(|k| k.at).max() else {
            return self.nothing_of(&key, url, round);
        };
        if kept.iter().filter(|k| self.is_done(&k.piece)).count() * 2 > kept.len() {
            return;
        }
        let choice = choose::choose(assembly, &self.pieces);
        let there = choice.duration.mul_f64(choice.fraction.clamp(0.0, 1.0));
        let report = self.reports.get(&key).copied();
        let patience = if report.is_some() { PAUSE } else { FORGET };
        round.keep(&kept, last + patience);
        let least = round.limits.min_duration;
        let title = assembly.title.clone();
        let whole = choice.whole;
        if whole {
            if !round.is_due(last + SETTLE) {
                return;
            }
            self.finish(&kept, round.now);
            self.end(&key);
            if choice.duration < least {
                let reason = format!("{:.0} s long only", choice.duration.as_secs_f64());
                return self.drop(url, reason, &kept, round);
            }
        } else {
            if !round.is_due(last + QUIET) {
                return;
            }
            let played = choice.fraction >= PLAYED.0 || there >= PLAYED.1;
            if !played || there < least {
                if report.is_none() && round.is_due(last + FORGET) {
                    self.end(&key);
                    let reason = too_little(&choice, there);
                    self.drop(url, reason, &kept, round);
                }
                return;
            }
            let more = match report {
                Some(Report::Incomplete(before)) => there.as_secs_f64() > before,
                Some(Report::Ended) | None => true,
            };
            if !more {
                return;
            }
            let report = Report::Incomplete(there.as_secs_f64());
            self.reports.insert(key.clone(), report);
            round.keep(&kept, last + PAUSE);
        }
        round.decisions.push(Decision::Video {
            key,
            url,
            title,
            contents: Contents::Stream(Box::new(choice)),
            kept,
            whole,
        });
    }

    /// A playlist of which no segment is held is reported once, if none comes.
    fn nothing_of(&mut self, key: &str, url: String, round: &mut Round) {
        let Some(at) = self.documents.get(&url).map(|stored| stored.at) else {
            return;
        };
        if !self.reports.contains_key(key) && round.is_due(at + FORGET) {
            self.end(key);
            let reason = "the browser's cache has its playlist and no segment of it";
            self.drop(url, reason.into(), &[], round);
        }
    }

    /// Decides about a piece that is a file of its own.
    fn file(&mut self, kept: &Arc<HeldPiece>, round: &mut Round) {
        let url = &kept.piece.url;
        if self.is_done(&kept.piece) {
            return;
        }
        let body = &kept.piece.body;
        let (there, report) = (body.held() as f64, self.reports.get(url).copied());
        let patience = match report {
            Some(Report::Incomplete(_)) => PAUSE,
            Some(Report::Ended) | None => FORGET,
        };
        round.keep(std::slice::from_ref(kept), kept.at + patience);
        let (whole, small) = (body.is_whole(), body.len() < round.limits.min_size);
        // A small one may yet be the beginning of a stream whose playlist comes later.
        let wait = if whole && !small { SETTLE } else { QUIET };
        let more = match report {
            Some(Report::Incomplete(before)) => there > before,
            Some(Report::Ended) => false,
            None => true,
        };
        if !round.is_due(kept.at + wait) || !more {
            return;
        }
        let (url, kept) = (url.clone(), vec![kept.clone()]);
        if small {
            self.end(&url);
            if is_video(body) {
                let least = Size(round.limits.min_size);
                let reason = format!("{} is less than {least}", Size(body.len()));
                self.drop(url, reason, &kept, round);
            }
            return;
        }
        if whole {
            self.finish(&kept, round.now);
        } else {
            self.reports.insert(url.clone(), Report::Incomplete(there));
        }
        round.decisions.push(Decision::Video {
            key: url.clone(),
            url,
            title: None,
            contents: Contents::File(body.clone()),
            kept,
            whole,
        });
    }

    /// Notes that a video is done with. Returns false if it was already.
    fn end(&mut self, key: &str) -> bool {
        self.reports.insert(key.into(), Report::Ended) != Some(Report::Ended)
    }

    /// Lets the pieces of a video go, and reports why.
    fn drop(&mut self, url: String, reason: String, kept: &[Arc<HeldPiece>], round: &mut Round) {
        kept.iter().for_each(|k| self.pieces.take(k));
        let ids = kept.iter().flat_map(|k| k.ids.iter().copied()).collect();
        round.decisions.push(Decision::Dropped { url, reason, ids });
    }

    fn finish(&mut self, kept: &[Arc<HeldPiece>], now: Instant) {
        let done = |k: &Arc<HeldPiece>| {
            let len = k.piece.body.len();
            (hash(&k.piece.url), Done { at: now, len })
        };
        self.done.extend(kept.iter().map(done));
    }

    /// Lets go the pieces that became part of no video.
    fn expire(&mut self, round: &mut Round) {
        let mut gone = Vec::new();
        for kept in self.pieces.iter().filter(|k| !self.is_done(&k.piece)) {
            let until = round
                .alive
                .get(&Arc::as_ptr(kept))
                .copied()
                .unwrap_or(kept.at + FORGET);
            if round.is_due(until) {
                gone.push(kept.clone());
            }
        }
        if !gone.is_empty() {
            gone.iter().for_each(|k| self.pieces.take(k));
            round.decisions.push(Decision::Release(
                gone.iter().flat_map(|k| k.ids.iter().copied()).collect(),
            ));
        }
        // Playlists are kept as long as their videos may be given out again.
        self.documents
            .retain(|_, stored| !round.is_due(stored.at + PAUSE));
        self.done.retain(|_, done| !round.is_due(done.at + FORGET));
        if self.pieces.is_empty() && self.documents.is_empty() {
            self.reports.clear();
        }
    }
}

/// The key of a video in its partition. The playlist's address alone is not enough, because two
/// streams may have the same.
fn key(assembly: &Assembly) -> String {
    let first = assembly.refs().next().map(|of| identity(&of.url));
    format!("{} {}", assembly.url, first.unwrap_or_default())
}

/// The addresses that they name.
fn addresses(assemblies: &[Assembly]) -> HashSet<String> {
    let refs = assemblies.iter().flat_map(Assembly::refs);
    refs.map(|of| of.url.clone()).collect()
}

/// Why a video that was begun is not kept.
fn too_little(choice: &Choice, there: Duration) -> String {
    let (there, all) = (there.as_secs_f64(), choice.duration.as_secs_f64());
    match choice.missing.iter().find(|m| m.why == choose::NO_INIT) {
        Some(_) => "its initialisation segment is not in the browser's cache".into(),
        None if choice.ended => format!("only {there:.0} s of {all:.0} s were loaded"),
        None => format!("only {there:.0} s of it were loaded"),
    }
}

/// Whether a small file is a video, and not the beginning of one, a sound, or anything else.
fn is_video(body: &Body) -> bool {
    let report = body.open().and_then(|b| media::inspect(&b.with_holes()));
    report.is_ok_and(|r| r.kind == Kind::Video && r.duration.is_some_and(|d| d > Duration::ZERO))
}

/// Removes the versions of a live playlist that a new one makes superfluous. Its windows, of
/// segments and of the parts near the end, only slide forward. So an old version adds nothing if
/// the new one still lists its first segment and its first part; nor does one between two versions
/// that overlap.
fn supersede(versions: &mut Vec<Arc<str>>, new: &str) {
    if !new.trim_start_matches('\u{feff}').starts_with("#EXTM3U") {
        return;
    }
    while versions.last().is_some_and(|last| reaches_back(new, last)) {
        versions.pop();
    }
    if let [.., before, _] = &versions[..]
        && reaches_back(before, new)
    {
        versions.pop();
    }
}

/// Whether `text` lists the first segment of `other`, and its first part if it has any.
fn reaches_back(text: &str, other: &str) -> bool {
    // Tokens in queries change.
    let segments = |text| {
        let lines = str::lines(text).map(str::trim);
        lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(identity)
    };
    let parts = |text| {
        let parts = str::lines(text).filter_map(|line| line.trim().strip_prefix("#EXT-X-PART:"));
        parts.map(part_identity)
    };
    segments(other)
        .next()
        .is_some_and(|first| segments(text).any(|s| s == first))
        && parts(other)
            .next()
            .is_none_or(|first| parts(text).any(|p| p == first))
}

/// The address in a part's attributes, and its bytes.
fn part_identity(attributes: &str) -> (String, Option<&str>) {
    let value = |name| {
        let rest = attributes.split_once(name)?.1;
        rest.split('"').next()
    };
    (
        value("URI=\"").map(identity).unwrap_or_default(),
        value("BYTERANGE=\""),
    )
}

/// The state while all videos of a partition are judged.
struct Round {
    decisions: Vec<Decision>,
    /// Pieces that are wanted until then.
    alive: HashMap<*const HeldPiece, Instant>,
    look: Option<Instant>,
    limits: Limits,
    now: Instant,
    end: bool,
}

impl Round {
    /// Whether `at` has come. If not, the partition is looked at again then.
    fn is_due(&mut self, at: Instant) -> bool {
        if self.end || at <= self.now {
            return true;
        }
        self.look = Some(self.look.map_or(at, |look| look.min(at)));
        false
    }

    fn keep(&mut self, kept: &[Arc<HeldPiece>], until: Instant) {
        for k in kept {
            let alive = self.alive.entry(Arc::as_ptr(k)).or_insert(until);
            *alive = (*alive).max(until);
        }
    }
}

fn hash(url: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    identity(url).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(range: std::ops::Range<u32>) -> String {
        let head = format!("#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:{}\n", range.start);
        range.fold(head, |text, n| {
            text + &format!("#EXTINF:4,\nseg{n}.ts?t={n}\n")
        })
    }

    /// The segments that the versions list, each once.
    fn listed(versions: &[Arc<str>]) -> Vec<u32> {
        let mut all: Vec<u32> = versions
            .iter()
            .flat_map(|v| v.lines())
            .filter_map(|l| l.strip_prefix("seg")?.split('.').next()?.parse().ok())
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    #[test]
    fn of_a_sliding_window_few_versions_are_kept_and_every_segment() {
        let mut partition = Partition::default();
        let now = Instant::now();
        for n in 0..1000 {
            partition.document("http://a/live.m3u8", &window(n..n + 10), now);
        }
        let versions = &partition.documents["http://a/live.m3u8"].document.versions;
        assert_eq!(listed(versions), (0..1009).collect::<Vec<_>>());
        assert!(versions.len() < 120, "{}", versions.len());
    }

    /// The parts of the last three of ten segments only.
    #[test]
    fn of_a_window_of_parts_every_part_is_kept() {
        let version = |n: u32| {
            let text = window(n..n + 10);
            let with_parts = |line: &str| match line
                .strip_prefix("seg")
                .and_then(|l| l.split('.').next())
            {
                Some(number) if number.parse::<u32>().unwrap() >= n + 7 => {
                    format!("#EXT-X-PART:DURATION=4,URI=\"part{number}.ts?token={n}\"\n{line}\n")
                }
                _ => format!("{line}\n"),
            };
            text.lines().map(with_parts).collect::<String>()
        };
        let mut partition = Partition::default();
        for n in 0..100 {
            partition.document("http://a/live.m3u8", &version(n), Instant::now());
        }
        let versions = &partition.documents["http://a/live.m3u8"].document.versions;
        let parts: HashSet<_> = versions
            .iter()
            .flat_map(|v| v.split("part").skip(1))
            .collect();
        let numbers: HashSet<_> = parts.iter().filter_map(|p| p.split('.').next()).collect();
        assert_eq!((numbers.len(), listed(versions).len()), (102, 109));
        assert!(versions.len() < 60, "{}", versions.len());
    }

    #[test]
    fn of_a_growing_list_the_last_version_is_kept() {
        let mut partition = Partition::default();
        for n in 1..50 {
            partition.document("http://a/event.m3u8", &window(0..n), Instant::now());
        }
        assert_eq!(
            partition.documents["http://a/event.m3u8"]
                .document
                .versions
                .len(),
            1
        );
    }

    #[test]
    fn windows_with_a_gap_between_them_are_all_kept() {
        let mut versions: Vec<Arc<str>> = Vec::new();
        for range in [0..5, 7..12, 20..25, 22..27] {
            let text = window(range);
            supersede(&mut versions, &text);
            versions.push(text.into());
        }
        assert_eq!(
            listed(&versions),
            [(0..5), (7..12), (20..27)]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
        );
    }
}
