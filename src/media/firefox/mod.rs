//! Firefox's media cache file, put back into order. Pure over bytes.
//!
//! Firefox keeps the media of a content process that is larger than 8 MiB in one file,
//! `mozilla-temp-*`, in blocks of 32 KiB, in the order of their *arrival*
//! (dom/media/MediaCache.cpp). The last block of each download is filled up with zeros. So a plain
//! play gives the file with some zeros behind it; a seek, an index at the end or a second video
//! beside the first give its blocks in another order.
//!
//! A *cell* is a block of Firefox's file, a *slot* a block of the video. The slot of a cell is
//! found by the container's own structure, if it can't fit there by chance:
//!
//! - MP4: the index gives place and size of each sample, and a sample of H.264, H.265 or AV1 begins
//!   with the lengths of its parts, which have to add up to its size (`mp4`);
//! - WebM, Matroska: each element says where the next one begins, and blocks have track numbers and
//!   times that go on (`webm`);
//! - Ogg: each page says where the next one begins, and has a number and a checksum (`ogg`).
//!
//! `count` finds the slots of cells that hold no such mark. An order that does not follow from all
//! this is [`NotProven`].

mod arrangement;
mod blocks;
mod count;
mod guide;
mod mp4;
mod ogg;
mod solve;
#[cfg(test)]
mod tests;
mod webm;

use std::io;

use super::Content;
use blocks::Board;
pub use blocks::{BlockRun, Ordered, RepairPlan};

/// Why the order of a file could not be found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotProven {
    /// No block is the beginning of an MP4, WebM, Matroska or Ogg file.
    #[error("no video begins in it")]
    NoHead,
    /// The video's index (MP4) or header is not there, not whole, or names nothing that can be
    /// checked.
    #[error("its index is not there or can't be checked against its content")]
    NoIndex,
    /// Blocks without a mark of their own could be in more than one order.
    #[error("{blocks} of its blocks of 32 KiB could be in more than one order")]
    Ambiguous {
        /// How many.
        blocks: usize,
    },
    /// The order that was found breaks the container's structure.
    #[error("no order of its blocks fits its structure")]
    Broken,
}

/// Finds the videos in a file of Firefox's and the order of their blocks; for each the plan that
/// makes it, or why there is none. Returns nothing for a file in which no video begins that can be
/// checked here.
///
/// A plan may lack blocks that never arrived. They are holes in the result, which is then judged
/// incomplete.
///
/// # Errors
/// Only what reading itself returns.
pub fn repair<C: Content + ?Sized>(content: &C) -> io::Result<Vec<Result<RepairPlan, NotProven>>> {
    solve::all(Board::new(&content))
}

/// The one plan of a file that holds one video.
///
/// # Errors
/// Inside, why there is none; outside, only what reading itself returns.
pub fn unshuffle<C: Content + ?Sized>(content: &C) -> io::Result<Result<RepairPlan, NotProven>> {
    Ok(repair(content)?
        .into_iter()
        .next()
        .unwrap_or(Err(NotProven::NoHead)))
}
