//! Pure: which titles the players of the session published, and when.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use super::{Choice, Family, Wanted, choose, placeholder};

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
}

/// The time during which a player published one title.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Showing {
    /// The processes of the player's program.
    pub family: Arc<Family>,
    /// What was published.
    pub metadata: Metadata,
    /// Whether the player played at some time, and was not only paused.
    pub played: bool,
    /// Since when.
    pub from: SystemTime,
    /// Until when; `None` while it is still published.
    pub to: Option<SystemTime>,
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
    family: Arc<Family>,
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
    pub fn appeared(&mut self, owner: &str, family: Family) {
        if self.now.len() < MAX_PLAYERS {
            let player = || Player {
                family: Arc::new(family),
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
            Some(showing) if showing.metadata == metadata => {}
            // Firefox publishes the length a moment after the title.
            Some(Showing { metadata: old, .. })
                if old.length.is_none()
                    && old.title == metadata.title
                    && old.url == metadata.url =>
            {
                *old = metadata;
            }
            _ => {
                self.past.extend(player.end(at));
                let (family, played) = (player.family.clone(), player.playing);
                player.showing = Some(Showing {
                    family,
                    metadata,
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

#[derive(Debug, Default)]
struct Shared {
    players: Mutex<Players>,
    changed: Condvar,
}

impl Titles {
    /// Chooses the title of a file: [`choose`] over what is known now.
    pub fn choose(&self, wanted: &Wanted<'_>) -> Choice {
        choose(wanted, &self.players())
    }

    /// The players, for as long as the guard lives.
    pub fn players(&self) -> MutexGuard<'_, Players> {
        self.0
            .players
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a change, and wakes those who wait for one.
    pub fn note(&self, change: impl FnOnce(&mut Players)) {
        change(&mut self.players());
        self.0.changed.notify_all();
    }

    /// Waits until the condition holds; `false` if it doesn't in time.
    pub fn wait(&self, within: Duration, wanted: impl Fn(&Players) -> bool) -> bool {
        let waiting = self
            .0
            .changed
            .wait_timeout_while(self.players(), within, |players| !wanted(players));
        !waiting
            .unwrap_or_else(PoisonError::into_inner)
            .1
            .timed_out()
    }
}
