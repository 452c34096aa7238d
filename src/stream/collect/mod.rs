//! Held cache entries in, videos out: a state machine that knows no clock, thread or kernel.
//!
//! The caller hands over each held entry when it was closed after writing, and a file of ranges
//! also while it grows. Then it asks what is due, and until when it may sleep. Nothing is read of
//! an entry but its head and tail until a playlist, or its own first bytes, show that it is media;
//! all else is let go at once.

mod partition;
pub mod pieces;
pub mod rebuild;
mod stand_in;
pub mod video;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    partition::{Decision, FORGET, Partition},
    pieces::{EntryId, HeldPiece},
    video::{CachedVideo, Contents, VideoId, file_title, site, title},
};
use crate::{
    content::Content,
    rule::Source,
    stream::{
        Body, Piece, Storage,
        address::without_directives,
        cache::{
            chromium::{self, EntryFile},
            classify::{Class, behind_foreign, classify, text},
            entry::{CacheEntry, Malformed},
            firefox,
            ranges::Ranges,
        },
        decode,
        playlist::json,
    },
};

/// Most pieces that are held at a time: eight films of two hours in four-second segments.
const MAX_PIECES: usize = 16_384;
/// Most bytes of playlists that are remembered.
const MAX_TEXT: usize = 48 << 20;
/// The largest subtitle file that is copied out of a compressed entry.
const MAX_SUBTITLES: usize = 1 << 20;
/// Bytes of a compressed answer that are decoded to see what it is, and bytes of what they hold.
const ENCODED_HEAD: usize = 4096;
const DECODED_HEAD: usize = 4096;

/// Reasons that are remembered as given.
const MAX_SAID: usize = 4096;
const TOO_MANY: &str = "more pieces of videos came than can be held at a time";
const TOO_MANY_PLAYLISTS: &str = "more playlists came than can be held at a time";
const UNSTORED: &str = "the browser doesn't store it: the server gives it in ranges without ETag or \
                        Last-Modified";

/// A held cache entry.
#[derive(Debug)]
pub struct HeldEntry<'a> {
    /// The caller's number for it.
    pub id: EntryId,
    /// Where the browser keeps it. The name shows which file of an entry it is, the folder which
    /// profile.
    pub source: &'a Path,
    /// The cache's format.
    pub format: Source,
    /// Where its bytes are.
    pub storage: Storage,
    /// The file in which what Chromium empties may be copied; without it the entry itself is read.
    /// In the entry's own format, so that it can be handed over as one after a crash.
    pub spool: Option<PathBuf>,
}

/// What is too small to be kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Of a video, in bytes: never of a piece.
    pub min_size: u64,
    /// Of a video.
    pub min_duration: Duration,
}

/// What is due.
#[derive(Debug)]
pub enum Outcome {
    /// A video can be written. What it is made of stays held until [`Collector::finished`].
    Video(Box<CachedVideo>),
    /// A held entry is no longer needed.
    Release(EntryId),
    /// A video was seen and is not kept.
    Dropped {
        /// Folder of the cache.
        folder: PathBuf,
        /// Address of its playlist.
        url: String,
        /// Why, for people.
        reason: String,
    },
}

/// Profile folder and partition.
type Place = (PathBuf, String);

/// See the module.
#[derive(Debug)]
pub struct Collector {
    limits: Limits,
    partitions: BTreeMap<Place, Partition>,
    /// Files of ranges, by folder and key.
    ranges: HashMap<(PathBuf, String), RangedEntry>,
    /// What each held entry is.
    holds: HashMap<EntryId, EntryState>,
    /// The entries of videos that were given out.
    delivered: HashMap<VideoId, Delivered>,
    /// Playlists of which a later version is held.
    outdated: Vec<EntryId>,
    /// Incomplete videos that were given out, by place and key.
    earlier: HashMap<(Place, String), VideoId>,
    /// Reasons that were reported for sites whose videos can't be held: each once a site.
    said: HashSet<(Place, String)>,
    count: VideoId,
}

/// A file of ranges and its twin.
#[derive(Debug)]
struct RangedEntry {
    ranges: Ranges,
    ids: Vec<EntryId>,
    place: Place,
    kept: Option<Arc<HeldPiece>>,
    /// Its first bytes show that it is media.
    media: bool,
    /// When it changed last.
    at: Instant,
}

