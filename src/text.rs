//! Pure: sizes, lengths, foreign text and file names, written for people and for other programs.

use std::{fmt::Write as _, os::unix::ffi::OsStrExt, path::Path, time::Duration};

/// A size in decimal units, as file managers show it: two digits or more, "1.2 MB", "12 MB", "731
/// MB".
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let (mut unit, mut value) = (0, bytes as f64 / 1000.0);
    // 999.5 would be shown as 1000.
    while value >= 999.5 {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = usize::from(value < 9.95);
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// A length as players show it: "0:09", "3:25", "1:02:03".
pub fn clock(length: Duration) -> String {
    let s = (length + Duration::from_millis(500)).as_secs();
    match (s / 3600, s / 60 % 60, s % 60) {
        (0, m, s) => format!("{m}:{s:02}"),
        (h, m, s) => format!("{h}:{m:02}:{s:02}"),
    }
}

/// A share as people read it; what is not whole is never "100 %", and what is there never "0 %".
pub fn percent(fraction: f64) -> String {
    let percent = (fraction * 100.0).round().clamp(0.0, 100.0) as u8;
    match percent {
        100 if fraction < 1.0 => "over 99 %".into(),
        0 if fraction > 0.0 => "under 1 %".into(),
        percent => format!("{percent} %"),
    }
}

/// Foreign text on one line: control characters, and those that turn the direction of what follows,
/// are replaced.
pub fn one_line(text: &str) -> String {
    let unsafe_in_line = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|c| if unsafe_in_line(c) { '\u{fffd}' } else { c })
        .collect()
}

/// The URI of an absolute path, escaped as GLib's `g_filename_to_uri` does: everyone must write it
/// the same way to find the same thumbnail, and file managers take it.
pub fn file_uri(path: &Path) -> String {
    let mut uri = String::from("file://");
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"!$&'()*+,-./:=@_~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9_949, "9.9 kB"),
            (9_950, "10 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (731_000_000, "731 MB"),
            (4_294_967_296, "4.3 GB"),
            (u64::MAX, "18 EB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn lengths() {
        for (ms, text) in [
            (0, "0:00"),
            (9_400, "0:09"),
            (59_600, "1:00"),
            (205_000, "3:25"),
            (3_723_000, "1:02:03"),
        ] {
            assert_eq!(clock(Duration::from_millis(ms)), text, "{ms}");
        }
    }

    #[test]
    fn shares() {
        let cases = [
            (0.0, "0 %"),
            (0.001, "under 1 %"),
            (0.424, "42 %"),
            (0.999, "over 99 %"),
            (1.0, "100 %"),
        ];
        for (fraction, text) in cases {
            assert_eq!(percent(fraction), text, "{fraction}");
        }
    }

    #[test]
    fn lines() {
        assert_eq!(
            one_line("a\nb\u{1b}[31m\u{202e}c"),
            "a\u{fffd}b\u{fffd}[31m\u{fffd}c"
        );
        assert_eq!(one_line("سلام 🎬"), "سلام 🎬");
    }
}
