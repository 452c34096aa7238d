//! `fisga rebuild`: puts videos together from an existing browser cache.

use std::{
    io::{self, Write},
    path::Path,
};

use super::{Outcome, text};
use crate::{
    config::Settings,
    event::Event,
    pipeline::{self, Store},
};

/// Prints a line for each video, saved or not, and a last one with the count.
///
/// # Errors
/// A [`pipeline::RebuildError`], or an `out` that can't be written.
pub fn run(folder: &Path, settings: Settings, store: Store, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let (mut saved, mut written) = (0_usize, Ok(()));
    let rebuilt = pipeline::rebuild(folder, settings, store, |event| {
        let line = match &event {
            Event::Saved(video) => {
                saved += 1;
                format!("saved {}", video.path)
            }
            Event::Dropped { source, reason, .. } => format!("left out, from {source}: {reason}"),
            Event::Error { message } => return tracing::error!("{message}"),
            _ => return,
        };
        if written.is_ok() {
            written = line_to(out, &line);
        }
    })?;
    written?;
    for (url, reason) in &rebuilt.left_out {
        line_to(out, &format!("left out, {url}: {reason}"))?;
    }
    line_to(out, &format!("{saved} saved, out of {} cache entries", rebuilt.entries))?;
    Ok(Outcome::Good)
}

fn line_to(out: &mut impl Write, line: &str) -> io::Result<()> {
    writeln!(out, "{}", text::one_line(line))
}
