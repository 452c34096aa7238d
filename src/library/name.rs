//! Pure: what a file in the library is called.
//!
//! A [`Template`] is the configuration's `name`. Its fields:
//!
//! | field | what it becomes |
//! |---|---|
//! | `{title}` | the title, "Video" until there is one |
//! | `{program}` | the program that wrote the file (`firefox-esr`), or nothing |
//! | `{date}` | `2026-11-21`, or by a strftime format after a colon: `{date:%d.%m.%Y}` |
//! | `{time}` | `14.30.05`, or by a strftime format: `{time:%H:%M}` |
//! | `{rule}` | the rule that matched |
//! | `{container}` | the container, as an extension (`mp4`) |
//! | `{length}` | `45s`, `3m25s`, `1h02m03s`, or nothing when it is not known |
//! | `{number}` | 1, and the next free one where the name is taken; without this field a taken name gets " (2)" |
//!
//! `{{` and `}}` are braces. The extension is added to what the template says.
//!
//! What must not be in a name, because some system's file manager refuses it (Microsoft, "Naming
//! Files, Paths, and Namespaces"), is replaced in everything that comes from outside (titles above
//! all). In the template itself it is an error, with one exception: a colon that the user put there
//! stays, so that the names of the original script,
//! `video-{time:%H:%M:%S}-{date:%d-%m-%Y}-{number}`, can be had.

mod template;
mod text;

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

pub use self::template::{Fields, Template, TemplateError};
use self::text::{clean, cut, extension, is_device};

/// Longest file name that Linux file systems take, in bytes (`NAME_MAX`, limits.h(0p)).
pub const NAME_MAX: usize = 255;

/// What a folder takes as a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest name in bytes.
    pub max: usize,
    /// Whether a colon may be in it. exFAT, NTFS and many servers refuse one.
    pub colon: bool,
}

impl Limits {
    /// Of ext4 and its kin.
    pub const USUAL: Self = Self {
        max: NAME_MAX,
        colon: true,
    };

    /// Of the strictest folders in use: eCryptfs leaves 143 bytes of 255 for the name (its FAQ,
    /// "long file names"), exFAT and NTFS refuse the colon.
    pub const STRICT: Self = Self {
        max: 143,
        colon: false,
    };

    /// Those of the usual ones for a folder that says how long its names may be (`f_namemax`,
    /// statvfs(3)).
    pub fn of_length(max: u64) -> Self {
        let max = usize::try_from(max).unwrap_or(NAME_MAX);
        Self {
            max: max.clamp(Self::STRICT.max, NAME_MAX),
            colon: true,
        }
    }
}

/// Bytes set aside for " (4294967295)" or a number field, and for the "_" after a reserved name.
const RESERVE: usize = 14;

/// A file name that is complete but for its number and the limits of its folder: see
/// [`Name::attempt`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    stem: Vec<StemPart>,
    /// The title, which is cut if the whole name would be too long.
    title: String,
    /// What follows each title, or the end of a name without one.
    share: String,
    extension: String,
}

/// A part of a name that is not made yet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum StemPart {
    Text(String),
    Title,
    Number,
}

impl Name {
    /// A name of a given stem, for a file that no template names. What no name can hold is
    /// replaced.
    pub fn plain(stem: &str, extension_of: &str) -> Self {
        Self {
            stem: vec![StemPart::Title],
            title: clean(stem),
            share: String::new(),
            extension: extension(extension_of),
        }
    }

    /// The name to try at the `n`-th attempt, from 1: the number field filled in, or " (2)" and so
    /// on from the second. A title that makes it too long is cut, so that date and time stay.
    ///
    /// At most `limits.max` bytes, never empty, hidden, an option to a command, or a device of
    /// another system.
    pub fn attempt(&self, n: u32, limits: Limits) -> String {
        let room = limits.max - RESERVE - 1 - self.extension.len();
        let (mut stem, fits) = self.fill(n, room);
        // If more than the title had to be cut, the number may be gone.
        let numbered = self.stem.contains(&StemPart::Number) && fits;
        if !limits.colon {
            stem = stem.replace(':', "-");
        }
        let stem = stem
            .trim_start_matches(['.', '-', ' '])
            .trim_end_matches(['.', ' ']);
        let mut name = if stem.is_empty() {
            "Video".to_owned()
        } else {
            stem.to_owned()
        };
        let first = name.find('.').unwrap_or(name.len());
        if is_device(name[..first].trim_end()) {
            name.insert(first, '_');
        }
        if !numbered && n > 1 {
            name.push_str(&format!(" ({n})"));
        }
        if !self.extension.is_empty() {
            name.push('.');
            name.push_str(&self.extension);
        }
        name
    }

