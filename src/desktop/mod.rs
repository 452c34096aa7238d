//! The desktop: tray, notifications, start on login, session bus. All of it optional.
//!
//! ```text
//! engine ── Event ──▶ state ── view ──▶ tray                 menu, click ──┐
//!                       │                                    popup ────────┼─▶ Action ─▶ the program
//!                       └── popups ──▶ notification server   session bus ──┘
//! ```
//!
//! `action`, `state`, `menu`, `popups` and `autostart`'s entry are pure: they know no clock, thread,
//! bus or toolkit. The edges (`tray`, `notify`, `bus` and `mpris`, each on a `connection` of its
//! own, `show`, `timer`) don't know each other; `ui` joins them, and `event_loop` runs it on tao, or
//! on a plain channel where there is no display. Whatever wakes the loop is one `Wake`; whatever the
//! user asks for, by whichever way, is one `Action`. (No links: without the tray most of it isn't
//! here.)
//!
//! Each part may be missing, come late, restart or hang. The tray and the notifications are threads
//! of their own, so that a server that hangs holds up neither the loop nor, ever, the engine.

pub mod autostart;
pub mod instance;
pub mod timer;

#[cfg(feature = "tray")]
mod action;
#[cfg(feature = "tray")]
pub mod bus;
#[cfg(feature = "tray")]
mod connection;
#[cfg(feature = "tray")]
pub mod control;
#[cfg(feature = "tray")]
pub mod event_loop;
#[cfg(feature = "tray")]
pub mod health;
#[cfg(feature = "tray")]
mod icon;
#[cfg(feature = "tray")]
mod inbox;
#[cfg(feature = "tray")]
pub mod menu;
#[cfg(feature = "tray")]
pub mod mpris;
#[cfg(feature = "tray")]
pub mod notify;
#[cfg(feature = "tray")]
pub mod popups;
#[cfg(feature = "tray")]
pub mod show;
#[cfg(feature = "tray")]
pub mod state;
#[cfg(feature = "tray")]
pub mod tray;
#[cfg(feature = "tray")]
pub mod ui;
#[cfg(feature = "tray")]
mod wake;

#[cfg(feature = "tray")]
pub use action::{Action, Pause};
#[cfg(feature = "tray")]
pub use wake::{BusEvent, Reply, Wake, Waker};

/// Application id, bus name, desktop entry and icon name in one.
pub const APP_ID: &str = "io.github.fisga.Fisga";
