//! `fisga discard`: a saved video goes to the trash.

use std::{ffi::OsStr, io::Write, path::Path};

use super::Outcome;
use crate::{
    library::{history::History, trash},
    text,
};

/// Discards the video that was saved last (`LAST`), or a file, and prints its path.
///
/// # Errors
/// A [`trash::DiscardError`], or an `out` that can't be written.
pub fn run(
    what: &OsStr,
    library: &Path,
    history: &History,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let path = trash::discard(what, library, history)?;
    writeln!(out, "{}", text::one_line(&path.to_string_lossy()))?;
    Ok(Outcome::Good)
}
