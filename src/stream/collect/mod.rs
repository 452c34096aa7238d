//! Held cache entries in, videos out: a state machine that knows no clock, thread or kernel.
//!
//! The caller hands over each held entry whenever it was closed after writing, and each file of
//! ranges also while it grows; then it asks what is due, and until when it may sleep. Nothing is
//! read of an entry but its head and tail until a playlist, or its own first bytes, show that it is
//! media; all else is let go at once.

pub mod rebuild;
mod room;
pub mod shelf;
pub mod video;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    room::{FORGET, Finding, Made, Room},
    shelf::{Id, Kept},
    video::{Video, VideoId, What, file_title, site, title},
};
use crate::{
    content::Content,
    rule::Source,
    stream::{
        Body, Grip, Piece,
        cache::{
            chromium::{self, Part},
            classify::{Class, classify, text},
            decode,
            entry::{Entry, Malformed},
            firefox,
            ranges::Ranges,
        },
        playlist::address::without_directives,
    },
};

/// Most pieces that are held at a time: eight films of two hours in four-second segments.
const MAX_PIECES: usize = 16_384;
/// Most bytes of playlists that are remembered.
const MAX_TEXT: usize = 48 << 20;
/// The largest subtitle file that is copied out of a compressed entry.
const MAX_SUBTITLES: usize = 1 << 20;

/// A held cache entry.
#[derive(Debug)]
pub struct Held<'a> {
    /// The caller's number for it.
    pub id: Id,
    /// Where the browser keeps it: the name tells its part, the folder the profile.
    pub source: &'a Path,
    /// The cache's format.
    pub format: Source,
    /// Our grip on it.
    pub grip: Grip,
    /// The file in which what Chromium empties may be copied; without it the entry itself is read.
    /// In the entry's own format, so that it can be handed over as one after a crash.
    pub spool: Option<PathBuf>,
}

/// What is too small to be kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Single files, in bytes.
    pub min_size: u64,
    /// Streams.
    pub min_duration: Duration,
}

/// What is due.
#[derive(Debug)]
pub enum Outcome {
    /// A video can be written. What it is made of stays held until [`Collector::finished`].
    Video(Box<Video>),
    /// A held entry is no longer needed.
    Release(Id),
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
    rooms: BTreeMap<Place, Room>,
    /// Files of ranges, by folder and key.
    ranges: HashMap<(PathBuf, String), Spread>,
    /// What each held entry became.
    holds: HashMap<Id, Became>,
    /// What videos that were given out are made of.
    given: HashMap<VideoId, Given>,
    /// Playlists of which a later version is held.
    outdated: Vec<Id>,
    /// Incomplete ones that were given out, by address.
    earlier: HashMap<(Place, String), VideoId>,
    count: VideoId,
}

/// A file of ranges and its twin.
#[derive(Debug)]
struct Spread {
    ranges: Ranges,
    ids: Vec<Id>,
    place: Place,
    kept: Option<Arc<Kept>>,
    /// Its start shows that it is media.
    media: bool,
    /// When it changed last.
    at: Instant,
}

#[derive(Debug)]
enum Became {
    Piece(Place, Arc<Kept>),
    Ranges((PathBuf, String)),
    /// Media that is still being written.
    Growing(Instant),
    /// A playlist: read already, and held so that a crash leaves it to the next start with its
    /// segments.
    Playlist(Place, String, Instant),
}

#[derive(Debug)]
struct Given {
    place: Place,
    kept: Vec<Arc<Kept>>,
}

