//! fisga keeps the videos that you watch.
//!
//! A browser or player that streams a video writes it to a temporary file, and many remove that
//! file's name at once. fisga notices the file the moment it is created, holds on to it, and puts
//! it into the Videos folder when it is whole. The modules lie along the way that a file takes:
//!
//! | step | module |
//! |---|---|
//! | which folders and names concern us | [`rule`], [`source`], [`config`], [`environment`] |
//! | kernel event → our grip on the file | [`engine`] |
//! | inspect, decide, name, place, write down | [`pipeline`] |
//! | what is in it, whole or not | [`media`] |
//! | pieces from a browser's cache → one video | [`stream`] |
//! | name, place, history | [`library`] |
//! | its title, from the player that showed it | [`title`] |
//! | what happened, for whoever listens | [`event`] |
//! | commands, flags and their answers | [`cli`], [`commands`] |
//! | tray, notifications, session bus | [`desktop`] |
#![deny(missing_docs)]

pub mod app;
pub mod cli;
pub mod commands;
pub mod config;
mod container;
pub mod content;
pub mod copy;
pub mod desktop;
pub mod doctor;
pub mod engine;
pub mod environment;
pub mod event;
pub mod inode;
pub mod library;
pub mod media;
pub mod pipeline;
mod process;
#[cfg(feature = "tray")]
pub mod resident;
pub mod rule;
pub mod source;
pub mod stream;
pub mod terminal;
pub mod text;
pub mod title;
pub mod units;
