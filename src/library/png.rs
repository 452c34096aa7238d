//! The texts in a PNG file (PNG specification, 11.3.4.3 `tEXt`): as much of the format as
//! thumbnails need.

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// The chunks, up to the first that is not complete: kind, data, and all bytes of each. `None` if
/// it is no PNG.
fn chunks(png: &[u8]) -> Option<impl Iterator<Item = (&[u8], &[u8], &[u8])>> {
    let mut rest = png.strip_prefix(SIGNATURE)?;
    Some(std::iter::from_fn(move || {
        let (len, _) = rest.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        let (chunk, after) = rest.split_at_checked(len.checked_add(12)?)?;
        rest = after;
        Some((&chunk[4..8], &chunk[8..8 + len], chunk))
    }))
}

/// The same picture with these texts and no others. `None` if it is no complete PNG.
pub(super) fn with_texts(png: &[u8], texts: &[(&str, &str)]) -> Option<Vec<u8>> {
    let mut out = SIGNATURE.to_vec();
    let mut last: &[u8] = b"";
    for (kind, _, chunk) in chunks(png)? {
        last = kind;
        if matches!(kind, b"tEXt" | b"zTXt" | b"iTXt") {
            continue;
        }
        out.extend_from_slice(chunk);
        if kind == b"IHDR" {
            for (key, value) in texts {
                let data = [b"tEXt", key.as_bytes(), b"\0", value.as_bytes()].concat();
                out.extend_from_slice(&u32::try_from(data.len() - 4).ok()?.to_be_bytes());
                out.extend_from_slice(&data);
                out.extend_from_slice(&crc(&data).to_be_bytes());
            }
        }
    }
    (last == b"IEND").then_some(out)
}

/// PNG specification, annex D.
fn crc(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 {
                0xedb8_8320 ^ (crc >> 1)
            } else {
                crc >> 1
            }
        })
    })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The text under a key.
    pub(in crate::library) fn text<'a>(png: &'a [u8], key: &str) -> Option<&'a [u8]> {
        chunks(png)?.find_map(|(kind, data, _)| {
            data.strip_prefix(key.as_bytes())
                .filter(|_| kind == b"tEXt")?
                .strip_prefix(b"\0")
        })
    }

    /// One white pixel, with a text of its own.
    fn pixel() -> Vec<u8> {
        let chunk = |kind: &[u8], data: &[u8]| {
            let body = [kind, data].concat();
            [
                &(data.len() as u32).to_be_bytes()[..],
                &body,
                &crc(&body).to_be_bytes(),
            ]
            .concat()
        };
        let idat = [
            0x78, 0x9c, 0x63, 0xf8, 0xff, 0xff, 0x3f, 0, 5, 0xfe, 2, 0xfe,
        ];
        [
            SIGNATURE.to_vec(),
            chunk(b"IHDR", &[0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0]),
            chunk(b"tEXt", b"Thumb::URI\0file:///old"),
            chunk(b"IDAT", &idat),
            chunk(b"IEND", b""),
        ]
        .concat()
    }

    #[test]
    fn texts_are_replaced() {
        assert_eq!(crc(b"IEND"), 0xae42_6082, "as at the end of every PNG");
        assert_eq!(text(&pixel(), "Thumb::URI"), Some(&b"file:///old"[..]));
        let png = with_texts(
            &pixel(),
            &[("Thumb::URI", "file:///new"), ("Thumb::MTime", "7")],
        )
        .unwrap();
        assert_eq!(text(&png, "Thumb::URI"), Some(&b"file:///new"[..]));
        assert_eq!(text(&png, "Thumb::MTime"), Some(&b"7"[..]));
        assert_eq!(text(&png, "Thumb"), None);
        assert_eq!(with_texts(&pixel()[..60], &[]), None, "cut");
        assert_eq!(with_texts(b"GIF89a", &[]), None);
        assert_eq!(text(b"", "Thumb::URI"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..100) {
            let mut png = pixel();
            png.splice(at.min(png.len())..at.min(png.len()), bytes);
            let _ = text(&png, "Thumb::URI");
            let _ = with_texts(&png, &[("a", "b")]);
        }
    }
}
