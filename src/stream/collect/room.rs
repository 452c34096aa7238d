//! What was held of one browser profile and partition, and what can be made of it at a given time.
//! Pure: time is an argument.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use super::shelf::{Id, Kept, Shelf};
use crate::stream::{
    Assembly, Body, Document,
    cache::classify::Class,
    join::choose::{self, Choice},
    playlist::{address::without_query, assemble, order},
};

/// So long after the last piece a whole video is given out: subtitles and a better quality may yet
/// come.
pub(crate) const SETTLE: Duration = Duration::from_secs(1);
/// So long after the last piece the viewer has left: what is there is all that will be.
pub(crate) const QUIET: Duration = Duration::from_secs(60);
/// So long after its arrival a piece that came to nothing is let go.
pub(crate) const FORGET: Duration = Duration::from_secs(9 * 60);
/// So long the pieces of a video that was given out incomplete wait for the rest: the viewer made a
/// pause.
pub(crate) const PAUSE: Duration = Duration::from_secs(2 * 3600);
/// Of an incomplete video, more than players fetch ahead for a video that nobody plays: this share
/// or this long.
const PLAYED: (f64, Duration) = (0.1, Duration::from_secs(60));
/// Playlists of one room.
const MAX_DOCUMENTS: usize = 1000;
/// Versions of one: a live stream of a day whose window is ten minutes long has 144 that are
/// needed.
const MAX_VERSIONS: usize = 512;

/// What a room makes of its pieces.
#[derive(Debug)]
pub(crate) enum Finding {
    /// A video; its pieces can go once it is written, unless it is not whole.
    Video {
        url: String,
        title: Option<String>,
        made: Made,
        kept: Vec<Arc<Kept>>,
        whole: bool,
    },
    /// Nothing, and why.
    Dropped {
        url: String,
        reason: String,
        ids: Vec<Id>,
    },
    /// Nothing, and nobody needs to know.
    Release(Vec<Id>),
}

/// How a finding is put together.
#[derive(Debug)]
pub(crate) enum Made {
    File(Body),
    Stream(Choice),
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Room {
    documents: BTreeMap<String, Stored>,
    pub(crate) shelf: Shelf,
    /// What was given out incomplete, by its address: how much of it.
    told: HashMap<String, f64>,
    /// Addresses of pieces of videos that were given out whole, and when.
    done: HashMap<u64, Instant>,
    /// When something may be due.
    pub(crate) look: Option<Instant>,
}

#[derive(Debug)]
struct Stored {
    document: Document,
    at: Instant,
}

impl Room {
    /// Something arrived: look when it has settled.
    pub(crate) fn stir(&mut self, now: Instant) {
        let due = now + SETTLE;
        self.look = Some(self.look.map_or(due, |look| look.min(due)));
    }

