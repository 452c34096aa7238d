//! `fisga check`: the verdict on a media file.

use std::{
    borrow::Cow,
    fs::{File, OpenOptions},
    io::{self, Write},
    ops::Range,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::Context;
use rustix::fs::OFlags;
use serde::Serialize;

use super::Outcome;
use crate::{
    cli,
    media::{self, Container, Kind, Report, Verdict},
    text,
};

/// Prints one line for each file, for people or as JSON; good when all are whole.
///
/// # Errors
/// The first file that can't be read, after all were tried; or an `out` that can't be written.
pub fn run(args: &cli::Check, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::Good;
    let mut failed = None;
    for path in &args.files {
        match inspect(path) {
            Ok((report, bytes)) => {
                if report.verdict != Verdict::Complete {
                    outcome = Outcome::Bad;
                }
                if args.json {
                    let line = Line::new(path, &report, bytes);
                    serde_json::to_writer(&mut *out, &line).map_err(io::Error::from)?;
                    out.write_all(b"\n")?;
                } else {
                    let name = text::one_line(&path.to_string_lossy());
                    writeln!(out, "{name}: {}", describe(&report, bytes))?;
                }
            }
            Err(e) => {
                let line = Err(e).with_context(|| text::one_line(&path.to_string_lossy()));
                match failed {
                    None => failed = Some(line),
                    // The first error is the command's own; the others are shown, too.
                    Some(_) => line.unwrap_or_else(|e: anyhow::Error| tracing::error!("{e:#}")),
                }
            }
        }
    }
    failed.unwrap_or(Ok(())).map(|()| outcome)
}

fn inspect(path: &Path) -> io::Result<(Report, u64)> {
    // The name may be a FIFO's or a device's, which must not make us wait.
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

/// One file in JSON. What is not known is `null`.
#[derive(Serialize)]
struct Line<'a> {
    /// As it was given; what is no UTF-8 in it is replaced.
    path: Cow<'a, str>,
    /// The file extension that belongs to it.
    container: Option<&'static str>,
    kind: Option<&'static str>,
    /// Seconds.
    length: Option<f64>,
    /// Bytes of the file.
    size: u64,
    verdict: &'static str,
    /// How much is there, from 0 to 1; `null` where nothing says it.
    share: Option<f64>,
    /// The container promises no length: more may follow.
    open_ended: bool,
    /// What is missing, wrong or remarkable, for people.
    reason: Option<&'a str>,
    missing: Vec<Stretch>,
}

/// Bytes from `from` up to `to`, which is behind the last one.
#[derive(Serialize)]
struct Stretch {
    from: u64,
    to: u64,
}

impl<'a> Line<'a> {
    fn new(path: &'a Path, report: &'a Report, size: u64) -> Self {
        let (verdict, share, reason) = match &report.verdict {
            Verdict::Complete => ("complete", Some(1.0), None),
            Verdict::Incomplete { fraction } => ("incomplete", Some(*fraction), None),
            Verdict::Damaged { reason } => ("damaged", None, Some(reason)),
            Verdict::Protected => ("protected", None, None),
            Verdict::NotMedia { what } => ("not-media", None, Some(what)),
        };
        let stretch = |r: &Range<u64>| Stretch {
            from: r.start,
            to: r.end,
        };
        Self {
            path: path.to_string_lossy(),
            container: report.container.map(Container::extension),
            kind: kind(report),
            length: report.duration.map(|length| length.as_secs_f64()),
            size,
            verdict,
            share,
            open_ended: report.open_ended,
            reason: reason.or(report.detail.as_ref()).map(String::as_str),
            missing: report.missing.iter().map(stretch).collect(),
        }
    }
}

fn kind(report: &Report) -> Option<&'static str> {
    match report.kind {
        Kind::Video => Some("video"),
        Kind::Audio => Some("audio"),
        Kind::Unknown => None,
    }
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
    let facts = [
        report
            .container
            .map(|container| container.extension().to_owned()),
        kind(report).map(str::to_owned),
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

    #[test]
    fn lines_of_json() {
        let line = |report: &Report| {
            let line = Line::new(Path::new("a \"b\".mp4"), report, 12_340);
            serde_json::to_string(&line).unwrap()
        };
        let report = Report {
            container: Some(Container::Mp4),
            kind: Kind::Video,
            duration: Some(Duration::from_millis(205_500)),
            verdict: Verdict::Incomplete { fraction: 0.25 },
            title: None,
            content_len: None,
            open_ended: false,
            detail: Some("ends early".into()),
            missing: vec![4096..8192, 12_340..20_000],
        };
        assert_eq!(
            line(&report),
            r#"{"path":"a \"b\".mp4","container":"mp4","kind":"video","length":205.5,"size":12340,"#
                .to_owned()
                + r#""verdict":"incomplete","share":0.25,"open_ended":false,"reason":"ends early","#
                + r#""missing":[{"from":4096,"to":8192},{"from":12340,"to":20000}]}"#
        );
        let nothing = Report {
            container: None,
            kind: Kind::Unknown,
            duration: None,
            verdict: Verdict::NotMedia {
                what: "text".into(),
            },
            detail: None,
            missing: Vec::new(),
            ..report
        };
        assert_eq!(
            line(&nothing),
            r#"{"path":"a \"b\".mp4","container":null,"kind":null,"length":null,"size":12340,"#
                .to_owned()
                + r#""verdict":"not-media","share":null,"open_ended":false,"reason":"text","#
                + r#""missing":[]}"#
        );
    }
}
