//! Pure: what the players of the session showed, and when.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use super::{Choice, Family, Wanted, choose, placeholder};

/// No desktop has more players; what comes beyond them is not listened to.
const MOST_PLAYERS: usize = 64;
/// Titles that are no longer shown, of all players. Some days of watching.
const MOST_PAST: usize = 1024;

/// What a player says about what it plays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// `xesam:title`.
    pub title: Option<String>,
    /// `xesam:url`: the page's address, where browsers tell it.
    pub url: Option<String>,
    /// `mpris:length`.
    pub length: Option<Duration>,
}

impl Metadata {
    /// Whether it comes from a private window: Firefox and Chromium hide the title behind a
    /// placeholder then. Firefox shows the same one for a page without a title, but tells that
    /// page's address (`MediaStatusManager::GetUrl`), which a private window doesn't.
    pub fn is_private(&self) -> bool {
        self.url.as_deref().unwrap_or_default().is_empty()
            && self
                .title
                .as_deref()
                .is_some_and(placeholder::is_placeholder)
    }
}

/// One title on one player, from its appearance to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Showing {
    /// Whose player it is.
    pub family: Arc<Family>,
    /// What it shows.
    pub metadata: Metadata,
    /// Whether it was playing at some time, not only paused.
    pub played: bool,
    /// Since when.
    pub from: SystemTime,
    /// Until when; `None` while it is shown.
    pub to: Option<SystemTime>,
}

/// What all players show, and what they showed before. Time comes from outside.
#[derive(Debug, Default)]
pub struct Players {
    listened: bool,
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
    /// Someone listens to the players from now on.
    pub fn listened(&mut self) {
        self.listened = true;
    }

    /// Whether a title may yet come.
    pub fn are_listened_to(&self) -> bool {
        self.listened
    }

    /// A player is there. `owner` is its unique name on the bus.
    pub fn appeared(&mut self, owner: &str, family: Family) {
        if self.now.len() < MOST_PLAYERS {
            let player = || Player {
                family: Arc::new(family),
                playing: false,
                showing: None,
            };
            self.now.entry(owner.to_owned()).or_insert_with(player);
        }
    }

    /// Whether something of this player is known.
    pub fn shows(&self, owner: &str) -> bool {
        self.now
            .get(owner)
            .is_some_and(|player| player.showing.is_some())
    }

    /// A player shows something.
    pub fn shown(&mut self, owner: &str, metadata: Metadata, at: SystemTime) {
        let Some(player) = self.now.get_mut(owner) else {
            return;
        };
        match &mut player.showing {
            Some(showing) if showing.metadata == metadata => {}
            // The length comes a moment after the title.
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

    /// A player plays, or has stopped.
    pub fn playing(&mut self, owner: &str, playing: bool) {
        let Some(player) = self.now.get_mut(owner) else {
            return;
        };
        player.playing = playing;
        if let Some(showing) = &mut player.showing {
            showing.played |= playing;
        }
    }

    /// A player is gone.
    pub fn vanished(&mut self, owner: &str, at: SystemTime) {
        if let Some(mut player) = self.now.remove(owner) {
            self.past.extend(player.end(at));
            self.forget();
        }
    }

    /// The bus is gone, and all players with it.
    pub fn all_vanished(&mut self, at: SystemTime) {
        self.listened = false;
        let ended = self
            .now
            .drain()
            .filter_map(|(_, mut player)| player.end(at));
        self.past.extend(ended);
        self.forget();
    }

    /// All that is shown or was.
    pub fn showings(&self) -> impl Iterator<Item = &Showing> {
        self.past.iter().chain(
            self.now
                .values()
                .filter_map(|player| player.showing.as_ref()),
        )
    }

    fn forget(&mut self) {
        let surplus = self.past.len().saturating_sub(MOST_PAST);
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

/// The players, shared between who listens to them and who needs a title. Where nobody listens it
/// knows none.
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

    /// Notes what a player tells, and wakes who waits for it.
    pub fn note(&self, change: impl FnOnce(&mut Players)) {
        change(&mut self.players());
        self.0.changed.notify_all();
    }

    /// Waits until the players are as wanted; `false` if they aren't in time.
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