    /// A playlist. Returns whether it is kept as a new version.
    pub(crate) fn document(&mut self, url: &str, text: &str, now: Instant) -> bool {
        if self.documents.len() >= MAX_DOCUMENTS && !self.documents.contains_key(url) {
            return false;
        }
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
        self.stir(now);
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

    /// Whether a piece of this address went into a video that was given out whole.
    pub(crate) fn is_done(&self, url: &str) -> bool {
        self.done.contains_key(&hash(url))
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.shelf.is_empty() && self.documents.is_empty() && self.done.is_empty()
    }

    /// What can be said at `now`; at the `end`, about everything.
    pub(crate) fn judge(
        &mut self,
        min_duration: Duration,
        now: Instant,
        end: bool,
    ) -> Vec<Finding> {
        let mut round = Round {
            findings: Vec::new(),
            alive: HashMap::new(),
            look: None,
            min_duration,
            now,
            end,
        };
        let documents: Vec<Document> = self
            .documents
            .values()
            .map(|s| s.document.clone())
            .collect();
        let assemblies = assemble::assemble(&documents, &self.shelf);
        let named: HashSet<String> = assemblies
            .iter()
            .flat_map(Assembly::refs)
            .map(|r| without_query(&r.url).to_owned())
            .collect();
        for assembly in assemblies {
            self.stream(&assembly, &mut round);
        }
        let free = |k: &&Arc<Kept>| !named.contains(without_query(&k.piece.url));
        let files: Vec<_> = self
            .shelf
            .iter()
            .filter(|k| k.class == Class::File)
            .filter(free)
            .cloned()
            .collect();
        for kept in files {
            self.file(&kept, &mut round);
        }
        let lone: Vec<_> = self
            .shelf
            .iter()
            .filter(|k| k.class == Class::Segment)
            .filter(free)
            .cloned()
            .collect();
        let last = lone.iter().map(|k| k.at).max();
        if last.is_some_and(|last| round.is_due(last + QUIET)) {
            let probed: Vec<_> = lone
                .iter()
                .filter_map(|k| Some((&k.piece, k.probe()?)))
                .collect();
            for assembly in order::assemblies(&probed) {
                self.stream(&assembly, &mut round);
            }
        }
        self.expire(&mut round);
        self.look = round.look;
        round.findings
    }

    /// One video by its playlist, or by the order of its segments.
    fn stream(&mut self, assembly: &Assembly, round: &mut Round) {
        let mut seen = HashSet::new();
        let kept: Vec<Arc<Kept>> = assembly
            .refs()
            .filter_map(|of| self.shelf.find(of))
            .filter(|k| seen.insert(Arc::as_ptr(k)))
            .cloned()
            .collect();
        let ids = || kept.iter().flat_map(|k| k.ids.iter().copied()).collect();
        if let Some(how) = &assembly.protected {
            // Encrypted segments look like nothing and are not held, so the playlist alone tells.
            // Once is enough.
            if kept.is_empty() && self.told.insert(assembly.url.clone(), 0.0).is_some() {
                return;
            }
            let reason = format!("encrypted ({how}): left alone");
            round.findings.push(Finding::Dropped {
                url: assembly.url.clone(),
                reason,
                ids: ids(),
            });
            self.finish(&kept, round.now);
            kept.iter().for_each(|k| self.shelf.take(k));
            return;
        }
        let Some(last) = kept.iter().map(|k| k.at).max() else {
            return;
        };
        if kept.iter().filter(|k| self.is_done(&k.piece.url)).count() * 2 > kept.len() {
            return;
        }
        let choice = choose::choose(assembly, &self.shelf, round.min_duration);
        let there = choice.duration.mul_f64(choice.fraction.clamp(0.0, 1.0));
        let told = self.told.get(&assembly.url).copied();
        round.keep(&kept, last + if told.is_some() { PAUSE } else { FORGET });
        let title = assembly.title.clone();
        let url = assembly.url.clone();
        if choice.whole {
            if !round.is_due(last + SETTLE) {
                return;
            }
            self.finish(&kept, round.now);
            if choice.duration < round.min_duration {
                kept.iter().for_each(|k| self.shelf.take(k));
                let reason = format!("{:.0} s long only", choice.duration.as_secs_f64());
                round.findings.push(Finding::Dropped {
                    url,
                    reason,
                    ids: ids(),
                });
            } else {
                round.findings.push(Finding::Video {
                    url,
                    title,
                    made: Made::Stream(choice),
                    kept,
                    whole: true,
                });
            }
        } else if round.is_due(last + QUIET) {
            let played = choice.fraction >= PLAYED.0 || there >= PLAYED.1;
            let more = told.is_none_or(|before| there.as_secs_f64() > before);
            if played && more && there >= round.min_duration {
                self.told.insert(url.clone(), there.as_secs_f64());
                round.keep(&kept, last + PAUSE);
                round.findings.push(Finding::Video {
                    url,
                    title,
                    made: Made::Stream(choice),
                    kept,
                    whole: false,
                });
            }
        }
    }

    /// A file of its own.
    fn file(&mut self, kept: &Arc<Kept>, round: &mut Round) {
        let url = &kept.piece.url;
        if self.is_done(url) {
            return;
        }
        let body = &kept.piece.body;
        let (there, told) = (body.held() as f64, self.told.get(url).copied());
        round.keep(
            std::slice::from_ref(kept),
            kept.at + if told.is_some() { PAUSE } else { FORGET },
        );
        let whole = body.is_whole();
        let due = round.is_due(kept.at + if whole { SETTLE } else { QUIET });
        if !due || told.is_some_and(|before| there <= before) {
            return;
        }
        if whole {
            self.finish(std::slice::from_ref(kept), round.now);
        } else {
            self.told.insert(url.clone(), there);
        }
        let (url, made) = (url.clone(), Made::File(body.clone()));
        round.findings.push(Finding::Video {
            url,
            title: None,
            made,
            kept: vec![kept.clone()],
            whole,
        });
    }

    fn finish(&mut self, kept: &[Arc<Kept>], now: Instant) {
        self.done
            .extend(kept.iter().map(|k| (hash(&k.piece.url), now)));
    }

    /// Lets go what came to nothing.
    fn expire(&mut self, round: &mut Round) {
        let mut gone = Vec::new();
        for kept in self.shelf.iter().filter(|k| !self.is_done(&k.piece.url)) {
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
            gone.iter().for_each(|k| self.shelf.take(k));
            round.findings.push(Finding::Release(
                gone.iter().flat_map(|k| k.ids.iter().copied()).collect(),
            ));
        }
        // Playlists last as long as their videos may be given out again.
        self.documents
            .retain(|_, stored| !round.is_due(stored.at + PAUSE));
        self.done.retain(|_, at| !round.is_due(*at + FORGET));
        if self.shelf.is_empty() && self.documents.is_empty() {
            self.told.clear();
        }
    }
}

/// Takes out the versions that a new one of a live playlist makes superfluous: windows only slide
/// forward, that of the parts near the end like that of the segments, so a version of which the
/// first of each is still listed adds nothing, nor does one between two that overlap.
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
    let is_segment = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let is_part = |line: &&str| line.starts_with("#EXT-X-PART:");
    // Tokens in queries change.
    let lines =
        |text| str::lines(text).map(|line| line.trim().split('?').next().unwrap_or_default());
    let listed = |first: &str| lines(text).any(|line| line == first);
    lines(other).find(is_segment).is_some_and(listed)
        && lines(other).find(is_part).is_none_or(listed)
}

/// One judgement.
struct Round {
    findings: Vec<Finding>,
    /// Pieces that are wanted until then.
    alive: HashMap<*const Kept, Instant>,
    look: Option<Instant>,
    min_duration: Duration,
    now: Instant,
    end: bool,
}

impl Round {
    /// Whether `at` has come; if not, there is a reason to look then.
    fn is_due(&mut self, at: Instant) -> bool {
        if self.end || at <= self.now {
            return true;
        }
        self.look = Some(self.look.map_or(at, |look| look.min(at)));
        false
    }