impl Collector {
    /// Holds nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            rooms: BTreeMap::new(),
            ranges: HashMap::new(),
            holds: HashMap::new(),
            given: HashMap::new(),
            outdated: Vec::new(),
            earlier: HashMap::new(),
            count: 0,
        }
    }

    /// Other limits from now on.
    pub fn configure(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// An entry was closed after writing, or a file of ranges has grown. Returns whether it must
    /// stay held; what was held for it alone is let go otherwise. May be called again for the same
    /// entry.
    pub fn entry(&mut self, held: &Held<'_>, now: Instant) -> bool {
        self.forget(held.id);
        if self.holds.len() >= MAX_PIECES {
            tracing::warn!(
                "more pieces of streams than can be held; {} is let go",
                held.source.display()
            );
            return false;
        }
        match self.look(held, now) {
            Ok(Some(became)) => {
                self.holds.insert(held.id, became);
                true
            }
            Ok(None) => false,
            Err(Malformed::Unfinished) if is_media(held) => {
                self.holds.insert(held.id, Became::Growing(now));
                true
            }
            Err(why) => {
                tracing::trace!("{}: {why}", held.source.display());
                false
            }
        }
    }

    /// What is due at `now`.
    pub fn due(&mut self, now: Instant) -> Vec<Outcome> {
        self.judge(now, false)
    }

    /// Everything as it is: nothing more will come.
    pub fn finish(&mut self, now: Instant) -> Vec<Outcome> {
        self.judge(now, true)
    }

    /// When something is due next.
    pub fn deadline(&self) -> Option<Instant> {
        let rooms = self.rooms.values().filter_map(|room| room.look);
        let loose = self.loose().map(|(_, at)| at + FORGET);
        rooms.chain(loose).min()
    }

    /// Held entries that are no piece yet, and since when.
    fn loose(&self) -> impl Iterator<Item = (Id, Instant)> {
        self.holds.iter().filter_map(|(id, became)| match became {
            Became::Growing(at) => Some((*id, *at)),
            Became::Ranges(key) => self
                .ranges
                .get(key)
                .filter(|s| s.kept.is_none())
                .map(|s| (*id, s.at)),
            Became::Playlist(place, _, at) => {
                let needed = self
                    .rooms
                    .get(place)
                    .is_some_and(|room| !room.shelf.is_empty());
                (!needed).then_some((*id, *at))
            }
            Became::Piece(..) => None,
        })
    }

    /// A video was written or won't be. Returns what may be let go: nothing of an incomplete one,
    /// which may yet grow.
    pub fn finished(&mut self, video: VideoId) -> Vec<Id> {
        let Some(given) = self.given.remove(&video) else {
            return Vec::new();
        };
        let mut ids = Vec::new();
        for kept in &given.kept {
            if let Some(room) = self.rooms.get_mut(&given.place) {
                room.shelf.take(kept);
            }
            ids.extend(kept.ids.iter().copied());
        }
        if self
            .rooms
            .get(&given.place)
            .is_none_or(|room| room.shelf.is_empty())
        {
            let of_place = |became: &Became| matches!(became, Became::Playlist(place, ..) if *place == given.place);
            ids.extend(
                self.holds
                    .iter()
                    .filter(|(_, became)| of_place(became))
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
        let same = |kept: &&Arc<Kept>| {
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
            .rooms
            .values()
            .flat_map(|room| room.shelf.iter())
            .filter(|k| k.class == Class::File);
        files.filter(same).map(|k| k.piece.body.clone()).next()
    }

    fn look(&mut self, held: &Held<'_>, now: Instant) -> Result<Option<Became>, Malformed> {
        let folder = held.source.parent().unwrap_or(Path::new(""));
        let content = held.grip.open()?;
        let entry = match (held.format, chromium::part(held.source)) {
            (Source::Chromium, Some(Part::Ranges)) => return self.spread(held, folder, now),
            (Source::Chromium, _) => chromium::answer(&content)?,
            _ => firefox::answer(&content)?,
        };
        if held.format == Source::Chromium && entry.headers.status == 206 && entry.body.is_empty() {
            return Ok(self.twin(held, folder, entry, now));
        }
        let mut piece = entry.piece(&held.grip)?;
        let place = (folder.to_owned(), piece.partition.clone());
        if let Some(encoding) = piece.encoding.take() {
            return Ok(self.encoded(held, place, piece, &encoding, now));
        }
        let class = classify(&piece.body.open()?);
        match class {
            Class::Hls | Class::Dash => {
                if piece.body.is_whole() && piece.body.len() <= decode::MAX {
                    let mut bytes = Vec::new();
                    piece
                        .body
                        .open()?
                        .copy_to(0..piece.body.len(), &mut bytes)?;
                    return Ok(self.document(place, piece.url, &bytes, now));
                }
                Ok(None)
            }
            Class::Nothing => Ok(None),
            Class::File if piece.body.len() < self.limits.min_size => Ok(None),
            Class::File | Class::Segment | Class::Subtitles => {
                Ok(self.keep(held.id, place, piece, class, now))
            }
        }
    }

    /// A compressed answer: a playlist or subtitles, or of no concern.
    fn encoded(
        &mut self,
        held: &Held<'_>,
        place: Place,
        piece: Piece,
        encoding: &str,
        now: Instant,
    ) -> Option<Became> {
        if !piece.body.is_whole() || piece.body.len() > decode::MAX {
            return None;
        }
        let open = piece.body.open().ok()?;
        let mut bytes = vec![0; usize::try_from(piece.body.len()).ok()?.min(1024)];
        open.read_at(0, &mut bytes).ok()?;
        let class = text(&decode::head(encoding, &bytes, 400));
        if class == Class::Nothing {
            return None;
        }
        let mut all = Vec::new();
        open.copy_to(0..piece.body.len(), &mut all).ok()?;
        let plain = decode::decode(encoding, &all)
            .inspect_err(|e| tracing::debug!("{}: {e}", piece.url))
            .ok()?;
        if class != Class::Subtitles {
            return self.document(place, piece.url, &plain, now);
        }
        if plain.len() > MAX_SUBTITLES {
            return None;
        }
        let piece = Piece {
            body: Body::bytes(plain),
            ..piece
        };
        self.keep(held.id, place, piece, class, now)
    }

    fn document(
        &mut self,
        place: Place,
        url: String,
        bytes: &[u8],
        now: Instant,
    ) -> Option<Became> {
        let url = without_directives(&url).into_owned();
        if self.rooms.values().map(Room::text).sum::<usize>() + bytes.len() > MAX_TEXT {
            tracing::warn!("more playlists than can be remembered; {url} is not");
            return None;
        }
        self.rooms.entry(place.clone()).or_default().document(
            &url,
            &String::from_utf8_lossy(bytes),
            now,
        );
        let same = |became: &Became| matches!(became, Became::Playlist(p, u, _) if *p == place && *u == url);
        self.outdated.extend(
            self.holds
                .iter()
                .filter(|(_, became)| same(became))
                .map(|(id, _)| *id),
        );
        Some(Became::Playlist(place, url, now))
    }

    fn keep(
        &mut self,
        id: Id,
        place: Place,
        piece: Piece,
        class: Class,
        now: Instant,
    ) -> Option<Became> {
        let room = self.rooms.entry(place.clone()).or_default();
        if room.is_done(&piece.url) {
            return None;
        }
        let kept = Arc::new(Kept::new(piece, class, now, vec![id]));
        room.shelf.put(kept.clone());
        room.stir(now);
        Some(Became::Piece(place, kept))
    }

    /// Headers of a file of ranges.
    fn twin(
        &mut self,
        held: &Held<'_>,
        folder: &Path,
        entry: Entry,
        now: Instant,
    ) -> Option<Became> {
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
        self.shelve(&key, now);
        Some(Became::Ranges(key))
    }

    /// A file of ranges.
    fn spread(
        &mut self,
        held: &Held<'_>,
        folder: &Path,
        now: Instant,
    ) -> Result<Option<Became>, Malformed> {
        let key = (folder.to_owned(), chromium::key(&held.grip.open()?)?);
        if self
            .rooms
            .get(&place_of(&key))
            .is_some_and(|room| room.is_done(chromium::url(&key.1)))
        {
            return Ok(None);
        }
        let spread = self.spread_of(&key, now);
        if !spread.ids.contains(&held.id) {
            spread.ids.push(held.id);
        }
        let new = spread.ranges.look(&held.grip, held.spool.as_deref())?;
        if new && !spread.media {
            let body = spread.ranges.body();
            match classify(&body.open()?) {
                Class::File | Class::Segment => spread.media = true,
                // Without its first bytes nothing can be said yet.
                _ if !body.has(&(0..1)) => {}
                _ => {
                    self.discard(&key);
                    return Ok(None);
                }
            }
        }
        if new {
            self.shelve(&key, now);
        }
        Ok(Some(Became::Ranges(key)))
    }

    fn spread_of(&mut self, key: &(PathBuf, String), now: Instant) -> &mut Spread {
        self.ranges.entry(key.clone()).or_insert_with(|| Spread {
            ranges: Ranges::default(),
            ids: Vec::new(),
            place: place_of(key),
            kept: None,
            media: false,
            at: now,
        })
    }

    /// Puts what is known of an address with ranges on the shelf, in place of what was known
    /// before.
    fn shelve(&mut self, key: &(PathBuf, String), now: Instant) {
        let Some(spread) = self.ranges.get_mut(key) else {
            return;
        };
        spread.at = now;
        let room = self.rooms.entry(spread.place.clone()).or_default();
        if let Some(old) = spread.kept.take() {
            room.shelf.take(&old);
        }
        let Some(piece) = spread.ranges.piece().filter(|_| spread.media) else {
            return;
        };
        let class = piece
            .body
            .open()
            .map_or(Class::Nothing, |body| classify(&body));
        if class == Class::File && piece.body.len() < self.limits.min_size {
            return;
        }
        let kept = Arc::new(Kept::new(piece, class, now, spread.ids.clone()));
        room.shelf.put(kept.clone());
        room.stir(now);
        spread.kept = Some(kept);
    }

    /// An entry is looked at again: what it was before no longer counts.
    fn forget(&mut self, id: Id) {
        match self.holds.remove(&id) {
            Some(Became::Piece(place, kept)) => {
                if let Some(room) = self.rooms.get_mut(&place) {
                    room.shelf.take(&kept);
                }
            }
            Some(Became::Ranges(key)) => {
                if let Some(spread) = self.ranges.get_mut(&key) {
                    spread.ids.retain(|known| *known != id);
                }
            }
            Some(Became::Growing(_) | Became::Playlist(..)) | None => {}
        }
    }

    fn judge(&mut self, now: Instant, end: bool) -> Vec<Outcome> {
        let mut out = Vec::new();
        let due: Vec<Place> = self
            .rooms
            .iter()
            .filter(|(_, room)| end || room.look.is_some_and(|at| at <= now))
            .map(|(place, _)| place.clone())
            .collect();
        for place in due {
            let Some(room) = self.rooms.get_mut(&place) else {
                continue;
            };
            let findings = room.judge(self.limits.min_duration, now, end);
            if room.is_empty() {
                self.rooms.remove(&place);
            }
            for finding in findings {
                self.found(&place, finding, &mut out);
            }
        }
        let mut stale: Vec<Id> = self
            .loose()
            .filter(|(_, at)| end || *at + FORGET <= now)
            .map(|(id, _)| id)
            .collect();
        stale.append(&mut self.outdated);
        stale.retain(|id| self.holds.contains_key(id));
        self.drop_ids(&stale);
        out.extend(stale.into_iter().map(Outcome::Release));
        out
    }

    fn found(&mut self, place: &Place, finding: Finding, out: &mut Vec<Outcome>) {
        match finding {
            Finding::Video {
                url,
                title: told,
                made,
                kept,
                whole,
            } => {
                self.count += 1;
                let key = (place.clone(), url.clone());
                let arrivals = || kept.iter().map(|kept| kept.at);
                let since = arrivals().min().unwrap_or_else(Instant::now);
                let until = arrivals().max().unwrap_or(since);
                let entries = kept.iter().flat_map(|kept| kept.ids.clone()).collect();
                let file_title = match (&made, &kept[..]) {
                    (Made::File(_), [file]) => file.piece.file_name.as_deref(),
                    _ => None,
                }
                .and_then(file_title);
                let replaces = if whole {
                    self.earlier.remove(&key)
                } else {
                    self.earlier.insert(key, self.count)
                };
                if whole {
                    self.given.insert(
                        self.count,
                        Given {
                            place: place.clone(),
                            kept,
                        },
                    );
                }
                out.push(Outcome::Video(Box::new(Video {
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
                    what: match made {
                        Made::File(body) => What::File(body),
                        Made::Stream(choice) => What::Stream(Box::new(choice)),
                    },
                })));
            }
            Finding::Dropped { url, reason, ids } => {
                out.push(Outcome::Dropped {
                    folder: place.0.clone(),
                    url,
                    reason,
                });
                self.drop_ids(&ids);
                out.extend(ids.into_iter().map(Outcome::Release));
            }
            Finding::Release(ids) => {
                self.drop_ids(&ids);
                out.extend(ids.into_iter().map(Outcome::Release));
            }
        }
    }

    fn drop_ids(&mut self, ids: &[Id]) {
        for id in ids {
            if let Some(Became::Ranges(key)) = self.holds.remove(id) {
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
fn is_media(held: &Held<'_>) -> bool {
    let Ok(content) = held.grip.open() else {
        return false;
    };
    let start = match held.format {
        Source::Chromium => chromium::start(&content).ok(),
        _ => Some(0),
    };
    let Some(start) = start.filter(|s| *s < content.len()) else {
        return false;
    };
    let body = Body::stretch(held.grip.clone(), start..content.len());
    body.open()
        .is_ok_and(|b| matches!(classify(&b), Class::File | Class::Segment))
}

#[cfg(test)]
mod tests;
