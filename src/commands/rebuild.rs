//! `fisga rebuild`: puts videos together from an existing browser cache.

use std::io::{self, IsTerminal, Write};

use super::Outcome;
use crate::{
    cli::Rebuild,
    config::Settings,
    event::Event,
    pipeline::{self, Store},
    stream::collect::video::{CachedVideo, Contents},
    text,
};

/// Lists what could be put together, or saves what was chosen of it: a line for each video, saved
/// or not, and a last one with the count. The progress of reading is shown on stderr, if that is a
/// terminal.
///
/// # Errors
/// A [`pipeline::RebuildError`], a number that the list doesn't have, or an `out` that can't be
/// written.
pub fn run(
    wish: &Rebuild,
    settings: Settings,
    store: impl FnOnce() -> anyhow::Result<Store>,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let mut progress = Progress {
        shown: None,
        wanted: io::stderr().is_terminal(),
    };
    let found = pipeline::look(&wish.folder, &settings, &mut |done, all| {
        progress.show(done, all)
    })?;
    if wish.list {
        for (number, video) in (1..).zip(&found.videos) {
            line_to(out, &format!("{number:>4}  {}", described(video)))?;
        }
        for (url, reason) in &found.dropped {
            line_to(out, &format!("left out, {url}: {reason}"))?;
        }
        line_to(
            out,
            &format!(
                "{} videos in {} cache entries",
                found.videos.len(),
                found.entries
            ),
        )?;
        return Ok(Outcome::Good);
    }
    let there = found.videos.len();
    if let Some(number) = wish
        .numbers
        .iter()
        .find(|number| !(1..=there).contains(*number))
    {
        anyhow::bail!("there is no video {number}: the list has {there}");
    }
    let chosen = |number: &usize| wish.numbers.is_empty() || wish.numbers.contains(number);
    let videos = (1..)
        .zip(found.videos)
        .filter(|(number, _)| chosen(number))
        .map(|(_, video)| video);
    let (mut saved, mut written) = (0_usize, Ok(()));
    pipeline::save(videos.collect(), settings, store()?, |event| {
        let line = match &event {
            Event::Saved(video) => {
                saved += 1;
                format!("saved {}", video.path.display())
            }
            Event::Dropped { source, reason, .. } => {
                format!("left out, from {}: {reason}", source.display())
            }
            Event::Error { message } => return tracing::error!("{message}"),
            _ => return,
        };
        if written.is_ok() {
            written = line_to(out, &line);
        }
    })?;
    written?;
    if wish.numbers.is_empty() {
        for (url, reason) in &found.dropped {
            line_to(out, &format!("left out, {url}: {reason}"))?;
        }
    }
    line_to(
        out,
        &format!("{saved} saved, out of {} cache entries", found.entries),
    )?;
    Ok(Outcome::Good)
}

/// Title, length or size, the share that is there, and the site that it was watched on.
fn described(video: &CachedVideo) -> String {
    let title = video.best_title().unwrap_or("Video");
    let much = match (&video.contents, video.duration()) {
        (Contents::File(body), _) => text::size(body.len()),
        (Contents::Stream(_), length) => text::clock(length.unwrap_or_default()),
    };
    let share = if video.whole() {
        "whole".into()
    } else {
        text::percent(video.fraction())
    };
    let site = video
        .site
        .as_deref()
        .map(|site| format!(", from {site}"))
        .unwrap_or_default();
    format!("{title} ({much}, {share}{site})")
}

/// A line on a terminal, written over at each further hundredth.
struct Progress {
    shown: Option<usize>,
    wanted: bool,
}

impl Progress {
    fn show(&mut self, done: usize, all: usize) {
        let percent = done * 100 / all.max(1);
        if self.wanted && self.shown != Some(percent) {
            self.shown = Some(percent);
            let end = if done == all { "\n" } else { "" };
            // If the terminal is gone, nothing is lost.
            let _ = write!(io::stderr(), "\r{done} of {all} cache entries read{end}");
        }
    }
}

fn line_to(out: &mut impl Write, line: &str) -> io::Result<()> {
    writeln!(out, "{}", text::one_line(line))
}
