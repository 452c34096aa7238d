//! Pure: the texts that browsers publish in place of a title, above all for private windows.

/// One text a line, `{}` for the browser's name; lines that begin with `#` say where they are from.
const TEXTS: &str = include_str!("placeholders.txt");

/// Longest name of a browser, in characters; "Firefox Developer Edition" has 25.
const MAX_BRAND: usize = 30;

/// Whether a browser published this text in place of a title.
pub fn is_placeholder(title: &str) -> bool {
    let title = plain(title);
    let texts = TEXTS.lines().filter(|line| !line.starts_with('#'));
    texts.map(plain).any(|text| match text.split_once("{}") {
        None => title == text,
        Some((before, after)) => title
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
            .is_some_and(|brand| !brand.trim().is_empty() && brand.chars().count() <= MAX_BRAND),
    })
}

/// Removes marks of direction, which translations add around names (Unicode Standard Annex 9), and
/// white space at the ends.
fn plain(text: &str) -> String {
    let is_mark = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.trim().chars().filter(|c| !is_mark(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders() {
        for text in [
            "Firefox is playing media",
            "Firefox Nightly is playing media",
            "LibreWolf spielt Medien ab",
            "\u{2068}Firefox\u{2069} lit un contenu multimédia",
            "Firefox 正在播放媒体",
            "Firefox がメディアを再生しています",
            "O Firefox está reproduzindo mídia",
            "A site is playing media",
            "Eine Website gibt Medien wieder",
        ] {
            assert!(is_placeholder(text), "{text}");
        }
    }

    #[test]
    fn titles() {
        for text in [
            "",
            " ",
            " is playing media",
            "Who is playing media games with the truth, and why it matters to all of us",
            "The long history of how a company is playing media",
            "Big Buck Bunny",
            "# What browsers say",
            "{} is playing medias",
        ] {
            assert!(!is_placeholder(text), "{text:?}");
        }
    }

    #[test]
    fn every_text_is_recognised() {
        let texts: Vec<&str> = TEXTS
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect();
        assert!(texts.len() > 120);
        for text in texts {
            assert!(is_placeholder(&text.replace("{}", "Firefox")), "{text}");
            assert!(text.matches("{}").count() <= 1, "{text}");
        }
    }
}