    fn keep(&mut self, kept: &[Arc<Kept>], until: Instant) {
        for k in kept {
            let alive = self.alive.entry(Arc::as_ptr(k)).or_insert(until);
            *alive = (*alive).max(until);
        }
    }
}

fn hash(url: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    without_query(url).hash(&mut hasher);
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
        let mut room = Room::default();
        let now = Instant::now();
        for n in 0..1000 {
            room.document("http://a/live.m3u8", &window(n..n + 10), now);
        }
        let versions = &room.documents["http://a/live.m3u8"].document.versions;
        assert_eq!(listed(versions), (0..1009).collect::<Vec<_>>());
        assert!(versions.len() < 120, "{}", versions.len());
    }

    /// The parts of the last three of ten segments only.
    #[test]
    fn of_a_window_of_parts_every_part_is_kept() {
        let version = |n: u32| {
            let text = window(n..n + 10);
            let with_parts =
                |line: &str| match line.strip_prefix("seg").and_then(|l| l.split('.').next()) {
                    Some(number) if number.parse::<u32>().unwrap() >= n + 7 => {
                        format!("#EXT-X-PART:DURATION=4,URI=\"part{number}.ts?t={n}\"\n{line}\n")
                    }
                    _ => format!("{line}\n"),
                };
            text.lines().map(with_parts).collect::<String>()
        };
        let mut room = Room::default();
        for n in 0..100 {
            room.document("http://a/live.m3u8", &version(n), Instant::now());
        }
        let versions = &room.documents["http://a/live.m3u8"].document.versions;
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
        let mut room = Room::default();
        for n in 1..50 {
            room.document("http://a/event.m3u8", &window(0..n), Instant::now());
        }
        assert_eq!(
            room.documents["http://a/event.m3u8"]
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
