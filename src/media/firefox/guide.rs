//! What a container's structure says about the order of cells.

use std::{io, ops::Range};

use super::blocks::View;

/// How far a guide has come. Each guide uses what it needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Where the next mark is, in bytes of the video.
    pub(super) at: u64,
    /// Which one it is (MP4: the sample).
    pub(super) index: usize,
    /// What it lies in (MP4: a sample, WebM: a cluster).
    pub(super) inside: Enclosure,
    /// The time it belongs to (WebM: in the segment's units).
    pub(super) time: i64,
}

/// What a mark lies in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Enclosure {
    /// Nothing but the video itself.
    #[default]
    None,
    /// Something that ends at this byte of the video.
    Until(u64),
    /// Something of unknown size, which ends where the next of its kind begins.
    Open,
}

/// How well a cell fits: bits that chance would have to guess, or `None` for a contradiction.
pub(super) type Fit = Option<u32>;

/// Knows one video's structure.
pub(super) trait Guide {
    /// Length of the video in bytes, if the structure gives it beforehand.
    fn len(&self) -> Option<u64>;

    /// Looks at the marks from the cursor on that lie before `fresh.end`, and moves the cursor
    /// behind them. Only marks that reach into `fresh` count as evidence.
    fn check(&self, view: &View, cursor: &mut Cursor, fresh: Range<u64>) -> io::Result<Fit>;

    /// Cells that are certain before the walk, by slot: the index was read from them.
    fn known(&self) -> &[(usize, usize)] {
        &[]
    }

    /// Whether what lies between two marks is checked too.
    fn is_gapless(&self) -> bool {
        false
    }

    /// The first mark at or behind `at`, where the guide knows it without the content before it.
    fn resume(&self, _at: u64) -> Option<Cursor> {
        None
    }
}
