//! Pure: what becomes of a settled file, from what is in it and what the user wants.

use crate::{
    config::{Incomplete, Private, Settings},
    media::{Kind, Report, Verdict},
    units::Size,
};

/// What becomes of a settled file.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// Into the library.
    Save,
    /// Into the library's folder for what is not whole.
    SaveApart,
    /// Not kept, for this reason.
    Drop(String),
    /// Held on: it is still being written, and may become whole.
    Wait,
    /// Held on: it is whole, and may yet get a title.
    WaitForTitle,
}

/// All that the decision depends on beside the settings.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// What is in the file.
    pub report: &'a Report,
    /// Its size in bytes.
    pub bytes: u64,
    /// It was played in a private window.
    pub private: bool,
    /// Nobody writes to it any more.
    pub finished: bool,
    /// No player has shown its title, and one may yet.
    pub untitled: bool,
}

/// Decides.
pub fn decide(case: Case<'_>, settings: &Settings) -> Fate {
    // A file that states no length counts as whole only when it is closed.
    let whole = case.report.verdict == Verdict::Complete && !case.report.open_ended;
    match at_the_end(case, settings) {
        Fate::Save if !case.finished && !whole => Fate::Wait,
        Fate::Save if case.untitled => Fate::WaitForTitle,
        Fate::Save => Fate::Save,
        _ if !case.finished => Fate::Wait,
        fate => fate,
    }
}

/// What becomes of it if nothing more is written.
fn at_the_end(case: Case<'_>, settings: &Settings) -> Fate {
    let Case {
        report,
        bytes,
        private,
        ..
    } = case;
    let drop = |reason: &str| Fate::Drop(reason.into());
    if bytes == 0 {
        return drop("it is empty");
    }
    match &report.verdict {
        Verdict::NotMedia { what } => return Fate::Drop(format!("not media: {what}")),
        Verdict::Protected => return drop("encrypted: left alone"),
        _ => {}
    }
    if private && settings.private == Private::Skip {
        return drop("played in a private window");
    }
    if report.kind == Kind::Audio && !settings.audio {
        return drop("sound without pictures");
    }
    if bytes < settings.min_size {
        return Fate::Drop(format!(
            "{} is less than {}",
            Size(bytes),
            Size(settings.min_size)
        ));
    }
    if let Some(length) = report
        .duration
        .filter(|length| *length < settings.min_duration)
    {
        let (length, least) = (length.as_secs_f64(), settings.min_duration.as_secs_f64());
        return Fate::Drop(format!("{length:.1} s is less than {least} s"));
    }
    match (&report.verdict, settings.incomplete) {
        (Verdict::Complete, _) => Fate::Save,
        (_, Incomplete::Keep) => Fate::SaveApart,
        (Verdict::Damaged { reason }, Incomplete::Drop) => Fate::Drop(format!("damaged: {reason}")),
        (_, Incomplete::Drop) => drop("not whole"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{environment::Environment, media::Container};

    #[test]
    fn cases() {
        let env = Environment::new("/home/u", Vec::<(String, String)>::new());
        let defaults = Settings::defaults(&env).unwrap();
        let audio = Settings {
            audio: true,
            ..defaults.clone()
        };
        let dropping = Settings {
            incomplete: Incomplete::Drop,
            ..defaults.clone()
        };
        let keeping = Settings {
            private: Private::Keep,
            ..defaults.clone()
        };
        let whole = Report {
            container: Some(Container::Mp4),
            kind: Kind::Video,
            duration: Some(Duration::from_secs(60)),
            verdict: Verdict::Complete,
            title: None,
            content_len: None,
            open_ended: false,
            detail: None,
            missing: Vec::new(),
        };
        let half = Report {
            verdict: Verdict::Incomplete { fraction: 0.5 },
            ..whole.clone()
        };
        let damaged = Report {
            verdict: Verdict::Damaged {
                reason: "shuffled".into(),
            },
            ..whole.clone()
        };
        let sound = Report {
            kind: Kind::Audio,
            ..whole.clone()
        };
        let short = Report {
            duration: Some(Duration::from_secs(3)),
            ..whole.clone()
        };
        let live = Report {
            open_ended: true,
            ..whole.clone()
        };
        let secret = Report {
            verdict: Verdict::Protected,
            ..whole.clone()
        };
        let text = Report {
            verdict: Verdict::NotMedia {
                what: "text".into(),
            },
            ..whole.clone()
        };
        let big = 10 << 20;
        let (done, open) = (true, false);
        let dropped = |reason: &str| Fate::Drop(reason.into());
        let table = [
            (
                "whole, closed",
                &whole,
                big,
                false,
                done,
                &defaults,
                Fate::Save,
            ),
            (
                "whole, still open",
                &whole,
                big,
                false,
                open,
                &defaults,
                Fate::Save,
            ),
            (
                "half, still open",
                &half,
                big,
                false,
                open,
                &defaults,
                Fate::Wait,
            ),
            (
                "half, closed",
                &half,
                big,
                false,
                done,
                &defaults,
                Fate::SaveApart,
            ),
            (
                "half, not wanted",
                &half,
                big,
                false,
                done,
                &dropping,
                dropped("not whole"),
            ),
            (
                "damaged",
                &damaged,
                big,
                false,
                done,
                &defaults,
                Fate::SaveApart,
            ),
            (
                "damaged, not wanted",
                &damaged,
                big,
                false,
                done,
                &dropping,
                dropped("damaged: shuffled"),
            ),
            (
                "no promised length, still open",
                &live,
                big,
                false,
                open,
                &defaults,
                Fate::Wait,
            ),
            (
                "no promised length, closed",
                &live,
                big,
                false,
                done,
                &defaults,
                Fate::Save,
            ),
            (
                "sound",
                &sound,
                big,
                false,
                done,
                &defaults,
                dropped("sound without pictures"),
            ),
            (
                "sound, wanted",
                &sound,
                big,
                false,
                done,
                &audio,
                Fate::Save,
            ),
            (
                "short",
                &short,
                big,
                false,
                done,
                &defaults,
                dropped("3.0 s is less than 10 s"),
            ),
            (
                "short, still open",
                &short,
                big,
                false,
                open,
                &defaults,
                Fate::Wait,
            ),
            (
                "small",
                &whole,
                1 << 19,
                false,
                done,
                &defaults,
                dropped("512 KiB is less than 1 MiB"),
            ),
            (
                "empty",
                &text,
                0,
                false,
                done,
                &defaults,
                dropped("it is empty"),
            ),
            (
                "encrypted",
                &secret,
                big,
                false,
                done,
                &defaults,
                dropped("encrypted: left alone"),
            ),
            (
                "text",
                &text,
                big,
                false,
                done,
                &defaults,
                dropped("not media: text"),
            ),
            (
                "private",
                &whole,
                big,
                true,
                done,
                &defaults,
                dropped("played in a private window"),
            ),
            (
                "private, wanted",
                &whole,
                big,
                true,
                done,
                &keeping,
                Fate::Save,
            ),
        ];
        for (name, report, bytes, private, finished, settings, want) in table {
            let case = Case {
                report,
                bytes,
                private,
                finished,
                untitled: false,
            };
            assert_eq!(decide(case, settings), want, "{name}");
            // Only what would be saved waits for its title.
            let want = if want == Fate::Save {
                Fate::WaitForTitle
            } else {
                want
            };
            assert_eq!(
                decide(
                    Case {
                        untitled: true,
                        ..case
                    },
                    settings
                ),
                want,
                "{name}, untitled"
            );
        }
    }
}
