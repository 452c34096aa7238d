//! Text that may stand in a file name.

use unicode_segmentation::UnicodeSegmentation;

/// Text from outside, fit for a name: one line, single spaces, nothing that a system refuses or
/// that makes a name read as another one. Text that runs from right to left stays; composed
/// characters are left as they are.
pub(super) fn clean(text: &str) -> String {
    let text: String = text
        .chars()
        .filter(|&c| !is_invisible(c))
        .map(replace)
        .collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The character that stands for one that is refused.
pub(super) fn replace(c: char) -> char {
    match c {
        '"' => '\'',
        '<' => '(',
        '>' => ')',
        '*' | '?' => ' ',
        c if c.is_control() || is_invisible(c) => ' ',
        c if is_refused(c) => '-',
        c => c,
    }
}

/// Whether a character is refused somewhere: by POSIX (`/` and NUL), by Windows (the others), or by
/// us, because it hides or turns text.
pub(super) fn is_refused(c: char) -> bool {
    matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
        || c.is_control()
        || is_invisible(c)
}

/// Overrides, embeddings and isolates of direction (Unicode UAX #9), which can make `gpj.exe` read
/// as `exe.jpg`, and characters without width that join nothing. The joiners of emoji and Indic
/// scripts (U+200C, U+200D) and the marks that right-to-left text is written with (U+200E, U+200F,
/// U+061C) stay.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}' | '\u{2060}' | '\u{feff}')
}

/// Names that Windows keeps for devices, whatever extension follows.
pub(super) fn is_device(stem: &str) -> bool {
    let stem = stem.to_uppercase();
    let port = |rest: &str| {
        matches!(rest, "¹" | "²" | "³") || rest.len() == 1 && rest.as_bytes()[0].is_ascii_digit()
    };
    matches!(
        stem.as_str(),
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$"
    ) || stem.strip_prefix("COM").is_some_and(port)
        || stem.strip_prefix("LPT").is_some_and(port)
}

/// The longest beginning of at most `max` bytes that ends between two characters as people see
/// them; between two code points where the first of them alone is longer.
pub(super) fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    match text
        .grapheme_indices(true)
        .map(|(at, _)| at)
        .take_while(|&at| at <= max)
        .last()
    {
        Some(0) | None => &text[..text.floor_char_boundary(max)],
        Some(end) => &text[..end],
    }
}

/// A container's name as an extension.
pub(super) fn extension(container: &str) -> String {
    let harmless = container.chars().filter(char::is_ascii_alphanumeric);
    harmless.take(16).collect()
}
