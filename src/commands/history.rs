//! `fisga history`: what was saved, dropped or lost, and why.

use std::{io::Write, time::Duration};

use chrono::{DateTime, Local};

use super::Outcome;
use crate::{
    cli,
    environment::Environment,
    event::{self, Completeness, How},
    library::history::{self, Entry, History},
    text,
};

/// Prints entries, the newest last: a table for people, or one JSON object a line.
///
/// # Errors
/// A history that can't be read, or an `out` that can't be written.
pub fn run(args: cli::History, env: &Environment, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let entries =
        History::open(&env.history_file())?.read_last(args.limit.unwrap_or(usize::MAX))?;
    if args.json {
        for entry in &entries {
            serde_json::to_writer(&mut *out, entry).map_err(std::io::Error::from)?;
            out.write_all(b"\n")?;
        }
    } else if entries.is_empty() {
        writeln!(out, "nothing was saved, dropped or lost yet")?;
    } else {
        out.write_all(table(&entries).as_bytes())?;
    }
    Ok(Outcome::Good)
}

/// A table; the column whose width has no limit stands last.
fn table(entries: &[Entry]) -> String {
    let head = [
        "WHEN", "VERDICT", "SIZE", "LENGTH", "HELD", "PROGRAM", "TITLE",
    ]
    .map(str::to_owned);
    let rows: Vec<[String; 7]> = std::iter::once(head)
        .chain(entries.iter().map(row))
        .collect();
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut table = String::new();
    for row in &rows {
        for ((i, cell), width) in row.iter().enumerate().zip(widths) {
            // Numbers are aligned to the right.
            let padded = if matches!(i, 2 | 3) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            };
            table.push_str(&padded);
            table.push_str("  ");
        }
        table.push_str(&row[6]);
        table.push('\n');
    }
    table
}

fn row(entry: &Entry) -> [String; 7] {
    let none = || "–".to_owned();
    let when = DateTime::parse_from_rfc3339(&entry.time).map_or_else(
        |_| text::one_line(&entry.time),
        |time| {
            time.with_timezone(&Local)
                .format("%Y-%m-%d %H:%M")
                .to_string()
        },
    );
    let verdict = match (entry.outcome, entry.verdict, entry.fraction) {
        (history::Outcome::Dropped, ..) => "dropped".into(),
        (history::Outcome::Lost, ..) => "lost".into(),
        (history::Outcome::Saved, Some(verdict), Some(share)) if share < 1.0 => {
            format!("{}, {}", verdict.as_str(), text::percent(share))
        }
        (history::Outcome::Saved, verdict, _) => {
            verdict.map_or("saved", Completeness::as_str).into()
        }
    };
    let how = match entry.how {
        Some(How::Link) => "link".into(),
        Some(How::Rescue) => "rescue".into(),
        Some(How::Attach) => "attach".into(),
        None => none(),
    };
    let length = entry
        .duration_s
        .and_then(|s| Duration::try_from_secs_f64(s).ok());
    let title = entry.title.as_deref().filter(|title| !title.is_empty());
    let mut last = text::one_line(title.unwrap_or(&event::display(&entry.source)));
    if let Some(reason) = &entry.reason {
        last = format!("{last}: {}", text::one_line(reason));
    }
    [
        when,
        verdict,
        entry.bytes.map_or_else(none, text::size),
        length.map_or_else(none, text::clock),
        how,
        entry.program.as_deref().map_or_else(none, text::one_line),
        last,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables() {
        let time = DateTime::parse_from_rfc3339("2026-11-21T10:57:00Z")
            .unwrap()
            .with_timezone(&Local);
        let shown = time.format("%Y-%m-%d %H:%M");
        let entry = |outcome| Entry::new(time, outcome, "/tmp/FlashX".into(), "flash".into());
        let entries = [
            Entry {
                title: Some("Big Buck Bunny".into()),
                program: Some("firefox-esr".into()),
                how: Some(How::Rescue),
                verdict: Some(Completeness::Complete),
                fraction: Some(1.0),
                bytes: Some(12_000_000),
                duration_s: Some(205.0),
                ..entry(history::Outcome::Saved)
            },
            Entry {
                verdict: Some(Completeness::Incomplete),
                fraction: Some(0.42),
                title: Some("b\u{1b}ad".into()),
                ..entry(history::Outcome::Saved)
            },
            Entry {
                reason: Some("too small".into()),
                ..entry(history::Outcome::Dropped)
            },
            Entry {
                reason: Some("gone".into()),
                time: "once".into(),
                ..entry(history::Outcome::Lost)
            },
        ];
        let expected = format!(
            "\
WHEN              VERDICT            SIZE  LENGTH  HELD    PROGRAM      TITLE
{shown}  complete          12 MB    3:25  rescue  firefox-esr  Big Buck Bunny
{shown}  incomplete, 42 %      –       –  –       –            b\u{fffd}ad
{shown}  dropped               –       –  –       –            /tmp/FlashX: too small
once              lost                  –       –  –       –            /tmp/FlashX: gone
"
        );
        assert_eq!(table(&entries), expected);
    }
}
