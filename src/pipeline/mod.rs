//! From a settled hold to the library: inspect, decide, name, place, write down. One thread, one
//! file at a time.
//!
//! A file is let go only after it is in the library, or nobody wants it, and the history says so.
//! After a crash in between, the staged name is still there, and [`place::find`] finds the copy
//! that is in the library already.
//!
//! | file | what it is about |
//! |---|---|
//! | [`worker`] | the thread: what it is given, and what is due |
//! | `player` | a player's temporary file: judged, put in order, saved |
//! | `pieces` | cache entries: collected, put together |
//! | `joined` | what was put together, saved |
//! | `rebuild` | what a cache holds already |
//! | `agenda` | pure: videos that wait, and when each is due again |
//! | `item` | what can be saved, wherever it comes from |
//! | [`fate`] | pure: what becomes of a video |
//! | `saver` | decided on, named, placed, written down |
//!
//! [`place::find`]: crate::library::place::find

mod agenda;
pub mod fate;
mod item;
mod joined;
mod pieces;
mod player;
mod rebuild;
mod saver;
pub mod worker;

use std::path::PathBuf;

pub use rebuild::{RebuildError, look, save};
pub use worker::{Work, Worker};

use crate::{
    config::Settings,
    environment::Environment,
    event::Event,
    library::{
        history::{self, History},
        thumbnail::Thumbnails,
    },
    stream::collect::Limits,
    title::Titles,
};

/// What the worker reads and writes beside the library.
#[derive(Debug)]
pub struct Store {
    /// What became of each candidate.
    pub history: History,
    /// The index of what the library has, by content. It is made again if it is missing.
    pub index: PathBuf,
    /// Pictures.
    pub thumbnails: Thumbnails,
    /// The titles that players show.
    pub titles: Titles,
}

impl Store {
    /// Opens them where the environment says that they are.
    ///
    /// # Errors
    /// That the history can't be written.
    pub fn open(env: &Environment, titles: Titles) -> Result<Self, history::HistoryError> {
        Ok(Self {
            history: History::open(&env.history_file())?,
            index: env.state_dir().join("fisga/index.jsonl"),
            thumbnails: Thumbnails::new(&env.cache_dir().join("thumbnails")),
            titles,
        })
    }
}

/// Takes the events of what happened. It is called on the worker's thread.
pub type Sink = Box<dyn Fn(Event) + Send>;

/// The limits by which the collector itself leaves videos out.
fn limits(settings: &Settings) -> Limits {
    Limits {
        min_size: settings.min_size,
        min_duration: settings.min_duration,
    }
}

/// An error and what caused it, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}
