//! Pure: makes a title for people out of the one that a page, a producer or a container gave.

use std::path::Path;

use percent_encoding::percent_decode_str;

use super::{Metadata, placeholder};

/// Longest title that is kept, in characters. File names have less room anyway.
const MAX_TITLE: usize = 500;

/// Between a page's title and its site's name.
const SEPARATORS: [&str; 6] = [" - ", " – ", " — ", " | ", " · ", " • "];

/// Sites whose name is recognised without the page's address, which Chromium doesn't publish.
const SITES: [&str; 6] = [
    "youtube",
    "youtubemusic",
    "vimeo",
    "dailymotion",
    "twitch",
    "odysee",
];

/// Extensions by which a title is recognised as a file's name.
const EXTENSIONS: [&str; 16] = [
    "mp4", "m4v", "mov", "webm", "mkv", "flv", "f4v", "ogv", "ogg", "avi", "mpg", "mpeg", "ts",
    "m2ts", "mp3", "m4a",
];

/// The title that a player published, without the site's name, counters and file extensions.
pub(super) fn page_title(metadata: &Metadata) -> Option<String> {
    let title =
        one_line(metadata.title.as_deref()?).filter(|title| !placeholder::is_placeholder(title))?;
    let title = without_site(&title, metadata.url.as_deref());
    one_line(file_stem(title).unwrap_or(title))
}

/// The name that a producer gave a file, if it was made for people: it has a media extension then.
pub(super) fn given_name(source: &Path) -> Option<String> {
    let name = source.file_name()?.to_string_lossy();
    let decoded = percent_decode_str(&name).decode_utf8();
    one_line(file_stem(decoded.as_deref().unwrap_or(&name))?)
}

/// One line without white space at its ends or twice in a row; `None` if nothing is left.
pub(super) fn one_line(text: &str) -> Option<String> {
    let words = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty());
    let line: String = words
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(MAX_TITLE)
        .collect();
    (!line.is_empty()).then_some(line)
}

fn file_stem(name: &str) -> Option<&str> {
    let (stem, extension) = name.rsplit_once('.')?;
    let known = EXTENSIONS
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known));
    (known && !stem.trim().is_empty()).then_some(stem)
}

/// Removes " - Site" from the end where the last part is the name of the page's site and nothing
/// else, and with it the "(3)" unread messages that such sites put in front.
fn without_site<'a>(title: &'a str, url: Option<&str>) -> &'a str {
    let Some((rest, _)) = SEPARATORS
        .iter()
        .filter_map(|separator| title.rsplit_once(separator))
        .filter(|(rest, site)| !rest.trim().is_empty() && is_site(site, url))
        .max_by_key(|(rest, _)| rest.len())
    else {
        return title;
    };
    match rest
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(") "))
    {
        Some((count, title)) if is_count(count) => title,
        _ => rest,
    }
}

/// "3" or "99+", but not the "500" of a film's title.
fn is_count(text: &str) -> bool {
    let digits = text.trim_end_matches('+');
    matches!(digits.len(), 1..=2) && digits.chars().all(|c| c.is_ascii_digit())
}

fn is_site(name: &str, url: Option<&str>) -> bool {
    let plain = |text: &str| {
        text.chars()
            .filter(|c| c.is_alphanumeric())
            .collect::<String>()
            .to_lowercase()
    };
    let name = plain(name);
    if SITES.contains(&name.as_str()) {
        return true;
    }
    let Some(host) = url.and_then(|url| url::Url::parse(url).ok()?.host_str().map(str::to_owned))
    else {
        return false;
    };
    // "example", "example.org", "Example TV" for tv.example.org is too bold.
    let labels: Vec<String> = host.split('.').map(plain).collect();
    let parts = || {
        labels
            .iter()
            .filter(|label| *label != "www" && label.chars().count() > 2)
    };
    parts().any(|label| *label == name) || plain(host.trim_start_matches("www.")) == name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn title(text: &str, url: &str) -> Option<String> {
        let url = (!url.is_empty()).then(|| url.to_owned());
        page_title(&Metadata {
            title: Some(text.into()),
            url,
            length: None,
        })
    }

    #[test]
    fn page_titles() {
        for (shown, url, wanted) in [
            ("Big Buck Bunny", "", "Big Buck Bunny"),
            ("  Big\n Buck\t Bunny ", "", "Big Buck Bunny"),
            (
                "(30) Mac Miller - Self Care - YouTube",
                "",
                "Mac Miller - Self Care",
            ),
            (
                "(500) Days of Summer",
                "https://films.example.org/",
                "(500) Days of Summer",
            ),
            (
                "(500) Days of Summer - Example",
                "https://www.example.org/x",
                "(500) Days of Summer",
            ),
            ("(99+) A talk - Example", "https://example.org/", "A talk"),
            ("A talk | Example.org", "https://example.org/talk", "A talk"),
            (
                "A talk – media.ccc.de",
                "https://media.ccc.de/v/1",
                "A talk",
            ),
            ("A talk - CCC", "https://media.ccc.de/v/1", "A talk"),
            ("News - Today", "https://example.org/", "News - Today"),
            ("Before - After", "", "Before - After"),
            (" - YouTube", "", "- YouTube"),
            ("YouTube", "https://www.youtube.com/", "YouTube"),
            ("one | two - Example", "https://example.org/", "one | two"),
            ("big.mp4", "", "big"),
            (".mp4", "", ".mp4"),
            ("Version 2.0", "", "Version 2.0"),
            ("日本語 \u{1f600} / עברית", "", "日本語 \u{1f600} / עברית"),
        ] {
            assert_eq!(
                title(shown, url).as_deref(),
                Some(wanted),
                "{shown:?} at {url:?}"
            );
        }
        assert_eq!(
            title("Firefox is playing media", "https://example.org/"),
            None
        );
        assert_eq!(title(" \n ", ""), None);
        assert_eq!(
            title(&"x".repeat(9999), "").map(|title| title.len()),
            Some(MAX_TITLE)
        );
    }

    #[test]
    fn names_that_producers_give() {
        for (path, wanted) in [
            ("/tmp/webtorrent/Big Buck Bunny.mp4", Some("Big Buck Bunny")),
            (
                "/tmp/webtorrent/Big%20Buck%20Bunny.mkv",
                Some("Big Buck Bunny"),
            ),
            ("/tmp/webtorrent/100%.mp4", Some("100%")),
            ("/tmp/webtorrent/bad%ff.mp4", Some("bad%ff")),
            (
                "/tmp/torrent-stream/0123abcd/Film.2008.1080p.MKV",
                Some("Film.2008.1080p"),
            ),
            ("/var/tmp/WebKit-Media-A1B2C3", None),
            ("/tmp/mozilla-temp-12345", None),
            ("/tmp/FlashXXabcdef", None),
            ("/tmp/mpv-cache-1.dat", None),
            ("/", None),
        ] {
            assert_eq!(given_name(Path::new(path)).as_deref(), wanted, "{path}");
        }
    }
}
