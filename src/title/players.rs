//! Pure: which titles the players of the session published, and when.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use super::{Choice, Program, Wanted, alike, choose, placeholder};

/// Most players that are followed at a time. No desktop has more.
const MAX_PLAYERS: usize = 64;
/// Most past titles of all players that are remembered: some days of watching.
const MAX_PAST: usize = 1024;

/// What a player publishes about what it plays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// `xesam:title`.
    pub title: Option<String>,
    /// `xesam:url`: the page's address. Chromium leaves it out.
    pub url: Option<String>,
    /// `mpris:length`.
    pub length: Option<Duration>,
}

impl Metadata {
    /// Whether it comes from a private window: Firefox and Chromium hide the title behind a
    /// placeholder then. For a page without a title Firefox publishes the same placeholder together
    /// with the page's address (`MediaStatusManager::GetUrl`), which it never does for a private
    /// window.
    pub fn is_private(&self) -> bool {
        self.url.as_deref().unwrap_or_default().is_empty()
            && self
                .title
                .as_deref()
                .is_some_and(placeholder::is_placeholder)
    }

    /// Whether title and address are the same. The length of one title changes while its live
    /// window slides.
    fn is_same(&self, other: &Self) -> bool {
        (&self.title, &self.url) == (&other.title, &other.url)
    }
}

/// The time during which a player published one title.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Showing {
    /// The player's program.
    pub program: Arc<Program>,
    /// What was published. A length that changed is none: it is that of a live stream's window.
    pub metadata: Metadata,
    /// Whether the length changed.
    varies: bool,
    /// Whether the player played at some time, and was not only paused.
    pub played: bool,
    /// Since when.
    pub from: SystemTime,
    /// Until when; `None` while it is still published.
    pub to: Option<SystemTime>,
}

impl Showing {
    /// Whether it is the same title of the same program, at another time perhaps.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.program == other.program && self.metadata.is_same(&other.metadata)
    }

    /// The same title has this length now. Firefox publishes the length a moment after the title.
    fn note_length(&mut self, length: Option<Duration>) {
        match (self.metadata.length, length) {
            _ if self.varies => {}
            (Some(old), Some(new)) if !alike(old, new) => {
                self.metadata.length = None;
                self.varies = true;
            }
            (Some(_), _) => {}
            (None, new) => self.metadata.length = new,
        }
    }
}

/// What all players publish, and what they published before. Time is an argument.
#[derive(Debug, Default)]
pub struct Players {
    connected: bool,
    now: HashMap<String, Player>,
    past: VecDeque<Showing>,
}

#[derive(Debug)]
struct Player {
    program: Arc<Program>,
    playing: bool,
    showing: Option<Showing>,
}

impl Players {
    /// The session bus is there: titles may come from now on.
    pub fn bus_connected(&mut self) {
        self.connected = true;
    }

    /// Whether the session bus is there, so that a title may still come.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// A player came. `owner` is its unique name on the bus.
    pub fn appeared(&mut self, owner: &str, program: Program) {
        if self.now.len() < MAX_PLAYERS {
            let player = || Player {
                program: Arc::new(program),
                playing: false,
                showing: None,
            };
            self.now.entry(owner.to_owned()).or_insert_with(player);
        }
    }

    /// Whether this player has published metadata.
    pub fn has_metadata(&self, owner: &str) -> bool {
        self.now
            .get(owner)
            .is_some_and(|player| player.showing.is_some())
    }

    /// A player published metadata.
    pub fn metadata_changed(&mut self, owner: &str, metadata: Metadata, at: SystemTime) {
        let Some(player) = self.now.get_mut(owner) else {
            return;
        };
        match &mut player.showing {
            Some(showing) if showing.metadata.is_same(&metadata) => {
                showing.note_length(metadata.length);
            }
            _ => {
                self.past.extend(player.end(at));
                let (program, played) = (player.program.clone(), player.playing);
                player.showing = Some(Showing {
                    program,
                    metadata,
                    varies: false,
                    played,
                    from: at,
                    to: None,
                });
                self.forget();
            }
        }
    }

    /// A player started or stopped playing.
    pub fn playback_changed(&mut self, owner: &str, playing: bool) {
        let Some(player) = self.now.get_mut(owner) else {
            return;
        };
        player.playing = playing;
        if let Some(showing) = &mut player.showing {
            showing.played |= playing;
        }
    }

    /// A player left the bus.
    pub fn vanished(&mut self, owner: &str, at: SystemTime) {
        if let Some(mut player) = self.now.remove(owner) {
            self.past.extend(player.end(at));
            self.forget();
        }
    }

    /// The session bus ended, and all players with it.
    pub fn bus_disconnected(&mut self, at: SystemTime) {
        self.connected = false;
        let ended = self
            .now
            .drain()
            .filter_map(|(_, mut player)| player.end(at));
        self.past.extend(ended);
        self.forget();
    }

    /// Everything that is or was published.
    pub fn showings(&self) -> impl Iterator<Item = &Showing> {
        self.past.iter().chain(
            self.now
                .values()
                .filter_map(|player| player.showing.as_ref()),
        )
    }

    fn forget(&mut self) {
        let surplus = self.past.len().saturating_sub(MAX_PAST);
        self.past.drain(..surplus);
    }
}

impl Player {
    fn end(&mut self, at: SystemTime) -> Option<Showing> {
        let mut ended = self.showing.take()?;
        ended.to = Some(at);
        Some(ended)
    }
}

/// The players, shared between the thread that listens to the session bus and the one that needs
/// titles. Empty where there is no session bus.
#[derive(Clone, Debug, Default)]
pub struct Titles(Arc<Shared>);

#[derive(Default)]
struct Shared {
    players: Mutex<Players>,
    listener: Mutex<Option<Listener>>,
}

/// Is called after each change.
type Listener = Box<dyn Fn() + Send>;

impl Titles {
    /// Chooses the title of a file: [`choose`] over what is known now.
    pub fn choose(&self, wanted: &Wanted<'_>) -> Choice {
        choose(wanted, &self.players())
    }

    /// The players, for as long as the guard lives.
    pub fn players(&self) -> MutexGuard<'_, Players> {
        lock(&self.0.players)
    }

    /// Calls this after each change from now on, and nothing else. It must not block, since it holds
    /// up the thread that listens to the bus.
    pub fn listen(&self, listener: impl Fn() + Send + 'static) {
        *lock(&self.0.listener) = Some(Box::new(listener));
    }

    /// Applies a change, and calls whoever listens.
    pub fn note(&self, change: impl FnOnce(&mut Players)) {
        change(&mut self.players());
        if let Some(listener) = &*lock(&self.0.listener) {
            listener();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("players", &self.players)
            .finish_non_exhaustive()
    }
}
