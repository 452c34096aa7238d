//! `fisga check`: the verdict on a media file.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use rustix::fs::OFlags;

use super::Outcome;
use crate::{
    media::{self, Kind, Report, Verdict},
    text,
};

/// Prints one line for each file; good when all are whole.
///
/// # Errors
/// The first file that can't be read, after all were tried; or an `out` that can't be written.
pub fn run(files: &[PathBuf], out: &mut impl Write) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::Good;
    let mut failed = None;
    for path in files {
        match inspect(path) {
            Ok((report, bytes)) => {
                if report.verdict != Verdict::Complete {
                    outcome = Outcome::Bad;
                }
                writeln!(
                    out,
                    "{}: {}",
                    text::one_line(&path.to_string_lossy()),
                    describe(&report, bytes)
                )?;
            }
            Err(e) => {
                let line = Err(e).with_context(|| text::one_line(&path.to_string_lossy()));
                match failed {
                    None => failed = Some(line),
                    // Only the first ends the command; the others are not worth less.
                    Some(_) => line.unwrap_or_else(|e: anyhow::Error| tracing::error!("{e:#}")),
                }
            }
        }
    }
    failed.unwrap_or(Ok(())).map(|()| outcome)
}

fn inspect(path: &Path) -> io::Result<(Report, u64)> {
    // Nothing that bears the name, a FIFO for one, may make us wait.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "is not a regular file",
        ));
    }
    Ok((media::inspect(&file)?, meta.len()))
}

/// "complete: mp4, video, 3:25, 12 MB".
fn describe(report: &Report, bytes: u64) -> String {
    let verdict = match &report.verdict {
        Verdict::Complete => "complete".to_owned(),
        Verdict::Incomplete { fraction } => {
            format!("incomplete, {} is there", text::percent(*fraction))
        }
        Verdict::Damaged { reason } => format!("damaged ({})", text::one_line(reason)),
        Verdict::Protected => "protected (encrypted)".to_owned(),
        Verdict::NotMedia { what } => format!("not media ({})", text::one_line(what)),
    };
    let kind = match report.kind {
        Kind::Video => Some("video"),
        Kind::Audio => Some("audio"),
        Kind::Unknown => None,
    };
    let facts = [
        report
            .container
            .map(|container| container.extension().to_owned()),
        kind.map(str::to_owned),
        report.duration.map(text::clock),
        Some(text::size(bytes)),
        report.detail.as_deref().map(text::one_line),
    ];
    format!(
        "{verdict}: {}",
        facts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::media::Container;

    #[test]
    fn descriptions() {
        let report = |verdict| Report {
            container: Some(Container::Mp4),
            kind: Kind::Video,
            duration: Some(Duration::from_secs(205)),
            verdict,
            title: None,
            content_len: None,
            open_ended: false,
            detail: None,
            missing: Vec::new(),
        };
        assert_eq!(
            describe(&report(Verdict::Complete), 12_000_000),
            "complete: mp4, video, 3:25, 12 MB"
        );
        let verdict = Verdict::Incomplete { fraction: 0.4242 };
        assert_eq!(
            describe(&report(verdict), 12_340),
            "incomplete, 42 % is there: mp4, video, 3:25, 12 kB"
        );
        let verdict = Verdict::NotMedia {
            what: "text".into(),
        };
        let nothing = Report {
            container: None,
            kind: Kind::Unknown,
            duration: None,
            ..report(verdict)
        };
        assert_eq!(describe(&nothing, 5), "not media (text): 5 B");
    }
}
