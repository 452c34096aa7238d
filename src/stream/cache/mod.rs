//! Reads the files of a browser's disk cache. Each holds the answer of a server, whole or in
//! ranges, perhaps compressed, in the format of Chromium or of Firefox.

pub mod chromium;
pub mod classify;
pub mod entry;
pub mod firefox;
pub(super) mod ranges;
mod storage;