#[derive(Debug)]
enum EntryState {
    Piece(Place, Arc<HeldPiece>),
    Ranges((PathBuf, String)),
    /// Media that is still being written.
    Growing(Instant),
    /// A playlist: read already, and held so that a crash leaves it to the next start with its
    /// segments.
    Playlist(Place, String, Instant),
}

#[derive(Debug)]
struct Delivered {
    place: Place,
    kept: Vec<Arc<HeldPiece>>,
}

impl Collector {
    /// Holds nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            partitions: BTreeMap::new(),
            ranges: HashMap::new(),
            holds: HashMap::new(),
            delivered: HashMap::new(),
            outdated: Vec::new(),
            earlier: HashMap::new(),
            said: HashSet::new(),
            count: 0,
        }
    }

    /// Other limits from now on.
    pub fn configure(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes in an entry that was closed after writing, or a file of ranges that has grown. Returns
    /// whether it must stay held. May be called again for the same entry.
    pub fn entry(&mut self, held: &HeldEntry<'_>, now: Instant) -> bool {
        self.forget(held.id);
        if self.holds.len() >= MAX_PIECES {
            self.refuse(held, TOO_MANY.into(), now);
            return false;
        }
        match self.look(held, now) {
            Ok(Some(state)) => {
                self.holds.insert(held.id, state);
                true
            }
            Ok(None) => false,
            Err(Malformed::Unfinished) if is_media(held) => {
                self.holds.insert(held.id, EntryState::Growing(now));
                true
            }
            Err(why @ Malformed::Damaged(_)) => {
                self.refuse(held, why.to_string(), now);
                false
            }
            Err(why) => {
                tracing::trace!("{}: {why}", held.source.display());
                false
            }
        }
    }

    /// What is seen of a video and can't be held is said once a site.
    fn refuse(&mut self, held: &HeldEntry<'_>, reason: String, now: Instant) {
        if !is_media(held) {
            return;
        }
        let folder = held.source.parent().unwrap_or(Path::new(""));
        let content = held.storage.open().ok();
        let (partition, url) = content
            .and_then(|content| match held.format {
                Source::Chromium => {
                    let key = chromium::key(&content).ok()?;
                    let (partition, url) = (chromium::partition(&key), chromium::url(&key));
                    Some((partition.to_owned(), url.to_owned()))
                }
                _ => {
                    let entry = firefox::answer(&content).ok()?;
                    Some((entry.partition, entry.url))
                }
            })
            // Without a key, the entry's own name is all that is known.
            .unwrap_or_else(|| (String::new(), held.source.display().to_string()));
        self.notice((folder.to_owned(), partition), &url, reason, now);
    }

    /// Why something of a site can't be held, unless that was said.
    fn notice(&mut self, place: Place, url: &str, reason: String, now: Instant) {
        if self.is_new(&place, &reason) {
            let partition = self.partitions.entry(place).or_default();
            partition.notice(url, reason, now);
        }
    }

    /// Whether a reason was not given for a site yet.
    fn is_new(&mut self, place: &Place, reason: &str) -> bool {
        if self.said.len() >= MAX_SAID {
            self.said.clear();
        }
        self.said.insert((place.clone(), reason.to_owned()))
    }

    /// What is due at `now`.
    pub fn due(&mut self, now: Instant) -> Vec<Outcome> {
        self.judge(now, false)
    }

    /// Gives out everything as it is, because nothing more will come.
    pub fn finish(&mut self, now: Instant) -> Vec<Outcome> {
        self.judge(now, true)
    }

    /// When something is due next.
    pub fn deadline(&self) -> Option<Instant> {
        let partitions = self
            .partitions
            .values()
            .filter_map(|partition| partition.look);
        let loose = self.loose().map(|(_, at)| at + FORGET);
        partitions.chain(loose).min()
    }

    /// Held entries that are no piece yet, and since when.
    fn loose(&self) -> impl Iterator<Item = (EntryId, Instant)> {
        self.holds.iter().filter_map(|(id, state)| match state {
            EntryState::Growing(at) => Some((*id, *at)),
            EntryState::Ranges(key) => self
                .ranges
                .get(key)
                .filter(|s| s.kept.is_none())
                .map(|s| (*id, s.at)),
            EntryState::Playlist(place, _, at) => {
                let needed = self
                    .partitions
                    .get(place)
                    .is_some_and(|partition| !partition.pieces.is_empty());
                (!needed).then_some((*id, *at))
            }
            EntryState::Piece(..) => None,
        })
    }

    /// Takes in that a video was written, or won't be. Returns the entries to let go: none of an
    /// incomplete video, which may yet grow.
    pub fn finished(&mut self, video: VideoId) -> Vec<EntryId> {
        let Some(given) = self.delivered.remove(&video) else {
            return Vec::new();
        };
        let mut ids = Vec::new();
        for kept in &given.kept {
            if let Some(partition) = self.partitions.get_mut(&given.place) {
                partition.pieces.take(kept);
            }
            ids.extend(kept.ids.iter().copied());
        }
        if self
            .partitions
            .get(&given.place)
            .is_none_or(|partition| partition.pieces.is_empty())
        {
            let of_place = |state: &EntryState| matches!(state, EntryState::Playlist(place, ..) if *place == given.place);
            ids.extend(
                self.holds
                    .iter()
                    .filter(|(_, state)| of_place(state))
                    .map(|(id, _)| *id),
            );
        }
        self.drop_ids(&ids);
        ids
    }

    /// The file, as the browser's cache has it, that begins with these bytes and has this length,
    /// if it is all there: a better source for a temporary file that Firefox wrote out of order.
    pub fn exact(&self, head: &[u8], len: Option<u64>) -> Option<Body> {
        if head.len() < 64 {
            return None;
        }
        let same = |kept: &&Arc<HeldPiece>| {
            let body = &kept.piece.body;
            let mut buf = vec![0; head.len()];
            body.is_whole()
                && len.is_none_or(|len| len == body.len())
                && body
                    .open()
                    .and_then(|b| b.read_at(0, &mut buf))
                    .is_ok_and(|n| buf[..n] == *head)
        };
        let files = self
            .partitions
            .values()
            .flat_map(|partition| partition.pieces.iter())
            .filter(|k| k.class == Class::File);
        files.filter(same).map(|k| k.piece.body.clone()).next()
    }

    fn look(
        &mut self,
        held: &HeldEntry<'_>,
        now: Instant,
    ) -> Result<Option<EntryState>, Malformed> {
        let folder = held.source.parent().unwrap_or(Path::new(""));
        let content = held.storage.open()?;
        let entry = match (held.format, chromium::part(held.source)) {
            (Source::Chromium, Some(EntryFile::Ranges)) => return self.spread(held, folder, now),
            (Source::Chromium, _) => chromium::answer(&content)?,
            _ => firefox::answer(&content)?,
        };
        if held.format == Source::Chromium && entry.headers.status == 206 && entry.body.is_empty() {
            return Ok(self.twin(held, folder, entry, now));
        }
        let mut piece = entry.piece(&held.storage)?;
        let place = (folder.to_owned(), piece.partition.clone());
        let open = piece.body.open()?;
        let mut class = classify(&open);
        if class == Class::Nothing
            && let Some((start, found)) = behind_foreign(&open)
        {
            (class, piece.body) = (found, piece.body.after(start));
        }
        // If the bytes are media as they are, the coding is only a name: browsers pass through a
        // coding that they don't know.
        if let Some(encoding) = piece.encoding.take().filter(|_| class == Class::Nothing) {
            let Some((plain, found)) = self.decoded(&place, &piece, &encoding, now) else {
                return Ok(None);
            };
            (class, piece.body) = (found, plain);
        }
        match class {
            Class::Hls | Class::Dash | Class::Json => {
                if !piece.body.is_whole() || piece.body.len() > decode::MAX {
                    return Ok(None);
                }
                let mut bytes = Vec::new();
                let open = piece.body.open()?;
                open.copy_to(0..piece.body.len(), &mut bytes)?;
                if class == Class::Json {
                    return Ok(self.manifests(&place, &piece.url, &bytes, now));
                }
                Ok(self.document(place, piece.url, &bytes, now))
            }
            Class::Nothing => Ok(None),
            Class::File | Class::Segment | Class::Subtitles => {
                Ok(self.keep(held.id, place, piece, class, now))
            }
        }
    }

    /// What a compressed answer holds, if it is a playlist, subtitles or media.
    fn decoded(
        &mut self,
        place: &Place,
        piece: &Piece,
        encoding: &str,
        now: Instant,
    ) -> Option<(Body, Class)> {
        if !piece.body.is_whole() {
            return None;
        }
        let open = piece.body.open().ok()?;
        let mut bytes = vec![0; usize::try_from(piece.body.len()).ok()?.min(ENCODED_HEAD)];
        open.read_at(0, &mut bytes).ok()?;
        let head = decode::head(encoding, &bytes, DECODED_HEAD);
        let class = match text(&head) {
            Class::Nothing => classify(&head[..]),
            class => class,
        };
        let kind = piece.content_type.as_deref().unwrap_or_default();
        let media = [
            "video/",
            "audio/",
            "application/vnd.apple.mpegurl",
            "application/dash+xml",
        ];
        if class == Class::Nothing && !media.iter().any(|m| kind.starts_with(m)) {
            return None;
        }
        let plain = || {
            if piece.body.len() > decode::MAX {
                return Err("it is too large to be decoded".into());
            }
            if !class.is_text() {
                let decoded = Body::encoded(piece.body.clone(), encoding);
                return decoded.map_err(|e| e.to_string());
            }
            let mut all = Vec::new();
            open.copy_to(0..piece.body.len(), &mut all)
                .map_err(|e| e.to_string())?;
            let plain = decode::decode(encoding, &all).map_err(|e| e.to_string())?;
            Ok::<_, String>(Body::bytes(plain))
        };
        match plain() {
            Ok(plain) if class == Class::Subtitles && plain.len() > MAX_SUBTITLES as u64 => None,
            Ok(_) if class == Class::Nothing => None,
            Ok(plain) => Some((plain, class)),
            Err(why) => {
                self.notice(place.clone(), &piece.url, why, now);
                None
            }
        }
    }

    /// What a player has in place of a playlist. Of several in one answer each has an address of
    /// its own: a fragment changes nothing that they name.
    fn manifests(
        &mut self,
        place: &Place,
        url: &str,
        bytes: &[u8],
        now: Instant,
    ) -> Option<EntryState> {
        let mut state = None;
        for (n, text) in json::manifests(bytes).iter().enumerate() {
            let own = if n == 0 {
                url.to_owned()
            } else {
                format!("{url}#{n}")
            };
            let kept = self.document(place.clone(), own, text.as_bytes(), now);
            state = state.or(kept);
        }
        state
    }

    fn document(
        &mut self,
        place: Place,
        url: String,
        bytes: &[u8],
        now: Instant,
    ) -> Option<EntryState> {
        let url = without_directives(&url).into_owned();
        let all: usize = self.partitions.values().map(Partition::text).sum();
        let partition = self.partitions.entry(place.clone()).or_default();
        if all + bytes.len() > MAX_TEXT || !partition.has_room_for(&url) {
            self.notice(place, &url, TOO_MANY_PLAYLISTS.into(), now);
            return None;
        }
        partition.document(&url, &String::from_utf8_lossy(bytes), now);
        let same = |state: &EntryState| matches!(state, EntryState::Playlist(p, u, _) if *p == place && *u == url);
        self.outdated.extend(
            self.holds
                .iter()
                .filter(|(_, state)| same(state))
                .map(|(id, _)| *id),
        );
        Some(EntryState::Playlist(place, url, now))
    }

    fn keep(
        &mut self,
        id: EntryId,
        place: Place,
        piece: Piece,
        class: Class,
        now: Instant,
    ) -> Option<EntryState> {
        let partition = self.partitions.entry(place.clone()).or_default();
        if partition.is_done(&piece) {
            return None;
        }
        let kept = Arc::new(HeldPiece::new(piece, class, now, vec![id]));
        partition.pieces.put(kept.clone());
        partition.look_soon(now);
        Some(EntryState::Piece(place, kept))
    }

    /// Headers of a file of ranges.
    fn twin(
        &mut self,
        held: &HeldEntry<'_>,
        folder: &Path,
        entry: CacheEntry,
        now: Instant,
    ) -> Option<EntryState> {
        let kind = entry.headers.content_type().unwrap_or_default();
        let known = self
            .ranges
            .contains_key(&(folder.to_owned(), entry.key.clone()));
        let perhaps = [
            "video/",
            "audio/",
            "application/octet-stream",
            "binary/",
            "application/mp4",
        ];
        if !known && !kind.is_empty() && !perhaps.iter().any(|p| kind.starts_with(p)) {
            return None;
        }
        let key = (folder.to_owned(), entry.key.clone());
        let spread = self.spread_of(&key, now);
        spread.ranges.twin(entry);
        spread.ids.push(held.id);
        self.index(&key, now);
        Some(EntryState::Ranges(key))
    }

    /// A file of ranges.
    fn spread(
        &mut self,
        held: &HeldEntry<'_>,
        folder: &Path,
        now: Instant,
    ) -> Result<Option<EntryState>, Malformed> {
        let key = (folder.to_owned(), chromium::key(&held.storage.open()?)?);
        let spread = self.spread_of(&key, now);
        if !spread.ids.contains(&held.id) {
            spread.ids.push(held.id);
        }
        let new = spread.ranges.look(&held.storage, held.spool.as_deref())?;
        if new && !spread.media {
            let body = spread.ranges.body();
            match classify(&body.open()?) {
                Class::File | Class::Segment => spread.media = true,
                // Without its first bytes it isn't known yet what it is.
                _ if !body.has(&(0..1)) => {}
                _ => {
                    self.discard(&key);
                    return Ok(None);
                }
            }
        }
        if new {
            self.index(&key, now);
        }
        Ok(Some(EntryState::Ranges(key)))
    }

    fn spread_of(&mut self, key: &(PathBuf, String), now: Instant) -> &mut RangedEntry {
        self.ranges
            .entry(key.clone())
            .or_insert_with(|| RangedEntry {
                ranges: Ranges::default(),
                ids: Vec::new(),
                place: place_of(key),
                kept: None,
                media: false,
                at: now,
            })
    }

    /// Puts what is known of an address with ranges among the pieces, in place of what was known
    /// before.
    fn index(&mut self, key: &(PathBuf, String), now: Instant) {
        let Some(spread) = self.ranges.get_mut(key) else {
            return;
        };
        spread.at = now;
        let partition = self.partitions.entry(spread.place.clone()).or_default();
        if let Some(old) = spread.kept.take() {
            partition.pieces.take(&old);
        }
        let Some(piece) = spread.ranges.piece().filter(|_| spread.media) else {
            return;
        };
        if partition.is_done(&piece) {
            return;
        }
        let class = piece
            .body
            .open()
            .map_or(Class::Nothing, |body| classify(&body));
        let kept = Arc::new(HeldPiece::new(piece, class, now, spread.ids.clone()));
        partition.pieces.put(kept.clone());
        partition.look_soon(now);
        spread.kept = Some(kept);
    }

    /// Forgets what an entry was, because it is looked at again.
    fn forget(&mut self, id: EntryId) {
        match self.holds.remove(&id) {
            Some(EntryState::Piece(place, kept)) => {
                if let Some(partition) = self.partitions.get_mut(&place) {
                    partition.pieces.take(&kept);
                }
            }
            Some(EntryState::Ranges(key)) => {
                if let Some(spread) = self.ranges.get_mut(&key) {
                    spread.ids.retain(|known| *known != id);
                }
            }
            Some(EntryState::Growing(_) | EntryState::Playlist(..)) | None => {}
        }
    }

    fn judge(&mut self, now: Instant, end: bool) -> Vec<Outcome> {
        let mut out = Vec::new();
        let due: Vec<Place> = self
            .partitions
            .iter()
            .filter(|(_, partition)| end || partition.look.is_some_and(|at| at <= now))
            .map(|(place, _)| place.clone())
            .collect();
        for place in due {
            let Some(partition) = self.partitions.get_mut(&place) else {
                continue;
            };
            let decisions = partition.judge(self.limits, now, end);
            if partition.is_empty() {
                self.partitions.remove(&place);
            }
            for decision in decisions {
                self.found(&place, decision, &mut out);
            }
        }
        let mut stale: Vec<EntryId> = self
            .loose()
            .filter(|(_, at)| end || *at + FORGET <= now)
            .map(|(id, _)| id)
            .collect();
        out.extend(self.unstored(&stale));
        stale.append(&mut self.outdated);
        stale.retain(|id| self.holds.contains_key(id));
        self.drop_ids(&stale);
        out.extend(stale.into_iter().map(Outcome::Release));
        out
    }

    /// Chromium stores no ranges of an answer without `ETag` and `Last-Modified`: of such a video
    /// it has the headers alone. That is reported once a site.
    fn unstored(&mut self, stale: &[EntryId]) -> Vec<Outcome> {
        let mut out = Vec::new();
        for id in stale {
            let Some(EntryState::Ranges(key)) = self.holds.get(id) else {
                continue;
            };
            let Some(spread) = self.ranges.get(key).filter(|s| s.ranges.is_unstored()) else {
                continue;
            };
            let (place, url) = (spread.place.clone(), chromium::url(&key.1).to_owned());
            if self.is_new(&place, UNSTORED) {
                out.push(Outcome::Dropped {
                    folder: place.0,
                    url,
                    reason: UNSTORED.into(),
                });
            }
        }
        out
    }

    fn found(&mut self, place: &Place, decision: Decision, out: &mut Vec<Outcome>) {
        match decision {
            Decision::Video {
                key,
                url,
                title: told,
                contents,
                kept,
                whole,
            } => {
                self.count += 1;
                let key = (place.clone(), key);
                let arrivals = || kept.iter().map(|kept| kept.at);
                let since = arrivals().min().unwrap_or_else(Instant::now);
                let until = arrivals().max().unwrap_or(since);
                let entries = kept.iter().flat_map(|kept| kept.ids.clone()).collect();
                let file_title = match (&contents, &kept[..]) {
                    (Contents::File(_), [file]) => file.piece.file_name.as_deref(),
                    _ => None,
                }
                .and_then(file_title);
                let replaces = if whole {
                    self.earlier.remove(&key)
                } else {
                    self.earlier.insert(key, self.count)
                };
                if whole {
                    self.delivered.insert(
                        self.count,
                        Delivered {
                            place: place.clone(),
                            kept,
                        },
                    );
                }
                out.push(Outcome::Video(Box::new(CachedVideo {
                    id: self.count,
                    replaces,
                    folder: place.0.clone(),
                    site: site(&place.1),
                    since,
                    until,
                    entries,
                    title: told,
                    file_title,
                    address_title: title(&url),
                    url,
                    contents,
                })));
            }
            Decision::Dropped { url, reason, ids } => {
                out.push(Outcome::Dropped {
                    folder: place.0.clone(),
                    url,
                    reason,
                });
                self.drop_ids(&ids);
                out.extend(ids.into_iter().map(Outcome::Release));
            }
            Decision::Release(ids) => {
                self.drop_ids(&ids);
                out.extend(ids.into_iter().map(Outcome::Release));
            }
        }
    }

    fn drop_ids(&mut self, ids: &[EntryId]) {
        for id in ids {
            if let Some(EntryState::Ranges(key)) = self.holds.remove(id) {
                self.discard(&key);
            }
        }
    }

    fn discard(&mut self, key: &(PathBuf, String)) {
        if let Some(spread) = self.ranges.remove(key) {
            spread.ranges.discard();
        }
    }
}

fn place_of(key: &(PathBuf, String)) -> Place {
    (key.0.clone(), chromium::partition(&key.1).to_owned())
}

/// Whether an entry without an end begins as media does.
fn is_media(held: &HeldEntry<'_>) -> bool {
    let Ok(content) = held.storage.open() else {
        return false;
    };
    let start = match held.format {
        Source::Chromium => chromium::start(&content).ok(),
        _ => Some(0),
    };
    let Some(start) = start.filter(|s| *s < content.len()) else {
        return false;
    };
    let body = Body::stretch(held.storage.clone(), start..content.len());
    body.open()
        .is_ok_and(|b| matches!(classify(&b), Class::File | Class::Segment))
}

#[cfg(test)]
mod tests;