    /// The character that the user's template asks for and the file that was `placed` hasn't: its
    /// folder refused it.
    pub fn refused(&self, placed: &OsStr) -> Option<char> {
        let wanted = self.attempt(1, Limits::USUAL).contains(':');
        (wanted && !placed.as_bytes().contains(&b':')).then_some(':')
    }

    /// The stem with its title, share and number, in at most `room` bytes, and whether only the
    /// title had to be cut for that.
    fn fill(&self, n: u32, room: usize) -> (String, bool) {
        let with = |title: &str| {
            let parts = self.stem.iter().map(|part| match part {
                StemPart::Text(text) => text.clone(),
                StemPart::Title => format!("{title}{}", self.share),
                StemPart::Number => n.to_string(),
            });
            parts.collect::<String>()
        };
        let single_spaced = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let titles = self.stem.iter().filter(|part| **part == StemPart::Title);
        let (rest, titles) = (with(""), titles.count());
        if titles == 0 {
            let start = single_spaced(&rest);
            let left = room - self.share.len();
            let cut = cut(&start, left);
            return (format!("{cut}{}", self.share), start.len() <= left);
        }
        let left = room.checked_sub(rest.len());
        let title = cut(&self.title, left.unwrap_or(0) / titles).trim_end();
        let stem = single_spaced(&with(title));
        (cut(&stem, room).to_owned(), left.is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{Local, TimeZone};
    use proptest::prelude::*;

    use super::{text::is_refused, *};

    fn fields(title: &str) -> Fields {
        Fields {
            title: Some(title.to_owned()),
            program: Some("firefox-esr".to_owned()),
            rule: "firefox".to_owned(),
            container: "mp4".to_owned(),
            length: Some(Duration::from_secs(3723)),
            at: Local.with_ymd_and_hms(2026, 11, 21, 14, 30, 5).unwrap(),
            share: None,
        }
    }

    fn named(template: &str, title: &str) -> String {
        Template::parse(template)
            .unwrap()
            .name(&fields(title))
            .attempt(1, Limits::USUAL)
    }

    #[test]
    fn templates() {
        for (template, name) in [
            ("{title} {date} {time}", "A film 2026-11-21 14.30.05.mp4"),
            (
                "video-{time:%H:%M:%S}-{date:%d-%m-%Y}-{number}",
                "video-14:30:05-21-11-2026-1.mp4",
            ),
            (
                "{program} - {rule} - {length}",
                "firefox-esr - firefox - 1h02m03s.mp4",
            ),
            ("{title}.{container}", "A film.mp4.mp4"),
            ("{{{title}}}", "{A film}.mp4"),
            ("{date:%D}", "11-21-26.mp4"),
            ("plain", "plain.mp4"),
            ("12:30 {title}", "12:30 A film.mp4"),
            ("{title}{title}", "A filmA film.mp4"),
            (" ..{title}. ", "A film.mp4"),
        ] {
            assert_eq!(named(template, "A film"), name, "{template}");
        }
        let default = Template::default();
        assert_eq!(Ok(default.clone()), Template::parse(default.as_str()));
    }

    #[test]
    fn wrong_templates() {
        for (template, error, says) in [
            ("", TemplateError::Empty, "allowed"),
            (
                "{name}",
                TemplateError::UnknownField("name".into()),
                "{length}, {number}",
            ),
            ("{}", TemplateError::UnknownField(String::new()), "{title}"),
            ("{title", TemplateError::Brace, "brace"),
            ("title}", TemplateError::Brace, "brace"),
            ("{a{title}", TemplateError::Brace, "brace"),
            (
                "{title:%H}",
                TemplateError::NoFormat("title".into()),
                "{date:…}",
            ),
            (
                "{date:%&}",
                TemplateError::Format {
                    field: "date".into(),
                    format: "%&".into(),
                },
                "%Y-%m-%d",
            ),
            (
                "{time:}",
                TemplateError::Format {
                    field: "time".into(),
                    format: String::new(),
                },
                "%H.%M.%S",
            ),
            ("a/{title}", TemplateError::Character('/'), "'/'"),
            ("a\n{title}", TemplateError::Character('\n'), "'\\n'"),
            ("what? {title}", TemplateError::Character('?'), "'?'"),
        ] {
            let found = Template::parse(template).unwrap_err();
            assert_eq!(found, error, "{template}");
            assert!(found.to_string().contains(says), "{found}");
        }
    }

    #[test]
    fn titles() {
        for (title, name) in [
            ("A film", "A film.mp4"),
            ("", "Video.mp4"),
            (" \n\t\u{200b} ", "Video.mp4"),
            ("...", "Video.mp4"),
            ("AC/DC: live", "AC-DC- live.mp4"),
            ("a\\b|c", "a-b-c.mp4"),
            ("Who? \"Me\" <you>*", "Who 'Me' (you).mp4"),
            ("line\nbreak\r\n\u{2028}and\ttab", "line break and tab.mp4"),
            ("nul\0and\u{1b}[31mred\u{85}", "nul and [31mred.mp4"),
            (".hidden", "hidden.mp4"),
            ("--help", "help.mp4"),
            ("- . -dash", "dash.mp4"),
            ("ends. . .", "ends.mp4"),
            ("con", "con_.mp4"),
            ("NUL.txt", "NUL_.txt.mp4"),
            ("Com1 .x", "Com1 _.x.mp4"),
            ("lpt³", "lpt³_.mp4"),
            ("COM", "COM.mp4"),
            ("company", "company.mp4"),
            ("Ünïcödé 日本語 🎬", "Ünïcödé 日本語 🎬.mp4"),
            ("e\u{301}", "e\u{301}.mp4"),
            ("שלום עולם", "שלום עולם.mp4"),
            ("evil \u{202e}4pm.exe\u{202c}", "evil 4pm.exe.mp4"),
            ("\u{2066}a\u{2069}b", "ab.mp4"),
            ("👩\u{200d}👩\u{200d}👧", "👩\u{200d}👩\u{200d}👧.mp4"),
            ("{title} {number}", "{title} {number}.mp4"),
        ] {
            assert_eq!(named("{title}", title), name, "{title:?}");
        }
    }

    #[test]
    fn a_long_title_is_cut_and_the_date_stays() {
        for title in [
            "x".repeat(300),
            "é".repeat(300),
            "👩\u{200d}👩\u{200d}👧".repeat(30),
        ] {
            let name = named("{title} {date} {time}", &title);
            assert!(
                name.len() <= NAME_MAX && name.len() > 210,
                "{} bytes",
                name.len()
            );
            assert!(name.ends_with(" 2026-11-21 14.30.05.mp4"), "{name}");
        }
        let family = "👩\u{200d}👩\u{200d}👧";
        let name = named("{title}", &family.repeat(30));
        assert_eq!(
            name.trim_end_matches(".mp4").replace(family, ""),
            "",
            "cut between whole emoji"
        );
        assert_eq!(named(&"t".repeat(400), "").len(), NAME_MAX - RESERVE);
    }

    #[test]
    fn numbers() {
        let name = Template::default().name(&fields("A film"));
        assert_eq!(
            name.attempt(2, Limits::USUAL),
            "A film 2026-11-21 14.30.05 (2).mp4"
        );
        let name = Template::parse("{title}-{number}")
            .unwrap()
            .name(&fields("A film"));
        assert_eq!(name.attempt(1, Limits::USUAL), "A film-1.mp4");
        assert_eq!(name.attempt(17, Limits::USUAL), "A film-17.mp4");
        let name = Template::parse("com{number}").unwrap().name(&fields(""));
        assert_eq!(name.attempt(1, Limits::USUAL), "com1_.mp4");
        assert_eq!(Name::plain("a/b", "").attempt(3, Limits::USUAL), "a-b (3)");
    }

    #[test]
    fn a_share_follows_the_title() {
        for (template, share, name) in [
            ("{title} {time}", 0.4567, "A film 45 % 14.30.05.mp4"),
            ("{time}", 0.4567, "14.30.05 45 %.mp4"),
            ("{title}", 0.999, "A film 99 %.mp4"),
            ("{title}", 1.0, "A film 99 %.mp4"),
            ("{title}", 0.0, "A film 0 %.mp4"),
        ] {
            let fields = Fields {
                share: Some(share),
                ..fields("A film")
            };
            assert_eq!(
                Template::parse(template)
                    .unwrap()
                    .name(&fields)
                    .attempt(1, Limits::USUAL),
                name
            );
        }
        let fields = Fields {
            share: Some(0.5),
            ..fields(&"x".repeat(300))
        };
        assert!(
            Template::default()
                .name(&fields)
                .attempt(1, Limits::USUAL)
                .contains("xxx 50 % 2026-11-21")
        );
    }

    fn limits() -> impl Strategy<Value = Limits> {
        prop::sample::select(vec![Limits::USUAL, Limits::STRICT, Limits::of_length(200)])
    }

    #[test]
    fn strict_folders() {
        for (template, title, name) in [
            (
                "video-{time:%H:%M:%S}-{date:%d-%m-%Y}-{number}",
                "",
                "video-14-30-05-21-11-2026-1.mp4".to_owned(),
            ),
            (
                "{title} {date}",
                &"é".repeat(200),
                format!("{} 2026-11-21.mp4", "é".repeat(57)),
            ),
            (
                "{title}",
                &"t".repeat(200),
                format!("{}.mp4", "t".repeat(125)),
            ),
            (&"t".repeat(200), "", format!("{}.mp4", "t".repeat(125))),
        ] {
            let name_of = Template::parse(template).unwrap().name(&fields(title));
            assert_eq!(name_of.attempt(1, Limits::STRICT), name, "{template}");
            let refused = template.contains("%H:").then_some(':');
            assert_eq!(name_of.refused(name.as_ref()), refused, "{template}");
            let usual = name_of.attempt(1, Limits::USUAL);
            assert_eq!(name_of.refused(usual.as_ref()), None, "{template}");
        }
        for (says, max) in [(0, 143), (143, 143), (200, 200), (255, 255), (1530, 255)] {
            assert_eq!(Limits::of_length(says).max, max);
        }
    }

    proptest! {
        /// Whatever a page calls itself, the name can be made on every system.
        #[test]
        fn every_name_is_fit(
            title in any::<Option<String>>(),
            program in any::<Option<String>>(),
            container in "\\PC{0,20}",
            share in proptest::option::of(0.0..1.0f64),
            n in 1u32..,
            limits in limits(),
            template in prop::sample::select(&[
                "{title} {date} {time}", "{title}", "{number}", "{program}{title}{number}{title}",
                "video-{time:%H:%M:%S}-{number}", "{title}{container}{rule}{length}",
            ][..]),
        ) {
            let fields = Fields { title, program, container, share, ..fields("") };
            let name = Template::parse(template).unwrap().name(&fields).attempt(n, limits);
            prop_assert!(!name.is_empty() && name.len() <= limits.max, "{} bytes", name.len());
            prop_assert!(!name.starts_with(['.', '-', ' ']) && !name.ends_with(['.', ' ']), "{name:?}");
            prop_assert!(!name.chars().any(|c| is_refused(c) && c != ':'), "{name:?}");
            prop_assert!(limits.colon && template.contains("%H") || !name.contains(':'), "{name:?}");
            prop_assert!(!is_device(name.split('.').next().unwrap().trim_end()), "{name:?}");
        }

        /// Two attempts never give the same name, or saving would not end.
        #[test]
        fn attempts_differ(
            title in any::<String>(),
            program in proptest::option::of("[a-z ]{0,200}"),
            share in proptest::option::of(0.0..1.0f64),
            n in 1u32..1000,
            limits in limits(),
            template in prop::sample::select(&[
                "{title} {date} {time}", "{number}{title}", "{program} {number}",
                "{program}{program} {title}{number}", "{program}{program}",
            ][..]),
        ) {
            let fields = Fields { program, share, ..fields(&title) };
            let name = Template::parse(template).unwrap().name(&fields);
            prop_assert_ne!(name.attempt(n, limits), name.attempt(n + 1, limits));
        }

        #[test]
        fn templates_never_panic(source in any::<String>()) {
            if let Ok(template) = Template::parse(&source) {
                let _ = template.name(&fields("A film")).attempt(1, Limits::USUAL);
            }
        }
    }
}
