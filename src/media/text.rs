//! Title tags as text.

/// Longer titles are cut off here.
const LONGEST: usize = 1024;

/// Valid UTF-8, without NUL bytes and white space at its ends.
pub(crate) fn utf8(bytes: &[u8]) -> Option<String> {
    let end = bytes
        .iter()
        .position(|&b| b == 0)
        .unwrap_or(bytes.len())
        .min(LONGEST);
    clean(&String::from_utf8_lossy(&bytes[..end]))
}

/// UTF-16 with a byte order mark, else UTF-8.
pub(crate) fn any(bytes: &[u8]) -> Option<String> {
    match bytes {
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        _ => utf8(bytes),
    }
}

/// UTF-16, of the order that `unit` reads.
pub(crate) fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let units: Vec<u16> = bytes
        .as_chunks::<2>()
        .0
        .iter()
        .take(LONGEST)
        .map(|&pair| unit(pair))
        .take_while(|&u| u != 0)
        .collect();
    clean(&String::from_utf16_lossy(&units))
}

/// ISO 8859-1.
pub(crate) fn latin1(bytes: &[u8]) -> Option<String> {
    clean(
        &bytes
            .iter()
            .take(LONGEST)
            .take_while(|&&b| b != 0)
            .map(|&b| char::from(b))
            .collect::<String>(),
    )
}

fn clean(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding() {
        assert_eq!(
            utf8("  Ämter \u{1f41f}\0rest".as_bytes()).unwrap(),
            "Ämter \u{1f41f}"
        );
        assert_eq!(utf8(b"\0\0"), None);
        assert_eq!(any(b"\xfe\xff\0A\0\xe4\0\0").unwrap(), "Aä");
        assert_eq!(any(b"\xff\xfeA\0B\0").unwrap(), "AB");
        assert_eq!(latin1(b"\xe4\nb").unwrap(), "äb");
        assert!(utf8(&[b'x'; 5000]).unwrap().len() <= LONGEST);
    }
}
